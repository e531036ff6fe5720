//! Stream sockets: non-blocking, edge-triggered.

use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};

use super::{Read, Written};

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Reads once into `into`, which must not be empty.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Read> {
        loop {
            let received = match self {
                Socket::Tcp(stream) => stream.read(into),
                Socket::Unix(stream) => stream.read(into),
            };
            match received {
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

    /// Reads without taking: the same bytes come again.
    pub fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(self, into, rustix::net::RecvFlags::PEEK)?;
        Ok(count)
    }

    /// Writes once. Never raises SIGPIPE.
    pub fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        loop {
            match self.send(chunks) {
                // A short write has filled the socket: the kernel gives an edge once there
                // is room.
                Ok(count) => {
                    return Ok(Written {
                        count,
                        blocked: count < offered,
                        moved: count > 0,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Written {
                        count: 0,
                        blocked: true,
                        moved: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One system call. Not `Write::write_vectored`: that is writev(2), which raises SIGPIPE
    /// in a process whose Python code has set the signal back to its default.
    #[cfg(not(target_vendor = "apple"))]
    fn send(&self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
        if let [chunk] = chunks {
            return Ok(send(self, chunk, SendFlags::NOSIGNAL)?);
        }
        let mut nothing = SendAncillaryBuffer::default();
        Ok(sendmsg(self, chunks, &mut nothing, SendFlags::NOSIGNAL)?)
    }

    /// Here each socket has `SO_NOSIGPIPE` instead.
    #[cfg(target_vendor = "apple")]
    fn send(&self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        use std::io::Write as _;
        match self {
            Socket::Tcp(stream) => (&*stream).write_vectored(chunks),
            Socket::Unix(stream) => (&*stream).write_vectored(chunks),
        }
    }

    pub fn finish_writing(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Drops the connection and whatever the system still holds for the peer.
    pub fn reset(self) {
        if let Socket::Tcp(stream) = self {
            // Without this the kernel would keep a stalled peer's buffer for minutes.
            // If it fails the connection is gone already.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}
