//! The files of a damaged database, looked at page by page.
//!
//! Source of the layout of the write-ahead log: SQLite's file format, §4.1.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use crate::cell::{self, PAGE_BYTES, Page, ParsedCell, be_u32};
use crate::directory::Directory;
use crate::error::StoreError;
use crate::row::{self, Found, Header};
use crate::tail::Mark;

const WAL_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const FRAME_BYTES: u64 = FRAME_HEADER_BYTES + PAGE_BYTES as u64;

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
pub(crate) struct Salvaged {
    rows: BTreeMap<u64, Cell>,
    first_row: u64,
    last_row: u64,
}

impl Salvaged {
    /// Numbers of the rows there should be.
    pub fn numbers(&self) -> RangeInclusive<u64> {
        self.first_row..=self.last_row
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn first_row(&self) -> u64 {
        self.first_row
    }
}

/// The files of a damaged database.
pub(crate) struct Wreck {
    database: File,
    pages: u32,
    wal: Option<File>,
    frames: u64,
    /// Pages that the write-ahead log has a newer image of, and where.
    newer: HashMap<u32, u64>,
}

impl Wreck {
    pub fn open(directory: &Directory, generation: u64) -> Result<Wreck, StoreError> {
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
    pub fn log(&self, mark: Mark) -> Salvaged {
        let mut rows = BTreeMap::new();
        let mut last: Option<Header> = None;
        // Not up to the highest number in the write-ahead log: a damaged one is anything.
        let in_wal = self.newer.keys().filter(|&&page| page > self.pages);
        for page in (1..=self.pages).chain(in_wal.copied()) {
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
            return Salvaged {
                rows,
                first_row: 1,
                last_row: 0,
            };
        };
        rows = rows.split_off(&last.first_row);
        let mut log = Salvaged {
            rows,
            first_row: last.first_row,
            last_row: last.row.max(acknowledged),
        };
        self.add_older_images(&mut log);
        log
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
    pub fn row(&self, log: &Salvaged, row: u64) -> Option<Vec<u8>> {
        log.rows.get(&row).and_then(|&cell| self.payload(cell))
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
        let cells = cell::cells(&page).filter_map(|(offset, parsed)| {
            let header = Header::decode(page.get(parsed.blob_from..parsed.local_to)?)?;
            Some((header, Cell { image, offset }))
        });
        cells.collect()
    }

    /// The blob of a cell, gathered from its overflow pages. What cannot be read is
    /// left away: the checks of the records tell.
    fn payload(&self, cell: Cell) -> Option<Vec<u8>> {
        let page = self.read(cell.image)?;
        let parsed = ParsedCell::parse(&page, cell.offset)?;
        // A damaged length, and pages that lead round in a circle.
        if parsed.blob_bytes as u64 > (u64::from(self.pages) + self.frames) * PAGE_BYTES as u64 {
            return None;
        }
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
            bytes.extend_from_slice(&page[4..4 + left.min(cell::OVERFLOW_BYTES)]);
        }
        Some(bytes)
    }
}

struct Frame {
    page: u32,
    is_commit: bool,
    salt: u64,
    /// Where its page is in the file.
    offset: u64,
}
