//! How short of memory the process is, and when that is to be said.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// How short of memory the process is. Each step does what the one before does, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// All is well.
    None,
    /// Publishers are slowed.
    High,
    /// Nothing more is stored, and nobody new let in.
    Full,
}

/// Of the limit, in percent: where the steps begin.
const HIGH_PERCENT: u64 = 90;
/// How far below its beginning a step ends, in percent of the limit: the measure wavers.
const SLACK_PERCENT: u64 = 5;

/// The process's memory, measured now and then, with the bytes stored since added.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    resident: AtomicU64,
    stored_then: AtomicU64,
    /// The step that was told last.
    told: AtomicU8,
    slowed: AtomicU64,
    refused: AtomicU64,
}

impl Memory {
    /// Resident bytes when they were measured last.
    pub fn resident(&self) -> u64 {
        self.resident.load(Relaxed)
    }

    /// How often publishers began to be slowed.
    pub fn slowed(&self) -> u64 {
        self.slowed.load(Relaxed)
    }

    /// How often new messages and clients began to be refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// How much of `limit` is taken; 0: there is no limit.
    pub fn pressure(&self, limit: u64, stored: impl Fn() -> u64) -> Pressure {
        if limit == 0 {
            return Pressure::None;
        }
        let since = stored().saturating_sub(self.stored_then.load(Relaxed));
        step(self.resident() + since, limit)
    }

    /// Takes a measurement; returns the step if it is a new one, or the end of all. To be
    /// called by one thread.
    pub fn set(&self, resident: u64, stored: u64, limit: u64) -> Option<Pressure> {
        self.resident.store(resident, Relaxed);
        self.stored_then.store(stored, Relaxed);
        if limit == 0 {
            return None;
        }
        let told = self.told();
        let risen = step(resident, limit);
        let fallen = step(resident + limit / 100 * SLACK_PERCENT, limit);
        let now = if risen > told {
            risen
        } else {
            fallen.min(told)
        };
        if now == told {
            return None;
        }
        self.told.store(now as u8, Relaxed);
        if told < Pressure::High && now >= Pressure::High {
            self.slowed.fetch_add(1, Relaxed);
        }
        if told < Pressure::Full && now == Pressure::Full {
            self.refused.fetch_add(1, Relaxed);
        }
        // From refusing back to slowing nothing is new.
        (now > told || now == Pressure::None).then_some(now)
    }

    /// Whether publishers are slowed or more, and were told to be.
    pub fn is_short(&self) -> bool {
        self.told() != Pressure::None
    }

    fn told(&self) -> Pressure {
        match self.told.load(Relaxed) {
            0 => Pressure::None,
            1 => Pressure::High,
            _ => Pressure::Full,
        }
    }
}

fn step(bytes: u64, limit: u64) -> Pressure {
    if bytes >= limit {
        Pressure::Full
    } else if bytes >= limit / 100 * HIGH_PERCENT {
        Pressure::High
    } else {
        Pressure::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_once_until_it_is_left_for_good() {
        let memory = Memory::default();
        let told = [
            800, 900, 960, 890, 860, 849, 1_000, 980, 951, 949, 1_200, 100,
        ]
        .map(|resident| memory.set(resident, 0, 1_000));
        let (none, high, full) = (
            Some(Pressure::None),
            Some(Pressure::High),
            Some(Pressure::Full),
        );
        let expected = [
            None, high, None, None, None, none, full, None, None, None, full, none,
        ];
        assert_eq!(told, expected);
        assert_eq!((memory.slowed(), memory.refused()), (2, 2));
    }

    #[test]
    fn what_was_stored_since_the_measurement_counts() {
        let memory = Memory::default();
        memory.set(500, 100, 1_000);
        assert_eq!(memory.pressure(1_000, || 100), Pressure::None);
        assert_eq!(memory.pressure(1_000, || 500), Pressure::High);
        assert_eq!(memory.pressure(1_000, || 600), Pressure::Full);
        assert_eq!(memory.pressure(0, || 600), Pressure::None);
        // Less than then: what is free again is seen by the next measurement.
        assert_eq!(memory.pressure(1_000, || 0), Pressure::None);
    }
}
