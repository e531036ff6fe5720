//! Retained messages: publish them all, then have each subscriber take them all.

use std::time::Duration;

use crate::clock::seconds;
use crate::connection::{Role, State};
use crate::error::LoadError;
use crate::publishing::{open_publishers, publish};
use crate::report::{Phase, RetainedReport};
use crate::subscriber::Subscriber;
use crate::worker::Worker;

const WAIT: Duration = Duration::from_millis(100);

/// The whole of a retained run.
pub(crate) fn run(worker: &mut Worker<'_>) -> Result<RetainedReport, LoadError> {
    let plan = &worker.shared.plan;
    let messages = plan.scenario.messages;
    open_publishers(worker)?;
    worker.enter(Phase::Running);
    publish(worker);
    await_pingresps(worker);
    let publish_seconds = seconds(worker.now - worker.shared.began());
    worker.enter(Phase::Delivering);
    let mut deliver_seconds = Vec::new();
    for number in 0..plan.scenario.subscribers {
        if !worker.goes_on() {
            break;
        }
        deliver_seconds.push(deliver(worker, number)?);
    }
    worker.linger();
    // What a run that gave up has not even asked for is lost as well.
    worker.tally.expected = messages * u64::from(plan.scenario.subscribers);
    let delivering: f64 = deliver_seconds.iter().sum();
    Ok(RetainedReport {
        publish_seconds,
        publish_per_second: per_second(worker.tally.sent, publish_seconds),
        deliver_per_second: per_second(worker.tally.received, delivering),
        deliver_seconds,
    })
}

/// QoS 0 is not acknowledged: the answer to a PINGREQ says that all before it was taken.
fn await_pingresps(worker: &mut Worker<'_>) {
    for index in 0..worker.connections.len() {
        worker.ping(index);
        while worker.connections[index].awaits_pingresp
            && worker.connections[index].state == State::Ready
            && worker.goes_on()
        {
            worker.step(WAIT);
        }
    }
}

/// Has one subscriber take everything; the seconds it took.
fn deliver(worker: &mut Worker<'_>, number: u32) -> Result<f64, LoadError> {
    let plan = &worker.shared.plan;
    let role = Role::Subscriber(Box::new(Subscriber::new(plan, number)));
    let index = worker.add(role, u64::from(number));
    worker.open_all(index..index + 1)?;
    while worker.connections[index].state == State::Ready && worker.goes_on() {
        let received = match &worker.connections[index].role {
            Role::Subscriber(subscriber) => subscriber.receipts.received(),
            _ => 0,
        };
        if received >= plan.scenario.messages && worker.tally.unreleased == 0 {
            break;
        }
        worker.step(WAIT);
    }
    let begun = worker.connections[index].begun;
    Ok(seconds(worker.tally.last_delivery.saturating_sub(begun)))
}

pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}
