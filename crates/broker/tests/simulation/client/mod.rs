//! A client that keeps the rules, and notices when the broker does not.

mod connecting;
mod habits;
mod receiving;
mod sending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use noctule_broker::Time;
use noctule_packets::QoS;

pub use habits::Habits;

use crate::ledger::Outcome;
use crate::scene::Scene;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Offline,
    /// CONNECT is sent.
    Waiting,
    Open,
}

/// What an own message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
}

/// A QoS 1 or 2 message of this client in flight.
#[derive(Debug)]
struct Sent {
    identifier: u16,
    serial: u32,
    awaiting: Awaiting,
}

/// A SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
#[derive(Debug)]
enum Request {
    /// Subscriptions by their place in the ledger, with the QoS asked for.
    Subscribe(Vec<(usize, QoS)>),
    Unsubscribe(Vec<String>, Time),
}

/// Session state as the client keeps it (MQTT 5.0 §4.1).
#[derive(Default)]
struct Session {
    identifier: u16,
    outgoing: VecDeque<Sent>,
    /// QoS 2 messages taken and not yet released: serial by packet identifier.
    received: BTreeMap<u16, Option<u32>>,
}

/// What lasts as long as one network connection.
#[derive(Default)]
struct Connection {
    input: Vec<u8>,
    /// Acknowledgements not yet sent.
    acknowledgements: VecDeque<Vec<u8>>,
    /// PUBLISH packets that these and others will answer.
    unanswered: BTreeSet<u16>,
    requests: BTreeMap<u16, Request>,
    aliases_in: BTreeMap<u16, String>,
    aliases_out: Vec<String>,
    server_aliases: usize,
    server_receive_maximum: usize,
    session_present: bool,
    clean_start: bool,
    expiry_seconds: u32,
    begun: Time,
    last_sent: Time,
    silent: bool,
}

pub struct Client {
    pub index: usize,
    pub name: String,
    pub habits: Habits,
    pub stage: Stage,
    pub link: Option<usize>,
    /// Bytes for the network.
    pub out: Vec<u8>,
    /// The client has asked for the end of this connection.
    pub hangs_up: bool,
    /// Messages not yet sent.
    pub waiting: VecDeque<u32>,
    /// Filters it holds or has asked for.
    pub filters: BTreeSet<String>,
    session: Session,
    connection: Connection,
    has_state: bool,
    must_clean: bool,
    /// Reasons for which the broker may end this connection.
    pub may_be_ended: bool,
    /// Messages it was sent as retained, serial by topic.
    pub retained: BTreeMap<String, u32>,
}

impl Client {
    pub fn new(index: usize, habits: Habits) -> Client {
        Client {
            index,
            name: format!("c{index}"),
            habits,
            stage: Stage::Offline,
            link: None,
            out: Vec::new(),
            hangs_up: false,
            waiting: VecDeque::new(),
            filters: BTreeSet::new(),
            session: Session::default(),
            connection: Connection::default(),
            has_state: false,
            must_clean: false,
            may_be_ended: false,
            retained: BTreeMap::new(),
        }
    }

    /// Nothing of its own is on its way, nothing it got is unanswered.
    pub fn is_at_rest(&self) -> bool {
        self.waiting.is_empty()
            && self.session.outgoing.is_empty()
            && self.session.received.is_empty()
            && self.connection.requests.is_empty()
            && self.connection.acknowledgements.is_empty()
    }

    pub fn has_state(&self) -> bool {
        self.has_state
    }

    pub fn describe(&self) -> String {
        format!(
            "{} {:?} link {:?}: {} waiting, outgoing {:?}, received {:?}, {} acks, requests {:?}",
            self.name,
            self.stage,
            self.link,
            self.waiting.len(),
            self.session.outgoing,
            self.session.received,
            self.connection.acknowledgements.len(),
            self.connection.requests
        )
    }

    /// Session state is gone: what was in flight will not be sent again.
    fn discard_session(&mut self, scene: &mut Scene) {
        for sent in std::mem::take(&mut self.session.outgoing) {
            scene
                .ledger
                .settled(sent.serial, Outcome::Abandoned, scene.now);
        }
        self.session = Session::default();
        self.filters.clear();
        self.has_state = false;
    }

    /// The network connection is over, as the client sees it.
    pub fn disconnected(&mut self, scene: &mut Scene) {
        let ended = self.stage == Stage::Open && self.connection.expiry_seconds == 0;
        self.stage = Stage::Offline;
        self.link = None;
        self.out.clear();
        self.hangs_up = false;
        self.connection = Connection::default();
        if ended {
            self.discard_session(scene);
        }
    }

    /// A packet identifier that nothing of this client's uses.
    fn next_identifier(&mut self) -> u16 {
        loop {
            self.session.identifier = self.session.identifier.checked_add(1).unwrap_or(1);
            let identifier = self.session.identifier;
            let outgoing = &self.session.outgoing;
            let taken = outgoing.iter().any(|sent| sent.identifier == identifier)
                || self.connection.requests.contains_key(&identifier);
            if !taken {
                return identifier;
            }
        }
    }
}
