//! The durable log of Noctule: keyed records, by group commit, on SQLite.
//!
//! It knows nothing of MQTT. Keys and values are bytes; what they mean is the
//! broker's business. A key lives in one of 256 *spaces* and can have a *value*, and a
//! *queue* of entries below it, ordered by a 64-bit sequence that the caller chooses.
//!
//! - Worker threads gather operations in a [`Batch`] and hand it to their [`Writer`],
//!   which never waits for the disk. One thread commits whatever waits, in groups, and
//!   tells the [`Observer`] which batches are committed.
//! - A [`Reader`] reads back what is committed, from any thread: queues need not be in
//!   memory.
//! - [`Store::open`] returns the live state as a [`Recovery`], with a report of what
//!   was damaged. Damage never keeps a store from opening, and never goes unreported.
//!
//! What is stored for many queues at once (the body of a message) is put once, under a
//! key of its own, and deleted by the caller when the last reference goes.
//!
//! How it works. SQLite is used as a log (`row.rs`): a group commit inserts rows of
//! about 64 KiB that hold the group's records (`record.rs`), each with checksums of
//! its own, bound to its place. An index in memory (`index.rs`) says where everything
//! alive is, twelve bytes a record besides the key. There are no snapshots: when more
//! of the log is dead than alive, every commit moves a little of what is alive in the
//! oldest rows to the end and deletes those rows (`group.rs`), so that the log is at
//! all times both the history and the snapshot, and no pause grows with the state.
//! The write-ahead log is carried over by a thread of its own (`checkpointer.rs`).
#![forbid(unsafe_code)]

mod backup;
mod batch;
mod cell;
mod checkpointer;
mod committer;
mod damage;
mod database;
mod directory;
mod error;
mod group;
mod index;
mod location;
mod maintenance;
mod open;
mod options;
mod pending;
mod queue;
mod reader;
mod record;
mod recovery;
mod rewrite;
mod row;
mod salvage;
mod scan;
mod statistics;
mod store;
mod tail;
mod wreck;

pub use backup::{Progress, backup};
pub use batch::Batch;
pub use damage::{Damage, DamagedKey};
pub use error::{StoreError, SubmitError, TooLarge};
pub use index::{QueueSummary, SpaceSummary};
pub use maintenance::{Check, check, compact};
pub use options::{Durability, StoreOptions};
pub use pending::{Observer, State, Writer};
pub use reader::Reader;
pub use record::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
pub use recovery::{Entries, Entry, Recovery, RecoveryReport};
pub use rewrite::Filling;
pub use statistics::Statistics;
pub use store::Store;
