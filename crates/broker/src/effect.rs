//! What the core asks its surroundings to do, and what it tells them.

use std::net::IpAddr;

use noctule_packets::{QoS, ReasonCode, Version};

use crate::access::{Action, Rule};
use crate::hooks::Consultation;
use crate::journal::Space;
use crate::key::{ConnectionId, SessionKey};

/// What client identifiers of this process's own parts begin with; nobody else may use one.
pub const INTERNAL_PREFIX: &str = "$noctule/";

/// What the transport knows of the other side.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub address: Option<IpAddr>,
    pub port: u16,
    /// Which listener took the connection.
    pub listener: u16,
    /// A name the transport vouches for: of a client certificate, of a Unix user.
    pub certificate_name: Option<Box<str>>,
    /// What that name was taken from.
    pub identity: Option<Box<Identity>>,
    /// Whether nobody on the way can read along: TLS, or no network at all.
    pub is_private: bool,
    /// Whether it is a part of this process, which needs no authentication.
    pub is_internal: bool,
}

/// A proof of who the peer is that the transport has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Certificate(ClientCertificate),
    /// The process at the other end of a Unix socket.
    UnixUser {
        /// The user's name, or its number in decimal if it has none.
        name: Box<str>,
        uid: u32,
        gid: u32,
        pid: i32,
    },
}

/// A client certificate that leads to an authority of the listener, is valid now and is not
/// revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject, in the order of the certificate: `C=DE, O=Example, CN=sensor-7`.
    pub subject: Box<str>,
    pub common_name: Option<Box<str>>,
    /// Subject alternative names in their order: DNS names, mail addresses, URIs, addresses.
    pub alternative_names: Vec<Box<str>>,
    /// The serial number in lower-case hexadecimal.
    pub serial: Box<str>,
    /// Seconds since 1970 at which it ends.
    pub not_after: i64,
}

impl Identity {
    /// The name to know the peer by: a certificate's first alternative name, else its common
    /// name; a Unix user's name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Identity::Certificate(certificate) => certificate
                .alternative_names
                .first()
                .or(certificate.common_name.as_ref())
                .map(AsRef::as_ref),
            Identity::UnixUser { name, .. } => Some(name),
        }
    }
}

/// A session at the moment somebody asked.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    pub client: Box<str>,
    pub user: Option<Box<str>>,
    /// Where it is connected from; `None`: it is not.
    pub peer: Option<Peer>,
    pub version: Option<Version>,
    /// How many subscriptions it has.
    pub subscriptions: u64,
    /// Messages that wait for it, those in flight not counted.
    pub queued: u64,
}

/// Something for the server to carry out.
#[derive(Debug)]
pub enum Effect {
    /// Write what the outbox holds, for a bounded time, then close and call
    /// [`crate::Worker::closed`]. Nothing more is to be received from it.
    Close(ConnectionId),
    /// Leave unread what it sends, until [`Effect::ResumeReading`].
    PauseReading(ConnectionId),
    ResumeReading(ConnectionId),
    /// Answer with [`crate::Worker::answered`]; its reading is paused until then.
    Authenticate(ConnectionId, Box<AuthenticationRequest>),
    /// Answer with [`crate::Worker::advised`].
    Consult(Box<Consultation>),
    /// Read back what is on disk; answer with [`crate::Worker::queue_read`].
    ReadQueue(Box<QueueRequest>),
    Event(Event),
}

/// Messages of one session's queue that are wanted in memory again. All of them have been
/// committed, unless the store has failed.
#[derive(Debug)]
pub struct QueueRequest {
    pub(crate) session: SessionKey,
    pub(crate) durable: u64,
    pub(crate) bytes: u64,
    pub(crate) sequences: Vec<u64>,
}

impl QueueRequest {
    pub const SPACE: Space = Space::Queue;

    /// The key below which they are.
    #[must_use]
    pub fn key(&self) -> [u8; 8] {
        self.durable.to_be_bytes()
    }

    /// The entries' sequences, in the order in which they are wanted.
    #[must_use]
    pub fn sequences(&self) -> &[u64] {
        &self.sequences
    }
}

/// At which point an authenticator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationStage {
    /// A CONNECT has come.
    Connect,
    /// An AUTH 0x18 has come, at connect or in a re-authentication.
    Continue,
    /// An AUTH 0x19 has come on an open connection.
    Reauthenticate,
}

/// Who wants in, and how they prove it.
#[derive(Clone)]
pub struct AuthenticationRequest {
    pub stage: AuthenticationStage,
    pub client_identifier: Box<str>,
    pub user_name: Option<Box<str>>,
    pub password: Option<Box<[u8]>>,
    pub method: Option<Box<str>>,
    pub data: Option<Box<[u8]>>,
    pub version: Version,
    pub peer: Peer,
    /// What else a CONNECT says; in later stages nothing.
    pub clean_start: bool,
    pub keep_alive_seconds: u16,
    pub session_expiry_seconds: u32,
    pub will: Option<WillInfo>,
}

/// A will message, as far as it decides who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillInfo {
    pub topic: Box<str>,
    pub qos: QoS,
    pub retain: bool,
}

impl std::fmt::Debug for AuthenticationRequest {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticationRequest")
            .field("stage", &self.stage)
            .field("client_identifier", &self.client_identifier)
            .field("user_name", &self.user_name)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("method", &self.method)
            .field("data", &self.data.as_ref().map(|_| "…"))
            .field("version", &self.version)
            .field("peer", &self.peer)
            .finish()
    }
}

/// An authenticator's answer.
#[derive(Clone, Debug)]
pub enum Decision {
    Accept {
        /// Who the client is from now on; `None` keeps the user name it gave.
        user: Option<Box<str>>,
        /// Authentication data for the CONNACK or the closing AUTH.
        data: Option<Box<[u8]>>,
        /// What the client may do; `None`: everything.
        permissions: Option<Vec<Rule>>,
        /// The longest keep alive and session expiry interval granted, in seconds.
        keep_alive_seconds: Option<u16>,
        session_expiry_seconds: Option<u32>,
    },
    /// Go on with an AUTH 0x18.
    Continue { data: Option<Box<[u8]>> },
    /// The reason code and, where the client wants to know, a text.
    Refuse {
        reason: ReasonCode,
        text: Option<Box<str>>,
    },
}

/// Something that happened, told after the fact and in batches.
#[derive(Clone, Debug)]
pub enum Event {
    Connected {
        client: Box<str>,
        user: Option<Box<str>>,
        address: Option<IpAddr>,
        version: Version,
        session_present: bool,
        keep_alive_seconds: u16,
    },
    Refused {
        client: Box<str>,
        address: Option<IpAddr>,
        reason: ReasonCode,
    },
    Disconnected {
        client: Box<str>,
        reason: ReasonCode,
        detail: &'static str,
    },
    Subscribed {
        client: Box<str>,
        filter: Box<str>,
        qos: u8,
    },
    Unsubscribed {
        client: Box<str>,
        filter: Box<str>,
    },
    /// Somebody is kept out for what they did.
    Banned {
        /// `client`, `user` or `address`.
        whom: &'static str,
        value: Box<str>,
        reason: &'static str,
        seconds: u64,
    },
    /// A message that a client was sent; above QoS 0, and took.
    Delivered {
        client: Box<str>,
        topic: Box<str>,
        qos: u8,
        bytes: u64,
    },
    /// Messages that did not reach a client, by reason.
    Dropped {
        client: Box<str>,
        reason: &'static str,
        messages: u64,
    },
    SessionEnded {
        client: Box<str>,
        reason: &'static str,
    },
    /// The rules do not allow what a client asked for; told whether anybody listens or not.
    Denied {
        client: Box<str>,
        user: Option<Box<str>>,
        action: Action,
        topic: Box<str>,
        /// The rule that decided; `None`: none speaks of it.
        rule: Option<Box<str>>,
    },
}

/// A field of an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    Text(String),
    Number(u64),
}

impl Event {
    /// The event's name, in the past tense.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Connected { .. } => "connected",
            Event::Refused { .. } => "refused",
            Event::Disconnected { .. } => "disconnected",
            Event::Subscribed { .. } => "subscribed",
            Event::Unsubscribed { .. } => "unsubscribed",
            Event::Banned { .. } => "banned",
            Event::Delivered { .. } => "delivered",
            Event::Dropped { .. } => "dropped",
            Event::SessionEnded { .. } => "session_ended",
            Event::Denied { .. } => "denied",
        }
    }

    /// The event's fields by name; what is not known is left out.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        let text = |text: &str| FieldValue::Text(text.to_owned());
        let code = |reason: &ReasonCode| FieldValue::Number(u64::from(reason.0));
        let mut fields = Vec::with_capacity(6);
        match self {
            Event::Connected {
                client,
                user,
                address,
                version,
                session_present,
                keep_alive_seconds,
            } => {
                fields.push(("client", text(client)));
                fields.extend(user.iter().map(|user| ("user", text(user))));
                fields.extend(
                    address
                        .iter()
                        .map(|each| ("address", text(&each.to_string()))),
                );
                fields.push(("version", FieldValue::Number(*version as u64)));
                fields.push((
                    "session_present",
                    FieldValue::Number(u64::from(*session_present)),
                ));
                fields.push((
                    "keep_alive_seconds",
                    FieldValue::Number(u64::from(*keep_alive_seconds)),
                ));
            }
            Event::Refused {
                client,
                address,
                reason,
            } => {
                fields.push(("client", text(client)));
                fields.extend(
                    address
                        .iter()
                        .map(|each| ("address", text(&each.to_string()))),
                );
                fields.push(("reason_code", code(reason)));
            }
            Event::Disconnected {
                client,
                reason,
                detail,
            } => {
                fields.push(("client", text(client)));
                fields.push(("reason_code", code(reason)));
                fields.push(("detail", text(detail)));
            }
            Event::Subscribed {
                client,
                filter,
                qos,
            } => {
                fields.push(("client", text(client)));
                fields.push(("filter", text(filter)));
                fields.push(("qos", FieldValue::Number(u64::from(*qos))));
            }
            Event::Unsubscribed { client, filter } => {
                fields.push(("client", text(client)));
                fields.push(("filter", text(filter)));
            }
            Event::Banned {
                whom,
                value,
                reason,
                seconds,
            } => {
                fields.push(("whom", text(whom)));
                fields.push(("value", text(value)));
                fields.push(("reason", text(reason)));
                fields.push(("seconds", FieldValue::Number(*seconds)));
            }
            Event::Delivered {
                client,
                topic,
                qos,
                bytes,
            } => {
                fields.push(("client", text(client)));
                fields.push(("topic", text(topic)));
                fields.push(("qos", FieldValue::Number(u64::from(*qos))));
                fields.push(("payload_bytes", FieldValue::Number(*bytes)));
            }
            Event::Dropped {
                client,
                reason,
                messages,
            } => {
                fields.push(("client", text(client)));
                fields.push(("reason", text(reason)));
                fields.push(("messages", FieldValue::Number(*messages)));
            }
            Event::SessionEnded { client, reason } => {
                fields.push(("client", text(client)));
                fields.push(("reason", text(reason)));
            }
            Event::Denied {
                client,
                user,
                action,
                topic,
                rule,
            } => {
                fields.push(("client", text(client)));
                fields.extend(user.iter().map(|user| ("user", text(user))));
                fields.push(("action", text(action.name())));
                fields.push(("topic", text(topic)));
                fields.extend(rule.iter().map(|rule| ("rule", text(rule))));
            }
        }
        fields
    }
}
