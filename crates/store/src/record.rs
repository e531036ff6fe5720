//! One record: an operation on one key, with checksums of its own.
//!
//! ```text
//!  0  u32  head check: CRC-32C of bytes 8.. up to the value
//!  4  u32  value check: the same CRC carried on over the value, so that a value
//!          belongs to its key
//!  8  u8   operation
//!  9  u8   space
//! 10  u24  key length
//! 13  u32  value length
//! 17  u64  sequence, in Append and Remove only
//!     …    key, value
//! ```
//!
//! Integers are little-endian. In a row both checks are masked with the row's number
//! and the record's place, so that a record that turns up anywhere else (a page of
//! another row, an old copy of this one) is not taken for one that belongs there.
//! Two checks rather than one: when only the value is damaged, it is still known
//! whose value it was, and an older one is not taken for it.

use crc32c::{crc32c, crc32c_append};

use crate::error::TooLarge;

/// Longest key, inclusive.
pub const MAX_KEY_BYTES: usize = 0xFF_FFFF;
/// Longest value, inclusive: twice the longest MQTT packet.
pub const MAX_VALUE_BYTES: usize = 512 << 20;

pub(crate) const FIXED_BYTES: usize = 17;
const SEQUENCE_BYTES: usize = 8;
/// What a record takes besides its key and value, at most.
pub(crate) const MAX_FIXED_BYTES: usize = FIXED_BYTES + SEQUENCE_BYTES;
const CHECKED_FROM: usize = 8;

/// What a record does. The numbers are the format.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operation {
    /// Sets the value of a key.
    Put = 1,
    /// Drops the value of a key.
    Delete = 2,
    /// Sets an entry of the queue below a key.
    Append = 3,
    /// Drops an entry of the queue below a key.
    Remove = 4,
    /// Drops the whole queue below a key.
    Clear = 5,
    /// Drops values and queues of every key that begins so.
    DeletePrefix = 6,
}

impl Operation {
    fn from_byte(byte: u8) -> Option<Operation> {
        Some(match byte {
            1 => Operation::Put,
            2 => Operation::Delete,
            3 => Operation::Append,
            4 => Operation::Remove,
            5 => Operation::Clear,
            6 => Operation::DeletePrefix,
            _ => return None,
        })
    }

    fn has_sequence(self) -> bool {
        matches!(self, Operation::Append | Operation::Remove)
    }

    /// Whether a record of it holds a value, rather than the word that one is gone.
    pub fn holds_value(self) -> bool {
        matches!(self, Operation::Put | Operation::Append)
    }

    /// What stands in for it when its value is lost.
    pub fn without_value(self) -> Operation {
        match self {
            Operation::Put => Operation::Delete,
            Operation::Append => Operation::Remove,
            other => other,
        }
    }
}

/// A record but for its value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub operation: Operation,
    pub space: u8,
    /// 0 where the operation has none.
    pub sequence: u64,
    pub key: &'a [u8],
    pub value_bytes: usize,
}

impl Head<'_> {
    fn bytes(&self) -> usize {
        let sequence = if self.operation.has_sequence() {
            SEQUENCE_BYTES
        } else {
            0
        };
        FIXED_BYTES + sequence + self.key.len()
    }

    /// Length of the whole record.
    pub fn record_bytes(&self) -> usize {
        self.bytes() + self.value_bytes
    }
}

/// Puts a record at the end of `into`, its checks not masked yet.
pub(crate) fn encode(
    into: &mut Vec<u8>,
    operation: Operation,
    space: u8,
    key: &[u8],
    sequence: u64,
    value: &[u8],
) -> Result<(), TooLarge> {
    bounded("key", key.len(), MAX_KEY_BYTES)?;
    bounded("value", value.len(), MAX_VALUE_BYTES)?;
    let start = into.len();
    into.extend_from_slice(&[0; CHECKED_FROM]);
    into.push(operation as u8);
    into.push(space);
    into.extend_from_slice(&(key.len() as u32).to_le_bytes()[..3]);
    into.extend_from_slice(&(value.len() as u32).to_le_bytes());
    if operation.has_sequence() {
        into.extend_from_slice(&sequence.to_le_bytes());
    }
    into.extend_from_slice(key);
    let head = crc32c(&into[start + CHECKED_FROM..]);
    into[start..start + 4].copy_from_slice(&head.to_le_bytes());
    let whole = crc32c_append(head, value);
    into[start + 4..start + 8].copy_from_slice(&whole.to_le_bytes());
    into.extend_from_slice(value);
    Ok(())
}

fn bounded(what: &'static str, bytes: usize, most: usize) -> Result<(), TooLarge> {
    if bytes > most {
        return Err(TooLarge { what, bytes, most });
    }
    Ok(())
}

/// Masks or unmasks the checks of the record that begins `record`, at its place.
pub(crate) fn mask(record: &mut [u8], row: u64, offset: usize) {
    let mask = place_mask(row, offset).to_le_bytes();
    for (byte, mask) in record.iter_mut().zip(mask.into_iter().chain(mask)) {
        *byte ^= mask;
    }
}

fn place_mask(row: u64, offset: usize) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&row.to_le_bytes());
    place[8..].copy_from_slice(&(offset as u32).to_le_bytes());
    // Not of zeros at the start, so that a run of zeros is never a sound record.
    crc32c_append(0x6E6F_6374, &place)
}

/// Reads the head of the record that begins `bytes` without regard to its checks.
///
/// Returns None if `bytes` cannot hold what the head declares.
pub(crate) fn decode_head(bytes: &[u8]) -> Option<Head<'_>> {
    if bytes.len() < FIXED_BYTES {
        return None;
    }
    let operation = Operation::from_byte(bytes[8])?;
    let key_bytes = u32::from_le_bytes([bytes[10], bytes[11], bytes[12], 0]) as usize;
    let value_bytes = u32_at(bytes, 13) as usize;
    let mut key_from = FIXED_BYTES;
    let mut sequence = 0;
    if operation.has_sequence() {
        sequence = u64_at(bytes, FIXED_BYTES)?;
        key_from += SEQUENCE_BYTES;
    }
    let key = bytes.get(key_from..key_from + key_bytes)?;
    if value_bytes > bytes.len() - key_from - key_bytes {
        return None;
    }
    Some(Head {
        operation,
        space: bytes[9],
        sequence,
        key,
        value_bytes,
    })
}

/// A record found where it belongs, or what is left of it.
pub(crate) enum Checked<'a> {
    Sound(Head<'a>, &'a [u8]),
    /// The head is sound, the value is not.
    ValueDamaged(Head<'a>),
}

/// Reads the record at `offset` of row `row`, of which `bytes` is the rest.
///
/// Returns None if no record with a sound head is there.
pub(crate) fn decode(bytes: &[u8], row: u64, offset: usize) -> Option<Checked<'_>> {
    let head = decode_head(bytes)?;
    let mask = place_mask(row, offset);
    let (head_bytes, record_bytes) = (head.bytes(), head.record_bytes());
    let check = crc32c(&bytes[CHECKED_FROM..head_bytes]);
    if u32_at(bytes, 0) ^ mask != check {
        return None;
    }
    let value = &bytes[head_bytes..record_bytes];
    if u32_at(bytes, 4) ^ mask != crc32c_append(check, value) {
        return Some(Checked::ValueDamaged(head));
    }
    Some(Checked::Sound(head, value))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at + 8)?;
    eight.try_into().ok().map(u64::from_le_bytes)
}
