//! A group commit: the rows it adds to the log, and those it lets go of.

use rusqlite::Connection;

use crate::index::Index;
use crate::location::Location;
use crate::pending::Submission;
use crate::reader::read_row;
use crate::record;
use crate::row::{self, Found, HEADER_BYTES, RowBuilder};

/// Rows without anything alive that one group lets go of, at most.
const MAX_DEAD_ROWS: u64 = 256;
/// Bytes of old rows that one group goes through at least, when there is garbage.
const MIN_TRIM_BYTES: u64 = 256 << 10;
/// Old rows are half alive when trimming begins; to keep up with what is written,
/// more than twice as much has to be gone through.
const TRIM_RATIO: u64 = 3;

/// Rows ready to be written, and where the log begins after that.
pub(crate) struct Group {
    pub rows: Vec<(u64, Vec<u8>)>,
    pub first_row: u64,
    /// How many of the records are old ones that moved.
    pub moved_records: u64,
}

/// How much trimming a group may do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    Nothing,
    /// Only let go of rows without anything alive: needs no room.
    DeadRows,
    /// Move what is alive in the oldest rows, too.
    OldRows,
}

/// Why no group could be made.
pub(crate) enum GroupError {
    Database(rusqlite::Error),
    /// A row of the log is damaged, or gone.
    Damaged {
        row: u64,
    },
}

impl From<rusqlite::Error> for GroupError {
    fn from(error: rusqlite::Error) -> GroupError {
        GroupError::Database(error)
    }
}

/// Lays out what is submitted, after what is moved out of the oldest rows.
///
/// Old rows go strictly by age: a record that says that something is gone may be
/// forgotten once everything older is, and row numbers keep running without a gap.
pub(crate) fn lay_out(
    connection: &Connection,
    index: &Index,
    submissions: &[Submission],
    trim: Trim,
) -> Result<Group, GroupError> {
    let submitted: u64 = submissions
        .iter()
        .map(|submission| submission.batch.bytes() as u64)
        .sum();
    let mut layout = Layout::new(index.next_row());
    let mut first_row = index.first_row();
    if trim != Trim::Nothing {
        let budget = match trim {
            Trim::OldRows => MIN_TRIM_BYTES.max(submitted * TRIM_RATIO),
            _ => 0,
        };
        first_row = move_old_rows(connection, index, budget, &mut layout)?;
    }
    let moved_records = layout.records;
    for submission in submissions {
        for (_, record) in submission.batch.iter() {
            layout.push(record);
        }
    }
    let mut rows = layout.rows;
    // Letting go of rows needs one that says so.
    if layout.last.records() > 0 || (rows.is_empty() && first_row != index.first_row()) {
        rows.push(layout.last);
    }
    let finish = |row: RowBuilder| (row.row(), row.finish(first_row));
    Ok(Group {
        rows: rows.into_iter().map(finish).collect(),
        first_row,
        moved_records,
    })
}

/// Returns the first row that is not let go of.
fn move_old_rows(
    connection: &Connection,
    index: &Index,
    mut budget: u64,
    layout: &mut Layout,
) -> Result<u64, GroupError> {
    let mut bytes = Vec::new();
    let mut dead_rows = 0;
    for row in index.first_row()..index.next_row() {
        let Some((row_bytes, live_records)) = index.extent(row) else {
            return Ok(row);
        };
        if live_records == 0 {
            dead_rows += 1;
            if dead_rows > MAX_DEAD_ROWS {
                return Ok(row);
            }
            continue;
        }
        if budget == 0 {
            return Ok(row);
        }
        budget = budget.saturating_sub(row_bytes);
        if !read_row(connection, row, &mut bytes)? {
            return Err(GroupError::Damaged { row });
        }
        if move_row(row, &bytes, index, layout) != live_records {
            return Err(GroupError::Damaged { row });
        }
    }
    Ok(index.next_row())
}

/// Returns how many live records there were.
fn move_row(row: u64, bytes: &[u8], index: &Index, layout: &mut Layout) -> u32 {
    let mut moved = 0;
    let mut record = Vec::new();
    for found in row::walk(row, bytes) {
        let Found::Record {
            head,
            location,
            bytes,
        } = found
        else {
            continue;
        };
        if index.is_live(&head, location) {
            record.clear();
            record.extend_from_slice(bytes);
            record::mask(&mut record, row, location.offset());
            layout.push(&record);
            moved += 1;
        }
    }
    moved
}

struct Layout {
    rows: Vec<RowBuilder>,
    last: RowBuilder,
    records: u64,
}

impl Layout {
    fn new(next_row: u64) -> Layout {
        Layout {
            rows: Vec::new(),
            last: RowBuilder::new(next_row),
            records: 0,
        }
    }

    fn push(&mut self, record: &[u8]) {
        if self.last.is_full_for(record.len()) {
            let next = RowBuilder::new(self.last.row() + 1);
            self.rows.push(std::mem::replace(&mut self.last, next));
        }
        self.last.push(record);
        self.records += 1;
    }
}

impl Group {
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.1.len() as u64).sum()
    }

    /// Writes it, in one transaction.
    pub fn commit(&self, connection: &Connection, index_first_row: u64) -> rusqlite::Result<()> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let written = self.write(connection, index_first_row);
        let ended = written.and_then(|()| {
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        });
        if ended.is_err() && !connection.is_autocommit() {
            // SQLite has often rolled back by itself; what counts is the first error.
            let _ = connection.execute_batch("ROLLBACK");
        }
        ended
    }

    fn write(&self, connection: &Connection, index_first_row: u64) -> rusqlite::Result<()> {
        if self.first_row != index_first_row {
            connection
                .prepare_cached("DELETE FROM log WHERE id < ?1")?
                .execute([self.first_row as i64])?;
        }
        let mut insert = connection.prepare_cached("INSERT INTO log VALUES (?1, ?2)")?;
        for (row, bytes) in &self.rows {
            insert.execute((*row as i64, bytes))?;
        }
        Ok(())
    }

    /// Has the index follow, once it is committed.
    pub fn apply(&self, index: &mut Index) {
        for (row, bytes) in &self.rows {
            index.add_row(bytes.len());
            let mut offset = HEADER_BYTES;
            while let Some(head) = record::decode_head(&bytes[offset..]) {
                let record_bytes = head.record_bytes();
                index.apply(&head, Location::new(*row, offset, record_bytes));
                offset += record_bytes;
            }
        }
        index.drop_rows_before(self.first_row);
    }
}
