//! Refusals that the shared vectors have no line for.

use noctule_packets::{
    Error, FixedHeader, ReasonCode, Version, check_from_client, check_from_server,
};

use crate::vector;

use Version::{V3, V4, V5};

const MALFORMED: ReasonCode = ReasonCode::MALFORMED_PACKET;
const PROTOCOL: ReasonCode = ReasonCode::PROTOCOL_ERROR;

/// Long enough for the vectorised searches.
const LONG_WITH_NUL: &[u8] =
    b"\x30\x49\x00\x47aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00";
const LONG_WITH_WILDCARD: &[u8] =
    b"\x30\x49\x00\x47aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa#";
const LONG_NOT_UTF8: &[u8] =
    b"\x30\x49\x00\x47aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xff";

fn refusal(version: Version, bytes: &[u8]) -> Error {
    match vector::decode(version, bytes) {
        Ok((packet, _)) => panic!("taken: {packet:?}"),
        Err(error) => error,
    }
}

#[test]
fn decoder_refuses_what_the_specification_forbids() {
    let cases: [(&str, Version, &[u8], ReasonCode); 25] = [
        (
            "a topic name with U+0000 [MQTT-1.5.4-2]",
            V4,
            b"\x30\x05\x00\x03a\x00b",
            MALFORMED,
        ),
        (
            "a long topic name with U+0000",
            V4,
            LONG_WITH_NUL,
            MALFORMED,
        ),
        (
            "a long topic name with a wildcard",
            V4,
            LONG_WITH_WILDCARD,
            MALFORMED,
        ),
        (
            "a long topic name that is not UTF-8",
            V4,
            LONG_NOT_UTF8,
            MALFORMED,
        ),
        (
            "an empty topic name in 3.1.1",
            V4,
            b"\x30\x02\x00\x00",
            ReasonCode::TOPIC_NAME_INVALID,
        ),
        (
            "an empty topic name, no alias",
            V5,
            b"\x30\x03\x00\x00\x00",
            PROTOCOL,
        ),
        (
            "an empty will topic [MQTT-4.7.3-1]",
            V4,
            b"\x10\x11\x00\x04MQTT\x04\x06\x00\x00\x00\x01c\x00\x00\x00\x00",
            ReasonCode::TOPIC_NAME_INVALID,
        ),
        (
            "will QoS 3 [MQTT-3.1.2-12]",
            V4,
            b"\x10\x12\x00\x04MQTT\x04\x1e\x00\x00\x00\x01c\x00\x01t\x00\x00",
            MALFORMED,
        ),
        (
            "a session present, yet refused [MQTT-3.2.2-6]",
            V5,
            b"\x20\x03\x01\x87\x00",
            PROTOCOL,
        ),
        (
            "the same in 3.1.1 [MQTT-3.2.2-4]",
            V4,
            b"\x20\x02\x01\x05",
            PROTOCOL,
        ),
        (
            "authentication data of CONNACK without a method",
            V5,
            b"\x20\x07\x00\x00\x04\x16\x00\x01d",
            PROTOCOL,
        ),
        (
            "PUBLISH with packet identifier 0 [MQTT-2.2.1-3]",
            V5,
            b"\x32\x06\x00\x01t\x00\x00\x00",
            PROTOCOL,
        ),
        (
            "PUBACK with packet identifier 0 [MQTT-2.2.1-5]",
            V5,
            b"\x40\x02\x00\x00",
            PROTOCOL,
        ),
        (
            "SUBSCRIBE with packet identifier 0 [MQTT-2.2.1-3]",
            V5,
            b"\x82\x07\x00\x00\x00\x00\x01a\x00",
            MALFORMED,
        ),
        (
            "PUBCOMP with a reason code of PUBACK [MQTT-3.7.2-1]",
            V5,
            b"\x70\x03\x00\x01\x10",
            PROTOCOL,
        ),
        (
            "an empty response topic [MQTT-4.7.3-1]",
            V5,
            b"\x30\x07\x00\x01t\x03\x08\x00\x00",
            PROTOCOL,
        ),
        (
            "a response topic with a wildcard [MQTT-3.3.2-14]",
            V5,
            b"\x30\x08\x00\x01t\x04\x08\x00\x01#",
            PROTOCOL,
        ),
        (
            "the same of a will",
            V5,
            b"\x10\x19\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c\x04\x08\x00\x01+\x00\x01t\x00\x01p",
            PROTOCOL,
        ),
        (
            "bytes after PUBACK's properties",
            V5,
            b"\x40\x05\x00\x01\x00\x00\x00",
            MALFORMED,
        ),
        (
            "SUBSCRIBE without a filter [MQTT-3.8.3-2]",
            V4,
            b"\x82\x02\x00\x01",
            PROTOCOL,
        ),
        (
            "SUBSCRIBE of 3.1.1 with 5.0's options",
            V4,
            b"\x82\x06\x00\x01\x00\x01a\x04",
            MALFORMED,
        ),
        (
            "SUBACK without a reason code",
            V5,
            b"\x90\x03\x00\x01\x00",
            MALFORMED,
        ),
        (
            "DISCONNECT with a reason code of SUBACK",
            V5,
            b"\xe0\x01\x01",
            MALFORMED,
        ),
        ("AUTH before 5.0", V4, b"\xf0\x00", MALFORMED),
        (
            "AUTH without properties' length",
            V5,
            b"\xf0\x01\x18",
            MALFORMED,
        ),
    ];
    for (why, version, bytes, reason) in cases {
        let error = refusal(version, bytes);
        assert_eq!(error.reason, reason, "{why}: {error}");
    }
}

#[test]
fn framer_refuses_packet_type_0_at_its_first_byte() {
    for first in 0x00..=0x0F {
        assert_eq!(
            FixedHeader::decode(&[first]).expect_err("reserved").reason,
            PROTOCOL
        );
    }
    assert_eq!(FixedHeader::decode(&[0x10]), Ok(None));
    assert_eq!(FixedHeader::decode(&[]), Ok(None));
}

#[test]
fn server_refuses_what_a_client_must_not_send() {
    let cases: [(&str, Version, &[u8], ReasonCode); 7] = [
        ("CONNACK", V4, b"\x20\x02\x00\x00", PROTOCOL),
        ("SUBACK", V4, b"\x90\x03\x00\x01\x00", PROTOCOL),
        ("UNSUBACK", V4, b"\xb0\x02\x00\x01", PROTOCOL),
        ("PINGRESP", V4, b"\xd0\x00", PROTOCOL),
        (
            "a subscription identifier [MQTT-3.3.4-6]",
            V5,
            b"\x30\x06\x00\x01t\x02\x0b\x01",
            PROTOCOL,
        ),
        (
            "no local on a shared subscription [MQTT-3.8.3-4]",
            V5,
            b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04",
            PROTOCOL,
        ),
        (
            "an empty client identifier in 3.1",
            V3,
            b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00",
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ),
    ];
    for (why, version, bytes, reason) in cases {
        let (packet, _) = vector::decode(version, bytes).expect(why);
        let error = check_from_client(&packet, version).expect_err(why);
        assert_eq!(error.reason, reason, "{why}: {error}");
    }
}

#[test]
fn client_refuses_what_a_server_must_not_send() {
    let cases: [(&str, Version, &[u8]); 6] = [
        (
            "CONNECT",
            V4,
            b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
        ),
        ("SUBSCRIBE", V4, b"\x82\x06\x00\x01\x00\x01a\x00"),
        ("UNSUBSCRIBE", V4, b"\xa2\x05\x00\x01\x00\x01a"),
        ("PINGREQ", V4, b"\xc0\x00"),
        ("DISCONNECT before 5.0", V4, b"\xe0\x00"),
        (
            "a session expiry interval [MQTT-3.14.2-2]",
            V5,
            b"\xe0\x07\x00\x05\x11\x00\x00\x00\x01",
        ),
    ];
    for (why, version, bytes) in cases {
        let (packet, _) = vector::decode(version, bytes).expect(why);
        let error = check_from_server(&packet, version).expect_err(why);
        assert_eq!(error.reason, PROTOCOL, "{why}: {error}");
    }
}
