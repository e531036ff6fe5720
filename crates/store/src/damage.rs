//! What was found damaged, and what was lost with it.

use std::fmt;

use crate::record::{self, Head};
use crate::row::{self, Found, Header, RowBuilder};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Row of the log, if the finding is about one.
    pub row: Option<u64>,
    /// Whose record it was, if that can still be read.
    pub key: Option<DamagedKey>,
    /// For a person to read.
    pub what: String,
}

/// Whose record was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedKey {
    pub space: u8,
    pub key: Vec<u8>,
    /// The entry of the queue below the key; 0 if it was the key's value.
    pub sequence: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(row) = self.row {
            write!(f, "row {row}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(key) = &self.key {
            write!(
                f,
                ": space {}, key \"{}\"",
                key.space,
                key.key.escape_ascii()
            )?;
            if key.sequence != 0 {
                write!(f, ", entry {}", key.sequence)?;
            }
        }
        Ok(())
    }
}

/// Findings beyond this many are only counted.
const MAX_LISTED: usize = 1_000;

/// Findings, bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub listed: Vec<Damage>,
    pub left_out: u64,
}

impl Findings {
    pub fn add(&mut self, row: impl Into<Option<u64>>, what: impl Into<String>) {
        self.push(Damage {
            row: row.into(),
            key: None,
            what: what.into(),
        });
    }

    pub fn append(&mut self, other: Findings) {
        self.left_out += other.left_out;
        other
            .listed
            .into_iter()
            .for_each(|damage| self.push(damage));
    }

    fn push(&mut self, damage: Damage) {
        if self.listed.len() == MAX_LISTED {
            self.left_out += 1;
            return;
        }
        self.listed.push(damage);
    }

    fn add_lost(&mut self, row: u64, head: &Head<'_>) {
        self.push(Damage {
            row: Some(row),
            key: Some(DamagedKey {
                space: head.space,
                key: head.key.to_vec(),
                sequence: head.sequence,
            }),
            what: "a value is damaged and lost".to_owned(),
        });
    }
}

/// Adds what is wrong with a row to `findings`. Returns whether anything is.
pub(crate) fn examine(row: u64, bytes: &[u8], findings: &mut Findings) -> bool {
    let header = Header::decode(bytes).filter(|header| header.row == row);
    let mut damaged = header.is_none();
    if damaged {
        findings.add(row, "the row's header is damaged");
    }
    let mut records = 0;
    for found in row::walk(row, bytes) {
        match found {
            Found::Record { .. } => records += 1,
            Found::ValueDamaged { head } => {
                damaged = true;
                records += 1;
                findings.add_lost(row, &head);
            }
            Found::Unreadable { offset, bytes } => {
                damaged = true;
                let what = format!("{bytes} bytes at {offset} are not a record, and lost");
                findings.add(row, what);
            }
        }
    }
    match header {
        Some(header) if header.records != records => {
            let expected = header.records;
            findings.add(row, format!("it holds {records} of its {expected} records"));
            true
        }
        _ => damaged,
    }
}

/// The row again, with what is sound in it. A lost value leaves the word that its key
/// has none, so that an older one does not come back in its place.
pub(crate) fn repaired(row: u64, bytes: &[u8], first_row: u64) -> Vec<u8> {
    let mut builder = RowBuilder::new(row);
    let mut record = Vec::new();
    for found in row::walk(row, bytes) {
        record.clear();
        match found {
            Found::Record {
                location, bytes, ..
            } => {
                record.extend_from_slice(bytes);
                record::mask(&mut record, row, location.offset());
                builder.push(&record);
            }
            Found::ValueDamaged { head } => {
                let operation = head.operation.without_value();
                let encoded = record::encode(
                    &mut record,
                    operation,
                    head.space,
                    head.key,
                    head.sequence,
                    &[],
                );
                // The key was in a record before: it is not too long for one.
                if encoded.is_ok() {
                    builder.push(&record);
                }
            }
            Found::Unreadable { .. } => {}
        }
    }
    builder.finish(first_row)
}
