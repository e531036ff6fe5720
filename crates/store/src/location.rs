//! Where a record is in the log.

/// Place of a record: row (40 bits), offset in the row (24 bits), length.
///
/// Twelve bytes, because there is one for every record that is alive.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location([u32; 3]);

impl Location {
    /// No record is of length 0.
    pub const NONE: Location = Location([0; 3]);

    pub fn new(row: u64, offset: usize, bytes: usize) -> Location {
        debug_assert!(row < 1 << 40 && offset < 1 << 24 && bytes <= u32::MAX as usize);
        let low = (row as u32 & 0xFF) << 24 | offset as u32;
        Location([(row >> 8) as u32, low, bytes as u32])
    }

    pub fn row(self) -> u64 {
        u64::from(self.0[0]) << 8 | u64::from(self.0[1] >> 24)
    }

    pub fn offset(self) -> usize {
        self.0[1] as usize & 0xFF_FFFF
    }

    pub fn bytes(self) -> usize {
        self.0[2] as usize
    }

    pub fn exists(self) -> bool {
        self != Location::NONE
    }
}
