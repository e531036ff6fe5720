//! The log's table as it lies on a page of SQLite's.
//!
//! Source: SQLite's file format, §1.6 (b-tree pages) and §1.6.2 (overflow).

use crate::row;

pub(crate) const PAGE_BYTES: usize = 4_096;
pub(crate) type Page = [u8; PAGE_BYTES];

/// Type of a leaf page of a table.
const TABLE_LEAF: u8 = 0x0D;
const LEAF_HEADER_BYTES: usize = 8;
/// The first page begins with the file's header.
const FILE_HEADER_BYTES: usize = 100;
/// A payload longer than this is carried on in overflow pages.
const MAX_LOCAL_BYTES: usize = PAGE_BYTES - 35;
const MIN_LOCAL_BYTES: usize = (PAGE_BYTES - 12) * 32 / 255 - 23;
/// Of a payload, on each overflow page.
pub(crate) const OVERFLOW_BYTES: usize = PAGE_BYTES - 4;
/// No row is shorter than its header: so many cells fit on a page.
const MAX_CELLS: usize = PAGE_BYTES / (row::HEADER_BYTES + 4);

/// What may be cells of the log on a page: where each begins, and what it is.
///
/// The count of cells is not trusted, nor any pointer: each has to lead to a cell.
/// Behind the pointers is what may look like one.
pub(crate) fn cells(page: &Page) -> impl Iterator<Item = (usize, ParsedCell)> {
    let starts = [0, FILE_HEADER_BYTES].into_iter();
    let start = starts.filter(|&start| page[start] == TABLE_LEAF).take(1);
    let pointers = start.flat_map(|start| page[start + LEAF_HEADER_BYTES..].chunks_exact(2));
    let offsets = pointers.map(|pointer| usize::from(u16::from_be_bytes([pointer[0], pointer[1]])));
    let cells = offsets.filter_map(|offset| Some((offset, ParsedCell::parse(page, offset)?)));
    cells.take(MAX_CELLS)
}

/// A cell of the log's table: a null (the row number is the key) and a blob.
pub(crate) struct ParsedCell {
    pub blob_from: usize,
    /// Where the part on this page ends.
    pub local_to: usize,
    pub blob_bytes: usize,
    /// The first of the pages it goes on in.
    pub overflow: Option<u32>,
}

impl ParsedCell {
    pub fn parse(page: &Page, offset: usize) -> Option<ParsedCell> {
        let (payload_bytes, offset) = varint(page, offset)?;
        let (_number, payload_from) = varint(page, offset)?;
        let payload_bytes = usize::try_from(payload_bytes).ok()?;
        let (header_bytes, types_from) = varint(page, payload_from)?;
        let (null, blob_type_from) = varint(page, types_from)?;
        let (blob_type, blob_from) = varint(page, blob_type_from)?;
        let header_bytes = usize::try_from(header_bytes).ok()?;
        if null != 0 || blob_type < 12 || blob_from - payload_from != header_bytes {
            return None;
        }
        let local_bytes = local_bytes(payload_bytes);
        let local_to = payload_from.checked_add(local_bytes)?;
        if local_to > PAGE_BYTES || local_to < blob_from {
            return None;
        }
        let overflow = match local_bytes < payload_bytes {
            true => Some(be_u32(page, local_to)?),
            false => None,
        };
        Some(ParsedCell {
            blob_from,
            local_to,
            blob_bytes: payload_bytes - header_bytes,
            overflow,
        })
    }
}

/// How much of a payload is on its leaf page.
fn local_bytes(payload_bytes: usize) -> usize {
    if payload_bytes <= MAX_LOCAL_BYTES {
        return payload_bytes;
    }
    let rest = MIN_LOCAL_BYTES + (payload_bytes - MIN_LOCAL_BYTES) % OVERFLOW_BYTES;
    if rest <= MAX_LOCAL_BYTES {
        rest
    } else {
        MIN_LOCAL_BYTES
    }
}

/// A number of up to nine bytes, seven bits each, the highest first; the ninth has
/// eight. Returns it and where it ends.
fn varint(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for at in 0..8 {
        let byte = *bytes.get(from + at)?;
        value = value << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((value, from + at + 1));
        }
    }
    let byte = *bytes.get(from + 8)?;
    Some((value << 8 | u64::from(byte), from + 9))
}

pub(crate) fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    four.try_into().ok().map(u32::from_be_bytes)
}
