//! Taking connections from the kernel, also when there are no descriptors left.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use noctule_broker::Time;
use rustix::io::Errno;

use crate::descriptors::Reserve;
use crate::listener::{ListenSocket, Listening};
use crate::transport::Socket;

/// How long to leave the listeners alone after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// One worker's listeners.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listeners: Vec<Listener>,
    /// To take the listeners out of the poll while they are left alone: a full queue
    /// would wake the worker again and again for nothing.
    registry: Registry,
    reserve: Arc<Reserve>,
    paused_until: Option<Time>,
    /// When the last failure was logged.
    logged: Option<Time>,
}

#[derive(Debug)]
struct Listener {
    number: u16,
    token: Token,
    socket: Source,
    ready: bool,
}

#[derive(Debug)]
enum Source {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Source {
    fn new(socket: ListenSocket) -> Source {
        match socket {
            ListenSocket::Tcp(socket) => Source::Tcp(TcpListener::from_std(socket)),
            ListenSocket::Unix(socket) => Source::Unix(UnixListener::from_std(socket)),
        }
    }

    fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Source::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
            Source::Unix(socket) => registry.register(socket, token, Interest::READABLE),
        }
    }

    fn ignore(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Source::Tcp(socket) => registry.deregister(socket),
            Source::Unix(socket) => registry.deregister(socket),
        }
    }

    fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Source::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                Ok((Socket::Tcp(stream), Some(address)))
            }
            Source::Unix(socket) => Ok((Socket::Unix(socket.accept()?.0), None)),
        }
    }
}

/// What an attempt to accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection {
        socket: Socket,
        /// `None`: it has none, as with a Unix socket.
        address: Option<SocketAddr>,
        listener: u16,
    },
    /// One was closed at once, for want of a descriptor.
    Refused,
    /// There is none, or the acceptor is paused.
    Nothing,
}

impl Acceptor {
    /// Watches the listeners under tokens made from their place in `sockets`.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(
        sockets: Vec<Listening>,
        registry: &Registry,
        token: impl Fn(usize) -> Token,
        reserve: Arc<Reserve>,
    ) -> io::Result<Acceptor> {
        let mut listeners = Vec::with_capacity(sockets.len());
        for (index, listening) in sockets.into_iter().enumerate() {
            let mut socket = Source::new(listening.socket);
            let token = token(index);
            socket.watch(registry, token)?;
            listeners.push(Listener {
                number: listening.listener,
                token,
                socket,
                ready: false,
            });
        }
        Ok(Acceptor {
            listeners,
            registry: registry.try_clone()?,
            reserve,
            paused_until: None,
            logged: None,
        })
    }

    /// The listener at `index` has connections.
    pub fn ready(&mut self, index: usize) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.ready = true;
        }
    }

    /// Whether [`Acceptor::accept`] is worth a call now.
    pub fn has_more(&self) -> bool {
        self.paused_until.is_none() && self.listeners.iter().any(|listener| listener.ready)
    }

    /// When the pause is over, if there is one.
    pub fn paused_until(&self) -> Option<Time> {
        self.paused_until
    }

    /// Goes on if the pause is over.
    pub fn resume_due(&mut self, now: Time) {
        if self.paused_until.is_none_or(|until| until > now) {
            return;
        }
        self.paused_until = None;
        for listener in &mut self.listeners {
            listener.ready = true;
            if let Err(error) = listener.socket.watch(&self.registry, listener.token) {
                tracing::error!("a listener cannot be watched: {error}");
            }
        }
    }

    /// Closes the listeners; what still waits in their queues is reset.
    pub fn close(&mut self) {
        self.listeners.clear();
        self.paused_until = None;
    }

    /// Takes one connection.
    pub fn accept(&mut self, now: Time) -> Accepted {
        if self.paused_until.is_some() {
            return Accepted::Nothing;
        }
        while let Some(index) = self.listeners.iter().position(|listener| listener.ready) {
            let listener = &mut self.listeners[index];
            match self.reserve.kept(|| listener.socket.accept()) {
                Ok((socket, address)) => {
                    return Accepted::Connection {
                        socket,
                        address,
                        listener: listener.number,
                    };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => listener.ready = false,
                Err(error) if is_passing(&error) => {}
                Err(error) if is_exhaustion(&error) && self.refuse(index) => {
                    self.log(now, &error);
                    return Accepted::Refused;
                }
                Err(error) => {
                    self.log(now, &error);
                    self.pause(now);
                    return Accepted::Nothing;
                }
            }
        }
        Accepted::Nothing
    }

    /// Leaves the listeners alone for a while.
    fn pause(&mut self, now: Time) {
        self.paused_until = Some(now.after(PAUSE));
        for listener in &mut self.listeners {
            if let Err(error) = listener.socket.ignore(&self.registry) {
                tracing::error!("a listener cannot be left alone: {error}");
            }
        }
    }

    /// Gives up the reserve for one connection, closes that, and takes the reserve back.
    /// Returns whether both succeeded.
    fn refuse(&mut self, index: usize) -> bool {
        let socket = &self.listeners[index].socket;
        let mut refused = false;
        let is_back = self.reserve.given_up(|| refused = socket.accept().is_ok());
        refused && is_back
    }

    /// At most one line a second.
    fn log(&mut self, now: Time, error: &io::Error) {
        if self.logged.is_some_and(|last| now < last.after_seconds(1)) {
            return;
        }
        self.logged = Some(now);
        tracing::warn!(
            "connections cannot be accepted: {error}; raise the limit on open files \
             (ulimit -n) or lower limits.max_connections"
        );
    }
}

/// Errors of the one connection, not of the listener.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
    ) || [Errno::PROTO, Errno::PERM]
        .iter()
        .any(|each| is_errno(error, *each))
}

fn is_exhaustion(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|each| is_errno(error, *each))
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
