//! The far end of a connection: reads what a worker wrote and holds it against the rules.

use std::collections::VecDeque;

use noctule_broker::ConnectionId;
use noctule_packets::{
    Acknowledgement, FixedHeader, Packet, PacketType, Publish, QoS, Version, check_from_server,
};

use super::around::FORBIDDEN;

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
    aliases: Vec<(u16, Box<str>)>,
    /// Acknowledgements that will come, each kind and identifier in order, and the batch that
    /// must be on the disk before.
    expected: Vec<(PacketType, u16, Option<u64>)>,
    must_be_refused: bool,
    /// It may not be sent a topic.
    is_restricted: bool,
}

/// What a CONNECT announced.
pub struct Announced {
    pub version: Version,
    pub receive_maximum: u16,
    pub maximum_packet: u32,
    pub topic_alias_maximum: u16,
    /// It is banned.
    pub must_be_refused: bool,
    /// There is a topic that it may not be sent.
    pub is_restricted: bool,
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
            expected: Vec::new(),
            must_be_refused: announced.must_be_refused,
            is_restricted: announced.is_restricted,
        }
    }

    /// From here on the rules are others.
    pub fn may_be_sent_anything(&mut self) {
        self.is_restricted = false;
    }

    /// A message has been sent that is to be acknowledged, once batch `promised` is on the disk.
    pub fn expect(&mut self, kind: PacketType, identifier: u16, promised: Option<u64>) {
        self.expected.push((kind, identifier, promised));
    }

    /// Takes bytes from the worker, whose batches up to `committed` are on the disk.
    pub fn read(&mut self, bytes: &[u8], committed: u64) {
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
            self.check_promise(&packet, committed);
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
                let is_in = connack.reason.0 == 0;
                assert!(!(is_in && self.must_be_refused), "banned, and let in");
                self.is_dismissed = connack.reason.0 != 0;
            }
            Packet::Disconnect(_) => self.is_dismissed = true,
            Packet::Publish(publish) => {
                self.check_topic(publish);
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

    /// An acknowledgement says that the message is kept.
    fn check_promise(&mut self, packet: &Packet<'_>, committed: u64) {
        let (kind, identifier) = match packet {
            Packet::Puback(ack) => (PacketType::Puback, ack.packet_identifier),
            Packet::Pubrec(ack) => (PacketType::Pubrec, ack.packet_identifier),
            _ => return,
        };
        let mut expected = self.expected.iter();
        let found = expected.position(|each| (each.0, each.1) == (kind, identifier));
        let Some(found) = found.filter(|_| self.is_known) else {
            assert!(!self.is_known, "{packet:?} for nothing");
            return;
        };
        if let (_, _, Some(promised)) = self.expected.remove(found) {
            assert!(
                promised <= committed,
                "{packet:?} promises batch {promised}, and {committed} is on the disk"
            );
        }
    }

    /// An alias is within the maximum, and known before it stands alone; the topic is one that
    /// the client may be sent.
    fn check_topic(&mut self, publish: &Publish<'_>) {
        let alias = noctule_packets::PropertyId::TopicAlias;
        let alias = publish.properties.two_byte(alias);
        let mut topic = publish.topic;
        if let Some(alias) = alias {
            assert!(alias <= self.topic_alias_maximum, "alias {alias}");
            if !topic.is_empty() {
                self.aliases.push((alias, topic.into()));
            }
            let known = self.aliases.iter().rfind(|each| each.0 == alias);
            topic = &known.expect("an alias that stands alone is known").1;
        }
        assert!(!topic.is_empty(), "neither a name nor an alias");
        let is_forbidden = self.is_restricted && topic == FORBIDDEN;
        assert!(!is_forbidden, "the rules do not allow {topic}");
    }
}
