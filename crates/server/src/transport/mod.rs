//! What carries a connection's bytes.
//!
//! ```text
//! Transport ─┬─ Channel ─┬─ Socket            mqtt, unix
//!            │           └─ Tls ─ Socket      mqtts
//!            └─ WebSocket ─ Channel           ws, wss
//! ```
//!
//! Every layer has the same few verbs. What it has to say by itself (a handshake, a pong, an
//! alert) it keeps in a small buffer of its own and writes before anything else, at the next
//! read or write. A plain socket costs one `match` more than no layers at all.

mod channel;
mod socket;
mod tls;
mod websocket;

use std::io::{self, IoSlice};

use mio::{Interest, Registry, Token};
use noctule_broker::Identity;

pub(crate) use channel::Channel;
pub(crate) use socket::Socket;
pub(crate) use tls::Tls;
#[cfg(feature = "fuzzing")]
pub(crate) use websocket::fuzzing;
pub(crate) use websocket::{Door, WebSocket};

/// A connection's way to its peer: non-blocking, edge-triggered.
#[derive(Debug)]
pub(crate) enum Transport {
    Channel(Channel),
    WebSocket(Box<WebSocket>),
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// `count` bytes, which may be none: what came was for a layer below MQTT. `drained`:
    /// there are no more until the next readable edge.
    Bytes { count: usize, drained: bool },
    /// Nothing until the next readable edge.
    Blocked,
    /// The peer will send nothing any more.
    Closed,
    /// A layer has ended, by its rules or because the peer broke them. The peer has been
    /// told, and should have time to read it; further reads throw away what comes.
    Ended,
}

/// What a write came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes of the chunks that need not be offered again.
    pub count: usize,
    /// No more is taken until the next writable edge.
    pub blocked: bool,
    /// The socket took something.
    pub moved: bool,
}

impl Transport {
    /// Reads once into `into`, which must not be empty.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Read> {
        match self {
            Transport::Channel(channel) => channel.read(into),
            Transport::WebSocket(websocket) => websocket.read(into),
        }
    }

    /// Writes once what `chunks` hold, after what the layers have left. Bytes that are not
    /// taken must be offered again, in front of any others.
    ///
    /// # Errors
    /// The connection is broken. Never raises SIGPIPE.
    pub fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<Written> {
        match self {
            Transport::Channel(channel) => channel.write_vectored(chunks),
            Transport::WebSocket(websocket) => websocket.write_vectored(chunks),
        }
    }

    /// Whether a layer has something to write: call [`Transport::write_vectored`] at the
    /// next writable edge, even with nothing.
    pub fn has_pending(&self) -> bool {
        match self {
            Transport::Channel(channel) => channel.has_pending(),
            Transport::WebSocket(websocket) => websocket.has_pending(),
        }
    }

    /// Whether a layer holds something that came: read again, for no edge will tell of it.
    pub fn has_unread(&self) -> bool {
        match self {
            Transport::Channel(_) => false,
            Transport::WebSocket(websocket) => websocket.has_unread(),
        }
    }

    /// Whether a layer says goodbye at the end.
    pub fn has_farewell(&self) -> bool {
        !matches!(self, Transport::Channel(Channel::Plain(_)))
    }

    /// Tells the peer that nothing more will come; reading goes on.
    pub fn finish_writing(&mut self) -> io::Result<()> {
        match self {
            Transport::Channel(channel) => channel.finish_writing(),
            Transport::WebSocket(websocket) => websocket.finish_writing(),
        }
    }

    /// Drops the connection and whatever the system still holds for the peer.
    pub fn reset(self) {
        match self {
            Transport::Channel(channel) => channel.into_socket().reset(),
            Transport::WebSocket(websocket) => websocket.into_channel().into_socket().reset(),
        }
    }

    /// Whom the layers vouch for, once their handshakes are over.
    ///
    /// # Errors
    /// The proof is no longer good, in the words of a log line.
    pub fn identity(&self) -> Result<Option<Identity>, String> {
        self.channel().identity()
    }

    /// Why the layers refused the peer's certificate, if they did.
    pub fn refusal(&self) -> Option<&str> {
        self.channel().refusal()
    }

    /// The socket itself, as long as nothing has been read from it.
    pub fn socket(&self) -> &Socket {
        self.channel().socket()
    }

    fn channel(&self) -> &Channel {
        match self {
            Transport::Channel(channel) => channel,
            Transport::WebSocket(websocket) => websocket.channel(),
        }
    }

    fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Transport::Channel(channel) => channel.socket_mut(),
            Transport::WebSocket(websocket) => websocket.channel_mut().socket_mut(),
        }
    }

    /// Takes bytes off the socket, below all layers.
    pub fn read_socket(&mut self, into: &mut [u8]) -> io::Result<Read> {
        self.socket_mut().read(into)
    }

    /// Watches for both edges under `token`; readiness that is there already counts.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.socket_mut()
            .source()
            .register(registry, token, interest)
    }

    /// As [`Transport::register`], for one that is watched under another token.
    pub fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.socket_mut()
            .source()
            .reregister(registry, token, interest)
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket_mut().source().deregister(registry)
    }
}
