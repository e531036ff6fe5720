//! Getting the rows out of a database that SQLite cannot read any more.
//!
//! One flipped bit in a page that leads to others can hide a whole branch of the tree,
//! and one in the write-ahead log everything behind it. But rows carry their own number
//! and their records their own checks: so every page is looked at, wherever it belongs,
//! and whatever proves to be a row of the log is one.
//!
//! Source of the layouts: SQLite's file format, §1.6 (b-tree pages), §1.6.2 (overflow),
//! §4.1 (write-ahead log).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::damage::{self, Findings};
use crate::database;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::row::{self, Found, Header, RowBuilder};
use crate::tail::Mark;

const PAGE_BYTES: usize = 4_096;
const WAL_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const FRAME_BYTES: u64 = FRAME_HEADER_BYTES + PAGE_BYTES as u64;

/// Type of a leaf page of a table.
const TABLE_LEAF: u8 = 0x0D;
const LEAF_HEADER_BYTES: usize = 8;
/// The first page begins with the file's header.
const FILE_HEADER_BYTES: usize = 100;
/// A payload longer than this is carried on in overflow pages.
const MAX_LOCAL_BYTES: usize = PAGE_BYTES - 35;
const MIN_LOCAL_BYTES: usize = (PAGE_BYTES - 12) * 32 / 255 - 23;
const OVERFLOW_BYTES: usize = PAGE_BYTES - 4;

type Page = [u8; PAGE_BYTES];

/// Writes everything that is sound in generation `current` into the next one.
///
/// Returns its number. It is the one that counts from then on.
pub(crate) fn make_anew(
    directory: &Directory,
    current: u64,
    mark: Mark,
    findings: &mut Findings,
) -> Result<u64, StoreError> {
    let next = current + 1;
    directory.remove_generation(next)?;
    let wreck = Wreck::open(directory, current)?;
    let log = wreck.log(mark)?;
    if log.rows.is_empty() {
        findings.add(None, "no row of the log could be salvaged");
    }
    let database = database::create(&directory.unfinished(next));
    let mut database = database.map_err(StoreError::database("making the database anew"))?;
    copy(&wreck, &log, &mut database, findings)?;
    drop(database);
    directory.finish(next)?;
    Ok(next)
}

/// Adds what is damaged in generation `current` to `findings`. Writes nothing.
///
/// Returns how many rows could be salvaged.
pub(crate) fn survey(
    directory: &Directory,
    current: u64,
    mark: Mark,
    findings: &mut Findings,
) -> Result<u64, StoreError> {
    let wreck = Wreck::open(directory, current)?;
    let log = wreck.log(mark)?;
    let mut salvaged = 0;
    for row in log.numbers() {
        match wreck.row(&log, row)? {
            Some(bytes) => {
                salvaged += 1;
                damage::examine(row, &bytes, findings);
            }
            None => findings.add(row, "the row is missing, and lost"),
        }
    }
    Ok(salvaged)
}

fn copy(
    wreck: &Wreck,
    log: &Salvaged,
    database: &mut rusqlite::Connection,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let refused = || StoreError::database("writing the database anew");
    let transaction = database.transaction().map_err(refused())?;
    {
        let insert = transaction.prepare("INSERT INTO log VALUES (?1, ?2)");
        let mut insert = insert.map_err(refused())?;
        for row in log.numbers() {
            let bytes = match wreck.row(log, row)? {
                Some(bytes) if !damage::examine(row, &bytes, findings) => bytes,
                Some(bytes) => damage::repaired(row, &bytes, log.first_row),
                None => {
                    findings.add(row, "the row is missing, and lost");
                    RowBuilder::new(row).finish(log.first_row)
                }
            };
            insert.execute((row as i64, bytes)).map_err(refused())?;
        }
    }
    transaction.commit().map_err(refused())
}

/// Where a page's bytes are.
#[derive(Copy, Clone, Debug)]
enum Image {
    Database { page: u32 },
    Wal { offset: u64 },
}

/// Where a row's cell is.
#[derive(Copy, Clone, Debug)]
struct Cell {
    image: Image,
    offset: usize,
}

/// Which rows there are.
struct Salvaged {
    rows: BTreeMap<u64, Cell>,
    first_row: u64,
    last_row: u64,
}

impl Salvaged {
    fn numbers(&self) -> std::ops::RangeInclusive<u64> {
        self.first_row..=self.last_row
    }
}

/// The files of a damaged database.
struct Wreck {
    database: File,
    pages: u32,
    wal: Option<File>,
    frames: u64,
    /// Pages that the write-ahead log has a newer image of, and where.
    newer: HashMap<u32, u64>,
}

impl Wreck {
    fn open(directory: &Directory, generation: u64) -> Result<Wreck, StoreError> {
        let path = directory.database(generation);
        let database = File::open(&path).map_err(StoreError::io(&path))?;
        let length = database.metadata().map_err(StoreError::io(&path))?.len();
        let wal_path = directory.wal(generation);
        let wal = File::open(&wal_path).ok();
        let wal_bytes = match &wal {
            Some(wal) => wal.metadata().map_err(StoreError::io(&wal_path))?.len(),
            None => 0,
        };
        let mut wreck = Wreck {
            database,
            pages: (length / PAGE_BYTES as u64) as u32,
            wal,
            frames: wal_bytes.saturating_sub(WAL_HEADER_BYTES) / FRAME_BYTES,
            newer: HashMap::new(),
        };
        wreck.find_newer_pages();
        Ok(wreck)
    }

    /// The last image of each page up to the last commit counts, as for SQLite; but a
    /// damaged frame on the way is no end.
    fn find_newer_pages(&mut self) {
        let frames = (0..self.frames).filter_map(|frame| self.frame(frame));
        let frames = frames.collect::<Vec<_>>();
        // The log's header says which frames are of this round; so does its first
        // frame, if it is the header that is damaged. The more frequent one wins.
        let mut counted: HashMap<u64, usize> = HashMap::new();
        for salt in self
            .header_salt()
            .into_iter()
            .chain(frames.iter().map(|frame| frame.salt))
        {
            *counted.entry(salt).or_default() += 1;
        }
        let header = self
            .header_salt()
            .filter(|salt| counted.get(salt).is_some_and(|&n| n > 1));
        let first = frames.first().map(|frame| frame.salt);
        let Some(salt) = header.or(first) else {
            return;
        };
        let of_this_round = || frames.iter().filter(|frame| frame.salt == salt);
        let Some(last_commit) = of_this_round().rfind(|frame| frame.is_commit) else {
            return;
        };
        let committed = of_this_round().take_while(|frame| frame.offset <= last_commit.offset);
        let newer = committed.map(|frame| (frame.page, frame.offset)).collect();
        self.newer = newer;
    }

    fn header_salt(&self) -> Option<u64> {
        let mut salt = [0; 8];
        self.wal.as_ref()?.read_exact_at(&mut salt, 16).ok()?;
        Some(u64::from_be_bytes(salt))
    }

    fn frame(&self, frame: u64) -> Option<Frame> {
        let mut header = [0; 16];
        let offset = WAL_HEADER_BYTES + frame * FRAME_BYTES;
        self.wal.as_ref()?.read_exact_at(&mut header, offset).ok()?;
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[8..]);
        Some(Frame {
            page: be_u32(&header, 0)?,
            is_commit: be_u32(&header, 4)? != 0,
            salt: u64::from_be_bytes(salt),
            offset: offset + FRAME_HEADER_BYTES,
        })
    }

    /// Finds all rows of the log, and where it begins and ends.
    fn log(&self, mark: Mark) -> Result<Salvaged, StoreError> {
        let mut rows = BTreeMap::new();
        let mut last: Option<Header> = None;
        let pages = self
            .pages
            .max(self.newer.keys().copied().max().unwrap_or(0));
        for page in 1..=pages {
            for (header, cell) in self.cells(self.image(page)) {
                if last.is_none_or(|last| last.row < header.row) {
                    last = Some(header);
                }
                rows.entry(header.row)
                    .and_modify(|known| *known = self.better(header.row, *known, cell))
                    .or_insert(cell);
            }
        }
        let acknowledged = match mark {
            Mark::Row(row) => row,
            Mark::Absent | Mark::Damaged => 0,
        };
        let Some(last) = last else {
            return Ok(Salvaged {
                rows,
                first_row: 1,
                last_row: 0,
            });
        };
        rows = rows.split_off(&last.first_row);
        let mut log = Salvaged {
            rows,
            first_row: last.first_row,
            last_row: last.row.max(acknowledged),
        };
        self.add_older_images(&mut log);
        Ok(log)
    }

    /// A row that is in no page as it is now may be in one as it was: what was written
    /// once does not change. Rows that were let go of, or not committed, stay away.
    fn add_older_images(&self, log: &mut Salvaged) {
        if log.numbers().all(|row| log.rows.contains_key(&row)) {
            return;
        }
        let in_wal = (0..self.frames).map(|frame| Image::Wal {
            offset: WAL_HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES,
        });
        let in_database = (1..=self.pages).map(|page| Image::Database { page });
        let range = log.numbers();
        for image in in_wal.chain(in_database) {
            for (header, cell) in self.cells(image) {
                if range.contains(&header.row) {
                    log.rows.entry(header.row).or_insert(cell);
                }
            }
        }
    }

    /// Of two cells that claim to be the same row, the one with more sound records. A
    /// page that is free by now may hold a row's beginning, its rest overwritten.
    fn better(&self, row: u64, one: Cell, other: Cell) -> Cell {
        let sound = |cell| {
            let bytes = self.payload(cell).unwrap_or_default();
            let records = row::walk(row, &bytes);
            records
                .filter(|found| matches!(found, Found::Record { .. }))
                .count()
        };
        if sound(other) > sound(one) {
            other
        } else {
            one
        }
    }

    /// The bytes of a row; None if it is missing.
    fn row(&self, log: &Salvaged, row: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(log.rows.get(&row).and_then(|&cell| self.payload(cell)))
    }

    fn image(&self, page: u32) -> Image {
        match self.newer.get(&page) {
            Some(&offset) => Image::Wal { offset },
            None => Image::Database { page },
        }
    }

    fn read(&self, image: Image) -> Option<Box<Page>> {
        let mut page = Box::new([0; PAGE_BYTES]);
        match image {
            Image::Database { page: number } => {
                let offset = u64::from(number.checked_sub(1)?) * PAGE_BYTES as u64;
                self.database.read_exact_at(&mut *page, offset).ok()?;
            }
            Image::Wal { offset } => {
                self.wal.as_ref()?.read_exact_at(&mut *page, offset).ok()?;
            }
        }
        Some(page)
    }

    /// The rows of the log that begin on a page.
    fn cells(&self, image: Image) -> Vec<(Header, Cell)> {
        let Some(page) = self.read(image) else {
            return Vec::new();
        };
        let starts = [0, FILE_HEADER_BYTES];
        let Some(start) = starts.into_iter().find(|&start| page[start] == TABLE_LEAF) else {
            return Vec::new();
        };
        // The count is not trusted, nor any pointer: each has to lead to a row.
        let pointers = page[start + LEAF_HEADER_BYTES..].chunks_exact(2);
        let offsets =
            pointers.map(|pointer| usize::from(u16::from_be_bytes([pointer[0], pointer[1]])));
        let cells = offsets.filter_map(|offset| {
            let parsed = ParsedCell::parse(&page, offset)?;
            let header = Header::decode(page.get(parsed.blob_from..parsed.local_to)?)?;
            Some((header, Cell { image, offset }))
        });
        // Behind the pointers is what may look like one.
        cells.take(PAGE_BYTES / HEADER_AND_CELL_BYTES).collect()
    }

    /// The blob of a cell, gathered from its overflow pages. What cannot be read is
    /// left away: the checks of the records tell.
    fn payload(&self, cell: Cell) -> Option<Vec<u8>> {
        let page = self.read(cell.image)?;
        let parsed = ParsedCell::parse(&page, cell.offset)?;
        let mut bytes = page.get(parsed.blob_from..parsed.local_to)?.to_vec();
        let mut next = parsed.overflow;
        while let Some(number) = next.filter(|&number| number != 0) {
            if bytes.len() >= parsed.blob_bytes {
                break;
            }
            let Some(page) = self.read(self.image(number)) else {
                break;
            };
            next = be_u32(&*page, 0);
            let left = parsed.blob_bytes - bytes.len();
            bytes.extend_from_slice(&page[4..4 + left.min(OVERFLOW_BYTES)]);
        }
        Some(bytes)
    }
}

/// A row cannot be shorter than its header.
const HEADER_AND_CELL_BYTES: usize = row::HEADER_BYTES + 4;

struct Frame {
    page: u32,
    is_commit: bool,
    salt: u64,
    /// Where its page is in the file.
    offset: u64,
}

/// A cell of the log's table: a null (the row number is the key) and a blob.
struct ParsedCell {
    blob_from: usize,
    /// Where the part on this page ends.
    local_to: usize,
    blob_bytes: usize,
    overflow: Option<u32>,
}

impl ParsedCell {
    fn parse(page: &Page, offset: usize) -> Option<ParsedCell> {
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

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    four.try_into().ok().map(u32::from_be_bytes)
}
