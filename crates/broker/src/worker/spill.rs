//! Queues longer than memory is to hold: their ends are on disk only, and read back in order.
//!
//! A message whose record is on disk need not be in memory while it waits. What a worker
//! holds of such messages is bounded by its share of `queue_memory_bytes`; beyond that a
//! session's queue goes on in its [`Tail`], and everything that comes later goes there,
//! too, until the tail has been read back. What there is no record of is in the tail as it
//! is, and so are messages of shared groups, which go to another member at once when their
//! session ends.

use super::Worker;
use crate::effect::{Effect, QueueRequest};
use crate::journal::Journal;
use crate::keep::{self, Writer};
use crate::key::SessionKey;
use crate::outgoing::Outbound;
use crate::session::Session;
use crate::tail::{Reference, Waiting};
use crate::time::Time;

/// What one look at the disk brings back, at most; one message always.
const READ_BYTES: u64 = 256 << 10;
const READ_MESSAGES: usize = 1_024;
/// The same when the worker's share is used up: so much for each session that reads on.
const LITTLE_BYTES: u64 = 16 << 10;

/// What a worker holds of messages that are on disk, too.
#[derive(Debug)]
pub(super) struct Spill {
    /// What it may hold.
    share: u64,
    /// What it holds, and what it has asked for.
    held: u64,
    max_age: u64,
    /// Sessions whose next message is not committed.
    awaiting: Vec<SessionKey>,
}

/// Whether a message that waits for a session can be read from the disk.
fn is_recorded(session: &Session, outbound: &Outbound) -> bool {
    session.durable != 0 && outbound.sequence != 0 && outbound.group.is_none()
}

impl Spill {
    pub fn new(share: u64, max_age: u64) -> Spill {
        Spill {
            share,
            held: 0,
            max_age,
            awaiting: Vec::new(),
        }
    }

    fn is_spent(&self) -> bool {
        self.held > self.share
    }

    /// What the next look at the disk may bring back.
    fn room(&self) -> u64 {
        let left = self.share.saturating_sub(self.held);
        left.clamp(LITTLE_BYTES, READ_BYTES)
    }

    /// At the end of a durable session's queue, wherever there is room; returns the bytes
    /// that are on disk only.
    #[inline(never)]
    pub fn enqueue(
        &mut self,
        session: &mut Session,
        outbound: Outbound,
        journal: &mut Journal,
    ) -> Option<u64> {
        let size = outbound.message.size() as u64;
        let recorded = is_recorded(session, &outbound);
        if session.tail.is_none() {
            if !recorded {
                session.enqueue(outbound);
                return None;
            }
            if self.held + size <= self.share {
                self.held += size;
                session.enqueue(outbound);
                return None;
            }
        }
        session.queued_bytes += size;
        let tail = session.tail.get_or_insert_default();
        if !recorded {
            tail.push_back(Waiting::Here(Box::new(outbound)));
            return None;
        }
        let reference = Reference::to(&outbound, journal.mark(), self.max_age);
        tail.push_back(Waiting::OnDisk(reference));
        Some(size)
    }

    /// A message was taken out of a session's queue.
    #[inline]
    pub fn dequeued(&mut self, session: &Session, outbound: &Outbound) {
        if is_recorded(session, outbound) {
            self.held -= outbound.message.size() as u64;
        }
    }

    /// A message of an earlier process is in a session's queue.
    pub fn restored(&mut self, session: &Session, outbound: &Outbound) {
        if is_recorded(session, outbound) {
            self.held += outbound.message.size() as u64;
        }
    }

    /// A session ends with all that waits for it.
    pub fn forget(&mut self, session: &Session) {
        let queued = session.queue.iter();
        queued.for_each(|outbound| self.dequeued(session, outbound));
    }

    /// Moves the end of a queue to the disk, as far as more is held than may be; returns
    /// messages and bytes.
    fn put_back(&mut self, session: &mut Session, journal: &mut Journal) -> (u64, u64) {
        let (mut messages, mut bytes) = (0, 0);
        while self.is_spent()
            && let Some(outbound) = session.queue.pop_back()
        {
            let waiting = match is_recorded(session, &outbound) {
                true => {
                    let reference = Reference::to(&outbound, journal.mark(), self.max_age);
                    messages += 1;
                    bytes += u64::from(reference.size);
                    self.dequeued(session, &outbound);
                    Waiting::OnDisk(reference)
                }
                false => Waiting::Here(Box::new(outbound)),
            };
            session.tail.get_or_insert_default().push_front(waiting);
        }
        (messages, bytes)
    }
}

impl Worker {
    /// What an [`Effect::ReadQueue`] asked for, in its order; `None` for what cannot be
    /// read: that is dropped, and counted.
    pub fn queue_read(&mut self, request: QueueRequest, values: Vec<Option<Vec<u8>>>, now: Time) {
        self.take_back(&request, values, now);
        self.settle(now);
    }

    fn take_back(&mut self, request: &QueueRequest, values: Vec<Option<Vec<u8>>>, now: Time) {
        self.spill.held -= request.bytes;
        let key = request.session;
        let is_welcome = self.spill.held + request.bytes <= self.spill.share;
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let Some(tail) = &mut session.tail else {
            return;
        };
        tail.is_asked = false;
        if session.connection.is_none() && !is_welcome {
            // It has gone meanwhile: later, then.
            return;
        }
        let counters = &self.counters;
        let mut unreadable = 0;
        for (&sequence, value) in request.sequences.iter().zip(values) {
            // What was dropped to make room is not wanted any more.
            let Some(reference) = tail.take(sequence) else {
                continue;
            };
            let size = u64::from(reference.size);
            session.queued_bytes -= size;
            counters.messages_stored_bytes.subtract(size);
            counters.messages_on_disk.subtract(1);
            counters.messages_on_disk_bytes.subtract(size);
            let writer = match self.shared.sequence.is_former(sequence) {
                true => Writer::Former,
                false => Writer::ThisProcess,
            };
            let wall = self.shared.wall;
            let read = value.and_then(|value| keep::read_queued(&value, sequence, wall, writer));
            let Some((outbound, _)) = read else {
                counters.messages_stored.subtract(1);
                unreadable += 1;
                continue;
            };
            let size = outbound.message.size() as u64;
            session.queued_bytes += size;
            session.queue.push_back(outbound);
            self.spill.held += size;
            counters.messages_stored_bytes.add(size);
        }
        session.forget_empty_tail();
        session.publish_status();
        // Their records stay for the store to put aside when it is opened again.
        for _ in 0..unreadable {
            self.tell_room(key);
            self.drop_for(key, "unreadable");
        }
        self.pump(key, now);
    }

    /// Sees to it that a session with a connection finds the next messages in its queue.
    pub(super) fn read_ahead(&mut self, key: SessionKey, now: Time) {
        loop {
            let room = self.spill.room();
            let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
                return;
            };
            let Some(tail) = &mut session.tail else {
                return;
            };
            if tail.is_asked || session.queued_bytes - tail.bytes > room / 2 {
                return;
            }
            match tail.front() {
                None => return session.forget_empty_tail(),
                Some(Waiting::Here(_)) => session.move_up(),
                Some(Waiting::OnDisk(next)) if next.until <= now => {
                    self.drop_from_tail(key, "expired");
                }
                Some(Waiting::OnDisk(next)) if !self.journal.is_decided(next.batch) => {
                    if !std::mem::replace(&mut tail.awaits_commit, true) {
                        self.spill.awaiting.push(key);
                    }
                    return;
                }
                Some(Waiting::OnDisk(_)) => return self.ask_for_queue(key, room),
            }
        }
    }

    fn ask_for_queue(&mut self, key: SessionKey, room: u64) {
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let Some(tail) = &mut session.tail else {
            return;
        };
        let (mut sequences, mut bytes) = (Vec::new(), 0);
        for reference in tail.references().take(READ_MESSAGES) {
            let size = u64::from(reference.size);
            let fits = sequences.is_empty() || bytes + size <= room;
            if !fits || !self.journal.is_decided(reference.batch) {
                break;
            }
            sequences.push(reference.sequence);
            bytes += size;
        }
        tail.is_asked = true;
        self.spill.held += bytes;
        let request = QueueRequest {
            session: key,
            durable: session.durable,
            bytes,
            sequences,
        };
        self.effects.push_back(Effect::ReadQueue(Box::new(request)));
    }

    /// More is on disk, or nothing more will ever be: who waited for that goes on.
    pub(super) fn read_on(&mut self, now: Time) {
        for key in std::mem::take(&mut self.spill.awaiting) {
            if let Some(session) = self.session(key)
                && let Some(tail) = &mut session.tail
            {
                tail.awaits_commit = false;
                self.pump(key, now);
            }
        }
    }

    /// The first message of a session's tail is not going to reach it.
    pub(super) fn drop_from_tail(&mut self, key: SessionKey, reason: &'static str) {
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let Some(waiting) = session.take_from_tail() else {
            return;
        };
        let durable = session.durable;
        self.tell_room(key);
        let counters = &self.counters;
        counters.messages_stored.subtract(1);
        match waiting {
            Waiting::OnDisk(reference) => {
                let size = u64::from(reference.size);
                counters.messages_stored_bytes.subtract(size);
                counters.messages_on_disk.subtract(1);
                counters.messages_on_disk_bytes.subtract(size);
                self.record_settled(durable, reference.sequence, reference.qos);
                self.drop_for(key, reason);
            }
            Waiting::Here(outbound) => {
                let size = outbound.message.size() as u64;
                counters.messages_stored_bytes.subtract(size);
                self.drop_outbound(key, &outbound, reason);
            }
        }
    }

    /// A session has lost its connection: what was read for it beyond the worker's share
    /// goes back.
    pub(super) fn put_back(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        if session.durable == 0 || !self.spill.is_spent() {
            return;
        }
        let (messages, bytes) = self.spill.put_back(session, &mut self.journal);
        let counters = &self.counters;
        counters.messages_on_disk.add(messages);
        counters.messages_on_disk_bytes.add(bytes);
    }
}
