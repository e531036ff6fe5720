//! What a session has lost.

/// Messages that did not reach a session, by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// Since the last event that said so.
    pub unsaid: Vec<(&'static str, u64)>,
    /// Since the session began.
    pub in_all: Vec<(&'static str, u64)>,
    /// The interval of `$SYS` that `since` belongs to.
    interval: u32,
    since: u64,
    /// Whether the worker has it among those that lose most.
    pub is_listed: bool,
}

impl Drops {
    /// Counts one message; `interval` is the one that runs now.
    pub fn count(&mut self, reason: &'static str, interval: u32) {
        add(&mut self.in_all, reason);
        self.since = self.since(interval) + 1;
        self.interval = interval;
    }

    /// Counts it for the event that will say so too.
    pub fn count_unsaid(&mut self, reason: &'static str) {
        add(&mut self.unsaid, reason);
    }

    /// Messages lost in this interval.
    pub fn since(&self, interval: u32) -> u64 {
        if self.interval == interval {
            self.since
        } else {
            0
        }
    }
}

fn add(counts: &mut Vec<(&'static str, u64)>, reason: &'static str) {
    match counts.iter_mut().find(|(each, _)| *each == reason) {
        Some((_, count)) => *count += 1,
        None => counts.push((reason, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_counts_its_own_and_the_whole_goes_on() {
        let mut drops = Drops::default();
        drops.count("rate", 1);
        drops.count("rate", 1);
        assert_eq!((drops.since(1), drops.since(2)), (2, 0));
        drops.count("too_large", 3);
        assert_eq!(drops.since(3), 1);
        assert_eq!(drops.in_all, [("rate", 2), ("too_large", 1)]);
        assert_eq!(drops.unsaid, []);
    }
}
