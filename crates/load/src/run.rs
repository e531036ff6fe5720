//! From a scenario to its report.

use std::ops::ControlFlow;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::clock::seconds;
use crate::connection::Role;
use crate::descriptors;
use crate::error::LoadError;
use crate::latency::LatencyHistogram;
use crate::plan::Plan;
use crate::report::{Phase, Progress, Report, RetainedReport};
use crate::retained::per_second;
use crate::scenario::{Kind, Scenario};
use crate::shared::Shared;
use crate::tally::Tally;
use crate::transport::Dialer;
use crate::worker::Worker;
use crate::{connecting, idle, publishing, retained};

/// What one thread comes back with.
struct Outcome {
    tally: Tally,
    latency: LatencyHistogram,
    /// Handshakes of publishers that did not end.
    in_flight: u64,
    has_stalled: bool,
    connect_seconds: f64,
    retained: Option<RetainedReport>,
}

/// Carries a scenario out.
///
/// `progress` is called about ten times a second, and before each phase, on the calling
/// thread; Break ends the run with what there is so far. What the broker does wrong is in the report.
///
/// Errors: a scenario out of its ranges, a host without an address, connections that do
/// not come up, system calls that fail.
pub fn run(
    scenario: Scenario,
    mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Report, LoadError> {
    scenario.validate()?;
    let dialer = Dialer::new(&scenario)?;
    let connections = match scenario.kind {
        Kind::Publish | Kind::Retained => {
            u64::from(scenario.publishers) + u64::from(scenario.subscribers)
        }
        Kind::Idle | Kind::Connect => u64::from(scenario.connections),
    };
    descriptors::make_room(connections).map_err(LoadError::system("the limit on open files"))?;

    let shared = Shared::new(Plan::new(scenario, run_number()), dialer);
    let cpu_before = cpu_seconds();
    let outcomes = thread::scope(|scope| {
        let others: Vec<_> = (1..shared.plan.scenario.threads as usize)
            .map(|thread| {
                let shared = &shared;
                scope.spawn(move || carry_out(shared, thread, None))
            })
            .collect();
        let first = carry_out(&shared, 0, Some(&mut progress));
        let mut outcomes = vec![first];
        outcomes.extend(others.into_iter().map(|other| other.join().ok().flatten()));
        outcomes
    });
    if let Some(error) = shared.take_failure() {
        return Err(error);
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    Ok(report(&shared, outcomes, cpu_seconds() - cpu_before))
}

/// One thread's part; None where it failed, which the shared state tells.
fn carry_out<'a>(
    shared: &'a Shared,
    thread: usize,
    observer: Option<crate::worker::Observer<'a>>,
) -> Option<Outcome> {
    let mut worker = match Worker::new(shared, thread, observer) {
        Ok(worker) => worker,
        Err(error) => {
            shared.fail(error);
            return None;
        }
    };
    let result = match shared.plan.scenario.kind {
        Kind::Publish => publishing::run(&mut worker).map(|()| None),
        Kind::Idle => idle::run(&mut worker).map(|()| None),
        Kind::Connect => connecting::run(&mut worker).map(|()| None),
        Kind::Retained => retained::run(&mut worker).map(Some),
    };
    let retained = match result {
        Ok(retained) => retained,
        Err(error) => {
            shared.fail(error);
            return None;
        }
    };
    worker.enter(Phase::Closing);
    worker.disconnect_all();
    let in_flight = worker
        .connections
        .iter()
        .map(|connection| match &connection.role {
            Role::Publisher(publisher) => u64::from(publisher.in_flight),
            _ => 0,
        });
    Some(Outcome {
        in_flight: in_flight.sum(),
        has_stalled: worker.has_stalled,
        connect_seconds: seconds(shared.began()),
        tally: worker.tally,
        latency: worker.latency,
        retained,
    })
}

fn report(shared: &Shared, outcomes: Vec<Outcome>, client_cpu_seconds: f64) -> Report {
    let mut tally = Tally::default();
    let mut latency = LatencyHistogram::new();
    let (mut in_flight, mut stalled, mut connect_seconds) = (0, false, 0.0_f64);
    let mut retained = None;
    for outcome in outcomes {
        add(&mut tally, outcome.tally);
        latency.add(&outcome.latency);
        in_flight += outcome.in_flight;
        stalled |= outcome.has_stalled;
        connect_seconds = connect_seconds.max(outcome.connect_seconds);
        retained = retained.or(outcome.retained);
    }
    let kind = shared.plan.scenario.kind;
    let took = match kind {
        Kind::Idle => connect_seconds,
        _ => seconds(tally.last_delivery.saturating_sub(shared.began())),
    };
    if kind == Kind::Idle {
        tally.expected = u64::from(shared.plan.scenario.connections);
        tally.received = tally.ready;
    }
    Report {
        kind,
        seconds: took,
        sent: tally.sent,
        expected: tally.expected,
        received: tally.received,
        per_second: per_second(tally.received, took),
        lost: tally.expected.saturating_sub(tally.received),
        duplicates: tally.duplicates,
        out_of_order: tally.out_of_order,
        unacknowledged: in_flight + tally.unreleased,
        malformed: tally.malformed,
        refused: tally.refused,
        closed: tally.closed,
        first_problem: tally.first_problem,
        stalled,
        interrupted: shared.is_interrupted(),
        connections: tally.ready,
        connect_seconds,
        // Of retained messages it would tell how long they had been retained.
        latency: latency.report().filter(|_| kind != Kind::Retained),
        retained,
        client_cpu_seconds,
    }
}

fn add(sum: &mut Tally, part: Tally) {
    sum.sent += part.sent;
    sum.expected += part.expected;
    sum.received += part.received;
    sum.duplicates += part.duplicates;
    sum.out_of_order += part.out_of_order;
    sum.malformed += part.malformed;
    sum.refused += part.refused;
    sum.closed += part.closed;
    sum.unreleased += part.unreleased;
    sum.ready += part.ready;
    sum.last_delivery = sum.last_delivery.max(part.last_delivery);
    if sum.first_problem.is_none() {
        sum.first_problem = part.first_problem;
    }
}

/// Different for runs of different processes, and of one process.
fn run_number() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (since.as_micros() as u32) ^ std::process::id().rotate_left(16)
}

/// CPU time of this process, user and system.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
