//! What one worker hands to another, once a turn.

use std::sync::Arc;

use noctule_packets::QoS;

use crate::key::SessionKey;
use crate::message::Message;
use crate::outgoing::Outbound;
use crate::routes::{GroupRoute, Route};

/// Things for another worker, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) items: Vec<Item>,
}

#[derive(Debug)]
pub(crate) enum Item {
    /// A message for the targets of its route that live there.
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
