//! Reading the whole log: the index, and everything that is wrong.

use std::ops::Range;

use rusqlite::Connection;

use crate::damage::{self, Findings};
use crate::database::{self, Fault};
use crate::index::Index;
use crate::row::{self, Found, Header};
use crate::tail::Mark;

/// What a log that can be read row by row turned out to hold.
pub(crate) struct Scan {
    /// Of the sound records, at the places they will have after [`repair`].
    pub index: Index,
    pub findings: Findings,
    pub records: u64,
    /// Rows that are there and not sound.
    damaged_rows: Vec<u64>,
    /// Rows that should be there and are not.
    missing_rows: Vec<Range<u64>>,
    /// Rows that were acknowledged and are missing at the end of the log.
    pub lost_at_the_end: bool,
}

/// Why there is no scan.
pub(crate) enum ScanError {
    /// The file's structure is damaged: rows have to be looked for page by page.
    Structure(String),
    /// SQLite could not read it for another reason.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for ScanError {
    fn from(error: rusqlite::Error) -> ScanError {
        match database::classify(&error) {
            Fault::Corrupt => ScanError::Structure(error.to_string()),
            _ => ScanError::Database(error),
        }
    }
}

/// Reads everything. `mark`: up to which row was acknowledged.
pub(crate) fn scan(connection: &Connection, mark: Mark) -> Result<Scan, ScanError> {
    let faults = database::structure_faults(connection)?;
    if let Some(fault) = faults.into_iter().next() {
        return Err(ScanError::Structure(fault));
    }
    let mut scan = Scan {
        index: Index::new(1),
        findings: Findings::default(),
        records: 0,
        damaged_rows: Vec::new(),
        missing_rows: Vec::new(),
        lost_at_the_end: false,
    };
    let mut first_row = None;
    let mut statement = connection.prepare("SELECT id, bytes FROM log ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut empty = true;
    while let Some(found) = rows.next()? {
        let (id, bytes) = (found.get::<_, i64>(0)?, found.get_ref(1)?.as_blob());
        let (Ok(id), Ok(bytes)) = (u64::try_from(id), bytes) else {
            return Err(ScanError::Structure(format!("row {id} is not of the log")));
        };
        let header = Header::decode(bytes);
        if let Some(other) = header.filter(|header| header.row != id) {
            let what = format!("row {id} calls itself {}", other.row);
            return Err(ScanError::Structure(what));
        }
        first_row = header.map(|header| header.first_row).or(first_row);
        if std::mem::take(&mut empty) {
            scan.index = Index::new(id);
        }
        scan.expect_rows_until(id);
        scan.take_row(id, bytes, first_row.unwrap_or(id));
    }
    scan.check_ends(first_row, mark, empty)?;
    Ok(scan)
}

impl Scan {
    pub fn needs_repair(&self) -> bool {
        !self.damaged_rows.is_empty() || !self.missing_rows.is_empty()
    }

    fn expect_rows_until(&mut self, id: u64) {
        let next = self.index.next_row();
        if next == id {
            return;
        }
        self.missing_rows.push(next..id);
        let what = format!("rows {next} to {} are missing, and lost", id - 1);
        self.findings.add(next, what);
        for row in next..id {
            let length = row::RowBuilder::new(row).finish(next).len();
            self.index.add_row(length);
        }
    }

    fn take_row(&mut self, id: u64, bytes: &[u8], first_row: u64) {
        let found = row::walk(id, bytes).collect::<Vec<_>>();
        let declared = Header::decode(bytes).map(|header| header.records as usize);
        let sound = |found: &Found<'_>| matches!(found, Found::Record { .. });
        if declared == Some(found.len()) && found.iter().all(sound) {
            return self.apply(bytes.len(), found);
        }
        damage::examine(id, bytes, &mut self.findings);
        self.damaged_rows.push(id);
        let repaired = damage::repaired(id, bytes, first_row);
        self.apply(repaired.len(), row::walk(id, &repaired));
    }

    fn apply<'a>(&mut self, row_bytes: usize, records: impl IntoIterator<Item = Found<'a>>) {
        self.index.add_row(row_bytes);
        for found in records {
            if let Found::Record { head, location, .. } = found {
                self.index.apply(&head, location);
                self.records += 1;
            }
        }
    }

    fn check_ends(
        &mut self,
        first_row: Option<u64>,
        mark: Mark,
        empty: bool,
    ) -> Result<(), ScanError> {
        let first = self.index.first_row();
        match first_row {
            Some(expected) if expected > first => {
                let what = format!("the log begins with row {first}, before row {expected}");
                return Err(ScanError::Structure(what));
            }
            Some(expected) if expected < first => {
                let what = format!("rows {expected} to {} are missing, and lost", first - 1);
                self.findings.add(expected, what);
                // Nothing to fill in: the next row says that the log begins later.
                self.missing_rows.push(first..first);
            }
            _ => {}
        }
        match mark {
            Mark::Absent => {}
            Mark::Damaged => {
                let what = "the mark of what was acknowledged is damaged: whether the log's \
                            end is complete is not known";
                self.findings.add(None, what);
            }
            Mark::Row(row) if row >= self.index.next_row() => {
                self.lost_at_the_end = true;
                if empty {
                    let what = "the log is empty, and rows were acknowledged";
                    self.findings.add(None, what);
                    self.index = Index::new(row);
                }
                self.expect_rows_until(row + 1);
            }
            Mark::Row(_) => {}
        }
        Ok(())
    }
}

/// Writes sound rows in place of the damaged and missing ones, which go into the
/// quarantine table as they were found. The log is then what the scan's index says.
pub(crate) fn repair(connection: &mut Connection, scan: &mut Scan) -> rusqlite::Result<()> {
    let first_row = scan.index.first_row();
    let transaction = connection.transaction()?;
    for &row in &scan.damaged_rows {
        let bytes: Vec<u8> = transaction.query_row(
            "SELECT bytes FROM log WHERE id = ?1",
            [row as i64],
            |found| found.get(0),
        )?;
        transaction.execute(
            "INSERT INTO quarantine (row, what, bytes) VALUES (?1, ?2, ?3)",
            (row as i64, "its checksums did not match", &bytes),
        )?;
        let repaired = damage::repaired(row, &bytes, first_row);
        transaction.execute(
            "UPDATE log SET bytes = ?2 WHERE id = ?1",
            (row as i64, &repaired),
        )?;
    }
    for row in scan.missing_rows.iter().cloned().flatten() {
        let empty = row::RowBuilder::new(row).finish(first_row);
        transaction.execute("INSERT INTO log VALUES (?1, ?2)", (row as i64, empty))?;
    }
    // The last row says where the log begins from now on.
    let last = row::RowBuilder::new(scan.index.next_row()).finish(first_row);
    transaction.execute(
        "INSERT INTO log VALUES (?1, ?2)",
        (scan.index.next_row() as i64, &last),
    )?;
    transaction.commit()?;
    scan.index.add_row(last.len());
    Ok(())
}
