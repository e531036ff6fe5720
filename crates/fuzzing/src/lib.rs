//! What must hold of any input at all, as functions of bytes that panic where it does not.
//!
//! The coverage-guided targets in `fuzz/` call them for hours (`make fuzz`), and
//! `tests/replay.rs` for seconds: the corpus, and seeded mutations of it.
#![forbid(unsafe_code)]

pub mod codec;
pub mod corpus;
pub mod framing;
pub mod store;
pub mod worker;
