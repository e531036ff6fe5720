//! Vectors with bytes changed: nothing panics, and what is still taken makes sense.

use noctule_packets::{FixedHeader, Packet, Version, check_from_client, check_from_server};
use proptest::prelude::*;

use crate::vector;

/// Decodes what a receiver would make of these bytes; if it is a packet, its encoding
/// decodes to the same one.
fn check(version: Version, bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Some(header)) = FixedHeader::decode(bytes) else {
        return Ok(());
    };
    let Some(body) = bytes.get(header.header_len..header.total()) else {
        return Ok(());
    };
    let Ok(packet) = Packet::decode(version, header, body) else {
        return Ok(());
    };
    // Either may refuse it; neither may panic.
    let _ = check_from_client(&packet, version);
    let _ = check_from_server(&packet, version);
    let mut encoded = Vec::new();
    packet.encode(version, &mut encoded);
    let again = vector::decode(version, &encoded);
    prop_assert_eq!(again, Ok((packet, encoded.len())));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn decoder_survives_changed_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        version in prop::sample::select(vec![Version::V3, Version::V4, Version::V5]),
    ) {
        for vector in vector::all().into_iter().filter(|vector| !vector.is_large()) {
            let mut bytes = vector.bytes;
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            check(vector.version, &bytes)?;
            check(version, &bytes)?;
        }
    }

    #[test]
    fn decoder_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for version in [Version::V3, Version::V4, Version::V5] {
            for first in 0..=0xFFu8 {
                let header = FixedHeader { first, header_len: 2, remaining: bytes.len() };
                let Ok(packet) = Packet::decode(version, header, &bytes) else { continue };
                let mut encoded = Vec::new();
                packet.encode(version, &mut encoded);
                let again = vector::decode(version, &encoded);
                prop_assert_eq!(again, Ok((packet, encoded.len())));
            }
        }
    }
}
