//! How bytes reach the broker.
//!
//! TCP is the one way there is; TLS and WebSocket become variants, which is why nothing
//! outside of this file knows a socket.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

/// Ports an address has for outgoing connections, with room to spare (Linux has 28,232).
const CONNECTIONS_PER_SOURCE: u32 = 16_384;
/// Loopback addresses to go around. A closed connection holds its port for a minute, so that
/// each run begins somewhere else.
const SOURCES: u32 = 4_096;

/// An open connection, non-blocking.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
}

impl Transport {
    /// Begins to connect; writable once it has. `nth` counts the connections, so that
    /// those to a loopback address come from different ones and ports do not run out.
    pub(crate) fn dial(address: SocketAddr, nth: u32) -> io::Result<Transport> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let IpAddr::V4(host) = address.ip()
            && host.is_loopback()
            && cfg!(target_os = "linux")
        {
            let source = std::process::id().wrapping_add(nth / CONNECTIONS_PER_SOURCE) % SOURCES;
            let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + source);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_under_way(&error) => Err(error),
            _ => Ok(Transport::Tcp(TcpStream::from_std(socket.into()))),
        }
    }

    /// Whether the connection stands (false: not yet); an error is the refusal.
    pub(crate) fn finish_dial(&self) -> io::Result<bool> {
        let Transport::Tcp(stream) = self;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let Transport::Tcp(stream) = self;
        stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    #[inline]
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Transport::Tcp(stream) = self;
        stream.read(into)
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Transport::Tcp(stream) = self;
        stream.write(bytes)
    }
}

fn is_under_way(error: &io::Error) -> bool {
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(in_progress)
}
