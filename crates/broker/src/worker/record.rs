//! What a durable broker writes down, and what waits until it has been written.

use noctule_packets::QoS;

use super::Worker;
use super::deliver::Publication;
use super::retained::{Cleared, Stored};
use super::timers::Timer;
use crate::durability::{Durability, UNAWAITED};
use crate::journal::{Records, Space, StoreState};
use crate::keep;
use crate::key::{ConnectionId, SessionKey};
use crate::message::Message;
use crate::outgoing::{Awaiting, Outbound};
use crate::routes::{Grant, Route};
use crate::time::Time;

/// Where a message for a durable session goes, and what is promised of it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub durable: u64,
    pub durability: Durability,
}

/// How long a mark that a retained message is cleared stays: far longer than any worker
/// takes for the turn in which it recorded that message.
const MARK_SECONDS: u64 = 10;

/// A retained message of another worker that has been cleared.
#[derive(Debug)]
pub(super) struct Mark {
    due: Time,
    topic: Box<str>,
    version: u64,
}

impl Worker {
    /// What this turn promises, and the number it is to be committed under. To be
    /// taken before the turn's output is written.
    pub fn take_records(&mut self) -> Option<(u64, Records)> {
        self.journal.take()
    }

    /// Everything up to `sequence` is on disk: what promised it may go out.
    pub fn committed(&mut self, sequence: u64, now: Time) {
        self.journal.commit(sequence);
        while let Some(id) = self.journal.next_opened(sequence) {
            if let Some(connection) = self.connection(id) {
                connection.outbox.open_gates(sequence);
                self.mark_dirty(id);
            }
        }
        self.read_on(now);
        self.settle(now);
    }

    /// How the store fares: while it is not ready, nothing new is promised.
    pub fn set_store_state(&mut self, state: StoreState, now: Time) {
        self.journal.state = state;
        if state == StoreState::Failed {
            self.read_on(now);
            self.settle(now);
        }
    }

    /// Holds back what is written to a connection from here on, if this turn has
    /// recorded anything that is waited for since it had `promised` so much.
    #[inline]
    pub(super) fn gate_since(&mut self, id: ConnectionId, promised: u64) {
        if self.journal.promised() > promised {
            self.gate(id);
        }
    }

    /// Holds back what is written from here on until everything recorded so far is
    /// on disk: it says again what may have been promised a moment ago.
    pub(super) fn gate_all(&mut self, id: ConnectionId) {
        if self.journal.pending() {
            self.gate(id);
        }
    }

    fn gate(&mut self, id: ConnectionId) {
        let sequence = self.journal.latest();
        if let Some(connection) = self.connection(id) {
            connection.outbox.gate(sequence);
            self.journal.note_gate(id);
        }
    }

    /// What is promised of a session that begins on a listener.
    pub(super) fn session_durability(&self, expiry_seconds: u32, listener: u16) -> Durability {
        if !self.journal.on || expiry_seconds == 0 {
            return Durability::Memory;
        }
        self.shared.options.durability_of_listener(listener)
    }

    /// A name for the records of a session.
    pub(super) fn name_records(&mut self, durability: Durability) -> u64 {
        match durability {
            Durability::Memory => 0,
            _ if self.is_awaited(durability) => self.shared.sequence.draw(),
            _ => self.shared.sequence.draw() | UNAWAITED,
        }
    }

    /// Whether acknowledgements wait for what is promised so. A store that syncs by
    /// interval alone tells of what is written, and for that everybody waits.
    fn is_awaited(&self, durability: Durability) -> bool {
        durability == Durability::Disk || !self.shared.syncs
    }

    /// What is promised of a topic's messages.
    pub(super) fn topic_durability(&self, topic: &[u8]) -> Durability {
        if !self.journal.on {
            return Durability::Memory;
        }
        let topic = std::str::from_utf8(topic).unwrap_or_default();
        self.shared.options.durability_of_topic(topic)
    }

    pub(super) fn record_session(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key.slot(), key.epoch()) else {
            return;
        };
        if session.durable == 0 {
            return;
        }
        let wall = self.shared.wall;
        self.journal
            .of(session.durable)
            .put(Space::Session, &[session.client.as_bytes()], |out| {
                keep::write_session(session, wall, out);
            });
    }

    pub(super) fn record_end(&mut self, client: &str, durable: u64) {
        if durable == 0 {
            return;
        }
        let journal = self.journal.of(durable);
        journal.delete(Space::Session, &[client.as_bytes()]);
        self.record_emptied(durable);
    }

    /// All there is under a durable id goes.
    pub(super) fn record_emptied(&mut self, durable: u64) {
        let key = durable.to_be_bytes();
        let journal = self.journal.of(durable);
        journal.delete_prefix(Space::Subscription, &key);
        journal.delete_prefix(Space::Received, &key);
        journal.clear(Space::Queue, &key);
        journal.clear(Space::InFlight, &key);
    }

    pub(super) fn record_subscription(&mut self, whole: &str, grant: Grant) {
        if grant.durable != 0 {
            let key = [&grant.durable.to_be_bytes()[..], whole.as_bytes()];
            let journal = self.journal.of(grant.durable);
            journal.put(Space::Subscription, &key, |out| {
                keep::write_grant(grant, out)
            });
        }
    }

    pub(super) fn record_unsubscription(&mut self, durable: u64, whole: &str) {
        if durable != 0 {
            let key = [&durable.to_be_bytes()[..], whole.as_bytes()];
            let journal = self.journal.of(durable);
            journal.delete(Space::Subscription, &key);
        }
    }

    /// Whether a message would have to be written down for somebody.
    pub(super) fn must_be_kept(&self, publication: &Publication<'_>, route: &Route) -> bool {
        let promised = self.journal.on && route.durability != Durability::Memory;
        if !promised || publication.head.qos == QoS::AtMostOnce {
            return false;
        }
        let members = route.groups.iter().flat_map(|group| group.members.iter());
        route
            .targets()
            .iter()
            .any(|target| target.durable != 0 && target.qos != QoS::AtMostOnce)
            || members.clone().any(|member| member.grant.durable != 0)
    }

    /// Writes a message down for every durable session of its route, whichever
    /// worker they live on: the publisher's acknowledgement is this worker's to send.
    pub(super) fn record_routed(&mut self, publication: &mut Publication<'_>, route: &Route) {
        publication.sequence = self.shared.sequence.draw();
        for target in route.targets() {
            let qos = publication.head.qos.min(target.qos);
            let wanted = target.durable != 0 && qos != QoS::AtMostOnce;
            if !wanted || !target.is_for(publication.head.publisher) {
                continue;
            }
            let retain = target.retain_as_published && publication.head.retain;
            let identifiers = route.identifiers(target);
            let place = Place {
                durable: target.durable,
                durability: route.durability,
            };
            self.record_queued(place, publication, qos, retain, identifiers, None);
        }
    }

    pub(super) fn record_queued(
        &mut self,
        place: Place,
        publication: &Publication<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[u32],
        group: Option<&str>,
    ) {
        let (wall, head) = (self.shared.wall, publication.head);
        let awaited = self.is_awaited(place.durability) && place.durable & UNAWAITED == 0;
        let (key, sequence) = (place.durable.to_be_bytes(), publication.sequence);
        let journal = self.journal.awaited(awaited);
        journal.append(Space::Queue, &key, sequence, |out| {
            keep::write_terms(qos, retain, identifiers, group, out);
            keep::write_parts(&head, publication.parts, wall, out);
        });
    }

    /// A message with a place of its own in a session's queue: a retained one that a
    /// new subscription is sent.
    pub(super) fn record_outbound(&mut self, durable: u64, outbound: &mut Outbound) {
        if durable == 0 || outbound.qos == QoS::AtMostOnce || !self.journal.on {
            return;
        }
        let topic = outbound.message.parts().topic;
        if self.topic_durability(topic) == Durability::Memory {
            return;
        }
        outbound.sequence = self.shared.sequence.draw();
        let wall = self.shared.wall;
        let Outbound {
            qos,
            retain,
            subscription_identifiers,
            message,
            sequence,
            ..
        } = outbound;
        let journal = self.journal.of(durable);
        journal.append(Space::Queue, &durable.to_be_bytes(), *sequence, |out| {
            keep::write_terms(*qos, *retain, subscription_identifiers, None, out);
            keep::write_message(message, wall, out);
        });
    }

    /// A QoS 2 message is about to be sent under an identifier, which must be the
    /// same when it is sent again: the PUBLISH waits for this.
    pub(super) fn record_in_flight(
        &mut self,
        id: ConnectionId,
        durable: u64,
        sequence: u64,
        identifier: u16,
        awaiting: Awaiting,
    ) {
        if durable == 0 || sequence == 0 || !self.journal.on {
            return;
        }
        let key = durable.to_be_bytes();
        // No promise to whoever published it: the PUBLISH alone waits, below.
        let journal = self.journal.awaited(false);
        journal.append(Space::InFlight, &key, sequence, |out| {
            keep::write_in_flight(identifier, awaiting, out);
        });
        if awaiting == Awaiting::Pubcomp {
            journal.remove(Space::Queue, &key, sequence);
        }
        if durable & UNAWAITED == 0 {
            self.gate(id);
        }
    }

    /// A message is done with, one way or the other.
    #[inline]
    pub(super) fn record_settled(&mut self, durable: u64, sequence: u64, qos: QoS) {
        if durable == 0 || sequence == 0 || !self.journal.on {
            return;
        }
        let key = durable.to_be_bytes();
        let journal = self.journal.awaited(false);
        journal.remove(Space::Queue, &key, sequence);
        if qos == QoS::ExactlyOnce {
            journal.remove(Space::InFlight, &key, sequence);
        }
    }

    pub(super) fn record_retained(&mut self, topic: &str, message: &Message, stored: Stored) {
        let wall = self.shared.wall;
        let key = topic.as_bytes();
        let durability = self.topic_durability(key);
        let awaited = self.is_awaited(durability);
        if durability == Durability::Memory {
            // What an earlier process kept must not come back in its place.
            if stored.replaces_former {
                let journal = self.journal.awaited(false);
                journal.remove(Space::Retained, key, stored.replaced);
            }
            return;
        }
        let journal = self.journal.awaited(awaited);
        journal.append(Space::Retained, key, stored.version, |out| {
            keep::write_message(message, wall, out);
        });
        if stored.replaced != 0 {
            journal.remove(Space::Retained, key, stored.replaced);
        }
    }

    /// Two workers may write one topic at a time: what counts is the version, not
    /// whose records come first. What another worker has written may come onto disk
    /// only now, so a mark stays that it is cleared.
    pub(super) fn record_cleared(&mut self, topic: &str, cleared: Cleared, now: Time) {
        let key = topic.as_bytes();
        let version = cleared.version;
        let durability = self.topic_durability(key);
        let is_former = cleared.writer.is_none();
        if durability == Durability::Memory && !is_former {
            return;
        }
        let awaited = durability != Durability::Memory && self.is_awaited(durability);
        let journal = self.journal.awaited(awaited);
        journal.remove(Space::Retained, key, version);
        let mine = cleared
            .writer
            .is_none_or(|by| usize::from(by) == self.index);
        if !self.journal.on || (mine && !cleared.mixed) {
            return;
        }
        let journal = self.journal.awaited(awaited);
        journal.append(Space::Cleared, key, version, |_| ());
        if cleared.mixed {
            // It covers older messages, too: it goes at the next start.
            return;
        }
        let due = now.after_seconds(MARK_SECONDS);
        if self.marks.is_empty() {
            self.wheel.insert(due, Timer::SweepMarks);
        }
        self.marks.push_back(Mark {
            due,
            topic: topic.into(),
            version,
        });
    }

    /// Takes away marks of which whatever they covered has been recorded since.
    pub(super) fn sweep_marks(&mut self, now: Time) {
        while let Some(mark) = self.marks.front() {
            if mark.due > now {
                self.wheel.insert(mark.due, Timer::SweepMarks);
                return;
            }
            let key = mark.topic.as_bytes();
            let journal = self.journal.awaited(false);
            journal.remove(Space::Retained, key, mark.version);
            journal.remove(Space::Cleared, key, mark.version);
            self.marks.pop_front();
        }
    }

    /// A QoS 2 message has been taken from a durable client, or released by it.
    pub(super) fn record_received(&mut self, durable: u64, identifier: u16, held: bool) {
        if durable == 0 {
            return;
        }
        let journal = self.journal.of(durable);
        let (durable, identifier) = (durable.to_be_bytes(), identifier.to_be_bytes());
        let key = [&durable[..], &identifier[..]];
        if held {
            journal.put(Space::Received, &key, |_| ());
        } else {
            journal.delete(Space::Received, &key);
        }
    }
}
