//! What waits for the disk, between the workers that submit and the committer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::batch::Batch;
use crate::error::SubmitError;

/// Whether the store takes and keeps what is submitted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// All is well.
    Running = 0,
    /// The disk is full: what is submitted waits, un-acknowledged. Ends by itself.
    Full = 1,
    /// A write or a sync failed: the store is read-only until it is opened anew.
    Failed = 2,
}

/// Told of what happens, on the committer's thread: it must not wait.
pub trait Observer: Send + Sync {
    /// Everything that `worker` submitted, up to and including `sequence`, is
    /// committed as the store's [`Durability`](crate::Durability) says.
    fn committed(&self, worker: usize, sequence: u64);

    /// The store's state is another; `reason` is for a person to read.
    fn state_changed(&self, state: State, reason: &str) {
        let _ = (state, reason);
    }

    /// Something in the log was found damaged while the store runs.
    fn damaged(&self, what: &str) {
        let _ = what;
    }
}

/// A batch and whose it is.
pub(crate) struct Submission {
    pub worker: usize,
    pub sequence: u64,
    pub batch: Batch,
}

struct Waiting {
    submissions: VecDeque<Submission>,
    bytes: usize,
    /// The committer sleeps, and wants to be woken.
    asleep: bool,
    closing: bool,
    /// The checkpointer is done, as asked.
    nudged: bool,
}

/// Shared by writers and committer.
pub(crate) struct Pending {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    most_bytes: usize,
    state: AtomicU8,
    reason: Mutex<String>,
    /// Bytes waiting, for those who only want to look.
    bytes: AtomicU64,
}

impl Pending {
    pub fn new(most_bytes: usize) -> Pending {
        Pending {
            waiting: Mutex::new(Waiting {
                submissions: VecDeque::new(),
                bytes: 0,
                asleep: false,
                closing: false,
                nudged: false,
            }),
            wake: Condvar::new(),
            most_bytes,
            state: AtomicU8::new(State::Running as u8),
            reason: Mutex::new(String::new()),
            bytes: AtomicU64::new(0),
        }
    }

    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Running,
            1 => State::Full,
            _ => State::Failed,
        }
    }

    pub fn reason(&self) -> String {
        self.reason.lock().clone()
    }

    pub fn change_state(&self, state: State, reason: &str) {
        *self.reason.lock() = reason.to_owned();
        self.state.store(state as u8, Ordering::Release);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// An empty queue takes a batch of any size: or it could never be written.
    fn submit(&self, worker: usize, sequence: u64, batch: Batch) -> Result<(), SubmitError> {
        if self.state() == State::Failed {
            return Err(SubmitError::Failed(batch));
        }
        let mut waiting = self.waiting.lock();
        if waiting.bytes > 0 && waiting.bytes + batch.bytes() > self.most_bytes {
            return Err(SubmitError::Full(batch));
        }
        waiting.bytes += batch.bytes();
        self.bytes.store(waiting.bytes as u64, Ordering::Relaxed);
        waiting.submissions.push_back(Submission {
            worker,
            sequence,
            batch,
        });
        let asleep = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if asleep {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes what makes the next group; at least one submission if there is any.
    /// Their bytes count as waiting until `done`.
    pub fn take(&self, group: &mut Vec<Submission>, most_records: usize, most_bytes: usize) {
        let mut waiting = self.waiting.lock();
        let (mut records, mut bytes) = (0, 0);
        while records < most_records && bytes < most_bytes {
            let Some(submission) = waiting.submissions.pop_front() else {
                break;
            };
            records += submission.batch.records();
            bytes += submission.batch.bytes();
            group.push(submission);
        }
    }

    /// These bytes no longer wait.
    pub fn done(&self, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        self.bytes.store(waiting.bytes as u64, Ordering::Relaxed);
    }

    /// Sleeps until there is something to do or `deadline` has come.
    /// `for_submissions`: whether a waiting submission is something to do.
    pub fn wait(&self, deadline: Option<Instant>, for_submissions: bool) {
        let mut waiting = self.waiting.lock();
        let idle = |waiting: &Waiting| {
            !waiting.closing
                && !waiting.nudged
                && (!for_submissions || waiting.submissions.is_empty())
        };
        while idle(&waiting) {
            waiting.asleep = for_submissions;
            match deadline {
                None => self.wake.wait(&mut waiting),
                Some(deadline) => {
                    if self.wake.wait_until(&mut waiting, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        waiting.asleep = false;
        waiting.nudged = false;
    }

    /// Wakes the committer for something other than a submission.
    pub fn nudge(&self) {
        self.waiting.lock().nudged = true;
        self.wake.notify_one();
    }

    pub fn close(&self) {
        self.waiting.lock().closing = true;
        self.wake.notify_one();
    }

    pub fn is_closing(&self) -> bool {
        self.waiting.lock().closing
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.lock().submissions.is_empty()
    }

    /// Forgets all that waits: it will never be written.
    pub fn discard(&self) {
        let mut waiting = self.waiting.lock();
        waiting.submissions.clear();
        waiting.bytes = 0;
        self.bytes.store(0, Ordering::Relaxed);
    }
}

/// A worker's way into the store. Cheap, and never waits for the disk.
pub struct Writer {
    worker: usize,
    last: u64,
    pending: Arc<Pending>,
}

impl Writer {
    pub(crate) fn new(worker: usize, pending: Arc<Pending>) -> Writer {
        Writer {
            worker,
            last: 0,
            pending,
        }
    }

    /// Hands a batch over to be committed, after all that this writer handed over
    /// before. An empty one is a mark in that order.
    ///
    /// Returns its sequence: 1 for the first, and one more each time. When
    /// [`Observer::committed`] names it, or a later one, the batch is committed.
    pub fn submit(&mut self, batch: Batch) -> Result<u64, SubmitError> {
        self.pending.submit(self.worker, self.last + 1, batch)?;
        self.last += 1;
        Ok(self.last)
    }

    /// Sequence of the last batch that was taken; 0 if none was.
    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    /// Whether half of what may wait is waiting: time to pause publishers.
    pub fn is_congested(&self) -> bool {
        self.pending.bytes() > self.pending.most_bytes as u64 / 2
    }

    /// The store's state at this moment.
    pub fn state(&self) -> State {
        self.pending.state()
    }
}
