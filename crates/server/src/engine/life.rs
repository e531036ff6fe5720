//! The life of an engine: how its workers begin, run and end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Poll;

use super::{Attached, Engine, LOG_TARGET, Running, lock};
use crate::bans::BanFile;
use crate::common::Common;
use crate::descriptors::{self, Reserve};
use crate::durable::{self, Keeper};
use crate::error::{Failure, StartError};
use crate::events::Record;
use crate::listener::{Address, Listeners, Listening, listen_on_all};
use crate::logging::LogSubscriber;
use crate::post::{Mailbox, Message, Post};
use crate::reactor::{Reactor, Token, Turn};
use crate::tls::Watch;

/// Time that connections get to take their last bytes after a worker has died.
const FAILURE_STOP: Duration = Duration::from_secs(2);

impl Engine {
    pub(super) fn try_start(&self) -> Result<(), StartError> {
        let open_files = descriptors::raise_limit();
        let count = self.options.worker_count();
        let Listeners {
            addresses,
            sockets,
            files,
        } = listen_on_all(&self.options.listeners, count)?;
        self.read_bans()?;
        let watch = self
            .watch_files()
            .map_err(|error| StartError::new("watch of files", error))?;
        let (posts, polls) = make_posts(count).map_err(|error| StartError::new("worker", error))?;
        let reserve = Reserve::new().map_err(|error| StartError::new("worker", error))?;
        let reserve = Arc::new(reserve);
        let reactors = sockets.into_iter().zip(polls).enumerate().map(
            |(index, (sockets, poll)): (usize, (Vec<Listening>, _))| {
                Reactor::new(
                    index,
                    self.common.clone(),
                    poll,
                    Arc::clone(&posts),
                    sockets,
                    Arc::clone(&reserve),
                )
            },
        );
        let reactors: Vec<Reactor> = reactors
            .collect::<Result<_, _>>()
            .map_err(|error| StartError::new("worker", error))?;

        let mut reactors = reactors;
        let store = self.open_store(&mut reactors, &posts)?;
        let live = Arc::new(Live {
            count: Mutex::new(count),
            ended: Condvar::new(),
        });
        let mut threads = Vec::with_capacity(count);
        let mut failed = None;
        for reactor in reactors {
            let name = format!("noctule-{}", reactor.index);
            let ending = Ending {
                live: Arc::clone(&live),
                common: self.common.clone(),
            };
            let spawned = thread::Builder::new()
                .name(name)
                .spawn(move || run(reactor, ending));
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            send_stop(&posts, self.common.clock.now());
            threads.into_iter().for_each(|thread| drop(thread.join()));
            return Err(StartError::new("worker thread", error));
        }
        self.log_start(&addresses, count, open_files);
        let process = std::process::id();
        *lock(&self.threads) = threads;
        *lock(&self.store) = store;
        *lock(&self.attached) = Attached {
            _watch: watch,
            _files: files,
        };
        // Only this call holds the claim, so the place is empty.
        let _ = self.running.set(Running {
            addresses,
            posts,
            live,
            process,
        });
        Ok(())
    }

    /// Opens the store, if this broker has one, and gives the workers what it held.
    fn open_store(
        &self,
        reactors: &mut [Reactor],
        posts: &Arc<[Post]>,
    ) -> Result<Option<durable::Running>, StartError> {
        let opening = || durable::open(&self.options, &self.common.shared, posts);
        let opened = tracing::dispatcher::with_default(&log_to(&self.common), opening)
            .map_err(|error| StartError::new("store", error))?;
        let Some(mut opened) = opened else {
            return Ok(None);
        };
        let now = self.common.clock.now();
        let sessions = std::mem::take(&mut opened.restored.sessions);
        for (reactor, sessions) in reactors.iter_mut().zip(sessions) {
            reactor
                .worker
                .restore(sessions, durable::wall_milliseconds(), now);
            reactor.keeper = Some(Keeper::new(reactor.index, &opened));
        }
        Ok(Some(opened.into_running()))
    }

    /// Reads the bans of an earlier process, and remembers where to write them.
    fn read_bans(&self) -> Result<(), StartError> {
        let Some(data_dir) = &self.options.data_dir else {
            return Ok(());
        };
        let (shared, now) = (&self.common.shared, self.common.clock.now());
        let file =
            BanFile::open(data_dir, shared, now).map_err(|error| StartError::new("bans", error))?;
        // A second attempt to start keeps the file of the first.
        let _ = self.common.ban_file.set(Arc::new(file));
        Ok(())
    }

    /// Looks at the certificate files of the listeners, if there are any.
    fn watch_files(&self) -> std::io::Result<Option<Watch>> {
        let gates = self.common.gates.iter().zip(&self.options.listeners);
        let watched = gates.filter_map(|(gate, options)| {
            let scheme = options.scheme.as_str();
            gate.watched(format!("{scheme}://{}:{}", options.host, options.port))
        });
        let watched: Vec<_> = watched.collect();
        match watched.is_empty() {
            true => Ok(None),
            false => Watch::start(watched, log_to(&self.common)).map(Some),
        }
    }

    fn log_start(&self, addresses: &[Address], workers: usize, open_files: Option<u64>) {
        tracing::dispatcher::with_default(&log_to(&self.common), || {
            for address in addresses {
                tracing::info!(target: LOG_TARGET, "listening on {address}");
            }
            let wanted = self.options.broker.limits.max_connections;
            if let Some(open_files) = open_files.filter(|&open_files| open_files < wanted) {
                tracing::info!(
                    target: LOG_TARGET,
                    "{open_files} open files are allowed, so fewer connections than \
                     limits.max_connections = {wanted}"
                );
            }
            tracing::info!(target: LOG_TARGET, "{workers} workers started");
        });
    }
}

/// How many workers have not ended.
pub(super) struct Live {
    count: Mutex<usize>,
    ended: Condvar,
}

impl Live {
    pub(super) fn count(&self) -> usize {
        *lock(&self.count)
    }

    /// Returns whether all workers ended in time.
    pub(super) fn wait_for_end(&self, timeout: Duration) -> bool {
        let waited = self
            .ended
            .wait_timeout_while(lock(&self.count), timeout, |count| *count > 0);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }
}

/// Says that a worker has ended, however it did; the last one closes the records.
struct Ending {
    live: Arc<Live>,
    common: Common,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut count = lock(&self.live.count);
        *count -= 1;
        if *count == 0 {
            self.common.records.close();
            self.common.questions.close();
            self.common.consultations.close();
        }
        self.live.ended.notify_all();
    }
}

/// A worker thread's life. A panic ends this worker's connections and stops the others:
/// half a broker would lose messages without a word.
fn run(mut reactor: Reactor, ending: Ending) {
    let common = reactor.common.clone();
    let posts = Arc::clone(&reactor.posts);
    let index = reactor.index;
    let _logging = tracing::dispatcher::set_default(&log_to(&common));
    // The reactor is dropped inside too: its sockets are closed before the end is told.
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        loop {
            match reactor.turn() {
                Ok(Turn::Again) => {}
                Ok(Turn::Last) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }));
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("worker {index} cannot poll: {error}")),
        Err(panic) => Some(format!("worker {index} panicked: {}", panic_text(&*panic))),
    };
    if let Some(failure) = failure {
        tracing::error!(target: LOG_TARGET, "{failure}; the engine stops");
        common.records.add([Record::Failed(failure.clone())]);
        // The first failure is the one to report.
        let _ = common.failure.set(Failure(failure));
        send_stop(&posts, common.clock.now().after(FAILURE_STOP));
    }
    drop(ending);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

pub(super) fn send_stop(posts: &[Post], deadline: noctule_broker::Time) {
    for post in posts {
        post.send(Message::Stop(deadline));
    }
}

fn log_to(common: &Common) -> tracing::Dispatch {
    tracing::Dispatch::new(LogSubscriber {
        records: Arc::clone(&common.records),
        counters: Arc::clone(&common.counters),
    })
}

type Waiting = (Poll, Mailbox);

pub(crate) fn make_posts(count: usize) -> std::io::Result<(Arc<[Post]>, Vec<Waiting>)> {
    let mut posts = Vec::with_capacity(count);
    let mut polls = Vec::with_capacity(count);
    for _ in 0..count {
        let poll = Poll::new()?;
        let (post, mailbox) = Post::new(poll.registry(), Token::Waker.into())?;
        posts.push(post);
        polls.push((poll, mailbox));
    }
    Ok((posts.into(), polls))
}
