//! Moments at which a connection's patience ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use noctule_broker::{ConnectionId, Time};

/// What is due. Entries are not taken back when they have become pointless: whoever
/// handles one looks whether it still applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Output of this connection may have been stuck for too long.
    Write(ConnectionId),
    /// The time to flush before closing is over.
    Close(ConnectionId),
    /// The peer has had its time to close: a key of the farewells.
    Farewell { key: usize, serial: u64 },
}

/// Deadlines of one worker, the nearest first. Only connections that wait for
/// something have one, so the heap is small however many are idle.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<Entry>>,
    serial: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Time,
    /// Keeps the order of equal moments.
    serial: u64,
    deadline: Deadline,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Deadlines {
    pub fn push(&mut self, at: Time, deadline: Deadline) {
        self.serial += 1;
        self.heap.push(Reverse(Entry {
            at,
            serial: self.serial,
            deadline,
        }));
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    /// Takes one that is due at `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<Deadline> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.0.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_the_order_of_time_and_not_before() {
        let mut deadlines = Deadlines::default();
        let farewell = |key| Deadline::Farewell { key, serial: 0 };
        deadlines.push(Time(30), farewell(3));
        deadlines.push(Time(10), farewell(1));
        deadlines.push(Time(10), farewell(2));
        assert_eq!(deadlines.next(), Some(Time(10)));
        assert_eq!(deadlines.pop_due(Time(9)), None);
        assert_eq!(deadlines.pop_due(Time(10)), Some(farewell(1)));
        assert_eq!(deadlines.pop_due(Time(10)), Some(farewell(2)));
        assert_eq!(deadlines.pop_due(Time(10)), None);
        assert_eq!(deadlines.pop_due(Time(31)), Some(farewell(3)));
        assert_eq!(deadlines.next(), None);
    }
}
