//! Publishing: open the subscribers, then the publishers, then let go.

use std::time::Duration;

use noctule_packets::QoS;

use crate::clock::{MILLISECOND, SECOND};
use crate::connection::{Role, State};
use crate::error::LoadError;
use crate::publisher::{Allowance, Publisher, Turn};
use crate::report::Phase;
use crate::subscriber::Subscriber;
use crate::worker::Worker;

/// Longest wait for events; threads look at each other's boards in between.
const WAIT: Duration = Duration::from_millis(10);
/// When nothing has moved for so long, the deliveries under way are lost: QoS 0 goes on
/// without them.
const FORGIVE_AFTER: u64 = 300 * MILLISECOND;

/// Where one thread's publishing stands.
#[derive(Debug)]
struct Course {
    began: u64,
    /// When publishers stop, where time ends the run.
    deadline: Option<u64>,
    /// QoS 0 in a closed loop: deliveries under way at most.
    limit: Option<u64>,
    /// Too many deliveries are under way. It ends at half the limit, which keeps writes
    /// large.
    is_capped: bool,
    /// Deliveries under way that are not waited for any more.
    forgiven: u64,
    /// The first message, over all publishers, that was not due in the last turn.
    cursor: u64,
}

/// The whole of a publish run, on one thread.
pub(crate) fn run(worker: &mut Worker<'_>) -> Result<(), LoadError> {
    let plan = &worker.shared.plan;
    for number in worker.share(plan.scenario.subscribers) {
        let role = Role::Subscriber(Box::new(Subscriber::new(plan, number)));
        worker.add(role, u64::from(number));
    }
    worker.open_all(0..worker.connections.len())?;
    worker.meet();
    open_publishers(worker)?;
    worker.enter(Phase::Running);
    publish(worker);
    worker.linger();
    Ok(())
}

/// Opens this thread's publishers and waits for those of the others.
pub(crate) fn open_publishers(worker: &mut Worker<'_>) -> Result<(), LoadError> {
    let plan = &worker.shared.plan;
    let first = worker.connections.len();
    for number in worker.share(plan.scenario.publishers) {
        let role = Role::Publisher(Box::new(Publisher::new(plan, number)));
        worker.add(role, u64::from(number));
    }
    worker.open_all(first..worker.connections.len())?;
    for connection in &mut worker.connections[first..] {
        if let Role::Publisher(publisher) = &mut connection.role {
            publisher.is_busy = connection.state == State::Ready;
            worker.tally.busy_publishers += u64::from(publisher.is_busy);
        }
    }
    worker.meet();
    Ok(())
}

/// Publishes everything, and waits for all deliveries and acknowledgements.
pub(crate) fn publish(worker: &mut Worker<'_>) {
    let scenario = &worker.shared.plan.scenario;
    let began = worker.shared.begin();
    let closed_loop = scenario.rate == 0.0 && worker.shared.plan.qos == QoS::AtMostOnce;
    let mut course = Course {
        began,
        deadline: (scenario.duration_seconds > 0.0)
            .then(|| began + (scenario.duration_seconds * SECOND as f64) as u64),
        limit: closed_loop.then(|| scenario.outstanding_limit()),
        is_capped: false,
        forgiven: 0,
        cursor: 0,
    };
    worker.now = worker.shared.clock.now();
    if scenario.rate == 0.0 {
        consider_all(worker);
    }
    while worker.goes_on() && !is_over(worker) {
        course.end_in_time(worker);
        course.queue_due(worker);
        let timeout = course.take_turns(worker);
        worker.step(timeout);
    }
}

/// Whether all is sent, acknowledged and delivered, on all threads.
fn is_over(worker: &Worker<'_>) -> bool {
    let total = worker.shared.total();
    total.busy_publishers == 0 && total.unreleased == 0 && total.received >= total.expected
}

/// Every publisher that may send comes to its turn.
fn consider_all(worker: &mut Worker<'_>) {
    for index in 0..worker.connections.len() {
        worker.consider(index);
    }
}

impl Course {
    /// At the deadline, what has been sent is all there is.
    fn end_in_time(&mut self, worker: &mut Worker<'_>) {
        if self.deadline.is_none_or(|deadline| worker.now < deadline) {
            return;
        }
        self.deadline = None;
        for index in 0..worker.connections.len() {
            if let Role::Publisher(publisher) = &mut worker.connections[index].role {
                publisher.quota = publisher.sent;
            }
            worker.flush(index);
        }
        worker.shared.post(worker.thread, &worker.tally);
    }

    /// Open loop: queues the publishers of messages that have become due.
    fn queue_due(&mut self, worker: &mut Worker<'_>) {
        let plan = &worker.shared.plan;
        if plan.scenario.rate == 0.0 {
            return;
        }
        let due = plan.due_count(worker.now.saturating_sub(self.began));
        if due <= self.cursor {
            return;
        }
        let publishers = u64::from(plan.scenario.publishers);
        let threads = u64::from(plan.scenario.threads);
        // The connections: this thread's subscribers, then its publishers.
        let first = worker.share(plan.scenario.subscribers).count();
        let first = if plan.retained { 0 } else { first };
        for number in self.cursor..due.min(self.cursor + publishers) {
            let publisher = number % publishers;
            if publisher % threads == worker.thread as u64 {
                worker.consider(first + (publisher / threads) as usize);
            }
        }
        self.cursor = due;
    }

    /// Gives each queued publisher one burst; how long the next poll may wait.
    fn take_turns(&mut self, worker: &mut Worker<'_>) -> Duration {
        let allowance_due = self.due(worker);
        for _ in 0..worker.runnable.len() {
            let deliveries = self.allowed_deliveries(worker);
            if deliveries == Some(0) {
                break;
            }
            let Some(index) = worker.runnable.pop_front() else {
                break;
            };
            let allowance = Allowance {
                now: worker.now,
                began: self.began,
                due: allowance_due,
                deliveries,
            };
            self.take_turn(worker, index, &allowance);
            if self.is_capped {
                break;
            }
        }
        self.timeout(worker)
    }

    fn take_turn(&mut self, worker: &mut Worker<'_>, index: usize, allowance: &Allowance) {
        let connection = &mut worker.connections[index];
        let Role::Publisher(publisher) = &mut connection.role else {
            return;
        };
        publisher.is_queued = false;
        if connection.state != State::Ready || connection.is_blocked {
            return;
        }
        let before = publisher.sent;
        let (turn, deliveries) =
            publisher.send(&worker.shared.plan, allowance, &mut connection.out);
        let count = u64::from(publisher.sent - before);
        worker.tally.sent += count;
        worker.tally.moves += count;
        worker.tally.expected += deliveries;
        worker.flush(index);
        match turn {
            // It comes back with an acknowledgement, or when its next message is due.
            Turn::Rest => {}
            Turn::More => worker.consider(index),
            Turn::Capped => {
                self.is_capped = true;
                worker.consider(index);
            }
        }
    }

    /// Deliveries that may be added now; None: no limit.
    fn allowed_deliveries(&mut self, worker: &Worker<'_>) -> Option<u64> {
        let limit = self.limit?;
        let outstanding = worker.shared.outstanding(worker.thread, &worker.tally);
        let outstanding = outstanding.saturating_sub(self.forgiven);
        let enough = if self.is_capped { limit / 2 } else { limit };
        self.is_capped = outstanding >= enough.max(1);
        Some(if self.is_capped {
            0
        } else {
            limit - outstanding
        })
    }

    fn due(&self, worker: &Worker<'_>) -> Option<u64> {
        let plan = &worker.shared.plan;
        (plan.scenario.rate > 0.0).then(|| plan.due_count(worker.now.saturating_sub(self.began)))
    }

    fn timeout(&mut self, worker: &mut Worker<'_>) -> Duration {
        if self.is_capped {
            if worker.quiet() > FORGIVE_AFTER {
                self.forgiven = worker.shared.outstanding(worker.thread, &worker.tally);
            }
            return WAIT;
        }
        if !worker.runnable.is_empty() {
            return Duration::ZERO;
        }
        let plan = &worker.shared.plan;
        if plan.scenario.rate == 0.0 || worker.tally.busy_publishers == 0 {
            return WAIT;
        }
        let next = self.began + plan.due_number(self.cursor);
        let after = Duration::from_nanos(next.saturating_sub(worker.shared.clock.now()));
        if after >= WAIT {
            return WAIT;
        }
        worker.timer.arm(after, WAIT).unwrap_or(Duration::ZERO)
    }
}
