//! What a store held when it was opened: its live state, and what was wrong.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::damage::Damage;
use crate::error::StoreError;
use crate::index::{LiveRecord, QueueSummary};
use crate::reader::{LOOK_UP_PAUSE, MAX_LOOK_UPS, Reader, vanished};
use crate::row;

/// How much of the live state is in memory at a time while it is gone through. Each
/// part may touch every row of the log, so parts are not small.
const CHUNK_BYTES: usize = 32 << 20;
const CHUNK_RECORDS: usize = 1 << 18;
const CHUNK_QUEUES: usize = 1_024;

/// What was found when the store was opened.
#[derive(Clone, Debug)]
pub struct RecoveryReport {
    /// Of the database file; it rises when the file is made anew.
    pub generation: u64,
    /// Rows in the log.
    pub rows: u64,
    /// Records in the log, live or not.
    pub records: u64,
    /// Records that hold something that is alive.
    pub live_records: u64,
    /// What was damaged; empty if all is well.
    pub damage: Vec<Damage>,
    /// Findings that are not listed, because there were too many.
    pub damage_left_out: u64,
    /// Files that hold what was damaged, as it was found. Damaged rows are in the
    /// database's own table `quarantine`.
    pub quarantined: Vec<PathBuf>,
    /// The format that the database had before, if it was brought up to date.
    pub upgraded_from: Option<i64>,
}

impl RecoveryReport {
    /// Whether nothing was damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// A record that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    /// None: the value of the key. Else an entry of the queue below it.
    pub sequence: Option<u64>,
    pub value: Vec<u8>,
}

/// The live state. Go through it before the first batch is submitted: what is
/// committed in the meantime may or may not be seen.
pub struct Recovery {
    pub report: RecoveryReport,
    reader: Reader,
}

impl Recovery {
    pub(crate) fn new(report: RecoveryReport, reader: Reader) -> Recovery {
        Recovery { report, reader }
    }

    /// Everything alive in a space by ascending key: its value first, then its queue
    /// by ascending sequence.
    ///
    /// About 32 MiB of records are in memory at a time, and where they are. A part is gathered in the order of the
    /// log, so that a row is read once for each part that needs it.
    pub fn entries(&self, space: u8) -> Entries<'_> {
        Entries {
            reader: &self.reader,
            space,
            after: None,
            chunk: VecDeque::new(),
            ended: false,
        }
    }

    /// The queues of a space by ascending key, without what is in them: read that when
    /// it is wanted, with [`Reader::read_queue`].
    pub fn queues(&self, space: u8) -> impl Iterator<Item = QueueSummary> {
        let mut chunk = VecDeque::<QueueSummary>::new();
        let mut after: Option<Vec<u8>> = None;
        std::iter::from_fn(move || {
            if chunk.is_empty() {
                let index = self.reader.index().read();
                chunk.extend(index.queues(space, after.as_deref(), CHUNK_QUEUES));
            }
            let queue = chunk.pop_front()?;
            after = Some(queue.key.clone());
            Some(queue)
        })
    }

    /// Number of keys in a space.
    pub fn keys(&self, space: u8) -> usize {
        self.reader.index().read().keys(space)
    }
}

/// Iterator over a space; see [`Recovery::entries`]. Ends after an error.
pub struct Entries<'a> {
    reader: &'a Reader,
    space: u8,
    after: Option<LiveRecord>,
    chunk: VecDeque<Entry>,
    ended: bool,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Result<Entry, StoreError>> {
        if self.chunk.is_empty() && !self.ended {
            if let Err(error) = self.gather() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.chunk.pop_front().map(Ok)
    }
}

impl Entries<'_> {
    fn gather(&mut self) -> Result<(), StoreError> {
        for _ in 0..MAX_LOOK_UPS {
            let records = {
                let index = self.reader.index().read();
                let after = self.after.as_ref();
                index.live_after(self.space, after, CHUNK_RECORDS, CHUNK_BYTES)
            };
            if let Some(values) = self.values(&records)? {
                self.ended = records.is_empty();
                self.after = records.last().cloned();
                let entries = records.into_iter().zip(values);
                self.chunk.extend(entries.map(|(record, value)| Entry {
                    key: record.key.into(),
                    sequence: record.sequence,
                    value,
                }));
                return Ok(());
            }
            std::thread::sleep(LOOK_UP_PAUSE);
        }
        Err(vanished(0))
    }

    /// The values of some records, in their order; None if one has moved meanwhile.
    fn values(&self, records: &[LiveRecord]) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let mut values = vec![Vec::new(); records.len()];
        let mut in_log_order = (0..records.len()).collect::<Vec<_>>();
        in_log_order.sort_unstable_by_key(|&at| records[at].location);
        let (mut row, mut bytes) = (0, Vec::new());
        for at in in_log_order {
            let LiveRecord { key, location, .. } = &records[at];
            if row != location.row() {
                row = location.row();
                let found = self.reader.row(row, &mut bytes);
                if !found.map_err(StoreError::database("reading a row of the log"))? {
                    return Ok(None);
                }
            }
            let value = row::value_at(&bytes, *location, key);
            let value = value.ok_or_else(|| StoreError::Damaged {
                row,
                what: format!("the record at {} fails its checks", location.offset()),
            })?;
            values[at] = value.to_vec();
        }
        Ok(Some(values))
    }
}
