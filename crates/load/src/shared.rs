//! What the threads of a run know of each other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::clock::Clock;
use crate::error::LoadError;
use crate::plan::Plan;
use crate::tally::Tally;
use crate::transport::Dialer;

/// One for a run.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) dialer: Dialer,
    pub(crate) clock: Clock,
    /// A board for each thread.
    boards: Vec<Board>,
    /// Threads that have come to a meeting, over all meetings.
    arrived: AtomicU64,
    /// When the first message was due; 0: not yet.
    began: AtomicU64,
    dialed: AtomicU32,
    visitors: AtomicU64,
    stopped: AtomicBool,
    interrupted: AtomicBool,
    failure: Mutex<Option<LoadError>>,
}

/// What a thread shows the others, after each of its turns. On a cache line of its own.
#[derive(Default, Debug)]
#[repr(align(128))]
struct Board {
    sent: AtomicU64,
    expected: AtomicU64,
    received: AtomicU64,
    duplicates: AtomicU64,
    out_of_order: AtomicU64,
    unreleased: AtomicU64,
    ready: AtomicU64,
    moves: AtomicU64,
    /// Written last and read first: at 0, all of the above is final.
    busy_publishers: AtomicU64,
}

impl Shared {
    pub(crate) fn new(plan: Plan, dialer: Dialer) -> Shared {
        let threads = plan.scenario.threads;
        Shared {
            plan,
            dialer,
            clock: Clock::start(),
            boards: (0..threads).map(|_| Board::default()).collect(),
            arrived: AtomicU64::new(0),
            began: AtomicU64::new(0),
            dialed: AtomicU32::new(0),
            visitors: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Shows what a thread has counted.
    pub(crate) fn post(&self, thread: usize, tally: &Tally) {
        let board = &self.boards[thread];
        board.sent.store(tally.sent, Ordering::Relaxed);
        board.expected.store(tally.expected, Ordering::Relaxed);
        board.received.store(tally.received, Ordering::Relaxed);
        board.duplicates.store(tally.duplicates, Ordering::Relaxed);
        board
            .out_of_order
            .store(tally.out_of_order, Ordering::Relaxed);
        board.unreleased.store(tally.unreleased, Ordering::Relaxed);
        board.ready.store(tally.ready, Ordering::Relaxed);
        board.moves.store(tally.moves, Ordering::Relaxed);
        let busy = tally.busy_publishers;
        board.busy_publishers.store(busy, Ordering::Release);
    }

    /// What all threads have shown, added up.
    pub(crate) fn total(&self) -> Tally {
        let busy_publishers = self.sum(|board| board.busy_publishers.load(Ordering::Acquire));
        let sum =
            |of: fn(&Board) -> &AtomicU64| self.sum(|board| of(board).load(Ordering::Relaxed));
        Tally {
            busy_publishers,
            sent: sum(|board| &board.sent),
            expected: sum(|board| &board.expected),
            received: sum(|board| &board.received),
            duplicates: sum(|board| &board.duplicates),
            out_of_order: sum(|board| &board.out_of_order),
            unreleased: sum(|board| &board.unreleased),
            ready: sum(|board| &board.ready),
            moves: sum(|board| &board.moves),
            ..Tally::default()
        }
    }

    /// Deliveries published and not yet received, by the other threads' boards and this
    /// thread's own tally.
    pub(crate) fn outstanding(&self, thread: usize, tally: &Tally) -> u64 {
        let mut expected = tally.expected;
        let mut received = tally.received;
        for (other, board) in self.boards.iter().enumerate() {
            if other != thread {
                expected += board.expected.load(Ordering::Relaxed);
                received += board.received.load(Ordering::Relaxed);
            }
        }
        expected.saturating_sub(received)
    }

    /// How much has moved in all threads.
    pub(crate) fn moves(&self) -> u64 {
        self.sum(|board| board.moves.load(Ordering::Relaxed))
    }

    fn sum(&self, of: impl Fn(&Board) -> u64) -> u64 {
        self.boards.iter().map(of).sum()
    }

    /// Comes to the n-th meeting of all threads.
    pub(crate) fn arrive(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether all threads have come to the n-th meeting, n from 1.
    pub(crate) fn is_complete(&self, meeting: u64) -> bool {
        self.arrived.load(Ordering::Acquire) >= meeting * self.boards.len() as u64
    }

    /// When the first message is due: now, for the thread that asks first.
    pub(crate) fn begin(&self) -> u64 {
        let now = self.clock.now();
        let first = self
            .began
            .compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        first.map_or_else(|earlier| earlier, |_| now)
    }

    pub(crate) fn began(&self) -> u64 {
        self.began.load(Ordering::Acquire)
    }

    /// Counts the connections dialed.
    pub(crate) fn next_dial(&self) -> u32 {
        self.dialed.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the next session of a connect run.
    pub(crate) fn next_visitor(&self) -> u64 {
        self.visitors.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Ends the run on all threads, by wish of its observer.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Ends the run on all threads; the first failure is the one that is told.
    pub(crate) fn fail(&self, error: LoadError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn take_failure(&self) -> Option<LoadError> {
        self.failure.lock().ok()?.take()
    }
}
