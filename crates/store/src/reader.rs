//! Reading values back while the committer writes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};

use crate::database;
use crate::error::StoreError;
use crate::index::Index;
use crate::location::Location;
use crate::row;

/// A record that was found in the index may have been moved by the time its row is
/// read; it is then looked up again. The committer takes a moment between the commit
/// that moves it and the index.
pub(crate) const MAX_LOOK_UPS: u32 = 10_000;
pub(crate) const LOOK_UP_PAUSE: Duration = Duration::from_micros(100);

/// Reads what is committed, through a connection of its own. One per thread.
pub struct Reader {
    connection: Connection,
    index: Arc<RwLock<Index>>,
}

/// The row that was read last: neighbours in a queue are often neighbours in the log.
#[derive(Default)]
struct LastRow {
    row: u64,
    bytes: Vec<u8>,
}

impl Reader {
    pub(crate) fn open(database: &Path, index: Arc<RwLock<Index>>) -> Result<Reader, StoreError> {
        let connection = database::open_read_only(database);
        Ok(Reader {
            connection: connection.map_err(StoreError::database("opening to read"))?,
            index,
        })
    }

    pub(crate) fn index(&self) -> &RwLock<Index> {
        &self.index
    }

    /// The value of a key; None if it has none.
    pub fn read(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut last = LastRow::default();
        for _ in 0..MAX_LOOK_UPS {
            let Some(location) = self.index.read().value(space, key) else {
                return Ok(None);
            };
            if self.fetch(location.row(), &mut last)? {
                return value_of(&last, location, key).map(Some);
            }
            std::thread::sleep(LOOK_UP_PAUSE);
        }
        Err(vanished(0))
    }

    /// Entries of the queue below a key, in order: those with a sequence greater than
    /// `after`, at most `most` of them.
    pub fn read_queue(
        &self,
        space: u8,
        key: &[u8],
        after: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut last = LastRow::default();
        for _ in 0..MAX_LOOK_UPS {
            let after = entries.last().map(|entry| entry.0).or(after);
            let left = most - entries.len();
            let found: Vec<_> = {
                let index = self.index.read();
                index.queue(space, key, after).take(left).collect()
            };
            let mut moved = false;
            for (sequence, location) in found {
                if !self.fetch(location.row(), &mut last)? {
                    moved = true;
                    break;
                }
                entries.push((sequence, value_of(&last, location, key)?));
            }
            if !moved {
                return Ok(entries);
            }
            std::thread::sleep(LOOK_UP_PAUSE);
        }
        Err(vanished(0))
    }

    /// Some entries of the queue below a key, in the order of `sequences`; None where there
    /// is no such entry. What cannot be read keeps nothing else from being read.
    pub fn read_entries(
        &self,
        space: u8,
        key: &[u8],
        sequences: &[u64],
    ) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let mut last = LastRow::default();
        let mut vanished = HashSet::new();
        let locations = self.index.read().entries(space, key, sequences);
        let entries = sequences.iter().zip(locations);
        let read = entries.map(|(&sequence, location)| {
            self.read_entry(space, key, sequence, location, &mut last, &mut vanished)
        });
        read.collect()
    }

    /// The entry that was at `location` a moment ago. Rows that are not where they should
    /// be are waited for once.
    fn read_entry(
        &self,
        space: u8,
        key: &[u8],
        sequence: u64,
        mut location: Location,
        last: &mut LastRow,
        vanished_rows: &mut HashSet<u64>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for _ in 0..MAX_LOOK_UPS {
            if !location.exists() {
                return Ok(None);
            }
            if self.fetch(location.row(), last)? {
                return value_of(last, location, key).map(Some);
            }
            if vanished_rows.contains(&location.row()) {
                break;
            }
            std::thread::sleep(LOOK_UP_PAUSE);
            location = self.index.read().entries(space, key, &[sequence])[0];
        }
        vanished_rows.insert(location.row());
        Err(vanished(location.row()))
    }

    /// Has `last` be the row. Returns false if the log has no such row any more.
    fn fetch(&self, row: u64, last: &mut LastRow) -> Result<bool, StoreError> {
        if last.row == row {
            return Ok(true);
        }
        let found = self
            .row(row, &mut last.bytes)
            .map_err(StoreError::database("reading a row of the log"))?;
        last.row = if found { row } else { 0 };
        Ok(found)
    }

    /// Has `into` be the bytes of a row. Returns false if there is no such row.
    pub(crate) fn row(&self, row: u64, into: &mut Vec<u8>) -> rusqlite::Result<bool> {
        read_row(&self.connection, row, into)
    }
}

/// Has `into` be the bytes of a row. Returns false if there is no such row.
pub(crate) fn read_row(
    connection: &Connection,
    row: u64,
    into: &mut Vec<u8>,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM log WHERE id = ?1")?;
    let found = statement
        .query_row([row as i64], |found| {
            into.clear();
            into.extend_from_slice(found.get_ref(0)?.as_blob()?);
            Ok(())
        })
        .optional()?;
    Ok(found.is_some())
}

fn value_of(last: &LastRow, location: Location, key: &[u8]) -> Result<Vec<u8>, StoreError> {
    match row::value_at(&last.bytes, location, key) {
        Some(value) => Ok(value.to_vec()),
        None => Err(StoreError::Damaged {
            row: location.row(),
            what: format!(
                "the record at {} of key \"{}\" fails its checks",
                location.offset(),
                key.escape_ascii()
            ),
        }),
    }
}

pub(crate) fn vanished(row: u64) -> StoreError {
    StoreError::Damaged {
        row,
        what: "it is not there, and the index names it".to_owned(),
    }
}
