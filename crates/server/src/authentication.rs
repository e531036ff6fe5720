//! Questions to the authenticator, on their way out, and its answers on their way back.
//!
//! A worker never waits for an answer, and no question gets lost: each is either answered
//! from outside, once, or refused here because too many wait.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use noctule_broker::{AuthenticationRequest, ConnectionId};

use crate::queue::Queue;

/// Questions without an answer, at most; beyond it clients are told that the server is busy.
const MAX_OPEN_QUESTIONS: usize = 65_536;

/// A request as it is handed out, with the number to answer it by.
#[derive(Debug)]
pub struct Question {
    pub number: u64,
    pub asker: Asker,
    pub request: Box<AuthenticationRequest>,
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub worker: usize,
    pub connection: ConnectionId,
}

#[derive(Debug)]
pub(crate) struct Questions {
    queue: Queue<Question>,
    open: Mutex<HashMap<u64, Asker>>,
    next: AtomicU64,
}

impl Questions {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> io::Result<Questions> {
        Ok(Questions {
            queue: Queue::new(MAX_OPEN_QUESTIONS)?,
            open: Mutex::default(),
            next: AtomicU64::new(1),
        })
    }

    /// Puts a question to whoever takes them; false where too many are open.
    pub fn ask(&self, asker: Asker, request: Box<AuthenticationRequest>) -> bool {
        let number = self.next.fetch_add(1, Relaxed);
        {
            let mut open = self.lock();
            if open.len() >= MAX_OPEN_QUESTIONS {
                return false;
            }
            open.insert(number, asker);
        }
        if self.queue.add([Question {
            number,
            asker,
            request,
        }]) == 0
        {
            return true;
        }
        self.lock().remove(&number);
        false
    }

    /// Whose question this was; `None` if it has been answered before.
    pub fn settle(&self, number: u64) -> Option<Asker> {
        self.lock().remove(&number)
    }

    /// As [`Queue::take`].
    pub fn take(&self, timeout: Option<Duration>, maximum: usize) -> Option<Vec<Question>> {
        self.queue.take(timeout, maximum)
    }

    pub fn descriptor(&self) -> RawFd {
        self.queue.descriptor()
    }

    pub fn close(&self) {
        self.queue.close();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Asker>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
