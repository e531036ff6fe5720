//! What clients did and were told, and what must follow from it, whatever the disk did.

use std::collections::{BTreeMap, BTreeSet};

use noctule_packets::QoS;

use crate::ledger::subscriptions::matches;

/// How far a message has come, as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Unknown,
    Acknowledged,
    Refused,
}

#[derive(Debug)]
pub struct Message {
    pub publisher: usize,
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    /// It clears what is retained, and carries no number.
    pub is_empty: bool,
    pub sent: u64,
    pub settled: u64,
    pub outcome: Outcome,
    /// Who got it, in which of its sessions, and how.
    got: Vec<(usize, u32, QoS)>,
}

#[derive(Debug)]
struct Subscription {
    client: usize,
    filter: String,
    asked: u64,
    granted: Option<u64>,
    /// When it was first asked to end.
    leaving: Option<u64>,
    /// When that was told to have happened.
    ended: Option<u64>,
}

/// Times are counts of what happened: two never are the same.
#[derive(Default)]
pub struct Ledger {
    clock: u64,
    pub messages: Vec<Message>,
    subscriptions: Vec<Subscription>,
    /// When a client first asked for the end of a session.
    sessions_ended: Vec<(usize, u64)>,
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn publish(&mut self, publisher: usize, topic: String, qos: QoS, is_empty: bool) -> u32 {
        let sent = self.tick();
        self.messages.push(Message {
            publisher,
            retain: topic.starts_with('r'),
            topic,
            qos,
            is_empty,
            sent,
            settled: u64::MAX,
            outcome: Outcome::Unknown,
            got: Vec::new(),
        });
        (self.messages.len() - 1) as u32
    }

    pub fn settled(&mut self, serial: u32, outcome: Outcome) {
        let now = self.tick();
        let message = &mut self.messages[serial as usize];
        if message.outcome == Outcome::Unknown {
            message.outcome = outcome;
            message.settled = now;
        }
    }

    pub fn asked(&mut self, client: usize, filter: &str) {
        let asked = self.tick();
        self.subscriptions.push(Subscription {
            client,
            filter: filter.to_owned(),
            asked,
            granted: None,
            leaving: None,
            ended: None,
        });
    }

    pub fn granted(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        for each in self.open(client, filter) {
            each.granted = Some(now);
        }
    }

    pub fn leaving(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        for each in self.open(client, filter) {
            each.leaving.get_or_insert(now);
        }
    }

    pub fn left(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        for each in self.open(client, filter) {
            each.ended = Some(now);
        }
    }

    /// A client asks for a session without anything of an earlier one.
    pub fn ending_session(&mut self, client: usize) {
        let now = self.tick();
        self.sessions_ended.push((client, now));
        for each in self.open_all(client) {
            each.leaving.get_or_insert(now);
        }
    }

    /// It was told that it has one.
    pub fn ended_session(&mut self, client: usize) {
        let now = self.tick();
        self.sessions_ended.push((client, now));
        for each in self.open_all(client) {
            each.leaving.get_or_insert(now);
            each.ended = Some(now);
        }
    }

    fn open_all(&mut self, client: usize) -> impl Iterator<Item = &mut Subscription> {
        self.subscriptions
            .iter_mut()
            .filter(move |each| each.client == client && each.ended.is_none())
    }

    fn open(&mut self, client: usize, filter: &str) -> impl Iterator<Item = &mut Subscription> {
        self.open_all(client)
            .filter(move |each| each.filter == filter)
    }

    /// A filter that a client has, and has not asked to lose.
    pub fn filters(&self, client: usize) -> Vec<String> {
        let held = self.subscriptions.iter().filter(|each| {
            each.client == client && each.granted.is_some() && each.leaving.is_none()
        });
        held.map(|each| each.filter.clone()).collect()
    }

    pub fn may_ask(&self, client: usize, filter: &str) -> bool {
        let mut all = self.subscriptions.iter();
        !all.any(|each| each.client == client && each.filter == filter && each.ended.is_none())
    }

    /// A client got a message, not for being retained.
    pub fn deliver(&mut self, client: usize, session: u32, topic: &str, serial: u32, qos: QoS) {
        let message = &self.messages[serial as usize];
        assert_eq!(message.topic, topic, "the topic of message {serial}");
        let subscribed = self.subscriptions.iter().any(|each| {
            each.client == client
                && matches(&each.filter, topic)
                && each.asked < message.settled
                && each.ended.is_none_or(|ended| ended > message.sent)
        });
        assert!(
            subscribed,
            "client {client} got message {serial} ({topic}) without having subscribed"
        );
        let delivery = (client, session, QoS::ExactlyOnce);
        let again = message.got.contains(&delivery);
        assert!(
            qos != QoS::ExactlyOnce || !again,
            "client {client} got message {serial} ({topic}) twice at QoS 2"
        );
        self.messages[serial as usize]
            .got
            .push((client, session, qos));
    }

    pub fn deliveries(&self) -> usize {
        self.messages.iter().map(|each| each.got.len()).sum()
    }

    /// Whatever was acknowledged has come to everyone who was subscribed all the time.
    pub fn check_deliveries(&self) {
        for (serial, message) in self.messages.iter().enumerate() {
            let promised = message.outcome == Outcome::Acknowledged
                && !message.is_empty
                && !message.topic.starts_with('m');
            if !promised {
                continue;
            }
            for client in self.entitled(message) {
                assert!(
                    message.got.iter().any(|each| each.0 == client),
                    "message {serial} ({}, {:?}) of client {} was acknowledged and never came \
                     to client {client}",
                    message.topic,
                    message.qos,
                    message.publisher
                );
            }
        }
    }

    fn entitled(&self, message: &Message) -> BTreeSet<usize> {
        let of_session = |client: usize| {
            let mut ended = self.sessions_ended.iter();
            !ended.any(|&(who, when)| who == client && when > message.sent)
        };
        self.subscriptions
            .iter()
            .filter(|each| matches(&each.filter, &message.topic))
            .filter(|each| each.granted.is_some_and(|granted| granted < message.sent))
            .filter(|each| each.leaving.is_none_or(|leaving| leaving > message.settled))
            .map(|each| each.client)
            .filter(|&client| of_session(client))
            .collect()
    }

    /// What a topic retains is what was acknowledged last, or something later.
    pub fn check_retained(&self, found: &BTreeMap<String, u32>) {
        let retained = self.messages.iter().enumerate();
        let mut candidates: BTreeMap<&str, BTreeSet<Option<u32>>> = BTreeMap::new();
        for (serial, message) in retained.filter(|(_, message)| message.retain) {
            let of_topic = candidates.entry(&message.topic).or_insert([None].into());
            if message.outcome == Outcome::Acknowledged {
                of_topic.clear();
            }
            of_topic.insert((!message.is_empty).then_some(serial as u32));
        }
        for (topic, candidates) in &candidates {
            let found = found.get(*topic).copied();
            assert!(
                candidates.contains(&found),
                "{topic} retains {found:?}, not one of {candidates:?}"
            );
        }
        let mut topics = found.keys();
        assert!(topics.all(|topic| candidates.contains_key(topic.as_str())));
    }
}
