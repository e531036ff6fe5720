//! Sockets that listen.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::StartError;
use crate::options::{ListenerOptions, Scheme};
use crate::unix::{self, SocketFile};

/// Connections the kernel holds for us until they are accepted.
const BACKLOG: i32 = 4_096;

/// Ports that are tried where the system chooses one for several addresses.
const FREE_PORT_ATTEMPTS: usize = 20;

/// Bytes of a connection that the kernel takes before it can send them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 << 10;

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Position of the listener in the options.
    pub listener: u16,
    pub scheme: Scheme,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Network(SocketAddr),
    /// The path of a Unix socket.
    Path(PathBuf),
}

impl Address {
    /// The address in the network; `None`: it has none.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Network(socket) => Some(socket),
            Place::Path(_) => None,
        }
    }

    /// The host's address in figures, or the path.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.place {
            Place::Network(socket) => socket.ip().to_string(),
            Place::Path(path) => path.display().to_string(),
        }
    }

    /// The port; 0 where there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket().map_or(0, |socket| socket.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        match &self.place {
            Place::Network(socket) => write!(f, "{scheme}://{socket}"),
            Place::Path(path) => write!(f, "{scheme}://{}", path.display()),
        }
    }
}

/// One worker's socket on one address.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The place of the listener in the options.
    pub listener: u16,
    pub socket: ListenSocket,
}

#[derive(Debug)]
pub(crate) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Everything that listens.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub addresses: Vec<Address>,
    /// Each worker's.
    pub sockets: Vec<Vec<Listening>>,
    /// Removes the files when the engine has stopped.
    pub files: Vec<SocketFile>,
}

/// Listens on every address of every listener, once for each worker.
///
/// Each worker has a socket of its own (`SO_REUSEPORT`): the kernel spreads connections
/// over them by a hash, and a connection wakes one worker, where a shared socket would
/// wake them all. Unix sockets know no such thing and are shared.
///
/// # Errors
/// [`StartError`] naming the first address that cannot be listened on.
pub(crate) fn listen_on_all(
    options: &[ListenerOptions],
    workers: usize,
) -> Result<Listeners, StartError> {
    let mut listeners = Listeners {
        addresses: Vec::new(),
        sockets: (0..workers).map(|_| Vec::new()).collect(),
        files: Vec::new(),
    };
    for (listener, options) in (0..).zip(options) {
        match &options.path {
            Some(path) => listeners.add_unix(listener, options, path)?,
            None => listeners.add_network(listener, options)?,
        }
    }
    Ok(listeners)
}

impl Listeners {
    fn add_unix(
        &mut self,
        listener: u16,
        options: &ListenerOptions,
        path: &Path,
    ) -> Result<(), StartError> {
        let address = Address {
            listener,
            scheme: options.scheme,
            place: Place::Path(path.to_owned()),
        };
        let failed = |error| StartError::new(address.to_string(), error);
        let (first, file) = unix::listen(path, options.unix_mode, BACKLOG).map_err(failed)?;
        self.files.push(file);
        for mine in &mut self.sockets {
            let socket = ListenSocket::Unix(first.try_clone().map_err(failed)?);
            mine.push(Listening { listener, socket });
        }
        self.addresses.push(address);
        Ok(())
    }

    fn add_network(&mut self, listener: u16, options: &ListenerOptions) -> Result<(), StartError> {
        let scheme = options.scheme;
        let name = format!("{}://{}:{}", scheme.as_str(), options.host, options.port);
        let resolved = resolve(options).map_err(|error| StartError::new(name.as_str(), error))?;
        let at = |socket| Address {
            listener,
            scheme,
            place: Place::Network(socket),
        };
        let workers = self.sockets.len();
        let found = match options.port {
            0 => on_free_port(|| listen_on_each(&resolved, workers)),
            _ => listen_on_each(&resolved, workers),
        };
        let found =
            found.map_err(|(socket, error)| StartError::new(at(socket).to_string(), error))?;
        for (bound, listening) in found {
            self.addresses.push(at(bound));
            for (mine, socket) in self.sockets.iter_mut().zip(listening) {
                let socket = ListenSocket::Tcp(socket);
                mine.push(Listening { listener, socket });
            }
        }
        Ok(())
    }
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

/// What somebody gets, or the address that it cannot be had on.
type At<T> = Result<T, (SocketAddr, io::Error)>;

/// Listens where the system chooses the port. One that is free on the first of several addresses
/// may be somebody's on the next, but not time after time.
fn on_free_port<T>(mut listen: impl FnMut() -> At<T>) -> At<T> {
    for _ in 1..FREE_PORT_ATTEMPTS {
        match listen() {
            Err((_, error)) if error.kind() == ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
    listen()
}

/// `count` sockets on each address, all on the port of the first.
fn listen_on_each(
    addresses: &[SocketAddr],
    count: usize,
) -> At<Vec<(SocketAddr, Vec<TcpListener>)>> {
    let mut found: Vec<(SocketAddr, Vec<TcpListener>)> = Vec::new();
    for mut address in addresses.iter().copied() {
        if let Some((first, _)) = found.first() {
            address.set_port(first.port());
        }
        let failed = |error| (address, error);
        let listening = listen(address, count).map_err(failed)?;
        let first = listening.first().map(TcpListener::local_addr);
        found.push((first.unwrap_or(Ok(address)).map_err(failed)?, listening));
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
    if address.is_ipv6() {
        // `::` is every IPv6 address and no IPv4 one, on every system alike.
        socket.set_only_v6(true)?;
    }
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
        vec![ListenerOptions::at("127.0.0.1", port)]
    }

    fn tcp(listening: &Listening) -> &TcpListener {
        match &listening.socket {
            ListenSocket::Tcp(socket) => socket,
            ListenSocket::Unix(_) => panic!("a Unix socket"),
        }
    }

    #[test]
    fn every_worker_listens_on_the_port_that_was_found_free() {
        let listeners = listen_on_all(&on(0), 3).unwrap();
        let port = listeners.addresses[0].port();
        assert_ne!(port, 0);
        assert_eq!(listeners.sockets.len(), 3);
        for mine in &listeners.sockets {
            assert_eq!(tcp(&mine[0]).local_addr().unwrap().port(), port);
        }
    }

    #[test]
    fn a_port_in_use_is_refused_by_name_with_one_worker_and_with_several() {
        for workers in [1, 3] {
            let listeners = listen_on_all(&on(0), workers).unwrap();
            for other in [1, 2] {
                let address = &listeners.addresses[0];
                let error = listen_on_all(&on(address.port()), other).unwrap_err();
                assert_eq!(error.what, address.to_string());
                assert_eq!(error.source.kind(), ErrorKind::AddrInUse);
            }
        }
    }

    #[test]
    fn accepted_sockets_inherit_what_the_listener_has() {
        let listeners = listen_on_all(&on(0), 1).unwrap();
        let listening = tcp(&listeners.sockets[0][0]);
        listening.set_nonblocking(false).unwrap();
        let address = listeners.addresses[0].socket().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
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
        let listeners = listen_on_all(&[ListenerOptions::at("localhost", 0)], 1).unwrap();
        let port = listeners.addresses[0].port();
        assert!(listeners.addresses.iter().all(|each| each.port() == port));
    }

    #[test]
    fn another_port_is_tried_where_the_system_chose_one_that_is_in_use_elsewhere() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut ports = Vec::new();
        let found = on_free_port(|| {
            let (port, listening) = listen_on_each(&[address], 1)?.remove(0);
            ports.push(port);
            // The second address of the first two attempts is somebody's.
            let taken = (ports.len() < 3).then_some(port);
            Ok((listen_on_each(taken.as_slice(), 1)?, listening))
        });
        assert!(found.is_ok());
        assert_eq!(ports.len(), 3);
        let failed = on_free_port(|| listen_on_each(&[address, address], 1));
        assert_eq!(failed.unwrap_err().1.kind(), ErrorKind::AddrInUse);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn several_addresses_get_the_same_port() {
        let addresses = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 0)));
        let found = on_free_port(|| listen_on_each(&addresses, 2)).unwrap();
        let ports: Vec<u16> = found.iter().map(|(bound, _)| bound.port()).collect();
        assert_eq!(ports, [ports[0]; 3]);
        assert!(found.iter().all(|(_, listening)| listening.len() == 2));
    }

    #[test]
    fn both_wildcards_may_have_the_same_port() {
        if listen_on_all(&[ListenerOptions::at("::", 0)], 2).is_err() {
            return; // No IPv6 on this machine.
        }
        // Below those that systems give to whoever asks for none, of which all may be in use.
        let both = (20_000..30_000).any(|port| {
            let Ok(six) = listen_on_all(&[ListenerOptions::at("::", port)], 2) else {
                return false;
            };
            assert_eq!(six.addresses[0].to_string(), format!("mqtt://[::]:{port}"));
            listen_on_all(&[ListenerOptions::at("0.0.0.0", port)], 2).is_ok()
        });
        assert!(both);
    }
}
