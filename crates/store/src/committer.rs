//! The one thread that writes.
//!
//! It takes whatever waits, commits it as a group, and tells whose it was. While it
//! waits for the disk the next group gathers by itself: nothing is ever delayed to be
//! gathered, and a lone record is committed at once.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::Connection;

use crate::checkpointer::Checkpointer;
use crate::database::{self, Checkpoint, Fault};
use crate::directory::Directory;
use crate::group::{self, Group, GroupError, Trim};
use crate::index::Index;
use crate::options::{Durability, StoreOptions};
use crate::pending::{Observer, Pending, State, Submission};
use crate::statistics::{Counters, add};
use crate::tail::Tail;

const PAGE_BYTES: u64 = 4_096;
/// Frames of a commit besides its rows: leaf, interior and free list pages.
const FRAMES_OF_A_COMMIT: u64 = 4;

/// What is dead in a log of any length: headers of rows, and the last row's
/// forerunners. Less is not worth a commit.
const MIN_DEAD_BYTES: u64 = 4_096;

/// What the committer is given.
pub(crate) struct Committer {
    pub connection: Connection,
    pub index: Arc<RwLock<Index>>,
    pub pending: Arc<Pending>,
    pub observer: Arc<dyn Observer>,
    pub directory: Arc<Directory>,
    pub options: StoreOptions,
    pub counters: Arc<Counters>,
    pub tail: Tail,
    pub checkpointer: Checkpointer,
    pub generation: u64,
}

/// What the committer has in hand.
struct Work {
    /// Taken from what waits, and not committed yet.
    group: Vec<Submission>,
    /// When to try again what did not fit on the disk.
    retry_at: Option<Instant>,
    /// When to sync, if something was written since: only by interval.
    sync_at: Option<Instant>,
    /// Frames in the write-ahead log, estimated from above.
    wal_frames: u64,
    /// So many frames begin a checkpoint.
    checkpoint_at: u64,
    /// A damaged row is in the way of trimming, until the store is opened anew.
    trimming_stopped: bool,
}

impl Committer {
    /// Runs until the store is closed and nothing waits any more.
    pub fn run(mut self) {
        let mut work = Work {
            group: Vec::new(),
            retry_at: None,
            sync_at: None,
            wal_frames: 0,
            checkpoint_at: self.checkpoint_frames(),
            trimming_stopped: false,
        };
        loop {
            self.wait(&work);
            self.turn(&mut work);
            let finished = work.group.is_empty() && self.pending.is_empty();
            let no_room = work.retry_at.is_some_and(|at| at > Instant::now());
            if self.pending.is_closing() && (finished || no_room) {
                break;
            }
        }
        self.close(&work);
    }

    fn wait(&self, work: &Work) {
        let state = self.pending.state();
        let trimming = state != State::Failed && self.trim(work) == Trim::OldRows;
        if trimming || (work.retry_at.is_none() && !work.group.is_empty()) {
            return;
        }
        let refill_at =
            (state == State::Full).then(|| Instant::now() + self.options.retry_interval);
        let deadlines = [work.retry_at, work.sync_at, refill_at];
        let deadline = deadlines.into_iter().flatten().min();
        self.pending.wait(deadline, work.retry_at.is_none());
    }

    fn turn(&mut self, work: &mut Work) {
        if self.pending.state() == State::Failed {
            work.group.clear();
            work.retry_at = None;
            self.pending.discard();
            return;
        }
        let retrying = work.retry_at.is_some_and(|at| Instant::now() < at);
        if !retrying || self.pending.is_closing() {
            self.commit(work);
        }
        self.sync_if_due(work);
        self.checkpoint(work);
        if self.pending.state() == State::Full && work.retry_at.is_none() {
            self.end_full();
        }
    }

    fn commit(&mut self, work: &mut Work) {
        if work.group.is_empty() {
            let StoreOptions {
                group_records,
                group_bytes,
                ..
            } = self.options;
            self.pending
                .take(&mut work.group, group_records, group_bytes);
        }
        let trim = self.trim(work);
        if work.group.is_empty() && trim == Trim::Nothing {
            work.retry_at = None;
            return;
        }
        let begun = Instant::now();
        let first_row = self.index.read().first_row();
        let laid_out = group::lay_out(&self.connection, &self.index.read(), &work.group, trim);
        let group = match laid_out {
            Ok(group) => group,
            Err(GroupError::Database(error)) => return self.failed_to_commit(&error, work),
            Err(GroupError::Damaged { row }) => return self.stop_trimming(row, work),
        };
        if !group.rows.is_empty() {
            if let Err(error) = group.commit(&self.connection, first_row) {
                return self.failed_to_commit(&error, work);
            }
            self.committed(&group, work, first_row);
        }
        work.retry_at = None;
        self.count(&group, &work.group, begun.elapsed(), first_row);
        self.acknowledge(work);
    }

    /// The index and the marks follow the log.
    fn committed(&mut self, group: &Group, work: &mut Work, first_row: u64) {
        group.apply(&mut self.index.write());
        let dropped = group.first_row - first_row;
        work.wal_frames += group.bytes() / (PAGE_BYTES - 128)
            + group.rows.len() as u64
            + FRAMES_OF_A_COMMIT
            + dropped / 4;
        let last_row = self.index.read().next_row() - 1;
        match self.options.durability {
            Durability::Disk => self.tail.write(last_row),
            Durability::Interval(interval) => {
                work.sync_at
                    .get_or_insert_with(|| Instant::now() + interval);
            }
        }
    }

    fn count(&self, group: &Group, submissions: &[Submission], took: Duration, first_row: u64) {
        let batches = submissions.iter().map(|submission| &submission.batch);
        let (mut records, mut bytes) = (0, 0);
        for batch in batches {
            records += batch.records() as u64;
            bytes += batch.bytes() as u64;
        }
        let counters = &self.counters;
        add(&counters.commits, u64::from(!group.rows.is_empty()));
        add(&counters.committed_records, records);
        add(&counters.committed_bytes, bytes);
        add(&counters.moved_records, group.moved_records);
        add(&counters.trimmed_rows, group.first_row - first_row);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters
            .slowest_commit_micros
            .fetch_max(micros, Ordering::Relaxed);
    }

    /// Tells every worker the last of its batches in the group.
    fn acknowledge(&self, work: &mut Work) {
        let mut last: Vec<(usize, u64)> = Vec::new();
        let mut bytes = 0;
        for submission in work.group.drain(..) {
            bytes += submission.batch.bytes();
            let Submission {
                worker, sequence, ..
            } = submission;
            match last.iter_mut().find(|entry| entry.0 == worker) {
                Some(entry) => entry.1 = sequence,
                None => last.push((worker, sequence)),
            }
        }
        self.pending.done(bytes);
        for (worker, sequence) in last {
            self.observer.committed(worker, sequence);
        }
    }

    /// How much of the log to let go of now: when more of it is dead than alive.
    fn trim(&self, work: &Work) -> Trim {
        let index = self.index.read();
        let dead = index.total_bytes() - index.live_bytes();
        let mostly_dead = dead > index.live_bytes().max(MIN_DEAD_BYTES);
        let is_full = self.pending.state() == State::Full;
        if work.trimming_stopped {
            return Trim::Nothing;
        }
        // No room was found for this group: it must not become longer.
        if work.retry_at.is_some() || (is_full && !mostly_dead) {
            return Trim::DeadRows;
        }
        match mostly_dead && (is_full || dead > self.options.trim_after_bytes) {
            true => Trim::OldRows,
            false => Trim::Nothing,
        }
    }

    fn stop_trimming(&self, row: u64, work: &mut Work) {
        work.trimming_stopped = true;
        self.observer.damaged(&format!(
            "row {row} of the log is damaged: what is sound in it stays readable, the log \
             is not trimmed any more; it is repaired when the store is opened the next time"
        ));
    }

    fn failed_to_commit(&mut self, error: &rusqlite::Error, work: &mut Work) {
        match database::classify(error) {
            Fault::Full => self.out_of_space(&error.to_string(), work),
            Fault::NotWritten(what) if self.directory.is_out_of_space() => {
                self.out_of_space(&what, work);
            }
            Fault::NotWritten(what) | Fault::Broken(what) => self.fail(&what, work),
            Fault::Corrupt => self.fail(&error.to_string(), work),
        }
    }

    /// Gives the reserve back and tries again at once, the first time; later after a
    /// while.
    fn out_of_space(&mut self, what: &str, work: &mut Work) {
        let first_time = self.pending.state() == State::Running;
        let wait = match first_time {
            true => Duration::ZERO,
            false => self.options.retry_interval,
        };
        work.retry_at = Some(Instant::now() + wait);
        if first_time {
            // Nothing to do if that fails: there is no reserve then.
            let _ = self.directory.release_reserve();
            self.change_state(State::Full, what);
        }
        // What is carried over leaves room in the write-ahead log.
        match database::checkpoint(&self.connection, false) {
            Ok(checkpoint) => self.carried_over(checkpoint, work),
            Err(error) => self.failed_to_checkpoint(&error, work),
        }
    }

    /// All that waited is committed: once the reserve is back, or as much is free within
    /// the database, all is well again.
    fn end_full(&self) {
        let reserve_bytes = self.options.reserve_bytes;
        let room_outside =
            !self.directory.is_out_of_space() && self.directory.fill_reserve(reserve_bytes).is_ok();
        let wanted = self
            .options
            .reserve_bytes
            .max(self.options.group_bytes as u64);
        let free = database::free_bytes(&self.connection);
        if room_outside || free.is_ok_and(|free| free >= wanted) {
            self.change_state(State::Running, "there is room again");
        }
    }

    fn fail(&self, what: &str, work: &mut Work) {
        work.group.clear();
        work.retry_at = None;
        work.sync_at = None;
        self.change_state(State::Failed, what);
        self.pending.discard();
    }

    fn change_state(&self, state: State, reason: &str) {
        self.pending.change_state(state, reason);
        self.observer.state_changed(state, reason);
    }

    fn sync_if_due(&mut self, work: &mut Work) {
        if work.sync_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        work.sync_at = None;
        self.sync(work);
    }

    fn sync(&mut self, work: &mut Work) {
        let last_row = self.index.read().next_row() - 1;
        // Not through SQLite, which syncs with a commit or not at all. It keeps no
        // lock on this file that closing it here could drop.
        let synced =
            File::open(self.directory.wal(self.generation)).and_then(|wal| wal.sync_data());
        match synced {
            Ok(()) => self.tail.write(last_row),
            Err(error) => self.fail(&format!("syncing the write-ahead log: {error}"), work),
        }
    }

    fn checkpoint_frames(&self) -> u64 {
        self.options.wal_limit_bytes / PAGE_BYTES / 2
    }

    /// Has the write-ahead log carried over when half of what it may be is used.
    fn checkpoint(&mut self, work: &mut Work) {
        let too_long = work.wal_frames > self.options.wal_limit_bytes / PAGE_BYTES;
        if let Some(ended) = self.checkpointer.take_result(too_long) {
            let rest = ended.and_then(|()| database::checkpoint(&self.connection, false));
            match rest {
                Ok(checkpoint) => self.carried_over(checkpoint, work),
                Err(error) => self.failed_to_checkpoint(&error, work),
            }
        }
        if work.wal_frames > work.checkpoint_at && self.pending.state() != State::Failed {
            self.checkpointer.begin();
        }
    }

    fn carried_over(&self, checkpoint: Checkpoint, work: &mut Work) {
        if checkpoint.complete {
            add(&self.counters.checkpoints, 1);
            work.wal_frames = 0;
            work.checkpoint_at = self.checkpoint_frames();
            return;
        }
        // A reader is in the way.
        work.wal_frames = checkpoint.frames;
        self.postpone_checkpoint(work);
    }

    /// Not again before the log has grown a bit.
    fn postpone_checkpoint(&self, work: &mut Work) {
        work.checkpoint_at = work.wal_frames + self.checkpoint_frames() / 4 + 1;
    }

    fn failed_to_checkpoint(&self, error: &rusqlite::Error, work: &mut Work) {
        match database::classify(error) {
            // The log grows meanwhile: no room there either ends in `out_of_space`.
            Fault::Full => self.postpone_checkpoint(work),
            Fault::NotWritten(_) if self.directory.is_out_of_space() => {
                self.postpone_checkpoint(work);
            }
            _ => self.fail(&format!("carrying the write-ahead log over: {error}"), work),
        }
    }

    /// Leaves everything in the database itself, so that it can be copied as one file.
    fn close(self, work: &Work) {
        drop(self.checkpointer);
        if self.pending.state() == State::Failed {
            return;
        }
        // If that fails, the write-ahead log stays and is read when the store is
        // opened again: nothing is lost.
        let carried = database::checkpoint(&self.connection, true);
        if carried.is_ok() && work.group.is_empty() {
            self.tail.write(self.index.read().next_row() - 1);
        }
    }
}
