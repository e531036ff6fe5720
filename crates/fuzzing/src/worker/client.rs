//! The far end of a connection: reads what a worker wrote and holds it against the rules.

use std::collections::VecDeque;

use noctule_broker::ConnectionId;
use noctule_packets::{
    Acknowledgement, FixedHeader, Packet, PacketType, QoS, Version, check_from_server,
};

pub struct Client {
    pub worker: usize,
    pub id: ConnectionId,
    pub version: Version,
    /// Messages above QoS 0 that it may have unacknowledged.
    receive_maximum: usize,
    /// Largest packet it takes, in bytes.
    maximum_packet: usize,
    topic_alias_maximum: u16,
    /// Its own packets have been correct so far: what it acknowledged is known.
    pub is_known: bool,
    pub is_paused: bool,
    pub is_closing: bool,
    is_greeted: bool,
    is_dismissed: bool,
    unread: Vec<u8>,
    /// Packet identifiers of messages that were read, and are not acknowledged to the end.
    in_flight: Vec<u16>,
    /// What it would answer next.
    owed: VecDeque<(PacketType, u16)>,
    aliases: Vec<u16>,
}

/// What a CONNECT announced.
pub struct Announced {
    pub version: Version,
    pub receive_maximum: u16,
    pub maximum_packet: u32,
    pub topic_alias_maximum: u16,
}

impl Client {
    pub fn new(worker: usize, id: ConnectionId, announced: &Announced) -> Client {
        let or = |value: usize, otherwise| if value == 0 { otherwise } else { value };
        Client {
            worker,
            id,
            version: announced.version,
            receive_maximum: or(usize::from(announced.receive_maximum), 65_535),
            maximum_packet: or(announced.maximum_packet as usize, usize::MAX),
            topic_alias_maximum: announced.topic_alias_maximum,
            is_known: true,
            is_paused: false,
            is_closing: false,
            is_greeted: false,
            is_dismissed: false,
            unread: Vec::new(),
            in_flight: Vec::new(),
            owed: VecDeque::new(),
            aliases: Vec::new(),
        }
    }

    /// Takes bytes from the worker.
    pub fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        while let Some(header) = FixedHeader::decode(rest).expect("a fixed header") {
            let Some(body) = rest.get(header.header_len..header.total()) else {
                break;
            };
            let packet = Packet::decode(self.version, header, body)
                .unwrap_or_else(|error| panic!("{error:?}: {:02x?}", &rest[..header.total()]));
            check_from_server(&packet, self.version).expect("a packet of a server");
            assert!(
                header.total() <= self.maximum_packet,
                "{} bytes, and {} are taken: {packet:?}",
                header.total(),
                self.maximum_packet
            );
            self.take(&packet);
            rest = &rest[header.total()..];
        }
        self.unread = rest.to_vec();
    }

    /// Nothing more will come: what came must be whole packets.
    pub fn end(&self) {
        assert!(self.unread.is_empty(), "cut off: {:02x?}", self.unread);
    }

    /// The answer that it owes for the longest time.
    pub fn answer(&mut self) -> Option<(PacketType, u16)> {
        let (kind, identifier) = self.owed.pop_front()?;
        if matches!(kind, PacketType::Puback | PacketType::Pubcomp) {
            self.in_flight.retain(|&each| each != identifier);
        }
        Some((kind, identifier))
    }

    fn take(&mut self, packet: &Packet<'_>) {
        assert!(!self.is_dismissed, "{packet:?} after DISCONNECT");
        let is_connack = matches!(packet, Packet::Connack(_));
        if self.is_known {
            assert_ne!(is_connack, self.is_greeted, "{packet:?} at the wrong time");
        }
        match packet {
            Packet::Connack(connack) => {
                self.is_greeted = true;
                self.is_dismissed = connack.reason.0 != 0;
            }
            Packet::Disconnect(_) => self.is_dismissed = true,
            Packet::Publish(publish) => {
                self.check_alias(packet);
                if publish.qos != QoS::AtMostOnce {
                    self.hold(publish.packet_identifier, publish.qos, publish.dup);
                }
            }
            Packet::Pubrel(Acknowledgement {
                packet_identifier, ..
            }) => self.owe(PacketType::Pubcomp, *packet_identifier),
            _ => {}
        }
    }

    /// A message above QoS 0 has come.
    fn hold(&mut self, identifier: u16, qos: QoS, dup: bool) {
        if self.is_known {
            let is_new = !self.in_flight.contains(&identifier);
            assert!(is_new, "{identifier} is in use (DUP: {dup})");
            self.in_flight.push(identifier);
            assert!(
                self.in_flight.len() <= self.receive_maximum,
                "{} in flight, and {} are allowed",
                self.in_flight.len(),
                self.receive_maximum
            );
        }
        self.owe(
            match qos {
                QoS::ExactlyOnce => PacketType::Pubrec,
                _ => PacketType::Puback,
            },
            identifier,
        );
    }

    fn owe(&mut self, kind: PacketType, identifier: u16) {
        self.owed.push_back((kind, identifier));
    }

    /// An alias is within the maximum, and known before it stands alone.
    fn check_alias(&mut self, packet: &Packet<'_>) {
        let Packet::Publish(publish) = packet else {
            return;
        };
        let alias = noctule_packets::PropertyId::TopicAlias;
        let Some(alias) = publish.properties.two_byte(alias) else {
            assert!(!publish.topic.is_empty(), "neither a name nor an alias");
            return;
        };
        assert!(alias <= self.topic_alias_maximum, "alias {alias}");
        match publish.topic.is_empty() {
            true => assert!(self.aliases.contains(&alias), "alias {alias} is unknown"),
            false => self.aliases.push(alias),
        }
    }
}
