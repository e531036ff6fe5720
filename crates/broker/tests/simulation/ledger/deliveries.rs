//! What may reach a subscriber: checked as it arrives.

use noctule_broker::Time;
use noctule_packets::{PropertyId, Publish, QoS};

use super::{Ledger, Message};

/// One PUBLISH that a client took for a message of its own.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub client: usize,
    pub qos: QoS,
    pub dup: bool,
    /// For being retained when the client subscribed.
    pub retained: bool,
}

impl Ledger {
    /// A client got `publish` on `topic` (aliases resolved).
    pub fn deliver(&mut self, client: usize, topic: &str, publish: &Publish<'_>, now: Time) {
        if publish.payload.is_empty() {
            assert!(topic.starts_with("r/"), "an empty payload on {topic}");
            return;
        }
        let serial = serial_of(publish.payload);
        let traits = self.traits[client];
        let delivery = Delivery {
            client,
            qos: publish.qos,
            dup: publish.dup,
            retained: publish.retain && !traits.retain_as_published,
        };
        let Some(message) = self.messages.get(serial as usize) else {
            panic!("client {client} got message {serial}, which nobody sent");
        };
        check_content(message, serial, topic, publish);
        self.check_terms(client, serial, publish, delivery);
        if traits.retain_as_published {
            assert_eq!(publish.retain, message.retain, "retain as published");
        }
        if delivery.retained {
            assert!(message.retain, "message {serial} was never to be retained");
        }
        // Who published a retained message is forgotten with the session.
        let own = message.publisher == client && self.still_there(client, message);
        assert!(
            !(traits.no_local && own && !topic.starts_with('s')),
            "client {client} got its own message {serial}"
        );
        if !delivery.retained && !topic.starts_with('s') {
            self.check_repetition(serial, delivery);
            self.check_order(serial, delivery);
        }
        let _ = now;
        self.messages[serial as usize].deliveries.push(delivery);
    }

    /// Somebody who had subscribed, at the QoS it was granted.
    fn check_terms(&self, client: usize, serial: u32, publish: &Publish<'_>, delivery: Delivery) {
        let message = &self.messages[serial as usize];
        // A retained message was routed when it was subscribed to; one for a group
        // again when a member went.
        let routed = match topic_kind(message) {
            _ if delivery.retained => (Time(0), Time::NEVER),
            b's' => (message.routed().0, Time::NEVER),
            _ => message.routed(),
        };
        let possible: Vec<_> = self
            .of(client, message)
            .filter(|each| each.may_overlap(routed))
            .collect();
        assert!(
            !possible.is_empty(),
            "client {client} got message {serial} ({}) without having subscribed",
            message.topic
        );
        let certain = possible
            .iter()
            .filter(|each| each.spans(routed) && !delivery.retained);
        let most = possible.iter().map(|each| each.qos).max();
        let least = certain.clone().map(|each| each.qos).max();
        let least = least.or(possible.iter().map(|each| each.qos).min());
        let bound = |qos: Option<QoS>| qos.unwrap_or_default().min(message.qos);
        assert!(
            (bound(least)..=bound(most)).contains(&publish.qos),
            "client {client} got message {serial} at {:?}, not {:?} to {:?}",
            publish.qos,
            bound(least),
            bound(most)
        );
        let told: Vec<u32> = publish.properties.subscription_identifiers().collect();
        for identifier in &told {
            assert!(
                possible.iter().any(|each| each.identifier == *identifier),
                "client {client} got subscription identifier {identifier}, which is not its own"
            );
        }
        for each in certain.filter(|each| each.identifier != 0 && !each.is_shared()) {
            assert!(
                told.contains(&each.identifier),
                "client {client} was not told {} with message {serial}",
                each.filter
            );
        }
    }

    /// QoS 2 and QoS 0 once; QoS 1 not again without DUP.
    fn check_repetition(&self, serial: u32, delivery: Delivery) {
        let message = &self.messages[serial as usize];
        let before = || {
            let to_client = |each: &&Delivery| each.client == delivery.client && !each.retained;
            message.deliveries.iter().filter(to_client)
        };
        let routings = match message.qos {
            QoS::AtLeastOnce => message.sends as usize,
            _ => 1,
        };
        let fresh = match delivery.qos {
            QoS::ExactlyOnce => before().count() + 1,
            _ => before().filter(|each| !each.dup).count() + 1,
        };
        let counted = delivery.qos != QoS::AtLeastOnce || !delivery.dup;
        assert!(
            !counted || fresh <= routings,
            "client {} got message {serial} {fresh} times at {:?}; it was sent {} times at {:?}",
            delivery.client,
            delivery.qos,
            message.sends,
            message.qos
        );
    }

    /// First deliveries keep the order of one publisher, topic and QoS.
    fn check_order(&mut self, serial: u32, delivery: Delivery) {
        let message = &self.messages[serial as usize];
        let known = message
            .deliveries
            .iter()
            .any(|each| each.client == delivery.client && !each.retained);
        // What its publisher sent again may be late: if it was sent first before the
        // subscription, or was lost the first time for want of QoS, time or room.
        let expires = message.expiry_seconds.is_some();
        let may_be_lost = delivery.qos == QoS::AtMostOnce || expires || self.may_refuse;
        let lost = may_be_lost && message.sends > 1;
        let sent = message.sent.unwrap_or(Time::NEVER);
        let heard = self
            .of(delivery.client, message)
            .any(|each| each.spans((sent, sent)) && each.qos >= delivery.qos);
        if known || lost || !heard || !self.still_there(delivery.client, message) {
            return;
        }
        let key = (
            delivery.client,
            message.publisher,
            message.topic.clone(),
            message.qos as u8,
            delivery.qos as u8,
        );
        if let Some(last) = self.order.insert(key, serial) {
            assert!(
                last < serial,
                "client {} got message {serial} behind {last}",
                delivery.client
            );
        }
    }
}

/// The first letter of a topic: `n`ormal, `r`etained or `s`hared.
fn topic_kind(message: &Message) -> u8 {
    message.topic.as_bytes()[0]
}

/// The serial number a payload begins with.
pub fn serial_of(payload: &[u8]) -> u32 {
    match payload {
        [b'M', a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => panic!("a payload that nobody sent: {payload:?}"),
    }
}

/// Topic, payload and properties as they were sent.
fn check_content(message: &Message, serial: u32, topic: &str, publish: &Publish<'_>) {
    assert_eq!(message.topic, topic, "the topic of message {serial}");
    assert!(
        publish.payload == Ledger::payload(serial, message.payload_bytes),
        "the payload of message {serial} was changed"
    );
    let properties = publish.properties;
    let left = properties.four_byte(PropertyId::MessageExpiryInterval);
    match (left, message.expiry_seconds) {
        (Some(left), Some(asked)) => assert!(
            (1..=asked).contains(&left),
            "message {serial} has {left} of {asked} seconds left"
        ),
        (Some(left), None) => panic!("message {serial} never expired, but has {left} s left"),
        _ => {}
    }
    for (name, value) in properties.user_properties() {
        assert!(
            name == "serial" && value == serial.to_string(),
            "message {serial} came with {name}={value}"
        );
    }
}
