//! What kind of client it is: chosen once, kept for the whole run.

use noctule_broker::QueueFull;
use noctule_packets::Version;

use crate::ledger::Traits;
use crate::plan::Plan;
use crate::random::Random;

const VERSIONS: [Version; 5] = [
    Version::V3,
    Version::V4,
    Version::V4,
    Version::V5,
    Version::V5,
];

#[derive(Clone, Debug)]
pub struct Habits {
    pub version: Version,
    /// Seconds its session is to outlive a connection; `u32::MAX`: for ever.
    pub expiry_seconds: u32,
    pub keep_alive: u16,
    /// 5.0 only; 0: not said.
    pub receive_maximum: u16,
    pub alias_maximum: u16,
    /// How often, in percent of its turns, it sends acknowledgements.
    pub acknowledges: u64,
    /// How often, in percent of its turns, it reads.
    pub reads: u64,
    pub subscription_identifiers: bool,
    pub traits: Traits,
    /// Bytes that fit into the network on the way to it.
    pub capacity: usize,
}

impl Habits {
    pub fn new(plan: &Plan, random: &mut Random) -> Habits {
        // Before 5.0 a client whose message is refused is disconnected, comes back and
        // sends it again; one that waits for its own acknowledgements never ends that.
        let version = match plan.options.limits.queue_full {
            QueueFull::Reject => Version::V5,
            _ => random.pick(&VERSIONS),
        };
        let modern = version == Version::V5;
        let expiry_seconds = match modern {
            true => random.pick(&[0, 2, 30, u32::MAX, u32::MAX]),
            false => random.pick(&[0, u32::MAX, u32::MAX]),
        };
        let mut traits = Traits::default();
        if modern {
            traits = Traits {
                retain_as_published: random.chance(30),
                no_local: random.chance(25),
                largest_packet: random.pick(&[0, 0, 0, 700]),
            };
        }
        Habits {
            version,
            expiry_seconds,
            keep_alive: random.pick(&[0, 0, 5, 20, 120]),
            receive_maximum: if modern {
                random.pick(&[0, 1, 2, 10])
            } else {
                0
            },
            alias_maximum: if modern {
                random.pick(&[0, 1, 3, 50])
            } else {
                0
            },
            acknowledges: random.pick(&[100, 60, 10]),
            reads: random.pick(&[100, 100, 50, 5]),
            subscription_identifiers: modern && random.chance(50),
            traits,
            capacity: match plan.tempo_micros {
                0..1_000 => random.pick(&[700, 5_000, 100_000]),
                _ => random.pick(&[5_000, 100_000]),
            },
        }
    }

    /// A client to whom everything comes at once and whole.
    pub fn witness() -> Habits {
        Habits {
            version: Version::V5,
            expiry_seconds: 0,
            keep_alive: 0,
            receive_maximum: 0,
            alias_maximum: 10,
            acknowledges: 100,
            reads: 100,
            subscription_identifiers: false,
            traits: Traits {
                retain_as_published: true,
                ..Traits::default()
            },
            capacity: 1 << 30,
        }
    }
}
