//! Every beginning of every valid packet.

use noctule_packets::{FixedHeader, Packet};

use crate::vector;

#[test]
fn receiver_waits_for_the_rest_of_every_cut_off_packet() {
    for vector in vector::valid() {
        for cut in 0..vector.bytes.len() {
            let header = FixedHeader::decode(&vector.bytes[..cut]).expect(&vector.id);
            let is_whole = header.is_some_and(|header| header.total() <= cut);
            assert!(!is_whole, "{}: whole after {cut} bytes", vector.id);
        }
    }
}

/// A header that says less than there is: the body is cut, and the packet must either be
/// refused or be a different one that makes sense by itself.
#[test]
fn decoder_survives_every_body_that_ends_early() {
    let mut refused = 0;
    for vector in vector::valid().iter().filter(|vector| !vector.is_large()) {
        let header = FixedHeader::decode(&vector.bytes)
            .expect(&vector.id)
            .expect(&vector.id);
        let body = &vector.bytes[header.header_len..];
        let whole = vector.decode().expect(&vector.id);
        for cut in 0..body.len() {
            let header = FixedHeader {
                remaining: cut,
                ..header
            };
            match Packet::decode(vector.version, header, &body[..cut]) {
                Ok(packet) if packet == whole => {
                    // It spelled out what may be left out: a reason code 0, no properties.
                    let rest = &body[cut..];
                    assert!(
                        rest.iter().all(|byte| *byte == 0),
                        "{}: {cut} bytes",
                        vector.id
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(error.reason.is_error(), "{}: {error}", vector.id);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 5_000, "only {refused} were refused");
}

#[test]
fn decoder_refuses_a_body_of_another_length_than_its_header_says() {
    for vector in vector::valid().iter().filter(|vector| !vector.is_large()) {
        let header = FixedHeader::decode(&vector.bytes)
            .expect(&vector.id)
            .expect(&vector.id);
        let body = &vector.bytes[header.header_len..];
        for remaining in [
            header.remaining.wrapping_sub(1),
            header.remaining + 1,
            0x0FFF_FFFF,
        ] {
            let lying = FixedHeader {
                remaining,
                ..header
            };
            assert!(
                Packet::decode(vector.version, lying, body).is_err(),
                "{}",
                vector.id
            );
        }
    }
}
