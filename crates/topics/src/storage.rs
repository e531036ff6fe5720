//! How nodes and names lie in memory, for both trees.

mod arena;
mod index;
mod order;
mod text;

pub(crate) use arena::Arena;
pub(crate) use index::Index;
pub(crate) use order::{Order, Position};
pub(crate) use text::Text;
