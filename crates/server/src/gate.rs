//! What a listener does with a connection before MQTT begins.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use noctule_broker::Network;

use crate::error::StartError;
use crate::options::{ListenerOptions, Scheme};
use crate::tls::{TlsContext, TlsOptions, Watched};
use crate::transport::{Channel, Door, Socket, Tls, Transport, WebSocket};

/// A listener's way in, the same for all workers.
#[derive(Debug)]
pub(crate) struct Gate {
    pub scheme: Scheme,
    proxies: Vec<Network>,
    tls: Option<Arc<TlsContext>>,
    door: Option<Arc<Door>>,
}

impl Gate {
    /// Reads the listener's files.
    ///
    /// # Errors
    /// [`StartError`] naming the option and the file.
    pub fn new(place: usize, options: &ListenerOptions) -> Result<Gate, StartError> {
        let load = |tls: TlsOptions| {
            TlsContext::load(tls).map_err(|error| {
                let what = format!("listeners[{place}].{}", error.what);
                StartError::new(what, io::Error::new(io::ErrorKind::InvalidInput, error.why))
            })
        };
        let tls = options.tls().map(load).transpose()?.map(Arc::new);
        Ok(Gate {
            scheme: options.scheme,
            proxies: options.proxy_protocol_from.clone(),
            tls,
            door: options.door().map(Arc::new),
        })
    }

    /// Whether connections from there begin with a PROXY header.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// Whether nobody on the way can read along.
    pub fn is_private(&self) -> bool {
        self.tls.is_some() || self.scheme == Scheme::Unix
    }

    /// The layers of a new connection.
    ///
    /// # Errors
    /// The TLS configuration cannot be used: our fault.
    pub fn open(&self, socket: Socket) -> io::Result<Transport> {
        let channel = match &self.tls {
            Some(context) => Channel::Tls(Box::new(Tls::new(socket, context.config())?)),
            None => Channel::Plain(socket),
        };
        Ok(match &self.door {
            Some(door) => Transport::WebSocket(Box::new(WebSocket::new(channel, Arc::clone(door)))),
            None => Transport::Channel(channel),
        })
    }

    /// What there is to watch, if there are files.
    pub fn watched(&self, name: String) -> Option<Watched> {
        let context = Arc::clone(self.tls.as_ref()?);
        Some(Watched { name, context })
    }
}
