//! From a topic name to the subscriptions that match it.

use std::hash::Hash;

use smallvec::SmallVec;

use super::SubscriptionTree;
use super::branches::{NONE, ROOT};
use super::subscribers::Subscribers;
use crate::filter::levels_match;
use crate::name::first_level;

/// Branches reached by the levels so far; a match rarely follows more than this many.
type Frontier = SmallVec<[u32; 32]>;

impl<K: Copy + Ord + Hash, V> SubscriptionTree<K, V> {
    /// Calls `visit` once for each subscription that matches the topic name `name`, in any
    /// order. A subscriber with several matching filters is visited for each.
    ///
    /// Goes level by level over the set of branches reached, so its stack does not grow
    /// with the depth, and no node is looked at twice.
    pub fn matches(&self, name: &str, mut visit: impl FnMut(K, &V)) {
        self.visit_while(name, &mut |key, value| {
            visit(key, value);
            true
        });
    }

    /// Says whether any subscription matches the topic name `name`.
    pub fn has_match(&self, name: &str) -> bool {
        !self.visit_while(name, &mut |_, _| false)
    }

    /// Visits matching subscriptions until `visit` returns false; returns whether all were
    /// visited.
    fn visit_while(&self, name: &str, visit: &mut impl FnMut(K, &V) -> bool) -> bool {
        let mut rest = name.as_bytes();
        // Wildcards of the first level do not match names beginning with $ [MQTT-4.7.2-1].
        let mut wildcards = rest.first() != Some(&b'$');
        let mut frontier = Frontier::from_elem(ROOT, 1);
        let mut next = Frontier::new();
        loop {
            let level = first_level(rest);
            let level_hash = self.hash_level(level);
            for &number in &frontier {
                let branch = &self.branches[number];
                if wildcards {
                    if !self.visit_node(branch.hash, visit) {
                        return false;
                    }
                    if !self.arrive(branch.plus, rest, level, &mut next, visit) {
                        return false;
                    }
                }
                if branch.has_literals() {
                    let child = self.find_literal(number, level, level_hash).unwrap_or(NONE);
                    if !self.arrive(child, rest, level, &mut next, visit) {
                        return false;
                    }
                }
            }
            if next.is_empty() {
                return true;
            }
            std::mem::swap(&mut frontier, &mut next);
            next.clear();
            rest = &rest[level.len() + 1..];
            wildcards = true;
        }
    }

    /// Takes in the node `number`, whose level matches `level`, the first of `rest`.
    #[inline]
    fn arrive(
        &self,
        number: u32,
        rest: &[u8],
        level: &[u8],
        next: &mut Frontier,
        visit: &mut impl FnMut(K, &V) -> bool,
    ) -> bool {
        if number == NONE {
            return true;
        }
        let node = &self.nodes[number];
        if node.branch == NONE {
            return !levels_match(node.text.as_bytes(), rest) || node.subscribers.visit(visit);
        }
        if level.len() < rest.len() {
            next.push(node.branch);
            return true;
        }
        // The name ends here, and `#` matches the level above it too.
        node.subscribers.visit(visit) && self.visit_node(self.branches[node.branch].hash, visit)
    }

    #[inline]
    fn visit_node(&self, number: u32, visit: &mut impl FnMut(K, &V) -> bool) -> bool {
        number == NONE || self.subscribers_of(number).visit(visit)
    }

    fn subscribers_of(&self, number: u32) -> &Subscribers<K, V> {
        &self.nodes[number].subscribers
    }
}
