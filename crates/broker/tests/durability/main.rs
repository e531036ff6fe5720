//! What a durable broker promises, on workers in memory and a store that can lose power.

mod disk;
mod gates;
mod house;
mod mixed;
mod recovery;
#[expect(dead_code, reason = "the tests of the protocol need more of it")]
#[path = "../protocol/rig.rs"]
mod rig;
mod settling;
mod spill;
mod trouble;
