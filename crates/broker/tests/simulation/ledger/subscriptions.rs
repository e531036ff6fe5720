//! Who had subscribed to what, and when for certain.

use noctule_broker::Time;
use noctule_packets::QoS;

use super::{Ledger, Message};

/// One subscription of one client, from SUBSCRIBE to its end.
#[derive(Debug)]
pub struct Subscription {
    pub client: usize,
    /// As the client wrote it, `$share/…` included.
    pub filter: String,
    pub qos: QoS,
    /// 0: none.
    pub identifier: u32,
    pub asked: Time,
    pub granted: Option<Time>,
    /// When UNSUBSCRIBE was sent.
    pub leaving: Option<Time>,
    /// When UNSUBACK came or the session ended.
    pub ended: Option<Time>,
}

impl Subscription {
    pub fn covers(&self, topic: &str) -> bool {
        matches(plain(&self.filter), topic)
    }

    pub fn is_shared(&self) -> bool {
        self.filter.starts_with("$share/")
    }

    /// Whether it may have been there at some time between `first` and `last`.
    pub fn may_overlap(&self, (first, last): (Time, Time)) -> bool {
        self.asked <= last && self.ended.is_none_or(|ended| ended >= first)
    }

    /// Whether it was there all the time from `first` to `last`.
    pub fn spans(&self, (first, last): (Time, Time)) -> bool {
        let until = self.leaving.into_iter().chain(self.ended).min();
        self.granted.is_some_and(|granted| granted <= first) && until.is_none_or(|end| end > last)
    }
}

/// A filter without its `$share/{group}/`.
pub fn plain(filter: &str) -> &str {
    match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    }
}

/// Whether a filter matches a name, level by level (MQTT 5.0 §4.7).
pub fn matches(filter: &str, name: &str) -> bool {
    let mut names = name.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

impl Ledger {
    pub fn asked(&mut self, subscription: Subscription) -> usize {
        self.subscriptions.push(subscription);
        self.subscriptions.len() - 1
    }

    pub fn granted(&mut self, subscription: usize, now: Time) {
        self.subscriptions[subscription].granted = Some(now);
    }

    /// A client sends UNSUBSCRIBE.
    pub fn leaving(&mut self, client: usize, filter: &str, now: Time) {
        for each in self.open(client).filter(|each| each.filter == filter) {
            each.leaving.get_or_insert(now);
        }
    }

    /// A client has its UNSUBACK for what it sent at `since`.
    pub fn left(&mut self, client: usize, filter: &str, since: Time, now: Time) {
        for each in self.open(client).filter(|each| each.filter == filter) {
            if each.asked < since {
                each.ended = Some(now);
            }
        }
    }

    pub fn session_ended(&mut self, client: usize, now: Time) {
        if self.closed {
            return;
        }
        self.sessions_ended.push((client, now));
        for each in self.open(client) {
            each.ended = Some(now);
        }
    }

    fn open(&mut self, client: usize) -> impl Iterator<Item = &mut Subscription> {
        self.subscriptions
            .iter_mut()
            .filter(move |each| each.client == client && each.ended.is_none())
    }

    /// A client's subscriptions that match a message's topic.
    pub(super) fn of<'a>(
        &'a self,
        client: usize,
        message: &'a Message,
    ) -> impl Iterator<Item = &'a Subscription> {
        self.subscriptions
            .iter()
            .filter(move |each| each.client == client && each.covers(&message.topic))
    }
}
