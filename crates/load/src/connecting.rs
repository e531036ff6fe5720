//! Connection churn: clients that connect, subscribe where they should, and go.

use std::time::Duration;

use crate::clock::SECOND;
use crate::connection::{Role, State};
use crate::error::LoadError;
use crate::report::Phase;
use crate::worker::Worker;

/// The whole of a connect run, on one thread.
pub(crate) fn run(worker: &mut Worker<'_>) -> Result<(), LoadError> {
    let scenario = &worker.shared.plan.scenario;
    let limit = scenario.message_limit().unwrap_or(u64::MAX);
    for number in worker.share(scenario.connections) {
        worker.add(Role::Visitor, u64::from(number));
    }
    worker.meet();
    worker.enter(Phase::Running);
    let began = worker.shared.begin();
    let deadline = match scenario.duration_seconds {
        0.0 => u64::MAX,
        seconds => began + (seconds * SECOND as f64) as u64,
    };
    let mut has_more = true;
    while worker.goes_on() {
        has_more &= worker.now < deadline;
        let mut open = false;
        for index in 0..worker.connections.len() {
            let state = worker.connections[index].state;
            if has_more && matches!(state, State::New | State::Closed) {
                has_more = visit(worker, index, limit);
            }
            open |= !matches!(worker.connections[index].state, State::New | State::Closed);
        }
        if !open && !has_more {
            break;
        }
        worker.step(if open {
            Duration::from_millis(10)
        } else {
            Duration::ZERO
        });
    }
    Ok(())
}

/// Opens the next session in this place; false when there is none left.
fn visit(worker: &mut Worker<'_>, index: usize, limit: u64) -> bool {
    let number = worker.shared.next_visitor();
    if number >= limit {
        return false;
    }
    worker.connections[index].number = number;
    worker.tally.sent += 1;
    worker.tally.expected += 1;
    worker.dial(index);
    true
}
