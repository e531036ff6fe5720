//! Hooks in the present tense: what waits for them, and what their answers do.

use noctule_broker::{Access, Action, Advice, Changes, Consultation, Event, Hooks, Rule, Subject};
use noctule_packets::{PacketType, QoS, ReasonCode};

use crate::rig::{Got, Hello, Peerage, Rig};

const TIMEOUT_MILLISECONDS: u64 = 5_000;

fn rig(set: impl FnOnce(&mut Hooks)) -> Rig {
    let rig = Rig::new(2, |_| ());
    let mut hooks = Hooks {
        timeout_milliseconds: TIMEOUT_MILLISECONDS,
        ..Hooks::default()
    };
    set(&mut hooks);
    assert!(rig.shared.set_hooks(hooks));
    rig
}

fn on_publish(rig_filter: &str) -> Rig {
    rig(|hooks| hooks.publish = vec![rig_filter.into()])
}

/// The only question there is.
fn asked(rig: &mut Rig) -> (usize, Consultation) {
    assert_eq!(rig.questions.len(), 1, "{:?}", rig.questions);
    rig.questions.remove(0)
}

fn answer(rig: &mut Rig, advice: Advice) {
    let (worker, question) = asked(rig);
    rig.workers[worker].advised(question.number, advice, rig.now);
    rig.run();
}

fn unchanged() -> Advice {
    Advice::Publish(Box::default())
}

fn allow(filter: &str) -> Vec<Rule> {
    vec![Rule {
        allow: true,
        actions: vec![Action::Publish, Action::Subscribe, Action::Receive],
        filter: filter.into(),
        maximum_qos: 2,
        retain: true,
    }]
}

fn restrict(rig: &mut Rig, name: &str, filter: &str) {
    let worker = rig.shared.worker_of(name);
    assert!(rig.workers[worker].set_permissions(name, Some(&allow(filter))));
}

fn pair(rig: &mut Rig) -> (Peerage, Peerage) {
    let publisher = rig.connect("publisher", Hello::default());
    let subscriber = rig.connect("subscriber", Hello::default());
    rig.listen(subscriber, "#", QoS::ExactlyOnce);
    (publisher, subscriber)
}

#[test]
fn only_messages_that_match_the_filter_leave_the_engine() {
    let mut rig = on_publish("hooked/#");
    let (publisher, subscriber) = pair(&mut rig);
    rig.publish(publisher, "other", "1", QoS::AtMostOnce);
    assert!(rig.questions.is_empty());
    assert_eq!(rig.take_payloads(subscriber), ["1"]);
    rig.publish(publisher, "hooked/x", "2", QoS::AtMostOnce);
    assert!(rig.take_payloads(subscriber).is_empty());
    answer(&mut rig, unchanged());
    assert_eq!(rig.take_payloads(subscriber), ["2"]);
}

#[test]
fn what_a_client_sends_behind_a_message_that_waits_keeps_its_order() {
    let mut rig = on_publish("hooked");
    let (publisher, subscriber) = pair(&mut rig);
    rig.publish(publisher, "hooked", "1", QoS::AtLeastOnce);
    assert!(rig.is_paused(publisher));
    rig.publish(publisher, "other", "2", QoS::AtMostOnce);
    rig.publish(publisher, "hooked", "3", QoS::AtMostOnce);
    assert!(rig.take_payloads(subscriber).is_empty());
    answer(&mut rig, unchanged());
    assert_eq!(rig.take_payloads(subscriber), ["1", "2"]);
    answer(&mut rig, unchanged());
    assert_eq!(rig.take_payloads(subscriber), ["3"]);
    assert!(!rig.is_paused(publisher));
}

#[test]
fn others_go_on_while_one_waits() {
    let mut rig = on_publish("hooked");
    let (publisher, subscriber) = pair(&mut rig);
    let other = rig.connect("other", Hello::default());
    rig.publish(publisher, "hooked", "waits", QoS::AtMostOnce);
    rig.publish(other, "free", "goes", QoS::AtMostOnce);
    assert_eq!(rig.take_payloads(subscriber), ["goes"]);
}

#[test]
fn a_hook_changes_a_message_and_its_publisher_is_acknowledged_as_it_sent() {
    let mut rig = on_publish("a");
    let (publisher, subscriber) = pair(&mut rig);
    let identifier = rig.publish(publisher, "a", "plain", QoS::AtLeastOnce);
    let changes = Changes {
        topic: Some("b".into()),
        payload: Some(b"other"[..].into()),
        qos: Some(QoS::AtMostOnce),
        ..Changes::default()
    };
    answer(&mut rig, Advice::Publish(Box::new(changes)));
    let got = rig.take_messages(subscriber);
    assert_eq!(got[0].topic, "b");
    assert_eq!(got[0].payload, "other");
    assert_eq!(got[0].qos, QoS::AtMostOnce);
    let acks = rig.take(publisher);
    assert_eq!(acks, [Got::Ack(PacketType::Puback, identifier, 0)]);
}

#[test]
fn a_refused_message_reaches_nobody_and_its_publisher_is_told() {
    let mut rig = on_publish("a");
    let (publisher, subscriber) = pair(&mut rig);
    let identifier = rig.publish(publisher, "a", "x", QoS::ExactlyOnce);
    answer(&mut rig, Advice::Refuse(ReasonCode::PAYLOAD_FORMAT_INVALID));
    assert!(rig.take_payloads(subscriber).is_empty());
    let acks = rig.take(publisher);
    assert_eq!(acks, [Got::Ack(PacketType::Pubrec, identifier, 0x99)]);
}

#[test]
fn a_changed_topic_is_held_to_the_rules_of_its_publisher() {
    let mut rig = on_publish("open/#");
    let (publisher, subscriber) = pair(&mut rig);
    restrict(&mut rig, "publisher", "open/#");
    for topic in ["secret", "$SYS/broker/x", "open/+", ""] {
        let identifier = rig.publish(publisher, "open/x", "x", QoS::AtLeastOnce);
        let changes = Changes {
            topic: Some(topic.into()),
            ..Changes::default()
        };
        answer(&mut rig, Advice::Publish(Box::new(changes)));
        let acks = rig.take(publisher);
        let code = match topic {
            "secret" => 0x87,
            _ => 0x90,
        };
        assert_eq!(
            acks,
            [Got::Ack(PacketType::Puback, identifier, code)],
            "{topic:?}"
        );
    }
    assert!(rig.take_payloads(subscriber).is_empty());
}

#[test]
fn a_right_that_is_revoked_while_a_message_waits_is_gone() {
    let mut rig = on_publish("a");
    let (publisher, subscriber) = pair(&mut rig);
    rig.publish(publisher, "a", "x", QoS::AtMostOnce);
    restrict(&mut rig, "publisher", "b");
    answer(&mut rig, unchanged());
    assert!(rig.take_payloads(subscriber).is_empty());
}

#[test]
fn a_hook_that_does_not_answer_in_time_has_refused() {
    let mut rig = on_publish("a");
    let (publisher, subscriber) = pair(&mut rig);
    let identifier = rig.publish(publisher, "a", "x", QoS::AtLeastOnce);
    rig.wait_seconds(6);
    assert_eq!(
        rig.take(publisher),
        [Got::Ack(PacketType::Puback, identifier, 0x83)]
    );
    assert_eq!(rig.statistic("hooks_failed"), 1);
    // Its answer is late, and changes nothing.
    answer(&mut rig, unchanged());
    assert!(rig.take_payloads(subscriber).is_empty());
    rig.publish(publisher, "b", "y", QoS::AtMostOnce);
    assert_eq!(rig.take_payloads(subscriber), ["y"]);
}

#[test]
fn a_will_is_put_to_the_hook_even_though_its_client_is_gone() {
    let mut rig = on_publish("will/#");
    let hello = Hello {
        will: Some(("will/a", 0)),
        ..Hello::default()
    };
    let mortal = rig.connect("mortal", hello);
    let subscriber = rig.connect("subscriber", Hello::default());
    rig.listen(subscriber, "#", QoS::AtMostOnce);
    restrict(&mut rig, "mortal", "will/#");
    rig.cut(mortal);
    assert!(rig.take_payloads(subscriber).is_empty());
    let (_, question) = &rig.questions[0];
    assert!(matches!(
        question.subject,
        Subject::Publish { is_will: true, .. }
    ));
    let elsewhere = Changes {
        topic: Some("will/b".into()),
        ..Changes::default()
    };
    answer(&mut rig, Advice::Publish(Box::new(elsewhere)));
    assert_eq!(rig.take_messages(subscriber)[0].topic, "will/b");
    // The next one is led past the rules of its client, who is gone.
    let mortal = rig.connect("mortal", hello_with_will());
    restrict(&mut rig, "mortal", "will/#");
    rig.cut(mortal);
    let past = Changes {
        topic: Some("secret".into()),
        ..Changes::default()
    };
    answer(&mut rig, Advice::Publish(Box::new(past)));
    assert!(rig.take_messages(subscriber).is_empty());
}

fn hello_with_will() -> Hello<'static> {
    Hello {
        will: Some(("will/a", 0)),
        ..Hello::default()
    }
}

#[test]
fn a_message_whose_client_went_before_the_answer_is_dropped_and_counted() {
    let mut rig = on_publish("a");
    let (publisher, subscriber) = pair(&mut rig);
    rig.publish(publisher, "a", "x", QoS::AtLeastOnce);
    rig.cut(publisher);
    answer(&mut rig, unchanged());
    assert!(rig.take_payloads(subscriber).is_empty());
    assert_eq!(rig.statistic("publish_dropped"), 1);
}

#[test]
fn a_subscription_is_granted_less_or_refused() {
    let mut rig = rig(|hooks| hooks.subscribe = true);
    let client = rig.connect("c", Hello::default());
    rig.subscribe(client, "a/#", QoS::ExactlyOnce);
    assert!(rig.take(client).is_empty());
    answer(&mut rig, Advice::Subscribe(vec![Ok(QoS::AtLeastOnce)]));
    assert_eq!(rig.take(client), [Got::Suback(vec![1])]);
    rig.subscribe(client, "b", QoS::AtMostOnce);
    answer(
        &mut rig,
        Advice::Subscribe(vec![Err(ReasonCode::QUOTA_EXCEEDED)]),
    );
    assert_eq!(rig.take(client), [Got::Suback(vec![0x97])]);
    rig.subscribe(client, "c", QoS::AtMostOnce);
    rig.wait_seconds(6);
    assert_eq!(rig.take(client), [Got::Suback(vec![0x83])]);
    assert_eq!(rig.statistic("subscriptions"), 1);
}

#[test]
fn a_hook_cannot_grant_what_the_rules_deny() {
    let mut rig = rig(|hooks| hooks.subscribe = true);
    let client = rig.connect("c", Hello::default());
    restrict(&mut rig, "c", "mine/#");
    rig.subscribe(client, "other/#", QoS::AtMostOnce);
    answer(&mut rig, Advice::Subscribe(vec![Ok(QoS::ExactlyOnce)]));
    assert_eq!(rig.take(client), [Got::Suback(vec![0x87])]);
}

#[test]
fn whoever_authorizes_is_asked_once_until_told_to_forget() {
    let mut rig = rig(|hooks| hooks.authorize = true);
    let publisher = rig.connect("publisher", Hello::default());
    let subscriber = rig.connect("subscriber", Hello::default());
    rig.subscribe(subscriber, "#", QoS::AtMostOnce);
    answer(&mut rig, Advice::Authorize(vec![true]));
    assert_eq!(rig.take(subscriber), [Got::Suback(vec![0])]);
    rig.publish(publisher, "a", "1", QoS::AtMostOnce);
    let (_, question) = &rig.questions[0];
    let Subject::Authorize(all) = &question.subject else {
        panic!("{question:?}")
    };
    let access = Access {
        action: Action::Publish,
        topic: "a".into(),
        qos: QoS::AtMostOnce,
        retain: false,
    };
    assert_eq!(all, &[access]);
    answer(&mut rig, Advice::Authorize(vec![true]));
    rig.publish(publisher, "a", "2", QoS::AtMostOnce);
    assert_eq!(rig.take_payloads(subscriber), ["1", "2"]);
    // Another QoS, and the retain flag, are other questions.
    rig.publish_with(publisher, "a", "3", QoS::AtMostOnce, true, None);
    answer(&mut rig, Advice::Authorize(vec![false]));
    assert!(rig.take_payloads(subscriber).is_empty());
    let owner = rig.shared.worker_of("publisher");
    let now = rig.now;
    rig.workers[owner].forget_permissions(Some("publisher"), now);
    rig.publish(publisher, "a", "4", QoS::AtMostOnce);
    answer(&mut rig, Advice::Authorize(vec![false]));
    assert!(rig.take_payloads(subscriber).is_empty());
    rig.publish(publisher, "a", "5", QoS::AtMostOnce);
    assert!(rig.questions.is_empty());
    assert!(rig.take_payloads(subscriber).is_empty());
}

#[test]
fn subscriptions_that_are_no_longer_allowed_end() {
    let mut rig = rig(|hooks| hooks.authorize = true);
    let subscriber = rig.connect("subscriber", Hello::default());
    rig.subscribe(subscriber, "a", QoS::AtMostOnce);
    answer(&mut rig, Advice::Authorize(vec![true]));
    let owner = rig.shared.worker_of("subscriber");
    let now = rig.now;
    rig.workers[owner].forget_permissions(None, now);
    rig.run();
    assert_eq!(rig.statistic("subscriptions"), 1);
    answer(&mut rig, Advice::Authorize(vec![false]));
    assert_eq!(rig.statistic("subscriptions"), 0);
}

#[test]
fn a_changed_topic_needs_authorization_of_its_own() {
    let mut rig = rig(|hooks| {
        hooks.authorize = true;
        hooks.publish = vec!["a".into()];
    });
    let publisher = rig.connect("publisher", Hello::default());
    let identifier = rig.publish(publisher, "a", "x", QoS::AtLeastOnce);
    answer(&mut rig, Advice::Authorize(vec![true]));
    let changes = Changes {
        topic: Some("b".into()),
        ..Changes::default()
    };
    answer(&mut rig, Advice::Publish(Box::new(changes)));
    let (_, question) = &rig.questions[0];
    assert!(matches!(&question.subject, Subject::Authorize(all) if &*all[0].topic == "b"));
    answer(&mut rig, Advice::Authorize(vec![false]));
    assert_eq!(
        rig.take(publisher),
        [Got::Ack(PacketType::Puback, identifier, 0x87)]
    );
}

#[test]
fn deliveries_are_told_once_the_client_has_the_message() {
    let mut rig = Rig::new(1, |_| ());
    let (publisher, subscriber) = pair(&mut rig);
    let delivered = |rig: &Rig| -> Vec<u8> {
        let of = |event: &Event| match event {
            Event::Delivered { qos, .. } => Some(*qos),
            _ => None,
        };
        rig.events.iter().filter_map(of).collect()
    };
    rig.publish(publisher, "a", "x", QoS::AtMostOnce);
    assert!(delivered(&rig).is_empty());
    rig.shared.observe_deliveries(true);
    rig.publish(publisher, "a", "x", QoS::AtMostOnce);
    rig.publish(publisher, "a", "x", QoS::AtLeastOnce);
    rig.publish(publisher, "a", "x", QoS::ExactlyOnce);
    assert_eq!(delivered(&rig), [0]);
    let messages = rig.take_messages(subscriber);
    rig.acknowledge(subscriber, PacketType::Puback, messages[2].identifier);
    rig.acknowledge(subscriber, PacketType::Pubrec, messages[3].identifier);
    rig.acknowledge(subscriber, PacketType::Pubcomp, messages[3].identifier);
    assert_eq!(delivered(&rig), [0, 1, 2]);
}
