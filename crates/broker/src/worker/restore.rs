//! What was kept comes back: sessions to their workers, retained messages to all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashMap;
use noctule_topics::Filter;

use super::Worker;
use super::timers::Timer;
use crate::durability::UNAWAITED;
use crate::journal::Space;
use crate::keep::{self, KeptSession, Writer};
use crate::key::SessionKey;
use crate::message::Message;
use crate::outgoing::{Awaiting, Outbound};
use crate::routes::Grant;
use crate::session::{NEVER_EXPIRES, Session};
use crate::shared::{Kept, Shared};
use crate::tail::{Reference, Tail, Waiting};
use crate::time::Time;

/// Gathers what a store held, and gives it to the workers.
///
/// Of the messages that wait, as many are in memory as are to be; the others stay where
/// they are. So what is in flight has to be known before them, and a queue has to come in
/// its order.
pub struct Restorer {
    shared: Arc<Shared>,
    sessions: HashMap<Box<str>, KeptSession>,
    subscriptions: HashMap<u64, Vec<(Box<str>, Grant)>>,
    queues: HashMap<u64, Queues>,
    /// What the queues hold in memory that need not be there.
    held: u64,
    in_flight: HashMap<u64, BTreeMap<u64, (u16, Awaiting)>>,
    received: HashMap<u64, Vec<u16>>,
    /// In the order of their topics, in which a store gives them and the tree takes them
    /// with what it touches near at hand.
    retained: BTreeMap<Box<str>, (u64, Message)>,
    /// The highest version of each topic that was cleared.
    cleared: HashMap<Box<str>, u64>,
    strays: Vec<Stray>,
    highest: u64,
    unreadable: u64,
}

/// A queued message and the group that chose its session.
type Queued = (Outbound, Option<Box<str>>);

/// What waits for one session.
#[derive(Default)]
struct Queues {
    /// QoS 2 messages that have been sent.
    sent: BTreeMap<u64, Queued>,
    queue: Vec<Queued>,
    tail: VecDeque<Later>,
}

/// A message behind those for which memory had room.
enum Later {
    OnDisk(Reference),
    Here(Queued),
}

/// One session as it comes back.
struct RestoredSession {
    client: Box<str>,
    kept: KeptSession,
    subscriptions: Vec<(Box<str>, Grant)>,
    queues: Queues,
    in_flight: BTreeMap<u64, (u16, Awaiting)>,
    received: Vec<u16>,
}

/// A record that is of no use any more.
enum Stray {
    /// All there is under a durable id.
    Session(u64),
    /// An entry of a space of topics.
    Entry(Space, Box<str>, u64),
}

/// What one worker is to take back.
#[derive(Default)]
pub struct RestoredShare {
    sessions: Vec<RestoredSession>,
    strays: Vec<Stray>,
}

/// What [`Restorer::finish`] made of the records.
pub struct Restored {
    /// By worker.
    pub sessions: Vec<RestoredShare>,
    pub retained_messages: usize,
    /// Records that made no sense, and what they held is lost.
    pub unreadable: u64,
}

impl Restorer {
    /// Every space that holds a record, in the order in which they are to be added.
    pub const SPACES: [Space; 7] = [
        Space::Session,
        Space::Subscription,
        Space::InFlight,
        Space::Queue,
        Space::Received,
        Space::Retained,
        Space::Cleared,
    ];

    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Restorer {
        Restorer {
            shared,
            sessions: HashMap::new(),
            subscriptions: HashMap::new(),
            queues: HashMap::new(),
            held: 0,
            in_flight: HashMap::new(),
            received: HashMap::new(),
            retained: BTreeMap::new(),
            cleared: HashMap::new(),
            strays: Vec::new(),
            highest: 0,
            unreadable: 0,
        }
    }

    /// One record as it was kept; `sequence` is 0 for a plain value. Those of a space come
    /// after those of all before it in [`Restorer::SPACES`], and in the order of their keys
    /// and sequences.
    pub fn add(&mut self, space: u8, key: &[u8], sequence: u64, value: &[u8]) {
        self.highest = self.highest.max(sequence);
        if self.read(space, key, sequence, value).is_none() {
            self.unreadable += 1;
        }
    }

    fn read(&mut self, space: u8, key: &[u8], sequence: u64, value: &[u8]) -> Option<()> {
        let wall = self.shared.wall;
        let mut durable = || {
            let id = key.first_chunk().map(|id| u64::from_be_bytes(*id))?;
            self.highest = self.highest.max(id & !UNAWAITED);
            Some(id)
        };
        let text = |bytes| std::str::from_utf8(bytes).ok();
        match Space::from_u8(space)? {
            Space::Session => {
                let kept = keep::read_session(value)?;
                self.highest = self.highest.max(kept.durable & !UNAWAITED);
                self.sessions.insert(text(key)?.into(), kept);
            }
            Space::Subscription => {
                let id = durable()?;
                let entry = (text(&key[8..])?.into(), keep::read_grant(value, id)?);
                self.subscriptions.entry(id).or_default().push(entry);
            }
            Space::Queue => {
                let queued = keep::read_queued(value, sequence, wall, Writer::Former)?;
                let id = durable()?;
                self.add_queued(id, queued);
            }
            Space::InFlight => {
                let state = keep::read_in_flight(value)?;
                self.in_flight
                    .entry(durable()?)
                    .or_default()
                    .insert(sequence, state);
            }
            Space::Received => {
                let identifier = u16::from_be_bytes(key.get(8..)?.try_into().ok()?);
                self.received
                    .entry(durable()?)
                    .or_default()
                    .push(identifier);
            }
            Space::Retained => {
                let message = keep::read_message(value, wall, Writer::Former)?;
                let topic: Box<str> = text(key)?.into();
                let former = self.retained.get(&topic).map_or(0, |known| known.0);
                if former != 0 {
                    let loser = former.min(sequence);
                    self.stray_entry(Space::Retained, &topic, loser);
                }
                if former < sequence {
                    self.retained.insert(topic, (sequence, message));
                }
            }
            Space::Cleared => {
                let topic = text(key)?;
                self.stray_entry(Space::Cleared, topic, sequence);
                let cleared = self.cleared.entry(topic.into()).or_insert(0);
                *cleared = (*cleared).max(sequence);
            }
        }
        Some(())
    }

    fn add_queued(&mut self, id: u64, (outbound, group): Queued) {
        let limits = &self.shared.options.limits;
        let in_flight = self.in_flight.get(&id);
        let sequence = outbound.sequence;
        let queues = self.queues.entry(id).or_default();
        if in_flight.is_some_and(|each| each.contains_key(&sequence)) {
            queues.sent.insert(sequence, (outbound, group));
            return;
        }
        let size = outbound.message.size() as u64;
        let has_room = group.is_some() || self.held + size <= limits.queue_memory_bytes;
        if queues.tail.is_empty() && has_room {
            self.held += if group.is_none() { size } else { 0 };
            queues.queue.push((outbound, group));
        } else if group.is_some() {
            queues.tail.push_back(Later::Here((outbound, group)));
        } else {
            let age = limits.max_queued_age_seconds;
            let reference = Reference::to(&outbound, 0, age);
            queues.tail.push_back(Later::OnDisk(reference));
        }
    }

    fn stray_entry(&mut self, space: Space, topic: &str, sequence: u64) {
        self.strays
            .push(Stray::Entry(space, topic.into(), sequence));
    }

    /// Whatever has no session any more, and all that was found before.
    fn sweep(&mut self) -> Vec<Stray> {
        let ids = self.subscriptions.keys().chain(self.queues.keys());
        let ids = ids.chain(self.in_flight.keys()).chain(self.received.keys());
        let mut ids: Vec<u64> = ids.copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut strays = std::mem::take(&mut self.strays);
        strays.extend(ids.into_iter().map(Stray::Session));
        strays
    }

    /// Puts the retained messages where all workers find them, and sorts the
    /// sessions by the worker each belongs to.
    #[must_use]
    pub fn finish(mut self) -> Restored {
        self.shared.sequence.begin_above(self.highest);
        let mut retained_messages = 0;
        for (topic, (version, message)) in std::mem::take(&mut self.retained) {
            let cleared = self
                .cleared
                .get(&topic)
                .is_some_and(|&cleared| cleared >= version);
            if cleared || message.expired(Time(0)) {
                self.stray_entry(Space::Retained, &topic, version);
                continue;
            }
            let kept = Kept {
                message,
                version,
                writer: None,
                mixed: false,
            };
            self.shared.restore_retained(&topic, kept);
            retained_messages += 1;
        }
        let mut shares: Vec<RestoredShare> = (0..self.shared.workers)
            .map(|_| RestoredShare::default())
            .collect();
        for (client, kept) in std::mem::take(&mut self.sessions) {
            let id = kept.durable;
            let worker = self.shared.worker_of(&client);
            shares[worker].sessions.push(RestoredSession {
                client,
                kept,
                subscriptions: self.subscriptions.remove(&id).unwrap_or_default(),
                queues: self.queues.remove(&id).unwrap_or_default(),
                in_flight: self.in_flight.remove(&id).unwrap_or_default(),
                received: self.received.remove(&id).unwrap_or_default(),
            });
        }
        // Where something could not be read, what belonged to it may still be wanted.
        if self.unreadable == 0
            && let Some(share) = shares.first_mut()
        {
            share.strays = self.sweep();
        }
        Restored {
            sessions: shares,
            retained_messages,
            unreadable: self.unreadable,
        }
    }
}

impl Worker {
    /// Takes back the sessions that are this worker's, before any client comes.
    /// `wall_milliseconds` is the time since 1970 at `now`.
    pub fn restore(&mut self, share: RestoredShare, wall_milliseconds: u64, now: Time) {
        for restored in share.sessions {
            self.restore_session(restored, wall_milliseconds, now);
        }
        for stray in share.strays {
            self.record_stray(stray);
        }
        self.settle(now);
    }

    fn restore_session(&mut self, restored: RestoredSession, wall: u64, now: Time) {
        let kept = restored.kept;
        let client: Arc<str> = restored.client.into();
        let mut session = Session::new(client.clone(), kept.user);
        session.durable = kept.durable;
        session.expiry_seconds = kept.expiry_seconds;
        // A clock that went back counts as no time at all.
        let since = kept.offline_since.unwrap_or(wall);
        let elapsed = wall.saturating_sub(since);
        session.offline_since = now;
        session.away_milliseconds = elapsed;
        session.will = kept.will;
        restored
            .received
            .iter()
            .for_each(|&identifier| session.received.insert(identifier));
        let (slot, epoch) = self.sessions.insert(session);
        self.by_client.insert(client, (slot, epoch));
        let key = SessionKey::session(self.index, slot, epoch);
        if kept.expiry_seconds != 0 {
            self.counters().clients_disconnected.add(1);
            self.shared.offline.fetch_add(1, Relaxed);
            self.offline.push_back((key, now));
        }
        for (whole, grant) in restored.subscriptions {
            if let Ok(filter) = Filter::parse(&whole) {
                self.add_subscription(key, &whole, &filter, grant);
            }
        }
        self.restore_messages(key, restored.queues, restored.in_flight);
        if kept.offline_since.is_none() {
            // From here on its time away counts, however often the broker begins anew.
            self.record_session(key);
        }
        self.restore_timers(key, elapsed / 1_000, now);
    }

    fn record_stray(&mut self, stray: Stray) {
        match stray {
            Stray::Session(durable) => self.record_emptied(durable),
            Stray::Entry(space, topic, version) => {
                let journal = self.journal.awaited(false);
                journal.remove(space, topic.as_bytes(), version);
            }
        }
    }

    fn restore_messages(
        &mut self,
        key: SessionKey,
        mut queues: Queues,
        in_flight: BTreeMap<u64, (u16, Awaiting)>,
    ) {
        let shared = self.shared.clone();
        let with_group = |(mut outbound, group): Queued| {
            outbound.group = group.and_then(|name| shared.subscriptions.group_named(&name));
            outbound
        };
        let (mut stored, mut bytes) = (0, 0);
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        for (sequence, (identifier, awaiting)) in in_flight {
            let outbound = queues.sent.remove(&sequence).map(with_group);
            // Without its message it can only be released; the client may hold it.
            let awaiting = match outbound {
                Some(_) => awaiting,
                None => Awaiting::Pubcomp,
            };
            bytes += outbound
                .as_ref()
                .map_or(0, |each| each.message.size() as u64);
            stored += 1;
            session
                .outgoing
                .restore(identifier, awaiting, sequence, outbound);
        }
        for outbound in queues.queue.into_iter().map(with_group) {
            self.spill.restored(session, &outbound);
            session.enqueue(outbound);
        }
        let mut tail = Tail::default();
        for later in queues.tail {
            tail.push_back(match later {
                Later::OnDisk(reference) => Waiting::OnDisk(reference),
                Later::Here(queued) => Waiting::Here(Box::new(with_group(queued))),
            });
        }
        session.queued_bytes += tail.bytes;
        let counters = &self.counters;
        counters.messages_on_disk.add(tail.on_disk);
        counters.messages_on_disk_bytes.add(tail.on_disk_bytes);
        session.tail = Some(Box::new(tail));
        session.forget_empty_tail();
        counters
            .messages_stored
            .add(stored + session.waiting() as u64);
        counters
            .messages_stored_bytes
            .add(bytes + session.queued_bytes);
        self.tell_room(key);
    }

    fn restore_timers(&mut self, key: SessionKey, elapsed_seconds: u64, now: Time) {
        let Some(session) = self.session(key) else {
            return;
        };
        let expiry = session.expiry_seconds;
        let delay = session
            .will
            .as_ref()
            .map(|will| u64::from(will.delay_seconds));
        if let Some(delay) = delay {
            let due = now.after_seconds(delay.saturating_sub(elapsed_seconds));
            self.wheel.insert(due, Timer::Will(key, now));
        }
        if expiry != NEVER_EXPIRES {
            let left = u64::from(expiry).saturating_sub(elapsed_seconds);
            self.wheel
                .insert(now.after_seconds(left), Timer::SessionExpiry(key, now));
        }
    }
}

impl Shared {
    fn restore_retained(&self, topic: &str, kept: Kept) {
        let mut retained = self.retained.write();
        retained.bytes += kept.message.size() as u64;
        retained.tree.insert(topic, kept);
        self.retained_bytes.store(retained.bytes, Relaxed);
    }
}
