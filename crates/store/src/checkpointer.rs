//! Carrying the write-ahead log over into the database, beside the commits.
//!
//! A checkpoint of a long log takes as long as many commits; SQLite lets it run while
//! another connection commits, so it has a thread of its own. It never gets quite to
//! the end, because commits go on: the committer does the little that is left, and
//! its next commit begins the log anew. So no commit waits for more than that little,
//! unless commits come faster than the disk can carry them over: then they wait, and
//! the log stays bounded.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::database;
use crate::error::StoreError;
use crate::options::Durability;
use crate::pending::Pending;

const PATIENCE: Duration = Duration::from_secs(1);

/// How the last checkpoint ended, until someone takes it.
#[derive(Default)]
struct Ended {
    result: Mutex<Option<rusqlite::Result<()>>>,
    is_there: Condvar,
}

pub(crate) struct Checkpointer {
    /// None once it is to end.
    requests: Option<SyncSender<()>>,
    ended: Arc<Ended>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
}

impl Checkpointer {
    pub fn start(path: &Path, pending: Arc<Pending>) -> Result<Checkpointer, StoreError> {
        let connection = database::open(path, Durability::Disk)
            .map_err(StoreError::database("opening to carry the log over"))?;
        let ended = Arc::new(Ended::default());
        let (requests, received) = sync_channel(1);
        let thread = std::thread::Builder::new().name("noctule-checkpoint".to_owned());
        let thread = {
            let ended = Arc::clone(&ended);
            thread.spawn(move || run(&connection, &received, &ended, &pending))
        };
        Ok(Checkpointer {
            requests: Some(requests),
            ended,
            thread: Some(thread.map_err(StoreError::io(path))?),
            is_running: false,
        })
    }

    /// Begins a checkpoint, unless one is running.
    pub fn begin(&mut self) {
        if self.is_running {
            return;
        }
        if let Some(requests) = &self.requests {
            self.is_running = requests.try_send(()).is_ok();
        }
    }

    /// How the checkpoint ended, once it has. `wait`: if one is running, not before.
    pub fn take_result(&mut self, wait: bool) -> Option<rusqlite::Result<()>> {
        if !self.is_running {
            return None;
        }
        let mut result = self.ended.result.lock();
        while wait && result.is_none() {
            // Not for ever, should its thread have panicked.
            let timed_out = self
                .ended
                .is_there
                .wait_for(&mut result, PATIENCE)
                .timed_out();
            if timed_out && self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
        }
        let result = result.take()?;
        self.is_running = false;
        Some(result)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and there is nothing to do about it here.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, requests: &Receiver<()>, ended: &Ended, pending: &Pending) {
    while requests.recv().is_ok() {
        let result = database::checkpoint(connection, false);
        *ended.result.lock() = Some(result.map(|_| ()));
        ended.is_there.notify_one();
        pending.nudge();
    }
}
