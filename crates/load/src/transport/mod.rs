//! How bytes reach the broker.
//!
//! ```text
//! Transport ─┬─ Channel ─┬─ TcpStream                 mqtt
//!            │           └─ TlsStream ─ TcpStream     mqtts
//!            └─ WebSocket ─ Channel                   ws, wss
//! ```
//!
//! Non-blocking and edge-triggered. Handshakes are carried on by reads and writes, which say
//! `WouldBlock` until they are done; a short read has taken all there was.

mod channel;
mod dialer;
mod websocket;

use std::fmt;
use std::io::{self, Read, Write};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

pub(crate) use dialer::Dialer;

use channel::Channel;
use websocket::WebSocket;

/// A connection to the broker.
pub(crate) enum Transport {
    Channel(Channel),
    WebSocket(Box<WebSocket>),
}

impl Transport {
    /// Whether the connection stands (false: not yet); an error is the refusal.
    pub(crate) fn finish_dial(&mut self) -> io::Result<bool> {
        let stream = self.stream()?;
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
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.stream()?.register(registry, token, interest)
    }

    /// Reads what there is, as far as `into` has room; 0 at the end of the stream.
    #[inline]
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Channel(Channel::Plain(stream)) => stream.read(into),
            Transport::Channel(Channel::Tls(tls)) => read_all(&mut **tls, into),
            Transport::WebSocket(websocket) => read_all(&mut **websocket, into),
        }
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Channel(channel) => channel.write(bytes),
            Transport::WebSocket(websocket) => websocket.write(bytes),
        }
    }

    /// Writes what the layers hold of what they have taken; `WouldBlock` while any is left.
    #[inline]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Channel(channel) => channel.flush(),
            Transport::WebSocket(websocket) => websocket.flush(),
        }
    }

    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        match self {
            Transport::Channel(channel) => Ok(channel.stream()),
            Transport::WebSocket(websocket) => websocket.stream(),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Channel(Channel::Plain(_)) => "TCP",
            Transport::Channel(Channel::Tls(_)) => "TLS",
            Transport::WebSocket(_) => "WebSocket",
        })
    }
}

/// Reads records or frames until there are no more: a short read says that there are none.
fn read_all(from: &mut dyn Read, into: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < into.len() {
        match from.read(&mut into[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // An end or an error comes again with the next read.
            Err(_) if count > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
