//! What carries a connection's bytes.

use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// A connection's way to its peer: non-blocking, edge-triggered.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// `count` bytes; `drained`: there are no more until the next readable edge.
    Bytes { count: usize, drained: bool },
    /// Nothing until the next readable edge.
    Blocked,
    /// The peer will send nothing any more.
    Closed,
}

/// What a write came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub count: usize,
    /// No more is taken until the next writable edge.
    pub blocked: bool,
}

impl Transport {
    /// Reads once into `into`, which must not be empty.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Read> {
        match self {
            Transport::Tcp(stream) => read_tcp(stream, into),
        }
    }

    /// Writes once what `chunks` hold.
    ///
    /// # Errors
    /// The connection is broken. Never raises SIGPIPE.
    pub fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        match self {
            Transport::Tcp(stream) => write_tcp(stream, chunks),
        }
    }

    /// Tells the peer that nothing more will come; reading goes on.
    pub fn finish_writing(&mut self) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Drops the connection and whatever the system still holds for the peer.
    pub fn reset(self) {
        match self {
            Transport::Tcp(stream) => {
                // Without this the kernel would keep a stalled peer's buffer for minutes.
                // If it fails the connection is gone already.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
        }
    }

    /// Watches for both edges under `token`; readiness that is there already counts.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.source().register(registry, token, interest)
    }

    /// As [`Transport::register`], for one that is watched under another token.
    pub fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.source().reregister(registry, token, interest)
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Transport::Tcp(stream) => stream,
        }
    }
}

fn read_tcp(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<Read> {
    loop {
        match stream.read(into) {
            Ok(0) => return Ok(Read::Closed),
            // A short read has emptied the socket: epoll(7) promises an edge for what
            // comes later, the end of the stream included.
            Ok(count) => {
                return Ok(Read::Bytes {
                    count,
                    drained: count < into.len(),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Read::Blocked),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_tcp(stream: &TcpStream, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
    let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    loop {
        match send(stream, chunks) {
            // A short write has filled the socket: the kernel gives an edge once there is room.
            Ok(count) => {
                return Ok(Written {
                    count,
                    blocked: count < offered,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(Written {
                    count: 0,
                    blocked: true,
                });
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One system call. Not `Write::write_vectored`: that is writev(2), which raises SIGPIPE in
/// a process whose Python code has set the signal back to its default.
#[cfg(not(target_vendor = "apple"))]
fn send(stream: &TcpStream, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
    if let [chunk] = chunks {
        return Ok(send(stream, chunk, SendFlags::NOSIGNAL)?);
    }
    let mut nothing = SendAncillaryBuffer::default();
    Ok(sendmsg(stream, chunks, &mut nothing, SendFlags::NOSIGNAL)?)
}

/// Here each socket has `SO_NOSIGPIPE` instead.
#[cfg(target_vendor = "apple")]
fn send(stream: &TcpStream, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
    use std::io::Write as _;
    (&*stream).write_vectored(chunks)
}
