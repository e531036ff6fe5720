//! Reading single properties, and what is left out or cut when writing.

use noctule_packets::{
    Acknowledgement, Packet, PacketType, Properties, PropertyBuffer, PropertyId, Publish, QoS,
    RawPublish, ReasonCode, ReturnCode, Suback, Version, is_unacceptable_level, put_variable,
    take_variable, variable_len,
};

use crate::vector;

fn section() -> PropertyBuffer {
    let mut buffer = PropertyBuffer::new();
    buffer.push_byte(PropertyId::PayloadFormatIndicator, 1);
    buffer.push_pair(PropertyId::UserProperty, "a", "1");
    buffer.push_variable(PropertyId::SubscriptionIdentifier, 300);
    buffer.push_two_byte(PropertyId::TopicAlias, 7);
    buffer.push_four_byte(PropertyId::MessageExpiryInterval, 60);
    buffer.push_string(PropertyId::ContentType, "text");
    buffer.push_binary(PropertyId::CorrelationData, b"\x00\xFF");
    buffer.push_variable(PropertyId::SubscriptionIdentifier, 1);
    buffer.push_pair(PropertyId::UserProperty, "a", "2");
    buffer
}

#[test]
fn reader_finds_each_property_by_its_identifier_and_type() {
    let buffer = section();
    let properties = buffer.as_properties();
    assert_eq!(properties.byte(PropertyId::PayloadFormatIndicator), Some(1));
    assert_eq!(properties.two_byte(PropertyId::TopicAlias), Some(7));
    assert_eq!(
        properties.four_byte(PropertyId::MessageExpiryInterval),
        Some(60)
    );
    assert_eq!(
        properties.variable(PropertyId::SubscriptionIdentifier),
        Some(300)
    );
    assert_eq!(properties.string(PropertyId::ContentType), Some("text"));
    assert_eq!(
        properties.binary(PropertyId::CorrelationData),
        Some(&b"\x00\xFF"[..])
    );
    assert_eq!(
        properties.user_properties().collect::<Vec<_>>(),
        [("a", "1"), ("a", "2")]
    );
    assert_eq!(
        properties.subscription_identifiers().collect::<Vec<_>>(),
        [300, 1]
    );
    assert_eq!(properties.count(), 9);
    assert_eq!(properties.string(PropertyId::ResponseTopic), None);
    assert_eq!(properties.byte(PropertyId::TopicAlias), None);
}

#[test]
fn properties_are_copied_through_as_they_came() {
    let buffer = section();
    let mut copy = PropertyBuffer::new();
    for property in buffer.as_properties().iter() {
        if property.id != PropertyId::TopicAlias {
            copy.push_raw(property.raw);
        }
    }
    assert_eq!(copy.len(), buffer.len() - 3);
    assert_eq!(copy.as_properties().two_byte(PropertyId::TopicAlias), None);
    assert_eq!(
        copy.as_properties().string(PropertyId::ContentType),
        Some("text")
    );
    copy.clear();
    assert!(copy.is_empty());
}

#[test]
fn encoder_cuts_a_string_that_is_too_long_between_characters() {
    let mut buffer = PropertyBuffer::new();
    buffer.push_string(PropertyId::ReasonString, &"é".repeat(40_000));
    let reason = buffer
        .as_properties()
        .string(PropertyId::ReasonString)
        .expect("a string");
    assert_eq!(reason.len(), 65_534);
    assert!(reason.chars().all(|character| character == 'é'));
}

#[test]
fn encoder_leaves_out_what_an_earlier_version_has_no_place_for() {
    let buffer = section();
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_identifier: 0,
        properties: buffer.as_properties(),
        payload: b"p",
    };
    let mut out = Vec::new();
    publish.encode(Version::V4, &mut out);
    assert_eq!(out, b"\x30\x04\x00\x01tp");

    out.clear();
    let acknowledgement = Acknowledgement::with_reason(5, ReasonCode::QUOTA_EXCEEDED);
    acknowledgement.encode(PacketType::Puback, Version::V4, &mut out);
    assert_eq!(out, b"\x40\x02\x00\x05");

    out.clear();
    let reasons = [1, ReasonCode::NOT_AUTHORIZED.0];
    let suback = Suback {
        packet_identifier: 5,
        properties: Properties::EMPTY,
        reasons: &reasons,
    };
    suback.encode(Version::V4, &mut out);
    assert_eq!(out, b"\x90\x04\x00\x05\x01\x80");
}

#[test]
fn raw_publish_splits_without_validating() {
    let body = b"\x00\x03a/#\x00\x09\x02\x23\x00payload";
    let raw = RawPublish::decode(Version::V5, 0b1011, body).expect("lengths that fit");
    assert_eq!(
        (raw.dup, raw.qos, raw.retain),
        (true, QoS::AtLeastOnce, true)
    );
    assert_eq!((raw.topic, raw.packet_identifier), (&b"a/#"[..], 9));
    assert_eq!(
        (raw.properties, raw.payload),
        (&b"\x23\x00"[..], &b"payload"[..])
    );
    let error = raw.validate_topic().expect_err("a wildcard");
    assert_eq!(error.reason, ReasonCode::MALFORMED_PACKET);
    assert_eq!(
        raw.validate_properties().expect_err("half").reason,
        ReasonCode::MALFORMED_PACKET
    );
}

#[test]
fn receiver_tells_an_unknown_level_from_another_protocol() {
    let refuse = |bytes: &[u8]| vector::decode(Version::V4, bytes).expect_err("refused");
    let level = refuse(b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00");
    assert!(is_unacceptable_level(&level));
    assert_eq!(
        ReturnCode::from_reason(level.reason),
        ReturnCode::UnacceptableProtocolVersion
    );
    let mixed = refuse(b"\x10\x0e\x00\x06MQIsdp\x04\x02\x00\x00\x00\x00");
    assert!(is_unacceptable_level(&mixed));
    let name = refuse(b"\x10\x0c\x00\x04HTTP\x04\x02\x00\x00\x00\x00");
    assert!(!is_unacceptable_level(&name));
}

#[test]
fn receiver_knows_a_bridge_by_the_upper_bit_of_its_level() {
    let bytes = b"\x10\x0c\x00\x04MQTT\x84\x02\x00\x00\x00\x00";
    let (packet, _) = vector::decode(Version::V4, bytes).expect("a bridge's CONNECT");
    let Packet::Connect(connect) = packet else {
        panic!("{packet:?}")
    };
    assert!(connect.bridge);
    assert_eq!(connect.version, Version::V4);
    let bytes = b"\x10\x0d\x00\x04MQTT\x85\x02\x00\x00\x00\x00\x00";
    assert!(is_unacceptable_level(
        &vector::decode(Version::V5, bytes).expect_err("no bridge")
    ));
}

#[test]
fn receiver_of_3_1_takes_dup_on_what_may_be_sent_again() {
    let bytes = b"\x6a\x02\x00\x01";
    assert!(vector::decode(Version::V3, bytes).is_ok());
    assert!(vector::decode(Version::V4, bytes).is_err());
    assert!(vector::decode(Version::V3, b"\x48\x02\x00\x01").is_err());
}

#[test]
fn variable_byte_integers_round_trip_at_every_edge() {
    for (value, len) in [
        (0, 1),
        (0x7F, 1),
        (0x80, 2),
        (0x3FFF, 2),
        (0x4000, 3),
        (0x1F_FFFF, 3),
        (0x20_0000, 4),
        (268_435_455, 4),
    ] {
        let mut out = Vec::new();
        put_variable(&mut out, value);
        assert_eq!((out.len(), variable_len(value)), (len, len), "{value}");
        for cut in 0..len {
            assert_eq!(
                take_variable(&out[..cut]),
                Ok(None),
                "{value} after {cut} bytes"
            );
        }
        out.push(0xAA);
        assert_eq!(take_variable(&out), Ok(Some((value, len))));
    }
}

#[test]
fn variable_byte_integers_that_are_too_long_are_malformed() {
    for bytes in [
        &[0x80, 0x00][..],
        &[0xFF, 0x80, 0x00],
        &[0x80, 0x80, 0x80, 0x00],
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[0x80, 0x80, 0x80, 0x80, 0x01],
    ] {
        let error = take_variable(bytes).expect_err("malformed");
        assert_eq!(error.reason, ReasonCode::MALFORMED_PACKET, "{bytes:02x?}");
    }
}

#[test]
fn a_property_that_is_cut_off_is_malformed_whether_it_belongs_or_not() {
    let user_property_without_value: &[u8] = b"\x00\x01\x00\x04\x26\x00\x01p";
    let foreign_and_cut_off: &[u8] = b"\x00\x01\x00\x01\x01";
    let foreign: &[u8] = b"\x00\x01\x00\x02\x01\x00";
    for (body, reason) in [
        (user_property_without_value, ReasonCode::MALFORMED_PACKET),
        (foreign_and_cut_off, ReasonCode::MALFORMED_PACKET),
        (foreign, ReasonCode::PROTOCOL_ERROR),
    ] {
        let error = Acknowledgement::decode(PacketType::Puback, Version::V5, 0, body);
        assert_eq!(error.map_err(|error| error.reason), Err(reason));
    }
}
