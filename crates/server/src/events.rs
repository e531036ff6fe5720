//! Records on their way from the workers to whoever asks: log lines and the broker's events.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use noctule_broker::{Event, FieldValue};

/// Records kept for a reader that is late; beyond it new ones are dropped and counted.
const MAX_WAITING_RECORDS: usize = 65_536;

/// Something that happened.
#[derive(Debug)]
pub enum Record {
    Broker(Event),
    Log {
        level: tracing::Level,
        target: &'static str,
        message: String,
    },
    /// A worker died, the engine stops.
    Failed(String),
}

impl Record {
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Broker(event) => event.kind(),
            Record::Log { .. } => "log",
            Record::Failed(_) => "failed",
        }
    }

    /// What there is to say, by name.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        match self {
            Record::Broker(event) => event.fields(),
            Record::Log {
                level,
                target,
                message,
            } => vec![
                (
                    "level",
                    FieldValue::Text(level.as_str().to_ascii_lowercase()),
                ),
                ("target", FieldValue::Text((*target).to_owned())),
                ("message", FieldValue::Text(message.clone())),
            ],
            Record::Failed(message) => vec![("message", FieldValue::Text(message.clone()))],
        }
    }
}

/// A bounded queue with a descriptor that is readable while something waits in it,
/// or once it is closed.
#[derive(Debug)]
pub(crate) struct Records {
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// Written to when the queue becomes ready, read from when it is no more.
    signal: UnixStream,
    watched: UnixStream,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Record>,
    closed: bool,
    signalled: bool,
}

impl Records {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> io::Result<Records> {
        let (signal, watched) = UnixStream::pair()?;
        signal.set_nonblocking(true)?;
        watched.set_nonblocking(true)?;
        Ok(Records {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            signal,
            watched,
        })
    }

    pub fn descriptor(&self) -> RawFd {
        self.watched.as_raw_fd()
    }

    /// Adds records in order; returns how many found no room.
    pub fn add(&self, records: impl IntoIterator<Item = Record>) -> u64 {
        let mut dropped = 0;
        let mut queue = self.lock();
        for record in records {
            if queue.waiting.len() < MAX_WAITING_RECORDS {
                queue.waiting.push_back(record);
            } else {
                dropped += 1;
            }
        }
        self.make_ready(&mut queue);
        dropped
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.make_ready(&mut queue);
    }

    /// Up to `maximum` records; waits for the first one at most `timeout` (`None`: as
    /// long as it takes). Empty: none came. `None`: closed, and all have been taken.
    pub fn take(&self, timeout: Option<Duration>, maximum: usize) -> Option<Vec<Record>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut queue = self.lock();
        while queue.waiting.is_empty() && !queue.closed {
            queue = match until {
                None => self
                    .arrived
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Some(Vec::new());
                    }
                    let waited = self.arrived.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if queue.waiting.is_empty() {
            return None;
        }
        let count = maximum.min(queue.waiting.len());
        let taken = queue.waiting.drain(..count).collect();
        self.clear_signal(&mut queue);
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_ready(&self, queue: &mut Queue) {
        if queue.waiting.is_empty() && !queue.closed {
            return;
        }
        self.arrived.notify_all();
        if !queue.signalled {
            // One byte into an empty socket pair whose other end is ours: it always fits.
            queue.signalled = (&self.signal).write(&[1]).is_ok();
        }
    }

    fn clear_signal(&self, queue: &mut Queue) {
        if queue.signalled && queue.waiting.is_empty() && !queue.closed {
            queue.signalled = (&self.watched).read(&mut [0]).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Record {
        Record::Failed(text.into())
    }

    fn is_readable(records: &Records) -> bool {
        let mut byte = [0];
        let peeked = rustix::net::recv(&records.watched, &mut byte, rustix::net::RecvFlags::PEEK);
        peeked.is_ok_and(|(_, count)| count == 1)
    }

    #[test]
    fn the_descriptor_is_readable_while_records_wait_and_after_the_end() {
        let records = Records::new().unwrap();
        assert!(!is_readable(&records));
        records.add([failed("one"), failed("two")]);
        assert!(is_readable(&records));
        assert_eq!(records.take(None, 1).unwrap().len(), 1);
        assert!(is_readable(&records));
        assert_eq!(records.take(None, 10).unwrap().len(), 1);
        assert!(!is_readable(&records));
        records.close();
        assert!(is_readable(&records));
        assert!(records.take(None, 10).is_none());
        assert!(is_readable(&records));
    }

    #[test]
    fn a_reader_gets_nothing_when_its_time_is_over() {
        let records = Records::new().unwrap();
        assert!(
            records
                .take(Some(Duration::from_millis(1)), 10)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn records_beyond_the_bound_are_counted() {
        let records = Records::new().unwrap();
        let many = (0..MAX_WAITING_RECORDS + 3).map(|_| failed(""));
        assert_eq!(records.add(many), 3);
    }
}
