//! The store as its owner sees it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::RwLock;

use crate::backup::{self, Progress};
use crate::checkpointer::Checkpointer;
use crate::committer::Committer;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::index::Index;
use crate::open::{self, OpenedLog};
use crate::options::StoreOptions;
use crate::pending::{Observer, Pending, State, Writer};
use crate::reader::Reader;
use crate::recovery::Recovery;
use crate::statistics::{Counters, Statistics, value};

/// An open store. Closed when dropped, after everything submitted is committed.
pub struct Store {
    directory: Arc<Directory>,
    database: PathBuf,
    wal: PathBuf,
    index: Arc<RwLock<Index>>,
    pending: Arc<Pending>,
    counters: Arc<Counters>,
    committer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the store in directory `path`, which is made if it is not there.
    ///
    /// Returns it with what it holds. A damaged store opens, too: what was lost is in
    /// the recovery's report, and what was damaged is kept in quarantine.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if another store has the directory open,
    /// [`StoreError::Format`] if a later version wrote it.
    pub fn open(
        path: &Path,
        options: StoreOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<(Store, Recovery), StoreError> {
        let directory = Arc::new(Directory::open(path)?);
        let OpenedLog {
            connection,
            index,
            tail,
            generation,
            report,
        } = open::open_log(&directory, options.durability)?;
        let database = directory.database(generation);
        let index = Arc::new(RwLock::new(index));
        let pending = Arc::new(Pending::new(options.pending_bytes));
        let counters = Arc::new(Counters::default());
        let reader = Reader::open(&database, Arc::clone(&index))?;
        let checkpointer = Checkpointer::start(&database, Arc::clone(&pending))?;
        if directory.fill_reserve(options.reserve_bytes).is_err() {
            let reason = "there is no room on the disk for the reserve";
            pending.change_state(State::Full, reason);
            observer.state_changed(State::Full, reason);
        }
        let committer = Committer {
            connection,
            index: Arc::clone(&index),
            pending: Arc::clone(&pending),
            observer,
            directory: Arc::clone(&directory),
            options,
            counters: Arc::clone(&counters),
            tail,
            checkpointer,
            generation,
        };
        let thread = std::thread::Builder::new().name("noctule-store".to_owned());
        let committer = thread.spawn(move || run(committer));
        let store = Store {
            wal: directory.wal(generation),
            directory,
            database,
            index,
            pending,
            counters,
            committer: Some(committer.map_err(StoreError::io(path))?),
        };
        Ok((store, Recovery::new(report, reader)))
    }

    /// A way in for one worker: `worker` is what the observer is told, and must be
    /// another for each writer.
    pub fn writer(&self, worker: usize) -> Writer {
        Writer::new(worker, Arc::clone(&self.pending))
    }

    /// A way to read for one thread.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.database, Arc::clone(&self.index))
    }

    pub fn state(&self) -> State {
        self.pending.state()
    }

    /// Why the state is what it is, for a person to read; empty if it never changed.
    pub fn reason(&self) -> String {
        self.pending.reason()
    }

    /// The directory it is in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Copies the store as it is now into a new directory `to`, which is itself a
    /// store when this returns and nothing before. Commits go on meanwhile, and the
    /// write-ahead log may grow beyond its limit until the copy is done. `progress` may
    /// end it.
    ///
    /// To restore a backup, open it, or put its files where the store was.
    pub fn backup(
        &self,
        to: &Path,
        progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        backup::copy(&self.database, to, progress)
    }

    pub fn statistics(&self) -> Statistics {
        let index = self.index.read();
        let counters = &self.counters;
        let length = |path: &Path| path.metadata().map_or(0, |file| file.len());
        Statistics {
            commits: value(&counters.commits),
            committed_records: value(&counters.committed_records),
            committed_bytes: value(&counters.committed_bytes),
            slowest_commit_micros: value(&counters.slowest_commit_micros),
            checkpoints: value(&counters.checkpoints),
            moved_records: value(&counters.moved_records),
            trimmed_rows: value(&counters.trimmed_rows),
            pending_bytes: self.pending.bytes(),
            rows: index.next_row() - index.first_row(),
            log_bytes: index.total_bytes(),
            live_bytes: index.live_bytes(),
            live_records: index.live_records(),
            file_bytes: length(&self.database) + length(&self.wal),
        }
    }

    /// Commits what waits, carries the write-ahead log over, and closes.
    ///
    /// Returns the state it ended in: what waits in [`State::Full`] or
    /// [`State::Failed`] is not committed.
    pub fn close(mut self) -> State {
        self.stop();
        self.pending.state()
    }

    fn stop(&mut self) {
        self.pending.close();
        if let Some(committer) = self.committer.take() {
            if committer.join().is_err() {
                self.pending
                    .change_state(State::Failed, "the committer's thread panicked");
            }
        }
    }
}

/// Runs the committer. A fault of ours in it is as loud as one of the disk's.
fn run(committer: Committer) {
    let (pending, observer) = (
        Arc::clone(&committer.pending),
        Arc::clone(&committer.observer),
    );
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| committer.run()));
    if ended.is_err() {
        let reason = "the thread that writes panicked: this is a bug in the store";
        pending.change_state(State::Failed, reason);
        observer.state_changed(State::Failed, reason);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}
