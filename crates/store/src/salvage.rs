//! Getting the rows out of a database that SQLite cannot read any more.
//!
//! One flipped bit in a page that leads to others can hide a whole branch of the tree,
//! and one in the write-ahead log everything behind it. But rows carry their own number
//! and their records their own checks: so every page is looked at, wherever it belongs,
//! and whatever proves to be a row of the log is one.

use crate::damage::{self, Findings};
use crate::database;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::row::RowBuilder;
use crate::tail::Mark;
use crate::wreck::{Salvaged, Wreck};

/// Writes everything that is sound in generation `current` into the next one.
///
/// Returns its number. It is the one that counts from then on.
pub(crate) fn make_anew(
    directory: &Directory,
    current: u64,
    mark: Mark,
    findings: &mut Findings,
) -> Result<u64, StoreError> {
    let next = current + 1;
    directory.remove_generation(next)?;
    let wreck = Wreck::open(directory, current)?;
    let log = wreck.log(mark);
    if log.is_empty() {
        findings.add(None, "no row of the log could be salvaged");
    }
    let database = database::create(&directory.unfinished(next));
    let mut database = database.map_err(StoreError::database("making the database anew"))?;
    copy(&wreck, &log, &mut database, findings)?;
    drop(database);
    directory.finish(next)?;
    Ok(next)
}

/// Adds what is damaged in generation `current` to `findings`. Writes nothing.
///
/// Returns how many rows could be salvaged.
pub(crate) fn survey(
    directory: &Directory,
    current: u64,
    mark: Mark,
    findings: &mut Findings,
) -> Result<u64, StoreError> {
    let wreck = Wreck::open(directory, current)?;
    let log = wreck.log(mark);
    let mut salvaged = 0;
    for row in log.numbers() {
        match wreck.row(&log, row) {
            Some(bytes) => {
                salvaged += 1;
                damage::examine(row, &bytes, findings);
            }
            None => findings.add(row, "the row is missing, and lost"),
        }
    }
    Ok(salvaged)
}

fn copy(
    wreck: &Wreck,
    log: &Salvaged,
    database: &mut rusqlite::Connection,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let refused = || StoreError::database("writing the database anew");
    let transaction = database.transaction().map_err(refused())?;
    {
        let insert = transaction.prepare("INSERT INTO log VALUES (?1, ?2)");
        let mut insert = insert.map_err(refused())?;
        for row in log.numbers() {
            let bytes = match wreck.row(log, row) {
                Some(bytes) if !damage::examine(row, &bytes, findings) => bytes,
                Some(bytes) => damage::repaired(row, &bytes, log.first_row()),
                None => {
                    findings.add(row, "the row is missing, and lost");
                    RowBuilder::new(row).finish(log.first_row())
                }
            };
            insert.execute((row as i64, bytes)).map_err(refused())?;
        }
    }
    transaction.commit().map_err(refused())
}
