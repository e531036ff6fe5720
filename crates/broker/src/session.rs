//! What a broker keeps of a client: the session state of MQTT 5.0 §4.1.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::{HashMap, HashSet};
use noctule_packets::QoS;
use noctule_topics::Bookmark;

use crate::access::Permissions;
use crate::drops::Drops;
use crate::group::Status;
use crate::hooks::Access;
use crate::identifiers::Identifiers;
use crate::key::ConnectionId;
use crate::outgoing::{Outbound, Outgoing};
use crate::routes::Grant;
use crate::tail::{Tail, Waiting};
use crate::time::Time;

/// A session that never expires (MQTT 5.0 §3.1.2.11.2).
pub(crate) const NEVER_EXPIRES: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Session {
    pub client: Arc<str>,
    /// Names its records on disk; 0: it is kept in memory alone.
    pub durable: u64,
    /// Who made it: nobody else may take it over.
    pub user: Option<Box<str>>,
    /// What the client may do; `None`: everything.
    pub permissions: Option<Arc<Permissions>>,
    pub connection: Option<ConnectionId>,
    /// Seconds the session outlives its connection.
    pub expiry_seconds: u32,
    /// When the connection ended; tells whether an expiry timer still matters.
    pub offline_since: Time,
    /// How long it had been without one when this process began.
    pub away_milliseconds: u64,
    /// Filters as the client wrote them, `$share/…` included.
    pub subscriptions: HashSet<Box<str>>,
    pub outgoing: Outgoing,
    pub queue: VecDeque<Outbound>,
    /// What comes behind the queue, where memory had no room for more.
    pub tail: Option<Box<Tail>>,
    /// Of queue and tail.
    pub queued_bytes: u64,
    /// Copies of the client's own QoS 2 messages, each until the PUBREL for its
    /// packet identifier.
    #[expect(
        clippy::box_collection,
        reason = "sessions are many, and most have none"
    )]
    pub own: Option<Box<VecDeque<(u16, Outbound)>>>,
    /// QoS 2 messages received and not yet released.
    pub received: Identifiers,
    pub will: Option<Box<Will>>,
    /// Retained messages still to be sent for new subscriptions.
    #[expect(
        clippy::box_collection,
        reason = "sessions are many, and most have none"
    )]
    pub retained: Option<Box<VecDeque<RetainedWalk>>>,
    /// For the shared groups this session is a member of.
    pub status: Option<Arc<Status>>,
    /// Messages that did not reach it.
    pub dropped: Option<Box<Drops>>,
    /// What the hook that authorizes has said.
    pub verdicts: Option<Box<HashMap<Access, bool>>>,
}

/// A will message and when it is to go out (MQTT 5.0 §3.1.2.5).
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    pub properties: Box<[u8]>,
    pub qos: QoS,
    pub retain: bool,
    pub delay_seconds: u32,
    pub expiry_seconds: Option<u32>,
}

/// How far the retained messages of one new subscription have been sent.
#[derive(Debug)]
pub(crate) struct RetainedWalk {
    pub filter: Box<str>,
    pub grant: Grant,
    /// The topic sent last.
    pub bookmark: Bookmark,
}

impl Session {
    pub fn new(client: Arc<str>, user: Option<Box<str>>) -> Session {
        Session {
            client,
            durable: 0,
            user,
            permissions: None,
            connection: None,
            expiry_seconds: 0,
            offline_since: Time::NEVER,
            away_milliseconds: 0,
            subscriptions: HashSet::new(),
            outgoing: Outgoing::default(),
            queue: VecDeque::new(),
            tail: None,
            queued_bytes: 0,
            own: None,
            received: Identifiers::default(),
            will: None,
            retained: None,
            status: None,
            dropped: None,
            verdicts: None,
        }
    }

    /// Messages this session keeps, waiting or in flight.
    pub fn stored(&self) -> u64 {
        self.waiting() as u64 + u64::from(self.outgoing.open())
    }

    /// Messages that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.tail.as_ref().map_or(0, |tail| tail.len())
    }

    /// Whether there are none.
    #[inline]
    pub fn nothing_waits(&self) -> bool {
        self.queue.is_empty() && self.tail.is_none()
    }

    pub fn enqueue(&mut self, outbound: Outbound) {
        self.queued_bytes += outbound.message.size() as u64;
        self.queue.push_back(outbound);
    }

    pub fn dequeue(&mut self) -> Option<Outbound> {
        let outbound = self.queue.pop_front()?;
        self.queued_bytes -= outbound.message.size() as u64;
        if self.queue.is_empty() {
            self.queue.shrink_to(64);
        }
        Some(outbound)
    }

    /// Takes the first message out of the tail.
    pub fn take_from_tail(&mut self) -> Option<Waiting> {
        let waiting = self.tail.as_mut()?.pop_front()?;
        self.queued_bytes -= waiting.size();
        self.forget_empty_tail();
        Some(waiting)
    }

    /// The first message of the tail, which is in memory, becomes the last of the queue.
    pub fn move_up(&mut self) {
        if let Some(Waiting::Here(outbound)) = self.take_from_tail() {
            self.enqueue(*outbound);
        }
    }

    pub fn forget_empty_tail(&mut self) {
        if self.tail.as_ref().is_some_and(|tail| tail.len() == 0) {
            self.tail = None;
        }
    }

    /// Tells other workers how busy this member of a group is.
    #[inline]
    pub fn publish_status(&self) {
        if let Some(status) = &self.status {
            status.connected.store(self.connection.is_some(), Relaxed);
            status.in_flight.store(self.stored() as u32, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_few_bytes() {
        // And its place among the others is found by shifts (fan-out of `make instructions`).
        assert!(size_of::<Session>() <= 312, "{}", size_of::<Session>());
    }
}
