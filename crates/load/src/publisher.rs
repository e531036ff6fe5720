//! A publisher's side: what it may send, and the handshakes of QoS 1 and 2.

use noctule_packets::{PacketType, QoS};

use crate::outgoing::Outgoing;
use crate::plan::Plan;
use crate::stamp::Stamp;
use crate::template::Template;

/// Bytes gathered before they are written: large enough to make writes cheap, small
/// enough that publishers take turns.
const BURST_BYTES: usize = 32 * 1024;
const NOTHING: u8 = 0;

/// What one publisher knows.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) number: u32,
    pub(crate) sent: u32,
    pub(crate) quota: u32,
    pub(crate) in_flight: u32,
    /// The scenario's window or the broker's receive maximum, whichever is less.
    pub(crate) window: u32,
    /// It waits in the worker's list for its turn.
    pub(crate) is_queued: bool,
    /// It is counted in `Tally::busy_publishers`.
    pub(crate) is_busy: bool,
    next_identifier: u16,
    /// For each packet identifier the type of the packet awaited, or `NOTHING`.
    awaited: Vec<u8>,
    template: Template,
}

/// How far a publisher may go in one turn.
pub(crate) struct Allowance {
    pub(crate) now: u64,
    /// When the first message was due.
    pub(crate) began: u64,
    /// Messages due by now over all publishers; None in a closed loop.
    pub(crate) due: Option<u64>,
    /// Deliveries that may be added to those under way; None: no limit.
    pub(crate) deliveries: Option<u64>,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// The burst is full: another turn, please.
    More,
    /// Nothing more until something happens.
    Rest,
    /// Too many deliveries are under way.
    Capped,
}

/// What an acknowledgement was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// PUBREC: PUBREL has to go out.
    Release,
    Done,
    Unexpected,
}

impl Publisher {
    pub(crate) fn new(plan: &Plan, number: u32) -> Publisher {
        let identifiers = if plan.qos == QoS::AtMostOnce {
            0
        } else {
            1 << 16
        };
        Publisher {
            number,
            sent: 0,
            quota: plan.quota(number),
            in_flight: 0,
            window: u32::from(plan.scenario.window),
            is_queued: false,
            is_busy: false,
            next_identifier: 0,
            awaited: vec![NOTHING; identifiers],
            template: Template::new(plan, number),
        }
    }

    /// Whether all is sent and acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.sent >= self.quota && self.in_flight == 0
    }

    /// Whether quota and window let it send.
    pub(crate) fn has_room(&self) -> bool {
        self.sent < self.quota && self.in_flight < self.window
    }

    /// Appends messages to `out` for as long as they may go; the deliveries they make.
    pub(crate) fn send(
        &mut self,
        plan: &Plan,
        allowance: &Allowance,
        out: &mut Outgoing,
    ) -> (Turn, u64) {
        let mut deliveries = 0;
        let turn = loop {
            if out.len() >= BURST_BYTES {
                break Turn::More;
            }
            if !self.may_send(plan, allowance) {
                break Turn::Rest;
            }
            let made = u64::from(plan.fan_out(plan.topic(self.number, self.sent)));
            if allowance
                .deliveries
                .is_some_and(|most| deliveries + made > most)
            {
                break Turn::Capped;
            }
            deliveries += made;
            self.send_one(plan, allowance, out);
        };
        plan.set_sent(self.number, self.sent);
        (turn, deliveries)
    }

    fn may_send(&self, plan: &Plan, allowance: &Allowance) -> bool {
        if !self.has_room() {
            return false;
        }
        let publishers = u64::from(plan.scenario.publishers);
        let nth = u64::from(self.sent) * publishers + u64::from(self.number);
        allowance.due.is_none_or(|due| nth < due)
    }

    fn send_one(&mut self, plan: &Plan, allowance: &Allowance, out: &mut Outgoing) {
        let due = match allowance.due {
            Some(_) => allowance.began + plan.due(self.number, self.sent),
            None => allowance.now,
        };
        let stamp = Stamp {
            due,
            publisher: self.number,
            sequence: self.sent,
        };
        let identifier = self.take_identifier(plan.qos);
        self.template.put(plan, identifier, stamp, out.buffer());
        self.sent += 1;
    }

    /// The next identifier that is not in use; 0 at QoS 0. The window is smaller than
    /// their number, so there always is one.
    fn take_identifier(&mut self, qos: QoS) -> u16 {
        let awaited = match qos {
            QoS::AtMostOnce => return 0,
            QoS::AtLeastOnce => PacketType::Puback,
            QoS::ExactlyOnce => PacketType::Pubrec,
        };
        loop {
            self.next_identifier = self.next_identifier.wrapping_add(1).max(1);
            let slot = &mut self.awaited[usize::from(self.next_identifier)];
            if *slot == NOTHING {
                *slot = awaited as u8;
                self.in_flight += 1;
                return self.next_identifier;
            }
        }
    }

    /// Takes PUBACK, PUBREC or PUBCOMP; `refused`: it carries an error, which ends the
    /// handshake.
    pub(crate) fn acknowledge(&mut self, kind: PacketType, identifier: u16, refused: bool) -> Step {
        let Some(slot) = self.awaited.get_mut(usize::from(identifier)) else {
            return Step::Unexpected;
        };
        if *slot != kind as u8 {
            return Step::Unexpected;
        }
        if kind == PacketType::Pubrec && !refused {
            *slot = PacketType::Pubcomp as u8;
            return Step::Release;
        }
        *slot = NOTHING;
        self.in_flight -= 1;
        Step::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const CLOSED_LOOP: Allowance = Allowance {
        now: 0,
        began: 0,
        due: None,
        deliveries: None,
    };

    fn publisher(scenario: Scenario) -> (Plan, Publisher) {
        let plan = Plan::new(scenario, 1);
        let publisher = Publisher::new(&plan, 0);
        (plan, publisher)
    }

    #[test]
    fn the_window_is_kept_and_moves_with_acknowledgements() {
        let (plan, mut publisher) = publisher(Scenario {
            qos: 1,
            window: 3,
            ..Scenario::default()
        });
        let mut out = Outgoing::default();
        assert_eq!(
            publisher.send(&plan, &CLOSED_LOOP, &mut out),
            (Turn::Rest, 3)
        );
        assert_eq!(
            publisher.acknowledge(PacketType::Puback, 2, false),
            Step::Done
        );
        assert_eq!(
            publisher.send(&plan, &CLOSED_LOOP, &mut out),
            (Turn::Rest, 1)
        );
        assert_eq!(publisher.in_flight, 3);
    }

    #[test]
    fn acknowledgements_nobody_waits_for_are_found() {
        let (plan, mut publisher) = publisher(Scenario {
            qos: 2,
            ..Scenario::default()
        });
        publisher.send(&plan, &CLOSED_LOOP, &mut Outgoing::default());
        assert_eq!(
            publisher.acknowledge(PacketType::Pubcomp, 1, false),
            Step::Unexpected
        );
        assert_eq!(
            publisher.acknowledge(PacketType::Pubrec, 1, false),
            Step::Release
        );
        assert_eq!(
            publisher.acknowledge(PacketType::Pubrec, 1, false),
            Step::Unexpected
        );
        assert_eq!(
            publisher.acknowledge(PacketType::Pubcomp, 1, false),
            Step::Done
        );
        assert_eq!(
            publisher.acknowledge(PacketType::Pubcomp, 0, false),
            Step::Unexpected
        );
    }

    #[test]
    fn a_cap_on_deliveries_counts_the_fan_out() {
        let (plan, mut publisher) = publisher(Scenario {
            subscribers: 10,
            ..Scenario::default()
        });
        let allowance = Allowance {
            deliveries: Some(35),
            ..CLOSED_LOOP
        };
        let mut out = Outgoing::default();
        assert_eq!(
            publisher.send(&plan, &allowance, &mut out),
            (Turn::Capped, 30)
        );
    }

    #[test]
    fn an_open_loop_sends_what_is_due_and_stamps_when_it_was() {
        let (plan, mut publisher) = publisher(Scenario {
            rate: 1_000.0,
            ..Scenario::default()
        });
        let allowance = Allowance {
            now: 5_000_000,
            began: 1_000,
            due: Some(plan.due_count(5_000_000)),
            deliveries: None,
        };
        let mut out = Outgoing::default();
        assert_eq!(publisher.send(&plan, &allowance, &mut out), (Turn::Rest, 6));
        let start = out.len() - 64;
        let last = &out.buffer()[start..];
        assert_eq!(Stamp::from_payload(last).unwrap().due, 1_000 + 5_000_000);
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
        let (plan, mut publisher) = publisher(Scenario {
            qos: 1,
            window: 2,
            ..Scenario::default()
        });
        let mut out = Outgoing::default();
        publisher.send(&plan, &CLOSED_LOOP, &mut out);
        for identifier in 2..=65_535 {
            assert_eq!(
                publisher.acknowledge(PacketType::Puback, identifier, false),
                Step::Done
            );
            out.clear();
            publisher.send(&plan, &CLOSED_LOOP, &mut out);
        }
        // 1 has never been acknowledged, so 2 follows 65,535.
        assert_eq!(
            publisher.acknowledge(PacketType::Puback, 2, false),
            Step::Done
        );
    }
}
