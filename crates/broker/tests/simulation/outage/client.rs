//! A client that keeps its session, sends again what was not acknowledged, and notices
//! when the broker has forgotten.

use std::collections::{BTreeMap, VecDeque};

use noctule_broker::ConnectionId;
use noctule_packets::{
    Acknowledgement, Connect, FixedHeader, Packet, PacketType, Properties, PropertyBuffer,
    PropertyId, Publish, QoS, ReasonCode, Subscribe, SubscriptionRequest, Unsubscribe, Version,
};

use super::ledger::{Ledger, Outcome};

/// Whether the broker has a session of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    No,
    Yes,
    /// It was asked for, and no answer came.
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
}

#[derive(Debug)]
struct Sent {
    identifier: u16,
    serial: u32,
    awaiting: Awaiting,
}

enum Request {
    Subscribe(String),
    Unsubscribe(String),
}

pub struct Client {
    pub index: usize,
    pub name: String,
    pub place: Option<(usize, ConnectionId)>,
    /// Bytes on their way to the broker.
    pub up: Vec<u8>,
    pub is_paused: bool,
    /// CONNACK has come.
    pub is_open: bool,
    /// It has been sent away.
    pub hangs_up: bool,
    /// Retained messages it was sent for subscribing.
    pub retained: BTreeMap<String, u32>,
    input: Vec<u8>,
    clean: bool,
    must_clean: bool,
    presence: Presence,
    /// Counts the sessions it has had.
    session: u32,
    identifier: u16,
    outgoing: VecDeque<Sent>,
    received: BTreeMap<u16, u32>,
    requests: BTreeMap<u16, Request>,
    owed: VecDeque<Vec<u8>>,
}

impl Client {
    pub fn new(index: usize) -> Client {
        Client {
            index,
            name: format!("c{index}"),
            place: None,
            up: Vec::new(),
            is_paused: false,
            is_open: false,
            hangs_up: false,
            retained: BTreeMap::new(),
            input: Vec::new(),
            clean: false,
            must_clean: false,
            presence: Presence::No,
            session: 0,
            identifier: 0,
            outgoing: VecDeque::new(),
            received: BTreeMap::new(),
            requests: BTreeMap::new(),
            owed: VecDeque::new(),
        }
    }

    pub fn is_at_rest(&self) -> bool {
        self.is_open
            && self.outgoing.is_empty()
            && self.received.is_empty()
            && self.requests.is_empty()
            && self.owed.is_empty()
            && self.up.is_empty()
    }

    pub fn describe(&self) -> String {
        format!(
            "{} open {} outgoing {:?} received {:?} owes {}",
            self.name,
            self.is_open,
            self.outgoing,
            self.received,
            self.owed.len()
        )
    }

    pub fn connect(&mut self, place: (usize, ConnectionId), clean: bool, ledger: &mut Ledger) {
        self.place = Some(place);
        self.clean = clean || self.must_clean;
        if self.clean && !self.must_clean {
            self.must_clean = true;
            ledger.ending_session(self.index);
            self.discard();
        }
        if self.presence == Presence::No {
            self.presence = Presence::Either;
        }
        let mut properties = PropertyBuffer::default();
        properties.push_four_byte(PropertyId::SessionExpiryInterval, u32::MAX);
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: self.clean,
            keep_alive: 0,
            client_identifier: &self.name,
            will: None,
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        };
        connect.encode(&mut self.up);
    }

    /// The connection is gone, and what was on its way.
    pub fn disconnected(&mut self) {
        self.place = None;
        self.up.clear();
        self.input.clear();
        self.owed.clear();
        self.requests.clear();
        self.is_open = false;
        self.is_paused = false;
        self.hangs_up = false;
    }

    fn discard(&mut self) {
        self.session += 1;
        self.outgoing.clear();
        self.received.clear();
    }

    pub fn goodbye(&mut self) {
        let packet = Packet::Disconnect(noctule_packets::Disconnect {
            reason: ReasonCode::NORMAL_DISCONNECTION,
            properties: Properties::EMPTY,
        });
        self.write(&packet);
    }

    fn write(&mut self, packet: &Packet<'_>) {
        packet.encode(Version::V5, &mut self.up);
    }

    fn next_identifier(&mut self) -> u16 {
        self.identifier = self.identifier.checked_add(1).unwrap_or(1);
        self.identifier
    }

    /// Messages under way, of all topics or of those that are retained.
    pub fn under_way(&self, ledger: &Ledger, retained: bool) -> usize {
        let of = |sent: &&Sent| !retained || ledger.messages[sent.serial as usize].retain;
        self.outgoing.iter().filter(of).count()
    }

    pub fn publish(&mut self, topic: String, qos: QoS, is_empty: bool, ledger: &mut Ledger) {
        let identifier = self.next_identifier();
        let serial = ledger.publish(self.index, topic, qos, is_empty);
        let awaiting = match qos {
            QoS::ExactlyOnce => Awaiting::Pubrec,
            _ => Awaiting::Puback,
        };
        self.outgoing.push_back(Sent {
            identifier,
            serial,
            awaiting,
        });
        self.write_publish(identifier, serial, false, ledger);
    }

    fn write_publish(&mut self, identifier: u16, serial: u32, dup: bool, ledger: &Ledger) {
        let message = &ledger.messages[serial as usize];
        let payload = match message.is_empty {
            true => Vec::new(),
            false => serial.to_be_bytes().to_vec(),
        };
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic: &message.topic,
            packet_identifier: identifier,
            properties: Properties::EMPTY,
            payload: &payload,
        };
        self.write(&Packet::Publish(publish));
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS, ledger: &mut Ledger) {
        ledger.asked(self.index, filter);
        let identifier = self.next_identifier();
        let request = SubscriptionRequest {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let mut filters = Vec::new();
        request.encode(Version::V5, &mut filters);
        let packet = Subscribe::new(Version::V5, identifier, Properties::EMPTY, &filters);
        self.write(&Packet::Subscribe(packet.expect("a valid SUBSCRIBE")));
        let request = Request::Subscribe(filter.to_owned());
        self.requests.insert(identifier, request);
    }

    pub fn unsubscribe(&mut self, filter: &str, ledger: &mut Ledger) {
        ledger.leaving(self.index, filter);
        let identifier = self.next_identifier();
        let mut filters = (filter.len() as u16).to_be_bytes().to_vec();
        filters.extend_from_slice(filter.as_bytes());
        let packet = Unsubscribe::new(identifier, Properties::EMPTY, &filters);
        self.write(&Packet::Unsubscribe(packet.expect("a valid UNSUBSCRIBE")));
        let request = Request::Unsubscribe(filter.to_owned());
        self.requests.insert(identifier, request);
    }

    /// Sends up to `most` of the acknowledgements it owes.
    pub fn acknowledge(&mut self, most: usize) {
        let most = most.min(self.owed.len());
        self.owed
            .drain(..most)
            .for_each(|packet| self.up.extend_from_slice(&packet));
    }

    fn owe(&mut self, kind: PacketType, packet_identifier: u16, reason: ReasonCode) {
        let mut packet = Vec::new();
        acknowledgement(packet_identifier, reason).encode(kind, Version::V5, &mut packet);
        self.owed.push_back(packet);
    }

    /// Bytes from the broker, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger) {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = FixedHeader::decode(&input[at..]).expect("a fixed header") {
            let Some(body) = input[at..].get(header.header_len..header.total()) else {
                break;
            };
            let packet = Packet::decode(Version::V5, header, body).expect("a packet");
            at += header.total();
            self.handle(packet, ledger);
        }
        input.drain(..at);
        self.input = input;
    }

    fn handle(&mut self, packet: Packet<'_>, ledger: &mut Ledger) {
        match packet {
            Packet::Connack(connack) if connack.reason.is_error() => self.hangs_up = true,
            Packet::Connack(connack) => self.handle_connack(connack.session_present, ledger),
            Packet::Publish(publish) => self.handle_publish(&publish, ledger),
            Packet::Puback(ack) => self.handle_answer(ack, Awaiting::Puback, ledger),
            Packet::Pubrec(ack) => self.handle_answer(ack, Awaiting::Pubrec, ledger),
            Packet::Pubcomp(ack) => self.handle_answer(ack, Awaiting::Pubcomp, ledger),
            Packet::Pubrel(ack) => {
                let known = self.received.remove(&ack.packet_identifier).is_some();
                let reason = match known {
                    true => ReasonCode::SUCCESS,
                    false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
                };
                self.owe(PacketType::Pubcomp, ack.packet_identifier, reason);
            }
            Packet::Suback(suback) => match self.requests.remove(&suback.packet_identifier) {
                Some(Request::Subscribe(filter)) if suback.reasons[0] <= 2 => {
                    ledger.granted(self.index, &filter);
                }
                // Refused for want of room: it is not there.
                Some(Request::Subscribe(filter)) => ledger.left(self.index, &filter),
                _ => panic!("{} got a SUBACK for nothing", self.name),
            },
            Packet::Unsuback(unsuback) => match self.requests.remove(&unsuback.packet_identifier) {
                Some(Request::Unsubscribe(filter)) => ledger.left(self.index, &filter),
                _ => panic!("{} got an UNSUBACK for nothing", self.name),
            },
            Packet::Disconnect(_) => self.hangs_up = true,
            other => panic!("{} got {other:?}", self.name),
        }
    }

    fn handle_connack(&mut self, present: bool, ledger: &mut Ledger) {
        let expected = match self.presence {
            _ if self.clean => Some(false),
            Presence::Yes => Some(true),
            Presence::No => Some(false),
            Presence::Either => None,
        };
        assert!(
            expected.is_none_or(|expected| expected == present),
            "{} has a session: {present}, and it should be {expected:?}",
            self.name
        );
        self.is_open = true;
        self.presence = Presence::Yes;
        self.must_clean = false;
        if !present {
            ledger.ended_session(self.index);
            self.discard();
            return;
        }
        for place in 0..self.outgoing.len() {
            let Sent {
                identifier,
                serial,
                awaiting,
            } = self.outgoing[place];
            match awaiting {
                Awaiting::Pubcomp => self.write_pubrel(identifier),
                _ => self.write_publish(identifier, serial, true, ledger),
            }
        }
    }

    fn write_pubrel(&mut self, identifier: u16) {
        self.write(&Packet::Pubrel(acknowledgement(
            identifier,
            ReasonCode::SUCCESS,
        )));
    }

    fn handle_answer(&mut self, ack: Acknowledgement<'_>, kind: Awaiting, ledger: &mut Ledger) {
        let identifier = ack.packet_identifier;
        let place = self
            .outgoing
            .iter()
            .position(|sent| sent.identifier == identifier && sent.awaiting == kind);
        let place = place.unwrap_or_else(|| {
            panic!(
                "{} got an answer to {kind:?} {identifier} for nothing",
                self.name
            )
        });
        let serial = self.outgoing[place].serial;
        let refused = ack.reason.is_error() && kind != Awaiting::Pubcomp;
        let outcome = match refused {
            true => Outcome::Refused,
            false => Outcome::Acknowledged,
        };
        ledger.settled(serial, outcome);
        if kind == Awaiting::Pubrec && !refused {
            self.outgoing[place].awaiting = Awaiting::Pubcomp;
            return self.write_pubrel(identifier);
        }
        self.outgoing.remove(place);
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, ledger: &mut Ledger) {
        let identifier = publish.packet_identifier;
        let number = publish.payload.first_chunk().copied();
        let serial = number.map_or(u32::MAX, u32::from_be_bytes);
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.owe(PacketType::Puback, identifier, ReasonCode::SUCCESS),
            QoS::ExactlyOnce => {
                self.owe(PacketType::Pubrec, identifier, ReasonCode::SUCCESS);
                if let Some(known) = self.received.insert(identifier, serial) {
                    assert!(
                        known == serial && publish.dup,
                        "{} got message {serial} as {identifier}, which message {known} has",
                        self.name
                    );
                    return;
                }
            }
        }
        if publish.payload.is_empty() {
            return;
        }
        if publish.retain {
            self.retained.insert(publish.topic.to_owned(), serial);
            return;
        }
        ledger.deliver(self.index, self.session, publish.topic, serial, publish.qos);
    }
}

fn acknowledgement(packet_identifier: u16, reason: ReasonCode) -> Acknowledgement<'static> {
    Acknowledgement {
        packet_identifier,
        reason,
        properties: Properties::EMPTY,
    }
}
