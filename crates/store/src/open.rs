//! From a directory to a log that is sound: opening, repairing, or making it anew.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::damage::Findings;
use crate::database::{self, Fault, Identity};
use crate::directory::Directory;
use crate::error::StoreError;
use crate::index::Index;
use crate::options::Durability;
use crate::recovery::RecoveryReport;
use crate::salvage;
use crate::scan::{self, Scan, ScanError};
use crate::tail::{Mark, Tail};

/// A log ready to be written to.
pub(crate) struct OpenedLog {
    pub connection: Connection,
    pub index: Index,
    pub tail: Tail,
    pub generation: u64,
    pub report: RecoveryReport,
}

/// Why a database cannot be used as it is.
pub(crate) enum OpenFault {
    /// Its structure is damaged; what is sound in it can be salvaged.
    Structure(String),
    Error(StoreError),
}

impl From<StoreError> for OpenFault {
    fn from(error: StoreError) -> OpenFault {
        OpenFault::Error(error)
    }
}

fn fault(what: &'static str) -> impl Fn(rusqlite::Error) -> OpenFault {
    move |source| match database::classify(&source) {
        Fault::Corrupt => OpenFault::Structure(source.to_string()),
        _ => OpenFault::Error(StoreError::Database { what, source }),
    }
}

/// Opens the newest generation, repaired if need be.
pub(crate) fn open_log(
    directory: &Directory,
    durability: Durability,
) -> Result<OpenedLog, StoreError> {
    let mut findings = Findings::default();
    let mut quarantined = Vec::new();
    let mut generations = directory.generations()?;
    let current = match generations.pop() {
        Some(current) => current,
        None => create_first(directory)?,
    };
    for older in generations {
        // A newer one was being put in its place when the process ended.
        quarantined.extend(directory.quarantine_generation(older)?);
    }
    let (tail, mark) = Tail::open(directory.path(), current)?;
    match open_generation(directory, current, durability, mark) {
        Ok((connection, scan, upgraded_from)) => {
            let opened = Opened {
                connection,
                scan,
                upgraded_from,
            };
            Ok(finish(opened, tail, current, findings, quarantined))
        }
        Err(OpenFault::Error(error)) => Err(error),
        Err(OpenFault::Structure(what)) => {
            findings.add(None, format!("the database's structure is damaged: {what}"));
            drop(tail);
            let next = salvage::make_anew(directory, current, mark, &mut findings)?;
            quarantined.extend(directory.quarantine_generation(current)?);
            let (tail, mark) = Tail::open(directory.path(), next)?;
            let reopened = open_generation(directory, next, durability, mark);
            let (connection, scan, upgraded_from) = reopened.map_err(|fault| match fault {
                OpenFault::Error(error) => error,
                OpenFault::Structure(what) => StoreError::Format {
                    path: directory.database(next),
                    what: format!("made anew, and damaged again: {what}"),
                },
            })?;
            let opened = Opened {
                connection,
                scan,
                upgraded_from,
            };
            Ok(finish(opened, tail, next, findings, quarantined))
        }
    }
}

fn create_first(directory: &Directory) -> Result<u64, StoreError> {
    directory.remove_generation(1)?;
    let created = database::create(&directory.unfinished(1));
    drop(created.map_err(StoreError::database("making the database"))?);
    directory.finish(1)?;
    Ok(1)
}

/// Opens a database to look at it, without a change to it.
pub(crate) fn look_at(
    directory: &Directory,
    generation: u64,
    durability: Durability,
) -> Result<(Connection, Option<i64>), OpenFault> {
    let path = directory.database(generation);
    let opened = database::open(&path, durability);
    let mut connection = opened.map_err(fault("opening the database"))?;
    // What the header says when a bit of its version is wrong; where it is the file
    // system that is read-only, making the database anew says so.
    if connection
        .is_readonly("main")
        .map_err(fault("opening the database"))?
    {
        let what = "it can be read only".to_owned();
        return Err(OpenFault::Structure(what));
    }
    let identity = database::identify(&mut connection);
    match identity.map_err(fault("reading the database's format"))? {
        Identity::Ours { upgraded_from } => Ok((connection, upgraded_from)),
        Identity::Damaged(what) => Err(OpenFault::Structure(what.to_owned())),
        Identity::Foreign(what) => Err(OpenFault::Error(StoreError::Format { path, what })),
    }
}

fn open_generation(
    directory: &Directory,
    generation: u64,
    durability: Durability,
    mark: Mark,
) -> Result<(Connection, Scan, Option<i64>), OpenFault> {
    let (mut connection, upgraded_from) = look_at(directory, generation, durability)?;
    let mut scan = scan::scan(&connection, mark).map_err(|error| match error {
        ScanError::Structure(what) => OpenFault::Structure(what),
        ScanError::Database(error) => fault("reading the log")(error),
    })?;
    if scan.lost_at_the_end && directory.wal(generation).exists() {
        // SQLite ends its log at the first damaged frame: what is behind may be sound.
        let what = "the write-ahead log is damaged: acknowledged rows are missing at its end";
        return Err(OpenFault::Structure(what.to_owned()));
    }
    if scan.needs_repair() {
        // The reserve is for this, too. Without one, or without room, it fails.
        let _ = directory.release_reserve();
        scan::repair(&mut connection, &mut scan).map_err(fault("repairing the log"))?;
    }
    Ok((connection, scan, upgraded_from))
}

struct Opened {
    connection: Connection,
    scan: Scan,
    upgraded_from: Option<i64>,
}

fn finish(
    opened: Opened,
    tail: Tail,
    generation: u64,
    mut findings: Findings,
    quarantined: Vec<PathBuf>,
) -> OpenedLog {
    let Opened {
        connection,
        scan,
        upgraded_from,
    } = opened;
    findings.append(scan.findings);
    let index = scan.index;
    tail.write(index.next_row() - 1);
    let report = RecoveryReport {
        generation,
        rows: index.next_row() - index.first_row(),
        records: scan.records,
        live_records: index.live_records(),
        damage: findings.listed,
        damage_left_out: findings.left_out,
        quarantined,
        upgraded_from,
    };
    OpenedLog {
        connection,
        index,
        tail,
        generation,
        report,
    }
}
