//! A byte stream, in clear or encrypted.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::{ClientConnection, StreamOwned};

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

pub(crate) enum Channel {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Channel {
    pub fn stream(&mut self) -> &mut TcpStream {
        match self {
            Channel::Plain(stream) => stream,
            Channel::Tls(tls) => tls.get_mut(),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(stream) => stream.read(into),
            Channel::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(stream) => stream.write(bytes),
            Channel::Tls(tls) => tls.write(bytes),
        }
    }

    /// `WouldBlock` while records are left that the socket did not take.
    fn flush(&mut self) -> io::Result<()> {
        let Channel::Tls(tls) = self else {
            return Ok(());
        };
        tls.flush()?;
        match tls.conn.wants_write() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }
}
