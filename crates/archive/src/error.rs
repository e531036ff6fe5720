//! What can go wrong.

use std::fmt;
use std::io;

use noctule_store::StoreError;

/// Exporting or importing did not work.
#[derive(Debug)]
pub enum ArchiveError {
    /// The store refused.
    Store(StoreError),
    /// A line is not what it should be; counted from 1.
    Line { number: u64, what: String },
    /// The reader or the writer of lines refused.
    Io(io::Error),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::Store(error) => error.fmt(f),
            ArchiveError::Line { number, what } => write!(f, "line {number}: {what}"),
            ArchiveError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ArchiveError::Store(error) => Some(error),
            ArchiveError::Io(error) => Some(error),
            ArchiveError::Line { .. } => None,
        }
    }
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> ArchiveError {
        ArchiveError::Store(error)
    }
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> ArchiveError {
        ArchiveError::Io(error)
    }
}
