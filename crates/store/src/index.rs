//! Where everything that is alive lies in the log.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Bound;

use crate::location::Location;
use crate::queue::Queue;
use crate::record::{Head, Operation};

/// What one key has.
struct Entry {
    value: Location,
    queue: Option<Box<Queue>>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        !self.value.exists() && self.queue.is_none()
    }
}

/// A row as the index sees it.
#[derive(Copy, Clone)]
struct Extent {
    bytes: u32,
    live_records: u32,
}

/// What lies below one key; see [`Recovery::queues`](crate::Recovery::queues).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    pub key: Vec<u8>,
    /// Number of entries; never 0.
    pub entries: usize,
    /// What they take in the log.
    pub bytes: u64,
    /// Sequence of the first entry.
    pub first: u64,
    /// Sequence of the last entry.
    pub last: u64,
}

/// What is alive in one space.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SpaceSummary {
    pub space: u8,
    pub keys: u64,
    /// Values and entries of queues.
    pub records: u64,
    /// What they take in the log.
    pub bytes: u64,
}

/// The key of one live record.
#[derive(Clone, Debug)]
pub(crate) struct LiveRecord {
    pub key: Box<[u8]>,
    /// None: the key's value.
    pub sequence: Option<u64>,
    pub location: Location,
}

/// Everything that is alive, and how much of every row is.
pub(crate) struct Index {
    spaces: Vec<BTreeMap<Box<[u8]>, Entry>>,
    first_row: u64,
    extents: VecDeque<Extent>,
    total_bytes: u64,
    live_bytes: u64,
    live_records: u64,
}

impl Index {
    /// An index of a log that begins with row `first_row` and has none yet.
    pub fn new(first_row: u64) -> Index {
        Index {
            spaces: (0..=u8::MAX).map(|_| BTreeMap::new()).collect(),
            first_row,
            extents: VecDeque::new(),
            total_bytes: 0,
            live_bytes: 0,
            live_records: 0,
        }
    }

    pub fn first_row(&self) -> u64 {
        self.first_row
    }

    pub fn next_row(&self) -> u64 {
        self.first_row + self.extents.len() as u64
    }

    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub fn live_records(&self) -> u64 {
        self.live_records
    }

    /// Number of keys in a space.
    pub fn keys(&self, space: u8) -> usize {
        self.spaces[usize::from(space)].len()
    }

    /// All spaces that hold something.
    pub fn summary(&self) -> Vec<SpaceSummary> {
        let spaces = (0..=u8::MAX).zip(&self.spaces);
        let filled = spaces.filter(|(_, keys)| !keys.is_empty());
        let summaries = filled.map(|(space, keys)| {
            let (mut records, mut bytes) = (0, 0);
            for entry in keys.values() {
                records += u64::from(entry.value.exists());
                bytes += entry.value.bytes() as u64;
                if let Some(queue) = &entry.queue {
                    records += queue.len() as u64;
                    bytes += queue.bytes();
                }
            }
            SpaceSummary {
                space,
                keys: keys.len() as u64,
                records,
                bytes,
            }
        });
        summaries.collect()
    }

    /// Length of a row and how many of its records are alive.
    pub fn extent(&self, row: u64) -> Option<(u64, u32)> {
        let at = row.checked_sub(self.first_row)?;
        let extent = self.extents.get(usize::try_from(at).ok()?)?;
        Some((u64::from(extent.bytes), extent.live_records))
    }

    /// A row was committed: the one after the last.
    pub fn add_row(&mut self, bytes: usize) {
        self.extents.push_back(Extent {
            bytes: bytes as u32,
            live_records: 0,
        });
        self.total_bytes += bytes as u64;
    }

    /// All rows before this one are gone. Nothing in them was alive.
    pub fn drop_rows_before(&mut self, row: u64) {
        while self.first_row < row {
            let Some(extent) = self.extents.pop_front() else {
                break;
            };
            debug_assert_eq!(extent.live_records, 0);
            self.total_bytes -= u64::from(extent.bytes);
            self.first_row += 1;
        }
    }

    /// Carries out a record that was committed at `location`.
    pub fn apply(&mut self, head: &Head<'_>, location: Location) {
        let Head { space, key, .. } = *head;
        match head.operation {
            Operation::Put => {
                let before = std::mem::replace(&mut self.entry(space, key).value, location);
                self.exchange(before, location);
            }
            Operation::Append => {
                let queue = self.entry(space, key).queue.get_or_insert_default();
                let before = queue.insert(head.sequence, location);
                self.exchange(before, location);
            }
            Operation::Delete => self.drop_value(space, key),
            Operation::Remove => self.drop_entry(space, key, head.sequence),
            Operation::Clear => self.drop_queue(space, key),
            Operation::DeletePrefix => self.drop_prefix(space, key),
        }
    }

    /// Whether the record at `location` is what its key has now.
    pub fn is_live(&self, head: &Head<'_>, location: Location) -> bool {
        let Some(entry) = self.spaces[usize::from(head.space)].get(head.key) else {
            return false;
        };
        match head.operation {
            Operation::Put => entry.value == location,
            Operation::Append => {
                let queue = entry.queue.as_ref();
                queue.is_some_and(|queue| queue.find(head.sequence) == location)
            }
            _ => false,
        }
    }

    pub fn value(&self, space: u8, key: &[u8]) -> Option<Location> {
        let entry = self.spaces[usize::from(space)].get(key)?;
        Some(entry.value).filter(|location| location.exists())
    }

    /// Entries of a queue whose sequence is greater than `after`, in order.
    pub fn queue(
        &self,
        space: u8,
        key: &[u8],
        after: Option<u64>,
    ) -> impl Iterator<Item = (u64, Location)> {
        let entry = self.spaces[usize::from(space)].get(key);
        let queue = entry.and_then(|entry| entry.queue.as_deref());
        queue.into_iter().flat_map(move |queue| queue.after(after))
    }

    /// Where entries of a queue are, in the order of `sequences`.
    pub fn entries(&self, space: u8, key: &[u8], sequences: &[u64]) -> Vec<Location> {
        let entry = self.spaces[usize::from(space)].get(key);
        let queue = entry.and_then(|entry| entry.queue.as_deref());
        let find = |sequence: &u64| queue.map_or(Location::NONE, |queue| queue.find(*sequence));
        sequences.iter().map(find).collect()
    }

    /// Queues of a space by key, from the one after `after`, at most `most`.
    pub fn queues(&self, space: u8, after: Option<&[u8]>, most: usize) -> Vec<QueueSummary> {
        let keys = self.keys_after(space, after);
        let queues = keys.filter_map(|(key, entry)| {
            let queue = entry.queue.as_deref()?;
            let (first, last) = queue.ends()?;
            Some(QueueSummary {
                key: key.to_vec(),
                entries: queue.len(),
                bytes: queue.bytes(),
                first,
                last,
            })
        });
        queues.take(most).collect()
    }

    /// Live records of a space in order (a key's value, then its queue), from the one
    /// after `after`, until `most_bytes` or `most` are reached.
    pub fn live_after(
        &self,
        space: u8,
        after: Option<&LiveRecord>,
        most: usize,
        most_bytes: usize,
    ) -> Vec<LiveRecord> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut take = |key: &[u8], sequence, location: Location| {
            bytes += location.bytes();
            found.push(LiveRecord {
                key: key.into(),
                sequence,
                location,
            });
            found.len() < most && bytes < most_bytes
        };
        if let Some(last) = after {
            for (sequence, location) in self.queue(space, &last.key, last.sequence) {
                if !take(&last.key, Some(sequence), location) {
                    return found;
                }
            }
        }
        for (key, entry) in self.keys_after(space, after.map(|last| &*last.key)) {
            if entry.value.exists() && !take(key, None, entry.value) {
                return found;
            }
            for (sequence, location) in entry.queue.iter().flat_map(|queue| queue.after(None)) {
                if !take(key, Some(sequence), location) {
                    return found;
                }
            }
        }
        found
    }

    fn keys_after(
        &self,
        space: u8,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&Box<[u8]>, &Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.spaces[usize::from(space)].range::<[u8], _>((from, Bound::Unbounded))
    }

    fn entry(&mut self, space: u8, key: &[u8]) -> &mut Entry {
        // A key that is there already is boxed for nothing: cheaper than looking twice
        // for one that is not.
        let entry = self.spaces[usize::from(space)].entry(key.into());
        entry.or_insert(Entry {
            value: Location::NONE,
            queue: None,
        })
    }

    fn drop_value(&mut self, space: u8, key: &[u8]) {
        let Some(entry) = self.spaces[usize::from(space)].get_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut entry.value, Location::NONE);
        self.release(before);
        self.forget_if_empty(space, key);
    }

    fn drop_entry(&mut self, space: u8, key: &[u8], sequence: u64) {
        let Some(entry) = self.spaces[usize::from(space)].get_mut(key) else {
            return;
        };
        let Some(queue) = entry.queue.as_mut() else {
            return;
        };
        let before = queue.remove(sequence);
        if queue.len() == 0 {
            entry.queue = None;
        }
        self.release(before);
        self.forget_if_empty(space, key);
    }

    fn drop_queue(&mut self, space: u8, key: &[u8]) {
        let Some(entry) = self.spaces[usize::from(space)].get_mut(key) else {
            return;
        };
        if let Some(queue) = entry.queue.take() {
            self.release_queue(&queue);
        }
        self.forget_if_empty(space, key);
    }

    fn drop_prefix(&mut self, space: u8, prefix: &[u8]) {
        let keys = &self.spaces[usize::from(space)];
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let below = keys.range::<[u8], _>(from).map(|(key, _)| key);
        let below = below.take_while(|key| key.starts_with(prefix));
        for key in below.cloned().collect::<Vec<_>>() {
            let Some(entry) = self.spaces[usize::from(space)].remove(&key) else {
                continue;
            };
            self.release(entry.value);
            if let Some(queue) = entry.queue {
                self.release_queue(&queue);
            }
        }
    }

    fn forget_if_empty(&mut self, space: u8, key: &[u8]) {
        let keys = &mut self.spaces[usize::from(space)];
        if keys.get(key).is_some_and(Entry::is_empty) {
            keys.remove(key);
        }
    }

    fn exchange(&mut self, before: Location, now: Location) {
        self.release(before);
        self.live_bytes += now.bytes() as u64;
        self.live_records += 1;
        if let Some(extent) = self.extent_mut(now) {
            extent.live_records += 1;
        }
    }

    fn release_queue(&mut self, queue: &Queue) {
        for (_, location) in queue.after(None) {
            self.release(location);
        }
    }

    fn release(&mut self, location: Location) {
        if !location.exists() {
            return;
        }
        self.live_bytes -= location.bytes() as u64;
        self.live_records -= 1;
        if let Some(extent) = self.extent_mut(location) {
            extent.live_records -= 1;
        }
    }

    fn extent_mut(&mut self, location: Location) -> Option<&mut Extent> {
        let at = location.row().checked_sub(self.first_row)?;
        self.extents.get_mut(usize::try_from(at).ok()?)
    }
}
