//! What the workers of one broker have in common.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use noctule_topics::RetainedTree;
use parking_lot::{Mutex, RwLock};

use crate::bans::Bans;
use crate::batch::Spent;
use crate::counters::Counters;
use crate::durability::Durability;
use crate::group::Group;
use crate::hooks::Hooks;
use crate::journal::Sequence;
use crate::keep::Wall;
use crate::key::SessionKey;
use crate::message::Message;
use crate::options::Options;
use crate::pressure::{Memory, Pressure};
use crate::routes::Subscriptions;
use crate::worst::Worst;

/// A shared group, by whoever holds on to it.
pub(crate) type GroupRef = Arc<Group>;

/// State that all workers read: subscriptions, retained messages, counters.
pub struct Shared {
    pub(crate) options: Options,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) retained: RwLock<Retained>,
    pub(crate) counters: Box<[Arc<Counters>]>,
    pub(crate) spent: Spent,
    /// Each worker's clients that fare worst, of its last interval.
    pub(crate) worst: Box<[Mutex<Worst>]>,
    /// Whether what is promised is written down first.
    pub(crate) durable: bool,
    /// Whether the store syncs with every commit.
    pub(crate) syncs: bool,
    pub(crate) wall: Wall,
    pub(crate) sequence: Sequence,
    /// Sessions without a connection, over all workers.
    pub(crate) offline: AtomicU64,
    /// Sessions whose queue has no room, where publishers are told so.
    pub(crate) full: RwLock<HashSet<SessionKey>>,
    memory: Memory,
    pub(crate) retained_bytes: AtomicU64,
    observed: AtomicBool,
    /// Whether anybody wants to know of each delivery.
    deliveries_observed: AtomicBool,
    hooks: OnceLock<Hooks>,
    bans: Bans,
}

/// A retained message; a later one of its topic has a higher version.
pub(crate) struct Kept {
    pub message: Message,
    pub version: u64,
    /// The worker that records it; `None`: it is on disk since an earlier process.
    pub writer: Option<u16>,
    /// A message it replaced, or one before that, was another worker's.
    pub mixed: bool,
}

/// Retained messages and the bytes they take.
pub(crate) struct Retained {
    pub tree: RetainedTree<Kept>,
    pub bytes: u64,
    /// How many are the broker's own: these count towards no limit.
    pub own: u64,
}

impl Shared {
    /// What `workers` workers are to share; `seed` makes hashes and choices
    /// unpredictable from outside and repeatable in a simulation.
    #[must_use]
    pub fn new(options: Options, workers: usize, seed: u64) -> Arc<Shared> {
        Shared::make(options, workers, seed, None)
    }

    /// The same for a broker whose records are kept: workers record what they
    /// promise. `wall_milliseconds` is the time since 1970 at [`crate::Time`] 0.
    #[must_use]
    pub fn durable(
        options: Options,
        workers: usize,
        seed: u64,
        wall_milliseconds: u64,
    ) -> Arc<Shared> {
        Shared::make(options, workers, seed, Some(wall_milliseconds))
    }

    fn make(options: Options, workers: usize, seed: u64, wall: Option<u64>) -> Arc<Shared> {
        let bans = Bans::new(options.bans.clone());
        Arc::new(Shared {
            syncs: options.strictest_durability() == Durability::Disk,
            options,
            workers,
            seed,
            durable: wall.is_some(),
            wall: Wall(wall.unwrap_or(0)),
            sequence: Sequence::default(),
            subscriptions: Subscriptions::new(),
            retained: RwLock::new(Retained {
                tree: RetainedTree::new(),
                bytes: 0,
                own: 0,
            }),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            spent: Spent::default(),
            worst: (0..workers).map(|_| Mutex::default()).collect(),
            offline: AtomicU64::new(0),
            full: RwLock::default(),
            memory: Memory::default(),
            retained_bytes: AtomicU64::new(0),
            observed: AtomicBool::new(false),
            deliveries_observed: AtomicBool::new(false),
            hooks: OnceLock::new(),
            bans,
        })
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The worker that owns a client identifier's session, for ever.
    #[must_use]
    pub fn worker_of(&self, client_identifier: &str) -> usize {
        (self.hash(client_identifier.as_bytes()) % self.workers as u64) as usize
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        FixedState::with_seed(self.seed).hash_one(bytes)
    }

    /// Every counter by name, over all workers.
    #[must_use]
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let mut all = Counters::totals(&self.counters);
        let retained = self.retained.read();
        all.push(("retained_messages", retained.tree.len() as u64));
        all.push(("retained_bytes", retained.bytes));
        all.push(("memory_bytes", self.memory.resident()));
        all.push(("memory_pressure_slowed", self.memory.slowed()));
        all.push(("memory_pressure_refused", self.memory.refused()));
        all
    }

    /// Tells the workers how many bytes the process has resident; returns how short of
    /// memory it is, if that is to be told. To be called by one thread.
    pub fn set_memory(&self, resident_bytes: u64) -> Option<Pressure> {
        let limit = self.options.limits.max_memory_bytes;
        self.memory.set(resident_bytes, self.stored_bytes(), limit)
    }

    /// About how many bytes sessions, connections and retained messages take: not what the
    /// process has, but it falls when they go.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        const CONNECTION_BYTES: u64 = 4_096;
        const SUBSCRIPTION_BYTES: u64 = 256;
        let of_worker = |each: &Arc<Counters>| {
            each.waiting_out_bytes.value() + each.clients_connected.value() * CONNECTION_BYTES
        };
        let of_workers: u64 = self.counters.iter().map(of_worker).sum();
        self.stored_bytes() + of_workers + self.subscriptions.len() as u64 * SUBSCRIPTION_BYTES
    }

    /// Whether publishers are slowed or refused for want of memory.
    #[must_use]
    pub fn is_memory_short(&self) -> bool {
        self.memory.is_short()
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Bytes of messages that sessions and retained topics keep in memory, and of packets that
    /// are not carried out.
    fn stored_bytes(&self) -> u64 {
        let of_sessions = self.counters.iter().map(|each| {
            let stored = each.messages_stored_bytes.value();
            let in_memory = stored.wrapping_sub(each.messages_on_disk_bytes.value());
            in_memory.wrapping_add(each.partial_bytes.value())
        });
        of_sessions.fold(self.retained_bytes.load(Relaxed), u64::wrapping_add)
    }

    /// How much of the memory the process may have is taken. Between two
    /// measurements, what has been stored since is added.
    pub(crate) fn pressure(&self) -> Pressure {
        let limit = self.options.limits.max_memory_bytes;
        self.memory.pressure(limit, || self.stored_bytes())
    }

    /// Whether anybody wants events.
    pub fn observe(&self, observed: bool) {
        self.observed.store(observed, Relaxed);
    }

    /// Whether anybody wants an event for each message delivered, besides the others.
    pub fn observe_deliveries(&self, observed: bool) {
        self.deliveries_observed.store(observed, Relaxed);
    }

    #[inline]
    pub(crate) fn deliveries_observed(&self) -> bool {
        self.deliveries_observed.load(Relaxed)
    }

    /// Who is kept out.
    #[must_use]
    pub fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Asks these hooks from now on; false if others have been set before.
    pub fn set_hooks(&self, hooks: Hooks) -> bool {
        self.hooks.set(hooks).is_ok()
    }

    #[inline]
    pub(crate) fn hooks(&self) -> Option<&Hooks> {
        self.hooks.get()
    }

    pub(crate) fn observed(&self) -> bool {
        self.observed.load(Relaxed)
    }
}
