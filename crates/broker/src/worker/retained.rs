//! Retained messages: kept one a topic, sent to those who come later (MQTT 5.0 §3.3.1.3).

use std::sync::atomic::Ordering::Relaxed;

use noctule_packets::{QoS, ReasonCode};
use smallvec::SmallVec;

use super::Worker;
use super::deliver::Publication;
use crate::key::SessionKey;
use crate::message::Message;
use crate::outgoing::Outbound;
use crate::session::RetainedWalk;
use crate::shared::Retained;
use crate::time::Time;

/// Retained messages looked up at a time, under one lock.
const STRIDE: usize = 64;

impl Worker {
    /// Stores a message published with RETAIN, or clears the topic if its payload
    /// is empty [MQTT-3.3.1-5] [MQTT-3.3.1-6].
    pub(super) fn retain(&mut self, publication: &mut Publication<'_>) -> ReasonCode {
        let Ok(topic) = std::str::from_utf8(publication.parts.topic) else {
            return ReasonCode::TOPIC_NAME_INVALID;
        };
        if publication.parts.payload.is_empty() {
            self.shared.clear_retained(topic);
            return ReasonCode::SUCCESS;
        }
        let stored = self
            .shared
            .store_retained(topic, publication.message().clone());
        if stored {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::QUOTA_EXCEEDED
        }
    }

    /// Begins to send the retained messages that match a new subscription.
    pub(super) fn begin_retained(&mut self, key: SessionKey, walk: RetainedWalk) {
        if let Some(session) = self.session(key) {
            session.retained.get_or_insert_default().push_back(walk);
        }
    }

    /// The next few retained messages of a session's new subscriptions; whether
    /// there may be more to send now.
    pub(super) fn send_retained(&mut self, key: SessionKey, window_full: bool, now: Time) -> bool {
        let most = self.shared.options.limits.max_inflight_messages;
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return false;
        };
        let Some(walks) = session.retained.as_mut() else {
            return false;
        };
        let Some(walk) = walks.front_mut() else {
            session.retained = None;
            return false;
        };
        let grant = walk.grant;
        if window_full && grant.qos != QoS::AtMostOnce {
            return false;
        }
        let receive_maximum = session.connection.and_then(|id| {
            let connection = self.connections.get_mut(id.index(), id.generation())?;
            Some(connection.receive_maximum)
        });
        let window = receive_maximum
            .unwrap_or(most)
            .min(most)
            .saturating_sub(session.outgoing.open());
        let stride = match grant.qos {
            QoS::AtMostOnce => STRIDE,
            _ => STRIDE.min(usize::from(window)),
        };
        let mut found: SmallVec<[Message; STRIDE]> = SmallVec::new();
        let mut last: Option<Box<str>> = None;
        let retained = self.shared.retained.read();
        let ended = retained
            .tree
            .walk(&walk.filter, walk.after.as_deref(), |name, message| {
                // No local holds for what the session itself had retained, too [MQTT-3.8.3-3].
                let own = grant.no_local && message.head().publisher == key;
                if !own && !message.expired(now) {
                    found.push(message.clone());
                }
                if found.len() < stride {
                    return true;
                }
                last = Some(name.into());
                false
            });
        drop(retained);
        if ended {
            walks.pop_front();
            if walks.is_empty() {
                session.retained = None;
            }
        } else if last.is_some() {
            walk.after = last;
        }
        for message in found {
            let identifiers = [grant.subscription_identifier];
            let identifiers = if identifiers[0] == 0 {
                &[][..]
            } else {
                &identifiers[..]
            };
            let qos = message.head().qos.min(grant.qos);
            let outbound = Outbound {
                message,
                qos,
                retain: true,
                subscription_identifiers: SmallVec::from_slice(identifiers),
                group: None,
            };
            self.send_new(key, outbound, false, now);
        }
        true
    }
}

impl crate::Shared {
    /// False if the limits leave no room for it.
    pub(crate) fn store_retained(&self, topic: &str, message: Message) -> bool {
        let limits = &self.options.limits;
        let own = message.head().publisher == SessionKey::BROKER;
        let mut retained = self.retained.write();
        let size = message.size() as u64;
        let old = retained.tree.get(topic).map(|old| old.size() as u64);
        let bytes = retained.bytes - old.unwrap_or(0) + size;
        let clients = retained.tree.len() as u64 - retained.own;
        let one_too_many = old.is_none() && clients >= limits.max_retained_messages;
        if !own && (one_too_many || bytes > limits.max_retained_bytes) {
            return false;
        }
        retained.own += u64::from(own && old.is_none());
        retained.tree.insert(topic, message);
        self.count_retained(&mut retained, bytes);
        true
    }

    pub(crate) fn clear_retained(&self, topic: &str) {
        let mut retained = self.retained.write();
        if let Some(old) = retained.tree.remove(topic) {
            let bytes = retained.bytes - old.size() as u64;
            retained.own -= u64::from(old.head().publisher == SessionKey::BROKER);
            self.count_retained(&mut retained, bytes);
        }
    }

    fn count_retained(&self, retained: &mut Retained, bytes: u64) {
        retained.bytes = bytes;
        self.retained_bytes.store(bytes, Relaxed);
    }

    /// Removes what has expired among the `most` retained messages behind `after`;
    /// returns where to go on, or `None` at the end.
    pub(crate) fn sweep_retained(
        &self,
        after: Option<&str>,
        most: usize,
        now: Time,
    ) -> Option<Box<str>> {
        let mut expired: Vec<Box<str>> = Vec::new();
        let mut seen = 0;
        let mut last: Option<Box<str>> = None;
        self.retained.read().tree.walk("#", after, |name, message| {
            if message.expired(now) {
                expired.push(name.into());
            }
            seen += 1;
            if seen == most {
                last = Some(name.into());
            }
            seen < most
        });
        expired.iter().for_each(|topic| self.clear_retained(topic));
        last
    }
}
