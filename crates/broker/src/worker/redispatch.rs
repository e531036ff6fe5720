//! Messages of a shared group whose member is gone go to a member that is left.

use super::Worker;
use super::deliver::Publication;
use crate::outgoing::{Awaiting, Outbound};
use crate::routes::GroupRoute;
use crate::session::Session;
use crate::time::Time;

impl Worker {
    /// Puts aside what an ended session leaves to its groups: everything queued,
    /// and what it was sent at QoS 1 and did not acknowledge. A QoS 2 delivery that
    /// has begun goes to nobody else [MQTT-4.8.2-5].
    pub(super) fn leave_to_groups(&mut self, session: &mut Session) {
        let in_flight = session.outgoing.take_all().into_iter();
        let unacknowledged = in_flight
            .filter(|each| each.awaiting == Awaiting::Puback)
            .filter_map(|each| each.outbound);
        let queued = std::mem::take(&mut session.queue);
        let tail = session.tail.take().unwrap_or_default();
        let left = unacknowledged
            .chain(queued)
            .chain(tail.into_here())
            .filter(|outbound| outbound.group.is_some());
        self.orphans.extend(left);
    }

    /// Gives an orphaned message to a member of its group, if there is one.
    pub(super) fn redispatch(&mut self, outbound: Outbound, now: Time) {
        let Some(group) = outbound.group else { return };
        let members = group.members();
        if members.is_empty() || outbound.message.expired(now) {
            self.counters().publish_dropped.add(1);
            return;
        }
        let message = outbound.message;
        let known = message.clone();
        let mut publication = Publication {
            head: *message.head(),
            parts: known.parts(),
            sent: None,
            message: Some(message),
            exchange: 0,
            sequence: outbound.sequence,
        };
        let durability = self.topic_durability(publication.parts.topic);
        let route = GroupRoute { group, members };
        self.deliver_to_group(&mut publication, &route, durability, now);
    }
}
