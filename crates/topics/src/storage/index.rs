//! From the hash of a key to the number of the value that holds the key.

use hashbrown::HashTable;

const SHARDS: usize = 64;
/// Smallest number of slots that a shard shrinks to.
const MIN_SLOTS: usize = 8;

/// A hash table of numbers; the keys stay with the values in their arena.
///
/// In 64 shards, each of which grows by itself: at 1,000,000 entries one table would halt
/// its owner for tens of milliseconds while it grows, a shard for less than one.
pub(crate) struct Index {
    shards: Box<[HashTable<Slot>]>,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    number: u32,
}

impl Index {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }

    /// Returns the number with this hash for which `is_it` holds.
    #[inline]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = &self.shards[shard_of(hash)];
        shard
            .find(widen(hash), |slot| slot.hash == hash && is_it(slot.number))
            .map(|s| s.number)
    }

    pub fn insert(&mut self, hash: u32, number: u32) {
        let shard = &mut self.shards[shard_of(hash)];
        shard.insert_unique(widen(hash), Slot { hash, number }, |slot| widen(slot.hash));
    }

    pub fn remove(&mut self, hash: u32, number: u32) {
        let shard = &mut self.shards[shard_of(hash)];
        if let Ok(slot) = shard.find_entry(widen(hash), |slot| slot.number == number) {
            slot.remove();
        }
        if shard.len() < shard.capacity() / 4 && shard.capacity() > MIN_SLOTS {
            shard.shrink_to(shard.len() * 2, |slot| widen(slot.hash));
        }
    }

    /// Puts `new` in the place of `old`, whose value has moved.
    pub fn renumber(&mut self, hash: u32, old: u32, new: u32) {
        let shard = &mut self.shards[shard_of(hash)];
        if let Some(slot) = shard.find_mut(widen(hash), |slot| slot.number == old) {
            slot.number = new;
        }
    }
}

/// The table takes its place from the low bits of a hash and its tag from the top seven;
/// the shard comes from bits that a shard of fewer than 2^18 entries uses for neither.
#[inline]
fn widen(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[inline]
fn shard_of(hash: u32) -> usize {
    (hash >> 19) as usize % SHARDS
}
