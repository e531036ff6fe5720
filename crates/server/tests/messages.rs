//! Messages through real sockets, across two workers.

mod wire;

use noctule_packets::Version;
use wire::{Client, acknowledgement, address, connect, engine, publish, statistic, subscribe};

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

#[test]
fn messages_arrive_at_each_qos_whichever_workers_own_the_clients() {
    let engine = engine(2, "");
    for version in VERSIONS {
        for qos in 0..=2u8 {
            // Eight clients a side are spread over both workers, whatever the hash.
            for pair in 0..8u16 {
                let topic = format!("t/{}/{qos}/{pair}", version as u8);
                let mut subscriber =
                    Client::connect(address(&engine), version, &format!("sub{qos}{pair}"));
                subscriber.subscribe(&topic, qos);
                let mut publisher =
                    Client::connect(address(&engine), version, &format!("pub{qos}{pair}"));
                let id = 7 + pair;
                match qos {
                    0 => publisher.publish(&topic, 0, 0, b"payload"),
                    _ => publisher.publish_acknowledged(&topic, qos, id, b"payload"),
                }
                let (name, payload, granted, id) = subscriber.receive_publish();
                assert_eq!((name, &payload[..], granted), (topic, &b"payload"[..], qos));
                settle(&mut subscriber, qos, id);
            }
        }
    }
    assert!(statistic(&engine, "connections_handed_over") > 0);
}

/// What a receiver answers at each QoS.
fn settle(subscriber: &mut Client, qos: u8, id: u16) {
    match qos {
        0 => {}
        1 => subscriber.send(&acknowledgement(0x40, id)),
        _ => {
            subscriber.send(&acknowledgement(0x50, id));
            subscriber.expect_acknowledgement(0x62, id);
            subscriber.send(&acknowledgement(0x70, id));
        }
    }
    subscriber.ping();
}

#[test]
fn a_sequence_of_one_byte_segments_is_understood() {
    let engine = engine(2, "");
    for version in VERSIONS {
        let mut client = Client::open(address(&engine), version);
        let sequence = [
            connect(version, "slow"),
            subscribe(version, 1, "a/b", 0),
            publish(version, "a/b", 0, 0, b"x"),
        ];
        for byte in sequence.concat() {
            client.send(&[byte]);
        }
        client.expect_connack();
        assert_eq!(client.receive().unwrap()[0], 0x90);
        assert_eq!(client.receive_publish().0, "a/b");
    }
}

#[test]
fn many_packets_in_one_segment_are_answered_in_order() {
    let engine = engine(2, "");
    for version in VERSIONS {
        // Several identifiers, so that the segment is handed over and kept both ways.
        for number in 0..4 {
            let mut client = Client::open(address(&engine), version);
            let sequence = [
                connect(version, &format!("eager{number}")),
                subscribe(version, 1, "a/b", 0),
                publish(version, "a/b", 0, 0, b"x"),
                b"\xc0\x00".to_vec(),
            ];
            client.send(&sequence.concat());
            client.expect_connack();
            assert_eq!(client.receive().unwrap()[0], 0x90);
            assert_eq!(client.receive_publish().0, "a/b");
            client.expect(b"\xd0\x00");
        }
    }
}

#[test]
fn a_stream_larger_than_every_buffer_arrives_whole_and_in_order() {
    const MESSAGES: u32 = 100_000;
    let engine = engine(2, "");
    let mut subscriber = Client::connect(address(&engine), Version::V4, "reader");
    subscriber.subscribe("stream", 0);
    let mut publisher = Client::connect(address(&engine), Version::V4, "writer");
    let writing = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        for number in 0..MESSAGES {
            bytes.extend(publish(
                Version::V4,
                "stream",
                0,
                0,
                &number.to_be_bytes().repeat(16),
            ));
        }
        publisher.send(&bytes);
        publisher.ping();
    });
    for number in 0..MESSAGES {
        let (_, payload, ..) = subscriber.receive_publish();
        assert_eq!(payload[..4], number.to_be_bytes());
    }
    writing.join().unwrap();
}

#[test]
fn a_payload_of_megabytes_arrives_whole() {
    let engine = engine(2, r#""limits": {"write_buffer_bytes": 33554432}"#);
    let payload: Vec<u8> = (0..8u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut subscriber = Client::connect(address(&engine), Version::V5, "reader");
    subscriber.subscribe("large", 1);
    let mut publisher = Client::connect(address(&engine), Version::V5, "writer");
    publisher.publish("large", 1, 9, &payload);
    let (_, received, _, id) = subscriber.receive_publish();
    assert!(received == payload);
    subscriber.send(&acknowledgement(0x40, id));
    publisher.expect_acknowledgement(0x40, 9);
}

#[test]
fn half_closing_ends_the_connection_after_what_was_sent() {
    let engine = engine(2, "");
    let mut subscriber = Client::connect(address(&engine), Version::V4, "witness");
    subscriber.subscribe("last", 0);
    let mut client = Client::connect(address(&engine), Version::V4, "half");
    client.publish("last", 0, 0, b"words");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(subscriber.receive_publish().1, b"words");
    client.expect_end();
    wire::eventually("the socket is freed", || {
        statistic(&engine, "sockets_open") == 1
    });
}

#[test]
fn the_answer_to_a_bad_packet_arrives_although_more_was_sent() {
    let engine = engine(1, "");
    for _ in 0..20 {
        let mut client = Client::connect(address(&engine), Version::V5, "bad");
        // A PUBLISH of QoS 3, and a lot behind it that nobody will read.
        let mut bytes = b"\x36\x05\x00\x01a\x00\x01".to_vec();
        bytes.resize(300_000, 0);
        client.send(&bytes);
        let disconnect = client.receive().expect("closed without a word");
        assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x81));
        client.expect_clean_end();
    }
}
