//! The subscriptions of sessions that have ended: few go at once, many in portions, a turn
//! for each, so that nobody waits for a client that had thousands of them.
//!
//! Until its turn comes a subscription leads to a session that is no longer there, as one does
//! whose session ended since its route was found; messages for it are settled at once.

use hashbrown::HashSet;
use noctule_topics::Filter;

use super::Worker;
use super::timers::Timer;
use crate::key::SessionKey;
use crate::time::Time;

/// Subscriptions taken out in one turn, over all sessions that have ended: about a
/// millisecond's work where filters are deep.
const PORTION: usize = 256;

/// What is left of sessions that have ended.
#[derive(Debug, Default)]
pub(super) struct Departed {
    filters: Vec<(SessionKey, Box<str>)>,
    /// The turn in which something was taken out last, and how much.
    turn: Time,
    taken: usize,
}

impl Worker {
    /// Takes out the subscriptions of a session that has ended, now or soon. Its groups it
    /// leaves at once: they choose among those who are there.
    pub(super) fn drop_subscriptions(
        &mut self,
        key: SessionKey,
        filters: HashSet<Box<str>>,
        now: Time,
    ) {
        self.counters().subscriptions.subtract(filters.len() as u64);
        let waited = !self.departed.filters.is_empty();
        for whole in filters {
            if !whole.starts_with("$share/") {
                self.departed.filters.push((key, whole));
            } else if let Ok(Filter::Shared { filter, .. }) = Filter::parse(&whole) {
                self.shared.subscriptions.leave(&whole, filter, key);
                self.counters().shared_subscriptions.subtract(1);
            }
        }
        if self.departed.turn != now {
            (self.departed.turn, self.departed.taken) = (now, 0);
        }
        let rest = PORTION.saturating_sub(self.departed.taken);
        self.take_out(rest);
        if !waited && !self.departed.filters.is_empty() {
            self.wheel.insert(now, Timer::Departed);
        }
    }

    /// Another portion of what is left.
    pub(super) fn go_on_departing(&mut self, now: Time) {
        (self.departed.turn, self.departed.taken) = (now, 0);
        self.take_out(PORTION);
        if !self.departed.filters.is_empty() {
            self.wheel.insert(now, Timer::Departed);
        }
    }

    fn take_out(&mut self, most: usize) {
        let departed = &mut self.departed;
        let left = departed.filters.len().saturating_sub(most);
        departed.taken += departed.filters.len() - left;
        for (key, filter) in departed.filters.drain(left..) {
            self.shared.subscriptions.remove(&filter, key);
        }
        if departed.filters.is_empty() {
            departed.filters = Vec::new();
        }
    }
}
