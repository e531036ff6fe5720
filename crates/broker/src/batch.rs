//! What one worker hands to another, once a turn.

use std::sync::Arc;

use noctule_packets::{QoS, variable_len};
use parking_lot::Mutex;

use crate::key::SessionKey;
use crate::message::{Head, Message, Parts, Sent};
use crate::outgoing::Outbound;
use crate::routes::{GroupRoute, Route, Target};

/// QoS 0 messages up to this size, which nobody is likely to keep, cross as bytes among
/// those of their batch; larger ones as a reference.
pub(crate) const COPIED_BYTES: usize = 1 << 10;

/// Things for another worker, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) items: Vec<Item>,
    /// What each [`Copied`] stands for, one behind the other.
    pub(crate) bytes: Vec<u8>,
    /// Where those of [`Item::Copied`] go.
    pub(crate) routes: Vec<Arc<Route>>,
}

impl Batch {
    /// Adds a message of QoS 0 and at most [`COPIED_BYTES`] for the targets on `worker`.
    #[inline]
    pub(crate) fn copy(
        &mut self,
        head: Head,
        parts: Parts<'_>,
        sent: Option<&Sent<'_>>,
        worker: usize,
        route: &Arc<Route>,
    ) {
        let copied = Copied {
            head,
            topic: parts.topic.len() as u16,
            properties: parts.properties.len() as u16,
            payload: parts.payload.len() as u16,
            body_at: sent.map_or(0, |sent| sent.body_at as u8),
            has_properties: sent.is_some_and(|sent| sent.has_properties),
        };
        if let Some(target) = route.only_target_of(worker) {
            // For speed: a reference to the route is counted by both workers.
            self.items.push(Item::CopiedToOne(copied, target));
        } else {
            if !matches!(self.routes.last(), Some(last) if Arc::ptr_eq(last, route)) {
                self.routes.push(route.clone());
            }
            let route = self.routes.len() as u32 - 1;
            self.items.push(Item::Copied(copied, route));
        }
        match sent {
            Some(sent) => self.bytes.extend_from_slice(sent.packet),
            None => parts.append_to(&mut self.bytes),
        }
    }
}

/// Batches that have been delivered, to be filled again: memory of this size comes from the
/// system anew each time it is asked for, page by page.
#[derive(Debug, Default)]
pub(crate) struct Spent(Mutex<Vec<Batch>>);

/// Of each [`Batch`] kept, about.
const SPENT_BYTES: usize = 1 << 20;

impl Spent {
    /// An empty batch.
    pub fn take(&self) -> Batch {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Keeps a batch whose items have been taken out, as one of `most`.
    pub fn keep(&self, mut batch: Batch, most: usize) {
        batch.bytes.clear();
        batch.routes.clear();
        let capacity = batch.bytes.capacity() + batch.items.capacity() * size_of::<Item>();
        if capacity > SPENT_BYTES {
            return;
        }
        let mut kept = self.0.lock();
        if kept.len() < most {
            kept.push(batch);
        }
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
    /// As in [`Sent`]; 0: only the parts are there, one behind the other.
    body_at: u8,
    has_properties: bool,
}

impl Copied {
    /// Takes its bytes off the front of a batch's, and them apart.
    #[inline]
    pub fn take<'a>(&self, bytes: &mut &'a [u8]) -> (Parts<'a>, Option<Sent<'a>>) {
        let (topic, properties) = (usize::from(self.topic), usize::from(self.properties));
        let (mut topic_at, mut between) = (0, 0);
        if self.body_at != 0 {
            topic_at = usize::from(self.body_at) + 2;
            if self.has_properties {
                between = variable_len(u32::from(self.properties));
            }
        }
        let properties_at = topic_at + topic + between;
        let payload_at = properties_at + properties;
        let (packet, rest) = bytes.split_at(payload_at + usize::from(self.payload));
        *bytes = rest;
        let parts = Parts {
            topic: &packet[topic_at..][..topic],
            properties: &packet[properties_at..payload_at],
            payload: &packet[payload_at..],
        };
        let sent = (self.body_at != 0).then_some(Sent {
            packet,
            body_at: usize::from(self.body_at),
            qos: QoS::AtMostOnce,
            has_properties: self.has_properties,
        });
        (parts, sent)
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    /// A QoS 0 message for the targets of its route that live there; its bytes are the
    /// next of the batch's, the route is named by its place among the batch's.
    Copied(Copied, u32),
    /// The same, where there is one target and nothing more to say of it.
    CopiedToOne(Copied, Target),
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
