//! Rules at work on sessions: what is refused is told, and what is revoked ends.

use noctule_broker::{Action, Event, Rule};
use noctule_packets::QoS;

use crate::rig::{Hello, Peerage, Rig};

fn rule(allow: bool, filter: &str) -> Rule {
    Rule {
        allow,
        actions: vec![Action::Publish, Action::Subscribe, Action::Receive],
        filter: filter.into(),
        maximum_qos: 2,
        retain: true,
    }
}

fn rig(rules: &[Rule]) -> (Rig, Peerage, Peerage) {
    let mut rig = Rig::new(1, |_| {});
    let bound = rig.connect("bound", Hello::kept());
    let free = rig.connect("free", Hello::default());
    assert!(rig.workers[0].set_permissions("bound", Some(rules)));
    (rig, bound, free)
}

/// What was denied to `bound`: action, topic, rule.
fn denied(rig: &mut Rig) -> Vec<(Action, String, Option<String>)> {
    std::mem::take(&mut rig.events)
        .into_iter()
        .filter_map(|event| match event {
            Event::Denied {
                client,
                action,
                topic,
                rule,
                ..
            } => {
                assert_eq!(&*client, "bound");
                Some((action, topic.into(), rule.map(Into::into)))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn what_is_denied_is_told_with_the_rule() {
    let (mut rig, bound, _) = rig(&[rule(false, "a/secret"), rule(true, "a/#")]);
    rig.publish(bound, "a/secret", "x", QoS::AtMostOnce);
    rig.publish(bound, "b", "x", QoS::AtMostOnce);
    rig.publish(bound, "a/open", "x", QoS::AtMostOnce);
    rig.publish(bound, "$SYS/x", "x", QoS::AtMostOnce);
    let own = "deny $-topics, which are the broker's own";
    assert_eq!(
        denied(&mut rig),
        [
            (
                Action::Publish,
                "a/secret".into(),
                Some("deny a/secret".into())
            ),
            (Action::Publish, "b".into(), None),
            (Action::Publish, "$SYS/x".into(), Some(own.into())),
        ]
    );
}

#[test]
fn a_flood_of_denials_is_not_told_in_full() {
    let (mut rig, bound, _) = rig(&[rule(true, "a")]);
    for _ in 0..100 {
        rig.publish(bound, "b", "x", QoS::AtMostOnce);
    }
    assert_eq!(denied(&mut rig).len(), 10);
    rig.wait_seconds(2);
    rig.publish(bound, "b", "x", QoS::AtMostOnce);
    rig.publish(bound, "b", "x", QoS::AtMostOnce);
    assert!(!denied(&mut rig).is_empty());
}

#[test]
fn nothing_is_kept_for_a_session_whose_right_was_revoked() {
    let (mut rig, bound, free) = rig(&[rule(true, "#")]);
    rig.listen(bound, "t/#", QoS::AtLeastOnce);
    rig.cut(bound);
    assert!(rig.workers[0].set_permissions("bound", Some(&[rule(true, "t/open")])));
    rig.publish(free, "t/secret", "1", QoS::AtLeastOnce);
    rig.publish(free, "t/open", "2", QoS::AtLeastOnce);
    // Nobody authenticates here, so coming back gives all rights back: what was kept shows.
    let bound = rig.connect("bound", Hello::kept());
    assert_eq!(rig.take_payloads(bound), ["2"]);
}
