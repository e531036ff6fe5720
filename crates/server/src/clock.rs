//! The one place that reads a clock.

use std::time::Instant;

use noctule_broker::Time;

/// Monotonic time since the engine was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begin: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        Clock {
            begin: Instant::now(),
        }
    }

    #[inline]
    pub fn now(&self) -> Time {
        let micros = self.begin.elapsed().as_micros();
        Time(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
