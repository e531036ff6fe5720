//! Wills: kept with the session, published when the connection ends badly.

use noctule_packets::{Connect, PropertyBuffer, PropertyId};

use super::Worker;
use crate::key::SessionKey;
use crate::message::{Head, Message, Parts, travelling_properties};
use crate::session::Will;
use crate::time::Time;

impl Will {
    /// The will of a CONNECT, if it has one.
    pub(crate) fn of(connect: &Connect<'_>) -> Option<Box<Will>> {
        let will = connect.will?;
        let mut properties = PropertyBuffer::default();
        let expiry_seconds = travelling_properties(will.properties, &mut properties);
        let delay = will.properties.four_byte(PropertyId::WillDelayInterval);
        Some(Box::new(Will {
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: properties.as_properties().as_bytes().into(),
            qos: will.qos,
            retain: will.retain,
            delay_seconds: delay.unwrap_or(0),
            expiry_seconds,
        }))
    }
}

impl Worker {
    /// Publishes a will, once the work in hand is done. Its message expiry
    /// interval counts from now (MQTT 5.0 §3.1.3.2.4).
    pub(super) fn publish_will(&mut self, publisher: SessionKey, will: &Will, now: Time) {
        if !self.may_publish(publisher, &will.topic, will.qos, will.retain) {
            self.tell_denied_bytes(publisher, will.topic.as_bytes(), will.qos, will.retain);
            return;
        }
        if self.hold_will(publisher, will, now) {
            return;
        }
        let deadline = will
            .expiry_seconds
            .map_or(Time::NEVER, |seconds| now.after_seconds(u64::from(seconds)));
        let head = Head {
            publisher,
            arrived: now,
            deadline,
            qos: will.qos,
            retain: will.retain,
        };
        let parts = Parts {
            topic: will.topic.as_bytes(),
            properties: &will.properties,
            payload: &will.payload,
        };
        self.unpublished.push_back(Message::new(head, parts));
    }
}
