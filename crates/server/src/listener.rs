//! Sockets that listen.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::StartError;
use crate::options::{ListenerOptions, Scheme};

/// Connections the kernel holds for us until they are accepted.
const BACKLOG: i32 = 4_096;

/// Bytes of a connection that the kernel takes before it can send them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 << 10;

/// Where the engine listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub scheme: Scheme,
    pub socket: SocketAddr,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.socket)
    }
}

/// One worker's socket on one address.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The place of the listener in the options.
    pub listener: u16,
    pub socket: TcpListener,
}

/// Listens on every address of every listener, once for each worker.
///
/// Each worker has a socket of its own (`SO_REUSEPORT`): the kernel spreads connections
/// over them by a hash, and a connection wakes one worker, where a shared socket would
/// wake them all.
///
/// # Errors
/// [`StartError`] naming the first address that cannot be listened on.
pub(crate) fn listen_on_all(
    listeners: &[ListenerOptions],
    workers: usize,
) -> Result<(Vec<Address>, Vec<Vec<Listening>>), StartError> {
    let mut addresses = Vec::new();
    let mut sockets: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    for (listener, options) in (0..).zip(listeners) {
        let name = format!(
            "{}://{}:{}",
            options.scheme.as_str(),
            options.host,
            options.port
        );
        let resolved = resolve(options).map_err(|error| StartError::new(name.as_str(), error))?;
        let mut port = options.port;
        for mut socket in resolved {
            // A name that stands for several addresses gets the same free port on all.
            socket.set_port(port);
            let address = Address {
                scheme: options.scheme,
                socket,
            };
            let listening = listen(socket, workers)
                .map_err(|error| StartError::new(address.to_string(), error))?;
            let first = listening.first().map(TcpListener::local_addr);
            let bound = first
                .unwrap_or(Ok(socket))
                .map_err(|error| StartError::new(address.to_string(), error))?;
            port = bound.port();
            addresses.push(Address {
                socket: bound,
                ..address
            });
            for (mine, socket) in sockets.iter_mut().zip(listening) {
                mine.push(Listening { listener, socket });
            }
        }
    }
    Ok((addresses, sockets))
}

fn resolve(options: &ListenerOptions) -> io::Result<Vec<SocketAddr>> {
    let host = options.host.trim_start_matches('[').trim_end_matches(']');
    let mut found: Vec<SocketAddr> = (host, options.port).to_socket_addrs()?.collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(io::Error::new(
            ErrorKind::NotFound,
            "the name stands for no address",
        ));
    }
    Ok(found)
}

/// `count` sockets on one address.
fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if count == 1 {
        return Ok(vec![bound(address, false)?.into_listener()?]);
    }
    if address.port() != 0 {
        // Sockets that share a port would also share it with those of another broker, and
        // each would get half of the clients. One that does not share is refused then.
        drop(bound(address, false)?);
    }
    let first = bound(address, true)?.into_listener()?;
    let address = first.local_addr()?;
    let others = (1..count).map(|_| bound(address, true)?.into_listener());
    std::iter::once(Ok(first)).chain(others).collect()
}

/// A socket that has its address and does not listen yet.
struct Bound(Socket);

fn bound(address: SocketAddr, shared: bool) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    set_for_connections(&socket)?;
    socket.bind(&address.into())?;
    Ok(Bound(socket))
}

/// Sets what accepted sockets inherit: cheaper than a call for each of them.
fn set_for_connections(socket: &Socket) -> io::Result<()> {
    // Small packets are the rule, and a turn's output is one write already.
    socket.set_tcp_nodelay(true)?;
    // A socket that is full reports room only when a third of its buffer is free, which can
    // be megabytes: a reader that takes its data steadily would seem to stand still for
    // longer than publishers are held back for it. So little is left unsent in the kernel.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

impl Bound {
    fn into_listener(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)?;
        Ok(self.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(port: u16) -> Vec<ListenerOptions> {
        vec![ListenerOptions {
            scheme: Scheme::Mqtt,
            host: "127.0.0.1".into(),
            port,
        }]
    }

    #[test]
    fn every_worker_listens_on_the_port_that_was_found_free() {
        let (addresses, sockets) = listen_on_all(&on(0), 3).unwrap();
        let port = addresses[0].socket.port();
        assert_ne!(port, 0);
        assert_eq!(sockets.len(), 3);
        for mine in &sockets {
            assert_eq!(mine[0].socket.local_addr().unwrap().port(), port);
        }
    }

    #[test]
    fn a_port_in_use_is_refused_by_name_with_one_worker_and_with_several() {
        for workers in [1, 3] {
            let (addresses, _sockets) = listen_on_all(&on(0), workers).unwrap();
            for other in [1, 2] {
                let error = listen_on_all(&on(addresses[0].socket.port()), other).unwrap_err();
                assert_eq!(error.what, addresses[0].to_string());
                assert_eq!(error.source.kind(), ErrorKind::AddrInUse);
            }
        }
    }

    #[test]
    fn accepted_sockets_inherit_what_the_listener_has() {
        let (addresses, sockets) = listen_on_all(&on(0), 1).unwrap();
        let listening = &sockets[0][0].socket;
        listening.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(addresses[0].socket).unwrap();
        let (accepted, _) = listening.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let accepted = socket2::SockRef::from(&accepted);
            assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
        }
    }

    #[test]
    fn a_name_for_several_addresses_listens_on_one_port() {
        let localhost = vec![ListenerOptions {
            scheme: Scheme::Mqtt,
            host: "localhost".into(),
            port: 0,
        }];
        let (addresses, _sockets) = listen_on_all(&localhost, 1).unwrap();
        assert!(
            addresses
                .iter()
                .all(|each| each.socket.port() == addresses[0].socket.port())
        );
    }
}
