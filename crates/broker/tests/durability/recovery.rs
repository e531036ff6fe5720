//! What a broker that begins anew makes of what was kept.

use noctule_broker::Space;
use noctule_packets::{PacketType, QoS, Version};

use crate::house::House;
use crate::rig::{Got, Hello};

fn expiring(seconds: u32) -> Hello<'static> {
    Hello {
        expiry: seconds,
        ..Hello::default()
    }
}

fn is_present(house: &mut House, name: &str) -> bool {
    house.come_back(name, Hello::kept()).1
}

fn payloads(got: &[Got]) -> Vec<&str> {
    got.iter()
        .map(|each| match each {
            Got::Publish(message) => message.payload.as_str(),
            other => panic!("{other:?} is not a message"),
        })
        .collect()
}

#[test]
fn an_offline_queue_comes_back_in_order_with_any_number_of_workers() {
    let mut house = House::new(2);
    let subscriber = house.subscriber("k", "a/#", QoS::ExactlyOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", Hello::default());
    for number in 0..20 {
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][number % 2];
        house.publish(publisher, "a/b", &number.to_string(), qos);
    }
    house.commit_unheard();
    house.crash_for(3, 0);
    let (_, present, got) = house.come_back("k", Hello::kept());
    assert!(present);
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&got), expected);
    assert_eq!(house.unreadable, 0);
}

#[test]
fn what_was_not_committed_was_not_acknowledged_and_is_gone() {
    let mut house = House::new(1);
    house.subscriber("k", "a", QoS::AtLeastOnce);
    let publisher = house.enter("p", Hello::default());
    house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    assert_eq!(house.take(publisher), []);
    house.crash();
    let (_, present, got) = house.come_back("k", Hello::kept());
    assert!(present);
    assert_eq!(got, []);
}

#[test]
fn a_qos_2_message_in_flight_is_sent_again_under_its_identifier() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::ExactlyOnce);
    let publisher = house.enter("p", Hello::default());
    for payload in ["x", "y", "z"] {
        house.publish(publisher, "a", payload, QoS::ExactlyOnce);
    }
    house.commit();
    let sent = house.take_messages(subscriber);
    house.acknowledge(subscriber, PacketType::Pubrec, sent[1].identifier);
    house.commit();
    assert_eq!(house.take(subscriber).len(), 1);
    house.crash();
    let (subscriber, _, got) = house.come_back("k", Hello::kept());
    let again = |at: usize| {
        Got::Publish(crate::rig::Message {
            dup: true,
            ..sent[at].clone()
        })
    };
    let pubrel = Got::Ack(PacketType::Pubrel, sent[1].identifier, 0);
    assert_eq!(got, [again(0), pubrel, again(2)]);
    for message in [&sent[0], &sent[2]] {
        house.acknowledge(subscriber, PacketType::Pubrec, message.identifier);
    }
    for message in &sent {
        house.acknowledge(subscriber, PacketType::Pubcomp, message.identifier);
    }
    house.commit();
    assert_eq!(house.disk.count(Space::InFlight), 0);
    assert_eq!(house.disk.count(Space::Queue), 0);
}

#[test]
fn new_messages_get_identifiers_that_are_free() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::ExactlyOnce);
    let publisher = house.enter("p", Hello::default());
    house.publish(publisher, "a", "x", QoS::ExactlyOnce);
    house.commit();
    let taken = house.take_messages(subscriber)[0].identifier;
    house.crash();
    let publisher = house.enter("p", Hello::default());
    let (subscriber, _, _) = house.come_back("k", Hello::kept());
    for _ in 0..66_000_u32 {
        house.publish_first(publisher, "a");
        house.commit();
        let _ = house.take(publisher);
        for message in house.take_messages(subscriber) {
            assert_ne!(message.identifier, taken);
            house.acknowledge(subscriber, PacketType::Puback, message.identifier);
        }
    }
}

#[test]
fn a_qos_2_message_received_before_is_not_passed_on_again() {
    let mut house = House::new(1);
    house.subscriber("k", "a", QoS::ExactlyOnce);
    let publisher = house.enter("p", Hello::kept());
    let identifier = house.publish(publisher, "a", "x", QoS::ExactlyOnce);
    house.commit_unheard();
    house.crash();
    let publisher = house.enter("p", Hello::kept());
    house.publish_again(publisher, identifier, "a", "x");
    house.commit();
    assert_eq!(
        house.take(publisher),
        [Got::Ack(PacketType::Pubrec, identifier, 0)]
    );
    house.acknowledge(publisher, PacketType::Pubrel, identifier);
    house.commit();
    assert_eq!(house.disk.count(Space::Received), 0);
    let (_, _, got) = house.come_back("k", Hello::kept());
    assert_eq!(payloads(&got), ["x"]);
}

#[test]
fn a_message_is_not_promised_to_a_subscriber_before_its_publisher_is_recorded() {
    // The subscriber's worker must not have its records on disk before those of the
    // publisher's: else the one is sent what the other sends again.
    let mut house = House::new(2);
    let (there, here) = (house.name_on(1, "k"), house.name_on(0, "p"));
    house.subscriber(&there, "a", QoS::ExactlyOnce);
    let publisher = house.enter(&here, Hello::kept());
    house.publish(publisher, "a", "x", QoS::ExactlyOnce);
    let workers: Vec<usize> = house.submitted.iter().map(|each| each.0).collect();
    assert_eq!(workers, [0, 1]);
}

#[test]
fn subscriptions_come_back_with_their_options_and_as_they_were_changed() {
    let mut house = House::new(2);
    let subscriber = house.subscriber("k", "a", QoS::AtLeastOnce);
    house.subscribe(subscriber, "a", QoS::ExactlyOnce);
    house.subscribe(subscriber, "b", QoS::AtLeastOnce);
    house.unsubscribe(subscriber, "b");
    house.commit();
    house.crash();
    let publisher = house.enter("p", Hello::default());
    house.publish(publisher, "a", "2", QoS::ExactlyOnce);
    house.publish(publisher, "b", "none", QoS::ExactlyOnce);
    let (_, _, got) = house.come_back("k", Hello::kept());
    let [Got::Publish(message)] = &got[..] else {
        panic!("{got:?}");
    };
    assert_eq!(message.qos, QoS::ExactlyOnce);
}

#[test]
fn a_session_of_3_1_1_comes_back() {
    let mut house = House::new(1);
    let hello = Hello {
        version: Version::V4,
        ..Hello::default()
    };
    house.enter("c", hello.clone());
    house.crash_for(1, 1_000_000);
    assert!(house.come_back("c", hello).1);
}

#[test]
fn a_session_is_kept_for_what_is_left_of_its_expiry() {
    for (after, present) in [(59, true), (61, false)] {
        let mut house = House::new(1);
        let peer = house.enter("c", expiring(60));
        house.cut(peer);
        house.commit();
        house.wait_seconds(20);
        house.crash_for(1, 20);
        house.wait_seconds(after - 40);
        assert_eq!(is_present(&mut house, "c"), present);
    }
}

#[test]
fn expiry_counts_through_several_starts() {
    for restarts in [1, 3] {
        let mut house = House::new(1);
        let hello = Hello {
            will: Some(("w", 0)),
            ..expiring(60)
        };
        let peer = house.enter("c", hello);
        house.cut(peer);
        house.commit();
        for _ in 0..restarts {
            house.crash_for(1, 60 / restarts + 1);
            house.commit();
        }
        assert!(!is_present(&mut house, "c"));
    }
}

#[test]
fn a_session_that_was_connected_expires_counted_from_the_first_start() {
    let mut house = House::new(1);
    house.enter("c", expiring(60));
    house.crash();
    house.commit();
    house.crash_for(1, 61);
    assert!(!is_present(&mut house, "c"));
}

#[test]
fn a_session_that_was_to_end_with_its_connection_is_gone() {
    let mut house = House::new(1);
    let peer = house.subscriber("c", "a", QoS::AtLeastOnce);
    house.cut(peer);
    // Taken up again, by a connection that it is to end with.
    house.enter("c", Hello::default());
    house.crash();
    assert_eq!(house.statistic("clients_disconnected"), 0);
    house.commit();
    assert!(house.disk == crate::disk::Disk::default());
    assert!(!is_present(&mut house, "c"));
}

#[test]
fn a_clock_that_goes_back_ends_nothing_early_and_keeps_nothing_late() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::AtLeastOnce);
    house.cut(subscriber);
    let gone = house.enter("c", expiring(60));
    house.cut(gone);
    let publisher = house.enter("p", Hello::default());
    for expiry in [60, 600] {
        let payload = expiry.to_string();
        let expiry = Some(expiry);
        house.publish_with(publisher, "a", &payload, QoS::AtLeastOnce, false, expiry);
    }
    house.commit();
    house.crash_for(1, -1_000_000);
    house.wait_seconds(61);
    assert!(!is_present(&mut house, "c"));
    let (_, present, got) = house.come_back("k", Hello::kept());
    assert!(present);
    assert_eq!(payloads(&got), ["600"]);
}

#[test]
fn a_message_expires_while_the_broker_is_away() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::AtLeastOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", Hello::default());
    for (payload, expiry) in [("short", 10), ("long", 100)] {
        house.publish_with(
            publisher,
            "a",
            payload,
            QoS::AtLeastOnce,
            false,
            Some(expiry),
        );
    }
    house.commit();
    house.crash_for(1, 40);
    let (subscriber, _, got) = house.come_back("k", Hello::kept());
    let [Got::Publish(message)] = &got[..] else {
        panic!("{got:?}");
    };
    assert_eq!(
        (message.payload.as_str(), message.expiry),
        ("long", Some(60))
    );
    house.acknowledge(subscriber, PacketType::Puback, message.identifier);
    house.commit();
    assert_eq!(house.disk.count(Space::Queue), 0);
}

#[test]
fn a_delayed_will_goes_out_when_what_is_left_of_its_delay_is_over() {
    let mut house = House::new(2);
    let watcher = house.subscriber("k", "will", QoS::AtMostOnce);
    house.cut(watcher);
    let hello = Hello {
        will: Some(("will", 60)),
        ..Hello::kept()
    };
    let peer = house.enter("c", hello);
    house.cut(peer);
    house.commit();
    house.crash_for(2, 50);
    let (watcher, _, _) = house.come_back("k", Hello::kept());
    house.wait_seconds(9);
    assert_eq!(house.take_payloads(watcher), [""; 0]);
    house.wait_seconds(2);
    assert_eq!(house.take_payloads(watcher), ["gone"]);
    house.commit();
    house.crash();
    let (watcher, _, _) = house.come_back("k", Hello::kept());
    house.wait_seconds(100);
    assert_eq!(house.take_payloads(watcher), [""; 0]);
}

#[test]
fn a_will_is_not_sent_for_a_client_that_came_back() {
    let mut house = House::new(1);
    let hello = Hello {
        will: Some(("will", 60)),
        ..Hello::kept()
    };
    let peer = house.enter("c", hello);
    house.cut(peer);
    house.commit();
    house.crash();
    house.enter("c", Hello::kept());
    let (watcher, _, _) = house.come_back("k", Hello::default());
    house.listen(watcher, "will", QoS::AtMostOnce);
    house.wait_seconds(100);
    assert_eq!(house.take_payloads(watcher), [""; 0]);
}

#[test]
fn members_of_a_shared_group_keep_what_was_chosen_for_them() {
    let mut house = House::new(2);
    let names: Vec<String> = (0..2).map(|worker| house.name_on(worker, "m")).collect();
    for name in &names {
        let peer = house.subscriber(name, "$share/g/a", QoS::ExactlyOnce);
        house.cut(peer);
    }
    let publisher = house.enter("p", Hello::default());
    for number in 0..10 {
        house.publish(publisher, "a", &number.to_string(), QoS::ExactlyOnce);
    }
    house.commit();
    house.crash_for(3, 0);
    let mut all = Vec::new();
    for name in &names {
        let (_, present, got) = house.come_back(name, Hello::kept());
        assert!(present);
        all.extend(payloads(&got).iter().map(|each| (*each).to_owned()));
    }
    all.sort();
    let expected: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(all, expected);
}

#[test]
fn a_member_that_ends_after_the_restart_leaves_its_messages_to_the_group() {
    let mut house = House::new(2);
    let names: Vec<String> = (0..2).map(|worker| house.name_on(worker, "m")).collect();
    let first = house.subscriber(&names[0], "$share/g/a", QoS::AtLeastOnce);
    house.cut(first);
    let publisher = house.enter("p", Hello::default());
    house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    let second = house.subscriber(&names[1], "$share/g/a", QoS::AtLeastOnce);
    house.cut(second);
    house.commit();
    house.crash();
    let clean = Hello {
        clean: true,
        ..Hello::default()
    };
    house.enter(&names[0], clean);
    house.crash();
    let (second, _, got) = house.come_back(&names[1], Hello::kept());
    assert_eq!(payloads(&got), ["x"]);
    house.acknowledge(second, PacketType::Puback, 1);
    house.commit();
    assert_eq!(house.disk.count(Space::Queue), 0);
}

fn retained(house: &mut House, topic: &str) -> Vec<String> {
    let (reader, _, _) = house.come_back("reader", Hello::default());
    house.subscribe(reader, topic, QoS::AtMostOnce);
    let found = house.take_payloads(reader);
    house.cut(reader);
    found
}

#[test]
fn the_latest_retained_message_wins_whichever_worker_is_on_disk_first() {
    let mut house = House::new(2);
    let names: Vec<String> = (0..2).map(|worker| house.name_on(worker, "p")).collect();
    let peers: Vec<_> = names
        .iter()
        .map(|name| house.enter(name, Hello::default()))
        .collect();
    house.publish_with(peers[0], "a", "old", QoS::AtLeastOnce, true, None);
    house.publish_with(peers[1], "a", "new", QoS::AtLeastOnce, true, None);
    house.publish_with(peers[0], "b", "x", QoS::AtLeastOnce, true, None);
    house.publish_with(peers[1], "b", "", QoS::AtLeastOnce, true, None);
    house.commit_backwards();
    house.crash();
    assert_eq!(retained(&mut house, "a"), ["new"]);
    assert_eq!(retained(&mut house, "b"), [""; 0]);
    house.commit();
    assert_eq!(house.disk.count(Space::Retained), 1);
    assert_eq!(house.disk.count(Space::Cleared), 0);
}

#[test]
fn a_retained_message_that_came_back_can_be_replaced_and_cleared() {
    let mut house = House::new(1);
    let publisher = house.enter("p", Hello::default());
    for topic in ["a", "b"] {
        house.publish_with(publisher, topic, "x", QoS::AtLeastOnce, true, None);
    }
    house.commit();
    house.crash();
    let publisher = house.enter("p", Hello::default());
    house.publish_with(publisher, "a", "y", QoS::AtLeastOnce, true, None);
    house.publish_with(publisher, "b", "", QoS::AtLeastOnce, true, None);
    house.commit();
    house.crash();
    assert_eq!(retained(&mut house, "#"), ["y"]);
    assert_eq!(house.statistic("retained_messages"), 1);
}

#[test]
fn retained_messages_that_came_back_count_towards_the_limit() {
    let mut house = House::with(1, |options| options.limits.max_retained_messages = 2);
    for start in ["a", "b", "c"] {
        let publisher = house.enter("p", Hello::default());
        house.publish_with(publisher, start, "x", QoS::AtLeastOnce, true, None);
        house.commit();
        let reason = if start == "c" { 0x97 } else { 0x10 };
        let got = house.take(publisher);
        assert!(
            matches!(got[..], [Got::Ack(_, _, code)] if code == reason),
            "{got:?}"
        );
        house.crash();
    }
}

#[test]
fn an_identifier_for_records_is_never_given_twice() {
    // Records of a session that is gone must not be inherited by a new one.
    let mut house = House::new(1);
    for round in 0..5 {
        let name = format!("c{round}");
        let peer = house.subscriber(&name, "a", QoS::AtLeastOnce);
        house.cut(peer);
        let publisher = house.enter("p", Hello::default());
        house.publish(publisher, "a", "x", QoS::AtLeastOnce);
        house.commit();
        house.crash();
        let (_, present, got) = house.come_back(&name, Hello::kept());
        assert!(present);
        assert_eq!(payloads(&got), ["x"]);
    }
}

#[test]
fn damaged_records_are_counted_and_the_rest_comes_back() {
    let mut house = House::new(1);
    house.subscriber("k", "a", QoS::AtLeastOnce);
    house.disk.damage(Space::Subscription);
    house.crash();
    assert_eq!(house.unreadable, 1);
    assert!(is_present(&mut house, "k"));
}
