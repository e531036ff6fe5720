//! What everyone did, as far as it decides what everyone else must get.
//!
//! Nothing here looks into the broker: publishers and subscribers tell what they
//! sent and got, and the broker's own events tell when sessions began and ended
//! (which [`sessions`] checks in turn).

pub mod deliveries;
pub mod retained;
pub mod sessions;
pub mod subscriptions;
mod verdict;
pub mod wills;

use noctule_broker::Time;
use noctule_packets::QoS;

use deliveries::Delivery;
use sessions::Sessions;
use subscriptions::Subscription;
use wills::Wills;

/// How far a message has come, as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not acknowledged, and never will be at QoS 0.
    Unknown,
    Acknowledged,
    /// Answered with an error.
    Refused,
    /// The publisher's session ended before the answer.
    Abandoned,
}

/// A message, by its serial number.
#[derive(Debug)]
pub struct Message {
    pub publisher: usize,
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    pub expiry_seconds: Option<u32>,
    /// Of the payload; 0: it clears what is retained and carries no serial number.
    pub payload_bytes: usize,
    pub sent: Option<Time>,
    pub last_sent: Option<Time>,
    pub settled: Option<Time>,
    pub outcome: Outcome,
    /// How often it was sent.
    pub sends: u32,
    pub deliveries: Vec<Delivery>,
}

impl Message {
    /// The time in which the broker may have routed it.
    fn routed(&self) -> (Time, Time) {
        let certain = self.outcome == Outcome::Acknowledged;
        let last = self.settled.filter(|_| certain).unwrap_or(Time::NEVER);
        (self.sent.unwrap_or(Time::NEVER), last)
    }
}

/// What a client is and will not be talked out of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    pub retain_as_published: bool,
    pub no_local: bool,
    /// Largest packet it takes; 0: any.
    pub largest_packet: u32,
}

#[derive(Default)]
pub struct Ledger {
    pub messages: Vec<Message>,
    pub subscriptions: Vec<Subscription>,
    pub traits: Vec<Traits>,
    pub sessions: Sessions,
    pub wills: Wills,
    /// Whose session ended, and when.
    pub sessions_ended: Vec<(usize, Time)>,
    /// Everyone leaves for good: what ends now ends nothing that was promised.
    pub closed: bool,
    /// Messages the broker says it dropped, by client.
    pub dropped: Vec<u64>,
    /// Whether the broker may drop messages, if it counts them.
    pub tight: bool,
    /// Whether the broker may refuse messages for want of room.
    pub may_refuse: bool,
    /// First deliveries in order: by client, publisher, topic and both QoS the last serial.
    order: std::collections::BTreeMap<(usize, usize, String, u8, u8), u32>,
}

impl Ledger {
    pub fn new(clients: usize, tight: bool) -> Ledger {
        Ledger {
            traits: vec![Traits::default(); clients],
            sessions: Sessions::new(clients),
            dropped: vec![0; clients],
            tight,
            ..Ledger::default()
        }
    }

    /// Enters a message that is going to be sent; its serial number.
    pub fn add(&mut self, message: Message) -> u32 {
        self.messages.push(message);
        (self.messages.len() - 1) as u32
    }

    pub fn message(&mut self, serial: u32) -> &mut Message {
        &mut self.messages[serial as usize]
    }

    pub fn sent(&mut self, serial: u32, now: Time) {
        let message = self.message(serial);
        message.sent.get_or_insert(now);
        message.last_sent = Some(now);
        message.sends += 1;
    }

    pub fn settled(&mut self, serial: u32, outcome: Outcome, now: Time) {
        let message = self.message(serial);
        if message.outcome == Outcome::Unknown {
            message.outcome = outcome;
            message.settled = Some(now);
        }
    }

    /// The payload of message `serial`.
    pub fn payload(serial: u32, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(bytes.max(5));
        if bytes == 0 {
            return payload;
        }
        payload.push(b'M');
        payload.extend_from_slice(&serial.to_be_bytes());
        let filler = (payload.len()..bytes).map(|place| (serial as usize + place) as u8);
        payload.extend(filler);
        payload
    }
}
