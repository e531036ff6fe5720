//! The engine: worker threads, from start to stop.

mod control;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::Poll;
use noctule_broker::Shared;

use crate::admission::Admission;
use crate::authentication::Questions;
use crate::bans::BanFile;
use crate::clock::Clock;
use crate::common::Common;
use crate::descriptors;
use crate::durable::{self, Keeper};
use crate::error::{Failure, StartError};
use crate::events::{MAX_WAITING_RECORDS, Record, Records};
use crate::gate::Gate;
use crate::listener::{Address, Listeners, Listening, listen_on_all};
use crate::logging::LogSubscriber;
use crate::options::{Durability, ServerOptions};
use crate::post::{Mailbox, Message, Post};
use crate::queue::Queue;
use crate::reactor::{Reactor, Token, Turn};
use crate::tls::Watch;
use crate::unix::SocketFile;

/// Time that connections get to take their last bytes after a worker has died.
const FAILURE_STOP: Duration = Duration::from_secs(2);

/// What a worker may take longer than it was told before `stop` gives it up for hung.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Questions to hooks that wait to be taken, at most.
const MAX_WAITING_CONSULTATIONS: usize = 65_536;

/// A broker: its workers, and the way to talk to them from any thread.
///
/// Starts once. Must not be carried through fork(2): the threads stay behind in the
/// parent. A forked child's engine is inert, its `stop` does nothing.
pub struct Engine {
    options: ServerOptions,
    common: Common,
    /// Set once, by `start`.
    running: OnceLock<Running>,
    /// Taken by whoever joins them.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Closed once the workers have ended.
    store: Mutex<Option<durable::Running>>,
    /// Dropped once the workers have ended.
    attached: Mutex<Attached>,
    start_claimed: AtomicBool,
}

/// What is there as long as the workers are.
#[derive(Default)]
struct Attached {
    _watch: Option<Watch>,
    _files: Vec<SocketFile>,
}

fn make_shared(options: &ServerOptions, seed: u64) -> Arc<Shared> {
    let (broker, workers) = (options.broker.clone(), options.worker_count());
    match options.store_durability() {
        Durability::Memory => Shared::new(broker, workers, seed),
        Durability::Interval | Durability::Disk => {
            Shared::durable(broker, workers, seed, durable::wall_milliseconds())
        }
    }
}

struct Running {
    addresses: Vec<Address>,
    posts: Arc<[Post]>,
    live: Arc<Live>,
    process: u32,
}

/// How many workers have not ended.
struct Live {
    count: Mutex<usize>,
    ended: Condvar,
}

impl Engine {
    /// # Errors
    /// [`StartError`] if the system has no descriptors left or a listener's files cannot be
    /// used.
    pub fn new(options: ServerOptions) -> Result<Engine, StartError> {
        let seed = RandomState::new().hash_one(std::process::id());
        let records =
            Records::new(MAX_WAITING_RECORDS).map_err(|error| StartError::new("events", error))?;
        let questions =
            Questions::new().map_err(|error| StartError::new("authentication", error))?;
        let consultations = Queue::new(MAX_WAITING_CONSULTATIONS)
            .map_err(|error| StartError::new("hooks", error))?;
        let places = options.listeners.iter().enumerate();
        let gates: Result<Vec<Gate>, StartError> =
            places.map(|(place, each)| Gate::new(place, each)).collect();
        let common = Common {
            shared: make_shared(&options, seed),
            admission: Admission::new(&options.broker.limits, &options.listeners),
            counters: Arc::default(),
            records: Arc::new(records),
            questions: Arc::new(questions),
            consultations: Arc::new(consultations),
            clock: Clock::new(),
            ban_file: Arc::default(),
            gates: gates?.into(),
            failure: Arc::default(),
        };
        Ok(Engine {
            options,
            common,
            running: OnceLock::new(),
            threads: Mutex::default(),
            store: Mutex::default(),
            attached: Mutex::default(),
            start_claimed: AtomicBool::new(false),
        })
    }

    /// Listens and starts the workers. A second call is refused.
    ///
    /// # Errors
    /// [`StartError`] naming the address that cannot be listened on; nothing runs then,
    /// and the engine can be started again.
    pub fn start(&self) -> Result<(), StartError> {
        if self.start_claimed.swap(true, SeqCst) {
            let error = std::io::Error::other("an engine starts only once");
            return Err(StartError::new("engine", error));
        }
        let started = self.try_start();
        if started.is_err() {
            self.start_claimed.store(false, SeqCst);
        }
        started
    }

    fn try_start(&self) -> Result<(), StartError> {
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
        let reactors = sockets.into_iter().zip(polls).enumerate().map(
            |(index, (sockets, poll)): (usize, (Vec<Listening>, _))| {
                Reactor::new(
                    index,
                    self.common.clone(),
                    poll,
                    Arc::clone(&posts),
                    sockets,
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

    /// Where the engine listens, in the order of the options; free ports filled in.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        self.running.get().map_or(&[], |running| &running.addresses)
    }

    /// Whether workers are there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
            .get()
            .is_some_and(|running| running.is_here() && running.live.count() > 0)
    }

    /// Takes no more connections, tells 5.0 clients why (DISCONNECT 0x8B), gives all
    /// connections up to `timeout` to take what waits for them, and ends the workers.
    /// From any thread, any number of times; returns when they have ended.
    ///
    /// # Errors
    /// [`Failure`] if a worker died, now or earlier, or does not end.
    pub fn stop(&self, timeout: Duration) -> Result<(), Failure> {
        let Some(running) = self.running.get().filter(|running| running.is_here()) else {
            return Ok(());
        };
        send_stop(&running.posts, self.common.clock.now().after(timeout));
        if !running
            .live
            .wait_for_end(timeout.saturating_add(STOP_GRACE))
        {
            return Err(Failure("a worker does not end".into()));
        }
        for thread in lock(&self.threads).drain(..) {
            // A panic has been caught and reported inside.
            let _ = thread.join();
        }
        if let Some(file) = self.common.ban_file.get() {
            file.save(&self.common.shared, self.common.clock.now());
        }
        if let Some(store) = lock(&self.store).take() {
            store.close();
        }
        *lock(&self.attached) = Attached::default();
        self.common.failure.get().cloned().map_or(Ok(()), Err)
    }

    /// Why the engine stopped by itself, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.common.failure.get()
    }

    fn send(&self, worker: usize, message: Message) {
        if let Some(running) = self.running.get().filter(|running| running.is_here()) {
            running.posts[worker].send(message);
        }
    }

    fn log_start(&self, addresses: &[Address], workers: usize, open_files: Option<u64>) {
        tracing::dispatcher::with_default(&log_to(&self.common), || {
            for address in addresses {
                tracing::info!("listening on {address}");
            }
            let wanted = self.options.broker.limits.max_connections;
            if let Some(open_files) = open_files.filter(|&open_files| open_files < wanted) {
                tracing::info!(
                    "{open_files} open files are allowed, so fewer connections than \
                     limits.max_connections = {wanted}"
                );
            }
            tracing::info!("{workers} workers started");
        });
    }

    #[cfg(test)]
    fn kill_worker(&self, index: usize) {
        self.running.get().unwrap().posts[index].send(Message::Panic);
    }
}

impl Drop for Engine {
    /// Stops without giving anybody time; the descriptors are free afterwards.
    fn drop(&mut self) {
        let _ = self.stop(Duration::ZERO);
        self.common.records.close();
        self.common.questions.close();
        self.common.consultations.close();
    }
}

impl Running {
    /// Whether this is the process that started the workers, not a fork of it.
    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Live {
    fn count(&self) -> usize {
        *lock(&self.count)
    }

    /// Returns whether all workers ended in time.
    fn wait_for_end(&self, timeout: Duration) -> bool {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

fn send_stop(posts: &[Post], deadline: noctule_broker::Time) {
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
        tracing::error!("{failure}; the engine stops");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(workers: usize) -> Engine {
        let json = format!(
            r#"{{"workers": {workers},
                 "listeners": [{{"scheme": "mqtt", "host": "127.0.0.1", "port": 0}}]}}"#
        );
        Engine::new(ServerOptions::from_json(&json).unwrap()).unwrap()
    }

    #[test]
    fn an_engine_that_never_started_stops_at_once() {
        let engine = engine(1);
        assert!(!engine.is_running());
        engine.stop(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn an_engine_starts_once_and_stops_any_number_of_times() {
        let engine = engine(2);
        engine.start().unwrap();
        assert!(engine.is_running());
        assert!(engine.start().is_err());
        assert!(engine.is_running());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| engine.stop(Duration::from_secs(60)).unwrap());
            }
        });
        assert!(!engine.is_running());
        while engine.next_events(None, 10).is_some() {}
    }

    #[test]
    fn a_dying_worker_stops_the_engine_and_says_so() {
        let engine = engine(2);
        engine.start().unwrap();
        engine.kill_worker(1);
        let mut kinds = Vec::new();
        while let Some(records) = engine.next_events(None, 10) {
            kinds.extend(records.iter().map(Record::kind));
        }
        assert!(kinds.contains(&"failed"), "{kinds:?}");
        let failure = engine.stop(Duration::from_secs(60)).unwrap_err();
        assert_eq!(failure.0, "worker 1 panicked: asked to by a test");
        assert_eq!(engine.failure(), Some(&failure));
        assert!(!engine.is_running());
    }
}
