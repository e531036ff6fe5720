//! Queues for which memory has no room: on disk, and back in order.

use noctule_broker::{Action, Durability, DurabilityRule, QueueFull, Rule, Space, StoreState};
use noctule_packets::{PacketType, QoS};

use crate::house::House;
use crate::rig::{Got, Hello, Peerage};

/// Nothing of a queue is to be in memory; of the topics `m/#` all has to be.
fn house(workers: usize) -> House {
    with_memory(workers, 0)
}

fn with_memory(workers: usize, bytes: u64) -> House {
    House::with(workers, |options| {
        options.limits.queue_memory_bytes = bytes;
        options.durability_rules = vec![DurabilityRule {
            filter: "m/#".into(),
            durability: Durability::Memory,
        }];
    })
}

fn passing() -> Hello<'static> {
    Hello {
        clean: true,
        ..Hello::default()
    }
}

fn one_at_a_time() -> Hello<'static> {
    Hello {
        receive_maximum: 1,
        ..Hello::kept()
    }
}

fn on_disk(house: &House) -> u64 {
    house.statistic("messages_on_disk")
}

fn assert_nothing_is_left(house: &House) {
    for name in [
        "messages_stored",
        "messages_stored_bytes",
        "messages_on_disk",
        "messages_on_disk_bytes",
    ] {
        assert_eq!(house.statistic(name), 0, "{name}");
    }
    assert_eq!(house.disk.count(Space::Queue), 0);
    assert_eq!(house.disk.count(Space::InFlight), 0);
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn publish_numbers(house: &mut House, publisher: Peerage, range: std::ops::Range<usize>) {
    for number in range {
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][number % 2];
        house.publish(publisher, "a/b", &number.to_string(), qos);
    }
    house.commit();
    let _ = house.take(publisher);
}

/// A session without a connection, for which 20 messages wait, and who sent them.
fn twenty_wait(house: &mut House) -> Peerage {
    let subscriber = house.subscriber("k", "a/#", QoS::ExactlyOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", passing());
    publish_numbers(house, publisher, 0..20);
    publisher
}

/// A client that takes one message at a time.
fn slow_subscriber(house: &mut House, filter: &str) -> Peerage {
    let peer = house.enter("k", one_at_a_time());
    house.subscribe(peer, filter, QoS::AtLeastOnce);
    house.commit();
    assert_eq!(house.take(peer), [Got::Suback(vec![1])]);
    peer
}

/// The client `k` comes back and takes everything.
fn receive_all(house: &mut House, hello: Hello<'_>) -> Vec<String> {
    let peer = house.knock("k", hello);
    house.commit();
    let connack = house.take(peer).remove(0);
    let accepted = Got::Connack {
        present: true,
        reason: 0,
    };
    assert_eq!(connack, accepted);
    house.cut(peer);
    let peer = house.knock("k", one_at_a_time());
    house.commit();
    let mut got = house.take(peer);
    assert_eq!(got.remove(0), accepted);
    let mut payloads = Vec::new();
    for each in got {
        house.answer(peer, each, &mut payloads);
    }
    payloads.append(&mut house.receive(peer));
    payloads
}

#[test]
fn a_queue_without_any_memory_comes_back_in_order() {
    let mut house = house(2);
    twenty_wait(&mut house);
    assert_eq!(on_disk(&house), 20);
    assert_eq!(
        house.statistic("messages_on_disk_bytes"),
        house.statistic("messages_stored_bytes")
    );
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..20));
    assert_nothing_is_left(&house);
}

#[test]
fn what_memory_has_room_for_is_not_read_back() {
    let mut house = with_memory(1, 1_000);
    let publisher = twenty_wait(&mut house);
    let spilled = on_disk(&house);
    assert!((1..20).contains(&spilled), "{spilled}");
    // Behind what is on disk only everything is, whether there is room or not.
    publish_numbers(&mut house, publisher, 20..22);
    assert_eq!(on_disk(&house), spilled + 2);
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..22));
    assert_nothing_is_left(&house);
}

#[test]
fn a_queue_outlives_the_broker_on_disk_only() {
    let mut house = house(2);
    twenty_wait(&mut house);
    house.crash_for(3, 0);
    assert_eq!(on_disk(&house), 20);
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..20));
    assert_nothing_is_left(&house);
}

#[test]
fn a_broker_that_begins_takes_as_much_into_memory_as_it_may() {
    let mut house = with_memory(1, 1_000);
    twenty_wait(&mut house);
    house.crash();
    assert!((1..20).contains(&on_disk(&house)));
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..20));
    assert_nothing_is_left(&house);
}

#[test]
fn a_qos_2_message_in_flight_is_in_memory_and_those_behind_it_are_not() {
    let mut house = house(1);
    let subscriber = house.subscriber("k", "a/#", QoS::ExactlyOnce);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a/b", "sent", QoS::ExactlyOnce);
    house.commit();
    let sent = house.take_messages(subscriber);
    house.cut(subscriber);
    publish_numbers(&mut house, publisher, 0..5);
    house.crash();
    assert_eq!(on_disk(&house), 5);
    let (peer, _, got) = house.come_back("k", one_at_a_time());
    let Got::Publish(again) = &got[0] else {
        panic!("{got:?}");
    };
    assert!(again.dup && again.identifier == sent[0].identifier);
    let mut payloads = Vec::new();
    for each in got {
        house.answer(peer, each, &mut payloads);
    }
    payloads.append(&mut house.receive(peer));
    assert_eq!(payloads[0], "sent");
    assert_eq!(payloads[1..], numbers(0..5));
    assert_nothing_is_left(&house);
}

#[test]
fn time_on_the_disk_counts_for_what_expires() {
    let mut house = house(1);
    house.wait_seconds(1_000);
    let subscriber = house.subscriber("k", "a/#", QoS::AtLeastOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", passing());
    for (payload, expiry) in [("short", 10), ("long", 100), ("last", 30)] {
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
    assert_eq!(on_disk(&house), 3);
    house.wait_seconds(20);
    let (peer, _, got) = house.come_back("k", one_at_a_time());
    let Got::Publish(message) = &got[0] else {
        panic!("{got:?}");
    };
    assert_eq!(
        (message.payload.as_str(), message.expiry),
        ("long", Some(80))
    );
    house.wait_seconds(15);
    house.acknowledge(peer, PacketType::Puback, message.identifier);
    house.commit();
    assert_eq!(house.take(peer), []);
    house.cut(peer);
    house.commit();
    assert_eq!(house.dropped("expired"), 2);
    assert_nothing_is_left(&house);
}

#[test]
fn a_message_that_waited_too_long_is_not_read_back() {
    let mut house = House::with(1, |options| {
        options.limits.queue_memory_bytes = 0;
        options.limits.max_queued_age_seconds = 60;
    });
    let publisher = twenty_wait(&mut house);
    house.wait_seconds(50);
    publish_numbers(&mut house, publisher, 20..23);
    house.wait_seconds(20);
    let peer = house.knock("k", Hello::kept());
    house.commit();
    assert_eq!(house.take_payloads(peer), numbers(20..23));
}

#[test]
fn messages_without_a_record_keep_their_places() {
    let mut house = house(1);
    let subscriber = house.subscriber("k", "#", QoS::AtLeastOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", passing());
    for (number, topic) in ["m/0", "a", "m/1", "m/2", "b", "c", "m/3"]
        .iter()
        .enumerate()
    {
        house.publish(publisher, topic, &number.to_string(), QoS::AtLeastOnce);
    }
    house.commit();
    assert_eq!(on_disk(&house), 3);
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..7));
    assert_nothing_is_left(&house);
}

#[test]
fn messages_of_a_group_are_at_hand_for_another_member() {
    let mut house = house(1);
    for name in ["k", "other"] {
        let peer = house.enter(name, Hello::kept());
        house.subscribe(peer, "$share/g/a", QoS::AtLeastOnce);
        if name == "k" {
            house.subscribe(peer, "b", QoS::AtLeastOnce);
        }
        house.commit();
        house.cut(peer);
    }
    let publisher = house.enter("p", passing());
    house.publish(publisher, "b", "alone", QoS::AtLeastOnce);
    for number in numbers(0..6) {
        house.publish(publisher, "a", &number, QoS::AtLeastOnce);
    }
    house.commit();
    assert_eq!(on_disk(&house), 1);
    house.crash();
    assert_eq!(on_disk(&house), 1);
    let clean = Hello {
        clean: true,
        ..Hello::kept()
    };
    house.knock("k", clean);
    house.commit();
    let other = house.knock("other", Hello::kept());
    house.commit();
    let mut got = house.take_payloads(other);
    got.sort();
    assert_eq!(got, numbers(0..6));
}

#[test]
fn a_message_for_a_session_and_for_its_group_comes_twice() {
    let mut house = house(1);
    let peer = house.subscriber("k", "a", QoS::AtLeastOnce);
    house.subscribe(peer, "$share/g/a", QoS::AtLeastOnce);
    house.commit();
    house.cut(peer);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    house.commit();
    assert_eq!(house.disk.count(Space::Queue), 2);
    house.crash();
    assert_eq!(receive_all(&mut house, one_at_a_time()), ["x", "x"]);
    assert_nothing_is_left(&house);
}

#[test]
fn what_is_not_committed_is_not_asked_for() {
    let mut house = house(1);
    let subscriber = slow_subscriber(&mut house, "a/#");
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a/b", "0", QoS::AtLeastOnce);
    house.publish(publisher, "a/b", "1", QoS::AtLeastOnce);
    let first = house.take_messages(subscriber);
    house.acknowledge(subscriber, PacketType::Puback, first[0].identifier);
    assert!(house.readings.is_empty());
    assert_eq!(house.take(subscriber), []);
    house.commit();
    assert_eq!(house.take_payloads(subscriber), ["1"]);
}

#[test]
fn the_oldest_make_room_on_the_disk_too() {
    let mut house = House::with(1, |options| {
        options.limits.queue_memory_bytes = 0;
        options.limits.max_queued_messages = 8;
        options.limits.queue_full = QueueFull::DropOldest;
    });
    twenty_wait(&mut house);
    assert_eq!(house.disk.count(Space::Queue), 8);
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(12..20));
    assert_eq!(house.dropped("queue_full"), 12);
    assert_nothing_is_left(&house);
}

#[test]
fn a_full_queue_is_full_after_a_crash_too() {
    let mut house = House::with(1, |options| {
        options.limits.queue_memory_bytes = 0;
        options.limits.max_queued_messages = 8;
        options.limits.queue_full = QueueFull::Reject;
    });
    twenty_wait(&mut house);
    house.crash();
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a/b", "more", QoS::AtLeastOnce);
    house.commit();
    assert!(matches!(
        house.take(publisher)[..],
        [Got::Ack(PacketType::Puback, _, 0x97)]
    ));
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..8));
}

#[test]
fn what_makes_room_while_it_is_read_is_not_delivered() {
    let mut house = House::with(1, |options| {
        options.limits.queue_memory_bytes = 0;
        options.limits.max_queued_messages = 8;
        options.limits.max_inflight_messages = 1;
    });
    let publisher = twenty_wait(&mut house);
    let peer = house.knock("k", Hello::kept());
    assert_eq!(house.readings.len(), 1);
    publish_without_reading(&mut house, publisher, 20..23);
    house.commit();
    assert_eq!(house.take(peer).len(), 2);
    house.cut(peer);
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(15..23));
    assert_eq!(house.dropped("queue_full"), 15);
    assert_nothing_is_left(&house);
}

/// As [`publish_numbers`], at QoS 1, but nothing comes from the disk meanwhile.
fn publish_without_reading(house: &mut House, publisher: Peerage, range: std::ops::Range<usize>) {
    for number in range {
        house.publish(publisher, "a/b", &number.to_string(), QoS::AtLeastOnce);
    }
}

#[test]
fn a_message_that_cannot_be_read_is_counted_and_the_session_goes_on() {
    let mut house = house(1);
    twenty_wait(&mut house);
    house.disk.damage_entry(Space::Queue, 0);
    house.disk.damage_entry(Space::Queue, 7);
    let mut expected = numbers(1..20);
    expected.remove(6);
    assert_eq!(receive_all(&mut house, one_at_a_time()), expected);
    let peer = house.knock("k", Hello::kept());
    house.commit();
    house.cut(peer);
    assert_eq!(house.dropped("unreadable"), 2);
    assert_eq!(house.statistic("messages_stored"), 0);
    // The store is to put them aside: they are left to it.
    assert_eq!(house.disk.count(Space::Queue), 2);
}

#[test]
fn a_store_that_has_failed_holds_nobody_up() {
    let mut house = house(1);
    let subscriber = slow_subscriber(&mut house, "#");
    let publisher = house.enter("p", passing());
    for topic in ["a", "b"] {
        house.publish(publisher, topic, topic, QoS::AtLeastOnce);
    }
    let first = house.take_messages(subscriber);
    house.rig.submitted.clear();
    house.acknowledge(subscriber, PacketType::Puback, first[0].identifier);
    house.publish(publisher, "m/0", "in memory", QoS::AtLeastOnce);
    assert_eq!(house.take(subscriber), []);
    house.set_store(StoreState::Failed);
    house.run();
    house.read_back();
    assert_eq!(house.take_payloads(subscriber), ["in memory"]);
    assert_eq!(on_disk(&house), 0);
}

#[test]
fn what_is_read_for_a_client_that_has_gone_stays_on_the_disk() {
    let mut house = house(1);
    twenty_wait(&mut house);
    let peer = house.knock("k", Hello::kept());
    assert_eq!(house.readings.len(), 1);
    house.cut(peer);
    house.commit();
    assert_eq!(on_disk(&house), 20);
    // Read, and only one of them sent: the others go back.
    let (peer, _, got) = house.come_back("k", one_at_a_time());
    assert_eq!(got.len(), 1);
    assert!(on_disk(&house) < 19);
    house.cut(peer);
    house.commit();
    assert_eq!(on_disk(&house), 19);
    assert_eq!(receive_all(&mut house, one_at_a_time()), numbers(0..20));
    assert_nothing_is_left(&house);
}

#[test]
fn what_is_read_for_a_session_that_has_ended_goes_nowhere() {
    let mut house = house(1);
    twenty_wait(&mut house);
    house.knock("k", Hello::kept());
    assert_eq!(house.readings.len(), 1);
    let clean = Hello {
        clean: true,
        ..Hello::kept()
    };
    let peer = house.knock("k", clean);
    house.commit();
    assert_eq!(house.take(peer).len(), 1);
    assert_nothing_is_left(&house);
}

#[test]
fn a_right_that_is_gone_ends_what_is_on_the_disk() {
    let mut house = house(1);
    twenty_wait(&mut house);
    let peer = house.knock("k", Hello::kept());
    assert_eq!(house.readings.len(), 1);
    let rule = Rule {
        allow: true,
        actions: vec![Action::Subscribe],
        filter: "other".into(),
        maximum_qos: 2,
        retain: true,
    };
    assert!(house.workers[0].set_permissions("k", Some(&[rule])));
    house.commit();
    assert_eq!(house.take(peer).len(), 1);
    house.cut(peer);
    house.commit();
    assert_eq!(house.dropped("not_authorized"), 20);
    assert_nothing_is_left(&house);
}

#[test]
fn retained_messages_come_behind_what_waits_on_the_disk() {
    let mut house = house(1);
    let publisher = twenty_wait(&mut house);
    house.publish_with(publisher, "r", "retained", QoS::AtLeastOnce, true, None);
    house.commit();
    let peer = house.knock("k", Hello::kept());
    assert_eq!(house.readings.len(), 1);
    house.subscribe(peer, "r", QoS::AtLeastOnce);
    house.commit();
    let mut expected = numbers(0..20);
    expected.push("retained".to_owned());
    assert_eq!(house.take_payloads(peer), expected);
}

#[test]
fn a_long_queue_is_read_in_parts() {
    let mut house = house(1);
    let subscriber = house.subscriber("k", "a/#", QoS::AtLeastOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", passing());
    let filling = "x".repeat(1_000);
    for number in 0..200 {
        let payload = format!("{number} {filling}");
        house.publish(publisher, "a", &payload, QoS::AtLeastOnce);
        house.commit();
        let _ = house.take(publisher);
    }
    let peer = house.knock("k", one_at_a_time());
    assert_eq!(house.readings[0].1.sequences().len(), 15);
    house.cut(peer);
    house.commit();
    let got = receive_all(&mut house, one_at_a_time());
    let came = got.iter().map(|each| each.split(' ').next().unwrap());
    assert_eq!(came.collect::<Vec<_>>(), numbers(0..200));
    assert_nothing_is_left(&house);
}
