//! All vectors: decoded, refused, encoded.

use noctule_packets::Packet;

use crate::description::describe;
use crate::vector::{self, Vector};

/// Invalid vectors that no packet shows by itself: what is wrong lies between it and the
/// session, which refuses it (or, for a filter, answers 0x8F in SUBACK).
const JUDGED_BY_THE_SESSION: [(&str, &str); 9] = [
    (
        "v5-publish-alias-too-high",
        "the maximum was announced in CONNACK",
    ),
    (
        "v5-publish-alias-unknown",
        "the mapping was made by an earlier PUBLISH",
    ),
    (
        "v5-auth-unasked",
        "the method was named, or not, in CONNECT",
    ),
    (
        "v5-subscribe-shared-filter",
        "a filter is refused by itself, in SUBACK",
    ),
    (
        "v5-subscribe-shared-filter-2",
        "a filter is refused by itself, in SUBACK",
    ),
    (
        "v5-subscribe-shared-filter-3",
        "a filter is refused by itself, in SUBACK",
    ),
    (
        "v5-subscribe-shared-filter-4",
        "a filter is refused by itself, in SUBACK",
    ),
    (
        "v5-subscribe-shared-filter-5",
        "a filter is refused by itself, in SUBACK",
    ),
    (
        "v5-subscribe-shared-filter-6",
        "a filter is refused by itself, in SUBACK",
    ),
];

fn is_judged_by_the_session(vector: &Vector) -> bool {
    JUDGED_BY_THE_SESSION.iter().any(|(id, _)| *id == vector.id)
}

#[test]
fn receiver_reads_every_valid_vector_as_described() {
    for vector in vector::valid() {
        let packet = vector
            .receive()
            .unwrap_or_else(|error| panic!("{}: {error}", vector.id));
        let mut expected = vector.packet.clone().expect("a description");
        let mut described = describe(&packet);
        if let Some(len) = expected["payload_len"].as_u64() {
            // Too long to describe in hexadecimal: the payload is the vector's tail.
            let Packet::Publish(publish) = packet else {
                panic!("{}", vector.id)
            };
            let tail = vector.bytes.len() - len as usize;
            assert!(publish.payload == &vector.bytes[tail..], "{}", vector.id);
            for object in [&mut expected, &mut described] {
                let object = object.as_object_mut().expect("an object");
                object.retain(|key, _| !key.starts_with("payload"));
            }
        }
        assert_eq!(described, expected, "{}", vector.id);
    }
}

#[test]
fn receiver_refuses_every_invalid_vector_with_one_of_its_codes() {
    for vector in vector::all()
        .iter()
        .filter(|vector| vector.packet.is_none())
    {
        if is_judged_by_the_session(vector) {
            continue;
        }
        let Err(error) = vector.receive() else {
            panic!("{}: taken, although {}", vector.id, vector.why);
        };
        let is_answerable = vector.codes.is_empty() || vector.codes.contains(&error.reason.0);
        assert!(
            is_answerable,
            "{}: {error}, not one of {:?}",
            vector.id, vector.codes
        );
    }
}

#[test]
fn format_errors_are_all_refused_by_decoding_alone() {
    for vector in vector::all()
        .iter()
        .filter(|vector| vector.level == "format")
    {
        assert!(vector.decode().is_err(), "{}: {}", vector.id, vector.why);
    }
}

#[test]
fn what_the_session_judges_is_well_formed() {
    let vectors = vector::all();
    for (id, why) in JUDGED_BY_THE_SESSION {
        let vector = vectors.iter().find(|vector| vector.id == id).expect(id);
        assert!(vector.packet.is_none(), "{id} is valid");
        assert!(vector.receive().is_ok(), "{id} needs no session: {why}");
    }
}

#[test]
fn encoder_writes_every_valid_vector_in_its_shortest_form() {
    for vector in vector::valid() {
        let packet = vector
            .decode()
            .unwrap_or_else(|error| panic!("{}: {error}", vector.id));
        let mut encoded = Vec::new();
        packet.encode(vector.version, &mut encoded);
        if has_shorter_form(&vector) {
            assert!(encoded.len() <= vector.bytes.len(), "{}", vector.id);
            let (again, len) = vector::decode(vector.version, &encoded).expect(&vector.id);
            assert_eq!((again, len), (packet, encoded.len()), "{}", vector.id);
            continue;
        }
        assert!(encoded == vector.bytes, "{}: {encoded:02x?}", vector.id);
    }
}

/// Vectors that spell out what may be left out, or announce what is missing.
fn has_shorter_form(vector: &Vector) -> bool {
    ["-no-props", "-disconnect-code", "v3-connect-flag-alone"]
        .iter()
        .any(|part| vector.id.contains(part))
}
