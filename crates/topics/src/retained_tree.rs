//! Retained messages by topic name, found by topic filter.
//!
//! Not a tree of nodes but the names in the order a tree would be walked in: `/` sorts
//! below every other byte, so a name is followed by all names below it. A filter is
//! walked by leaping over the runs of names that it cannot match, and a walk is resumed
//! by looking up the name where it stopped.

mod compare;

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::storage::{Arena, Index, Order, Position, Text};
use compare::{Place, compare_names, is_within, place};

/// Values `V` by topic name.
///
/// Names must be valid ([`validate_name`](crate::validate_name)). Costs beside `V`: 24
/// bytes a name (and an allocation for one longer than 22 bytes), 10 to 21 for finding it,
/// 4 to 8 for its place in the order. A value known already is found by hash, without
/// search in the order.
pub struct RetainedTree<V> {
    entries: Arena<Entry<V>>,
    by_name: Index,
    order: Order,
    /// How often `order` has changed: until then a position in it is good.
    changes: u64,
    hasher: RandomState,
}

struct Entry<V> {
    name: Text,
    value: V,
}

/// How far a walk with a bounded number of steps has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    /// At the end: all matching names were visited.
    Ended,
    /// `visit` returned false.
    Stopped,
    /// The steps are used up; go on after this name, which may have matched nothing.
    Paused { after: String },
}

/// Where a walk stopped, to go on behind it: a name, and its place for as long as it is good.
///
/// The default is before the first name.
#[derive(Clone, Debug, Default)]
pub struct Bookmark {
    after: String,
    place: Option<(Position, u64)>,
}

impl<V> Default for RetainedTree<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> RetainedTree<V> {
    pub fn new() -> Self {
        Self {
            entries: Arena::new(),
            by_name: Index::new(),
            order: Order::new(),
            changes: 0,
            hasher: RandomState::default(),
        }
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps `value` under `name`; returns the one it replaces.
    pub fn insert(&mut self, name: &str, value: V) -> Option<V> {
        let hash = self.hash_name(name.as_bytes());
        if let Some(number) = self.find(name, hash) {
            return Some(std::mem::replace(&mut self.entries[number].value, value));
        }
        let position = self.seek(name);
        let number = self.entries.push(Entry {
            name: Text::new(name),
            value,
        });
        self.by_name.insert(hash, number);
        self.order.insert(position, number);
        self.changes += 1;
        None
    }

    /// Takes out the value under `name`.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let hash = self.hash_name(name.as_bytes());
        let number = self.find(name, hash)?;
        self.order.remove(self.seek(name));
        self.changes += 1;
        self.by_name.remove(hash, number);
        let (entry, moved) = self.entries.swap_remove(number);
        if let Some(old) = moved {
            self.renumber(old, number);
        }
        Some(entry.value)
    }

    pub fn get(&self, name: &str) -> Option<&V> {
        let number = self.find(name, self.hash_name(name.as_bytes()))?;
        Some(&self.entries[number].value)
    }

    /// Visits the names that match `filter` with their values in order, those after `after`
    /// only, until `visit` returns false. Returns true if it reached the end.
    ///
    /// The order is the same in every walk, and `after` need not be there any more, so a
    /// walk is taken up again with the last name visited, however the messages changed
    /// between. Names that match are come upon without search where they follow one
    /// another; a run of names that cannot match is leapt over at the cost of the logarithm
    /// of its length. A filter such as `+/x` still costs a leap for every first level;
    /// [`walk_within`](Self::walk_within) bounds that.
    pub fn walk(
        &self,
        filter: &str,
        after: Option<&str>,
        visit: impl FnMut(&str, &V) -> bool,
    ) -> bool {
        self.walk_within(filter, after, usize::MAX, visit) == Walk::Ended
    }

    /// As [`walk`](Self::walk), from a bookmark on, which is moved to the name that `visit`
    /// returned false for. Unless names came or went meanwhile, going on costs no search.
    pub fn walk_on(
        &self,
        filter: &str,
        bookmark: &mut Bookmark,
        mut visit: impl FnMut(&str, &V) -> bool,
    ) -> bool {
        let filter = filter.as_bytes();
        let mut position = match bookmark.place {
            None => self.seek_literals(filter),
            Some((position, changes)) if changes == self.changes => self.order.next(position),
            Some(_) => self.seek_after(&bookmark.after),
        };
        while let Some((name, place, value)) = self.look_at(position, filter) {
            if matches!(place, Place::Match) && !visit(name, value) {
                bookmark.after.clear();
                bookmark.after.push_str(name);
                bookmark.place = Some((position, self.changes));
                return false;
            }
            position = self.leap(position, filter, name.as_bytes(), place);
        }
        true
    }

    /// As [`walk`](Self::walk), but pauses after `steps` names have been looked at (at least
    /// one), whether they matched or not.
    pub fn walk_within(
        &self,
        filter: &str,
        after: Option<&str>,
        steps: usize,
        mut visit: impl FnMut(&str, &V) -> bool,
    ) -> Walk {
        let filter = filter.as_bytes();
        let mut left = steps.max(1);
        let mut position = match after {
            Some(after) => self.seek_after(after),
            None => self.seek_literals(filter),
        };
        while let Some((name, place, value)) = self.look_at(position, filter) {
            if matches!(place, Place::Match) && !visit(name, value) {
                return Walk::Stopped;
            }
            left -= 1;
            if left == 0 {
                return Walk::Paused {
                    after: name.to_owned(),
                };
            }
            position = self.leap(position, filter, name.as_bytes(), place);
        }
        Walk::Ended
    }

    /// The name at `position` and how it stands to `filter`; nothing where no further name
    /// can match.
    fn look_at(&self, position: Position, filter: &[u8]) -> Option<(&str, Place, &V)> {
        let entry = &self.entries[self.order.number(position)?];
        let place = place(filter, entry.name.as_bytes());
        if matches!(place, Place::End) {
            return None;
        }
        Some((entry.name.as_str(), place, &entry.value))
    }

    /// Returns the position of the first name after `name`, at `position`, that the filter
    /// could match.
    fn leap(&self, position: Position, filter: &[u8], name: &[u8], place: Place) -> Position {
        let next = self.order.next(position);
        match place {
            Place::Match | Place::Above | Place::End => next,
            Place::Before { levels, literal } => {
                let (above, level) = (&name[..levels], &filter[literal]);
                self.order.seek_from(next, |number| {
                    compare::compare_below(self.name(number), above, level) == Ordering::Less
                })
            }
            Place::Beyond { run } => {
                let run = &name[..run];
                self.order
                    .seek_from(next, |number| is_within(self.name(number), run))
            }
            Place::Dollar => self
                .order
                .seek_from(next, |n| self.name(n).starts_with(b"$")),
        }
    }

    /// Returns the position of the first name that begins with the literal levels of
    /// `filter`, or comes after.
    fn seek_literals(&self, filter: &[u8]) -> Position {
        let literal = compare::literal_levels(filter);
        self.order
            .seek(|number| compare_names(self.name(number), literal) == Ordering::Less)
    }

    fn seek_after(&self, name: &str) -> Position {
        let name = name.as_bytes();
        self.order
            .seek(|number| compare_names(self.name(number), name) != Ordering::Greater)
    }

    fn seek(&self, name: &str) -> Position {
        let name = name.as_bytes();
        self.order
            .seek(|number| compare_names(self.name(number), name) == Ordering::Less)
    }

    /// Sets right what leads to the entry that has moved from `old` to `new`.
    fn renumber(&mut self, old: u32, new: u32) {
        let name = self.entries[new].name.as_bytes();
        self.by_name
            .renumber(hash_with(&self.hasher, name), old, new);
        let entries = &self.entries;
        // While the order still says `old`, that number's name is found at `new`.
        let position = self.order.seek(|number| {
            let number = if number == old { new } else { number };
            compare_names(entries[number].name.as_bytes(), name) == Ordering::Less
        });
        self.order.renumber(position, new);
    }

    fn name(&self, number: u32) -> &[u8] {
        self.entries[number].name.as_bytes()
    }

    fn find(&self, name: &str, hash: u32) -> Option<u32> {
        self.by_name
            .find(hash, |number| self.name(number) == name.as_bytes())
    }

    fn hash_name(&self, name: &[u8]) -> u32 {
        hash_with(&self.hasher, name)
    }
}

fn hash_with(hasher: &RandomState, name: &[u8]) -> u32 {
    let mut hasher = hasher.build_hasher();
    hasher.write(name);
    (hasher.finish() >> 32) as u32
}
