//! Between the workers and the store: what they record goes down, what is committed
//! comes back, and what was kept is given out at the start.

#[cfg(all(test, target_os = "linux"))]
mod large;
mod reading;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use noctule_broker::{
    Change, QueueRequest, Record, Records, Restored, Restorer, Shared, StoreState,
};
use noctule_store::{
    Batch, Observer, State, Store, StoreError, StoreOptions, SubmitError, TooLarge, Writer,
};

use crate::options::{Durability, ServerOptions};
use crate::post::Post;

use reading::{Asker, Reading};

/// Milliseconds since 1970; 0 for a clock that stands before.
pub(crate) fn wall_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What the committer tells the workers. It only stores numbers and wakes sleepers.
pub(crate) struct Commits {
    posts: Arc<[Post]>,
    committed: Box<[AtomicU64]>,
    state: AtomicU8,
    /// Where the opener logs to: the committer's thread has no log of its own.
    log: tracing::Dispatch,
}

impl Commits {
    fn new(posts: Arc<[Post]>) -> Commits {
        let committed = posts.iter().map(|_| AtomicU64::new(0)).collect();
        Commits {
            posts,
            committed,
            state: AtomicU8::new(0),
            log: tracing::dispatcher::get_default(Clone::clone),
        }
    }

    pub fn committed(&self, worker: usize) -> u64 {
        self.committed[worker].load(SeqCst)
    }

    pub fn state(&self) -> StoreState {
        match self.state.load(SeqCst) {
            0 => StoreState::Ready,
            1 => StoreState::Full,
            _ => StoreState::Failed,
        }
    }
}

impl Observer for Commits {
    fn committed(&self, worker: usize, sequence: u64) {
        self.committed[worker].store(sequence, SeqCst);
        self.posts[worker].wake();
    }

    fn state_changed(&self, state: State, reason: &str) {
        let number = match state {
            State::Running => 0,
            State::Full => 1,
            State::Failed => 2,
        };
        self.state.store(number, SeqCst);
        tracing::dispatcher::with_default(&self.log, || match state {
            State::Running => tracing::warn!("the store is well again"),
            State::Full => tracing::error!(
                "the store's disk is full, so no new message is acknowledged: {reason}"
            ),
            State::Failed => tracing::error!(
                "the store has failed and is read-only until a restart; nothing new is \
                 acknowledged: {reason}"
            ),
        });
        self.posts.iter().for_each(Post::wake);
    }

    fn damaged(&self, what: &str) {
        tracing::dispatcher::with_default(&self.log, || {
            tracing::error!("damage in the store: {what}");
        });
    }
}

/// An open store and what it held.
pub(crate) struct Opened {
    pub store: Store,
    pub reading: Reading,
    pub commits: Arc<Commits>,
    pub door: Arc<Door>,
    pub restored: Restored,
}

/// A store while the broker runs. It is written to, and read from, by a thread each.
pub(crate) struct Running {
    store: Store,
    reading: Reading,
}

impl Running {
    /// Once the workers have ended: what they have recorded is on disk when this returns.
    pub fn close(self) {
        drop(self.reading);
        self.store.close();
    }
}

impl Opened {
    pub fn into_running(self) -> Running {
        Running {
            store: self.store,
            reading: self.reading,
        }
    }
}

/// Opens the store of a broker that keeps what it promises; `None` for one that does
/// not.
///
/// # Errors
/// The store cannot be opened or read; the text names its directory.
pub(crate) fn open(
    options: &ServerOptions,
    shared: &Arc<Shared>,
    posts: &Arc<[Post]>,
) -> io::Result<Option<Opened>> {
    let durability = match options.store_durability() {
        Durability::Memory => return Ok(None),
        Durability::Disk => noctule_store::Durability::Disk,
        Durability::Interval => noctule_store::Durability::Interval(Duration::from_millis(
            options.interval_milliseconds,
        )),
    };
    let Some(directory) = &options.data_dir else {
        return Err(io::Error::other(
            "durability needs data_dir, the store's directory",
        ));
    };
    let commits = Arc::new(Commits::new(Arc::clone(posts)));
    let observer: Arc<dyn Observer> = Arc::clone(&commits) as _;
    let store_options = StoreOptions {
        durability,
        ..StoreOptions::default()
    };
    let (store, recovery) =
        Store::open(directory, store_options, observer).map_err(io::Error::other)?;
    report(directory, &recovery.report);
    let restored = restore(shared, &recovery).map_err(io::Error::other)?;
    if restored.unreadable > 0 {
        tracing::error!(
            "{} records in the store made no sense and are lost",
            restored.unreadable
        );
    }
    let reader = store.reader().map_err(io::Error::other)?;
    Ok(Some(Opened {
        reading: Reading::start(reader, Arc::clone(posts))?,
        door: Arc::new(Door::new(&store, posts.len())),
        store,
        commits,
        restored,
    }))
}

fn report(directory: &Path, report: &noctule_store::RecoveryReport) {
    for damage in &report.damage {
        tracing::error!("damage in the store at {}: {damage}", directory.display());
    }
    if report.damage_left_out > 0 {
        tracing::error!("and {} more findings of damage", report.damage_left_out);
    }
}

fn restore(
    shared: &Arc<Shared>,
    recovery: &noctule_store::Recovery,
) -> Result<Restored, StoreError> {
    let mut restorer = Restorer::new(Arc::clone(shared));
    for space in Restorer::SPACES {
        for entry in recovery.entries(space as u8) {
            let entry = entry?;
            let sequence = entry.sequence.unwrap_or(0);
            restorer.add(space as u8, &entry.key, sequence, &entry.value);
        }
    }
    Ok(restorer.finish())
}

/// The one door into the store. What one worker hands over before another is committed
/// before it: else a message could be settled on disk before it is there.
pub(crate) struct Door {
    inside: Mutex<Inside>,
    /// Whether batches wait for room in the store.
    waiting: AtomicBool,
}

struct Inside {
    writers: Vec<Writer>,
    /// Batches the store has no room for yet, in order, and whose they are.
    waiting: VecDeque<(usize, Batch)>,
}

impl Door {
    fn new(store: &Store, workers: usize) -> Door {
        Door {
            inside: Mutex::new(Inside {
                writers: (0..workers).map(|worker| store.writer(worker)).collect(),
                waiting: VecDeque::new(),
            }),
            waiting: AtomicBool::new(false),
        }
    }

    /// Hands over a batch, if there is one, and whatever waits before it.
    fn submit(&self, worker: usize, batch: Option<Batch>) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let Inside { writers, waiting } = &mut *inside;
        waiting.extend(batch.map(|batch| (worker, batch)));
        while let Some((worker, batch)) = waiting.pop_front() {
            match writers[worker].submit(batch) {
                Ok(_) => {}
                Err(SubmitError::Full(batch)) => {
                    waiting.push_front((worker, batch));
                    break;
                }
                // What waits is never committed, and what promises it never sent.
                Err(SubmitError::Failed(_)) => {}
            }
        }
        self.waiting.store(!waiting.is_empty(), SeqCst);
    }

    fn is_congested(&self) -> bool {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.writers.first().is_some_and(Writer::is_congested)
    }
}

/// One worker's way to the store.
pub(crate) struct Keeper {
    worker: usize,
    door: Arc<Door>,
    commits: Arc<Commits>,
    asker: Asker,
    committed: u64,
    state: StoreState,
}

impl Keeper {
    pub fn new(worker: usize, opened: &Opened) -> Keeper {
        Keeper {
            worker,
            door: Arc::clone(&opened.door),
            commits: Arc::clone(&opened.commits),
            asker: opened.reading.asker(),
            committed: 0,
            state: StoreState::Ready,
        }
    }

    /// Hands a turn's records to the store, behind all that still waits for room.
    pub fn submit(&mut self, records: Option<(u64, Records)>) {
        if records.is_some() || self.is_waiting() {
            let batch = records.map(|(_, records)| batch(&records));
            self.door.submit(self.worker, batch);
        }
    }

    /// Has messages read back; they come as a message.
    pub fn read(&self, request: Box<QueueRequest>) {
        self.asker.ask(self.worker, request);
    }

    /// Whether the store is well and yet so far behind that reading on would fill it.
    pub fn is_congested(&self) -> bool {
        let is_well = self.commits.state() == StoreState::Ready;
        is_well && (self.is_waiting() || self.door.is_congested())
    }

    /// What the worker has not been told: the last batch committed, and how the
    /// store fares.
    pub fn news(&mut self) -> (Option<u64>, Option<StoreState>) {
        let committed = self.commits.committed(self.worker);
        let news = (committed > self.committed).then_some(committed);
        self.committed = committed;
        let state = self.commits.state();
        let changed = (state != self.state).then_some(state);
        self.state = state;
        (news, changed)
    }

    /// Whether there is something for the worker to hear.
    pub fn has_news(&self) -> bool {
        self.commits.committed(self.worker) > self.committed || self.commits.state() != self.state
    }

    /// Whether batches wait for room in the store: to be tried again soon.
    pub fn is_waiting(&self) -> bool {
        self.door.waiting.load(SeqCst)
    }
}

fn batch(records: &Records) -> Batch {
    let bytes = records
        .iter()
        .map(|record| record.key.len() + record.value.len());
    let mut batch = Batch::with_capacity(records.len(), bytes.sum());
    for record in records.iter() {
        if let Err(error) = add(&mut batch, record) {
            // Topics and packets are bounded far below what a record may hold.
            tracing::error!("a record is too large for the store and is left out: {error}");
        }
    }
    batch
}

fn add(batch: &mut Batch, record: Record<'_>) -> Result<(), TooLarge> {
    let Record {
        change,
        space,
        key,
        sequence,
        value,
    } = record;
    let space = space as u8;
    match change {
        Change::Put => batch.put(space, key, value),
        Change::Delete => batch.delete(space, key),
        Change::Append => batch.append(space, key, sequence, value),
        Change::Remove => batch.remove(space, key, sequence),
        Change::Clear => batch.clear(space, key),
        Change::DeletePrefix => batch.delete_prefix(space, key),
    }
}
