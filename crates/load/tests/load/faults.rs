//! A broker that drops, duplicates, reorders or forges is found out, to the message.

use std::ops::ControlFlow;

use noctule_load::{Kind, LoadError, Report, Scenario, run};

use crate::fake_broker::{FakeBroker, Fault};

fn measure(fault: Fault, change: impl FnOnce(&mut Scenario)) -> Report {
    let broker = FakeBroker::start(fault);
    let mut scenario = Scenario {
        port: broker.port,
        messages: 1_000,
        stall_seconds: 0.5,
        ..Scenario::default()
    };
    change(&mut scenario);
    run(scenario, |_| ControlFlow::Continue(())).unwrap()
}

fn assert_clean(report: &Report) {
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_faultless_broker_is_clean_at_every_qos_and_version() {
    for version in [3, 4, 5] {
        for qos in [0, 1, 2] {
            let report = measure(Fault::None, |s| {
                s.version = version;
                s.qos = qos;
                s.publishers = 3;
                s.subscribers = 4;
                s.topics = 2;
            });
            assert_clean(&report);
            // Topics 0, 1, 0 have 334 + 333 + 333 messages, and two subscribers each.
            assert_eq!((report.sent, report.received), (1_000, 2_000));
            assert_eq!(report.latency.unwrap().count, 2_000);
        }
    }
}

#[test]
fn mixed_topics_and_sizes_arrive_as_published() {
    for (qos, wildcard) in [(0, false), (1, false), (0, true)] {
        let report = measure(Fault::None, |s| {
            s.qos = qos;
            s.mixed = true;
            s.wildcard = wildcard;
            s.publishers = 4;
            s.subscribers = 3;
            s.topics = 100;
            s.payload_bytes = 16;
            s.max_payload_bytes = 2_000;
        });
        assert_clean(&report);
        assert_eq!(report.received, if wildcard { 3_000 } else { 1_000 });
    }
}

#[test]
fn large_payloads_come_in_parts() {
    let report = measure(Fault::None, |s| {
        s.messages = 20;
        s.payload_bytes = 3_000_000;
        s.qos = 1;
    });
    assert_clean(&report);
}

#[test]
fn losses_are_counted() {
    let report = measure(Fault::Drop(100), |s| s.subscribers = 3);
    assert_eq!((report.lost, report.received), (30, 2_970));
    assert!(report.stalled);
    assert!(!report.is_clean());
}

#[test]
fn duplicates_are_counted_and_not_taken_for_messages() {
    for qos in [0, 1, 2] {
        let report = measure(Fault::Duplicate(50), |s| s.qos = qos);
        assert_eq!(
            (report.duplicates, report.received, report.lost),
            (20, 1_000, 0)
        );
        assert!(!report.is_clean());
    }
}

#[test]
fn reordering_is_counted() {
    for mixed in [false, true] {
        let report = measure(Fault::Swap(10), |s| {
            s.mixed = mixed;
            s.messages = 995;
        });
        assert_eq!((report.out_of_order, report.lost), (99, 0), "{report:?}");
        assert!(!report.is_clean());
    }
}

#[test]
fn order_between_topics_is_not_promised() {
    // Hardly any two messages have one topic, so those that change places do not.
    let report = measure(Fault::Swap(10), |s| {
        s.mixed = true;
        s.wildcard = true;
        s.topics = 100_000;
        s.messages = 995;
    });
    assert_clean(&report);
}

#[test]
fn forgeries_are_found() {
    for fault in [
        Fault::Corrupt(100),
        Fault::Shorten(100),
        Fault::Rename(100),
        Fault::Retain(100),
    ] {
        let report = measure(fault, |_| ());
        assert_eq!((report.malformed, report.lost), (10, 10), "{fault:?}");
        assert!(report.first_problem.is_some());
    }
}

#[test]
fn messages_nobody_subscribed_to_are_found() {
    let report = measure(Fault::Misroute(100), |s| {
        s.publishers = 2;
        s.subscribers = 2;
        s.topics = 2;
    });
    assert_eq!((report.malformed, report.lost), (10, 0));
}

#[test]
fn missing_acknowledgements_are_counted() {
    for qos in [1, 2] {
        let report = measure(Fault::Forget(100), |s| s.qos = qos);
        assert_eq!((report.unacknowledged, report.lost), (10, 0));
        assert!(report.stalled);
    }
}

#[test]
fn a_broker_that_ends_connections_is_found_out() {
    let report = measure(Fault::Disconnect(500), |s| s.version = 5);
    assert_eq!(report.refused, 1);
    assert!(!report.is_clean());
}

#[test]
fn a_run_that_cannot_begin_says_why() {
    for (version, wanted) in [(4, "refused with 0x05"), (5, "refused with 0x87")] {
        let broker = FakeBroker::start(Fault::RefuseConnect);
        let scenario = Scenario {
            port: broker.port,
            version,
            ..Scenario::default()
        };
        let error = run(scenario, |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(
            error,
            LoadError::Connect {
                up: 0,
                asked: 1,
                ..
            }
        ));
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn a_refused_subscription_is_reported() {
    let report = measure(Fault::RefuseSubscribe, |_| ());
    assert_eq!(report.refused, 1);
    assert_eq!(report.first_problem.as_deref(), Some("SUBACK: 0x80"));
}

#[test]
fn nobody_listening_is_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let scenario = Scenario {
        port,
        ..Scenario::default()
    };
    let error = run(scenario, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn retained_messages_are_checked_too() {
    let retained = |s: &mut Scenario| {
        s.kind = Kind::Retained;
        s.prefix = "ret".into();
        s.subscribers = 2;
    };
    let report = measure(Fault::None, retained);
    assert_clean(&report);
    assert_eq!(report.received, 2_000);
    assert!(report.latency.is_none());
    let times = report.retained.unwrap();
    assert_eq!(times.deliver_seconds.len(), 2);
    assert!(times.publish_per_second > 0.0 && times.deliver_per_second > 0.0);

    let report = measure(Fault::Drop(100), retained);
    assert_eq!(
        report.lost, 1_010,
        "the second subscriber is not waited for"
    );
    let report = measure(Fault::Duplicate(100), retained);
    assert_eq!(report.duplicates, 20);
}
