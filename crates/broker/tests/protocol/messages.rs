//! Messages that expire, wait, and are sent again.

use noctule_packets::{Packet, PacketType, Properties, Publish, QoS, ReasonCode, Version};

use crate::rig::{Got, Hello, Rig};

const QOS_1: QoS = QoS::AtLeastOnce;
const QOS_2: QoS = QoS::ExactlyOnce;

#[test]
fn the_message_expiry_interval_is_counted_down_while_a_message_waits() {
    // [MQTT-3.3.2-6]
    let mut rig = Rig::new(2, |_| {});
    let name = rig.name_on(1, "c");
    let client = rig.connect(&name, Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.name_on(0, "p");
    let publisher = rig.connect(&publisher, Hello::default());
    rig.publish_with(publisher, "a", "long", QOS_1, false, Some(100));
    rig.publish_with(publisher, "a", "short", QOS_1, false, Some(10));
    rig.wait_seconds(30);
    let client = rig.connect(&name, Hello::kept());
    rig.publish(publisher, "a", "next", QOS_1);
    let messages = rig.take_messages(client);
    let found: Vec<_> = messages
        .iter()
        .map(|each| (each.payload.as_str(), each.expiry))
        .collect();
    assert_eq!(found, [("long", Some(70)), ("next", None)]);
}

#[test]
fn a_message_that_is_not_sent_after_all_takes_its_packet_identifier_along() {
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.connect("p", Hello::default());
    rig.publish_with(publisher, "a", "short", QOS_1, false, Some(10));
    rig.publish(publisher, "a", "next", QOS_1);
    rig.wait_seconds(10);
    let client = rig.connect("c", Hello::kept());
    let messages = rig.take_messages(client);
    let found: Vec<_> = messages
        .iter()
        .map(|each| (each.payload.as_str(), each.identifier))
        .collect();
    assert_eq!(found, [("next", 2)]);
}

#[test]
fn a_message_that_expires_in_the_queue_is_counted() {
    // [MQTT-3.3.2-5]
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.connect("p", Hello::default());
    rig.publish_with(publisher, "a", "x", QOS_1, false, Some(10));
    rig.wait_seconds(10);
    let client = rig.connect("c", Hello::kept());
    assert_eq!(rig.take(client), []);
    rig.cut(client);
    assert_eq!(rig.dropped("expired"), 1);
    assert_eq!(rig.statistic("messages_stored"), 0);
}

#[test]
fn a_retained_message_that_has_expired_is_sent_to_nobody() {
    let mut rig = Rig::new(1, |_| {});
    let publisher = rig.connect("p", Hello::default());
    rig.publish_with(publisher, "a", "x", QOS_1, true, Some(10));
    rig.wait_seconds(4);
    let early = rig.connect("early", Hello::default());
    rig.subscribe(early, "a", QOS_1);
    let messages = rig.take_messages(early);
    assert_eq!(messages[0].expiry, Some(6));
    rig.wait_seconds(7);
    let late = rig.connect("late", Hello::default());
    rig.listen(late, "a", QOS_1);
    assert_eq!(rig.statistic("retained_messages"), 0);
}

#[test]
fn a_message_may_wait_no_longer_than_the_operator_says() {
    let mut rig = Rig::new(1, |options| options.limits.max_queued_age_seconds = 60);
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_1);
    rig.cut(client);
    let publisher = rig.connect("p", Hello::default());
    rig.publish(publisher, "a", "old", QOS_1);
    rig.wait_seconds(50);
    rig.publish(publisher, "a", "new", QOS_1);
    rig.wait_seconds(20);
    let client = rig.connect("c", Hello::kept());
    assert_eq!(rig.take_payloads(client), ["new"]);
}

#[test]
fn what_was_in_flight_is_sent_again_with_dup_and_in_its_order() {
    // [MQTT-4.4.0-1] [MQTT-4.6.0-1]
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QOS_2);
    let publisher = rig.connect("p", Hello::default());
    for (payload, qos) in [("1", QOS_1), ("2", QOS_2), ("3", QOS_2), ("4", QOS_1)] {
        rig.publish(publisher, "a", payload, qos);
    }
    let first = rig.take_messages(client);
    rig.acknowledge(client, PacketType::Pubrec, first[1].identifier);
    rig.cut(client);
    rig.publish(publisher, "a", "5", QOS_1);
    let client = rig.connect("c", Hello::kept());
    let again = rig.take(client);
    let publish = |place: usize| {
        let mut message = first[place].clone();
        message.dup = true;
        Got::Publish(message)
    };
    let pubrel = Got::Ack(PacketType::Pubrel, first[1].identifier, 0);
    assert_eq!(again[..4], [publish(0), pubrel, publish(2), publish(3)]);
    match &again[4..] {
        [Got::Publish(fresh)] => assert!(!fresh.dup && fresh.payload == "5"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_qos_2_message_sent_again_is_passed_on_once() {
    // [MQTT-4.3.3-10]
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::default());
    rig.listen(client, "a", QoS::AtMostOnce);
    let mut publisher = rig.connect("p", Hello::kept());
    let publish = |dup| {
        Packet::Publish(Publish {
            dup,
            qos: QOS_2,
            retain: false,
            topic: "a",
            packet_identifier: 77,
            properties: Properties::EMPTY,
            payload: b"x",
        })
    };
    rig.send(publisher, &publish(false));
    rig.cut(publisher);
    publisher = rig.connect("p", Hello::kept());
    rig.send(publisher, &publish(true));
    assert_eq!(rig.take_payloads(client), ["x"]);
    let pubrec = Got::Ack(PacketType::Pubrec, 77, 0);
    assert_eq!(rig.take(publisher), [pubrec]);
    rig.acknowledge(publisher, PacketType::Pubrel, 77);
    rig.acknowledge(publisher, PacketType::Pubrel, 77);
    // On a session that goes on the first PUBCOMP may have been lost: no mismatch.
    let pubcomp = || Got::Ack(PacketType::Pubcomp, 77, 0);
    assert_eq!(rig.take(publisher), [pubcomp(), pubcomp()]);
    // Released, so the identifier stands for a new message.
    rig.send(publisher, &publish(false));
    assert_eq!(rig.take_payloads(client), ["x"]);
}

#[test]
fn retained_messages_come_piece_by_piece_as_the_window_allows() {
    let mut rig = Rig::new(1, |_| {});
    let publisher = rig.connect("p", Hello::default());
    for number in 0..300 {
        let topic = format!("a/{number:03}");
        rig.publish_with(publisher, &topic, "x", QOS_1, true, None);
        rig.take(publisher);
    }
    let hello = Hello {
        receive_maximum: 7,
        ..Hello::default()
    };
    let client = rig.connect("c", hello);
    rig.subscribe(client, "a/#", QOS_1);
    let mut topics = Vec::new();
    loop {
        let messages = rig.take_messages(client);
        assert!(messages.len() <= 7, "{} at once", messages.len());
        if messages.is_empty() {
            break;
        }
        for message in messages {
            assert!(message.retain);
            topics.push(message.topic);
            rig.acknowledge(client, PacketType::Puback, message.identifier);
        }
    }
    topics.sort_unstable();
    let all: Vec<String> = (0..300).map(|number| format!("a/{number:03}")).collect();
    assert_eq!(topics, all);
    assert_eq!(rig.statistic("messages_stored"), 0);
}

#[test]
fn no_local_holds_for_what_the_session_itself_had_retained() {
    // [MQTT-3.8.3-3]
    use noctule_packets::{Subscribe, SubscriptionRequest, Version};
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::default());
    let other = rig.connect("other", Hello::default());
    rig.publish_with(client, "a/own", "own", QoS::AtMostOnce, true, None);
    rig.publish_with(other, "a/other", "other", QoS::AtMostOnce, true, None);
    let mut request = Vec::new();
    SubscriptionRequest {
        filter: "a/#",
        qos: QoS::AtMostOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: 0,
    }
    .encode(Version::V5, &mut request);
    let packet = Subscribe::new(Version::V5, 1, Properties::EMPTY, &request);
    rig.send(client, &Packet::Subscribe(packet.unwrap()));
    assert_eq!(rig.take_payloads(client), ["other"]);
}

#[test]
fn a_clients_own_qos_2_message_comes_back_once_it_has_released_it() {
    let mut rig = Rig::new(1, |_| {});
    let publisher = rig.connect("p", Hello::default());
    let other = rig.connect("c", Hello::default());
    for each in [publisher, other] {
        rig.listen(each, "a", QOS_2);
    }
    rig.send(publisher, &qos_2("first", 1));
    rig.send(publisher, &qos_2("second", 2));
    // Nobody else waits for the release.
    assert_eq!(rig.take_payloads(other), ["first", "second"]);
    let pubrec = |identifier| Got::Ack(PacketType::Pubrec, identifier, 0);
    assert_eq!(rig.take(publisher), [pubrec(1), pubrec(2)]);
    for (identifier, payload) in [(1, "first"), (2, "second")] {
        rig.acknowledge(publisher, PacketType::Pubrel, identifier);
        let got = rig.take(publisher);
        assert_eq!(got[0], Got::Ack(PacketType::Pubcomp, identifier, 0));
        assert!(
            matches!(&got[1..], [Got::Publish(own)] if own.payload == payload && own.qos == QOS_2),
            "{got:?}"
        );
    }
}

#[test]
fn a_clients_own_qos_2_message_does_not_wait_for_a_client_that_has_gone() {
    let mut rig = Rig::new(1, |_| {});
    let publisher = rig.connect("p", Hello::kept());
    rig.listen(publisher, "a", QOS_2);
    rig.send(publisher, &qos_2("x", 1));
    rig.cut(publisher);
    let publisher = rig.connect("p", Hello::kept());
    assert_eq!(rig.take_payloads(publisher), ["x"]);
    // Released only now: it does not come a second time.
    rig.acknowledge(publisher, PacketType::Pubrel, 1);
    assert_eq!(rig.take_payloads(publisher), [""; 0]);
}

#[test]
fn more_open_exchanges_than_the_receive_maximum_hold_nothing_back() {
    let mut rig = Rig::new(1, |options| options.limits.receive_maximum = 1);
    let hello = Hello {
        version: Version::V4,
        clean: true,
        ..Hello::default()
    };
    let publisher = rig.connect("p", hello);
    rig.listen(publisher, "a", QOS_2);
    rig.send(publisher, &qos_2("held", 1));
    assert_eq!(rig.take_payloads(publisher), [""; 0]);
    rig.send(publisher, &qos_2("one too many", 2));
    assert_eq!(rig.take_payloads(publisher), ["held", "one too many"]);
}

#[test]
fn pubrel_for_an_identifier_never_used_is_answered_so_on_a_new_session() {
    let mut rig = Rig::new(1, |_| {});
    let publisher = rig.connect("p", Hello::default());
    rig.acknowledge(publisher, PacketType::Pubrel, 77);
    let unknown = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND.0;
    assert_eq!(
        rig.take(publisher),
        [Got::Ack(PacketType::Pubcomp, 77, unknown)]
    );
}

fn qos_2(payload: &'static str, packet_identifier: u16) -> Packet<'static> {
    Packet::Publish(Publish {
        dup: false,
        qos: QOS_2,
        retain: false,
        topic: "a",
        packet_identifier,
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    })
}

#[test]
fn an_acknowledgement_of_the_other_qos_ends_the_connection() {
    for (qos, wrong) in [
        (QOS_1, PacketType::Pubrec),
        (QOS_1, PacketType::Pubcomp),
        (QOS_2, PacketType::Puback),
        (QOS_2, PacketType::Pubcomp),
    ] {
        let mut rig = Rig::new(1, |_| {});
        let client = rig.connect("c", Hello::default());
        rig.listen(client, "a", qos);
        let publisher = rig.connect("p", Hello::default());
        rig.publish(publisher, "a", "x", qos);
        let identifier = rig.take_messages(client)[0].identifier;
        // One that nothing is in flight for may be late, and does no harm.
        rig.acknowledge(client, wrong, identifier + 1);
        assert!(!rig.is_closing(client));
        rig.acknowledge(client, wrong, identifier);
        let protocol_error = ReasonCode::PROTOCOL_ERROR.0;
        assert_eq!(
            rig.take(client).last(),
            Some(&Got::Disconnect(protocol_error, None))
        );
    }
}

#[test]
fn an_empty_filter_ends_the_connection() {
    // [MQTT-4.7.3-1]
    let subscribe: &[u8] = b"\x82\x06\x00\x01\x00\x00\x00\x00";
    let unsubscribe: &[u8] = b"\xa2\x05\x00\x01\x00\x00\x00";
    for packet in [subscribe, unsubscribe] {
        let mut rig = Rig::new(1, |_| {});
        let client = rig.connect("c", Hello::default());
        rig.send_bytes(client, packet);
        let malformed = ReasonCode::MALFORMED_PACKET.0;
        assert_eq!(rig.take(client), [Got::Disconnect(malformed, None)]);
    }
}
