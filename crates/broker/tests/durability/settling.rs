//! Records go when what they hold is done with: nothing is left on disk in the end.

use noctule_broker::Space;
use noctule_packets::{PacketType, QoS};

use crate::disk::Disk;
use crate::house::House;
use crate::rig::Hello;

fn clean() -> Hello<'static> {
    Hello {
        clean: true,
        ..Hello::default()
    }
}

/// Ends a session for good.
fn end(house: &mut House, name: &str) {
    let peer = house.enter(name, clean());
    house.cut(peer);
    house.commit();
}

fn assert_empty(house: &House) {
    let left: Vec<_> = house.disk.iter().collect();
    assert!(house.disk == Disk::default(), "left on disk: {left:?}");
}

#[test]
fn everything_acknowledged_leaves_nothing() {
    let mut house = House::new(2);
    let names: Vec<String> = (0..2).map(|worker| house.name_on(worker, "k")).collect();
    let subscribers: Vec<_> = names
        .iter()
        .map(|name| house.subscriber(name, "a/#", QoS::ExactlyOnce))
        .collect();
    let publisher = house.enter("p", Hello::kept());
    for number in 0..50 {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
        house.publish(publisher, "a/b", "x", qos);
    }
    for subscriber in subscribers {
        assert_eq!(house.receive(subscriber).len(), 50);
        assert_eq!(house.take(subscriber), []);
    }
    house.commit();
    for space in [Space::Queue, Space::InFlight] {
        assert_eq!(house.disk.count(space), 0);
    }
    house.release_all(publisher);
    assert_eq!(house.disk.count(Space::Received), 0);
    for name in [&names[0], &names[1], "p"] {
        end(&mut house, name);
    }
    assert_empty(&house);
}

#[test]
fn an_ended_session_leaves_nothing_whatever_it_had() {
    let mut house = House::new(1);
    let hello = Hello {
        will: Some(("w", 10)),
        ..Hello::kept()
    };
    let peer = house.enter("k", hello);
    for filter in ["a", "b/#", "$share/g/c"] {
        house.subscribe(peer, filter, QoS::ExactlyOnce);
    }
    let publisher = house.enter("p", Hello::kept());
    for topic in ["a", "b/c", "c"] {
        house.publish(publisher, topic, "x", QoS::ExactlyOnce);
    }
    house.publish(peer, "elsewhere", "x", QoS::ExactlyOnce);
    house.commit();
    let sent = house.take_messages(peer);
    house.acknowledge(peer, PacketType::Pubrec, sent[0].identifier);
    house.cut(peer);
    house.publish(publisher, "a", "y", QoS::AtLeastOnce);
    house.commit();
    end(&mut house, "k");
    end(&mut house, "p");
    assert_empty(&house);
}

#[test]
fn an_expired_session_leaves_nothing_also_after_a_restart() {
    let mut house = House::new(1);
    let hello = Hello {
        expiry: 60,
        ..Hello::default()
    };
    let peer = house.enter("k", hello);
    house.subscribe(peer, "a", QoS::AtLeastOnce);
    house.cut(peer);
    let publisher = house.enter("p", clean());
    house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    house.commit();
    house.crash_for(1, 61);
    house.wait_seconds(1);
    house.commit();
    assert_empty(&house);
}

#[test]
fn messages_that_are_dropped_leave_nothing() {
    let mut house = House::with(1, |options| options.limits.max_queued_messages = 3);
    let subscriber = house.subscriber("k", "a", QoS::ExactlyOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", clean());
    for number in 0..10 {
        house.publish(publisher, "a", &number.to_string(), QoS::AtLeastOnce);
    }
    house.commit();
    assert_eq!(house.disk.count(Space::Queue), 3);
    house.crash();
    let (subscriber, _, got) = house.come_back("k", Hello::kept());
    assert_eq!(got.len(), 3);
    for identifier in 1..=3 {
        house.acknowledge(subscriber, PacketType::Puback, identifier);
    }
    house.commit();
    assert_eq!(house.disk.count(Space::Queue), 0);
}

#[test]
fn a_message_that_expires_in_a_queue_leaves_nothing() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::ExactlyOnce);
    house.cut(subscriber);
    let publisher = house.enter("p", clean());
    house.publish_with(publisher, "a", "x", QoS::ExactlyOnce, false, Some(10));
    house.wait_seconds(11);
    let (_, _, got) = house.come_back("k", Hello::kept());
    assert_eq!(got, []);
    assert_eq!(house.disk.count(Space::Queue), 0);
}

#[test]
fn a_message_for_a_session_that_ends_meanwhile_leaves_nothing() {
    // It is written down by the publisher's worker, and the session ends on another
    // before the message is there.
    let mut house = House::new(2);
    for shared in [false, true] {
        let (there, here) = (house.name_on(1, "k"), house.name_on(0, "p"));
        let filter = if shared { "$share/g/a" } else { "a" };
        let subscriber = house.subscriber(&there, filter, QoS::AtLeastOnce);
        house.cut(subscriber);
        let publisher = house.enter(&here, clean());
        house.publish_while(publisher, "a", |house| end(house, &there));
        house.commit();
        assert_empty(&house);
    }
}

#[test]
fn retained_messages_leave_nothing_when_cleared_or_expired() {
    let mut house = House::new(1);
    let publisher = house.enter("p", clean());
    for topic in ["a", "b"] {
        house.publish_with(publisher, topic, "x", QoS::AtLeastOnce, true, None);
        house.publish_with(publisher, topic, "y", QoS::AtLeastOnce, true, None);
        house.publish_with(publisher, topic, "", QoS::AtLeastOnce, true, None);
    }
    house.publish_with(publisher, "c", "x", QoS::AtLeastOnce, true, Some(10));
    house.wait_seconds(20);
    house.commit();
    assert_empty(&house);
}

#[test]
fn a_retained_message_that_another_worker_clears_leaves_nothing() {
    let mut house = House::new(2);
    let names: Vec<String> = (0..2).map(|worker| house.name_on(worker, "p")).collect();
    let writer = house.enter(&names[0], clean());
    let other = house.enter(&names[1], clean());
    house.publish_with(writer, "a", "x", QoS::AtLeastOnce, true, None);
    house.publish_with(other, "a", "", QoS::AtLeastOnce, true, None);
    house.commit();
    assert_eq!(house.disk.count(Space::Cleared), 1);
    house.wait_seconds(11);
    house.commit();
    assert_empty(&house);
}

#[test]
fn retained_messages_that_expire_while_the_broker_is_away_leave_nothing() {
    let mut house = House::new(1);
    let publisher = house.enter("p", clean());
    house.publish_with(publisher, "a", "x", QoS::AtLeastOnce, true, Some(10));
    house.commit();
    house.crash_for(1, 20);
    house.commit();
    assert_empty(&house);
}

#[test]
fn records_of_nobody_are_swept_at_the_start() {
    let mut house = House::new(2);
    let subscriber = house.subscriber("k", "a", QoS::ExactlyOnce);
    house.publish(subscriber, "a", "x", QoS::ExactlyOnce);
    house.commit();
    house.disk.lose(Space::Session);
    assert!(house.disk.count(Space::Queue) > 0);
    house.crash();
    house.commit();
    assert_empty(&house);
}

#[test]
fn a_broker_in_memory_records_nothing() {
    let mut rig = crate::rig::Rig::new(2, |_| {});
    let subscriber = rig.connect("k", Hello::kept());
    rig.listen(subscriber, "a", QoS::ExactlyOnce);
    rig.publish_with(subscriber, "a", "x", QoS::ExactlyOnce, true, None);
    assert!(rig.submitted.is_empty());
}
