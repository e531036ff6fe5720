//! A load generator for MQTT brokers, and a checker of what they deliver.
//!
//! [`run`] carries a [`Scenario`] out and returns a [`Report`]. Every message carries when
//! it was due, who published it and its number, so each subscriber's losses, duplicates
//! and reorderings are counted exactly, not sampled.
//!
//! It shares the machine with the broker it measures, so it has to cost little itself:
//! one thread (by default), one poll loop, a PUBLISH that is patched and not encoded,
//! reads of up to a megabyte, one write for a burst of packets.
//!
//! The way of a message: `publisher` (may it go, and when was it due) → `template` (its
//! bytes) → `connection` → `worker` (sockets) → `incoming` → `subscriber` (`receipts`
//! judge it, `latency` counts it).
#![forbid(unsafe_code)]

mod clock;
mod connecting;
mod connection;
mod descriptors;
mod error;
mod idle;
mod incoming;
mod latency;
mod outgoing;
mod plan;
mod publisher;
mod publishing;
mod receipts;
mod report;
mod retained;
mod run;
mod scenario;
mod shared;
mod stamp;
mod subscriber;
mod tally;
mod template;
mod timer;
mod transport;
mod worker;

pub use error::LoadError;
pub use report::{Latency, Phase, Progress, Report, RetainedReport};
pub use run::run;
pub use scenario::{Kind, Scenario, Scheme};
