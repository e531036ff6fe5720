//! A session's queue: what waits, how much may wait, and what moves up when there is room.

use noctule_packets::{QoS, ReasonCode};

use super::Worker;
use super::disconnect::Cause;
use super::timers::Timer;
use crate::key::{ConnectionId, SessionKey};
use crate::options::QueueFull;
use crate::outgoing::{Awaiting, Outbound};
use crate::time::Time;

/// What one look at a session may write beyond the soft limit of its outbox.
const PUMP_STEPS: usize = 4_096;

impl Worker {
    /// Adds a message to a session's queue, within its limits.
    pub(super) fn enqueue(&mut self, key: SessionKey, outbound: Outbound) {
        let policy = self.shared.options.limits.queue_full;
        let size = outbound.message.size() as u64;
        // Its publisher has been told that it is taken, perhaps by another worker, which
        // did not know yet that this queue is full.
        let is_promised = policy == QueueFull::Reject && outbound.qos != QoS::AtMostOnce;
        while !is_promised && self.is_full(key, size) {
            if policy != QueueFull::DropOldest {
                self.refuse_queueing(key, &outbound, policy);
                return;
            }
            if !self.drop_oldest(key) {
                // It is larger than a whole queue may be.
                return self.refuse_queueing(key, &outbound, policy);
            }
        }
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let counters = &self.counters;
        if session.durable == 0 {
            session.enqueue(outbound);
        } else if let Some(on_disk) = self.spill.enqueue(session, outbound, &mut self.journal) {
            counters.messages_on_disk.add(1);
            counters.messages_on_disk_bytes.add(on_disk);
        }
        session.publish_status();
        let (is_connected, queued) = (session.connection.is_some(), session.waiting());
        counters.messages_stored.add(1);
        counters.messages_stored_bytes.add(size);
        self.tell_room(key);
        if is_connected {
            self.suspect_queue(key, queued);
        }
    }

    /// Whether a session's queue has no room for `size` more bytes.
    fn is_full(&self, key: SessionKey, size: u64) -> bool {
        let limits = &self.shared.options.limits;
        self.sessions
            .get(key.slot(), key.epoch())
            .is_some_and(|session| {
                session.waiting() >= limits.max_queued_messages as usize
                    || session.queued_bytes + size > limits.max_queued_bytes
            })
    }

    fn refuse_queueing(&mut self, key: SessionKey, outbound: &Outbound, policy: QueueFull) {
        self.drop_outbound(key, outbound, "queue_full");
        let connection = self.session(key).and_then(|session| session.connection);
        if let Some(id) = connection
            && policy == QueueFull::Disconnect
        {
            let cause = Cause::by_server(ReasonCode::QUOTA_EXCEEDED, "queue full");
            self.ending.push_back((id, cause));
        }
    }

    /// Drops the oldest message that waits for a session; false if none does.
    fn drop_oldest(&mut self, key: SessionKey) -> bool {
        if let Some(oldest) = self.dequeue(key) {
            self.drop_outbound(key, &oldest, "queue_full");
            return true;
        }
        let has_more = self
            .session(key)
            .is_some_and(|session| session.tail.is_some());
        if has_more {
            self.drop_from_tail(key, "queue_full");
        }
        has_more
    }

    /// Takes the oldest message out of a session's queue.
    fn dequeue(&mut self, key: SessionKey) -> Option<Outbound> {
        let session = self.sessions.get_mut(key.slot(), key.epoch())?;
        let outbound = session.dequeue()?;
        self.spill.dequeued(session, &outbound);
        let counters = &self.counters;
        counters.messages_stored.subtract(1);
        counters
            .messages_stored_bytes
            .subtract(outbound.message.size() as u64);
        self.tell_room(key);
        Some(outbound)
    }

    /// Lets all workers know whether a session's queue has room, where publishers are told.
    #[inline]
    pub(super) fn tell_room(&self, key: SessionKey) {
        if self.shared.options.limits.queue_full != QueueFull::Reject {
            return;
        }
        if self.is_full(key, 1) {
            self.shared.full.write().insert(key);
        } else {
            self.shared.full.write().remove(&key);
        }
    }

    /// Sends a session what is due to it, in order, as far as window and outbox
    /// allow: what was in flight before, then the queue, then retained messages.
    pub(super) fn pump(&mut self, key: SessionKey, now: Time) {
        for _ in 0..PUMP_STEPS {
            let Some(session) = self.session(key) else {
                return;
            };
            if session.outgoing.resends() == 0
                && session.nothing_waits()
                && session.retained.is_none()
            {
                return;
            }
            let Some(id) = session.connection else { return };
            if session.tail.is_some() {
                self.read_ahead(key, now);
            }
            if !self.has_room(id, now) || !self.pump_one(key, id, now) {
                return;
            }
        }
        self.pump_later_always(key, now);
    }

    /// Whether the outbox and the rate of a connection let another message in.
    fn has_room(&mut self, id: ConnectionId, now: Time) -> bool {
        let soft = self.shared.options.limits.write_buffer_bytes as usize / 2;
        let Some(connection) = self.connection(id) else {
            return false;
        };
        if connection.outbox.len() >= soft {
            return false;
        }
        let rates = connection
            .rare
            .as_mut()
            .and_then(|rare| rare.limits.as_mut());
        match rates.and_then(|rates| rates.next_send(now)) {
            Some(then) => {
                let key = connection.session;
                self.wheel.insert(then, Timer::Pump(key));
                false
            }
            None => true,
        }
    }

    /// One message, if the window has room for it; whether there may be more.
    fn pump_one(&mut self, key: SessionKey, id: ConnectionId, now: Time) -> bool {
        let most = self.shared.options.limits.max_inflight_messages;
        let Some((connection, session)) = self.open(id) else {
            return false;
        };
        let window = connection.receive_maximum.min(most);
        let window_full = session.outgoing.open() - session.outgoing.resends() >= window;
        if session.outgoing.resends() > 0 {
            return !window_full && self.resend_one(key, id, now);
        }
        let age = self.shared.options.limits.max_queued_age_seconds;
        let Some(session) = self.session(key) else {
            return false;
        };
        if let Some(next) = session.queue.front() {
            let head = next.message.head();
            let too_old = age != 0 && head.arrived.after_seconds(age) <= now;
            let waits = window_full && next.qos != QoS::AtMostOnce;
            if next.message.expired(now) || too_old {
                if let Some(outbound) = self.dequeue(key) {
                    self.drop_outbound(key, &outbound, "expired");
                    self.skip_identifier(key, outbound.qos);
                }
                return true;
            }
            if waits {
                return false;
            }
            if let Some(outbound) = self.dequeue(key) {
                self.send_new(key, outbound, false, now);
            }
            return true;
        }
        if session.tail.is_some() {
            // It is being read.
            return false;
        }
        self.send_retained(key, window_full, now)
    }

    /// A message that was to be sent takes its packet identifier along.
    fn skip_identifier(&mut self, key: SessionKey, qos: QoS) {
        if let Some(session) = self.session(key).filter(|_| qos != QoS::AtMostOnce) {
            session.outgoing.skip();
        }
    }

    fn resend_one(&mut self, key: SessionKey, id: ConnectionId, now: Time) -> bool {
        let Some(session) = self.session(key) else {
            return false;
        };
        let Some((identifier, in_flight)) = session.outgoing.next_resend() else {
            return false;
        };
        let outbound = in_flight.outbound.clone();
        match (in_flight.awaiting, outbound) {
            (Awaiting::Pubcomp, _) | (_, None) => self.send_pubrel(id, identifier),
            (_, Some(outbound)) => self.send_again(key, identifier, &outbound, now),
        }
        true
    }

    /// Looks at a rate-limited session again when it may be sent more.
    pub(super) fn pump_later(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let key = connection.session;
        let rates = connection
            .rare
            .as_mut()
            .and_then(|rare| rare.limits.as_mut());
        if let Some(then) = rates.and_then(|rates| rates.next_send(now)) {
            self.wheel.insert(then, Timer::Pump(key));
        }
    }

    fn pump_later_always(&mut self, key: SessionKey, now: Time) {
        self.wheel.insert(now, Timer::Pump(key));
    }
}
