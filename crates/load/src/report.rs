//! What a run tells, on its way and at its end.

use serde::{Deserialize, Serialize};

use crate::scenario::Kind;

/// Microseconds from when a message was due (open loop) or sent (closed loop) to its
/// delivery; of a connect run: from dialing to CONNACK, or to SUBACK where it subscribes.
///
/// Counting from the due time corrects for coordinated omission: a broker that stalls is
/// charged for all messages that should have gone out meanwhile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Connections are being opened.
    Opening,
    /// Publishing, or connecting and disconnecting.
    Running,
    /// Idle connections are being held.
    Holding,
    /// A subscriber takes the retained messages.
    Delivering,
    /// All is done, and the connections are about to be closed.
    Closing,
}

/// A moment of a run; counts are since its beginning.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    pub phase: Phase,
    /// Since the phase began.
    pub elapsed_seconds: f64,
    pub connections: u64,
    /// Messages sent, or connections begun.
    pub sent: u64,
    /// Deliveries received, or connections made.
    pub received: u64,
    /// What `received` will be; None where only the time ends the run.
    pub expected: Option<u64>,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Of what this thread has received so far.
    pub p50_us: f64,
    pub p99_us: f64,
}

/// What a retained run adds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RetainedReport {
    pub publish_seconds: f64,
    pub publish_per_second: f64,
    /// For each subscriber in turn: from its SUBSCRIBE to the last message.
    pub deliver_seconds: Vec<f64>,
    pub deliver_per_second: f64,
}

/// The result of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    pub kind: Kind,
    /// From the first message (or dial) to the last delivery.
    pub seconds: f64,
    /// Messages sent, or connections begun.
    pub sent: u64,
    /// Deliveries due, or connections asked for.
    pub expected: u64,
    /// Different deliveries received, or connections made (connect) or kept (idle).
    pub received: u64,
    /// Deliveries or connections a second.
    pub per_second: f64,
    pub lost: u64,
    pub duplicates: u64,
    /// Deliveries after a later message of the same publisher and topic.
    pub out_of_order: u64,
    /// QoS 1 and 2 messages, and QoS 2 deliveries, whose handshake did not end.
    pub unacknowledged: u64,
    /// Packets that should not have come or were not as published.
    pub malformed: u64,
    /// Connections, subscriptions and messages refused, and DISCONNECTs received.
    pub refused: u64,
    /// Connections that ended though nobody asked.
    pub closed: u64,
    /// The first thing that was wrong.
    pub first_problem: Option<String>,
    /// Nothing moved for `stall_seconds`, so the run gave up.
    pub stalled: bool,
    /// The observer of the progress ended the run.
    pub interrupted: bool,
    /// Connections that were up, and how long it took to open them.
    pub connections: u64,
    pub connect_seconds: f64,
    pub latency: Option<Latency>,
    pub retained: Option<RetainedReport>,
    /// CPU time of this process during the run, user and system.
    pub client_cpu_seconds: f64,
}

impl Report {
    /// Whether everything asked for came, once, in order, and nothing else.
    pub fn is_clean(&self) -> bool {
        let wrong = self.lost
            + self.duplicates
            + self.out_of_order
            + self.unacknowledged
            + self.malformed
            + self.refused
            + self.closed;
        wrong == 0 && !self.stalled && !self.interrupted
    }
}
