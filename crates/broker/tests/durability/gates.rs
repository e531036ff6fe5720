//! What leaves only after the records it promises are on disk, and what does not wait.

use noctule_packets::{Packet, PacketType, QoS, Version};

use crate::house::House;
use crate::rig::{Got, Hello, Peerage};

/// Nothing comes before the commit; returns what comes after it.
fn held_until_commit(house: &mut House, peer: Peerage) -> Vec<Got> {
    assert_eq!(house.take(peer), []);
    house.commit();
    house.take(peer)
}

fn passing() -> Hello<'static> {
    Hello {
        clean: true,
        ..Hello::default()
    }
}

#[test]
fn connack_of_a_kept_session_waits() {
    let mut house = House::new(1);
    let peer = house.knock("c", Hello::kept());
    let connack = Got::Connack {
        present: false,
        reason: 0,
    };
    assert_eq!(held_until_commit(&mut house, peer), [connack]);
}

#[test]
fn connack_of_a_session_that_ends_with_its_connection_does_not_wait() {
    let mut house = House::new(1);
    let peer = house.knock("c", passing());
    assert_eq!(house.take(peer).len(), 1);
}

#[test]
fn connack_waits_for_the_end_of_the_session_it_replaces() {
    let mut house = House::new(1);
    let old = house.enter("c", Hello::kept());
    house.cut(old);
    house.commit();
    let peer = house.knock("c", passing());
    assert_eq!(held_until_commit(&mut house, peer).len(), 1);
    house.crash();
    let peer = house.knock("c", passing());
    house.commit();
    let connack = Got::Connack {
        present: false,
        reason: 0,
    };
    assert_eq!(house.take(peer), [connack]);
}

#[test]
fn suback_and_unsuback_of_a_kept_session_wait() {
    let mut house = House::new(1);
    let peer = house.enter("c", Hello::kept());
    house.subscribe(peer, "a/#", QoS::ExactlyOnce);
    assert_eq!(held_until_commit(&mut house, peer), [Got::Suback(vec![2])]);
    house.unsubscribe(peer, "a/#");
    assert_eq!(
        held_until_commit(&mut house, peer),
        [Got::Unsuback(vec![0])]
    );
}

#[test]
fn suback_of_a_passing_session_does_not_wait() {
    let mut house = House::new(1);
    let peer = house.enter("c", passing());
    house.subscribe(peer, "a/#", QoS::ExactlyOnce);
    assert_eq!(house.take(peer), [Got::Suback(vec![2])]);
}

#[test]
fn puback_waits_for_a_message_that_somebody_is_to_get() {
    let mut house = House::new(2);
    let name = house.name_on(0, "s");
    house.subscriber(&name, "a/#", QoS::AtLeastOnce);
    let name = house.name_on(1, "p");
    let publisher = house.enter(&name, passing());
    let identifier = house.publish(publisher, "a/b", "x", QoS::AtLeastOnce);
    assert_eq!(
        held_until_commit(&mut house, publisher),
        [Got::Ack(PacketType::Puback, identifier, 0)]
    );
}

#[test]
fn puback_does_not_wait_for_subscribers_that_are_not_kept() {
    let mut house = House::new(1);
    let subscriber = house.enter("s", passing());
    house.listen(subscriber, "a/#", QoS::AtLeastOnce);
    house.subscriber("k", "other/#", QoS::AtLeastOnce);
    let publisher = house.enter("p", passing());
    let identifier = house.publish(publisher, "a/b", "x", QoS::AtLeastOnce);
    assert_eq!(
        house.take(publisher),
        [Got::Ack(PacketType::Puback, identifier, 0)]
    );
    assert_eq!(house.take_payloads(subscriber), ["x"]);
}

#[test]
fn puback_does_not_wait_for_a_subscription_at_qos_0() {
    let mut house = House::new(1);
    house.subscriber("k", "a/#", QoS::AtMostOnce);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a/b", "x", QoS::AtLeastOnce);
    assert_eq!(house.take(publisher).len(), 1);
}

#[test]
fn puback_waits_for_a_retained_message_and_for_its_end() {
    let mut house = House::new(1);
    let publisher = house.enter("p", passing());
    for payload in ["x", ""] {
        house.publish_with(publisher, "a", payload, QoS::AtLeastOnce, true, None);
        assert_eq!(held_until_commit(&mut house, publisher).len(), 1);
    }
}

#[test]
fn what_comes_behind_a_gate_waits_and_keeps_its_order() {
    let mut house = House::new(1);
    house.subscriber("k", "a/#", QoS::AtLeastOnce);
    let publisher = house.enter("p", passing());
    let first = house.publish(publisher, "elsewhere", "x", QoS::AtLeastOnce);
    let second = house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    house.send(publisher, &Packet::Pingreq);
    let third = house.publish(publisher, "elsewhere", "x", QoS::AtLeastOnce);
    let puback = |identifier, reason| Got::Ack(PacketType::Puback, identifier, reason);
    assert_eq!(house.take(publisher), [puback(first, 0x10)]);
    house.commit();
    assert_eq!(
        house.take(publisher),
        [puback(second, 0), Got::Pingresp, puback(third, 0x10)]
    );
}

#[test]
fn pubrec_and_pubcomp_of_a_kept_publisher_wait() {
    let mut house = House::new(1);
    let publisher = house.enter("p", Hello::kept());
    let identifier = house.publish(publisher, "nobody", "x", QoS::ExactlyOnce);
    let after = held_until_commit(&mut house, publisher);
    assert!(matches!(after[..], [Got::Ack(PacketType::Pubrec, _, 0)]));
    house.acknowledge(publisher, PacketType::Pubrel, identifier);
    assert_eq!(
        held_until_commit(&mut house, publisher),
        [Got::Ack(PacketType::Pubcomp, identifier, 0)]
    );
}

#[test]
fn pubrec_for_a_message_sent_again_waits_for_the_first() {
    let mut house = House::new(1);
    house.subscriber("k", "a", QoS::ExactlyOnce);
    let publisher = house.enter("p", Hello::kept());
    let identifier = house.publish(publisher, "a", "x", QoS::ExactlyOnce);
    house.cut(publisher);
    let publisher = house.knock("p", Hello::kept());
    house.publish_again(publisher, identifier, "a", "x");
    assert_eq!(house.take(publisher), []);
    house.commit();
    let after = house.take(publisher);
    let connack = Got::Connack {
        present: true,
        reason: 0,
    };
    let pubrec = Got::Ack(PacketType::Pubrec, identifier, 0);
    assert_eq!(after, [connack, pubrec]);
}

#[test]
fn publish_of_qos_2_to_a_kept_session_waits_and_one_of_qos_1_does_not() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a/#", QoS::ExactlyOnce);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a/0", "zero", QoS::AtMostOnce);
    house.publish(publisher, "a/1", "one", QoS::AtLeastOnce);
    assert_eq!(house.take_payloads(subscriber), ["zero", "one"]);
    house.publish(publisher, "a/2", "two", QoS::ExactlyOnce);
    assert_eq!(house.take_payloads(subscriber), [""; 0]);
    house.commit();
    assert_eq!(house.take_payloads(subscriber), ["two"]);
}

#[test]
fn pubrel_to_a_kept_session_waits() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::ExactlyOnce);
    let publisher = house.enter("p", passing());
    house.publish(publisher, "a", "x", QoS::ExactlyOnce);
    house.commit();
    let identifier = house.take_messages(subscriber)[0].identifier;
    house.acknowledge(subscriber, PacketType::Pubrec, identifier);
    assert_eq!(
        held_until_commit(&mut house, subscriber),
        [Got::Ack(PacketType::Pubrel, identifier, 0)]
    );
}

#[test]
fn sessions_of_3_1_1_are_kept_unless_they_are_clean() {
    for (clean, waits) in [(true, false), (false, true)] {
        let mut house = House::new(1);
        let hello = Hello {
            version: Version::V4,
            clean,
            ..Hello::default()
        };
        let peer = house.knock("c", hello);
        assert_eq!(house.take(peer).is_empty(), waits);
    }
}

#[test]
fn a_gate_opens_only_for_its_own_batch() {
    let mut house = House::new(1);
    house.subscriber("k", "a", QoS::AtLeastOnce);
    let (one, two) = (house.enter("one", passing()), house.enter("two", passing()));
    house.publish(one, "a", "x", QoS::AtLeastOnce);
    house.publish(two, "a", "y", QoS::AtLeastOnce);
    let numbers: Vec<u64> = house.submitted.iter().map(|each| each.1).collect();
    let now = house.now;
    house.workers[0].committed(numbers[0], now);
    assert_eq!(house.take(one).len(), 1);
    assert_eq!(house.take(two), []);
}
