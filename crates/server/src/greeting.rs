//! Connections that have not said who they are: from accept to a whole CONNECT.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use noctule_broker::{Destination, Identity, Peer, Time, destination};
use slab::Slab;

use crate::acceptor::Accepted;
use crate::post::{Handover, Message};
use crate::proxy::{self, Header};
use crate::reactor::{Reactor, Token};
use crate::session::Connection;
use crate::transport::{Read, Socket};
use crate::users::unix_user;

/// Connections taken in one turn, so that those which are there are served in between.
const ACCEPTS_A_TURN: usize = 128;

/// The connections of one worker that are still to be handed to their owner.
#[derive(Default)]
pub(crate) struct Greetings {
    slab: Slab<Greeting>,
    /// Deadlines in the order of accepting, which is their own order.
    queue: VecDeque<Place>,
    serial: u64,
    /// When the log last told of a certificate that was refused.
    told: Option<Time>,
    /// Those refused since.
    untold: u64,
}

struct Greeting {
    handover: Handover,
    serial: u64,
    /// A PROXY header must come first.
    is_proxied: bool,
}

#[derive(Clone, Copy)]
struct Place {
    key: usize,
    serial: u64,
    deadline: Time,
}

impl Greetings {
    /// When the patience with the oldest one ends.
    pub fn next_deadline(&self) -> Option<Time> {
        self.queue.front().map(|place| place.deadline)
    }

    pub fn clear(&mut self) {
        self.slab.clear();
        self.queue.clear();
    }

    fn insert(&mut self, handover: Handover, is_proxied: bool) -> usize {
        self.serial += 1;
        let deadline = handover.deadline;
        let key = self.slab.insert(Greeting {
            handover,
            serial: self.serial,
            is_proxied,
        });
        self.queue.push_back(Place {
            key,
            serial: self.serial,
            deadline,
        });
        key
    }

    fn remove(&mut self, key: usize) -> Option<Handover> {
        let removed = self.slab.try_remove(key)?.handover;
        self.forget_settled();
        Some(removed)
    }

    /// Drops the places in front of which the connection has gone: the queue stays as
    /// short as the oldest greeting is young.
    fn forget_settled(&mut self) {
        while let Some(place) = self.queue.front() {
            if self.is_present(place) {
                return;
            }
            self.queue.pop_front();
        }
    }

    fn is_present(&self, place: &Place) -> bool {
        self.slab
            .get(place.key)
            .is_some_and(|greeting| greeting.serial == place.serial)
    }

    /// Takes one whose deadline has passed.
    fn pop_due(&mut self, now: Time) -> Option<Handover> {
        let place = *self.queue.front()?;
        if place.deadline > now {
            return None;
        }
        self.remove(place.key)
    }
}

impl Reactor {
    pub(crate) fn accept_connections(&mut self) {
        for _ in 0..ACCEPTS_A_TURN {
            match self.acceptor.accept(self.now) {
                Accepted::Connection {
                    socket,
                    address,
                    listener,
                } => {
                    self.accept_connection(socket, address, listener);
                }
                Accepted::Refused => self.common.counters.sockets_refused_no_descriptor.add(1),
                Accepted::Nothing => return,
            }
        }
    }

    fn accept_connection(&mut self, socket: Socket, address: Option<SocketAddr>, listener: u16) {
        self.common.counters.sockets_accepted.add(1);
        let Some(gate) = self.common.gates.get(usize::from(listener)) else {
            return;
        };
        let is_proxied = address.is_some_and(|address| gate.is_proxy(address.ip()));
        if let Some(address) = address.filter(|_| !is_proxied)
            && !self.is_welcome(address.ip())
        {
            return;
        }
        let counted = address.map(|address| address.ip()).filter(|_| !is_proxied);
        let Some(ticket) = self.common.admission.admit(listener, counted) else {
            self.common.counters.sockets_refused.add(1);
            return;
        };
        #[cfg(target_vendor = "apple")]
        let _ = socket2::SockRef::from(&socket).set_nosigpipe(true);
        let is_loopback = address.is_some_and(|address| address.ip().to_canonical().is_loopback());
        let mut peer = Peer {
            address: address.map(|address| address.ip().to_canonical()),
            port: address.map_or(0, |address| address.port()),
            listener,
            is_private: gate.is_private() || (is_loopback && !is_proxied),
            ..Peer::default()
        };
        if let Some(user) = unix_user(&socket) {
            identify(&mut peer, user);
        }
        let transport = match gate.open(socket) {
            Ok(transport) => transport,
            Err(error) => return tracing::error!("a TLS connection cannot begin: {error}"),
        };
        let limits = &self.common.shared.options().limits;
        let deadline = self.now.after_seconds(limits.connect_timeout_seconds);
        let handover = Handover {
            transport,
            ticket,
            peer,
            deadline,
            bytes: Vec::new(),
        };
        let key = self.greetings.insert(handover, is_proxied);
        let greeting = &mut self.greetings.slab[key];
        let token = Token::Greeting(key).into();
        if let Err(error) = greeting
            .handover
            .transport
            .register(self.poll.registry(), token)
        {
            tracing::warn!("a connection cannot be watched: {error}");
            self.greetings.remove(key);
        }
    }

    /// Whether connections are taken from an address now; counts those that are not.
    fn is_welcome(&self, address: IpAddr) -> bool {
        let (bans, address) = (self.common.shared.bans(), address.to_canonical());
        if bans.bars_address(address, self.now) {
            self.common.counters.sockets_refused_banned.add(1);
            return false;
        }
        if !bans.may_arrive(address, self.now) {
            self.common.counters.sockets_refused_rate.add(1);
            return false;
        }
        true
    }

    /// Reads what a connection begins with, until it is known whose it is.
    pub(crate) fn read_greeting(&mut self, key: usize) {
        if !self.take_proxy_header(key) {
            return;
        }
        let Some(greeting) = self.greetings.slab.get_mut(key) else {
            return;
        };
        let Handover {
            transport, bytes, ..
        } = &mut greeting.handover;
        loop {
            match transport.read(&mut self.buffer) {
                Ok(Read::Bytes { count, .. }) => bytes.extend_from_slice(&self.buffer[..count]),
                Ok(Read::Blocked) => return,
                Ok(Read::Ended) => return self.fail_handshake(key),
                Ok(Read::Closed) | Err(_) => {
                    self.greetings.remove(key);
                    return;
                }
            }
            // Bounded: a CONNECT longer than the limit has a destination once its length is
            // known, and a length takes five bytes.
            match destination(bytes, &self.common.shared) {
                // Read again even if that was all: the end may have come on the same edge.
                Destination::Incomplete => {}
                Destination::Here => return self.hand_over(key, self.index),
                Destination::Worker(owner) => return self.hand_over(key, owner),
            }
        }
    }

    /// A layer below MQTT has ended before CONNECT: the peer has been told why.
    fn fail_handshake(&mut self, key: usize) {
        self.common.counters.handshakes_failed.add(1);
        let Some(Handover {
            transport,
            ticket,
            peer,
            ..
        }) = self.greetings.remove(key)
        else {
            return;
        };
        if let Some(why) = transport.refusal() {
            self.tell_refusal(&peer, why);
        }
        self.say_farewell(transport, ticket);
    }

    /// Logs a refused certificate, at most one a second.
    fn tell_refusal(&mut self, peer: &Peer, why: &str) {
        let Greetings { told, untold, .. } = &mut self.greetings;
        if told.is_some_and(|last| self.now < last.after_seconds(1)) {
            *untold += 1;
            return;
        }
        *told = Some(self.now);
        let others = match std::mem::take(untold) {
            0 => String::new(),
            count => format!("; {count} more were refused meanwhile"),
        };
        let address = peer
            .address
            .map_or("no address".into(), |ip| ip.to_string());
        tracing::warn!("a client at {address} is refused: {why}{others}");
    }

    /// Takes the PROXY header off, if there must be one; returns whether reading may go on.
    fn take_proxy_header(&mut self, key: usize) -> bool {
        let Some(greeting) = self.greetings.slab.get_mut(key) else {
            return false;
        };
        if !greeting.is_proxied {
            return true;
        }
        let Handover {
            transport,
            ticket,
            peer,
            ..
        } = &mut greeting.handover;
        let mut bytes = [0; proxy::MAX_HEADER_BYTES];
        // Only looked at: what comes behind the header is for the next layer.
        let peeked = transport.socket().peek(&mut bytes);
        let header = match peeked {
            Ok(1..) => peeked.map(|count| proxy::parse(&bytes[..count])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => {
                self.greetings.remove(key);
                return false;
            }
        };
        match header {
            Ok(Header::Incomplete) => return false,
            Ok(Header::Complete { length, source })
                if transport.read_socket(&mut bytes[..length]).is_ok()
                    && source.is_none_or(|source| ticket.count_address(source.ip())) =>
            {
                if let Some(source) = source {
                    peer.address = Some(source.ip().to_canonical());
                    peer.port = source.port();
                }
                greeting.is_proxied = false;
                if source.is_some_and(|source| !self.is_welcome(source.ip())) {
                    self.greetings.remove(key);
                    return false;
                }
                return true;
            }
            _ => {}
        }
        self.common.counters.handshakes_failed.add(1);
        self.greetings.remove(key);
        false
    }

    fn hand_over(&mut self, key: usize, owner: usize) {
        let Some(mut handover) = self.greetings.remove(key) else {
            return;
        };
        handover.ticket.greeted();
        match handover.transport.identity() {
            Ok(None) => {}
            Ok(Some(identity)) => identify(&mut handover.peer, identity),
            Err(why) => {
                self.tell_refusal(&handover.peer, &why);
                self.common.counters.handshakes_failed.add(1);
                return;
            }
        }
        if owner == self.index {
            self.adopt(handover, true);
            return;
        }
        if let Err(error) = handover.transport.deregister(self.poll.registry()) {
            tracing::warn!("a connection cannot be handed over: {error}");
            return;
        }
        self.common.counters.connections_handed_over.add(1);
        self.posts[owner].send(Message::Adopt(Box::new(handover)));
    }

    /// Makes a connection this worker's own. `watched`: this worker's poll knows it already.
    pub(crate) fn adopt(&mut self, handover: Handover, watched: bool) {
        let Handover {
            mut transport,
            ticket,
            peer,
            deadline,
            bytes,
        } = handover;
        let id = self.worker.accepted(peer, deadline, self.now);
        let token = Token::Connection(id.index()).into();
        // Either call reports what is readable already, so nothing is overlooked.
        let registered = match watched {
            true => transport.reregister(self.poll.registry(), token),
            false => transport.register(self.poll.registry(), token),
        };
        if let Err(error) = registered {
            tracing::warn!("a connection cannot be watched: {error}");
            self.worker.closed(id, self.now);
            return;
        }
        let has_unread = transport.has_unread();
        self.connections
            .insert(Connection::new(transport, ticket, id));
        if has_unread {
            self.connections.resume(id);
        }
        self.worker.received(id, &bytes, self.now);
    }

    /// Closes the connections whose CONNECT did not come in time. No CONNACK: who sent no
    /// CONNECT may not speak MQTT at all.
    pub(crate) fn expire_greetings(&mut self) {
        while let Some(expired) = self.greetings.pop_due(self.now) {
            self.common.counters.connect_timeouts.add(1);
            drop(expired);
        }
    }
}

fn identify(peer: &mut Peer, identity: Identity) {
    peer.certificate_name = identity.name().map(Into::into);
    peer.identity = Some(Box::new(identity));
}
