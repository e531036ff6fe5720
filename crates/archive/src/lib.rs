//! What a broker's store holds, as lines of JSON, out and in.
//!
//! The form is in `line.rs` and described in `docs/durability.md`. Going out, numbers
//! that only the store needs are left away: the order of the lines says what they said.
//! Coming in, they are drawn anew. What went out and came in goes out the same.
#![forbid(unsafe_code)]

mod error;
mod export;
mod import;
mod line;
mod payload;
mod properties;
mod summary;

pub use error::ArchiveError;
pub use export::{Exported, export};
pub use import::{Import, Imported};
pub use line::{FORMAT, Line, Message, Will};
pub use summary::{Summary, summary};
