//! What a store is asked for.

use std::time::Duration;

/// When a submitted batch counts as committed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is synced to the disk: it outlives power loss.
    Disk,
    /// Once it is written: it outlives the process, not the machine. The disk is
    /// synced at this interval, so that power loss takes at most that much.
    Interval(Duration),
}

/// Options of [`Store::open`](crate::Store::open). Every size is in bytes.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub durability: Durability,
    /// What may wait for the disk, over all writers, before
    /// [`Writer::submit`](crate::Writer::submit) refuses.
    pub pending_bytes: usize,
    /// Records in one group commit, at most; a batch is never split, so that the
    /// last one may go beyond.
    pub group_records: usize,
    /// Bytes in one group commit, at most; as above.
    pub group_bytes: usize,
    /// Kept aside in a file of its own, and given back to the file system when the
    /// disk is full: room to commit what waits, and deletions. 0: none.
    pub reserve_bytes: u64,
    /// The write-ahead log is carried over into the database before it is longer.
    pub wal_limit_bytes: u64,
    /// Dead bytes that are let be before the log is trimmed, whatever is alive.
    pub trim_after_bytes: u64,
    /// How long to wait between attempts while the disk is full.
    pub retry_interval: Duration,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            durability: Durability::Disk,
            pending_bytes: 64 << 20,
            group_records: 16_384,
            group_bytes: 4 << 20,
            reserve_bytes: 16 << 20,
            wal_limit_bytes: 64 << 20,
            trim_after_bytes: 64 << 20,
            retry_interval: Duration::from_millis(250),
        }
    }
}
