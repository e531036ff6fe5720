//! PUBLISH from a client: everything that is checked before a message goes anywhere.

use noctule_packets::{
    Error, FixedHeader, Properties, PropertyBuffer, PropertyId, QoS, RawPublish, ReasonCode,
    Version,
};

use super::Worker;
use super::consult::{HeldPublish, Sender};
use super::deliver::Publication;
use crate::connection::pause;
use crate::hooks::Hooked;
use crate::key::{ConnectionId, SessionKey};
use crate::message::{Head, Message, Parts, Sent, travelling_properties};
use crate::names::{has_control, is_reserved};
use crate::pressure::Pressure;
use crate::routes::Seen;
use crate::time::Time;
use crate::worker::timers::Timer;

/// How long a publisher is left unread after each message while memory is short.
const PRESSURE_MILLISECONDS: u64 = 10;

/// What a PUBLISH's property section says, apart from what travels with the message.
#[derive(Default)]
struct Said {
    alias: Option<u16>,
    expiry: Option<u32>,
    /// The properties as they came are those that travel.
    plain: bool,
    buffer: PropertyBuffer,
}

impl Worker {
    #[inline]
    pub(super) fn handle_publish(
        &mut self,
        id: ConnectionId,
        version: Version,
        header: FixedHeader,
        packet: &[u8],
        now: Time,
    ) -> Result<(), Error> {
        let body_at = header.header_len;
        let raw = RawPublish::decode(version, header.flags(), &packet[body_at..])?;
        let sent = Sent {
            packet,
            body_at,
            qos: raw.qos,
            has_properties: version == Version::V5,
        };
        self.counters().publish_received.add(1);
        self.counters()
            .publish_bytes_received
            .add(raw.payload.len() as u64);
        if raw.properties.is_empty() && !raw.topic.is_empty() {
            // For speed: most messages have no properties (benches/session.rs).
            let parts = Parts {
                topic: raw.topic,
                properties: &[],
                payload: raw.payload,
            };
            return self.take_publish(id, &raw, parts, Some(&sent), None, now);
        }
        self.take_publish_with_properties(id, &raw, &sent, now)
    }

    #[cold]
    fn take_publish_with_properties(
        &mut self,
        id: ConnectionId,
        raw: &RawPublish<'_>,
        sent: &Sent<'_>,
        now: Time,
    ) -> Result<(), Error> {
        let properties = raw.validate_properties()?;
        let said = self.read_properties(properties)?;
        let validate = self.shared.options.protocol.validate_payload_format;
        if validate
            && properties.byte(PropertyId::PayloadFormatIndicator) == Some(1)
            && std::str::from_utf8(raw.payload).is_err()
        {
            return self.answer_publish(
                id,
                raw.qos,
                raw.packet_identifier,
                ReasonCode::PAYLOAD_FORMAT_INVALID,
            );
        }
        let known = self.resolve_alias(id, said.alias, raw)?;
        let topic = known.as_deref().unwrap_or(raw.topic);
        if topic.is_empty() {
            return Err(Error::protocol_error(
                "PUBLISH with neither a topic name nor a topic alias",
            ));
        }
        let travelling = if said.plain {
            raw.properties
        } else {
            said.buffer.as_properties().as_bytes()
        };
        let parts = Parts {
            topic,
            properties: travelling,
            payload: raw.payload,
        };
        let sent = (said.plain && known.is_none()).then_some(sent);
        self.take_publish(id, raw, parts, sent, said.expiry, now)
    }

    fn read_properties(&self, properties: Properties<'_>) -> Result<Said, Error> {
        let most = self.shared.options.limits.max_properties_per_packet as usize;
        let mut said = Said {
            plain: true,
            ..Said::default()
        };
        for (count, property) in properties.iter().enumerate() {
            if count >= most {
                return Err(Error {
                    reason: ReasonCode::QUOTA_EXCEEDED,
                    what: "too many properties",
                });
            }
            match property.id {
                PropertyId::TopicAlias | PropertyId::MessageExpiryInterval => said.plain = false,
                PropertyId::SubscriptionIdentifier => {
                    return Err(Error::protocol_error(
                        "a client's PUBLISH has no subscription identifier",
                    ));
                }
                _ => {}
            }
        }
        if !said.plain {
            said.alias = properties.two_byte(PropertyId::TopicAlias);
            said.expiry = travelling_properties(properties, &mut said.buffer);
        }
        Ok(said)
    }

    /// Sets or looks up a topic alias; the topic it stands for if there was none.
    fn resolve_alias(
        &mut self,
        id: ConnectionId,
        alias: Option<u16>,
        raw: &RawPublish<'_>,
    ) -> Result<Option<Box<[u8]>>, Error> {
        let Some(alias) = alias else { return Ok(None) };
        let invalid = |what| Error {
            reason: ReasonCode::TOPIC_ALIAS_INVALID,
            what,
        };
        if alias == 0 || alias > self.shared.options.limits.topic_alias_maximum {
            return Err(invalid(
                "a topic alias outside of 1 to the topic alias maximum",
            ));
        }
        if !raw.topic.is_empty() {
            raw.validate_topic()?;
        }
        let Some(connection) = self.connection(id) else {
            return Ok(None);
        };
        let aliases = connection.incoming_aliases.get_or_insert_default();
        if raw.topic.is_empty() {
            let unknown = || Error::protocol_error("a topic alias that was never set");
            return aliases
                .topic(alias)
                .map(|topic| Some(topic.into()))
                .ok_or_else(unknown);
        }
        aliases.set(alias, raw.topic);
        Ok(None)
    }

    /// A PUBLISH whose topic and properties are known.
    #[inline(always)]
    fn take_publish(
        &mut self,
        id: ConnectionId,
        raw: &RawPublish<'_>,
        parts: Parts<'_>,
        sent: Option<&Sent<'_>>,
        expiry: Option<u32>,
        now: Time,
    ) -> Result<(), Error> {
        if let Some(policy) = self.policy(id) {
            if raw.qos as u8 > policy.maximum_qos {
                return Err(Error {
                    reason: ReasonCode::QOS_NOT_SUPPORTED,
                    what: "QoS above the maximum",
                });
            }
            if let Some(prefix) = self.prefix(id) {
                return self.take_mounted(id, raw, parts, &prefix, expiry, now);
            }
        }
        self.take_named(id, raw, parts, sent, expiry, now)
    }

    /// A PUBLISH whose topic is what the broker calls it.
    #[inline]
    pub(super) fn take_named(
        &mut self,
        id: ConnectionId,
        raw: &RawPublish<'_>,
        parts: Parts<'_>,
        sent: Option<&Sent<'_>>,
        expiry: Option<u32>,
        now: Time,
    ) -> Result<(), Error> {
        let seen = self.routes.look(parts.topic);
        if !seen.before() {
            let reason = self.check_topic(parts.topic)?;
            if reason.is_error() {
                return self.refuse_publish(id, raw, reason);
            }
        }
        let protocol = &self.shared.options.protocol;
        if raw.qos as u8 > protocol.maximum_qos {
            return Err(Error {
                reason: ReasonCode::QOS_NOT_SUPPORTED,
                what: "QoS above the maximum",
            });
        }
        if raw.retain && !protocol.retain_available {
            return Err(Error {
                reason: ReasonCode::RETAIN_NOT_SUPPORTED,
                what: "RETAIN is not available",
            });
        }
        self.charge_rate(id, raw.payload.len(), now);
        let Some((connection, session)) = self.open(id) else {
            return Ok(());
        };
        let publisher = connection.session;
        if raw.qos == QoS::ExactlyOnce {
            if session.received.contains(raw.packet_identifier) {
                // Taken before: answered again, never passed on again [MQTT-4.3.3-10].
                self.gate_all(id);
                return self.answer_publish(
                    id,
                    raw.qos,
                    raw.packet_identifier,
                    ReasonCode::SUCCESS,
                );
            }
            let version = connection.version;
            let open = session.received.len();
            if version == Version::V5
                && open >= usize::from(self.shared.options.limits.receive_maximum)
            {
                let reason = ReasonCode::RECEIVE_MAXIMUM_EXCEEDED;
                return Err(Error {
                    reason,
                    what: "more QoS 2 messages than the receive maximum",
                });
            }
        }
        if parts.topic[0] == b'$' && (is_reserved(parts.topic) || self.prefix(id).is_some()) {
            // $-topics are the broker's own [MQTT-4.7.2-1].
            self.tell_denied_bytes(publisher, parts.topic, raw.qos, raw.retain);
            let reason = self.not_authorized();
            return self.answer_publish(id, raw.qos, raw.packet_identifier, reason);
        }
        if !self.may_publish_bytes(publisher, parts.topic, raw.qos, raw.retain) {
            self.tell_denied_bytes(publisher, parts.topic, raw.qos, raw.retain);
            let reason = self.not_authorized();
            return self.answer_publish(id, raw.qos, raw.packet_identifier, reason);
        }
        let deadline = expiry.map_or(Time::NEVER, |seconds| now.after_seconds(u64::from(seconds)));
        if self.must_ask(publisher, parts.topic, raw.qos, raw.retain) {
            self.hold_publish(id, raw, publisher, parts, deadline, now);
            return Ok(());
        }
        let head = Head {
            publisher,
            arrived: now,
            deadline,
            qos: raw.qos,
            retain: raw.retain,
        };
        let mut publication = Publication {
            head,
            parts,
            sent,
            message: None,
            exchange: match raw.qos {
                QoS::ExactlyOnce => raw.packet_identifier,
                _ => 0,
            },
            sequence: 0,
        };
        let promised = self.journal.promised();
        let reason = self.publish(&mut publication, seen, now);
        if raw.qos != QoS::AtMostOnce {
            self.gate_since(id, promised);
        }
        self.answer_publish(id, raw.qos, raw.packet_identifier, reason)
    }

    /// Puts a message aside until the hooks have had their say.
    #[cold]
    fn hold_publish(
        &mut self,
        id: ConnectionId,
        raw: &RawPublish<'_>,
        publisher: SessionKey,
        parts: Parts<'_>,
        deadline: Time,
        now: Time,
    ) {
        let (Some(who), Ok(topic)) = (self.who(publisher), std::str::from_utf8(parts.topic)) else {
            return;
        };
        let held = HeldPublish {
            sender: Some(Sender {
                id,
                qos: raw.qos,
                packet_identifier: raw.packet_identifier,
            }),
            publisher,
            who,
            permissions: None,
            arrived: now,
            deadline,
            topic: topic.into(),
            payload: parts.payload.into(),
            properties: parts.properties.into(),
            qos: raw.qos,
            retain: raw.retain,
            hooked: false,
            allowed: None,
        };
        self.advance_publish(Box::new(held), now);
    }

    /// Whether a topic name is one, and one that we take: an outer error ends the
    /// connection, a reason code is for this message alone.
    #[cold]
    pub(super) fn check_topic(&self, topic: &[u8]) -> Result<ReasonCode, Error> {
        let limits = &self.shared.options.limits;
        let Ok(name) = std::str::from_utf8(topic) else {
            return Err(Error::malformed("a topic name that is not UTF-8"));
        };
        if name.contains('\0') {
            return Err(Error::malformed("U+0000 in a topic name"));
        }
        noctule_topics::validate_name(name).map_err(|error| Error::malformed(error.0))?;
        if has_control(name) {
            return Err(Error::malformed("a control character in a topic name"));
        }
        let too_long = name.len() > limits.max_topic_bytes as usize;
        if too_long || noctule_topics::levels(name) > limits.max_topic_levels as usize {
            return Ok(ReasonCode::TOPIC_NAME_INVALID);
        }
        Ok(ReasonCode::SUCCESS)
    }

    /// Refuses one message of a client that can be told so; else ends its connection.
    pub(super) fn refuse_publish(
        &mut self,
        id: ConnectionId,
        raw: &RawPublish<'_>,
        reason: ReasonCode,
    ) -> Result<(), Error> {
        let version = self.connection(id).map(|connection| connection.version);
        if version != Some(Version::V5) || raw.qos == QoS::AtMostOnce {
            return Err(Error {
                reason,
                what: "a topic name beyond max_topic_bytes or max_topic_levels",
            });
        }
        self.answer_publish(id, raw.qos, raw.packet_identifier, reason)
    }

    /// Stores and routes a message; returns what its publisher is to be told.
    #[inline]
    pub(super) fn publish(
        &mut self,
        publication: &mut Publication<'_>,
        seen: Seen,
        now: Time,
    ) -> ReasonCode {
        if publication.head.deadline <= now {
            return ReasonCode::SUCCESS;
        }
        if publication.head.qos != QoS::AtMostOnce && self.shared.pressure() == Pressure::Full {
            return ReasonCode::QUOTA_EXCEEDED;
        }
        if publication.head.retain {
            let reason = self.retain(publication);
            if reason.is_error() && publication.head.qos != QoS::AtMostOnce {
                return reason;
            }
        }
        self.route(publication, seen, now)
    }

    /// Publishes on the broker's own account. The topic is a valid topic name; of the
    /// others nothing is asked, and no permission either.
    pub fn publish_own(&mut self, own: &Hooked, now: Time) {
        let head = Head {
            publisher: SessionKey::BROKER,
            arrived: now,
            deadline: own
                .expiry_seconds
                .map_or(Time::NEVER, |seconds| now.after_seconds(u64::from(seconds))),
            qos: own.qos,
            retain: own.retain,
        };
        let parts = Parts {
            topic: own.topic.as_bytes(),
            properties: &own.properties,
            payload: &own.payload,
        };
        self.publish_message(Message::new(head, parts), now);
        self.settle(now);
    }

    /// Publishes on the broker's own account, or on that of a client that is gone.
    pub(super) fn publish_message(&mut self, message: Message, now: Time) {
        let head = *message.head();
        let known = message.clone();
        let parts = known.parts();
        let seen = self.routes.look(parts.topic);
        let mut publication = Publication {
            head,
            parts,
            sent: None,
            message: Some(message),
            exchange: 0,
            sequence: 0,
        };
        if head.deadline <= now {
            return;
        }
        // Nobody is there to be told of a refusal, and the message is in memory already:
        // what cannot be retained is passed on all the same.
        if head.retain {
            self.retain(&mut publication);
        }
        if self.route(&mut publication, seen, now).is_error() {
            self.counters().publish_dropped.add(1);
        }
    }

    /// PUBACK or PUBREC with `reason`. At QoS 0, an error a 5.0 client must know of
    /// ends the connection.
    #[inline]
    pub(super) fn answer_publish(
        &mut self,
        id: ConnectionId,
        qos: QoS,
        packet_identifier: u16,
        reason: ReasonCode,
    ) -> Result<(), Error> {
        match qos {
            QoS::AtMostOnce if reason == ReasonCode::PAYLOAD_FORMAT_INVALID => {
                return Err(Error {
                    reason,
                    what: "the payload is not the UTF-8 it is said to be",
                });
            }
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send_puback(id, packet_identifier, reason),
            QoS::ExactlyOnce => self.send_pubrec(id, packet_identifier, reason),
        }
        Ok(())
    }

    /// Pauses a client that publishes faster than it may, or than memory allows.
    #[inline]
    fn charge_rate(&mut self, id: ConnectionId, bytes: usize, now: Time) {
        if self.shared.pressure() != Pressure::None {
            self.pause(id, pause::MEMORY);
            self.wheel.insert(
                now.after_milliseconds(PRESSURE_MILLISECONDS),
                Timer::Rate(id),
            );
        }
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        let Some(rates) = connection
            .rare
            .as_mut()
            .and_then(|rare| rare.limits.as_mut())
        else {
            return;
        };
        rates
            .messages_in
            .iter_mut()
            .for_each(|bucket| bucket.spend(1));
        rates
            .bytes_in
            .iter_mut()
            .for_each(|bucket| bucket.spend(bytes as u64));
        if let Some(until) = rates.next_receive(now) {
            self.pause(id, pause::RATE);
            self.wheel.insert(until, Timer::Rate(id));
        }
    }
}
