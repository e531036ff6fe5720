//! The engine: worker threads, from start to stop.

mod control;
pub(crate) mod life;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use noctule_broker::Shared;

use crate::admission::Admission;
use crate::authentication::Questions;
use crate::clock::Clock;
use crate::common::Common;
use crate::durable;
use crate::error::{Failure, StartError};
use crate::events::{MAX_WAITING_RECORDS, Records};
use crate::gate::Gate;
use crate::listener::Address;
use crate::options::{Durability, ServerOptions};
use crate::post::{Message, Post};
use crate::queue::Queue;
use crate::tls::Watch;
use crate::unix::SocketFile;

use life::{Live, send_stop};

/// The name of the engine's log lines, whichever of its files they are written in.
const LOG_TARGET: &str = module_path!();

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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::events::Record;

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
