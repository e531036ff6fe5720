//! What a store holds, counted.

use std::path::Path;

use noctule_broker::Space;
use noctule_store::{Check, StoreError, check};
use serde::Serialize;

/// How much there is of everything, and how the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Which database it is: the number rises when it is written anew.
    pub generation: u64,
    pub rows: u64,
    pub live_records: u64,
    pub log_bytes: u64,
    pub live_bytes: u64,
    pub file_bytes: u64,
    /// What is damaged, each a sentence; empty if all is well.
    pub damage: Vec<String>,
    /// Findings besides.
    pub damage_left_out: u64,
    pub sessions: Held,
    pub subscriptions: Held,
    pub queued_messages: Held,
    pub in_flight: Held,
    pub received: Held,
    pub retained_messages: Held,
}

/// Records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    pub records: u64,
    pub bytes: u64,
}

/// Reads the whole store in directory `path`, and changes nothing.
///
/// # Errors
/// As [`check`].
pub fn summary(path: &Path) -> Result<Summary, StoreError> {
    let checked = check(path)?;
    let held = |space: Space| {
        let found = checked.spaces.iter().find(|each| each.space == space as u8);
        found.map_or(Held::default(), |each| Held {
            records: each.records,
            bytes: each.bytes,
        })
    };
    let (sessions, subscriptions) = (held(Space::Session), held(Space::Subscription));
    let (queued_messages, in_flight) = (held(Space::Queue), held(Space::InFlight));
    let (received, retained_messages) = (held(Space::Received), held(Space::Retained));
    let Check {
        generation,
        rows,
        live_records,
        log_bytes,
        live_bytes,
        file_bytes,
        damage,
        damage_left_out,
        ..
    } = checked;
    Ok(Summary {
        generation,
        rows,
        live_records,
        log_bytes,
        live_bytes,
        file_bytes,
        damage: damage.iter().map(ToString::to_string).collect(),
        damage_left_out,
        sessions,
        subscriptions,
        queued_messages,
        in_flight,
        received,
        retained_messages,
    })
}
