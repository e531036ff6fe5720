//! Listeners with a topic prefix: their clients live below it and know nothing of it.

use noctule_broker::{Action, Policy, Rule};
use noctule_packets::{PacketType, QoS};

use crate::rig::{Got, Hello, Peerage, Rig};

/// Listener 0 has no prefix, 1 has `t1/` and 2 has `t2/` and QoS 1 at most.
fn rig() -> Rig {
    let policy = |prefix: &str| Policy {
        topic_prefix: prefix.into(),
        ..Policy::default()
    };
    let second = Policy {
        maximum_qos: 1,
        ..policy("t2/")
    };
    Rig::new(2, |options| {
        options.policies = vec![policy(""), policy("t1/"), second]
    })
}

fn by(listener: u16) -> Hello<'static> {
    Hello {
        listener,
        ..Hello::default()
    }
}

fn topics(rig: &mut Rig, peer: Peerage) -> Vec<String> {
    let messages = rig.take_messages(peer).into_iter();
    messages.map(|message| message.topic).collect()
}

#[test]
fn clients_below_a_prefix_meet_each_other_and_nobody_else() {
    let mut rig = rig();
    let all = rig.connect("all", by(0));
    rig.listen(all, "#", QoS::AtLeastOnce);
    let (one, other) = (rig.connect("one", by(1)), rig.connect("other", by(1)));
    let stranger = rig.connect("stranger", by(2));
    for peer in [other, stranger] {
        rig.listen(peer, "#", QoS::AtMostOnce);
    }
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        rig.publish(one, "a/b", "x", qos);
        assert_eq!(topics(&mut rig, other), ["a/b"]);
        assert_eq!(topics(&mut rig, all), ["t1/a/b"]);
        assert!(topics(&mut rig, stranger).is_empty());
    }
}

#[test]
fn what_wildcards_match_outside_of_the_prefix_is_not_delivered() {
    let mut rig = rig();
    let outside = rig.connect("outside", by(0));
    let inside = rig.connect("inside", by(1));
    for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce].into_iter().enumerate() {
        rig.subscribe(inside, "#", qos);
        rig.take(inside);
        // Their parent, a name that would be empty, and one that would pass for the broker's.
        for topic in ["t1", "t1/", "t1/$SYS/broker/version", "t2/x", "x"] {
            rig.publish(outside, topic, "x", qos);
        }
        rig.publish(outside, "t1/fine", "x", qos);
        assert_eq!(topics(&mut rig, inside), ["fine"], "{number}");
    }
}

#[test]
fn names_that_look_like_a_way_out_stay_below_the_prefix() {
    let mut rig = rig();
    let all = rig.connect("all", by(0));
    rig.listen(all, "#", QoS::AtMostOnce);
    let inside = rig.connect("inside", by(1));
    for topic in ["../x", "/x", "t2/x", "t1/x"] {
        rig.publish(inside, topic, "x", QoS::AtMostOnce);
        assert_eq!(topics(&mut rig, all), [format!("t1/{topic}")]);
    }
    let identifier = rig.publish(inside, "$SYS/x", "x", QoS::AtLeastOnce);
    assert_eq!(
        rig.take(inside),
        [Got::Ack(PacketType::Puback, identifier, 0x87)]
    );
    assert!(topics(&mut rig, all).is_empty());
}

#[test]
fn shared_subscriptions_stay_below_the_prefix() {
    let mut rig = rig();
    let outside = rig.connect("outside", by(0));
    let inside = rig.connect("inside", by(1));
    rig.listen(inside, "$share/g/#", QoS::AtLeastOnce);
    rig.publish(outside, "secret", "x", QoS::AtLeastOnce);
    rig.publish(outside, "t1/a", "x", QoS::AtLeastOnce);
    assert_eq!(topics(&mut rig, inside), ["a"]);
}

#[test]
fn retained_messages_are_seen_from_both_sides() {
    let mut rig = rig();
    let (inside, outside) = (rig.connect("inside", by(1)), rig.connect("outside", by(0)));
    rig.publish_with(inside, "a", "in", QoS::AtLeastOnce, true, None);
    rig.publish_with(outside, "secret", "out", QoS::AtLeastOnce, true, None);
    rig.take(inside);
    rig.subscribe(inside, "#", QoS::AtLeastOnce);
    assert_eq!(topics(&mut rig, inside), ["a"]);
    rig.subscribe(outside, "t1/#", QoS::AtMostOnce);
    assert_eq!(topics(&mut rig, outside), ["t1/a"]);
}

#[test]
fn a_will_goes_out_below_the_prefix() {
    let mut rig = rig();
    let all = rig.connect("all", by(0));
    rig.listen(all, "#", QoS::AtMostOnce);
    let hello = Hello {
        will: Some(("gone", 0)),
        ..by(1)
    };
    let mortal = rig.connect("mortal", hello);
    rig.cut(mortal);
    assert_eq!(topics(&mut rig, all), ["t1/gone"]);
}

#[test]
fn unsubscribing_names_what_was_subscribed_to() {
    let mut rig = rig();
    let inside = rig.connect("inside", by(1));
    rig.listen(inside, "a", QoS::AtMostOnce);
    rig.unsubscribe(inside, "a");
    assert_eq!(rig.take(inside), [Got::Unsuback(vec![0])]);
    assert_eq!(rig.statistic("subscriptions"), 0);
}

#[test]
fn rules_speak_of_whole_names() {
    let mut rig = rig();
    let inside = rig.connect("inside", by(1));
    let rule = Rule {
        allow: true,
        actions: vec![Action::Publish, Action::Subscribe, Action::Receive],
        filter: "t1/open/#".into(),
        maximum_qos: 2,
        retain: true,
    };
    let worker = rig.shared.worker_of("inside");
    rig.workers[worker].set_permissions("inside", Some(&[rule]));
    rig.subscribe(inside, "open/x", QoS::AtMostOnce);
    assert_eq!(rig.take(inside), [Got::Suback(vec![0])]);
    rig.subscribe(inside, "t1/open/x", QoS::AtMostOnce);
    assert_eq!(rig.take(inside), [Got::Suback(vec![0x87])]);
}

#[test]
fn a_session_that_comes_back_elsewhere_sees_what_that_listener_lets_it() {
    let mut rig = rig();
    let outside = rig.connect("outside", by(0));
    let kept = |listener| Hello {
        listener,
        ..Hello::kept()
    };
    let mover = rig.connect("mover", kept(1));
    rig.listen(mover, "#", QoS::AtLeastOnce);
    rig.publish(outside, "t1/sent", "x", QoS::AtLeastOnce);
    rig.cut(mover);
    rig.publish(outside, "t1/queued", "x", QoS::AtLeastOnce);
    let mover = rig.connect("mover", kept(2));
    assert!(topics(&mut rig, mover).is_empty());
    rig.publish(outside, "t1/now", "x", QoS::AtMostOnce);
    assert!(topics(&mut rig, mover).is_empty());
}

#[test]
fn a_listener_has_a_highest_qos_of_its_own() {
    let mut rig = rig();
    let low = rig.connect("low", by(2));
    rig.subscribe(low, "a", QoS::ExactlyOnce);
    assert_eq!(rig.take(low), [Got::Suback(vec![1])]);
    rig.publish(low, "a", "x", QoS::ExactlyOnce);
    assert_eq!(rig.take(low), [Got::Disconnect(0x9B, None)]);
    let high = rig.connect("high", by(1));
    rig.subscribe(high, "a", QoS::ExactlyOnce);
    assert_eq!(rig.take(high), [Got::Suback(vec![2])]);
}
