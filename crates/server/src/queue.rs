//! What workers hand to whoever asks from outside: a bounded queue that can be polled.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A bounded queue with a descriptor that is readable while something waits in it,
/// or once it is closed.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    arrived: Condvar,
    /// Written to when the queue becomes ready, read from when it is no more.
    signal: UnixStream,
    watched: UnixStream,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    signalled: bool,
}

impl<T> Queue<T> {
    /// A queue in which up to `capacity` items wait.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(capacity: usize) -> io::Result<Queue<T>> {
        let (signal, watched) = UnixStream::pair()?;
        signal.set_nonblocking(true)?;
        watched.set_nonblocking(true)?;
        let state = State {
            waiting: VecDeque::new(),
            closed: false,
            signalled: false,
        };
        Ok(Queue {
            state: Mutex::new(state),
            capacity,
            arrived: Condvar::new(),
            signal,
            watched,
        })
    }

    pub fn descriptor(&self) -> RawFd {
        self.watched.as_raw_fd()
    }

    /// Adds items in order; returns how many found no room.
    pub fn add(&self, items: impl IntoIterator<Item = T>) -> u64 {
        let mut dropped = 0;
        let mut state = self.lock();
        for item in items {
            if state.waiting.len() < self.capacity {
                state.waiting.push_back(item);
            } else {
                dropped += 1;
            }
        }
        self.make_ready(&mut state);
        dropped
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.make_ready(&mut state);
    }

    /// Up to `maximum` items; waits for the first one at most `timeout` (`None`: as
    /// long as it takes). Empty: none came. `None`: closed, and all have been taken.
    pub fn take(&self, timeout: Option<Duration>, maximum: usize) -> Option<Vec<T>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.closed {
            state = match until {
                None => self
                    .arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Some(Vec::new());
                    }
                    let waited = self.arrived.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if state.waiting.is_empty() {
            return None;
        }
        let count = maximum.min(state.waiting.len());
        let taken = state.waiting.drain(..count).collect();
        self.clear_signal(&mut state);
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_ready(&self, state: &mut State<T>) {
        if state.waiting.is_empty() && !state.closed {
            return;
        }
        self.arrived.notify_all();
        if !state.signalled {
            // One byte into an empty socket pair whose other end is ours: it always fits.
            state.signalled = (&self.signal).write(&[1]).is_ok();
        }
    }

    fn clear_signal(&self, state: &mut State<T>) {
        if state.signalled && state.waiting.is_empty() && !state.closed {
            state.signalled = (&self.watched).read(&mut [0]).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(queue: &Queue<u32>) -> bool {
        let mut byte = [0];
        let peeked = rustix::net::recv(&queue.watched, &mut byte, rustix::net::RecvFlags::PEEK);
        peeked.is_ok_and(|(_, count)| count == 1)
    }

    #[test]
    fn the_descriptor_is_readable_while_items_wait_and_after_the_end() {
        let queue = Queue::new(8).unwrap();
        assert!(!is_readable(&queue));
        queue.add([1, 2]);
        assert!(is_readable(&queue));
        assert_eq!(queue.take(None, 1).unwrap().len(), 1);
        assert!(is_readable(&queue));
        assert_eq!(queue.take(None, 10).unwrap().len(), 1);
        assert!(!is_readable(&queue));
        queue.close();
        assert!(is_readable(&queue));
        assert!(queue.take(None, 10).is_none());
        assert!(is_readable(&queue));
    }

    #[test]
    fn a_reader_gets_nothing_when_its_time_is_over() {
        let queue = Queue::<u32>::new(8).unwrap();
        assert!(
            queue
                .take(Some(Duration::from_millis(1)), 10)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn items_beyond_the_bound_are_counted() {
        let queue = Queue::new(8).unwrap();
        assert_eq!(queue.add(0..11), 3);
    }
}
