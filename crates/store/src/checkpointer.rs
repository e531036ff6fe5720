//! Carrying the write-ahead log over into the database, beside the commits.
//!
//! A checkpoint of a long log takes as long as many commits; SQLite lets it run while
//! another connection commits, so it has a thread of its own. It never gets quite to
//! the end, because commits go on: the committer does the little that is left, and
//! its next commit begins the log anew. So the log is bounded, and no commit waits
//! for more than that little.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::database;
use crate::error::StoreError;
use crate::options::Durability;
use crate::pending::Pending;

pub(crate) struct Checkpointer {
    /// None once it is to end.
    requests: Option<SyncSender<()>>,
    result: Arc<Mutex<Option<rusqlite::Result<()>>>>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
}

impl Checkpointer {
    pub fn start(path: &Path, pending: Arc<Pending>) -> Result<Checkpointer, StoreError> {
        let connection = database::open(path, Durability::Disk)
            .map_err(StoreError::database("opening to carry the log over"))?;
        let result = Arc::new(Mutex::new(None));
        let (requests, received) = sync_channel(1);
        let thread = std::thread::Builder::new().name("noctule-checkpoint".to_owned());
        let thread = {
            let result = Arc::clone(&result);
            thread.spawn(move || run(&connection, &received, &result, &pending))
        };
        Ok(Checkpointer {
            requests: Some(requests),
            result,
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

    /// How the checkpoint ended, once it has.
    pub fn take_result(&mut self) -> Option<rusqlite::Result<()>> {
        let result = self.result.lock().take()?;
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

fn run(
    connection: &Connection,
    requests: &Receiver<()>,
    result: &Mutex<Option<rusqlite::Result<()>>>,
    pending: &Pending,
) {
    while requests.recv().is_ok() {
        let ended = database::checkpoint(connection, false);
        *result.lock() = Some(ended.map(|_| ()));
        pending.nudge();
    }
}
