//! The last retained message of a topic is the one that is kept.

use std::collections::{BTreeMap, BTreeSet};

use noctule_packets::QoS;

use super::{Ledger, Outcome};

impl Ledger {
    /// Holds what a new subscriber was sent, serial by topic, to what was published.
    pub fn check_retained(&self, found: &BTreeMap<String, u32>) {
        let mut topics = BTreeMap::<&str, Vec<usize>>::new();
        for (serial, message) in self.messages.iter().enumerate() {
            if message.retain && message.sent.is_some() {
                topics.entry(&message.topic).or_default().push(serial);
            }
        }
        for topic in found.keys() {
            assert!(
                topics.contains_key(topic.as_str()),
                "{topic} was never retained"
            );
        }
        for (topic, serials) in topics {
            let candidates = self.candidates(&serials);
            let kept = found.get(topic).copied();
            assert!(
                candidates.contains(&kept),
                "{topic} keeps {kept:?}, not one of {candidates:?}"
            );
        }
    }

    /// What a topic may keep: everything from the last message that was certainly
    /// taken on, and what was sent again after that. `None` stands for nothing.
    fn candidates(&self, serials: &[usize]) -> BTreeSet<Option<u32>> {
        let certain = |&serial: &usize| self.messages[serial].outcome == Outcome::Acknowledged;
        let base = serials.iter().rposition(certain);
        let since = base.and_then(|base| self.messages[serials[base]].sent);
        let mut candidates = BTreeSet::new();
        if base.is_none() {
            candidates.insert(None);
        }
        for (place, &serial) in serials.iter().enumerate() {
            let message = &self.messages[serial];
            // QoS 2 is taken on once, if it was not refused the first time.
            let twice = message.qos == QoS::AtLeastOnce || self.may_refuse;
            let again = twice && message.last_sent > since;
            if base.is_some_and(|base| place < base) && !again {
                continue;
            }
            if message.payload_bytes != 0 {
                candidates.insert(Some(serial as u32));
            }
            if message.payload_bytes == 0 || message.expiry_seconds.is_some() {
                candidates.insert(None);
            }
        }
        candidates
    }
}
