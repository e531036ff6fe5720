//! Looking after a store that no broker has open.

use std::path::Path;

use rusqlite::Connection;

use crate::damage::{Damage, Findings};
use crate::database;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::index::{Index, LiveRecord, SpaceSummary};
use crate::open::{self, OpenFault, OpenedLog};
use crate::options::Durability;
use crate::reader::{read_row, vanished};
use crate::record;
use crate::rewrite::NewGeneration;
use crate::salvage;
use crate::scan;
use crate::tail::Tail;

/// What [`check`] found.
#[derive(Clone, Debug)]
pub struct Check {
    pub generation: u64,
    /// Rows in the log; of a log whose structure is damaged, those that can be salvaged.
    pub rows: u64,
    /// 0 where the structure is damaged.
    pub live_records: u64,
    /// 0 where the structure is damaged.
    pub log_bytes: u64,
    /// 0 where the structure is damaged.
    pub live_bytes: u64,
    /// Length of the database file and its write-ahead log, in bytes.
    pub file_bytes: u64,
    /// By space, those that hold something; empty where the structure is damaged.
    pub spaces: Vec<SpaceSummary>,
    /// What is damaged; empty if all is well.
    pub damage: Vec<Damage>,
    /// Findings that are not listed, because there were too many.
    pub damage_left_out: u64,
}

/// Reads the whole store in directory `path` and repairs nothing.
///
/// # Errors
///
/// As [`Store::open`](crate::Store::open); damage is not an error.
pub fn check(path: &Path) -> Result<Check, StoreError> {
    let directory = Directory::open_existing(path)?;
    let Some(generation) = directory.generations()?.pop() else {
        return Err(StoreError::absent(path));
    };
    let (_, mark) = Tail::open(path, generation)?;
    let mut findings = Findings::default();
    let scanned = open::look_at(&directory, generation, Durability::Disk)
        .and_then(|(connection, _)| scan::scan(&connection, mark).map_err(OpenFault::from));
    let (rows, index) = match scanned {
        Ok(scan) => {
            findings.append(scan.findings);
            (scan.index.next_row() - scan.index.first_row(), scan.index)
        }
        Err(OpenFault::Structure(what)) => {
            findings.add(None, format!("the database's structure is damaged: {what}"));
            let rows = salvage::survey(&directory, generation, mark, &mut findings)?;
            (rows, Index::new(1))
        }
        Err(OpenFault::Error(error)) => return Err(error),
    };
    let length = |path: &Path| path.metadata().map_or(0, |file| file.len());
    Ok(Check {
        generation,
        rows,
        file_bytes: length(&directory.database(generation)) + length(&directory.wal(generation)),
        spaces: index.summary(),
        live_records: index.live_records(),
        log_bytes: index.total_bytes(),
        live_bytes: index.live_bytes(),
        damage: findings.listed,
        damage_left_out: findings.left_out,
    })
}

/// Records gone through at a time.
const CHUNK_RECORDS: usize = 1 << 16;
const CHUNK_BYTES: usize = 32 << 20;

/// Writes what is alive in the store in directory `path` into a new database, by
/// space and key, in place of the old one. Takes as much of the disk as is alive until
/// it is done.
///
/// Returns the length of the database before and after, in bytes.
pub fn compact(path: &Path) -> Result<(u64, u64), StoreError> {
    let directory = Directory::open_existing(path)?;
    if directory.generations()?.is_empty() {
        return Err(StoreError::absent(path));
    }
    let OpenedLog {
        connection,
        index,
        tail,
        generation,
        ..
    } = open::open_log(&directory, Durability::Disk)?;
    let carried = database::checkpoint(&connection, true);
    carried.map_err(StoreError::database("carrying the write-ahead log over"))?;
    let mut new = NewGeneration::begin(&directory, generation)?;
    write_live(&connection, &index, &mut new)?;
    drop((connection, tail));
    let length = |path: &Path| path.metadata().map_or(0, |file| file.len());
    let before = length(&directory.database(generation));
    let next = new.finish(&directory)?;
    Ok((before, length(&directory.database(next))))
}

fn write_live(from: &Connection, index: &Index, to: &mut NewGeneration) -> Result<(), StoreError> {
    for space in 0..=u8::MAX {
        let mut after: Option<LiveRecord> = None;
        loop {
            let records = index.live_after(space, after.as_ref(), CHUNK_RECORDS, CHUNK_BYTES);
            if records.is_empty() {
                break;
            }
            for record in fetch(from, &records)? {
                to.push(&record)?;
            }
            after = records.into_iter().next_back();
        }
    }
    to.copy_quarantine(from)
}

/// The records themselves, in their order, their checks not masked.
fn fetch(from: &Connection, records: &[LiveRecord]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut fetched = vec![Vec::new(); records.len()];
    let mut in_log_order = (0..records.len()).collect::<Vec<_>>();
    in_log_order.sort_unstable_by_key(|&at| records[at].location);
    let (mut row, mut bytes) = (0, Vec::new());
    for at in in_log_order {
        let location = records[at].location;
        if row != location.row() {
            row = location.row();
            let found = read_row(from, row, &mut bytes);
            if !found.map_err(StoreError::database("reading a row of the log"))? {
                return Err(vanished(row));
            }
        }
        let end = location.offset() + location.bytes();
        let record = bytes.get(location.offset()..end);
        let mut record = record.ok_or_else(|| vanished(row))?.to_vec();
        record::mask(&mut record, row, location.offset());
        fetched[at] = record;
    }
    Ok(fetched)
}
