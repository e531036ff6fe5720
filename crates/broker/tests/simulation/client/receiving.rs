//! What a client makes of the bytes that come: every rule the broker must keep is
//! an assertion here.

use noctule_packets::{
    Acknowledgement, FixedHeader, Packet, PacketType, Properties, PropertyId, Publish, QoS,
    ReasonCode, Suback, Unsuback, Version, check_from_server,
};

use super::{Awaiting, Client, Request, Stage};
use crate::ledger::Outcome;
use crate::ledger::deliveries::serial_of;
use crate::scene::{Scene, note};

impl Client {
    /// Bytes from the broker, cut anywhere. `window`: QoS 1 and 2 messages that the
    /// broker may have unacknowledged at most.
    pub fn receive(&mut self, bytes: &[u8], window: usize, scene: &mut Scene) {
        let mut input = std::mem::take(&mut self.connection.input);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while !self.hangs_up {
            let rest = &input[at..];
            let header = FixedHeader::decode(rest).expect("a fixed header");
            let Some(header) = header else { break };
            let Some(body) = rest.get(header.header_len..header.total()) else {
                break;
            };
            let largest = self.habits.traits.largest_packet as usize;
            assert!(
                largest == 0 || header.total() <= largest,
                "{} got a packet of {} bytes",
                self.name,
                header.total()
            );
            at += header.total();
            let version = self.habits.version;
            let packet = Packet::decode(version, header, body)
                .unwrap_or_else(|error| panic!("{} got {error} in {body:?}", self.name));
            check_from_server(&packet, version)
                .unwrap_or_else(|error| panic!("{} got {packet:?}: {error}", self.name));
            self.handle(packet, window, scene);
        }
        input.drain(..at);
        self.connection.input = input;
    }

    fn handle(&mut self, packet: Packet<'_>, window: usize, scene: &mut Scene) {
        let is_connack = matches!(packet, Packet::Connack(_));
        assert_eq!(
            is_connack,
            self.stage == Stage::Waiting,
            "{} got {packet:?} when {:?}",
            self.name,
            self.stage
        );
        match packet {
            Packet::Connack(connack) => self.handle_connack(connack, scene),
            Packet::Publish(publish) => self.handle_publish(publish, window, scene),
            Packet::Puback(ack) => self.handle_answer(ack, Awaiting::Puback, scene),
            Packet::Pubrec(ack) => self.handle_answer(ack, Awaiting::Pubrec, scene),
            Packet::Pubcomp(ack) => self.handle_answer(ack, Awaiting::Pubcomp, scene),
            Packet::Pubrel(ack) => self.handle_pubrel(ack, scene),
            Packet::Suback(suback) => self.handle_suback(suback, scene),
            Packet::Unsuback(unsuback) => self.handle_unsuback(unsuback, scene),
            Packet::Disconnect(disconnect) => self.handle_disconnect(disconnect, scene),
            Packet::Auth(auth) => self.handle_auth(auth),
            Packet::Pingresp => {}
            _ => panic!("{} got {packet:?}", self.name),
        }
    }

    fn handle_publish(&mut self, publish: Publish<'_>, window: usize, scene: &mut Scene) {
        let topic = self.resolve_topic(&publish);
        let identifier = publish.packet_identifier;
        let number = match publish.payload {
            [b'M', ..] => Some(serial_of(publish.payload)),
            _ => None,
        };
        note!(
            scene,
            "{} gets {number:?} on {topic}, {:?}, id {identifier}, dup {}, retain {}",
            self.name,
            publish.qos,
            publish.dup,
            publish.retain
        );
        if publish.dup {
            let resumed = self.connection.session_present;
            assert!(resumed, "{} got DUP in a new session", self.name);
        }
        if publish.qos == QoS::AtMostOnce {
            self.take(&topic, &publish, scene);
            return;
        }
        self.check_window(identifier, window);
        if publish.qos == QoS::AtLeastOnce {
            self.owe(PacketType::Puback, identifier, ReasonCode::SUCCESS);
            self.take(&topic, &publish, scene);
            return;
        }
        self.owe(PacketType::Pubrec, identifier, ReasonCode::SUCCESS);
        if let Some(known) = self.session.received.get(&identifier) {
            assert!(
                publish.dup && *known == number,
                "{} got message {number:?} with identifier {identifier}, which message {known:?} has",
                self.name
            );
            return;
        }
        self.session.received.insert(identifier, number);
        self.take(&topic, &publish, scene);
    }

    /// Receive maximum [MQTT-3.3.4-9], and identifiers that are free [MQTT-2.2.1-4].
    fn check_window(&mut self, identifier: u16, window: usize) {
        assert_ne!(identifier, 0, "{} got packet identifier 0", self.name);
        assert!(
            self.connection.unanswered.insert(identifier),
            "{} got packet identifier {identifier} while it is in use",
            self.name
        );
        let own = match self.habits.receive_maximum {
            0 => usize::from(u16::MAX),
            own => usize::from(own),
        };
        let open = self.connection.unanswered.len();
        assert!(
            open <= window.min(own),
            "{} has {open} messages unacknowledged, but takes {own} and the broker allows {window}",
            self.name
        );
    }

    fn take(&mut self, topic: &str, publish: &Publish<'_>, scene: &mut Scene) {
        if topic.starts_with("w/") {
            if self.index == 0 {
                note!(scene, "the witness gets a will on {topic}");
                let now = scene.now;
                scene.ledger.wills.published(topic, publish.payload, now);
            }
            return;
        }
        if self.index == 0 {
            self.retained
                .insert(topic.to_owned(), serial_of(publish.payload));
            return;
        }
        let now = scene.now;
        scene.ledger.deliver(self.index, topic, publish, now);
    }

    fn resolve_topic(&mut self, publish: &Publish<'_>) -> String {
        let Some(alias) = publish.properties.two_byte(PropertyId::TopicAlias) else {
            assert!(!publish.topic.is_empty(), "{} got no topic", self.name);
            return publish.topic.to_owned();
        };
        assert!(
            (1..=self.habits.alias_maximum).contains(&alias),
            "{} got topic alias {alias}",
            self.name
        );
        let aliases = &mut self.connection.aliases_in;
        if publish.topic.is_empty() {
            let known = aliases.get(&alias).cloned();
            return known.unwrap_or_else(|| panic!("{} got unknown alias {alias}", self.name));
        }
        aliases.insert(alias, publish.topic.to_owned());
        publish.topic.to_owned()
    }

    fn handle_answer(&mut self, ack: Acknowledgement<'_>, kind: Awaiting, scene: &mut Scene) {
        let identifier = ack.packet_identifier;
        let place = self
            .session
            .outgoing
            .iter()
            .position(|sent| sent.identifier == identifier && sent.awaiting == kind);
        let Some(place) = place else {
            panic!(
                "{} got an answer to {kind:?} {identifier}, which it does not await",
                self.name
            );
        };
        let serial = self.session.outgoing[place].serial;
        note!(
            scene,
            "{} has message {serial} answered: {kind:?} {}",
            self.name,
            ack.reason.0
        );
        let again = kind == Awaiting::Pubcomp && self.connection.session_present;
        if again && ack.reason == ReasonCode::PACKET_IDENTIFIER_NOT_FOUND {
            // PUBREL was sent once before, and its PUBCOMP lost.
            self.session.outgoing.remove(place);
            return;
        }
        if ack.reason.is_error() {
            assert!(
                ack.reason == ReasonCode::QUOTA_EXCEEDED && scene.ledger.may_refuse,
                "{} had message {serial} refused: {}",
                self.name,
                ack.reason
            );
            scene.ledger.settled(serial, Outcome::Refused, scene.now);
            self.session.outgoing.remove(place);
            return;
        }
        scene
            .ledger
            .settled(serial, Outcome::Acknowledged, scene.now);
        if kind == Awaiting::Pubrec {
            self.session.outgoing[place].awaiting = Awaiting::Pubcomp;
            self.write_pubrel(identifier, scene);
            return;
        }
        self.session.outgoing.remove(place);
    }

    pub(super) fn write_pubrel(&mut self, identifier: u16, scene: &mut Scene) {
        let pubrel = Acknowledgement {
            packet_identifier: identifier,
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        };
        self.write(&Packet::Pubrel(pubrel), scene);
    }

    fn handle_pubrel(&mut self, ack: Acknowledgement<'_>, scene: &mut Scene) {
        let identifier = ack.packet_identifier;
        note!(scene, "{} gets PUBREL {identifier}", self.name);
        let known = self.session.received.remove(&identifier).is_some();
        assert!(
            known || self.connection.session_present,
            "{} got PUBREL {identifier} for nothing",
            self.name
        );
        let reason = match known {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        self.owe(PacketType::Pubcomp, identifier, reason);
    }

    fn owe(&mut self, kind: PacketType, packet_identifier: u16, reason: ReasonCode) {
        let mut packet = Vec::new();
        let ack = Acknowledgement {
            packet_identifier,
            reason,
            properties: Properties::EMPTY,
        };
        ack.encode(kind, self.habits.version, &mut packet);
        self.connection.acknowledgements.push_back(packet);
    }

    fn handle_suback(&mut self, suback: Suback<'_>, scene: &mut Scene) {
        let request = self.connection.requests.remove(&suback.packet_identifier);
        let Some(Request::Subscribe(asked)) = request else {
            panic!("{} got {suback:?} for {request:?}", self.name);
        };
        note!(
            scene,
            "{} gets SUBACK {}",
            self.name,
            suback.packet_identifier
        );
        assert_eq!(asked.len(), suback.reasons.len());
        for ((subscription, qos), reason) in asked.into_iter().zip(suback.reasons) {
            assert_eq!(*reason, qos as u8, "the QoS granted to {}", self.name);
            scene.ledger.granted(subscription, scene.now);
        }
    }

    fn handle_unsuback(&mut self, unsuback: Unsuback<'_>, scene: &mut Scene) {
        let request = self.connection.requests.remove(&unsuback.packet_identifier);
        let Some(Request::Unsubscribe(filters, since)) = request else {
            panic!("{} got {unsuback:?} for {request:?}", self.name);
        };
        note!(
            scene,
            "{} gets UNSUBACK {}",
            self.name,
            unsuback.packet_identifier
        );
        if self.habits.version == Version::V5 {
            assert_eq!(unsuback.reasons.len(), filters.len());
        }
        for filter in filters {
            scene.ledger.left(self.index, &filter, since, scene.now);
        }
    }
}
