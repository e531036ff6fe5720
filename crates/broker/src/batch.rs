//! What one worker hands to another, once a turn.

use std::sync::Arc;

use noctule_packets::QoS;

use crate::key::SessionKey;
use crate::message::{Head, Message, Parts};
use crate::outgoing::Outbound;
use crate::routes::{GroupRoute, Route};

/// QoS 0 messages up to this size, which nobody is likely to keep, cross as bytes among
/// those of their batch; larger ones as a reference.
pub(crate) const COPIED_BYTES: usize = 1 << 10;

/// Things for another worker, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) items: Vec<Item>,
    /// What each [`Item::Copied`] stands for, one behind the other.
    pub(crate) bytes: Vec<u8>,
    /// Where those go.
    pub(crate) routes: Vec<Arc<Route>>,
    /// Items and bytes of the batch before: this one will be of its kind.
    before: (usize, usize),
}

impl Batch {
    /// Hands out what is there.
    pub(crate) fn take(&mut self) -> Batch {
        let next = Batch {
            before: (self.items.len(), self.bytes.len()),
            ..Batch::default()
        };
        std::mem::replace(self, next)
    }

    /// Adds a message of at most [`COPIED_BYTES`].
    #[inline]
    pub(crate) fn copy(&mut self, copied: Copied, parts: Parts<'_>, route: &Arc<Route>) {
        if self.bytes.is_empty() {
            self.items.reserve(self.before.0);
            self.bytes.reserve(self.before.1);
        }
        if !matches!(self.routes.last(), Some(last) if Arc::ptr_eq(last, route)) {
            self.routes.push(route.clone());
        }
        let route = self.routes.len() as u32 - 1;
        self.items.push(Item::Copied(copied, route));
        parts.append_to(&mut self.bytes);
    }
}

/// A QoS 0 message whose bytes are in its batch.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Copied {
    pub head: Head,
    topic: u16,
    properties: u16,
    payload: u16,
}

impl Copied {
    #[inline]
    pub fn new(head: Head, parts: Parts<'_>) -> Copied {
        Copied {
            head,
            topic: parts.topic.len() as u16,
            properties: parts.properties.len() as u16,
            payload: parts.payload.len() as u16,
        }
    }

    /// Takes its body off the front of a batch's bytes, and the body apart.
    #[inline]
    pub fn take<'a>(&self, bytes: &mut &'a [u8]) -> (&'a [u8], Parts<'a>) {
        let topic_end = 2 + usize::from(self.topic);
        let payload_start = topic_end + usize::from(self.properties);
        let (body, rest) = bytes.split_at(payload_start + usize::from(self.payload));
        *bytes = rest;
        let parts = Parts {
            topic: &body[2..topic_end],
            properties: &body[topic_end..payload_start],
            payload: &body[payload_start..],
        };
        (body, parts)
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    /// A QoS 0 message for the targets of its route that live there; its bytes are the
    /// next of the batch's, the route is named by its place among the batch's.
    Copied(Copied, u32),
    /// The same, as a reference.
    Routed {
        message: Message,
        sequence: u64,
        route: Arc<Route>,
    },
    /// A message for one member of a shared group.
    Chosen {
        outbound: Box<Outbound>,
        granted: QoS,
        key: SessionKey,
        group: GroupRoute,
    },
    /// Leave this publisher unread: a subscriber of the worker named is slow.
    Hold { publisher: SessionKey },
    /// It may be read again.
    Release { publisher: SessionKey },
}
