//! What can go wrong.
//!
//! ```text
//! StoreError               opening, reading, backing up
//! ├── Locked               another process (or another Store) has the directory
//! ├── NotEmpty             it is to be filled, and holds something
//! ├── Format               written by a later version, or not a store at all
//! ├── Damaged              a record that was intact at the start no longer is
//! ├── Interrupted          whoever watched a backup ended it
//! ├── Io                   the file system refused
//! └── Database             SQLite refused
//! SubmitError              Writer::submit, with the batch given back
//! ├── Full                 as much waits for the disk as may wait
//! └── Failed               the store is read-only since a write or sync failed
//! TooLarge                 a key or value that no record can hold
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::batch::Batch;

/// Opening, reading or backing up a store did not work.
#[derive(Debug)]
pub enum StoreError {
    /// Another broker uses this directory.
    Locked { directory: PathBuf },
    /// A store that holds something cannot be filled.
    NotEmpty { directory: PathBuf },
    /// The file is not one this version can read.
    Format { path: PathBuf, what: String },
    /// A record failed its checksum after the store had been opened.
    Damaged { row: u64, what: String },
    /// Whoever was told of the progress ended it.
    Interrupted,
    /// The file system refused.
    Io { path: PathBuf, source: io::Error },
    /// SQLite refused.
    Database {
        what: &'static str,
        source: rusqlite::Error,
    },
}

impl StoreError {
    pub(crate) fn absent(path: &Path) -> StoreError {
        StoreError::Format {
            path: path.to_owned(),
            what: "there is no store here".to_owned(),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { path, source }
    }

    pub(crate) fn database(what: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| StoreError::Database { what, source }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Locked { directory } => write!(
                f,
                "{} is in use by another broker: stop it, or name another directory",
                directory.display()
            ),
            StoreError::NotEmpty { directory } => write!(
                f,
                "the store in {} is not empty: name a directory that is not there yet",
                directory.display()
            ),
            StoreError::Format { path, what } => write!(f, "{}: {what}", path.display()),
            StoreError::Damaged { row, what } => write!(f, "row {row} of the log: {what}"),
            StoreError::Interrupted => f.write_str("ended before it was done"),
            StoreError::Io { path, source } => write!(f, "{}: {source}", path.display()),
            StoreError::Database { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Io { source, .. } => Some(source),
            StoreError::Database { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A batch was not taken. It is given back whole: nothing of it will be written.
#[derive(Debug)]
pub enum SubmitError {
    /// Submit it again when something was committed.
    Full(Batch),
    /// It will never be written: see [`Store::state`](crate::Store::state).
    Failed(Batch),
}

impl SubmitError {
    /// The batch that was not taken.
    pub fn into_batch(self) -> Batch {
        match self {
            SubmitError::Full(batch) | SubmitError::Failed(batch) => batch,
        }
    }
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::Full(_) => "as much waits for the disk as may wait",
            SubmitError::Failed(_) => "the store is read-only since a write or a sync failed",
        })
    }
}

impl std::error::Error for SubmitError {}

/// A key or value that is longer than a record can be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Which of the two.
    pub what: &'static str,
    pub bytes: usize,
    /// Inclusive.
    pub most: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLarge { what, bytes, most } = self;
        write!(
            f,
            "a {what} of {bytes} bytes; at most {most} fit in a record"
        )
    }
}

impl std::error::Error for TooLarge {}
