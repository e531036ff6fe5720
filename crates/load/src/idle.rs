//! Idle connections: open, hold, see how many are still there.

use std::time::Duration;

use crate::clock::SECOND;
use crate::connection::Role;
use crate::error::LoadError;
use crate::report::Phase;
use crate::worker::Worker;

/// The whole of an idle run, on one thread.
pub(crate) fn run(worker: &mut Worker<'_>) -> Result<(), LoadError> {
    let scenario = &worker.shared.plan.scenario;
    for number in worker.share(scenario.connections) {
        worker.add(Role::Idle, u64::from(number));
    }
    worker.open_all(0..worker.connections.len())?;
    worker.meet();
    worker.shared.begin();
    worker.enter(Phase::Holding);
    let end = worker.now + (scenario.hold_seconds * SECOND as f64) as u64;
    while worker.now < end && !worker.shared.is_stopped() {
        worker.step(Duration::from_millis(100));
    }
    Ok(())
}
