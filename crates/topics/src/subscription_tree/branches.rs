//! The inner places of the tree: what lies below a node.

use crate::storage::Arena;

/// No node, or no branch.
pub(super) const NONE: u32 = u32::MAX;
/// The branch of the first levels.
pub(super) const ROOT: u32 = 0;

/// The children of one node. Those with a literal level are found by hash
/// (`SubscriptionTree::find_literal`), so a branch is 16 bytes however many it has.
pub(super) struct Branch {
    /// The node that this lies below; for a free branch, the next free one.
    pub node: u32,
    /// The child whose level is `+`.
    pub plus: u32,
    /// The child whose level is `#`.
    pub hash: u32,
    pub children: u32,
}

impl Branch {
    pub fn has_literals(&self) -> bool {
        let wildcards = u32::from(self.plus != NONE) + u32::from(self.hash != NONE);
        self.children > wildcards
    }
}

/// All branches of a tree. A branch keeps its number as long as it lives, because its
/// children are found by it; numbers of dead ones are used again.
pub(super) struct Branches {
    arena: Arena<Branch>,
    first_free: u32,
    free: usize,
}

impl Branches {
    pub fn new() -> Self {
        let mut branches = Self {
            arena: Arena::new(),
            first_free: NONE,
            free: 0,
        };
        branches.add(NONE);
        branches
    }

    /// Adds an empty branch below `node`.
    pub fn add(&mut self, node: u32) -> u32 {
        let branch = Branch {
            node,
            plus: NONE,
            hash: NONE,
            children: 0,
        };
        if self.first_free == NONE {
            return self.arena.push(branch);
        }
        let number = self.first_free;
        self.first_free = self.arena[number].node;
        self.free -= 1;
        self.arena[number] = branch;
        number
    }

    /// Frees the empty branch `number`, which is not the root. With the last one all their
    /// memory goes.
    pub fn free(&mut self, number: u32) {
        self.free += 1;
        if self.free + 1 < self.arena.len() {
            self.arena[number].node = self.first_free;
            self.first_free = number;
            return;
        }
        let mut cleared = Self::new();
        std::mem::swap(&mut cleared[ROOT], &mut self.arena[ROOT]);
        *self = cleared;
    }
}

impl std::ops::Index<u32> for Branches {
    type Output = Branch;

    #[inline]
    fn index(&self, number: u32) -> &Branch {
        &self.arena[number]
    }
}

impl std::ops::IndexMut<u32> for Branches {
    fn index_mut(&mut self, number: u32) -> &mut Branch {
        &mut self.arena[number]
    }
}
