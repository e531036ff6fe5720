//! Framing does not depend on how the bytes arrive.

use noctule_packets::{FixedHeader, Version};
use proptest::prelude::*;

use crate::vector;

/// Takes packets off a stream as its segments come in; returns their bytes.
fn receive(segments: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut buffer: Vec<u8> = Vec::new();
    let mut packets = Vec::new();
    for segment in segments {
        buffer.extend_from_slice(&segment);
        let mut taken = 0;
        while let Some(header) = FixedHeader::decode(&buffer[taken..]).expect("valid packets") {
            let Some(packet) = buffer.get(taken..taken + header.total()) else {
                break;
            };
            packets.push(packet.to_vec());
            taken += header.total();
        }
        buffer.drain(..taken);
    }
    assert!(buffer.is_empty(), "{} bytes are left over", buffer.len());
    packets
}

fn packets(version: Version) -> Vec<Vec<u8>> {
    vector::valid()
        .into_iter()
        .filter(|vector| vector.version == version && !vector.is_large())
        .map(|vector| vector.bytes)
        .collect()
}

#[test]
fn receiver_finds_all_packets_when_they_come_byte_by_byte() {
    for version in [Version::V3, Version::V4, Version::V5] {
        let packets = packets(version);
        let stream = packets.concat();
        assert!(
            receive(stream.iter().map(|byte| vec![*byte])) == packets,
            "{version:?}"
        );
    }
}

#[test]
fn receiver_finds_all_packets_when_they_come_at_once() {
    for version in [Version::V3, Version::V4, Version::V5] {
        let packets = packets(version);
        assert!(
            receive([packets.concat()].into_iter()) == packets,
            "{version:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn receiver_finds_all_packets_in_any_segments(
        lens in prop::collection::vec(1usize..3_000, 1..40),
    ) {
        let packets = packets(Version::V5);
        let stream = packets.concat();
        let mut at = 0;
        let segments = lens.iter().cycle().map_while(|len| {
            let segment = stream.get(at..stream.len().min(at + len))?;
            at += len;
            (!segment.is_empty()).then(|| segment.to_vec())
        });
        prop_assert!(receive(segments) == packets);
    }
}
