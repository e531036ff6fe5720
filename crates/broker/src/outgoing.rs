//! QoS 1 and 2 messages on their way to one client: waiting, and in flight.

use std::collections::VecDeque;

use noctule_packets::QoS;
use smallvec::SmallVec;

use crate::message::Message;
use crate::shared::GroupRef;

/// A message as one session is to get it.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    /// Its place among the records of a durable session; 0: it has none.
    pub sequence: u64,
    pub message: Message,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_identifiers: SmallVec<[u32; 2]>,
    /// The shared group that chose this session, if one did.
    pub group: Option<GroupRef>,
}

/// An [`Outbound::subscription_identifiers`]; mostly there are none, and nothing to copy.
#[inline]
pub(crate) fn identifiers(of: &[u32]) -> SmallVec<[u32; 2]> {
    if of.is_empty() {
        return SmallVec::new();
    }
    SmallVec::from_slice(of)
}

/// What an in-flight message waits for (MQTT 5.0 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pub awaiting: Awaiting,
    /// As in [`Outbound::sequence`].
    pub sequence: u64,
    /// To be sent again before anything new, on the connection that resumed the session.
    pub resend: bool,
    /// Gone once PUBREC has come: the message belongs to the client then.
    pub outbound: Option<Outbound>,
}

/// What is to be known of a message in flight that is done with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub awaiting: Awaiting,
    pub sequence: u64,
    /// Bytes it kept.
    pub bytes: usize,
    resend: bool,
}

impl Settled {
    #[inline]
    fn of(in_flight: &InFlight) -> Settled {
        let outbound = in_flight.outbound.as_ref();
        Settled {
            awaiting: in_flight.awaiting,
            sequence: in_flight.sequence,
            bytes: outbound.map_or(0, |outbound| outbound.message.size()),
            resend: in_flight.resend,
        }
    }
}

/// How many settled places may lie behind a message that is never acknowledged
/// before that one is put aside.
const LONGEST_RING: usize = 16_384;

/// The messages in flight to one session, by packet identifier.
///
/// Identifiers are given out in turn, so they are places in a ring: look-up is
/// arithmetic. A message that stays unacknowledged while thousands after it are
/// settled is put aside, so that the ring stays short.
#[derive(Debug)]
pub(crate) struct Outgoing {
    ring: VecDeque<Option<InFlight>>,
    /// Packet identifier of the ring's first place, from 1.
    first: u16,
    aside: Vec<(u16, InFlight)>,
    open: u16,
    /// How many wait to be sent again.
    resends: u16,
}

impl Default for Outgoing {
    fn default() -> Self {
        Outgoing {
            ring: VecDeque::new(),
            first: 1,
            aside: Vec::new(),
            open: 0,
            resends: 0,
        }
    }
}

/// The identifier `steps` after `identifier`: 65,535 is followed by 1.
fn step(identifier: u16, steps: usize) -> u16 {
    ((usize::from(identifier) - 1 + steps) % 65_535) as u16 + 1
}

impl Outgoing {
    /// Messages sent and not settled.
    #[inline]
    pub fn open(&self) -> u16 {
        self.open
    }

    pub fn resends(&self) -> u16 {
        self.resends
    }

    /// The packet identifier that the next message will have. Call with fewer than
    /// 65,535 open.
    #[inline]
    pub fn next_identifier(&mut self) -> u16 {
        if self.ring.len() >= LONGEST_RING {
            self.put_first_aside();
        }
        let mut identifier = step(self.first, self.ring.len());
        while self.aside.iter().any(|(taken, _)| *taken == identifier) {
            match self.ring.is_empty() {
                true => self.first = step(self.first, 1),
                false => self.ring.push_back(None),
            }
            identifier = step(self.first, self.ring.len());
        }
        identifier
    }

    /// Passes over the next packet identifier, for a message that is not sent after all: who
    /// watches a session sees by the gap that there was one.
    pub fn skip(&mut self) {
        if self.open == u16::MAX {
            return;
        }
        self.next_identifier();
        match self.ring.is_empty() {
            true => self.first = step(self.first, 1),
            false => self.ring.push_back(None),
        }
    }

    /// Puts a message in flight under the identifier that [`Outgoing::next_identifier`]
    /// gave last.
    #[inline]
    pub fn push(&mut self, outbound: Outbound) {
        let awaiting = match outbound.qos {
            QoS::ExactlyOnce => Awaiting::Pubrec,
            _ => Awaiting::Puback,
        };
        let sequence = outbound.sequence;
        let outbound = Some(outbound);
        self.ring.push_back(Some(InFlight {
            awaiting,
            sequence,
            resend: false,
            outbound,
        }));
        self.open += 1;
    }

    fn put_first_aside(&mut self) {
        self.drop_settled();
        if let Some(Some(in_flight)) = self.ring.pop_front() {
            self.aside.push((self.first, in_flight));
            self.first = step(self.first, 1);
        }
        self.drop_settled();
    }

    fn drop_settled(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first = step(self.first, 1);
        }
    }

    #[inline]
    fn place(&self, identifier: u16) -> usize {
        (usize::from(identifier) + 65_535 - usize::from(self.first)) % 65_535
    }

    #[inline]
    pub fn get_mut(&mut self, identifier: u16) -> Option<&mut InFlight> {
        if identifier == 0 {
            return None;
        }
        let place = self.place(identifier);
        if let Some(Some(_)) = self.ring.get(place) {
            return self.ring[place].as_mut();
        }
        self.aside
            .iter_mut()
            .find(|(each, _)| *each == identifier)
            .map(|(_, found)| found)
    }

    /// A message is done with; its identifier is free again.
    #[inline]
    pub fn settle(&mut self, identifier: u16) -> Option<Settled> {
        if identifier == 0 {
            return None;
        }
        let place = self.place(identifier);
        let settled = match self.ring.get_mut(place) {
            Some(in_ring @ Some(_)) => {
                let settled = in_ring.as_ref().map(Settled::of)?;
                *in_ring = None;
                if place == 0 {
                    self.drop_settled();
                }
                settled
            }
            _ => {
                let index = self
                    .aside
                    .iter()
                    .position(|(each, _)| *each == identifier)?;
                Settled::of(&self.aside.remove(index).1)
            }
        };
        self.open -= 1;
        self.resends -= u16::from(settled.resend);
        Some(settled)
    }

    /// Puts back what was in flight when the broker ended, under its identifier, to
    /// be sent again; identifiers given out go on behind the highest.
    pub fn restore(
        &mut self,
        identifier: u16,
        awaiting: Awaiting,
        sequence: u64,
        outbound: Option<Outbound>,
    ) {
        if identifier == 0 || self.get_mut(identifier).is_some() {
            return;
        }
        self.aside.push((
            identifier,
            InFlight {
                awaiting,
                sequence,
                resend: true,
                outbound,
            },
        ));
        self.open += 1;
        self.resends += 1;
        if self.ring.is_empty() {
            self.first = step(identifier, 1);
        }
    }

    /// Marks everything in flight to be sent again, on a new connection.
    pub fn mark_resends(&mut self) {
        let mut resends = 0;
        for in_flight in self.entries_mut().map(|(_, in_flight)| in_flight) {
            in_flight.resend = true;
            resends += 1;
        }
        self.resends = resends;
    }

    /// The next message to be sent again, in the order of the first sending;
    /// its mark is taken away.
    pub fn next_resend(&mut self) -> Option<(u16, &mut InFlight)> {
        if self.resends == 0 {
            return None;
        }
        self.resends -= 1;
        let (identifier, in_flight) = self.entries_mut().find(|(_, each)| each.resend)?;
        in_flight.resend = false;
        Some((identifier, in_flight))
    }

    fn entries_mut(&mut self) -> impl Iterator<Item = (u16, &mut InFlight)> {
        let first = self.first;
        let aside = self
            .aside
            .iter_mut()
            .map(|(identifier, each)| (*identifier, each));
        let ring = self.ring.iter_mut().enumerate();
        aside.chain(ring.filter_map(move |(place, each)| {
            each.as_mut()
                .map(|in_flight| (step(first, place), in_flight))
        }))
    }

    /// Bytes of the messages that may have to be sent again.
    pub fn stored_bytes(&self) -> u64 {
        let aside = self.aside.iter().map(|(_, each)| each);
        let all = aside.chain(self.ring.iter().flatten());
        let bytes = |each: &InFlight| each.outbound.as_ref().map_or(0, |out| out.message.size());
        all.map(|each| bytes(each) as u64).sum()
    }

    /// Everything in flight, oldest first; nothing is left.
    pub fn take_all(&mut self) -> Vec<InFlight> {
        let taken = std::mem::take(self);
        let aside = taken.aside.into_iter().map(|(_, each)| each);
        aside.chain(taken.ring.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SessionKey;
    use crate::message::{Head, Parts};
    use crate::time::Time;

    fn outbound(qos: QoS) -> Outbound {
        let head = Head {
            publisher: SessionKey::BROKER,
            arrived: Time(0),
            deadline: Time::NEVER,
            qos,
            retain: false,
        };
        let parts = Parts {
            topic: b"t",
            properties: b"",
            payload: b"",
        };
        Outbound {
            sequence: 0,
            message: Message::new(head, parts),
            qos,
            retain: false,
            subscription_identifiers: SmallVec::new(),
            group: None,
        }
    }

    fn push(outgoing: &mut Outgoing, qos: QoS) -> u16 {
        let identifier = outgoing.next_identifier();
        outgoing.push(outbound(qos));
        identifier
    }

    #[test]
    fn identifiers_go_round_without_zero() {
        let mut outgoing = Outgoing::default();
        for round in 0..200_000_u32 {
            let identifier = push(&mut outgoing, QoS::AtLeastOnce);
            assert_eq!(u32::from(identifier), round % 65_535 + 1);
            assert!(outgoing.settle(identifier).is_some());
            assert!(outgoing.settle(identifier).is_none());
        }
        assert_eq!(outgoing.open(), 0);
    }

    #[test]
    fn a_message_never_acknowledged_keeps_its_identifier_through_many_rounds() {
        let mut outgoing = Outgoing::default();
        let stuck = push(&mut outgoing, QoS::ExactlyOnce);
        for _ in 0..200_000 {
            let identifier = push(&mut outgoing, QoS::AtLeastOnce);
            assert_ne!(identifier, stuck);
            assert!(outgoing.settle(identifier).is_some());
        }
        assert_eq!(outgoing.open(), 1);
        assert!(outgoing.ring.len() <= LONGEST_RING + 1);
        assert_eq!(
            outgoing.get_mut(stuck).map(|each| each.awaiting),
            Some(Awaiting::Pubrec)
        );
    }

    #[test]
    fn identifiers_are_passed_over_for_messages_not_sent() {
        let mut outgoing = Outgoing::default();
        outgoing.skip();
        assert_eq!(push(&mut outgoing, QoS::AtLeastOnce), 2);
        outgoing.skip();
        assert_eq!(push(&mut outgoing, QoS::AtLeastOnce), 4);
        for _ in 0..200_000 {
            outgoing.skip();
            assert!(outgoing.ring.len() <= LONGEST_RING + 1);
        }
        assert!(outgoing.settle(2).is_some());
        assert!(outgoing.settle(3).is_none());
        assert!(outgoing.settle(4).is_some());
        assert_eq!(outgoing.open(), 0);
    }

    #[test]
    fn resends_come_in_the_order_of_the_first_sending() {
        let mut outgoing = Outgoing::default();
        let identifiers: Vec<u16> = (0..5)
            .map(|_| push(&mut outgoing, QoS::AtLeastOnce))
            .collect();
        outgoing.settle(identifiers[2]);
        outgoing.mark_resends();
        let mut again = Vec::new();
        while let Some((identifier, _)) = outgoing.next_resend() {
            again.push(identifier);
        }
        assert_eq!(again, [1, 2, 4, 5]);
        assert_eq!(outgoing.resends(), 0);
    }
}
