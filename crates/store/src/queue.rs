//! Where the entries of a queue are in the log.

use std::collections::VecDeque;

use crate::location::Location;

/// Entries below a key, by ascending sequence.
///
/// Nearly always appended at the back and removed at the front. What is removed in
/// between leaves a hole ([`Location::NONE`]) until the holes are half of it.
#[derive(Default)]
pub(crate) struct Queue {
    entries: VecDeque<(u64, Location)>,
    holes: usize,
    bytes: u64,
}

impl Queue {
    /// What its entries take in the log.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.entries.len() - self.holes
    }

    fn position(&self, sequence: u64) -> Result<usize, usize> {
        // For speed: what is removed is nearly always the first.
        if self
            .entries
            .front()
            .is_some_and(|entry| entry.0 == sequence)
        {
            return Ok(0);
        }
        self.entries
            .binary_search_by_key(&sequence, |entry| entry.0)
    }

    pub fn find(&self, sequence: u64) -> Location {
        self.position(sequence)
            .map_or(Location::NONE, |at| self.entries[at].1)
    }

    /// Returns what was there before.
    pub fn insert(&mut self, sequence: u64, location: Location) -> Location {
        self.bytes += location.bytes() as u64;
        if self.entries.back().is_none_or(|last| last.0 < sequence) {
            self.entries.push_back((sequence, location));
            return Location::NONE;
        }
        match self.position(sequence) {
            Ok(at) => {
                let before = std::mem::replace(&mut self.entries[at].1, location);
                self.bytes -= before.bytes() as u64;
                self.holes -= usize::from(!before.exists());
                before
            }
            Err(at) => {
                self.entries.insert(at, (sequence, location));
                Location::NONE
            }
        }
    }

    /// Returns what was there.
    pub fn remove(&mut self, sequence: u64) -> Location {
        let Ok(at) = self.position(sequence) else {
            return Location::NONE;
        };
        let before = std::mem::replace(&mut self.entries[at].1, Location::NONE);
        if !before.exists() {
            return before;
        }
        self.bytes -= before.bytes() as u64;
        self.holes += 1;
        while self.entries.front().is_some_and(|entry| !entry.1.exists()) {
            self.entries.pop_front();
            self.holes -= 1;
        }
        if self.holes > 32 && self.holes * 2 > self.entries.len() {
            self.entries.retain(|entry| entry.1.exists());
            self.holes = 0;
            self.entries.shrink_to_fit();
        }
        before
    }

    /// Sequences of the first and the last entry.
    pub fn ends(&self) -> Option<(u64, u64)> {
        let there = |entry: &&(u64, Location)| entry.1.exists();
        let first = self.entries.iter().find(there)?;
        let last = self.entries.iter().rfind(there)?;
        Some((first.0, last.0))
    }

    pub fn after(&self, sequence: Option<u64>) -> impl Iterator<Item = (u64, Location)> {
        let from = match sequence {
            None => 0,
            Some(sequence) => self.position(sequence).map_or_else(|at| at, |at| at + 1),
        };
        let entries = self.entries.range(from..).copied();
        entries.filter(|entry| entry.1.exists())
    }
}
