//! What the tests of the store share: an observer to wait on, a naive model, and
//! operations in a form that can be printed, generated and carried out on both.
#![allow(dead_code)] // Every test file uses some of it.

pub mod disk;
pub mod workload;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use noctule_store::{Batch, Observer, Recovery, State, Store, StoreOptions};
use parking_lot::{Condvar, Mutex};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what the store told.
#[derive(Default)]
pub struct Told {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    committed: HashMap<usize, u64>,
    states: Vec<(State, String)>,
    damaged: Vec<String>,
}

impl Observer for Told {
    fn committed(&self, worker: usize, sequence: u64) {
        let mut seen = self.seen.lock();
        let last = seen.committed.entry(worker).or_default();
        assert!(*last < sequence, "{sequence} was told after {last}");
        *last = sequence;
        self.changed.notify_all();
    }

    fn state_changed(&self, state: State, reason: &str) {
        self.seen.lock().states.push((state, reason.to_owned()));
        self.changed.notify_all();
    }

    fn damaged(&self, what: &str) {
        self.seen.lock().damaged.push(what.to_owned());
        self.changed.notify_all();
    }
}

impl Told {
    pub fn committed_of(&self, worker: usize) -> u64 {
        let seen = self.seen.lock();
        seen.committed.get(&worker).copied().unwrap_or(0)
    }

    pub fn states(&self) -> Vec<State> {
        self.seen.lock().states.iter().map(|told| told.0).collect()
    }

    pub fn damage(&self) -> Vec<String> {
        self.seen.lock().damaged.clone()
    }

    #[track_caller]
    pub fn wait_committed(&self, worker: usize, sequence: u64) {
        self.wait(|seen| {
            seen.committed
                .get(&worker)
                .is_some_and(|&last| last >= sequence)
        });
    }

    /// Waits until a batch is committed, or the store says that it cannot be now.
    #[track_caller]
    pub fn is_committed(&self, worker: usize, sequence: u64) -> bool {
        let committed = |seen: &Seen| {
            let last = seen.committed.get(&worker);
            last.is_some_and(|&last| last >= sequence)
        };
        let stuck = |seen: &Seen| {
            let last = seen.states.last();
            last.is_some_and(|last| last.0 != State::Running)
        };
        self.wait(|seen| committed(seen) || stuck(seen));
        committed(&self.seen.lock())
    }

    #[track_caller]
    pub fn wait_state(&self, state: State) {
        self.wait(|seen| seen.states.last().is_some_and(|last| last.0 == state));
    }

    #[track_caller]
    fn wait(&self, is_so: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.lock();
        while !is_so(&seen) {
            let failed = seen.states.last().filter(|last| last.0 == State::Failed);
            assert!(failed.is_none(), "{failed:?}");
            let timed_out = self.changed.wait_for(&mut seen, PATIENCE).timed_out();
            assert!(!timed_out, "told only: {:?}", seen.states);
        }
    }
}

/// A directory in memory, where there is one: for tests of what is in the files, not of
/// whether it reached the disk.
pub fn memory_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

/// Options that reach every corner with little data.
pub fn small() -> StoreOptions {
    StoreOptions {
        reserve_bytes: 64 << 10,
        wal_limit_bytes: 128 << 10,
        trim_after_bytes: 4 << 10,
        retry_interval: Duration::from_millis(20),
        ..StoreOptions::default()
    }
}

#[track_caller]
pub fn open(path: &Path, options: StoreOptions) -> (Store, Recovery, Arc<Told>) {
    let told = Arc::new(Told::default());
    let observer = Arc::clone(&told) as Arc<dyn Observer>;
    let (store, recovery) = Store::open(path, options, observer).expect("the store opens");
    (store, recovery, told)
}

/// What a [`Batch`] is made of.
#[derive(Clone, Debug)]
pub enum Op {
    Put(u8, Vec<u8>, Vec<u8>),
    Delete(u8, Vec<u8>),
    Append(u8, Vec<u8>, u64, Vec<u8>),
    Remove(u8, Vec<u8>, u64),
    Clear(u8, Vec<u8>),
    DeletePrefix(u8, Vec<u8>),
}

pub fn batch(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        match op {
            Op::Put(space, key, value) => batch.put(*space, key, value),
            Op::Delete(space, key) => batch.delete(*space, key),
            Op::Append(space, key, sequence, value) => batch.append(*space, key, *sequence, value),
            Op::Remove(space, key, sequence) => batch.remove(*space, key, *sequence),
            Op::Clear(space, key) => batch.clear(*space, key),
            Op::DeletePrefix(space, prefix) => batch.delete_prefix(*space, prefix),
        }
        .expect("it fits");
    }
    batch
}

/// Space, key, and None for the value of the key or Some for an entry of its queue:
/// the order of [`Recovery::entries`].
pub type Place = (u8, Vec<u8>, Option<u64>);

/// The state as a plain map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model(pub BTreeMap<Place, Vec<u8>>);

impl Model {
    pub fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            match op.clone() {
                Op::Put(space, key, value) => {
                    self.0.insert((space, key, None), value);
                }
                Op::Append(space, key, sequence, value) => {
                    self.0.insert((space, key, Some(sequence)), value);
                }
                Op::Delete(space, key) => {
                    self.0.remove(&(space, key, None));
                }
                Op::Remove(space, key, sequence) => {
                    self.0.remove(&(space, key, Some(sequence)));
                }
                Op::Clear(space, key) => self
                    .0
                    .retain(|place, _| place.0 != space || place.1 != key || place.2.is_none()),
                Op::DeletePrefix(space, prefix) => self
                    .0
                    .retain(|place, _| place.0 != space || !place.1.starts_with(&prefix)),
            }
        }
    }

    /// What a store holds.
    #[track_caller]
    pub fn of(recovery: &Recovery) -> Model {
        let mut model = Model::default();
        let mut last: Option<Place> = None;
        for space in 0..=u8::MAX {
            for entry in recovery.entries(space) {
                let entry = entry.expect("it can be read");
                let place = (space, entry.key, entry.sequence);
                assert!(last.as_ref() < Some(&place), "{place:?} out of order");
                last = Some(place.clone());
                model.0.insert(place, entry.value);
            }
        }
        model
    }
}
