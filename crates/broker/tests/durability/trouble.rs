//! A store without room, or one that has failed: nothing new is promised.

use noctule_broker::StoreState;
use noctule_packets::{PacketType, QoS, Version};

use crate::house::House;
use crate::rig::{Got, Hello};

const TROUBLES: [StoreState; 2] = [StoreState::Full, StoreState::Failed];

fn old(clean: bool) -> Hello<'static> {
    Hello {
        version: Version::V4,
        clean,
        ..Hello::default()
    }
}

#[test]
fn messages_that_would_have_to_be_kept_are_refused() {
    for trouble in TROUBLES {
        let mut house = House::new(1);
        house.subscriber("k", "a", QoS::AtLeastOnce);
        let publisher = house.enter("p", Hello::default());
        house.set_store(trouble);
        for (topic, retain, qos, kind) in [
            ("a", false, QoS::AtLeastOnce, PacketType::Puback),
            ("a", false, QoS::ExactlyOnce, PacketType::Pubrec),
            ("r", true, QoS::AtLeastOnce, PacketType::Puback),
        ] {
            let identifier = house.publish_with(publisher, topic, "x", qos, retain, None);
            assert_eq!(house.take(publisher), [Got::Ack(kind, identifier, 0x97)]);
        }
        assert!(house.submitted.is_empty());
    }
}

#[test]
fn a_retained_message_is_not_cleared_by_what_is_refused() {
    let mut house = House::new(1);
    let publisher = house.enter("p", Hello::default());
    house.publish_with(publisher, "a", "x", QoS::AtLeastOnce, true, None);
    house.commit();
    assert_eq!(house.take(publisher).len(), 1);
    house.set_store(StoreState::Full);
    let identifier = house.publish_with(publisher, "a", "", QoS::AtLeastOnce, true, None);
    let refusal = Got::Ack(PacketType::Puback, identifier, 0x97);
    assert_eq!(house.take(publisher), [refusal]);
    assert_eq!(house.statistic("retained_messages"), 1);
}

#[test]
fn messages_that_need_not_be_kept_pass() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::AtMostOnce);
    let publisher = house.enter("p", Hello::default());
    house.set_store(StoreState::Full);
    let identifier = house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    assert_eq!(
        house.take(publisher),
        [Got::Ack(PacketType::Puback, identifier, 0)]
    );
    assert_eq!(house.take_payloads(subscriber), ["x"]);
}

#[test]
fn a_client_of_3_1_1_that_cannot_be_told_is_closed() {
    let mut house = House::new(1);
    house.subscriber("k", "a", QoS::AtLeastOnce);
    let publisher = house.enter("p", old(true));
    house.set_store(StoreState::Full);
    house.publish(publisher, "a", "x", QoS::AtLeastOnce);
    assert_eq!(house.take(publisher), []);
    assert!(house.is_closing(publisher));
}

#[test]
fn sessions_that_would_have_to_be_kept_are_refused() {
    for (hello, reason) in [(Hello::kept(), 0x88), (old(false), 3)] {
        let mut house = House::new(1);
        house.set_store(StoreState::Failed);
        let peer = house.knock("c", hello);
        let refusal = Got::Connack {
            present: false,
            reason,
        };
        assert_eq!(house.take(peer), [refusal]);
        let passing = house.knock("d", old(true));
        assert_eq!(house.take(passing).len(), 1);
        assert!(!house.is_closing(passing));
    }
}

#[test]
fn a_clean_start_is_refused_where_a_kept_session_would_have_to_end() {
    let mut house = House::new(1);
    let peer = house.enter("c", Hello::kept());
    house.cut(peer);
    house.commit();
    house.set_store(StoreState::Full);
    let peer = house.knock("c", old(true));
    let refusal = Got::Connack {
        present: false,
        reason: 3,
    };
    assert_eq!(house.take(peer), [refusal]);
    house.set_store(StoreState::Ready);
    assert!(house.come_back("c", Hello::kept()).1);
}

#[test]
fn subscriptions_of_kept_sessions_are_refused_and_others_are_not() {
    let mut house = House::new(1);
    let kept = house.enter("k", Hello::kept());
    let passing = house.enter("p", Hello::default());
    house.set_store(StoreState::Full);
    house.subscribe(kept, "a", QoS::AtLeastOnce);
    house.subscribe(passing, "a", QoS::AtLeastOnce);
    assert_eq!(house.take(kept), [Got::Suback(vec![0x97])]);
    assert_eq!(house.take(passing), [Got::Suback(vec![1])]);
}

#[test]
fn all_goes_on_when_there_is_room_again() {
    let mut house = House::new(1);
    let subscriber = house.subscriber("k", "a", QoS::AtLeastOnce);
    let publisher = house.enter("p", Hello::default());
    let waits = house.publish(publisher, "a", "before", QoS::AtLeastOnce);
    house.set_store(StoreState::Full);
    let refused = house.publish(publisher, "a", "meanwhile", QoS::AtLeastOnce);
    // In their order [MQTT-4.6.0-2]: the refusal waits behind what is not on disk.
    assert_eq!(house.take(publisher), []);
    house.set_store(StoreState::Ready);
    let later = house.publish(publisher, "a", "after", QoS::AtLeastOnce);
    house.commit();
    let puback = |identifier, reason| Got::Ack(PacketType::Puback, identifier, reason);
    assert_eq!(
        house.take(publisher),
        [puback(waits, 0), puback(refused, 0x97), puback(later, 0)]
    );
    assert_eq!(house.receive(subscriber), ["before", "after"]);
}
