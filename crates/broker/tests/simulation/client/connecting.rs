//! CONNECT, CONNACK and DISCONNECT from the client's side.

use noctule_packets::{
    Auth, Connack, Connect, Disconnect, Packet, PropertyBuffer, PropertyId, QoS, ReasonCode,
    Version, Will,
};

use super::{Client, Connection, Stage};
use crate::ledger::wills::Wills;
use crate::link::{Announced, AnnouncedWill};
use crate::scene::{Scene, note};

impl Client {
    /// Writes a CONNECT; says what is in it. `tidy`: as it must be to come to rest,
    /// with state kept and no will.
    pub fn connect(&mut self, link: usize, tidy: bool, scene: &mut Scene) -> Announced {
        let habits = self.habits.clone();
        let modern = habits.version == Version::V5;
        let transient = habits.expiry_seconds == 0;
        let clean_start =
            self.must_clean || (transient && !modern) || (!tidy && scene.random.chance(5));
        let expiry_seconds = match clean_start && !modern {
            true => 0,
            false => habits.expiry_seconds,
        };
        if clean_start {
            self.discard_session(scene);
            self.must_clean = true;
        }
        self.connection = Connection {
            clean_start,
            expiry_seconds,
            begun: scene.now,
            last_sent: scene.now,
            silent: !tidy && habits.keep_alive != 0 && scene.random.chance(5),
            ..Connection::default()
        };
        // The witness may be dropped for where queues are short, and wills with it.
        let witnessed = self.index != 0 && !scene.ledger.tight;
        let wants_will = !tidy && witnessed && scene.random.chance(40);
        let will = wants_will.then(|| AnnouncedWill {
            number: scene.ledger.wills.add(self.index),
            delay_seconds: if modern {
                scene.random.pick(&[0, 0, 1, 4])
            } else {
                0
            },
        });
        let announced = Announced {
            version: habits.version,
            clean_start,
            expiry_seconds,
            keep_alive: habits.keep_alive,
            will,
        };
        note!(
            scene,
            "{} connects by link {link}: {announced:?}",
            self.name
        );
        self.write_connect(&announced, scene);
        self.stage = Stage::Waiting;
        self.link = Some(link);
        self.hangs_up = false;
        self.may_be_ended = self.connection.silent;
        announced
    }

    fn write_connect(&mut self, announced: &Announced, scene: &mut Scene) {
        let mut properties = PropertyBuffer::default();
        if announced.expiry_seconds != 0 {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, announced.expiry_seconds);
        }
        let habits = &self.habits;
        if habits.receive_maximum != 0 {
            properties.push_two_byte(PropertyId::ReceiveMaximum, habits.receive_maximum);
        }
        if habits.traits.largest_packet != 0 {
            let largest = habits.traits.largest_packet;
            properties.push_four_byte(PropertyId::MaximumPacketSize, largest);
        }
        if habits.alias_maximum != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, habits.alias_maximum);
        }
        let topic = format!("w/{}", self.name);
        let payload = announced.will.map(|will| Wills::payload(will.number));
        let mut will_properties = PropertyBuffer::default();
        let delay = announced.will.map_or(0, |will| will.delay_seconds);
        if delay != 0 {
            will_properties.push_four_byte(PropertyId::WillDelayInterval, delay);
        }
        let will = payload.as_ref().map(|payload| Will {
            topic: &topic,
            payload,
            qos: scene
                .random
                .pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
            retain: scene.random.chance(30),
            properties: will_properties.as_properties(),
        });
        let connect = Connect {
            version: announced.version,
            bridge: false,
            clean_start: announced.clean_start,
            keep_alive: announced.keep_alive,
            client_identifier: &self.name,
            will,
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        };
        connect.encode(&mut self.out);
    }

    pub(super) fn handle_connack(&mut self, connack: Connack<'_>, scene: &mut Scene) {
        let properties = connack.properties;
        if connack.reason != ReasonCode::SUCCESS {
            note!(scene, "{} is refused: {:?}", self.name, connack.reason);
            assert!(self.may_be_ended, "{} was refused", self.name);
            self.hangs_up = true;
            return;
        }
        note!(
            scene,
            "{} is in, session present {}",
            self.name,
            connack.session_present
        );
        // 3.1 has no session present: its sessions are kept or clean, and that is known.
        let kept = self.has_state && !self.connection.clean_start;
        let present = match self.habits.version {
            Version::V3 => kept,
            _ => connack.session_present,
        };
        if present {
            assert!(
                kept,
                "{} has no state for the session it is said to have",
                self.name
            );
        } else {
            self.discard_session(scene);
        }
        self.has_state = true;
        self.must_clean = false;
        self.stage = Stage::Open;
        let two_byte =
            |property, absent| usize::from(properties.two_byte(property).unwrap_or(absent));
        self.connection.server_aliases = two_byte(PropertyId::TopicAliasMaximum, 0);
        self.connection.server_receive_maximum = two_byte(PropertyId::ReceiveMaximum, u16::MAX);
        self.connection.session_present = present;
        self.send_again(scene);
    }

    pub(super) fn handle_disconnect(&mut self, disconnect: Disconnect<'_>, scene: &mut Scene) {
        note!(scene, "{} is sent away: {}", self.name, disconnect.reason);
        let expected = match disconnect.reason {
            ReasonCode::KEEP_ALIVE_TIMEOUT => self.connection.silent,
            ReasonCode::QUOTA_EXCEEDED => scene.ledger.may_refuse,
            _ => false,
        };
        let text = disconnect.properties.string(PropertyId::ReasonString);
        assert!(
            expected,
            "{} was sent away: {} ({text:?})",
            self.name, disconnect.reason
        );
        self.hangs_up = true;
    }

    /// Says goodbye; reason and session expiry interval of its DISCONNECT.
    pub fn disconnect(&mut self, finally: bool, scene: &mut Scene) -> (u8, Option<u32>) {
        let modern = self.habits.version == Version::V5;
        let with_will = modern && !finally && scene.random.chance(30);
        let reason = match with_will {
            true => ReasonCode::DISCONNECT_WITH_WILL_MESSAGE,
            false => ReasonCode::NORMAL_DISCONNECTION,
        };
        let mut properties = PropertyBuffer::default();
        let mut expiry = None;
        let may_change = modern && self.connection.expiry_seconds != 0;
        if may_change && (finally || scene.random.chance(20)) {
            let seconds = if finally {
                0
            } else {
                scene.random.pick(&[0, 1, 60])
            };
            properties.push_four_byte(PropertyId::SessionExpiryInterval, seconds);
            expiry = Some(seconds);
        }
        let disconnect = Disconnect {
            reason,
            properties: properties.as_properties(),
        };
        note!(scene, "{} says goodbye: {} {expiry:?}", self.name, reason.0);
        self.write(&Packet::Disconnect(disconnect), scene);
        if expiry == Some(0) {
            // Whether the broker hears of it is not known.
            self.discard_session(scene);
            self.must_clean = true;
        }
        (reason.0, expiry)
    }

    pub(super) fn write(&mut self, packet: &Packet<'_>, scene: &mut Scene) {
        packet.encode(self.habits.version, &mut self.out);
        self.connection.last_sent = scene.now;
    }

    pub(super) fn handle_auth(&mut self, _: Auth<'_>) {
        panic!("{} got an AUTH it never asked for", self.name);
    }
}
