//! CONNACK: what an admitted client is told, and a refused one.

use noctule_packets::{
    Connack, Connect, Error, Packet, PropertyBuffer, PropertyId, QoS, ReasonCode, Version,
};

use super::Worker;
use super::connect::Admission;
use super::disconnect::Cause;
use crate::effect::Event;
use crate::key::ConnectionId;
use crate::time::Time;

/// A CONNECT that is refused, and what the client is told.
pub(super) struct Refusal {
    pub reason: ReasonCode,
    pub text: Option<Box<str>>,
}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Self {
        Refusal { reason, text: None }
    }
}

impl Worker {
    /// CONNACK 0x00 with everything the client must know; optional texts are left
    /// out where they do not fit. False if even the bare packet is too large.
    pub(super) fn send_connack(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        session_present: bool,
        assigned: Option<&str>,
        admission: &Admission<'_>,
    ) -> bool {
        let mut properties = PropertyBuffer::default();
        if connect.version == Version::V5 {
            self.push_terms(id, connect, assigned, &mut properties);
            if let Some(method) = connect.properties.string(PropertyId::AuthenticationMethod) {
                properties.push_string(PropertyId::AuthenticationMethod, method);
            }
            if let Some(data) = admission.authentication_data {
                properties.push_binary(PropertyId::AuthenticationData, data);
            }
        }
        let connack = Connack {
            session_present,
            reason: ReasonCode::SUCCESS,
            properties: properties.as_properties(),
        };
        self.write_packet(id, &Packet::Connack(connack))
    }

    /// The terms of this connection, and what we do and do not do, told truthfully
    /// (MQTT 5.0 §3.2.2.3): a property for whatever differs from what its absence says.
    /// The order is Mosquitto's, for those who compare bytes.
    fn push_terms(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
        assigned: Option<&str>,
        properties: &mut PropertyBuffer,
    ) {
        let limits = &self.shared.options.limits;
        let keep_alive = self.keep_alive(id, connect.keep_alive);
        if keep_alive != connect.keep_alive {
            properties.push_two_byte(PropertyId::ServerKeepAlive, keep_alive);
        }
        if limits.topic_alias_maximum != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, limits.topic_alias_maximum);
        }
        if let Some(assigned) = assigned {
            properties.push_string(PropertyId::AssignedClientIdentifier, assigned);
        }
        let asked = connect
            .properties
            .four_byte(PropertyId::SessionExpiryInterval)
            .unwrap_or(0);
        let expiry = self.session_expiry(id, connect);
        if expiry != asked {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, expiry);
        }
        self.push_offers(id, connect, properties);
    }

    fn push_offers(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
        properties: &mut PropertyBuffer,
    ) {
        let (limits, protocol) = (&self.shared.options.limits, &self.shared.options.protocol);
        let offers = [
            (PropertyId::RetainAvailable, protocol.retain_available),
            (
                PropertyId::WildcardSubscriptionAvailable,
                protocol.wildcard_subscription_available,
            ),
            (
                PropertyId::SubscriptionIdentifierAvailable,
                protocol.subscription_identifiers_available,
            ),
            (
                PropertyId::SharedSubscriptionAvailable,
                protocol.shared_subscriptions_available,
            ),
        ];
        for (property, _) in offers.iter().filter(|(_, offered)| !offered) {
            properties.push_byte(*property, 0);
        }
        let connection = self.connections.get(id.index(), id.generation());
        let max_packet_bytes = connection.map_or(u32::MAX, |each| each.largest_from_client);
        if max_packet_bytes < noctule_packets::MAX_VARIABLE {
            properties.push_four_byte(PropertyId::MaximumPacketSize, max_packet_bytes);
        }
        let asks = connect
            .properties
            .byte(PropertyId::RequestResponseInformation)
            == Some(1);
        if asks && !protocol.response_information.is_empty() {
            let information = &protocol.response_information;
            properties.push_string(PropertyId::ResponseInformation, information);
        }
        if limits.receive_maximum != u16::MAX {
            properties.push_two_byte(PropertyId::ReceiveMaximum, limits.receive_maximum);
        }
        let maximum_qos = self.maximum_qos(id);
        if maximum_qos < QoS::ExactlyOnce as u8 {
            properties.push_byte(PropertyId::MaximumQos, maximum_qos);
        }
    }

    /// CONNACK with a reason, then the end; nothing behind the CONNECT is looked at
    /// [MQTT-3.1.4-6].
    pub(super) fn refuse_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        refusal: Refusal,
        now: Time,
    ) {
        self.counters().connections_refused.add(1);
        let client: Box<str> = connect.client_identifier.into();
        let address = self
            .connection(id)
            .and_then(|connection| connection.peer.address);
        let reason = refusal.reason;
        self.note_refused(id, reason, now);
        self.tell(|| Event::Refused {
            client,
            address,
            reason,
        });
        if connect.version == Version::V5 {
            self.send_refusal(id, refusal);
        } else if let Some(code) = return_code(refusal.reason) {
            let connack = Connack {
                session_present: false,
                reason: ReasonCode(code),
                properties: Default::default(),
            };
            self.write_packet(id, &Packet::Connack(connack));
        }
        self.end_connection(id, Cause::REFUSED, now);
    }

    fn send_refusal(&mut self, id: ConnectionId, refusal: Refusal) {
        let mut properties = PropertyBuffer::default();
        if let Some(draining) = &self.draining
            && let Some(reference) = &draining.server_reference
        {
            properties.push_string(PropertyId::ServerReference, reference);
        }
        let bare = properties.clone();
        if let Some(text) = &refusal.text
            && self.shared.options.protocol.reason_strings
        {
            properties.push_string(PropertyId::ReasonString, text);
        }
        for properties in [properties, bare, PropertyBuffer::default()] {
            let connack = Connack {
                session_present: false,
                reason: refusal.reason,
                properties: properties.as_properties(),
            };
            if self.write_packet(id, &Packet::Connack(connack)) {
                return;
            }
        }
    }

    /// A CONNECT that cannot be read. Who speaks 5.0 is told the reason; who asks
    /// for a version we do not know is told so in a way that all can read.
    pub(super) fn refuse_undecodable(
        &mut self,
        id: ConnectionId,
        body: &[u8],
        error: Error,
        now: Time,
    ) {
        self.counters().connections_refused.add(1);
        let level = protocol_level(body);
        let unknown_level = noctule_packets::is_unacceptable_level(&error);
        let (version, reason) = match level {
            Some(5) if !unknown_level => (Version::V5, error.reason),
            Some(level) if unknown_level && level > 5 => (Version::V5, error.reason),
            Some(_) if unknown_level => (Version::V4, ReasonCode(UNACCEPTABLE_PROTOCOL_VERSION)),
            _ => return self.end_connection(id, Cause::by_server(error.reason, error.what), now),
        };
        if let Some(connection) = self.connection(id) {
            connection.version = version;
        }
        let connack = Connack {
            session_present: false,
            reason,
            properties: Default::default(),
        };
        self.write_packet(id, &Packet::Connack(connack));
        self.end_connection(id, Cause::by_server(error.reason, error.what), now);
    }
}

const UNACCEPTABLE_PROTOCOL_VERSION: u8 = 1;

/// The return code that 3.1 and 3.1.1 have for a reason (§3.2.2.3); none where the
/// connection is closed without a word.
fn return_code(reason: ReasonCode) -> Option<u8> {
    match reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Some(UNACCEPTABLE_PROTOCOL_VERSION),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => Some(2),
        ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED
        | ReasonCode::CONNECTION_RATE_EXCEEDED
        | ReasonCode::QUOTA_EXCEEDED => Some(3),
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => Some(4),
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED => Some(5),
        _ => None,
    }
}

/// The protocol level of a CONNECT that could not be read as a whole.
fn protocol_level(body: &[u8]) -> Option<u8> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length)))
        .map(|level| level & 0x7F)
}
