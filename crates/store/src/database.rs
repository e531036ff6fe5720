//! The SQLite file: its tables, its settings and the version of its format.
//!
//! ```text
//! log(id, bytes)                      one row per `row.rs`
//! quarantine(id, row, what, bytes)    rows that were repaired, as they were found
//! format(version, written_by, check)  one row; the check is over the other two
//! ```

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::directory::private_file;
use crate::options::Durability;

/// Version of what this code writes.
pub(crate) const FORMAT: i64 = 1;
/// "NocS": tells the file from any other SQLite database.
const APPLICATION_ID: i64 = 0x4E6F_6353;

/// SQLite waits this long for a lock of its own that another thread holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const CACHE_KIBIBYTES: i64 = 8_192;

const SCHEMA: &str = "
    CREATE TABLE log (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
    CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY, row INTEGER NOT NULL, what TEXT NOT NULL, bytes BLOB);
    CREATE TABLE format (
        version INTEGER NOT NULL, written_by TEXT NOT NULL, checksum INTEGER NOT NULL);
";

/// A step from one format to the next, inside a transaction.
pub(crate) type Upgrade = fn(&Connection) -> rusqlite::Result<()>;

/// `UPGRADES[n]` leads from format n + 1 to n + 2.
const UPGRADES: [Upgrade; FORMAT as usize - 1] = [];

/// Makes an empty database at `path`, where nothing is yet, complete and synced.
///
/// It has no write-ahead log before it is opened the next time.
pub(crate) fn create(path: &Path) -> rusqlite::Result<Connection> {
    private_file(path).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let connection = Connection::open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = 4096; PRAGMA synchronous = FULL;
         BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
    ))?;
    connection.execute(
        "INSERT INTO format VALUES (?1, ?2, ?3)",
        (FORMAT, WRITTEN_BY, format_check(FORMAT, WRITTEN_BY)),
    )?;
    Ok(connection)
}

const WRITTEN_BY: &str = concat!("noctule-store ", env!("CARGO_PKG_VERSION"));

/// So that one flipped bit does not make a store look as if a later version wrote it.
fn format_check(version: i64, written_by: &str) -> i64 {
    i64::from(crc32c::crc32c(format!("{version} {written_by}").as_bytes()))
}

/// Opens a database to write to it.
pub(crate) fn open(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let synchronous = match durability {
        Durability::Disk => "FULL",
        // Synced around a checkpoint only; the committer syncs at the interval.
        Durability::Interval(_) => "NORMAL",
    };
    configure(&connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    Ok(connection)
}

/// Opens a database beside the one who writes.
pub(crate) fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The last to close would otherwise carry the write-ahead log over and delete it:
    // with it the evidence, if it is damaged. `checkpoint` is called where it is due.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// How far a checkpoint got.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Checkpoint {
    /// Frames in the write-ahead log.
    pub frames: u64,
    /// Whether all of them are in the database now, so that the next commit begins
    /// the log anew.
    pub complete: bool,
}

/// Carries the write-ahead log over into the database, as far as readers allow.
/// `truncate`: waits for them, and leaves an empty file.
pub(crate) fn checkpoint(connection: &Connection, truncate: bool) -> rusqlite::Result<Checkpoint> {
    let statement = match truncate {
        true => "PRAGMA wal_checkpoint(TRUNCATE)",
        false => "PRAGMA wal_checkpoint(PASSIVE)",
    };
    connection.query_row(statement, [], |row| {
        let (busy, frames, carried): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Checkpoint {
            frames: frames.max(0) as u64,
            complete: busy == 0 && frames == carried,
        })
    })
}

/// What a file turned out to be.
pub(crate) enum Identity {
    /// Ours, of this format; `upgraded_from` is the format it had before.
    Ours { upgraded_from: Option<i64> },
    /// Ours, and what says so is damaged.
    Damaged(&'static str),
    /// Something that is not to be touched.
    Foreign(String),
}

/// Finds out what the file is, and brings an older format up to date.
pub(crate) fn identify(connection: &mut Connection) -> rusqlite::Result<Identity> {
    identify_with(connection, &UPGRADES)
}

fn identify_with(connection: &mut Connection, upgrades: &[Upgrade]) -> rusqlite::Result<Identity> {
    let current = upgrades.len() as i64 + 1;
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let ours = application == APPLICATION_ID;
    let format = connection.query_row("SELECT * FROM format", [], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
    });
    let (version, written_by, check): (i64, _, i64) = match format {
        Ok(format) => format,
        Err(error) if ours || classify(&error) != Fault::Corrupt => return Err(error),
        Err(_) if is_empty(connection)? => {
            return Ok(Identity::Damaged("there is nothing in the file"));
        }
        Err(_) => {
            let what = format!("it is not a Noctule store (application id {application:#x})");
            return Ok(Identity::Foreign(what));
        }
    };
    if check != format_check(version, &written_by) {
        return Ok(Identity::Damaged("the table of the format fails its check"));
    }
    if !ours {
        return Ok(Identity::Damaged("the application id is not a store's"));
    }
    if version == current {
        return Ok(Identity::Ours {
            upgraded_from: None,
        });
    }
    if version < 1 || version > current {
        let what = format!(
            "format {version}, written by {written_by}, is not one that this version reads \
             (1 to {current})"
        );
        return Ok(Identity::Foreign(what));
    }
    let transaction = connection.transaction()?;
    for upgrade in &upgrades[version as usize - 1..] {
        upgrade(&transaction)?;
    }
    transaction.execute(
        "UPDATE format SET version = ?1, written_by = ?2, checksum = ?3",
        (current, WRITTEN_BY, format_check(current, WRITTEN_BY)),
    )?;
    transaction.commit()?;
    Ok(Identity::Ours {
        upgraded_from: Some(version),
    })
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
        row.get(0)
    })
}

/// Bytes within the file that hold nothing.
pub(crate) fn free_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    Ok(pages.max(0) as u64 * 4_096)
}

/// What SQLite finds wrong with the structure of the file; empty if nothing.
pub(crate) fn structure_faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA quick_check(100)")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let faults = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(faults.into_iter().filter(|fault| fault != "ok").collect())
}

/// What kind of trouble an error is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No room: nothing was promised, try again later.
    Full,
    /// The file is not what it should be.
    Corrupt,
    /// A write failed, before any sync: a quota may be why.
    NotWritten(String),
    /// A read or a sync failed: nothing is known of what is on the disk.
    Broken(String),
}

/// SQLITE_IOERR_SHMSIZE and SQLITE_IOERR_SHMMAP: the shared memory file could not
/// grow, which comes before anything is written.
const SHARED_MEMORY: [i32; 2] = [10 | 19 << 8, 10 | 21 << 8];
/// SQLITE_IOERR_WRITE.
const WRITE: i32 = 10 | 3 << 8;

pub(crate) fn classify(error: &rusqlite::Error) -> Fault {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        // A value of another type than the schema says, a row that is not there.
        return Fault::Corrupt;
    };
    match failure.code {
        ErrorCode::DiskFull => Fault::Full,
        _ if SHARED_MEMORY.contains(&failure.extended_code) => Fault::Full,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig => Fault::Corrupt,
        // SQLITE_ERROR: our statements are sound, so the schema is not. ReadOnly: what
        // the file's header says when a bit of its version is wrong.
        ErrorCode::Unknown | ErrorCode::ReadOnly => Fault::Corrupt,
        _ if failure.extended_code == WRITE => Fault::NotWritten(error.to_string()),
        _ => Fault::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let connection = create(&directory.path().join(name)).unwrap();
        (directory, connection)
    }

    const STEPS: [Upgrade; 2] = [
        |connection| connection.execute_batch("CREATE TABLE second (id INTEGER PRIMARY KEY)"),
        |connection| connection.execute_batch("INSERT INTO second VALUES (7)"),
    ];

    #[test]
    fn an_older_format_is_brought_up_to_date_step_by_step() {
        let (_directory, mut connection) = store("log.db");
        let identity = identify_with(&mut connection, &STEPS).unwrap();
        assert!(matches!(
            identity,
            Identity::Ours {
                upgraded_from: Some(1)
            }
        ));
        let seven: i64 = connection
            .query_row("SELECT id FROM second", [], |row| row.get(0))
            .unwrap();
        assert_eq!(seven, 7);
        let again = identify_with(&mut connection, &STEPS).unwrap();
        assert!(matches!(
            again,
            Identity::Ours {
                upgraded_from: None
            }
        ));
    }

    #[test]
    fn a_failing_upgrade_changes_nothing() {
        let (_directory, mut connection) = store("log.db");
        let steps: [Upgrade; 2] = [STEPS[0], |connection| {
            connection.execute_batch("INSERT INTO nowhere VALUES (1)")
        }];
        assert!(identify_with(&mut connection, &steps).is_err());
        let tables: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = 'second'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(tables, 0);
        assert!(matches!(
            identify(&mut connection).unwrap(),
            Identity::Ours {
                upgraded_from: None
            }
        ));
    }

    #[test]
    fn a_later_format_is_refused() {
        let (_directory, mut connection) = store("log.db");
        let check = format_check(9, "noctule-store 7.0");
        connection
            .execute(
                "UPDATE format SET version = 9, written_by = 'noctule-store 7.0', checksum = ?1",
                [check],
            )
            .unwrap();
        let Identity::Foreign(what) = identify(&mut connection).unwrap() else {
            panic!("taken for ours");
        };
        assert!(what.contains("format 9"), "{what}");
    }
}
