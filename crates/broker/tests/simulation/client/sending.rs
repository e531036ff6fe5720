//! What a client sends: messages, subscriptions, pings, and all it owes.

use noctule_packets::{
    Packet, Properties, PropertyBuffer, PropertyId, Publish, QoS, Subscribe, SubscriptionRequest,
    Unsubscribe, Version,
};

use super::{Awaiting, Client, Request, Sent, Stage};
use crate::ledger::Ledger;
use crate::ledger::subscriptions::Subscription;
use crate::scene::{Scene, note};

/// Own QoS 1 and 2 messages a client has in flight where the broker sets no bound.
const OWN_WINDOW: usize = 20;

impl Client {
    /// One turn: what waits goes out.
    pub fn act(&mut self, scene: &mut Scene) {
        if self.stage != Stage::Open || self.hangs_up {
            return;
        }
        if scene.random.chance(self.habits.acknowledges) {
            self.acknowledge(scene);
        }
        while let Some(&serial) = self.waiting.front() {
            let window = self.connection.server_receive_maximum.min(OWN_WINDOW);
            let qos = scene.ledger.message(serial).qos;
            if qos != QoS::AtMostOnce && self.session.outgoing.len() >= window {
                break;
            }
            self.waiting.pop_front();
            self.send(serial, scene);
        }
        if self.wants_ping(scene) {
            self.write(&Packet::Pingreq, scene);
        }
    }

    fn wants_ping(&self, scene: &Scene) -> bool {
        self.next_ping().is_some_and(|due| due <= scene.now)
    }

    /// When it has to say that it is there.
    pub fn next_ping(&self) -> Option<noctule_broker::Time> {
        let pings = self.stage == Stage::Open
            && self.habits.keep_alive != 0
            && !self.connection.silent
            && !self.hangs_up;
        let after = u64::from(self.habits.keep_alive) * 500;
        pings.then(|| self.connection.last_sent.after_milliseconds(after))
    }

    pub fn owes(&self) -> bool {
        self.stage == Stage::Open && !self.connection.acknowledgements.is_empty()
    }

    pub fn waits_since(&self) -> Option<noctule_broker::Time> {
        (self.stage == Stage::Waiting).then_some(self.connection.begun)
    }

    /// Stops all silence: it behaves from now on.
    pub fn behave(&mut self) {
        self.connection.silent = false;
        self.habits.acknowledges = 100;
        self.habits.reads = 100;
    }

    fn acknowledge(&mut self, scene: &mut Scene) {
        let all = self.connection.acknowledgements.len();
        let some = match self.habits.acknowledges {
            100 => all,
            _ => scene.random.below(all + 1),
        };
        for packet in self
            .connection
            .acknowledgements
            .drain(..some)
            .collect::<Vec<_>>()
        {
            self.answered(&packet);
            self.out.extend_from_slice(&packet);
            self.connection.last_sent = scene.now;
        }
    }

    /// PUBACK, PUBCOMP or an error leaves: the broker may send one more.
    fn answered(&mut self, packet: &[u8]) {
        if matches!(packet[0] >> 4, 4 | 7) {
            let identifier = u16::from_be_bytes([packet[2], packet[3]]);
            self.connection.unanswered.remove(&identifier);
        }
    }

    fn send(&mut self, serial: u32, scene: &mut Scene) {
        let qos = scene.ledger.message(serial).qos;
        let mut identifier = 0;
        if qos != QoS::AtMostOnce {
            identifier = self.next_identifier();
            let awaiting = match qos {
                QoS::ExactlyOnce => Awaiting::Pubrec,
                _ => Awaiting::Puback,
            };
            self.session.outgoing.push_back(Sent {
                identifier,
                serial,
                awaiting,
            });
        }
        self.write_publish(serial, identifier, false, scene);
    }

    fn write_publish(&mut self, serial: u32, identifier: u16, dup: bool, scene: &mut Scene) {
        scene.ledger.sent(serial, scene.now);
        let message = scene.ledger.message(serial);
        let (topic, qos, retain) = (message.topic.clone(), message.qos, message.retain);
        let (expiry, bytes) = (message.expiry_seconds, message.payload_bytes);
        let payload = Ledger::payload(serial, bytes);
        let mut properties = PropertyBuffer::default();
        if let Some(seconds) = expiry {
            properties.push_four_byte(PropertyId::MessageExpiryInterval, seconds);
        }
        let mut name = topic.as_str();
        if self.habits.version == Version::V5 {
            if serial % 3 == 0 && bytes > 0 {
                properties.push_pair(PropertyId::UserProperty, "serial", &serial.to_string());
            }
            if let Some((alias, known)) = self.alias(&topic, scene) {
                properties.push_two_byte(PropertyId::TopicAlias, alias);
                if known {
                    name = "";
                }
            }
        }
        note!(
            scene,
            "{} sends message {serial} on {topic} at {qos:?}, {bytes} bytes, id {identifier}, \
             dup {dup}, retain {retain}",
            self.name
        );
        let publish = Publish {
            dup,
            qos,
            retain,
            topic: name,
            packet_identifier: identifier,
            properties: properties.as_properties(),
            payload: &payload,
        };
        self.write(&Packet::Publish(publish), scene);
    }

    /// An alias for a topic, and whether the broker knows it.
    fn alias(&mut self, topic: &str, scene: &mut Scene) -> Option<(u16, bool)> {
        let known = &mut self.connection.aliases_out;
        let maximum = self.connection.server_aliases;
        if maximum == 0 || scene.random.chance(40) {
            return None;
        }
        if let Some(place) = known.iter().position(|each| each == topic) {
            return Some((place as u16 + 1, true));
        }
        if known.len() < maximum {
            known.push(topic.to_owned());
            return Some((known.len() as u16, false));
        }
        let place = scene.random.below(known.len());
        known[place] = topic.to_owned();
        Some((place as u16 + 1, false))
    }

    /// Everything in flight once more, in its order [MQTT-4.4.0-1].
    pub(super) fn send_again(&mut self, scene: &mut Scene) {
        let again: Vec<(u16, u32, Awaiting)> = self
            .session
            .outgoing
            .iter()
            .map(|sent| (sent.identifier, sent.serial, sent.awaiting))
            .collect();
        for (identifier, serial, awaiting) in again {
            match awaiting {
                Awaiting::Pubcomp => self.write_pubrel(identifier, scene),
                _ => self.write_publish(serial, identifier, true, scene),
            }
        }
    }

    /// Asks for `filters`; the options of a filter are always the same.
    pub fn subscribe(&mut self, filters: &[String], scene: &mut Scene) {
        let traits = self.habits.traits;
        let identifier = self.next_identifier();
        let mut requests = Vec::new();
        let mut asked = Vec::new();
        // One identifier goes with all filters of a SUBSCRIBE.
        let number = match self.habits.subscription_identifiers && filters.len() == 1 {
            true => 1 + checksum(&filters[0]) % 300_000,
            false => 0,
        };
        for filter in filters {
            let shared = filter.starts_with("$share/");
            let qos = self.qos_of(filter);
            let request = SubscriptionRequest {
                filter,
                qos,
                no_local: traits.no_local && !shared,
                retain_as_published: traits.retain_as_published,
                retain_handling: if traits.retain_as_published { 2 } else { 0 },
            };
            request.encode(self.habits.version, &mut requests);
            let place = scene.ledger.asked(Subscription {
                client: self.index,
                filter: filter.clone(),
                qos,
                identifier: number,
                asked: scene.now,
                granted: None,
                leaving: None,
                ended: None,
            });
            asked.push((place, qos));
            self.filters.insert(filter.clone());
        }
        let mut properties = PropertyBuffer::default();
        if number != 0 {
            properties.push_variable(PropertyId::SubscriptionIdentifier, number);
        }
        note!(
            scene,
            "{} subscribes to {filters:?}, id {identifier}",
            self.name
        );
        let version = self.habits.version;
        let packet = Subscribe::new(version, identifier, properties.as_properties(), &requests);
        let packet = packet.expect("a valid SUBSCRIBE");
        self.write(&Packet::Subscribe(packet), scene);
        let request = Request::Subscribe(asked);
        self.connection.requests.insert(identifier, request);
    }

    fn qos_of(&self, filter: &str) -> QoS {
        let number = match filter {
            "$share/g0/s0/#" => 1,
            "$share/g1/s1/#" | "w/#" => 2,
            _ => (checksum(filter) as usize + self.index) % 3,
        };
        QoS::from_u8(number as u8).unwrap_or_default()
    }

    pub fn unsubscribe(&mut self, filter: &str, scene: &mut Scene) {
        let identifier = self.next_identifier();
        let raw = [&(filter.len() as u16).to_be_bytes()[..], filter.as_bytes()].concat();
        let packet = Unsubscribe::new(identifier, Properties::EMPTY, &raw);
        let packet = packet.expect("a valid UNSUBSCRIBE");
        note!(
            scene,
            "{} unsubscribes from {filter}, id {identifier}",
            self.name
        );
        self.write(&Packet::Unsubscribe(packet), scene);
        scene.ledger.leaving(self.index, filter, scene.now);
        self.filters.remove(filter);
        let request = Request::Unsubscribe(vec![filter.to_owned()], scene.now);
        self.connection.requests.insert(identifier, request);
    }
}

fn checksum(text: &str) -> u32 {
    text.bytes().fold(7, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    })
}
