//! The codec: what it takes it writes again, and reads again as the same.

use noctule_packets::{
    FixedHeader, Packet, PacketType, Properties, RawPublish, Version, check_from_client,
    check_from_server,
};

/// The first byte of `input` chooses the version, the rest is a packet on the wire and
/// whatever stands behind it.
///
/// # Panics
/// The codec reads or writes something wrong.
pub fn check(input: &[u8]) {
    let Some((&version, bytes)) = input.split_first() else {
        return;
    };
    let version = match version % 3 {
        0 => Version::V3,
        1 => Version::V4,
        _ => Version::V5,
    };
    let Ok(Some(header)) = FixedHeader::decode(bytes) else {
        return;
    };
    let Some(body) = bytes.get(header.header_len..header.total()) else {
        return;
    };
    let decoded = Packet::decode(version, header, body);
    check_raw(version, header, body, decoded.is_ok());
    let Ok(packet) = decoded else {
        return;
    };
    let version = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let by_client = check_from_client(&packet, version).is_ok();
    let by_server = check_from_server(&packet, version).is_ok();
    walk(&packet);
    let mut encoded = Vec::with_capacity(bytes.len());
    packet.encode(version, &mut encoded);
    assert!(
        encoded.len() <= header.total(),
        "{packet:?} has grown to {encoded:02x?}"
    );
    let again = decode(version, &encoded);
    assert_eq!(again, packet, "written as {encoded:02x?}");
    assert_eq!(check_from_client(&again, version).is_ok(), by_client);
    assert_eq!(check_from_server(&again, version).is_ok(), by_server);
    let mut twice = Vec::with_capacity(encoded.len());
    again.encode(version, &mut twice);
    assert_eq!(twice, encoded, "{packet:?} is not written alike twice");
}

/// Decodes a packet of our own making.
fn decode(version: Version, bytes: &[u8]) -> Packet<'_> {
    let header = FixedHeader::decode(bytes).expect("a fixed header of ours");
    let header = header.expect("a whole fixed header");
    assert_eq!(header.total(), bytes.len(), "{bytes:02x?}");
    Packet::decode(version, header, &bytes[header.header_len..])
        .unwrap_or_else(|error| panic!("{error:?}: {bytes:02x?}"))
}

/// The short way for PUBLISH takes what the long way takes, and nothing else.
fn check_raw(version: Version, header: FixedHeader, body: &[u8], taken: bool) {
    if header.packet_type() != PacketType::Publish as u8 {
        return;
    }
    let Ok(raw) = RawPublish::decode(version, header.flags(), body) else {
        assert!(!taken, "PUBLISH is taken whole, and not by its lengths");
        return;
    };
    if taken {
        raw.validate_properties()
            .expect("properties that were taken");
        if !raw.topic.is_empty() {
            raw.validate_topic().expect("a topic that was taken");
        }
    }
}

/// Every property is read, and all of them together are the section.
fn walk(packet: &Packet<'_>) {
    let check = |properties: &Properties<'_>| {
        let bytes: usize = properties.iter().map(|each| each.raw.len()).sum();
        assert_eq!(bytes, properties.as_bytes().len());
        assert_eq!(properties.count(), properties.iter().count());
    };
    match packet {
        Packet::Connect(connect) => {
            check(&connect.properties);
            connect.will.iter().for_each(|will| check(&will.properties));
        }
        Packet::Connack(connack) => check(&connack.properties),
        Packet::Publish(publish) => check(&publish.properties),
        Packet::Subscribe(subscribe) => {
            check(&subscribe.properties);
            assert!(subscribe.filters().next().is_some(), "no filter at all");
        }
        Packet::Unsubscribe(unsubscribe) => {
            check(&unsubscribe.properties);
            assert!(unsubscribe.filters().next().is_some(), "no filter at all");
        }
        Packet::Disconnect(disconnect) => check(&disconnect.properties),
        Packet::Auth(auth) => check(&auth.properties),
        _ => {}
    }
}
