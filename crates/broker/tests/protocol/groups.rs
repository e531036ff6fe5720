//! Shared subscriptions over several workers: one member gets each message, and
//! another one if that member is gone.

use noctule_packets::{Packet, PacketType, Properties, QoS, Unsubscribe};

use crate::rig::{Got, Hello, Peerage, Rig};

const QOS_1: QoS = QoS::AtLeastOnce;
const QOS_2: QoS = QoS::ExactlyOnce;
const FILTER: &str = "$share/g/a/#";

/// A rig of three workers with a publisher on the first.
fn rig() -> (Rig, Peerage) {
    let mut rig = Rig::new(3, |_| {});
    let name = rig.name_on(0, "publisher");
    let publisher = rig.connect(&name, Hello::default());
    (rig, publisher)
}

fn member(rig: &mut Rig, worker: usize, hello: Hello<'_>) -> (String, Peerage) {
    let name = rig.name_on(worker, "member");
    let peer = rig.connect(&name, hello);
    rig.listen(peer, FILTER, QOS_2);
    (name, peer)
}

#[test]
fn members_of_all_workers_take_turns() {
    let (mut rig, publisher) = rig();
    let members: Vec<_> = (0..3)
        .map(|worker| member(&mut rig, worker, Hello::default()).1)
        .collect();
    for number in 0..30 {
        rig.publish(publisher, "a/b", &number.to_string(), QOS_1);
    }
    let mut all = Vec::new();
    for peer in members {
        let payloads = rig.take_payloads(peer);
        assert_eq!(payloads.len(), 10);
        all.extend(payloads);
    }
    all.sort_by_key(|each| each.parse::<u32>().unwrap());
    let sent: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    assert_eq!(all, sent);
}

#[test]
fn a_member_that_ends_leaves_what_it_did_not_acknowledge() {
    let (mut rig, publisher) = rig();
    let (_, leaving) = member(&mut rig, 1, Hello::default());
    for payload in ["1", "2", "3"] {
        rig.publish(publisher, "a/b", payload, QOS_1);
    }
    let messages = rig.take_messages(leaving);
    assert_eq!(messages.len(), 3);
    rig.acknowledge(leaving, PacketType::Puback, messages[1].identifier);
    let (_, staying) = member(&mut rig, 2, Hello::default());
    rig.cut(leaving);
    assert_eq!(rig.take_payloads(staying), ["1", "3"]);
}

#[test]
fn a_qos_2_message_that_was_begun_goes_to_nobody_else() {
    // [MQTT-4.8.2-5]
    let (mut rig, publisher) = rig();
    let (_, leaving) = member(&mut rig, 1, Hello::default());
    rig.publish(publisher, "a/b", "begun", QOS_2);
    assert_eq!(rig.take_payloads(leaving), ["begun"]);
    let (_, staying) = member(&mut rig, 2, Hello::default());
    rig.cut(leaving);
    assert_eq!(rig.take_payloads(staying), [""; 0]);
}

#[test]
fn messages_wait_for_a_member_that_comes_back_if_there_is_no_other() {
    let (mut rig, publisher) = rig();
    let (name, away) = member(&mut rig, 1, Hello::kept());
    rig.cut(away);
    rig.publish(publisher, "a/b", "1", QOS_1);
    rig.publish(publisher, "a/b", "2", QOS_2);
    assert_eq!(rig.statistic("messages_stored"), 2);
    let back = rig.connect(&name, Hello::kept());
    assert_eq!(rig.take_payloads(back), ["1", "2"]);
}

#[test]
fn what_waits_for_an_expired_member_goes_to_another() {
    let (mut rig, publisher) = rig();
    let hello = Hello {
        expiry: 60,
        ..Hello::default()
    };
    let (_, away) = member(&mut rig, 1, hello);
    rig.cut(away);
    rig.publish(publisher, "a/b", "1", QOS_1);
    rig.publish(publisher, "a/b", "2", QOS_2);
    let (_, staying) = member(&mut rig, 2, Hello::default());
    rig.wait_seconds(59);
    assert_eq!(rig.take_payloads(staying), [""; 0]);
    rig.wait_seconds(2);
    assert_eq!(rig.take_payloads(staying), ["1", "2"]);
}

#[test]
fn a_message_under_way_to_a_member_that_is_gone_finds_another() {
    let (mut rig, publisher) = rig();
    let (_, leaving) = member(&mut rig, 1, Hello::default());
    let mut bytes = Vec::new();
    for (packet_identifier, qos) in [(1, QOS_1), (2, QOS_2), (0, QoS::AtMostOnce)] {
        let publish = noctule_packets::Publish {
            dup: false,
            qos,
            retain: false,
            topic: "a/b",
            packet_identifier,
            properties: Properties::EMPTY,
            payload: b"x",
        };
        let version = noctule_packets::Version::V5;
        Packet::Publish(publish).encode(version, &mut bytes);
    }
    // The batch for worker 1 is made, and its member goes before the batch arrives.
    let now = rig.now;
    rig.workers[0].received(publisher.id, &bytes, now);
    let mut batches = Vec::new();
    rig.workers[0].take_batches(|to, batch| batches.push((to, batch)));
    let (_, staying) = member(&mut rig, 2, Hello::default());
    rig.cut(leaving);
    for (to, batch) in batches {
        rig.workers[to].delivered(batch, now);
    }
    rig.run();
    let found: Vec<_> = rig
        .take_messages(staying)
        .iter()
        .map(|each| each.qos)
        .collect();
    assert_eq!(found, [QOS_1, QOS_2, QoS::AtMostOnce]);
}

#[test]
fn a_member_that_unsubscribes_gets_no_more_and_keeps_what_it_has() {
    let (mut rig, publisher) = rig();
    let (name, leaving) = member(&mut rig, 1, Hello::kept());
    rig.publish(publisher, "a/b", "before", QOS_1);
    let raw = [&(FILTER.len() as u16).to_be_bytes()[..], FILTER.as_bytes()].concat();
    let packet = Unsubscribe::new(9, Properties::EMPTY, &raw).unwrap();
    rig.send(leaving, &Packet::Unsubscribe(packet));
    rig.publish(publisher, "a/b", "after", QOS_1);
    let got = rig.take(leaving);
    assert_eq!(got.len(), 2);
    assert_eq!(got[1], Got::Unsuback(vec![0]));
    rig.cut(leaving);
    let back = rig.connect(&name, Hello::kept());
    assert_eq!(rig.take_payloads(back), ["before"]);
    assert_eq!(rig.statistic("shared_subscriptions"), 0);
}
