//! Who subscribed to what, found by topic name.
//!
//! A tree by levels. A node that nothing lies below keeps the whole rest of its filter
//! as its text, so a filter that shares no more than its first levels with others costs
//! one node. Nodes lie side by side in an arena; the child of a branch with a given level
//! is found in one hash table of the whole tree by (branch, level).

mod branches;
mod matching;
mod subscribers;

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;

use crate::name::first_level;
use crate::storage::{Arena, Index, Text};
use branches::{Branches, NONE, ROOT};
use subscribers::Subscribers;

/// Subscriptions: for each topic filter the subscribers `K` with their options `V`.
///
/// Filters must be valid ([`validate_filter`](crate::validate_filter)). Costs, with keys
/// and values of 8 bytes: 56 bytes a node and 10 to 21 for finding it, 16 for each further
/// subscriber of the same filter. A chain of nodes that two filters shared stays until
/// nothing lies below it any more.
pub struct SubscriptionTree<K, V> {
    nodes: Arena<Node<K, V>>,
    branches: Branches,
    literals: Index,
    len: usize,
    hasher: RandomState,
}

struct Node<K, V> {
    /// The branch that this is a child of.
    parent: u32,
    /// What lies below, or NONE.
    branch: u32,
    /// One level if there is a branch, otherwise the rest of the filter.
    text: Text,
    /// Those whose filter ends with this node's text.
    subscribers: Subscribers<K, V>,
}

impl<K: Copy + Ord + Hash, V> Default for SubscriptionTree<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Ord + Hash, V> SubscriptionTree<K, V> {
    pub fn new() -> Self {
        Self {
            nodes: Arena::new(),
            branches: Branches::new(),
            literals: Index::new(),
            len: 0,
            hasher: RandomState::default(),
        }
    }

    /// Returns the number of subscriptions: of pairs of filter and subscriber.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Subscribes `key` to `filter`; returns the old options if it was subscribed already.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Option<V> {
        let mut branch = ROOT;
        let mut rest = filter;
        loop {
            let level = first_level(rest.as_bytes());
            let Some(number) = self.find_child(branch, level) else {
                self.add_node(branch, rest, Subscribers::One(key, value));
                self.len += 1;
                return None;
            };
            let node = &self.nodes[number];
            if node.branch == NONE && node.text.as_bytes() != rest.as_bytes() {
                self.split(number, rest);
            }
            let node = &mut self.nodes[number];
            if node.branch == NONE || level.len() == rest.len() {
                let replaced = node.subscribers.insert(key, value, &self.hasher);
                self.len += usize::from(replaced.is_none());
                return replaced;
            }
            branch = node.branch;
            rest = &rest[level.len() + 1..];
        }
    }

    /// Ends the subscription of `key` to `filter`; returns its options if there was one.
    pub fn remove(&mut self, filter: &str, key: K) -> Option<V> {
        let number = self.find_node(filter)?;
        let node = &mut self.nodes[number];
        let removed = node.subscribers.remove(key, &self.hasher)?;
        self.len -= 1;
        if node.subscribers.is_empty() && node.branch == NONE {
            self.prune(number);
        }
        Some(removed)
    }

    /// Returns the options of the subscription of `key` to `filter`.
    pub fn get(&self, filter: &str, key: K) -> Option<&V> {
        let number = self.find_node(filter)?;
        self.nodes[number].subscribers.find(key, &self.hasher)
    }

    /// Finds the node that `filter` ends with.
    fn find_node(&self, filter: &str) -> Option<u32> {
        let mut branch = ROOT;
        let mut rest = filter.as_bytes();
        loop {
            let level = first_level(rest);
            let number = self.find_child(branch, level)?;
            let node = &self.nodes[number];
            if node.branch == NONE {
                return (node.text.as_bytes() == rest).then_some(number);
            }
            if level.len() == rest.len() {
                return Some(number);
            }
            branch = node.branch;
            rest = &rest[level.len() + 1..];
        }
    }

    fn find_child(&self, branch: u32, level: &[u8]) -> Option<u32> {
        match level {
            b"+" => Some(self.branches[branch].plus).filter(|&number| number != NONE),
            b"#" => Some(self.branches[branch].hash).filter(|&number| number != NONE),
            _ => self.find_literal(branch, level, self.hash_level(level)),
        }
    }

    #[inline]
    fn find_literal(&self, branch: u32, level: &[u8], level_hash: u64) -> Option<u32> {
        self.literals.find(combine(branch, level_hash), |number| {
            let node = &self.nodes[number];
            node.parent == branch && begins_with_level(node.text.as_bytes(), level)
        })
    }

    #[inline]
    fn hash_level(&self, level: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(level);
        hasher.finish()
    }

    /// Adds a node with the text `rest` as a child of `parent`; returns its number.
    fn add_node(&mut self, parent: u32, rest: &str, subscribers: Subscribers<K, V>) -> u32 {
        let text = Text::new(rest);
        let number = self.nodes.push(Node {
            parent,
            branch: NONE,
            text,
            subscribers,
        });
        self.branches[parent].children += 1;
        match first_level(rest.as_bytes()) {
            b"+" => self.branches[parent].plus = number,
            b"#" => self.branches[parent].hash = number,
            level => self
                .literals
                .insert(combine(parent, self.hash_level(level)), number),
        }
        number
    }

    /// Turns the node `number` without a branch, whose text begins with the same level as
    /// `rest` but is not `rest`, into one node for each level that both begin with, and
    /// one for what its own text had beyond.
    fn split(&mut self, number: u32, rest: &str) {
        let node = &mut self.nodes[number];
        let whole = std::mem::replace(&mut node.text, Text::new(""));
        let whole = whole.as_str();
        let subscribers = std::mem::replace(&mut node.subscribers, Subscribers::None);

        let mut common = whole
            .split('/')
            .zip(rest.split('/'))
            .take_while(|(a, b)| a == b);
        let first = common.next().map_or("", |(level, _)| level);
        node.text = Text::new(first);
        let mut last = number;
        let mut used = first.len();
        for (level, _) in common {
            let branch = self.add_branch(last);
            last = self.add_node(branch, level, Subscribers::None);
            used += 1 + level.len();
        }
        let branch = self.add_branch(last);
        match whole.get(used + 1..) {
            Some(beyond) => {
                self.add_node(branch, beyond, subscribers);
            }
            None => self.nodes[last].subscribers = subscribers,
        }
    }

    fn add_branch(&mut self, number: u32) -> u32 {
        let branch = self.branches.add(number);
        self.nodes[number].branch = branch;
        branch
    }

    /// Takes out the node `number`, which holds nothing, and those above it that are left
    /// with nothing.
    fn prune(&mut self, mut number: u32) {
        loop {
            let parent = self.take_node(number);
            if parent == ROOT || self.branches[parent].children > 0 {
                return;
            }
            number = self.branches[parent].node;
            self.branches.free(parent);
            let node = &mut self.nodes[number];
            node.branch = NONE;
            if !node.subscribers.is_empty() {
                return;
            }
        }
    }

    /// Takes the node `number` out, moves the last node into its place, and returns its
    /// parent.
    fn take_node(&mut self, number: u32) -> u32 {
        self.point_at(number, None);
        let (node, moved) = self.nodes.swap_remove(number);
        self.branches[node.parent].children -= 1;
        if let Some(old) = moved {
            self.point_at(number, Some(old));
        }
        node.parent
    }

    /// Sets right what leads to node `number`: if it came from the place `old`, to its new
    /// one; if it is about to go (no `old`), nowhere.
    fn point_at(&mut self, number: u32, old: Option<u32>) {
        let node = &self.nodes[number];
        let parent = node.parent;
        let target = if old.is_some() { number } else { NONE };
        if node.branch != NONE {
            self.branches[node.branch].node = target;
        }
        match first_level(node.text.as_bytes()) {
            b"+" => self.branches[parent].plus = target,
            b"#" => self.branches[parent].hash = target,
            level => {
                let hash = combine(parent, self.hash_level(level));
                match old {
                    Some(old) => self.literals.renumber(hash, old, number),
                    None => self.literals.remove(hash, number),
                }
            }
        }
    }
}

/// Mixes the number of a branch into the hash of a level.
#[inline]
fn combine(branch: u32, level_hash: u64) -> u32 {
    // Odd constants from the digits of the golden ratio; the high half of the product
    // depends on every bit of both.
    let mixed = (level_hash ^ u64::from(branch).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed >> 32) as u32
}

#[inline]
fn begins_with_level(text: &[u8], level: &[u8]) -> bool {
    text.starts_with(level) && matches!(text.get(level.len()), None | Some(b'/'))
}
