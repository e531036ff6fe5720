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
use crate::tail::Tail;

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

impl From<ScanError> for OpenFault {
    fn from(error: ScanError) -> OpenFault {
        match error {
            ScanError::Structure(what) => OpenFault::Structure(what),
            ScanError::Database(source) => fault("reading the log")(source),
        }
    }
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

/// Opens the newest generation, repaired or made anew if need be.
pub(crate) fn open_log(
    directory: &Directory,
    durability: Durability,
) -> Result<OpenedLog, StoreError> {
    let mut findings = Findings::default();
    let mut quarantined = Vec::new();
    let mut generations = directory.generations()?;
    let mut generation = match generations.pop() {
        Some(newest) => newest,
        None => create_first(directory)?,
    };
    for older in generations {
        // A newer one was being put in its place when the process ended.
        quarantined.extend(directory.quarantine_generation(older)?);
    }
    let mut opened = open_generation(directory, generation, durability);
    if let Err(OpenFault::Structure(what)) = &opened {
        findings.add(None, format!("the database's structure is damaged: {what}"));
        let (_, mark) = Tail::open(directory.path(), generation)?;
        let next = salvage::make_anew(directory, generation, mark, &mut findings)?;
        quarantined.extend(directory.quarantine_generation(generation)?);
        generation = next;
        opened = open_generation(directory, generation, durability);
    }
    let opened = opened.map_err(|fault| match fault {
        OpenFault::Error(error) => error,
        OpenFault::Structure(what) => StoreError::Format {
            path: directory.database(generation),
            what: format!("made anew, and damaged again: {what}"),
        },
    })?;
    Ok(opened.into_log(generation, findings, quarantined))
}

fn create_first(directory: &Directory) -> Result<u64, StoreError> {
    directory.remove_generation(1)?;
    let created = database::create(&directory.unfinished(1));
    drop(created.map_err(StoreError::database("making the database"))?);
    directory.finish(1)?;
    Ok(1)
}

/// Opens a database to look at it; nothing in it changes, but that an older format is
/// brought up to date.
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

/// A generation that can be written to.
struct Opened {
    connection: Connection,
    scan: Scan,
    tail: Tail,
    upgraded_from: Option<i64>,
}

fn open_generation(
    directory: &Directory,
    generation: u64,
    durability: Durability,
) -> Result<Opened, OpenFault> {
    let (tail, mark) = Tail::open(directory.path(), generation)?;
    let (mut connection, upgraded_from) = look_at(directory, generation, durability)?;
    let mut scan = scan::scan(&connection, mark)?;
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
    Ok(Opened {
        connection,
        scan,
        tail,
        upgraded_from,
    })
}

impl Opened {
    fn into_log(
        self,
        generation: u64,
        mut findings: Findings,
        quarantined: Vec<PathBuf>,
    ) -> OpenedLog {
        let Scan { index, records, .. } = self.scan;
        findings.append(self.scan.findings);
        self.tail.write(index.next_row() - 1);
        let report = RecoveryReport {
            generation,
            rows: index.next_row() - index.first_row(),
            records,
            live_records: index.live_records(),
            damage: findings.listed,
            damage_left_out: findings.left_out,
            quarantined,
            upgraded_from: self.upgraded_from,
        };
        OpenedLog {
            connection: self.connection,
            index,
            tail: self.tail,
            generation,
            report,
        }
    }
}
