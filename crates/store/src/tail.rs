//! The last row that was acknowledged, kept beside the database.
//!
//! SQLite ends its write-ahead log at the first frame that fails its checksum, and
//! says nothing: acknowledged rows behind a damaged frame would be gone without a
//! word. This file says how far the log went. It is written after the sync that the
//! acknowledgement waited for, and not synced itself: after power loss it may be
//! behind, never ahead, and a mark that is behind claims nothing wrong.
//!
//! Contents: generation and row, u64 each, and the CRC-32C of both.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc32c::crc32c;

use crate::directory::private_file;
use crate::error::StoreError;

const TAIL_BYTES: usize = 20;

/// What the file said when the store was opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: a new store, a restored backup, or another generation.
    Absent,
    Row(u64),
    Damaged,
}

pub(crate) struct Tail {
    file: File,
    generation: u64,
}

impl Tail {
    /// Opens the file and reads what it says of a generation.
    pub fn open(directory: &Path, generation: u64) -> Result<(Tail, Mark), StoreError> {
        let path = directory.join("acknowledged");
        let file = private_file(&path).map_err(StoreError::io(&path))?;
        let mark = read(&file, generation).map_err(StoreError::io(&path))?;
        Ok((Tail { file, generation }, mark))
    }

    /// Notes that everything up to `row` was acknowledged.
    ///
    /// An error is passed over: the mark is then behind, which is allowed.
    pub fn write(&self, row: u64) {
        let mut bytes = [0; TAIL_BYTES];
        bytes[..8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&row.to_le_bytes());
        let check = crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        let _ = self.file.write_all_at(&bytes, 0);
    }
}

fn read(file: &File, generation: u64) -> std::io::Result<Mark> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Mark::Absent);
    }
    let mut bytes = [0; TAIL_BYTES];
    if length != TAIL_BYTES as u64 {
        return Ok(Mark::Damaged);
    }
    file.read_exact_at(&mut bytes, 0)?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let check = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
    if check != crc32c(&bytes[..16]) {
        return Ok(Mark::Damaged);
    }
    if word(0) != generation {
        return Ok(Mark::Absent);
    }
    Ok(Mark::Row(word(8)))
}
