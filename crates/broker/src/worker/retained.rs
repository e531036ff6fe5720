//! Retained messages: kept one a topic, sent to those who come later (MQTT 5.0 §3.3.1.3).

use std::sync::atomic::Ordering::Relaxed;

use noctule_packets::{QoS, ReasonCode};
use smallvec::SmallVec;

use super::Worker;
use super::deliver::Publication;
use crate::durability::Durability;
use crate::hooks::Hooked;
use crate::key::SessionKey;
use crate::message::{Message, remaining_expiry};
use crate::outgoing::Outbound;
use crate::pressure::Pressure;
use crate::session::RetainedWalk;
use crate::shared::{Kept, Retained};
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
        let own = is_own(topic);
        let kept = self.topic_durability(publication.parts.topic) != Durability::Memory;
        if kept && !own && !self.journal.ready() {
            return ReasonCode::QUOTA_EXCEEDED;
        }
        if publication.parts.payload.is_empty() {
            if let Some(cleared) = self.shared.clear_retained(topic) {
                self.record_cleared(topic, cleared, publication.head.arrived);
            }
            return ReasonCode::SUCCESS;
        }
        if !own && self.shared.pressure() == Pressure::Full {
            return ReasonCode::QUOTA_EXCEEDED;
        }
        let message = publication.message().clone();
        let writer = self.index as u16;
        let Some(stored) = self.shared.store_retained(topic, message.clone(), writer) else {
            return ReasonCode::QUOTA_EXCEEDED;
        };
        if !own {
            self.record_retained(topic, &message, stored);
        }
        ReasonCode::SUCCESS
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
        let retained = self.shared.retained.read();
        let ended = retained
            .tree
            .walk_on(&walk.filter, &mut walk.bookmark, |_, kept| {
                // No local holds for what the session itself had retained, too [MQTT-3.8.3-3].
                let own = grant.no_local && kept.message.head().publisher == key;
                if !own && !kept.message.expired(now) {
                    found.push(kept.message.clone());
                }
                found.len() < stride
            });
        drop(retained);
        if ended {
            walks.pop_front();
            if walks.is_empty() {
                session.retained = None;
            }
        }
        let durable = session.durable;
        for message in found {
            let identifiers = match grant.subscription_identifier {
                0 => SmallVec::new(),
                identifier => SmallVec::from_slice(&[identifier]),
            };
            let mut outbound = Outbound {
                sequence: 0,
                qos: message.head().qos.min(grant.qos),
                message,
                retain: true,
                subscription_identifiers: identifiers,
                group: None,
            };
            self.record_outbound(durable, &mut outbound);
            self.send_new(key, outbound, false, now);
        }
        true
    }
}

/// Whether a topic is the broker's own: nothing of it is written down.
fn is_own(topic: &str) -> bool {
    topic.starts_with('$')
}

/// A message as somebody outside sees it.
fn seen(message: &Message, now: Time) -> Hooked {
    let (head, parts) = (message.head(), message.parts());
    Hooked {
        topic: String::from_utf8_lossy(parts.topic).into(),
        payload: parts.payload.into(),
        qos: head.qos,
        retain: true,
        properties: parts.properties.into(),
        expiry_seconds: remaining_expiry(head.deadline, now),
    }
}

/// The version a retained message has, and that of the one it replaced; 0: none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub version: u64,
    pub replaced: u64,
    /// Whether what it replaced is on disk since an earlier process.
    pub replaces_former: bool,
}

/// The version of a retained message that is cleared, and what else may be on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cleared {
    pub version: u64,
    pub writer: Option<u16>,
    pub mixed: bool,
}

/// An expired topic, and what was cleared there.
type Swept = (Box<str>, Cleared);

impl crate::Shared {
    /// What the message was stored as; `None` if the limits leave no room for it.
    pub(crate) fn store_retained(
        &self,
        topic: &str,
        message: Message,
        writer: u16,
    ) -> Option<Stored> {
        let limits = &self.options.limits;
        let own = is_own(topic);
        let mut retained = self.retained.write();
        let size = message.size() as u64;
        let old = retained.tree.get(topic);
        let (replaced, old_size) = old.map_or((0, 0), |old| (old.version, old.message.size()));
        let mixed = old.is_some_and(|old| old.mixed || old.writer.is_some_and(|by| by != writer));
        let replaces_former = old.is_some_and(|old| old.writer.is_none());
        let new = old.is_none();
        let bytes = retained.bytes - old_size as u64 + size;
        let clients = retained.tree.len() as u64 - retained.own;
        let one_too_many = new && clients >= limits.max_retained_messages;
        if !own && (one_too_many || bytes > limits.max_retained_bytes) {
            return None;
        }
        retained.own += u64::from(own && new);
        let version = self.sequence.draw();
        let kept = Kept {
            message,
            version,
            writer: Some(writer),
            mixed,
        };
        retained.tree.insert(topic, kept);
        self.count_retained(&mut retained, bytes);
        Some(Stored {
            version,
            replaced,
            replaces_former,
        })
    }

    /// What was cleared, if there was a message.
    pub(crate) fn clear_retained(&self, topic: &str) -> Option<Cleared> {
        let mut retained = self.retained.write();
        let old = retained.tree.remove(topic)?;
        let bytes = retained.bytes - old.message.size() as u64;
        retained.own -= u64::from(is_own(topic));
        self.count_retained(&mut retained, bytes);
        Some(Cleared {
            version: old.version,
            writer: old.writer,
            mixed: old.mixed,
        })
    }

    /// Up to `most` retained messages that match a filter, behind the topic `after`; not those
    /// that have expired. Whether there may be more.
    #[must_use]
    pub fn retained_messages(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
        now: Time,
    ) -> (Vec<Hooked>, bool) {
        let mut found = Vec::new();
        let retained = self.retained.read();
        let ended = retained.tree.walk(filter, after, |_, kept| {
            if !kept.message.expired(now) {
                found.push(seen(&kept.message, now));
            }
            found.len() < most
        });
        (found, !ended)
    }

    /// The retained message of a topic.
    #[must_use]
    pub fn retained_message(&self, topic: &str, now: Time) -> Option<Hooked> {
        let retained = self.retained.read();
        let kept = retained.tree.get(topic)?;
        (!kept.message.expired(now)).then(|| seen(&kept.message, now))
    }

    fn count_retained(&self, retained: &mut Retained, bytes: u64) {
        retained.bytes = bytes;
        self.retained_bytes.store(bytes, Relaxed);
    }

    /// Removes what has expired among the `most` retained messages behind `after`;
    /// returns what it was, and where to go on, or `None` at the end.
    pub(crate) fn sweep_retained(
        &self,
        after: Option<&str>,
        most: usize,
        now: Time,
    ) -> (Vec<Swept>, Option<Box<str>>) {
        let mut expired: Vec<Box<str>> = Vec::new();
        let mut seen = 0;
        let mut last: Option<Box<str>> = None;
        self.retained.read().tree.walk("#", after, |name, kept| {
            if kept.message.expired(now) {
                expired.push(name.into());
            }
            seen += 1;
            if seen == most {
                last = Some(name.into());
            }
            seen < most
        });
        let cleared = expired.into_iter().filter_map(|topic| {
            let cleared = self.clear_retained(&topic)?;
            Some((topic, cleared))
        });
        (cleared.collect(), last)
    }
}
