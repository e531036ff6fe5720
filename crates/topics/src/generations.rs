//! A cheap way to know that a route found earlier still holds.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

use crate::filter::Filter;
use crate::name::first_level;

const BUCKETS: usize = 256;

/// Counts changes of subscriptions by the first levels of their filters.
///
/// A filter whose first two levels are literal counts in the bucket of these two, one
/// whose first level alone is literal in the bucket of that level, one that begins with
/// a wildcard in the count of all. The stamp of a name is the sum of the three counts it
/// falls under, and counts only grow, so the stamp changes whenever a subscription that
/// could match the name has changed (and, by chance, sometimes when none has).
///
/// Writer: change the tree, then [`bump`](Self::bump). Reader: take the
/// [`stamp`](Self::stamp), then look into the tree, and keep both; a route is good as long
/// as the stamp is the same.
pub struct Generations {
    all: AtomicU64,
    by_first_level: Box<[AtomicU64]>,
    by_two_levels: Box<[AtomicU64]>,
    changes: AtomicU64,
    hasher: FixedState,
}

impl Default for Generations {
    fn default() -> Self {
        Self::new()
    }
}

impl Generations {
    pub fn new() -> Self {
        let zeros = || (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self {
            all: AtomicU64::new(0),
            by_first_level: zeros(),
            by_two_levels: zeros(),
            changes: AtomicU64::new(0),
            // Fixed, so that a simulated broker takes the same way each time. A client that
            // aims at a bucket gains nothing but routes looked up anew.
            hasher: FixedState::with_seed(0x6E6F_6374_756C_6521),
        }
    }

    /// Notes that a subscription to `filter` has come, gone or changed; `filter` may be
    /// plain or `$share/{name}/{filter}`.
    pub fn bump(&self, filter: &str) {
        let filter = match Filter::parse(filter) {
            Ok(Filter::Shared { filter, .. }) => filter,
            _ => filter,
        };
        self.count_of(filter.as_bytes())
            .fetch_add(1, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Returns a number that differs from an earlier one whenever a subscription that could
    /// match `name` has changed between.
    pub fn stamp(&self, name: &str) -> u64 {
        let name = name.as_bytes();
        let (first, second) = first_two_levels(name);
        let first_hash = self.hash(0, first);
        let mut stamp = self.all.load(Ordering::Acquire);
        stamp += self.by_first_level[bucket(first_hash)].load(Ordering::Acquire);
        if let Some(second) = second {
            let both = bucket(self.hash(first_hash, second));
            stamp += self.by_two_levels[both].load(Ordering::Acquire);
        }
        stamp
    }

    /// Returns the number of changes of all subscriptions: as long as it stands still,
    /// every stamp does, and one load saves the hashing of a name.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn count_of(&self, filter: &[u8]) -> &AtomicU64 {
        let (first, second) = first_two_levels(filter);
        if is_wildcard(first) {
            return &self.all;
        }
        let first_hash = self.hash(0, first);
        match second {
            Some(second) if !is_wildcard(second) => {
                &self.by_two_levels[bucket(self.hash(first_hash, second))]
            }
            _ => &self.by_first_level[bucket(first_hash)],
        }
    }

    fn hash(&self, before: u64, level: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(before);
        hasher.write(level);
        hasher.finish()
    }
}

fn bucket(hash: u64) -> usize {
    (hash >> 32) as usize % BUCKETS
}

fn is_wildcard(level: &[u8]) -> bool {
    matches!(level, b"+" | b"#")
}

fn first_two_levels(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let first = first_level(text);
    let second = text.get(first.len() + 1..).map(first_level);
    (first, second)
}
