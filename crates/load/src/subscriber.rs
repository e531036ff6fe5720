//! A subscriber's side: what it has received, and QoS 2 deliveries that are half done.

use noctule_packets::QoS;

use crate::plan::Plan;
use crate::receipts::Receipts;

/// What one subscriber knows.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) number: u32,
    pub(crate) receipts: Receipts,
    /// A bit for each packet identifier that waits for PUBREL; only at QoS 2.
    unreleased: Vec<u64>,
}

impl Subscriber {
    pub(crate) fn new(plan: &Plan, number: u32) -> Subscriber {
        let words = if plan.qos == QoS::ExactlyOnce {
            1_024
        } else {
            0
        };
        Subscriber {
            number,
            receipts: Receipts::new(plan.lanes(), plan.orders()),
            unreleased: vec![0; words],
        }
    }

    /// Notes that PUBREL is due; false where it was already.
    pub(crate) fn hold(&mut self, identifier: u16) -> bool {
        let (word, mask) = place(identifier);
        let Some(word) = self.unreleased.get_mut(word) else {
            return false;
        };
        let new = *word & mask == 0;
        *word |= mask;
        new
    }

    /// Takes a PUBREL; false where none was due.
    pub(crate) fn release(&mut self, identifier: u16) -> bool {
        let (word, mask) = place(identifier);
        let Some(word) = self.unreleased.get_mut(word) else {
            return false;
        };
        let held = *word & mask != 0;
        *word &= !mask;
        held
    }
}

fn place(identifier: u16) -> (usize, u64) {
    (usize::from(identifier / 64), 1 << (identifier % 64))
}
