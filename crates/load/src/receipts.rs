//! What one subscriber has received, to the message.

/// What a delivery was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    InOrder,
    /// For the first time, but after a later one of the same publisher and topic.
    Late,
    Duplicate,
}

/// A bit for every message, and the highest sequence of each order.
///
/// An order is what MQTT promises: the messages of one publisher to one topic
/// [MQTT-4.6.0-6]. A lane is a publisher that may reach this subscriber (see `plan`); the
/// bits of all lanes are interleaved, so the set grows with the run and needs no count
/// beforehand.
#[derive(Debug)]
pub(crate) struct Receipts {
    lanes: u32,
    seen: Vec<u64>,
    /// Per order: the highest sequence seen, plus one.
    next: Vec<u32>,
    received: u64,
}

impl Receipts {
    /// `orders`: how many pairs of publisher and topic are told apart.
    pub(crate) fn new(lanes: u32, orders: usize) -> Receipts {
        Receipts {
            lanes,
            seen: Vec::new(),
            next: vec![0; orders],
            received: 0,
        }
    }

    /// Different messages received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Takes a delivery in; the caller has checked that such a message was published.
    /// `order` is None where none is promised.
    #[inline]
    pub(crate) fn take(&mut self, sequence: u32, lane: u32, order: Option<usize>) -> Verdict {
        let bit = u64::from(sequence) * u64::from(self.lanes) + u64::from(lane);
        let (word, mask) = ((bit / 64) as usize, 1 << (bit % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        if self.seen[word] & mask != 0 {
            return Verdict::Duplicate;
        }
        self.seen[word] |= mask;
        self.received += 1;
        let Some(next) = order.and_then(|order| self.next.get_mut(order)) else {
            return Verdict::InOrder;
        };
        if sequence < *next {
            return Verdict::Late;
        }
        *next = sequence + 1;
        Verdict::InOrder
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Duplicate, InOrder, Late};
    use super::*;

    #[test]
    fn each_publisher_has_its_own_order() {
        let mut receipts = Receipts::new(2, 2);
        assert_eq!(receipts.take(5, 0, Some(0)), InOrder);
        assert_eq!(receipts.take(0, 1, Some(1)), InOrder);
        assert_eq!(receipts.take(4, 0, Some(0)), Late);
        assert_eq!(receipts.take(1, 1, Some(1)), InOrder);
        assert_eq!(receipts.received(), 4);
    }

    #[test]
    fn a_second_delivery_is_a_duplicate_and_not_late() {
        let mut receipts = Receipts::new(1, 1);
        for sequence in 0..1_000 {
            assert_eq!(receipts.take(sequence, 0, Some(0)), InOrder);
        }
        for sequence in 0..1_000 {
            assert_eq!(receipts.take(sequence, 0, Some(0)), Duplicate);
        }
        assert_eq!(receipts.received(), 1_000);
    }

    #[test]
    fn a_gap_is_not_out_of_order_until_it_is_filled() {
        let mut receipts = Receipts::new(1, 1);
        assert_eq!(receipts.take(0, 0, Some(0)), InOrder);
        assert_eq!(receipts.take(2, 0, Some(0)), InOrder);
        assert_eq!(receipts.take(1, 0, Some(0)), Late);
        assert_eq!(receipts.take(3, 0, Some(0)), InOrder);
    }
}
