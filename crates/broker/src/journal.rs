//! What must be on disk before it is promised: records of one turn, numbered.
//!
//! The core writes no file. It says what is to be kept ([`Records`], keyed as a store
//! keeps them), holds back the bytes that promise it (`Outbox::gate`), and lets them
//! go when it is told that the records are committed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::durability::UNAWAITED;
use crate::key::ConnectionId;

/// Where records lie; the number is the store's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Space {
    /// Client identifier → the session.
    Session = 1,
    /// Durable id and filter → the grant.
    Subscription = 2,
    /// Below the durable id, by sequence: messages not settled.
    Queue = 3,
    /// Below the durable id, by sequence: packet identifiers of QoS 2 messages sent.
    InFlight = 4,
    /// Durable id and packet identifier: QoS 2 messages received, not released.
    Received = 5,
    /// Below the topic, by version: retained messages.
    Retained = 6,
    /// Below the topic, by version: marks that it has been cleared up to there.
    Cleared = 7,
}

impl Space {
    #[must_use]
    pub fn from_u8(space: u8) -> Option<Space> {
        use Space::{Cleared, InFlight, Queue, Received, Retained, Session, Subscription};
        let all = [
            Session,
            Subscription,
            Queue,
            InFlight,
            Received,
            Retained,
            Cleared,
        ];
        all.into_iter().find(|each| *each as u8 == space)
    }
}

/// What is to be done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Put,
    Delete,
    /// Sets entry `sequence` below the key.
    Append,
    /// Drops entry `sequence` below the key.
    Remove,
    /// Drops every entry below the key.
    Clear,
    /// Drops every key that begins with this one.
    DeletePrefix,
}

/// One change, borrowed from its [`Records`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub change: Change,
    pub space: Space,
    pub key: &'a [u8],
    pub sequence: u64,
    pub value: &'a [u8],
}

/// The changes of one turn, in order; they are to be committed together.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    change: Change,
    space: Space,
    sequence: u64,
    key_start: u32,
    value_start: u32,
    end: u32,
}

impl Records {
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(|entry| Record {
            change: entry.change,
            space: entry.space,
            key: &self.bytes[entry.key_start as usize..entry.value_start as usize],
            sequence: entry.sequence,
            value: &self.bytes[entry.value_start as usize..entry.end as usize],
        })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn push(
        &mut self,
        change: Change,
        space: Space,
        key: &[&[u8]],
        sequence: u64,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let key_start = self.bytes.len() as u32;
        key.iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        let value_start = self.bytes.len() as u32;
        value(&mut self.bytes);
        let end = self.bytes.len() as u32;
        self.entries.push(Entry {
            change,
            space,
            sequence,
            key_start,
            value_start,
            end,
        });
    }
}

/// How the store behind the journal fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreState {
    #[default]
    Ready,
    /// No room: nothing new is promised until there is some again.
    Full,
    /// It cannot be relied on any more: nothing new is promised.
    Failed,
}

/// One worker's journal. Off, it costs a branch.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub on: bool,
    pub state: StoreState,
    records: Records,
    /// How many changes have been recorded that somebody waits for.
    promised: u64,
    /// Whether nobody waits for what is recorded next.
    unawaited: bool,
    /// Whether the next batch is wanted even if nothing is in it.
    marked: bool,
    submitted: u64,
    committed: u64,
    gates: VecDeque<(u64, ConnectionId)>,
}

impl Journal {
    pub fn new(on: bool) -> Journal {
        Journal {
            on,
            ..Journal::default()
        }
    }

    /// How many changes have been recorded that somebody waits for: to see whether
    /// something was.
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// For what is recorded next, and whether somebody waits for it.
    pub fn awaited(&mut self, awaited: bool) -> &mut Journal {
        self.unawaited = !awaited;
        self
    }

    /// For the records of a session.
    pub fn of(&mut self, durable: u64) -> &mut Journal {
        self.awaited(durable & UNAWAITED == 0)
    }

    fn push(
        &mut self,
        change: Change,
        space: Space,
        key: &[&[u8]],
        sequence: u64,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.on {
            self.promised += u64::from(!self.unawaited);
            self.records.push(change, space, key, sequence, value);
        }
    }

    /// Whether a new promise can be made.
    pub fn ready(&self) -> bool {
        !self.on || self.state == StoreState::Ready
    }

    pub fn put(&mut self, space: Space, key: &[&[u8]], value: impl FnOnce(&mut Vec<u8>)) {
        self.push(Change::Put, space, key, 0, value);
    }

    pub fn append(
        &mut self,
        space: Space,
        key: &[u8],
        sequence: u64,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        self.push(Change::Append, space, &[key], sequence, value);
    }

    pub fn remove(&mut self, space: Space, key: &[u8], sequence: u64) {
        self.push(Change::Remove, space, &[key], sequence, |_| ());
    }

    pub fn delete(&mut self, space: Space, key: &[&[u8]]) {
        self.drop_key(Change::Delete, space, key);
    }

    pub fn clear(&mut self, space: Space, key: &[u8]) {
        self.drop_key(Change::Clear, space, &[key]);
    }

    pub fn delete_prefix(&mut self, space: Space, key: &[u8]) {
        self.drop_key(Change::DeletePrefix, space, &[key]);
    }

    fn drop_key(&mut self, change: Change, space: Space, key: &[&[u8]]) {
        self.push(change, space, key, 0, |_| ());
    }

    /// The batch that holds whatever has been recorded last.
    pub fn latest(&self) -> u64 {
        self.submitted + u64::from(!self.records.is_empty())
    }

    /// Whether anything recorded is not on disk yet.
    pub fn pending(&self) -> bool {
        self.on && self.latest() > self.committed
    }

    pub fn commit(&mut self, sequence: u64) {
        self.committed = self.committed.max(sequence);
    }

    /// A batch that is committed only once everything recorded so far is, by this worker
    /// and by those whose messages it has got.
    pub fn mark(&mut self) -> u64 {
        self.marked = true;
        self.submitted + 1
    }

    /// Whether a batch is on disk, or never will be.
    pub fn is_decided(&self, batch: u64) -> bool {
        batch <= self.committed || self.state == StoreState::Failed
    }

    /// Remembers that a connection's output waits for what has been recorded.
    pub fn note_gate(&mut self, id: ConnectionId) {
        let gate = (self.latest(), id);
        if self.gates.back() != Some(&gate) {
            self.gates.push_back(gate);
        }
    }

    /// This turn's records and their number; the next turn begins.
    pub fn take(&mut self) -> Option<(u64, Records)> {
        if self.records.is_empty() && !self.marked {
            return None;
        }
        self.marked = false;
        self.submitted += 1;
        Some((self.submitted, std::mem::take(&mut self.records)))
    }

    /// The next connection with a gate that `sequence` opens.
    pub fn next_opened(&mut self, sequence: u64) -> Option<ConnectionId> {
        match self.gates.front() {
            Some(&(waits_for, id)) if waits_for <= sequence => {
                self.gates.pop_front();
                Some(id)
            }
            _ => None,
        }
    }
}

/// Numbers that all workers draw from: sequences of messages, versions of topics.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    last: AtomicU64,
    /// The last that an earlier process drew.
    former: AtomicU64,
}

impl Sequence {
    /// A number no one has drawn, from 1.
    pub fn draw(&self) -> u64 {
        self.last.fetch_add(1, Relaxed) + 1
    }

    /// Draws begin above `used`.
    pub fn begin_above(&self, used: u64) {
        self.last.fetch_max(used, Relaxed);
        self.former.fetch_max(used, Relaxed);
    }

    /// Whether an earlier process drew it.
    pub fn is_former(&self, number: u64) -> bool {
        number <= self.former.load(Relaxed)
    }
}
