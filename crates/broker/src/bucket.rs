//! Rates, held by a token bucket of one second.

use crate::time::Time;

const SECOND_MICROS: u64 = 1_000_000;

/// At most `rate` a second, with a burst of one second's worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: u64,
    /// Tokens, times a million; negative once something large went through.
    level: i128,
    filled: Time,
}

impl Bucket {
    /// `None` if `rate` is 0, which means no limit.
    pub fn new(rate: u64, now: Time) -> Option<Bucket> {
        let level = i128::from(rate) * i128::from(SECOND_MICROS);
        (rate != 0).then_some(Bucket {
            rate,
            level,
            filled: now,
        })
    }

    /// Whether anything may be taken; if not, from when on.
    pub fn ready(&mut self, now: Time) -> Result<(), Time> {
        let elapsed = now.0.saturating_sub(self.filled.0);
        let full = i128::from(self.rate) * i128::from(SECOND_MICROS);
        self.level = (self.level + i128::from(elapsed) * i128::from(self.rate)).min(full);
        self.filled = self.filled.max(now);
        if self.level > 0 {
            return Ok(());
        }
        let wait = (-self.level) / i128::from(self.rate) + 1;
        Err(Time(
            now.0
                .saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)),
        ))
    }

    /// Takes `n` tokens, on credit if they are not there.
    pub fn spend(&mut self, n: u64) {
        self.level -= i128::from(n) * i128::from(SECOND_MICROS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_through_and_says_when_to_come_back() {
        let mut bucket = Bucket::new(10, Time(0)).unwrap();
        let mut now = Time(0);
        let mut taken = 0;
        while now < Time(10 * SECOND_MICROS) {
            match bucket.ready(now) {
                Ok(()) => {
                    bucket.spend(1);
                    taken += 1;
                }
                Err(then) => now = then,
            }
        }
        assert!((109..=111).contains(&taken), "{taken}");
    }
}
