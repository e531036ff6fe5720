//! Files that change while the engine runs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tracing::Dispatch;

use super::TlsContext;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// A thread that looks at the files of TLS listeners and has changed ones read again; ends
/// when dropped.
///
/// A look costs a system call for each file, off the workers. A new set of files is read
/// once it has stayed the same from one look to the next: certificate and key are two files,
/// and between the writing of the one and of the other they do not fit.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Never sent on: the thread sees it go.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// A fork of this process has no such thread.
    process: u32,
}

impl Watch {
    /// # Errors
    /// The system has no thread for it.
    pub fn start(contexts: Vec<Watched>, log: Dispatch) -> io::Result<Watch> {
        let (alive, ended) = channel();
        let mut files: Vec<Files> = contexts.into_iter().map(Files::new).collect();
        let look_on = move || {
            let _logging = tracing::dispatcher::set_default(&log);
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                files.iter_mut().for_each(Files::look);
            }
        };
        let thread = thread::Builder::new()
            .name("noctule-files".into())
            .spawn(look_on)?;
        Ok(Watch {
            alive: Some(alive),
            thread: Some(thread),
            process: std::process::id(),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take()
            && self.process == std::process::id()
        {
            // A panic in it has been reported by the standard library.
            let _ = thread.join();
        }
    }
}

/// A listener's TLS, and what to call it in a log line.
#[derive(Debug)]
pub(crate) struct Watched {
    pub name: String,
    pub context: Arc<TlsContext>,
}

/// Changes whenever a file is written or put in place of another.
type State = Vec<(PathBuf, Option<Mark>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

struct Files {
    watched: Watched,
    /// As they were when they were last read.
    read: State,
    /// As they were at the last look.
    seen: State,
    /// It has been said that a revocation list among them is too old.
    is_told: bool,
}

impl Files {
    fn new(watched: Watched) -> Files {
        let state = state(watched.context.files());
        Files {
            watched,
            read: state.clone(),
            seen: state,
            is_told: false,
        }
    }

    fn look(&mut self) {
        self.read_changed();
        self.tell_stale_list();
    }

    fn read_changed(&mut self) {
        let now = state(self.watched.context.files());
        let is_settled = now == self.seen;
        self.seen = now;
        if !is_settled || self.seen == self.read {
            return;
        }
        self.read.clone_from(&self.seen);
        let name = &self.watched.name;
        match self.watched.context.reload() {
            Ok(()) => {
                self.is_told = false;
                tracing::info!("{name}: the new certificate files are in force");
            }
            Err(error) => {
                tracing::error!("{name}: the new certificate files are left out: {error}");
            }
        }
    }

    fn tell_stale_list(&mut self) {
        if self.is_told {
            return;
        }
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since_1970.map_or(0, |time| time.as_secs() as i64);
        if let Some(path) = self.watched.context.stale_list(seconds) {
            self.is_told = true;
            let name = &self.watched.name;
            let path = path.display();
            tracing::error!(
                "{name}: crl {path} was to be renewed by now: until it is, certificates of its \
                 authority are refused"
            );
        }
    }
}

fn state<'a>(files: impl Iterator<Item = &'a Path>) -> State {
    files.map(|path| (path.to_owned(), mark(path))).collect()
}

fn mark(path: &Path) -> Option<Mark> {
    let found = fs::metadata(path).ok()?;
    Some(Mark {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}
