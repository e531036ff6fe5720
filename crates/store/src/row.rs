//! A row of the log: a header and the records that were committed together.
//!
//! ```text
//!  0  magic "NocR"
//!  4  u8   format of the row (1), three zeros
//!  8  u64  the row's number
//! 16  u64  the number of the log's first row once this one is committed
//! 24  u32  number of records
//! 28  u32  CRC-32C of the bytes before
//! 32  records
//! ```
//!
//! Numbers run without a gap from the first row to the last, so that a row that is
//! missing is noticed. One group commit fills several rows of about 64 KiB, so that
//! reading one record back does not read a megabyte.

use crc32c::crc32c;

use crate::location::Location;
use crate::record::{self, Checked, Head};

const MAGIC: [u8; 4] = *b"NocR";
const ROW_FORMAT: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 32;

/// A row is full when it is longer than this; one long record may be all of it.
const ROW_BYTES: usize = 64 << 10;

/// What a row says of itself.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub row: u64,
    pub first_row: u64,
    pub records: u32,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = ROW_FORMAT;
        bytes[8..16].copy_from_slice(&self.row.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_row.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.records.to_le_bytes());
        let check = crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// None if these bytes do not begin with a sound header.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let header: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let check = u32::from_le_bytes(header[28..32].try_into().ok()?);
        if header[..4] != MAGIC || header[4] != ROW_FORMAT || check != crc32c(&header[..28]) {
            return None;
        }
        Some(Header {
            row: u64::from_le_bytes(header[8..16].try_into().ok()?),
            first_row: u64::from_le_bytes(header[16..24].try_into().ok()?),
            records: u32::from_le_bytes(header[24..28].try_into().ok()?),
        })
    }
}

/// A row being filled.
pub(crate) struct RowBuilder {
    row: u64,
    bytes: Vec<u8>,
    records: u32,
}

impl RowBuilder {
    pub fn new(row: u64) -> RowBuilder {
        RowBuilder {
            row,
            bytes: vec![0; HEADER_BYTES],
            records: 0,
        }
    }

    pub fn row(&self) -> u64 {
        self.row
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    /// Whether `record_bytes` more should rather go into the next row.
    pub fn is_full_for(&self, record_bytes: usize) -> bool {
        self.records > 0 && self.bytes.len() + record_bytes > ROW_BYTES
    }

    /// Takes in a record whose checks are not masked.
    pub fn push(&mut self, record: &[u8]) -> Location {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(record);
        record::mask(&mut self.bytes[offset..], self.row, offset);
        self.records += 1;
        Location::new(self.row, offset, record.len())
    }

    /// The row's bytes. `first_row`: where the log begins once it is committed.
    pub fn finish(mut self, first_row: u64) -> Vec<u8> {
        let header = Header {
            row: self.row,
            first_row,
            records: self.records,
        };
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.bytes
    }
}

/// What is found when a row is walked.
pub(crate) enum Found<'a> {
    Record {
        head: Head<'a>,
        location: Location,
        /// The record as it is in the row, its checks masked.
        bytes: &'a [u8],
    },
    /// A record whose value is lost.
    ValueDamaged { head: Head<'a> },
    /// Bytes in which no record begins.
    Unreadable { offset: usize, bytes: usize },
}

/// Goes through the records of row `row`, passing over what is damaged.
pub(crate) fn walk(row: u64, bytes: &[u8]) -> impl Iterator<Item = Found<'_>> {
    let alone = Header::decode(bytes).is_some_and(|header| header.records == 1);
    let mut offset = HEADER_BYTES;
    std::iter::from_fn(move || {
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let start = offset;
        match record::decode(rest, row, start) {
            Some(Checked::Sound(head, _)) => {
                let record_bytes = head.record_bytes();
                offset += record_bytes;
                Some(Found::Record {
                    head,
                    location: Location::new(row, start, record_bytes),
                    bytes: &rest[..record_bytes],
                })
            }
            Some(Checked::ValueDamaged(head)) => {
                offset += head.record_bytes();
                Some(Found::ValueDamaged { head })
            }
            None => {
                offset = match alone {
                    true => bytes.len(),
                    false => next_record(bytes, row, start + 1),
                };
                Some(Found::Unreadable {
                    offset: start,
                    bytes: offset - start,
                })
            }
        }
    })
}

/// Where the next record with a sound head begins, or the end.
fn next_record(bytes: &[u8], row: u64, from: usize) -> usize {
    (from..bytes.len())
        .find(|&offset| record::decode(&bytes[offset..], row, offset).is_some())
        .unwrap_or(bytes.len())
}

/// The value of the record at `location`, in the bytes of its row.
///
/// Returns None if no sound record of that key is there.
pub(crate) fn value_at<'a>(bytes: &'a [u8], location: Location, key: &[u8]) -> Option<&'a [u8]> {
    let record = bytes.get(location.offset()..)?;
    match record::decode(record, location.row(), location.offset())? {
        Checked::Sound(head, value) if head.operation.holds_value() && head.key == key => {
            Some(value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn row(number: u64, key: &[u8]) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.put(1, key, b"value").unwrap();
        batch.put(1, b"second", b"another value").unwrap();
        let mut builder = RowBuilder::new(number);
        for (_, record) in batch.iter() {
            builder.push(record);
        }
        builder.finish(1)
    }

    fn sound_keys(number: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
        let sound = walk(number, bytes).filter_map(|found| match found {
            Found::Record { head, .. } => Some(head.key.to_vec()),
            _ => None,
        });
        sound.collect()
    }

    #[test]
    fn a_record_of_another_row_is_not_taken_for_one_of_this() {
        let (seven, eight) = (row(7, b"first"), row(8, b"newer"));
        assert_eq!(sound_keys(7, &seven), [&b"first"[..], b"second"]);
        assert!(sound_keys(8, &seven).is_empty());
        // The same length, at the same place, sound where it belongs.
        let mut mixed = eight.clone();
        mixed[HEADER_BYTES..].copy_from_slice(&seven[HEADER_BYTES..]);
        assert!(sound_keys(8, &mixed).is_empty());
    }

    #[test]
    fn a_record_at_another_place_is_not_taken_for_one_of_this() {
        let mut moved = row(7, b"first");
        moved.insert(HEADER_BYTES, 0);
        assert!(sound_keys(7, &moved).is_empty());
    }

    #[test]
    fn what_follows_a_damaged_head_is_found() {
        let mut damaged = row(7, b"first");
        damaged[HEADER_BYTES + 10] ^= 4;
        assert_eq!(sound_keys(7, &damaged), [b"second"]);
    }
}
