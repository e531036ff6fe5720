//! Who subscribed with one filter.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

/// Up to this many are searched one by one; beyond, by a hash table.
const SEARCHED_IN_TURN: usize = 32;

/// The subscribers of one filter with their options, in no particular order.
///
/// Most filters have one subscriber, which lies in the node itself. Many lie side by side,
/// because a fan-out reads them all, and are found in constant time, because 100,000 of
/// them may come and go.
pub(super) enum Subscribers<K, V> {
    None,
    One(K, V),
    Many(Box<Many<K, V>>),
}

pub(super) struct Many<K, V> {
    entries: Vec<(K, V)>,
    /// Places in `entries`; empty while there are few.
    index: HashTable<u32>,
}

impl<K: Copy + Eq + Hash, V> Subscribers<K, V> {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds or replaces; returns what was replaced.
    pub fn insert(&mut self, key: K, value: V, hasher: &impl BuildHasher) -> Option<V> {
        match std::mem::replace(self, Self::None) {
            Self::None => {
                *self = Self::One(key, value);
                None
            }
            Self::One(other, old) if other == key => {
                *self = Self::One(key, value);
                Some(old)
            }
            Self::One(other, old) => {
                let mut many = Many {
                    entries: Vec::with_capacity(2),
                    index: HashTable::new(),
                };
                many.entries.push((other, old));
                many.entries.push((key, value));
                *self = Self::Many(Box::new(many));
                None
            }
            Self::Many(mut many) => {
                let replaced = many.insert(key, value, hasher);
                *self = Self::Many(many);
                replaced
            }
        }
    }

    pub fn remove(&mut self, key: K, hasher: &impl BuildHasher) -> Option<V> {
        match std::mem::replace(self, Self::None) {
            Self::One(other, value) if other == key => Some(value),
            Self::Many(mut many) => {
                let removed = many.remove(key, hasher);
                *self = match many.entries.len() {
                    1 => many
                        .entries
                        .pop()
                        .map_or(Self::None, |(key, value)| Self::One(key, value)),
                    _ => Self::Many(many),
                };
                removed
            }
            unchanged => {
                *self = unchanged;
                None
            }
        }
    }

    pub fn find(&self, key: K, hasher: &impl BuildHasher) -> Option<&V> {
        match self {
            Self::None => None,
            Self::One(other, value) => (*other == key).then_some(value),
            Self::Many(many) => many.place(key, hasher).map(|at| &many.entries[at].1),
        }
    }

    /// Calls `visit` for each until it returns false; returns whether all were visited.
    #[inline]
    pub fn visit(&self, visit: &mut impl FnMut(K, &V) -> bool) -> bool {
        match self {
            Self::None => true,
            Self::One(key, value) => visit(*key, value),
            Self::Many(many) => many.entries.iter().all(|(key, value)| visit(*key, value)),
        }
    }
}

impl<K: Copy + Eq + Hash, V> Many<K, V> {
    fn place(&self, key: K, hasher: &impl BuildHasher) -> Option<usize> {
        if self.index.is_empty() {
            return self.entries.iter().position(|(other, _)| *other == key);
        }
        let is_it = |&at: &u32| self.entries[at as usize].0 == key;
        self.index
            .find(hasher.hash_one(key), is_it)
            .map(|&at| at as usize)
    }

    fn insert(&mut self, key: K, value: V, hasher: &impl BuildHasher) -> Option<V> {
        if let Some(at) = self.place(key, hasher) {
            return Some(std::mem::replace(&mut self.entries[at].1, value));
        }
        let len = self.entries.len();
        if len == self.entries.capacity() {
            // By a half instead of by the double: a quarter less memory for most lists.
            self.entries.reserve_exact((len / 2).max(2));
        }
        self.entries.push((key, value));
        if self.index.is_empty() {
            if len >= SEARCHED_IN_TURN {
                self.build_index(hasher);
            }
        } else {
            let entries = &self.entries;
            let rehash = |&at: &u32| hasher.hash_one(entries[at as usize].0);
            self.index
                .insert_unique(hasher.hash_one(key), len as u32, rehash);
        }
        None
    }

    fn remove(&mut self, key: K, hasher: &impl BuildHasher) -> Option<V> {
        let at = self.place(key, hasher)?;
        if !self.index.is_empty() {
            self.forget_place(key, at, hasher);
        }
        let (_, value) = self.entries.swap_remove(at);
        self.give_back(hasher);
        Some(value)
    }

    /// Takes `at` out of the index and gives it to the last entry, which will move there.
    fn forget_place(&mut self, key: K, at: usize, hasher: &impl BuildHasher) {
        let place = at as u32;
        if let Ok(slot) = self
            .index
            .find_entry(hasher.hash_one(key), |&other| other == place)
        {
            slot.remove();
        }
        let last = self.entries.len() - 1;
        if at == last {
            return;
        }
        let hash = hasher.hash_one(self.entries[last].0);
        if let Some(slot) = self.index.find_mut(hash, |&other| other as usize == last) {
            *slot = place;
        }
    }

    fn give_back(&mut self, hasher: &impl BuildHasher) {
        let len = self.entries.len();
        if len < self.entries.capacity() / 4 {
            self.entries.shrink_to(len * 2);
        }
        if self.index.is_empty() {
            return;
        }
        if len <= SEARCHED_IN_TURN / 2 {
            self.index = HashTable::new();
        } else if len < self.index.capacity() / 4 {
            let entries = &self.entries;
            self.index
                .shrink_to(len * 2, |&at| hasher.hash_one(entries[at as usize].0));
        }
    }

    fn build_index(&mut self, hasher: &impl BuildHasher) {
        let entries = &self.entries;
        for (at, (key, _)) in entries.iter().enumerate() {
            let rehash = |&at: &u32| hasher.hash_one(entries[at as usize].0);
            self.index
                .insert_unique(hasher.hash_one(*key), at as u32, rehash);
        }
    }
}
