//! One network connection, as far as the protocol is concerned.

use noctule_packets::Version;

use crate::aliases::{IncomingAliases, OutgoingAliases};
use crate::bucket::Bucket;
use crate::effect::Peer;
use crate::key::SessionKey;
use crate::outbox::Outbox;
use crate::time::Time;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No CONNECT yet.
    New,
    /// A CONNECT is with the authenticator.
    Authenticating,
    /// CONNACK 0x00 has been sent.
    Open,
    /// Only what the outbox holds is still to go out.
    Closing,
}

/// Why nothing is read from a connection; it is read again when none is left.
pub(crate) mod pause {
    /// An authenticator has been asked.
    pub const AUTHENTICATION: u8 = 1;
    /// A slow subscriber holds its publisher.
    pub const HELD: u8 = 2;
    /// The client sends faster than it may.
    pub const RATE: u8 = 4;
    /// It does not read what it asks for.
    pub const OUTBOX: u8 = 8;
    /// The process is short of memory.
    pub const MEMORY: u8 = 16;
    /// A hook has been asked.
    pub const HOOK: u8 = 32;
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub peer: Peer,
    /// Meaningful once `stage` is open.
    pub session: SessionKey,
    pub stage: Stage,
    pub version: Version,
    pub dirty: bool,
    /// It goes on with a session that another connection began.
    pub resumed: bool,
    /// It has not taken its output in time: publishers no longer wait for it.
    pub slow: bool,
    /// Wants reason strings and user properties on all packets.
    pub problem_information: bool,
    pub paused: u8,
    /// Slow subscribers that hold this publisher.
    pub held: u16,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// QoS 1 and 2 messages the client takes at once.
    pub receive_maximum: u16,
    /// The largest packet the client takes.
    pub maximum_packet_bytes: u32,
    /// The largest packet it may send, once connected.
    pub largest_from_client: u32,
    pub last_received: Time,
    pub outbox: Outbox,
    /// The beginning of a packet, or everything unread while paused.
    pub partial: Vec<u8>,
    pub incoming_aliases: Option<Box<IncomingAliases>>,
    pub outgoing_aliases: Option<Box<OutgoingAliases>>,
    pub rare: Option<Box<Rare>>,
}

/// What most connections never need.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// The CONNECT that waits for an authenticator: fixed header flags and body.
    pub connect: Vec<u8>,
    pub authentication_method: Option<Box<str>>,
    /// AUTH 0x19 has come and is not settled.
    pub reauthenticating: bool,
    pub limits: Option<Box<Rates>>,
    /// The longest keep alive and session expiry interval that a hook grants, in seconds.
    pub keep_alive: Option<u16>,
    pub session_expiry: Option<u32>,
    /// Publishers held for this connection.
    pub holding: Vec<SessionKey>,
    /// Bytes written since the hold began.
    pub written_in_hold: u64,
    pub hold_timer: bool,
    /// Hold periods in a row in which it took next to nothing.
    pub lean_periods: u8,
}

#[derive(Debug)]
pub(crate) struct Rates {
    pub messages_in: Option<Bucket>,
    pub bytes_in: Option<Bucket>,
    pub messages_out: Option<Bucket>,
    pub bytes_out: Option<Bucket>,
}

impl Connection {
    pub fn new(peer: Peer, largest_from_client: u32, now: Time) -> Connection {
        Connection {
            peer,
            session: SessionKey::BROKER,
            stage: Stage::New,
            version: Version::V4,
            dirty: false,
            resumed: false,
            slow: false,
            problem_information: true,
            paused: 0,
            held: 0,
            keep_alive: 0,
            receive_maximum: u16::MAX,
            maximum_packet_bytes: u32::MAX,
            largest_from_client,
            last_received: now,
            outbox: Outbox::default(),
            partial: Vec::new(),
            incoming_aliases: None,
            outgoing_aliases: None,
            rare: None,
        }
    }

    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// When a client that stays silent is given up: 1.5 times its keep alive
    /// [MQTT-3.1.2-22].
    pub fn keep_alive_deadline(&self) -> Time {
        match self.keep_alive {
            0 => Time::NEVER,
            seconds => self
                .last_received
                .after_milliseconds(u64::from(seconds) * 1_500),
        }
    }

    /// Whether the client's outgoing rate lets another message through.
    #[inline]
    pub fn may_send(&mut self, now: Time) -> bool {
        match self.rare.as_mut().and_then(|rare| rare.limits.as_mut()) {
            Some(rates) => rates.next_send(now).is_none(),
            None => true,
        }
    }
}

impl Rates {
    /// When the next message may go out, if not now.
    pub fn next_send(&mut self, now: Time) -> Option<Time> {
        wait(&mut self.messages_out, now).max(wait(&mut self.bytes_out, now))
    }

    /// When the next message may be taken in, if not now.
    pub fn next_receive(&mut self, now: Time) -> Option<Time> {
        wait(&mut self.messages_in, now).max(wait(&mut self.bytes_in, now))
    }
}

fn wait(bucket: &mut Option<Bucket>, now: Time) -> Option<Time> {
    bucket.as_mut().and_then(|bucket| bucket.ready(now).err())
}
