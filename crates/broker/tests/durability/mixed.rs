//! One broker that promises more of some topics and sessions than of others.

use noctule_broker::{Durability, DurabilityRule, Options, Space, StoreState};
use noctule_packets::{PacketType, QoS};

use crate::house::House;
use crate::rig::{Got, Hello, Peerage};

/// Listeners of [`mixed`], by place.
const PLAIN: u16 = 0;
const MEMORY: u16 = 1;
const INTERVAL: u16 = 2;

/// Everything is promised, but less of `telemetry/#` and `log/#` and on two listeners.
fn mixed(options: &mut Options) {
    let rule = |filter: &str, durability| DurabilityRule {
        filter: filter.into(),
        durability,
    };
    options.durability_rules = vec![
        rule("telemetry/alarm/#", Durability::Disk),
        rule("telemetry/#", Durability::Memory),
        rule("log/#", Durability::Interval),
    ];
    let listeners = [None, Some(Durability::Memory), Some(Durability::Interval)];
    options.listener_durability = listeners.to_vec();
}

fn house() -> House {
    House::with(1, mixed)
}

fn through(listener: u16) -> Hello<'static> {
    Hello {
        listener,
        ..Hello::kept()
    }
}

fn passing() -> Hello<'static> {
    Hello {
        clean: true,
        ..Hello::default()
    }
}

/// Whether a message is acknowledged before anything is committed.
fn acked_at_once(house: &mut House, peer: Peerage, topic: &str, qos: QoS, retain: bool) -> bool {
    house.publish_with(peer, topic, topic, qos, retain, None);
    let at_once = house.take(peer).len() == 1;
    house.commit();
    assert_eq!(house.take(peer).len(), usize::from(!at_once));
    at_once
}

#[test]
fn acknowledgements_wait_for_what_the_topic_promises() {
    let mut house = house();
    let subscriber = house.subscriber("s", "#", QoS::ExactlyOnce);
    let publisher = house.enter("p", passing());
    for retain in [false, true] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut at_once = |topic| acked_at_once(&mut house, publisher, topic, qos, retain);
            assert!(at_once("telemetry/1"));
            assert!(at_once("log/1"));
            assert!(!at_once("telemetry/alarm/1"));
            assert!(!at_once("orders/1"));
        }
    }
    assert_eq!(house.receive(subscriber).len(), 16);
}

#[test]
fn messages_outlive_the_broker_as_their_topic_promises() {
    let mut house = house();
    let subscriber = house.subscriber("s", "#", QoS::AtLeastOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", passing());
    for topic in ["telemetry/1", "log/1", "telemetry/alarm/1", "orders/1"] {
        acked_at_once(&mut house, publisher, topic, QoS::AtLeastOnce, true);
    }
    assert_eq!(house.disk.count(Space::Queue), 3);
    house.crash();
    let kept = ["log/1", "telemetry/alarm/1", "orders/1"];
    let (subscriber, _, got) = house.come_back("s", Hello::kept());
    let mut payloads: Vec<_> = got.into_iter().map(payload).collect();
    payloads.extend(house.receive(subscriber));
    assert_eq!(payloads, kept);
    let late = house.enter("late", passing());
    house.subscribe(late, "#", QoS::AtMostOnce);
    let mut retained = house.take_payloads(late);
    retained.sort_unstable();
    assert_eq!(retained, ["log/1", "orders/1", "telemetry/alarm/1"]);
}

fn payload(got: Got) -> String {
    match got {
        Got::Publish(message) => message.payload,
        other => panic!("{other:?} is not a message"),
    }
}

#[test]
fn sessions_are_kept_as_the_listener_says_on_which_they_begin() {
    let mut house = house();
    for (listener, waits) in [(PLAIN, true), (MEMORY, false), (INTERVAL, false)] {
        let name = format!("c{listener}");
        let peer = house.knock(&name, through(listener));
        assert_eq!(house.take(peer).is_empty(), waits, "CONNACK on {listener}");
        house.commit();
        house.take(peer);
        house.subscribe(peer, "orders/#", QoS::AtLeastOnce);
        assert_eq!(house.take(peer).is_empty(), waits, "SUBACK on {listener}");
        house.commit();
        house.cut(peer);
    }
    house.commit();
    house.crash();
    for (listener, is_kept) in [(PLAIN, true), (MEMORY, false), (INTERVAL, true)] {
        let (_, present, _) = house.come_back(&format!("c{listener}"), through(PLAIN));
        assert_eq!(present, is_kept, "session of {listener}");
    }
}

#[test]
fn puback_waits_for_nobody_whose_session_promises_less() {
    let mut house = house();
    for listener in [MEMORY, INTERVAL] {
        let peer = house.enter(&format!("c{listener}"), through(listener));
        house.listen(peer, "orders/#", QoS::AtLeastOnce);
        house.commit();
        house.take(peer);
    }
    let publisher = house.enter("p", passing());
    let at_once =
        |house: &mut House| acked_at_once(house, publisher, "orders/1", QoS::AtLeastOnce, false);
    assert!(at_once(&mut house));
    assert_eq!(house.disk.count(Space::Queue), 1);
    house.subscriber("s", "orders/#", QoS::AtLeastOnce);
    assert!(!at_once(&mut house));
}

#[test]
fn a_listener_may_promise_more_than_the_broker() {
    let mut house = House::with(1, |options| {
        options.durability = Durability::Memory;
        options.listener_durability = vec![None, Some(Durability::Disk)];
        let filter = "orders/#".into();
        let durability = Durability::Disk;
        options.durability_rules = vec![DurabilityRule { filter, durability }];
    });
    let forgotten = house.enter("forgotten", through(0));
    house.listen(forgotten, "#", QoS::AtLeastOnce);
    let kept = house.knock("kept", through(1));
    assert_eq!(house.take(kept), []);
    house.commit();
    house.take(kept);
    house.subscribe(kept, "#", QoS::AtLeastOnce);
    house.commit();
    let publisher = house.enter("p", passing());
    assert!(!acked_at_once(
        &mut house,
        publisher,
        "orders/1",
        QoS::AtLeastOnce,
        false
    ));
    assert!(acked_at_once(
        &mut house,
        publisher,
        "other",
        QoS::AtLeastOnce,
        false
    ));
    house.crash();
    assert!(!house.come_back("forgotten", through(1)).1);
    let (_, present, got) = house.come_back("kept", through(1));
    assert!(present);
    assert_eq!(
        got.into_iter().map(payload).collect::<Vec<_>>(),
        ["orders/1"]
    );
}

#[test]
fn an_identifier_is_not_used_again_though_its_message_was_not_kept() {
    let mut house = house();
    let subscriber = house.subscriber("s", "#", QoS::ExactlyOnce);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "telemetry/1", "lost", QoS::ExactlyOnce);
    house.commit();
    let [Got::Publish(sent)] = &house.take(subscriber)[..] else {
        panic!("one message is sent");
    };
    let identifier = sent.identifier;
    house.crash();
    let (subscriber, present, got) = house.come_back("s", Hello::kept());
    assert!(present);
    assert_eq!(got, [Got::Ack(PacketType::Pubrel, identifier, 0)]);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "orders/1", "kept", QoS::ExactlyOnce);
    house.commit();
    let [Got::Publish(next)] = &house.take(subscriber)[..] else {
        panic!("one message is sent");
    };
    assert_ne!(next.identifier, identifier);
}

#[test]
fn what_an_earlier_broker_retained_does_not_come_back_in_the_place_of_what_memory_holds() {
    for clear in [false, true] {
        let mut house = House::new(1);
        let publisher = house.enter("p", passing());
        house.publish_with(
            publisher,
            "telemetry/1",
            "old",
            QoS::AtLeastOnce,
            true,
            None,
        );
        house.commit();
        mixed(&mut house.options);
        house.crash();
        let publisher = house.enter("p", passing());
        let payload = if clear { "" } else { "new" };
        house.publish_with(
            publisher,
            "telemetry/1",
            payload,
            QoS::AtLeastOnce,
            true,
            None,
        );
        assert_eq!(house.take(publisher).len(), 1);
        house.commit();
        assert_eq!(house.disk.count(Space::Retained), 0);
    }
}

#[test]
fn nothing_is_written_again_and_again_for_retained_messages_in_memory() {
    let mut house = house();
    let publisher = house.enter("p", passing());
    for payload in ["1", "2", "", "3", ""] {
        house.publish_with(
            publisher,
            "telemetry/1",
            payload,
            QoS::AtLeastOnce,
            true,
            None,
        );
    }
    house.run();
    assert!(house.submitted.is_empty());
}

#[test]
fn a_full_store_refuses_only_what_it_would_have_to_keep() {
    let mut house = house();
    house.subscriber("s", "#", QoS::AtLeastOnce);
    let publisher = house.enter("p", passing());
    house.set_store(StoreState::Full);
    let mut answer = |topic, retain| {
        house.publish_with(publisher, topic, "x", QoS::AtLeastOnce, retain, None);
        match house.take(publisher)[..] {
            [Got::Ack(PacketType::Puback, _, reason)] => reason,
            ref other => panic!("{other:?} is not a PUBACK"),
        }
    };
    for retain in [false, true] {
        assert_eq!(answer("telemetry/1", retain), 0);
        assert_eq!(answer("orders/1", retain), 0x97);
    }
    let refused = house.knock("new", through(PLAIN));
    assert!(matches!(
        house.take(refused)[..],
        [Got::Connack { reason: 0x88, .. }]
    ));
    let accepted = house.knock("new", through(MEMORY));
    assert!(matches!(
        house.take(accepted)[..],
        [Got::Connack { reason: 0, .. }]
    ));
}

#[test]
fn a_group_keeps_what_the_topic_promises() {
    let mut house = house();
    let member = house.subscriber("m", "$share/g/#", QoS::AtLeastOnce);
    let heir = house.subscriber("h", "$share/g/#", QoS::AtLeastOnce);
    house.cut(heir);
    house.cut(member);
    let publisher = house.enter("p", passing());
    assert!(acked_at_once(
        &mut house,
        publisher,
        "telemetry/1",
        QoS::AtLeastOnce,
        false
    ));
    assert!(!acked_at_once(
        &mut house,
        publisher,
        "orders/1",
        QoS::AtLeastOnce,
        false
    ));
    assert_eq!(house.disk.count(Space::Queue), 1);
    // Whoever had the message in memory leaves it to the other, in memory.
    for name in ["m", "h"] {
        let hello = Hello {
            clean: true,
            ..Hello::kept()
        };
        let peer = house.enter(name, hello);
        house.cut(peer);
        house.commit();
    }
    assert_eq!(house.disk.count(Space::Queue), 0);
}
