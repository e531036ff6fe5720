//! Arbitrary packets of every type and version: decode(encode(packet)) == packet.

use noctule_packets::{
    Acknowledgement, Auth, Connack, Connect, Disconnect, Packet, PacketType, Properties,
    PropertyId, Publish, QoS, ReasonCode, Suback, Subscribe, SubscriptionRequest, Unsuback,
    Unsubscribe, Version, Will,
};
use proptest::prelude::*;

use crate::values::{Section, binary, packet_identifier, qos, section, text, topic, version};
use crate::vector;

use PropertyId::*;

const CONNECT: &[PropertyId] = &[
    SessionExpiryInterval,
    AuthenticationMethod,
    RequestProblemInformation,
    RequestResponseInformation,
    ReceiveMaximum,
    TopicAliasMaximum,
    MaximumPacketSize,
];
const WILL: &[PropertyId] = &[
    PayloadFormatIndicator,
    MessageExpiryInterval,
    ContentType,
    ResponseTopic,
    CorrelationData,
    WillDelayInterval,
];
const CONNACK: &[PropertyId] = &[
    SessionExpiryInterval,
    AssignedClientIdentifier,
    ServerKeepAlive,
    AuthenticationMethod,
    ResponseInformation,
    ServerReference,
    ReasonString,
    ReceiveMaximum,
    TopicAliasMaximum,
    MaximumQos,
    RetainAvailable,
    MaximumPacketSize,
    WildcardSubscriptionAvailable,
    SubscriptionIdentifierAvailable,
    SharedSubscriptionAvailable,
];
const PUBLISH: &[PropertyId] = &[
    PayloadFormatIndicator,
    MessageExpiryInterval,
    ContentType,
    ResponseTopic,
    CorrelationData,
    SubscriptionIdentifier,
    TopicAlias,
];
const ACKNOWLEDGEMENT: &[PropertyId] = &[ReasonString];
const DISCONNECT: &[PropertyId] = &[SessionExpiryInterval, ServerReference, ReasonString];

/// The reason codes that 5.0 has for a packet.
fn reason(kind: PacketType) -> impl Strategy<Value = ReasonCode> {
    let allowed = (0..=0xFF)
        .map(ReasonCode)
        .filter(|reason| reason.allowed_in(kind));
    prop::sample::select(allowed.collect::<Vec<_>>())
}

/// The section in 5.0, nothing before.
fn properties(version: Version, section: &Section) -> Properties<'_> {
    match version {
        Version::V5 => section.buffer.as_properties(),
        _ => Properties::EMPTY,
    }
}

fn check(version: Version, packet: Packet<'_>) -> Result<(), TestCaseError> {
    let mut encoded = b"before".to_vec();
    packet.encode(version, &mut encoded);
    prop_assert_eq!(&encoded[..6], b"before");
    let again = vector::decode(version, &encoded[6..]);
    prop_assert_eq!(again, Ok((packet, encoded.len() - 6)));
    Ok(())
}

fn check_values(properties: Properties<'_>, section: &Section) -> Result<(), TestCaseError> {
    let values: Vec<_> = properties
        .iter()
        .map(|property| (property.id, property.value))
        .collect();
    let expected: Vec<_> = section
        .values
        .iter()
        .map(|(id, value)| (*id, value.borrow()))
        .collect();
    prop_assert_eq!(values, expected);
    prop_assert_eq!(properties.count(), section.values.len());
    let raw: Vec<u8> = properties
        .iter()
        .flat_map(|property| property.raw.to_vec())
        .collect();
    prop_assert_eq!(raw, properties.as_bytes());
    Ok(())
}

proptest! {
    #[test]
    fn connect_round_trips(
        version in version(),
        (bridge, clean_start) in any::<(bool, bool)>(),
        keep_alive in any::<u16>(),
        client_identifier in text(),
        will in prop::option::of((topic(), binary(), qos(), any::<bool>(), section(WILL))),
        user_name in prop::option::of(text()),
        password in prop::option::of(binary()),
        section in section(CONNECT),
    ) {
        check(version, Packet::Connect(Connect {
            version,
            bridge: bridge && version < Version::V5,
            clean_start,
            keep_alive,
            client_identifier: &client_identifier,
            will: will.as_ref().map(|(topic, payload, qos, retain, section)| Will {
                topic,
                payload,
                qos: *qos,
                retain: *retain,
                properties: properties(version, section),
            }),
            user_name: user_name.as_deref(),
            password: password
                .as_deref()
                .filter(|_| user_name.is_some() || version == Version::V5),
            properties: properties(version, &section),
        }))?;
    }

    #[test]
    fn connack_round_trips(
        version in version(),
        session_present in any::<bool>(),
        reason in reason(PacketType::Connack),
        return_code in 0..=5u8,
        section in section(CONNACK),
    ) {
        let reason = if version < Version::V5 { ReasonCode(return_code) } else { reason };
        check(version, Packet::Connack(Connack {
            session_present: session_present
                && version > Version::V3
                && reason == ReasonCode::SUCCESS,
            reason,
            properties: properties(version, &section),
        }))?;
    }

    #[test]
    fn publish_round_trips(
        version in version(),
        qos in qos(),
        (dup, retain, by_alias) in any::<(bool, bool, bool)>(),
        topic in topic(),
        packet_identifier in packet_identifier(),
        payload in binary(),
        section in section(PUBLISH),
    ) {
        let properties = properties(version, &section);
        let has_alias = properties.two_byte(TopicAlias).is_some();
        check(version, Packet::Publish(Publish {
            dup: dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            topic: if by_alias && has_alias { "" } else { &topic },
            packet_identifier: if qos == QoS::AtMostOnce { 0 } else { packet_identifier },
            properties,
            payload: &payload,
        }))?;
    }

    #[test]
    fn acknowledgements_round_trip(
        version in version(),
        packet_identifier in packet_identifier(),
        section in section(ACKNOWLEDGEMENT),
        puback in reason(PacketType::Puback),
        pubcomp in reason(PacketType::Pubcomp),
    ) {
        let acknowledgement = |reason| Acknowledgement {
            packet_identifier,
            reason: if version < Version::V5 { ReasonCode::SUCCESS } else { reason },
            properties: properties(version, &section),
        };
        check(version, Packet::Puback(acknowledgement(puback)))?;
        check(version, Packet::Pubrec(acknowledgement(puback)))?;
        check(version, Packet::Pubrel(acknowledgement(pubcomp)))?;
        check(version, Packet::Pubcomp(acknowledgement(pubcomp)))?;
    }

    #[test]
    fn subscribe_round_trips(
        version in version(),
        packet_identifier in packet_identifier(),
        requests in prop::collection::vec(
            (text(), qos(), any::<(bool, bool)>(), 0..=2u8), 1..5,
        ),
        section in section(&[SubscriptionIdentifier]),
    ) {
        let is_5 = version == Version::V5;
        let requests: Vec<_> = requests
            .iter()
            .map(|(filter, qos, (no_local, retain_as_published), retain_handling)| {
                SubscriptionRequest {
                    filter,
                    qos: *qos,
                    no_local: *no_local && is_5,
                    retain_as_published: *retain_as_published && is_5,
                    retain_handling: if is_5 { *retain_handling } else { 0 },
                }
            })
            .collect();
        let mut raw = Vec::new();
        for request in &requests {
            request.encode(version, &mut raw);
        }
        let subscribe =
            Subscribe::new(version, packet_identifier, properties(version, &section), &raw);
        let subscribe = subscribe.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(subscribe.len(), requests.len());
        prop_assert_eq!(subscribe.filters().collect::<Vec<_>>(), requests);
        check(version, Packet::Subscribe(subscribe))?;
    }

    #[test]
    fn unsubscribe_round_trips(
        version in version(),
        packet_identifier in packet_identifier(),
        filters in prop::collection::vec(text(), 1..5),
        section in section(&[]),
    ) {
        let mut raw = Vec::new();
        for filter in &filters {
            raw.extend_from_slice(&(filter.len() as u16).to_be_bytes());
            raw.extend_from_slice(filter.as_bytes());
        }
        let unsubscribe = Unsubscribe::new(packet_identifier, properties(version, &section), &raw);
        let unsubscribe = unsubscribe.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(unsubscribe.len(), filters.len());
        prop_assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), filters);
        check(version, Packet::Unsubscribe(unsubscribe))?;
    }

    #[test]
    fn subscription_acknowledgements_round_trip(
        version in version(),
        packet_identifier in packet_identifier(),
        granted in prop::collection::vec(reason(PacketType::Suback), 1..9),
        ended in prop::collection::vec(reason(PacketType::Unsuback), 1..9),
        section in section(ACKNOWLEDGEMENT),
    ) {
        let properties = properties(version, &section);
        let failure = if version < Version::V5 { 0x80 } else { 0xFF };
        let reasons: Vec<u8> = granted.iter().map(|reason| reason.0.min(failure)).collect();
        check(version, Packet::Suback(Suback { packet_identifier, properties, reasons: &reasons }))?;
        let reasons: Vec<u8> = ended.iter().map(|reason| reason.0).collect();
        let reasons: &[u8] = if version < Version::V5 { &[] } else { &reasons };
        check(version, Packet::Unsuback(Unsuback { packet_identifier, properties, reasons }))?;
    }

    #[test]
    fn pings_disconnect_and_auth_round_trip(
        version in version(),
        reason_disconnect in reason(PacketType::Disconnect),
        reason_auth in reason(PacketType::Auth),
        section in section(DISCONNECT),
        method in text(),
        data in binary(),
    ) {
        check(version, Packet::Pingreq)?;
        check(version, Packet::Pingresp)?;
        let is_5 = version == Version::V5;
        let reason = if is_5 { reason_disconnect } else { ReasonCode::SUCCESS };
        let properties = properties(version, &section);
        check(version, Packet::Disconnect(Disconnect { reason, properties }))?;
        let mut buffer = noctule_packets::PropertyBuffer::new();
        buffer.push_string(AuthenticationMethod, &method);
        buffer.push_binary(AuthenticationData, &data);
        check(Version::V5, Packet::Auth(Auth {
            reason: reason_auth,
            properties: buffer.as_properties(),
        }))?;
    }

    #[test]
    fn properties_are_read_as_they_were_built(
        connack in section(CONNACK),
        publish in section(PUBLISH),
    ) {
        check_values(connack.buffer.as_properties(), &connack)?;
        check_values(publish.buffer.as_properties(), &publish)?;
    }
}
