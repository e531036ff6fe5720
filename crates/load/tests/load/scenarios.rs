//! The kinds of runs and how they end, against a broker that does nothing wrong.

use std::ops::ControlFlow;
use std::time::Instant;

use noctule_load::{Kind, Phase, Progress, Report, Scenario, run};

use crate::fake_broker::{FakeBroker, Fault};

fn scenario(broker: &FakeBroker) -> Scenario {
    Scenario {
        port: broker.port,
        messages: 1_000,
        ..Scenario::default()
    }
}

fn measure(scenario: Scenario) -> Report {
    run(scenario, |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn idle_connections_are_held_and_counted() {
    let broker = FakeBroker::start(Fault::None);
    let mut phases = Vec::new();
    let scenario = Scenario {
        kind: Kind::Idle,
        connections: 200,
        keep_alive_seconds: 1,
        hold_seconds: 1.2,
        ..scenario(&broker)
    };
    let report = run(scenario, |progress: &Progress| {
        phases.push((progress.phase, progress.connections));
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.received, report.connections), (200, 200));
    assert!(phases.contains(&(Phase::Holding, 200)));
}

#[test]
fn visitors_come_and_go() {
    let broker = FakeBroker::start(Fault::None);
    for (filters, version) in [(0, 4), (5, 5), (5, 3)] {
        let report = measure(Scenario {
            kind: Kind::Connect,
            connections: 10,
            messages: 300,
            filters,
            topics: 100,
            version,
            ..scenario(&broker)
        });
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.sent, report.received), (300, 300));
        assert_eq!(report.latency.unwrap().count, 300);
    }
}

#[test]
fn time_ends_a_run_and_everything_sent_is_waited_for() {
    let broker = FakeBroker::start(Fault::None);
    for (kind, qos, rate) in [
        (Kind::Publish, 0, 0.0),
        (Kind::Publish, 1, 0.0),
        (Kind::Publish, 0, 2_000.0),
        (Kind::Connect, 0, 0.0),
    ] {
        let began = Instant::now();
        let report = measure(Scenario {
            kind,
            qos,
            rate,
            messages: 0,
            duration_seconds: 0.3,
            ..scenario(&broker)
        });
        assert!(report.is_clean(), "{report:?}");
        assert!(report.received > 0 && report.received == report.sent);
        assert!((0.3..3.0).contains(&began.elapsed().as_secs_f64()));
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let broker = FakeBroker::start(Fault::None);
    let report = measure(Scenario {
        rate: 2_000.0,
        publishers: 3,
        subscribers: 3,
        topics: 3,
        ..scenario(&broker)
    });
    assert!(report.is_clean(), "{report:?}");
    // 1,000 messages: the last is due 999 intervals after the first.
    assert!(report.seconds >= 0.4995, "{report:?}");
    assert!(report.seconds < 1.5, "{report:?}");
}

#[test]
fn a_stall_is_charged_to_all_messages_that_were_due_meanwhile() {
    // The broker sleeps once for 300 ms: at 1,000 messages a second, some 300 of 500 were
    // due in that time. Counted from when they were sent, two would be late.
    let broker = FakeBroker::start(Fault::Stall(100, 300));
    let report = measure(Scenario {
        messages: 199,
        rate: 1_000.0,
        qos: 1,
        window: 1,
        ..scenario(&broker)
    });
    let latency = report.latency.unwrap();
    assert!(latency.max_us > 290_000.0, "{latency:?}");
    assert!(latency.p90_us > 150_000.0, "{latency:?}");
}

#[test]
fn the_observer_may_end_a_run() {
    let broker = FakeBroker::start(Fault::None);
    let scenario = Scenario {
        rate: 100.0,
        ..scenario(&broker)
    };
    let began = Instant::now();
    let report = run(scenario, |_| ControlFlow::Break(())).unwrap();
    assert!(report.interrupted && !report.is_clean());
    assert!(report.sent < 1_000);
    assert!(began.elapsed().as_secs_f64() < 5.0);
}

#[test]
fn each_phase_is_told_before_anything_happens_in_it() {
    let broker = FakeBroker::start(Fault::None);
    for (kind, wanted) in [
        (
            Kind::Publish,
            vec![(Phase::Running, 0), (Phase::Closing, 1_000)],
        ),
        (
            Kind::Connect,
            vec![(Phase::Running, 0), (Phase::Closing, 1_000)],
        ),
        (
            Kind::Retained,
            vec![
                (Phase::Running, 0),
                (Phase::Delivering, 1_000),
                (Phase::Closing, 1_000),
            ],
        ),
    ] {
        let mut told = Vec::new();
        let scenario = Scenario {
            kind,
            ..scenario(&broker)
        };
        let report = run(scenario, |progress: &Progress| {
            if told
                .last()
                .is_none_or(|(phase, _)| *phase != progress.phase)
            {
                told.push((progress.phase, progress.sent));
            }
            ControlFlow::Continue(())
        });
        assert!(report.unwrap().is_clean());
        told.retain(|(phase, _)| *phase != Phase::Opening);
        assert_eq!(told, wanted);
    }
}

#[test]
fn threads_share_the_connections() {
    let broker = FakeBroker::start(Fault::None);
    for (qos, rate) in [(0, 0.0), (1, 0.0), (2, 0.0), (0, 5_000.0)] {
        let report = measure(Scenario {
            threads: 3,
            publishers: 5,
            subscribers: 7,
            topics: 5,
            qos,
            rate,
            ..scenario(&broker)
        });
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.sent, report.connections), (1_000, 12));
    }
    let report = measure(Scenario {
        kind: Kind::Idle,
        threads: 2,
        connections: 9,
        hold_seconds: 0.1,
        ..scenario(&broker)
    });
    assert_eq!(report.received, 9);
    let report = measure(Scenario {
        kind: Kind::Connect,
        threads: 2,
        connections: 5,
        messages: 101,
        ..scenario(&broker)
    });
    assert_eq!(report.received, 101);
}

#[test]
fn a_small_receive_maximum_is_kept() {
    let broker = FakeBroker::with_receive_maximum(3);
    let report = measure(Scenario {
        version: 5,
        qos: 1,
        window: 100,
        ..scenario(&broker)
    });
    assert!(report.is_clean(), "{report:?}");
}
