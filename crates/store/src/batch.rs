//! What a worker wants written, in one piece.

use std::fmt;

use crate::error::TooLarge;
use crate::record::{self, Head, Operation};

/// Operations that are committed together or not at all, in their order.
///
/// Encoded and check-summed as they are added, on the thread that adds them, so that
/// the committer only copies. Every method fails with [`TooLarge`] if the key or the
/// value cannot be held, and adds nothing then.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    records: usize,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    /// An empty one with room for so many operations whose keys and values take so many
    /// bytes.
    pub fn with_capacity(records: usize, bytes: usize) -> Batch {
        Batch {
            bytes: Vec::with_capacity(bytes + records * record::MAX_FIXED_BYTES),
            records: 0,
        }
    }

    /// Sets the value of `key` in `space`.
    pub fn put(&mut self, space: u8, key: &[u8], value: &[u8]) -> Result<(), TooLarge> {
        self.add(Operation::Put, space, key, 0, value)
    }

    /// Drops the value of `key`, if it has one.
    pub fn delete(&mut self, space: u8, key: &[u8]) -> Result<(), TooLarge> {
        self.add(Operation::Delete, space, key, 0, &[])
    }

    /// Sets entry `sequence` of the queue below `key`.
    pub fn append(
        &mut self,
        space: u8,
        key: &[u8],
        sequence: u64,
        value: &[u8],
    ) -> Result<(), TooLarge> {
        self.add(Operation::Append, space, key, sequence, value)
    }

    /// Drops entry `sequence` of the queue below `key`, if it is there.
    pub fn remove(&mut self, space: u8, key: &[u8], sequence: u64) -> Result<(), TooLarge> {
        self.add(Operation::Remove, space, key, sequence, &[])
    }

    /// Drops the whole queue below `key`; its value stays.
    pub fn clear(&mut self, space: u8, key: &[u8]) -> Result<(), TooLarge> {
        self.add(Operation::Clear, space, key, 0, &[])
    }

    /// Drops values and queues of every key in `space` that begins with `prefix`.
    ///
    /// `a` begins `ab` too: keys of which one may begin another want a terminator.
    pub fn delete_prefix(&mut self, space: u8, prefix: &[u8]) -> Result<(), TooLarge> {
        self.add(Operation::DeletePrefix, space, prefix, 0, &[])
    }

    /// Puts everything of `other` after what is here.
    pub fn extend(&mut self, other: &Batch) {
        self.bytes.extend_from_slice(&other.bytes);
        self.records += other.records;
    }

    /// Empties it and keeps its memory.
    pub fn reset(&mut self) {
        self.bytes.clear();
        self.records = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Number of operations.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Bytes these operations take in the log.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn add(
        &mut self,
        operation: Operation,
        space: u8,
        key: &[u8],
        sequence: u64,
        value: &[u8],
    ) -> Result<(), TooLarge> {
        record::encode(&mut self.bytes, operation, space, key, sequence, value)?;
        self.records += 1;
        Ok(())
    }

    /// The encoded records one by one, their checks not masked.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Head<'_>, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let head = record::decode_head(rest)?;
            let (record, after) = rest.split_at(head.record_bytes());
            rest = after;
            Some((head, record))
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Batch({} records, {} bytes)",
            self.records,
            self.bytes.len()
        )
    }
}
