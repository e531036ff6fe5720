//! What one thread has counted.

/// Counts of one thread since the run began.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    /// Messages sent, or connections begun.
    pub(crate) sent: u64,
    /// Deliveries that the messages sent should make.
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) malformed: u64,
    pub(crate) refused: u64,
    pub(crate) closed: u64,
    /// QoS 2 deliveries that wait for their PUBREL.
    pub(crate) unreleased: u64,
    /// Publishers that have more to send, to write or to be acknowledged.
    pub(crate) busy_publishers: u64,
    /// Connections that are up.
    pub(crate) ready: u64,
    /// Anything that moved: a run in which this stands still has stalled.
    pub(crate) moves: u64,
    /// When the last delivery came, nanoseconds of the run's clock.
    pub(crate) last_delivery: u64,
    pub(crate) first_problem: Option<String>,
}

impl Tally {
    /// Something came that should not have, or not like this.
    #[cold]
    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.malformed += 1;
        self.first_problem.get_or_insert_with(|| what.into());
    }

    /// The broker said no.
    #[cold]
    pub(crate) fn refused(&mut self, what: impl Into<String>) {
        self.refused += 1;
        self.first_problem.get_or_insert_with(|| what.into());
    }

    /// A connection ended though nobody asked.
    #[cold]
    pub(crate) fn closed(&mut self, why: impl Into<String>) {
        self.closed += 1;
        self.first_problem.get_or_insert_with(|| why.into());
    }
}
