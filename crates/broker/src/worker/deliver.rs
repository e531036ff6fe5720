//! A message to one session: written now, put in flight, or queued.

use noctule_packets::{PropertyBuffer, QoS};

use super::Worker;
use super::pen::Pen;
use super::send::{permitted, put_in_flight};
use crate::batch::{Copied, Item};
use crate::effect::{Effect, Event, INTERNAL_PREFIX};
use crate::key::SessionKey;
use crate::message::{Envelope, Head, Message, Parts, Sent, remaining_expiry};
use crate::outbox::SHARED_PAYLOAD_BYTES;
use crate::outgoing::{Outbound, identifiers};
use crate::policy::unmounted;
use crate::pressure::Pressure;
use crate::routes::{GroupRoute, Route, Target};
use crate::shared::GroupRef;
use crate::time::Time;

/// What may wait for a connection before its QoS 0 messages are dropped, when memory is
/// spent.
const LITTLE_BYTES: usize = 64 << 10;

/// A message on its way through the broker: still in the publisher's bytes, and
/// made a [`Message`] of its own when somebody has to keep it.
pub(super) struct Publication<'a> {
    pub head: Head,
    pub parts: Parts<'a>,
    /// The PUBLISH packet, if all its parts travel as they are.
    pub sent: Option<&'a Sent<'a>>,
    pub message: Option<Message>,
    /// The packet identifier of the publisher's QoS 2 exchange, while that is open;
    /// else 0.
    pub exchange: u16,
    /// Its place among the records of durable sessions; 0: it is in none.
    pub sequence: u64,
}

impl<'a> Publication<'a> {
    /// Of QoS 0, copied from another worker.
    fn of_qos0(head: Head, parts: Parts<'a>, sent: Option<&'a Sent<'a>>) -> Publication<'a> {
        Publication {
            head,
            parts,
            sent,
            message: None,
            exchange: 0,
            sequence: 0,
        }
    }

    pub fn message(&mut self) -> &Message {
        self.message.get_or_insert_with(|| match self.sent {
            Some(sent) => Message::from_body(self.head, &sent.packet[sent.body_at..], self.parts),
            None => Message::new(self.head, self.parts),
        })
    }
}

/// How one session is to get a message. `repr(C)` as [`Head`] is.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Terms<'a> {
    pub key: SessionKey,
    /// Names the session's records; 0: it has none.
    pub durable: u64,
    pub retain: bool,
    pub granted: QoS,
    pub subscription_identifiers: &'a [u32],
    pub group: Option<&'a GroupRef>,
}

impl Target {
    #[inline]
    fn terms<'a>(&self, publication: &Publication<'_>, identifiers: &'a [u32]) -> Terms<'a> {
        Terms {
            key: self.key,
            durable: self.durable,
            granted: self.qos,
            retain: self.retain_as_published && publication.head.retain,
            subscription_identifiers: identifiers,
            group: None,
        }
    }
}

/// Where publishers are held, how many times the soft limit may be in an outbox
/// before QoS 0 messages are dropped: those already on their way from another
/// worker when it is told to hold need room.
const HELD_ROOM: usize = 8;

impl Worker {
    /// To every target of a route that lives on this worker.
    #[inline(always)]
    pub(super) fn deliver_local(
        &mut self,
        publication: &mut Publication<'_>,
        route: &Route,
        now: Time,
    ) {
        let targets = route.targets_of(self.index);
        self.template.forget();
        let many = targets.len() > 1;
        if many && publication.parts.payload.len() >= SHARED_PAYLOAD_BYTES {
            publication.message();
        }
        for target in targets {
            if !target.is_for(publication.head.publisher) {
                continue;
            }
            let terms = target.terms(publication, route.identifiers(target));
            self.deliver(publication, terms, many, now);
        }
    }

    /// A QoS 0 message of another worker, for the targets that live here: the next of
    /// `bytes`.
    #[inline]
    pub(super) fn deliver_copied(
        &mut self,
        copied: Copied,
        bytes: &mut &[u8],
        route: &Route,
        now: Time,
    ) {
        let (parts, sent) = copied.take(bytes);
        let mut publication = Publication::of_qos0(copied.head, parts, sent.as_ref());
        self.deliver_local(&mut publication, route, now);
    }

    /// The same, for one target without a subscription identifier.
    #[inline]
    pub(super) fn deliver_copied_to_one(
        &mut self,
        copied: Copied,
        bytes: &mut &[u8],
        target: Target,
        now: Time,
    ) {
        let (parts, sent) = copied.take(bytes);
        let mut publication = Publication::of_qos0(copied.head, parts, sent.as_ref());
        if target.is_for(publication.head.publisher) {
            let terms = target.terms(&publication, &[]);
            self.deliver(&mut publication, terms, false, now);
        }
    }

    /// The same, of a message that several workers share.
    pub(super) fn deliver_routed(
        &mut self,
        message: Message,
        sequence: u64,
        route: &Route,
        now: Time,
    ) {
        let known = message.clone();
        let mut publication = Publication {
            head: *message.head(),
            parts: known.parts(),
            sent: None,
            message: Some(message),
            exchange: 0,
            sequence,
        };
        self.deliver_local(&mut publication, route, now);
    }

    /// A message of another worker, for a member of a shared group that lives here.
    /// If that member has gone meanwhile, another gets it.
    pub(super) fn deliver_chosen(
        &mut self,
        outbound: Outbound,
        granted: QoS,
        key: SessionKey,
        group: &GroupRoute,
        now: Time,
    ) {
        let mut members = group.members.iter();
        let durable = members
            .find(|member| member.key == key)
            .map_or(0, |member| member.grant.durable);
        if self.session(key).is_none() {
            self.record_settled(durable, outbound.sequence, outbound.qos);
            self.orphans.push_back(Outbound {
                group: Some(group.group.clone()),
                ..outbound
            });
            return;
        }
        let message = outbound.message;
        let known = message.clone();
        let mut publication = Publication {
            head: *message.head(),
            parts: known.parts(),
            sent: None,
            message: Some(message),
            exchange: 0,
            sequence: outbound.sequence,
        };
        let terms = Terms {
            key,
            durable,
            granted,
            retain: outbound.retain,
            subscription_identifiers: &outbound.subscription_identifiers,
            group: Some(&group.group),
        };
        self.deliver(&mut publication, terms, false, now);
    }

    /// To one session of this worker; the lower QoS wins [MQTT-3.8.4-8].
    #[inline]
    pub(super) fn deliver(
        &mut self,
        publication: &mut Publication<'_>,
        terms: Terms<'_>,
        many: bool,
        now: Time,
    ) {
        let qos = publication.head.qos.min(terms.granted);
        let key = terms.key;
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            // It has ended since its publisher's worker looked.
            self.record_settled(terms.durable, publication.sequence, qos);
            return;
        };
        if let Some(permissions) = &session.permissions
            && !permitted(permissions, publication.parts)
        {
            let durable = session.durable;
            self.record_settled(durable, publication.sequence, qos);
            return;
        }
        let Some(id) = session.connection else {
            self.deliver_offline(publication, terms, qos);
            return;
        };
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        let limits = &self.shared.options.limits;
        let waiting = connection.outbox.len();
        let soft = limits.write_buffer_bytes as usize / 2;
        let congested = waiting >= soft;
        let mut scratch = PropertyBuffer::default();
        if qos == QoS::AtMostOnce {
            let prefix = self.shared.options.prefix(connection.peer.listener);
            let parts = match prefix {
                None => publication.parts,
                Some(prefix) => match unmounted(prefix, publication.parts, &mut scratch) {
                    Some(parts) => parts,
                    None => return self.drop_for(key, "outside_prefix"),
                },
            };
            let many = many && prefix.is_none();
            let room = if limits.hold_publishers_milliseconds == 0 {
                2
            } else {
                HELD_ROOM
            };
            if congested && (connection.slow || waiting >= soft * room) {
                self.drop_for(key, "slow_reader");
                return;
            }
            if waiting >= LITTLE_BYTES && self.shared.pressure() == Pressure::Full {
                self.drop_for(key, "memory");
                return;
            }
            if !connection.may_send(now) {
                self.drop_for(key, "rate");
                return;
            }
            let envelope = Envelope {
                version: connection.version,
                dup: false,
                qos,
                retain: terms.retain,
                packet_identifier: 0,
                expiry: remaining_expiry(publication.head.deadline, now),
                subscription_identifiers: terms.subscription_identifiers,
                alias: None,
            };
            let mut pen = Pen {
                connection,
                pool: &mut self.pool,
                template: many.then_some(&mut self.template),
                counters: &self.counters,
            };
            let sent = match prefix {
                None => publication.sent,
                Some(_) => None,
            };
            if !pen.write(parts, sent, publication.message.as_ref(), envelope) {
                self.drop_for(key, "too_large");
                return;
            }
            self.mark_dirty(id);
            if self.shared.deliveries_observed() {
                self.tell_delivered(key, publication.parts, qos);
            }
            if congested {
                self.hold(id, publication.head.publisher, now);
            }
            return;
        }
        if publication.exchange != 0 && key == publication.head.publisher && qos == QoS::ExactlyOnce
        {
            return self.withhold_own(publication, terms, now);
        }
        let window = connection.receive_maximum.min(limits.max_inflight_messages);
        let may_go = session.nothing_waits()
            && session.outgoing.open() < window
            && session.outgoing.resends() == 0
            && !congested
            && connection.may_send(now);
        let outbound = Outbound {
            sequence: publication.sequence,
            message: publication.message().clone(),
            qos,
            retain: terms.retain,
            subscription_identifiers: identifiers(terms.subscription_identifiers),
            group: terms.group.cloned(),
        };
        let mounted = self
            .shared
            .options
            .prefix(connection.peer.listener)
            .is_some();
        if may_go && (mounted || qos == QoS::ExactlyOnce && self.journal.on) {
            self.send_new(key, outbound, many, now);
            return;
        }
        if may_go {
            // For speed: as `send_new` does it where nothing comes between.
            let envelope = Envelope {
                version: connection.version,
                dup: false,
                qos,
                retain: terms.retain,
                packet_identifier: session.outgoing.next_identifier(),
                expiry: remaining_expiry(publication.head.deadline, now),
                subscription_identifiers: terms.subscription_identifiers,
                alias: None,
            };
            let counters = &self.counters;
            let mut pen = Pen {
                connection,
                pool: &mut self.pool,
                template: many.then_some(&mut self.template),
                counters,
            };
            let (parts, sent) = (publication.parts, publication.sent);
            if !pen.write(parts, sent, Some(&outbound.message), envelope) {
                // As if delivered [MQTT-3.1.2-25].
                return self.drop_outbound(key, &outbound, "too_large");
            }
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push_back(id);
            }
            put_in_flight(session, outbound, counters);
            return;
        }
        self.enqueue(key, outbound);
        if congested {
            self.hold(id, publication.head.publisher, now);
        } else {
            self.pump_later(id, now);
        }
    }

    fn deliver_offline(&mut self, publication: &mut Publication<'_>, terms: Terms<'_>, qos: QoS) {
        if qos == QoS::AtMostOnce && !self.shared.options.limits.queue_qos0 {
            return;
        }
        if qos == QoS::AtMostOnce && self.shared.pressure() == Pressure::Full {
            self.drop_for(terms.key, "memory");
            return;
        }
        let outbound = Outbound {
            sequence: if qos == QoS::AtMostOnce {
                0
            } else {
                publication.sequence
            },
            message: publication.message().clone(),
            qos,
            retain: terms.retain,
            subscription_identifiers: identifiers(terms.subscription_identifiers),
            group: terms.group.cloned(),
        };
        self.enqueue(terms.key, outbound);
    }

    /// A message kept for a session is not going to reach it.
    pub(super) fn drop_outbound(
        &mut self,
        key: SessionKey,
        outbound: &Outbound,
        reason: &'static str,
    ) {
        let durable = self.session(key).map_or(0, |session| session.durable);
        self.record_settled(durable, outbound.sequence, outbound.qos);
        self.drop_for(key, reason);
    }

    /// Counts a message that does not reach a session.
    pub(super) fn drop_for(&mut self, key: SessionKey, reason: &'static str) {
        self.counters().publish_dropped.add(1);
        let observed = self.shared.observed();
        let interval = self.suspects.interval;
        let Some(session) = self.session(key) else {
            return;
        };
        let drops = session.dropped.get_or_insert_default();
        drops.count(reason, interval);
        if observed {
            drops.count_unsaid(reason);
        }
        if !drops.is_listed && drops.since(interval).is_power_of_two() {
            self.list_dropping(key);
        }
    }

    #[cold]
    pub(super) fn tell_delivered(&mut self, key: SessionKey, parts: Parts<'_>, qos: QoS) {
        let Some(client) = self.session(key).map(|session| session.client.clone()) else {
            return;
        };
        if client.starts_with(INTERNAL_PREFIX) {
            return;
        }
        let event = Event::Delivered {
            client: (*client).into(),
            topic: String::from_utf8_lossy(parts.topic).into(),
            qos: qos as u8,
            bytes: parts.payload.len() as u64,
        };
        self.effects.push_back(Effect::Event(event));
    }

    pub(super) fn send_to_worker(&mut self, worker: usize, item: Item) {
        self.batches[worker].items.push(item);
    }
}
