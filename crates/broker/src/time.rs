//! Time as an argument: the core has no clock of its own.

use std::time::Duration;

/// Monotonic microseconds since the process (or the simulation) began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// A moment that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// This moment and `duration` more, at most [`Time::NEVER`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Time {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }

    /// This moment and `seconds` more, at most [`Time::NEVER`].
    #[must_use]
    pub fn after_seconds(self, seconds: u64) -> Time {
        Time(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// This moment and `milliseconds` more, at most [`Time::NEVER`].
    #[must_use]
    pub fn after_milliseconds(self, milliseconds: u64) -> Time {
        Time(self.0.saturating_add(milliseconds.saturating_mul(1_000)))
    }

    /// How long from here to `later`; zero if that is past.
    #[must_use]
    pub fn until(self, later: Time) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }

    /// Whole seconds from here to `later`, rounded up; zero if that is past.
    #[must_use]
    pub fn seconds_until(self, later: Time) -> u64 {
        later.0.saturating_sub(self.0).div_ceil(1_000_000)
    }
}
