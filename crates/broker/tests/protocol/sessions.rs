//! How long connections and sessions last, and how they end.

use std::time::Duration;

use noctule_packets::{Packet, PacketType, QoS, ReasonCode, Version};

use crate::rig::{Got, Hello, Rig};

fn keep_alive(seconds: u16) -> Hello<'static> {
    Hello {
        keep_alive: seconds,
        ..Hello::default()
    }
}

#[test]
fn a_silent_client_is_given_up_after_one_and_a_half_keep_alives() {
    // [MQTT-3.1.2-22]
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", keep_alive(10));
    rig.wait(Duration::from_millis(14_999));
    assert!(!rig.is_closing(client));
    rig.wait(Duration::from_millis(2));
    assert_eq!(rig.take(client), [Got::Disconnect(0x8D, None)]);
    assert!(rig.is_closing(client));
}

#[test]
fn any_packet_begins_the_keep_alive_anew() {
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", keep_alive(10));
    for _ in 0..5 {
        rig.wait_seconds(14);
        rig.send(client, &Packet::Pingreq);
        assert_eq!(rig.take(client), [Got::Pingresp]);
    }
    rig.wait_seconds(16);
    assert!(rig.is_closing(client));
}

#[test]
fn a_client_without_keep_alive_may_be_silent_for_ever() {
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", keep_alive(0));
    rig.wait_seconds(86_400);
    assert!(!rig.is_closing(client));
}

#[test]
fn a_connection_without_connect_is_closed_when_its_time_is_over() {
    let mut rig = Rig::new(1, |_| {});
    let deadline = rig.now.after_seconds(10);
    let now = rig.now;
    let id = rig.workers[0].accepted(noctule_broker::Peer::default(), deadline, now);
    rig.wait(Duration::from_millis(9_999));
    assert!(rig.closing.is_empty());
    rig.wait(Duration::from_millis(2));
    assert_eq!(rig.closing, [(0, id)]);
}

#[test]
fn a_session_is_there_until_its_expiry_interval_is_over() {
    for (pause, present) in [(59, true), (61, false)] {
        let mut rig = Rig::new(1, |_| {});
        let hello = Hello {
            expiry: 60,
            ..Hello::default()
        };
        let client = rig.connect("c", hello.clone());
        rig.cut(client);
        rig.wait_seconds(pause);
        let client = rig.knock("c", hello);
        assert_eq!(rig.take(client), [Got::Connack { present, reason: 0 }]);
    }
}

#[test]
fn an_expired_session_leaves_nothing() {
    let mut rig = Rig::new(1, |_| {});
    let hello = Hello {
        expiry: 60,
        ..Hello::default()
    };
    let client = rig.connect("c", hello);
    rig.listen(client, "a/#", QoS::AtLeastOnce);
    rig.cut(client);
    let publisher = rig.connect("p", Hello::default());
    rig.publish(publisher, "a/b", "x", QoS::AtLeastOnce);
    assert_eq!(rig.statistic("messages_stored"), 1);
    assert_eq!(rig.statistic("clients_disconnected"), 1);
    rig.wait_seconds(61);
    for name in [
        "messages_stored",
        "messages_stored_bytes",
        "subscriptions",
        "clients_disconnected",
    ] {
        assert_eq!(rig.statistic(name), 0, "{name}");
    }
    assert_eq!(rig.statistic("clients_expired"), 1);
}

#[test]
fn the_session_longest_without_a_connection_goes_when_there_are_too_many() {
    let mut rig = Rig::new(1, |options| options.limits.max_offline_sessions = 1);
    let first = rig.connect("first", Hello::kept());
    rig.cut(first);
    // It comes back, so it is no longer the one that has been away longest.
    let first = rig.connect("first", Hello::kept());
    rig.wait_seconds(1);
    let second = rig.connect("second", Hello::kept());
    rig.cut(second);
    rig.wait_seconds(1);
    rig.cut(first);
    let first = rig.knock("first", Hello::kept());
    let present = true;
    assert_eq!(rig.take(first), [Got::Connack { present, reason: 0 }]);
    let second = rig.knock("second", Hello::kept());
    let present = false;
    assert_eq!(rig.take(second), [Got::Connack { present, reason: 0 }]);
}

#[test]
fn a_connection_that_is_taken_over_is_told_and_closed() {
    // [MQTT-3.1.4-3]
    let mut rig = Rig::new(1, |_| {});
    let old = rig.connect("c", Hello::kept());
    rig.listen(old, "a", QoS::AtLeastOnce);
    let new = rig.connect("c", Hello::kept());
    assert_eq!(rig.take(old), [Got::Disconnect(0x8E, None)]);
    assert!(rig.is_closing(old) && !rig.is_closing(new));
    // What the old one still sends is nobody's.
    rig.publish(old, "a", "late", QoS::AtMostOnce);
    rig.publish(new, "a", "own", QoS::AtMostOnce);
    assert_eq!(rig.take_payloads(new), ["own"]);
}

#[test]
fn a_clean_start_forgets_what_was_kept() {
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::kept());
    rig.listen(client, "a", QoS::AtLeastOnce);
    rig.cut(client);
    let clean = Hello {
        clean: true,
        ..Hello::kept()
    };
    let client = rig.connect("c", clean);
    rig.publish(client, "a", "x", QoS::AtMostOnce);
    assert_eq!(rig.take_payloads(client), [""; 0]);
    assert_eq!(rig.statistic("subscriptions"), 0);
}

#[test]
fn everyone_is_told_when_the_server_shuts_down() {
    let mut rig = Rig::new(1, |_| {});
    let modern = rig.connect("modern", Hello::default());
    let old = rig.connect(
        "old",
        Hello {
            version: Version::V4,
            clean: true,
            ..Hello::default()
        },
    );
    let now = rig.now;
    rig.workers[0].shut_down(now);
    rig.run();
    assert_eq!(rig.take(modern), [Got::Disconnect(0x8B, None)]);
    assert_eq!(rig.take(old), []);
    assert!(rig.is_closing(modern) && rig.is_closing(old));
}

#[test]
fn a_drained_broker_sends_its_clients_elsewhere_and_takes_no_more() {
    for (moved, reason) in [(false, 0x9C), (true, 0x9D)] {
        let mut rig = Rig::new(1, |_| {});
        let client = rig.connect("c", Hello::default());
        let now = rig.now;
        rig.workers[0].drain(Some("elsewhere:1883"), moved, now);
        rig.run();
        let reference = Some("elsewhere:1883".to_owned());
        assert_eq!(rig.take(client), [Got::Disconnect(reason, reference)]);
        assert!(rig.is_closing(client));
        let late = rig.knock("late", Hello::default());
        let present = false;
        assert_eq!(rig.take(late), [Got::Connack { present, reason }]);
        assert!(rig.is_closing(late));
    }
}

#[test]
fn who_may_not_is_told_so_or_nothing_as_the_operator_wishes() {
    for (reveal, reason) in [
        (true, ReasonCode::NOT_AUTHORIZED),
        (false, ReasonCode::UNSPECIFIED_ERROR),
    ] {
        let mut rig = Rig::new(1, |options| options.protocol.reveal_not_authorized = reveal);
        let client = rig.connect("c", Hello::default());
        assert!(rig.workers[0].set_permissions("c", Some(&[])));
        rig.subscribe(client, "a", QoS::AtMostOnce);
        assert_eq!(rig.take(client), [Got::Suback(vec![reason.0])]);
        for (qos, kind) in [
            (QoS::AtLeastOnce, PacketType::Puback),
            (QoS::ExactlyOnce, PacketType::Pubrec),
        ] {
            rig.publish(client, "a", "", qos);
            let got = rig.take(client);
            assert!(
                matches!(got[..], [Got::Ack(told, _, code)] if told == kind && code == reason.0),
                "{got:?}"
            );
        }
    }
}

#[test]
fn thousands_of_subscriptions_go_over_several_turns_and_are_gone_at_once_for_everybody() {
    let mut rig = Rig::new(1, |_| {});
    let client = rig.connect("c", Hello::default());
    for at in 0..1_000 {
        rig.listen(client, &format!("f/{at}"), QoS::AtLeastOnce);
    }
    let publisher = rig.connect("p", Hello::default());
    rig.cut(client);
    assert_eq!(rig.statistic("subscriptions"), 0);
    let reasons_of = |rig: &mut Rig| -> Vec<u8> {
        for at in 0..1_000 {
            rig.publish(publisher, &format!("f/{at}"), "x", QoS::AtLeastOnce);
        }
        let reason = |got| match got {
            Got::Ack(PacketType::Puback, _, reason) => reason,
            other => panic!("{other:?}"),
        };
        rig.take(publisher).into_iter().map(reason).collect()
    };
    // Those still found lead to nobody.
    let found = |reasons: Vec<u8>| reasons.iter().filter(|&&reason| reason == 0).count();
    let mut left = vec![found(reasons_of(&mut rig))];
    while left.last() != Some(&0) {
        let next = rig.workers[0].next_timeout().expect("something to be done");
        assert!(next <= rig.now, "nothing is done about what is left");
        rig.workers[0].tick(rig.now);
        left.push(found(reasons_of(&mut rig)));
    }
    assert_eq!(left, [744, 488, 232, 0]);
    assert_eq!(rig.statistic("messages_stored"), 0);
}
