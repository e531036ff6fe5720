//! What the store counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of a running store. Counts run from when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Group commits, each of one transaction.
    pub commits: u64,
    /// Records that were submitted and committed.
    pub committed_records: u64,
    pub committed_bytes: u64,
    /// The slowest commit so far, in microseconds.
    pub slowest_commit_micros: u64,
    /// Times the write-ahead log was carried over whole.
    pub checkpoints: u64,
    /// Live records that were written again, to let go of the row they were in.
    pub moved_records: u64,
    /// Rows that were let go of.
    pub trimmed_rows: u64,
    /// Bytes submitted and not committed yet.
    pub pending_bytes: u64,
    /// Rows in the log.
    pub rows: u64,
    /// Length of all rows together, in bytes.
    pub log_bytes: u64,
    /// Of those, bytes of records that are alive.
    pub live_bytes: u64,
    pub live_records: u64,
    /// Length of the database file and its write-ahead log, in bytes.
    pub file_bytes: u64,
}

/// Written by the committer, read by anyone.
#[derive(Default)]
pub(crate) struct Counters {
    pub commits: AtomicU64,
    pub committed_records: AtomicU64,
    pub committed_bytes: AtomicU64,
    pub slowest_commit_micros: AtomicU64,
    pub checkpoints: AtomicU64,
    pub moved_records: AtomicU64,
    pub trimmed_rows: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

pub(crate) fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
