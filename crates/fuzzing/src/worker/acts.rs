//! What clients do: packets good and bad, wanted or not.

use noctule_broker::Peer;
use noctule_packets::{
    Acknowledgement, Connect, Packet, PacketType, Properties, PropertyBuffer, PropertyId, Publish,
    QoS, Subscribe, SubscriptionRequest, Unsubscribe, Version, Will,
};

use super::around::FORBIDDEN;
use super::client::{Announced, Client};
use super::house::House;
use super::script::Script;

pub const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", ""];
pub const TOPICS: [&str; 6] = [
    "t",
    "t/u",
    "t/u/v",
    FORBIDDEN,
    "$SYS/x",
    "long/long/long/long",
];
const FILTERS: [&str; 12] = [
    "t",
    "t/u",
    "#",
    "+/u",
    "t/#",
    "+",
    "w",
    "$share/g/t/#",
    "$share/g/#",
    "$share/h/t",
    "t/#/u",
    "$SYS/#",
];

impl House {
    pub fn connect(&mut self, door: usize, script: &mut Script<'_>) {
        self.cut(door);
        let version = script.choose(&[Version::V5, Version::V4, Version::V3]);
        let name = script.choose(&NAMES);
        // The two halves of the doors are listeners, and one may have a policy.
        let listener = door as u16 / 2;
        let is_open = listener == 0 || self.shared.options().policies.is_empty();
        let flags = script.byte();
        let must_be_refused = self.shared.bans().bars_client(name, self.now);
        let announced = Announced {
            version,
            must_be_refused,
            is_restricted: name == "c" && is_open && !self.has_new_rules && self.authenticates(),
            receive_maximum: if version == Version::V5 {
                script.choose(&[0, 1, 2, 5])
            } else {
                0
            },
            maximum_packet: if version == Version::V5 && flags & 1 != 0 {
                script.choose(&[20, 60, 200])
            } else {
                0
            },
            topic_alias_maximum: if version == Version::V5 {
                script.choose(&[0, 1, 3])
            } else {
                0
            },
        };
        let mut properties = PropertyBuffer::new();
        if announced.receive_maximum != 0 {
            properties.push_two_byte(PropertyId::ReceiveMaximum, announced.receive_maximum);
        }
        if announced.maximum_packet != 0 {
            properties.push_four_byte(PropertyId::MaximumPacketSize, announced.maximum_packet);
        }
        if announced.topic_alias_maximum != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, announced.topic_alias_maximum);
        }
        if flags & 2 != 0 {
            let seconds = script.choose(&[1, 100, u32::MAX]);
            properties.push_four_byte(PropertyId::SessionExpiryInterval, seconds);
        }
        let mut will = PropertyBuffer::new();
        if flags & 4 != 0 {
            will.push_four_byte(PropertyId::WillDelayInterval, script.choose(&[0, 1, 100]));
        }
        let connect = Connect {
            version,
            bridge: flags & 0x80 != 0 && version < Version::V5,
            clean_start: flags & 8 == 0,
            keep_alive: script.choose(&[0, 1, 60]),
            client_identifier: name,
            will: (flags & 16 != 0).then(|| Will {
                topic: script.choose(&TOPICS),
                payload: b"gone",
                qos: qos(flags >> 5),
                retain: flags & 4 == 0,
                properties: in_5(version, &will),
            }),
            user_name: None,
            password: None,
            properties: in_5(version, &properties),
        };
        let worker = self.shared.worker_of(name);
        let deadline = self.now.after_seconds(10);
        let peer = Peer {
            address: Some([127, 0, 0, door as u8].into()),
            listener,
            ..Peer::default()
        };
        let id = self.workers[worker].accepted(peer, deadline, self.now);
        self.clients[door] = Some(Client::new(worker, id, &announced));
        self.send(door, &Packet::Connect(connect));
    }

    pub fn publish(&mut self, door: usize, script: &mut Script<'_>) {
        let Some(version) = self.version(door) else {
            return;
        };
        let flags = script.byte();
        let mut properties = PropertyBuffer::new();
        if flags & 8 != 0 {
            let seconds = script.choose(&[1, 100]);
            properties.push_four_byte(PropertyId::MessageExpiryInterval, seconds);
        }
        let alias = script.choose(&[0, 0, 1, 2, 101]);
        if alias != 0 {
            properties.push_two_byte(PropertyId::TopicAlias, alias);
        }
        let topic = script.choose(&TOPICS);
        let has_alias_only = flags & 16 != 0 && alias != 0 && version == Version::V5;
        let qos = qos(flags);
        let publish = Publish {
            dup: flags & 32 != 0 && qos != QoS::AtMostOnce,
            qos,
            retain: flags & 4 != 0,
            topic: if has_alias_only { "" } else { topic },
            packet_identifier: match qos {
                QoS::AtMostOnce => 0,
                _ => u16::from(script.byte() % 8) + 1,
            },
            properties: in_5(version, &properties),
            payload: script.bytes(),
        };
        let kind = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(PacketType::Puback),
            QoS::ExactlyOnce => Some(PacketType::Pubrec),
        };
        let identifier = publish.packet_identifier;
        let Some(promised) = self.send(door, &Packet::Publish(publish)) else {
            return;
        };
        if let (Some(kind), Some(client)) = (kind, &mut self.clients[door]) {
            client.expect(kind, identifier, promised);
        }
    }

    pub fn subscribe(&mut self, door: usize, script: &mut Script<'_>) {
        let Some(version) = self.version(door) else {
            return;
        };
        let mut requests = Vec::new();
        for _ in 0..=script.byte() % 3 {
            let flags = script.byte();
            let request = SubscriptionRequest {
                filter: script.choose(&FILTERS),
                qos: qos(flags),
                no_local: flags & 4 != 0,
                retain_as_published: flags & 8 != 0,
                retain_handling: (flags >> 4) % 3,
            };
            request.encode(version, &mut requests);
        }
        let mut properties = PropertyBuffer::new();
        let identifier = script.choose(&[0, 1, 300]);
        if identifier != 0 {
            properties.push_variable(PropertyId::SubscriptionIdentifier, identifier);
        }
        let properties = in_5(version, &properties);
        if let Ok(packet) = Subscribe::new(version, 9, properties, &requests) {
            self.send(door, &Packet::Subscribe(packet));
        }
    }

    pub fn unsubscribe(&mut self, door: usize, script: &mut Script<'_>) {
        let filter = script.choose(&FILTERS);
        let mut filters = (filter.len() as u16).to_be_bytes().to_vec();
        filters.extend_from_slice(filter.as_bytes());
        let packet = Unsubscribe::new(9, Properties::EMPTY, &filters);
        self.send(door, &Packet::Unsubscribe(packet.expect("an UNSUBSCRIBE")));
    }

    pub fn read(&mut self, door: usize, script: &mut Script<'_>) {
        let most = script.choose(&[usize::MAX, 1, 7, 100]);
        self.take(door, most);
    }

    /// The client acknowledges what it has read.
    pub fn answer(&mut self, door: usize) {
        let Some(client) = &mut self.clients[door] else {
            return;
        };
        if client.is_paused || client.is_closing {
            return;
        }
        let Some((kind, identifier)) = client.answer() else {
            return;
        };
        let packet = Acknowledgement::success(identifier);
        let mut bytes = Vec::new();
        packet.encode(kind, client.version, &mut bytes);
        self.deliver(door, &bytes);
    }

    /// Anything at all: from here on nobody knows what the client has acknowledged.
    pub fn send_raw(&mut self, door: usize, script: &mut Script<'_>) {
        let bytes = script.bytes();
        if let Some(client) = &mut self.clients[door] {
            client.is_known = false;
        }
        self.deliver(door, bytes);
    }

    /// Packets without much to say, wanted or not.
    pub fn send_small(&mut self, door: usize, script: &mut Script<'_>) {
        let choice = script.byte();
        let identifier = u16::from(choice >> 4) + 1;
        let kind = match choice % 6 {
            0 => return self.say(door, &Packet::Pingreq),
            1 => {
                let reason = noctule_packets::ReasonCode(script.choose(&[0, 4]));
                let packet = noctule_packets::Disconnect::with_reason(reason);
                return self.say(door, &Packet::Disconnect(packet));
            }
            2 => PacketType::Puback,
            3 => PacketType::Pubrec,
            // The client's own QoS 2 messages go on; nothing of what it was sent does.
            4 => {
                let packet = Acknowledgement::success(identifier);
                return self.say(door, &Packet::Pubrel(packet));
            }
            _ => PacketType::Pubcomp,
        };
        let Some(client) = &mut self.clients[door] else {
            return;
        };
        client.is_known = false;
        let mut bytes = Vec::new();
        Acknowledgement::success(identifier).encode(kind, client.version, &mut bytes);
        self.deliver(door, &bytes);
    }

    /// Whether everybody is asked who they are.
    fn authenticates(&self) -> bool {
        let hooked = self.hooks.as_ref().is_some_and(|hooks| hooks.connect);
        hooked || self.shared.options().authentication
    }

    fn version(&self, door: usize) -> Option<Version> {
        self.clients[door].as_ref().map(|client| client.version)
    }

    fn say(&mut self, door: usize, packet: &Packet<'_>) {
        self.send(door, packet);
    }

    /// As [`House::deliver`].
    fn send(&mut self, door: usize, packet: &Packet<'_>) -> Option<Option<u64>> {
        let mut bytes = Vec::new();
        packet.encode(self.version(door)?, &mut bytes);
        self.deliver(door, &bytes)
    }

    /// Bytes reach the worker, unless it leaves them unread (`None`). Returns the batch with
    /// which a message among them comes onto the disk, if one does that somebody waits for.
    fn deliver(&mut self, door: usize, bytes: &[u8]) -> Option<Option<u64>> {
        let client = self.clients[door].as_ref();
        let client = client.filter(|each| !each.is_paused && !each.is_closing)?;
        let worker = client.worker;
        self.workers[worker].received(client.id, bytes, self.now);
        let promised = self.submit(worker);
        self.run();
        Some(promised)
    }
}

pub fn qos(choice: u8) -> QoS {
    QoS::from_u8(choice & 3).unwrap_or(QoS::ExactlyOnce)
}

/// The properties in 5.0, nothing before.
fn in_5(version: Version, properties: &PropertyBuffer) -> Properties<'_> {
    match version {
        Version::V5 => properties.as_properties(),
        _ => Properties::EMPTY,
    }
}
