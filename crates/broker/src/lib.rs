//! Sessions and the worker state machine: (event, now) → effects.
//!
//! No socket, no clock, no thread, no randomness of its own. A [`Worker`] is told
//! what arrived and what time it is; it fills the outboxes of its connections and
//! says what else is to be done ([`Effect`], [`Batch`]). Workers share what
//! [`Shared`] holds: subscriptions, retained messages, counters. A session lives on
//! one worker for ever, so protocol logic never waits for a lock.
//!
//! The way of a PUBLISH: [`Worker::received`] → `worker::publish` (checks) →
//! `worker::route` (who gets it) → `worker::deliver` (into an outbox, a queue or a
//! batch) → `worker::acknowledge` (what the client answers).
#![forbid(unsafe_code)]

mod access;
mod aliases;
mod bans;
mod batch;
mod bucket;
mod connection;
mod counters;
mod drops;
mod durability;
mod effect;
mod group;
mod handover;
mod hooks;
mod identifiers;
mod journal;
mod keep;
mod kept;
mod key;
mod message;
mod names;
mod network;
mod options;
mod outbox;
mod outgoing;
mod policy;
mod pressure;
mod routes;
mod session;
mod shared;
mod slab;
mod tail;
mod time;
mod wheel;
mod worker;
mod worst;

pub use access::{Action, Permissions, Rule};
pub use bans::{Ban, BanOptions, Banned, Bans};
pub use batch::Batch;
pub use durability::{Durability, DurabilityRule};
pub use effect::{
    AuthenticationRequest, AuthenticationStage, ClientCertificate, ClientInfo, Decision, Effect,
    Event, FieldValue, INTERNAL_PREFIX, Identity, Peer, QueueRequest, WillInfo,
};
pub use handover::{Destination, destination};
pub use hooks::{Access, Advice, Changes, Consultation, Hooked, Hooks, Subject, Who};
pub use journal::{Change, Record, Records, Space, StoreState};
pub use kept::{Kept, KeptMessage, KeptRecord, KeptWill};
pub use key::ConnectionId;
pub use network::Network;
pub use options::{Interval, Limits, Options, Protocol, QueueFull, SharedStrategy};
pub use outbox::Outbox;
pub use policy::{Policy, RateLimits};
pub use pressure::Pressure;
pub use shared::Shared;
pub use time::Time;
pub use worker::{Restored, RestoredShare, Restorer, Worker};
