//! The engine: worker threads, from start to stop.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::Poll;
use noctule_broker::{
    Advice, Banned, ClientInfo, Consultation, Decision, Hooked, Hooks, Peer, Rule, Shared,
};
use noctule_packets::ReasonCode;

use crate::admission::Admission;
use crate::authentication::{Question, Questions};
use crate::bans::BanFile;
use crate::clock::Clock;
use crate::common::Common;
use crate::descriptors;
use crate::durable::{self, Keeper};
use crate::error::{Failure, OptionsError, StartError};
use crate::events::{MAX_WAITING_RECORDS, Record, Records};
use crate::gate::Gate;
use crate::listener::{Address, Listeners, Listening, listen_on_all};
use crate::logging::LogSubscriber;
use crate::options::{Durability, ServerOptions};
use crate::post::{Handover, Mailbox, Message, Post};
use crate::queue::Queue;
use crate::reactor::{Reactor, Token, Turn};
use crate::tap::{self, Tap, TapOptions};
use crate::tls::Watch;
use crate::transport::{Channel, Socket, Transport};
use crate::unix::SocketFile;

/// Time that connections get to take their last bytes after a worker has died.
const FAILURE_STOP: Duration = Duration::from_secs(2);

/// What a worker may take longer than it was told before `stop` gives it up for hung.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Stands for the listener of a connection from within.
const NO_LISTENER: u16 = u16::MAX;

/// Publications from outside that wait for one worker, at most.
const MAX_WAITING_PUBLICATIONS: usize = 4_096;

/// Questions to hooks that wait to be taken, at most.
const MAX_WAITING_CONSULTATIONS: usize = 65_536;

/// The longest wait for workers to say who is there.
const CLIENTS_TIMEOUT: Duration = Duration::from_secs(60);

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

    /// Keeps somebody out for some time (`None`: for ever), and ends their connections.
    pub fn ban(&self, banned: Banned, duration: Option<Duration>, reason: &str) {
        let now = self.common.clock.now();
        let until = duration.map_or(noctule_broker::Time::NEVER, |duration| now.after(duration));
        self.common.shared.bans().ban(banned, until, reason);
        for worker in 0..self.options.worker_count() {
            self.send(worker, Message::EndBanned);
        }
    }

    /// Lets somebody in again; false if they were not banned.
    pub fn unban(&self, banned: &Banned) -> bool {
        self.common.shared.bans().unban(banned)
    }

    /// Each ban in force, how many seconds it has left (`None`: for ever), and why.
    #[must_use]
    pub fn bans(&self) -> Vec<(Banned, Option<u64>, Box<str>)> {
        let now = self.common.clock.now();
        let bans = self.common.shared.bans().list(now).into_iter();
        bans.map(|(banned, ban)| {
            let is_bounded = ban.until != noctule_broker::Time::NEVER;
            let left = is_bounded.then(|| now.seconds_until(ban.until));
            (banned, left, ban.reason)
        })
        .collect()
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

    /// Asks clients to go elsewhere: 5.0 clients are told 0x9D (`moved`, for good) or 0x9C
    /// and, if given, where.
    pub fn drain(&self, server_reference: Option<&str>, moved: bool) {
        let Some(running) = self.running.get() else {
            return;
        };
        for post in running.posts.iter() {
            let server_reference = server_reference.map(str::to_owned);
            post.send(Message::Drain {
                server_reference,
                moved,
            });
        }
    }

    /// Whether the broker's events are to be recorded; they are not, at first.
    pub fn observe(&self, observed: bool) {
        self.common.shared.observe(observed);
    }

    /// Every counter and gauge by name, over all workers.
    #[must_use]
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.common.shared.statistics();
        all.extend(self.common.counters.values());
        all.push(("sockets_open", self.common.admission.connections()));
        all.push(("handshakes_open", self.common.admission.greetings()));
        all
    }

    /// Log lines and events, oldest first: up to `maximum`, after waiting for the first at
    /// most `timeout` (`None`: as long as it takes). Empty: none came in time. `None`: the
    /// engine has stopped and all have been taken.
    #[must_use]
    pub fn next_events(&self, timeout: Option<Duration>, maximum: usize) -> Option<Vec<Record>> {
        self.common.records.take(timeout, maximum)
    }

    /// A descriptor that is readable while events wait and after the engine has stopped.
    /// It stays ours: poll it, never read or close it.
    #[must_use]
    pub fn event_descriptor(&self) -> RawFd {
        self.common.records.descriptor()
    }

    /// Clients that wait for the authenticator, oldest first; otherwise as
    /// [`Engine::next_events`]. Each is to be answered, once.
    #[must_use]
    pub fn next_requests(
        &self,
        timeout: Option<Duration>,
        maximum: usize,
    ) -> Option<Vec<Question>> {
        self.common.questions.take(timeout, maximum)
    }

    /// As [`Engine::event_descriptor`], for the requests.
    #[must_use]
    pub fn request_descriptor(&self) -> RawFd {
        self.common.questions.descriptor()
    }

    /// Answers a request; false if that has been done before.
    pub fn answer(&self, number: u64, decision: Decision) -> bool {
        let Some(asker) = self.common.questions.settle(number) else {
            return false;
        };
        self.send(asker.worker, Message::Answer(asker.connection, decision));
        true
    }

    /// Asks these hooks from the start on; false if some have been set before.
    pub fn set_hooks(&self, hooks: Hooks) -> bool {
        self.common.shared.set_hooks(hooks)
    }

    /// Questions to the hooks, each with its worker; otherwise as [`Engine::next_events`].
    /// Each is to be answered, once, by worker and number.
    #[must_use]
    pub fn next_consultations(
        &self,
        timeout: Option<Duration>,
        maximum: usize,
    ) -> Option<Vec<(usize, Consultation)>> {
        self.common.consultations.take(timeout, maximum)
    }

    /// As [`Engine::event_descriptor`], for the questions to hooks.
    #[must_use]
    pub fn consultation_descriptor(&self) -> RawFd {
        self.common.consultations.descriptor()
    }

    /// Answers questions to hooks, each worker's in their order. One that is not open any more
    /// is ignored.
    pub fn advise(&self, answers: Vec<(usize, u64, Advice)>) {
        let workers = self.options.worker_count();
        let mut by_worker: Vec<Vec<(u64, Advice)>> = Vec::new();
        by_worker.resize_with(workers, Vec::new);
        for (worker, number, advice) in answers {
            if let Some(of_worker) = by_worker.get_mut(worker) {
                of_worker.push((number, advice));
            }
        }
        for (worker, answers) in by_worker.into_iter().enumerate() {
            if !answers.is_empty() {
                self.send(worker, Message::Advice(answers));
            }
        }
    }

    /// Has whoever authorizes asked anew about everything that one client does, or all do, and
    /// about their subscriptions at once.
    pub fn forget_permissions(&self, client: Option<&str>) {
        let Some(client) = client else {
            for worker in 0..self.options.worker_count() {
                self.send(worker, Message::ForgetPermissions(None));
            }
            return;
        };
        let owner = self.common.shared.worker_of(client);
        self.send(owner, Message::ForgetPermissions(Some(client.into())));
    }

    /// Whether there is an event for each message delivered, besides the others.
    pub fn observe_deliveries(&self, observed: bool) {
        self.common.shared.observe_deliveries(observed);
    }

    /// Gives a client's session other rules, from its next packet and the next delivery on;
    /// `None` allows everything. Does nothing to a client without a session.
    pub fn set_permissions(&self, client: &str, rules: Option<Vec<Rule>>) {
        let owner = self.common.shared.worker_of(client);
        self.send(owner, Message::Permissions(client.into(), rules));
    }

    /// Ends a client's connection, if it has one; a 5.0 client is told the reason.
    pub fn disconnect(&self, client: &str, reason: ReasonCode) {
        let owner = self.common.shared.worker_of(client);
        self.send(owner, Message::Disconnect(client.into(), reason));
    }

    /// Every session there is, connected or not; `None` where a worker does not answer within
    /// `timeout`. Less than all is no answer: rules would be changed for some alone.
    #[must_use]
    pub fn clients(&self, timeout: Duration) -> Option<Vec<ClientInfo>> {
        let Some(running) = self.running.get().filter(|running| running.is_here()) else {
            return Some(Vec::new());
        };
        let (sender, receiver) = mpsc::channel();
        for post in running.posts.iter() {
            post.send(Message::Clients(sender.clone()));
        }
        drop(sender);
        let until = Instant::now() + timeout.min(CLIENTS_TIMEOUT);
        all_answers(&receiver, until)
    }

    /// Publishes a message on the broker's own account; false if a worker has more to do
    /// than it can, so that it is worth trying again a little later.
    ///
    /// # Errors
    /// [`OptionsError`] if the topic is no topic name, or begins with `$`.
    pub fn publish(&self, own: Hooked) -> Result<bool, OptionsError> {
        let topic = &*own.topic;
        if topic.starts_with('$') || noctule_topics::validate_name(topic).is_err() {
            let text = format!("{topic:?} is not a topic name to publish to");
            return Err(OptionsError(text));
        }
        // All of one topic by one worker, in order.
        let owner = self.common.shared.worker_of(topic);
        let running = self.running.get().filter(|running| running.is_here());
        if running.is_some_and(|running| running.posts[owner].len() > MAX_WAITING_PUBLICATIONS) {
            return Ok(false);
        }
        self.send(owner, Message::Publish(Box::new(own)));
        Ok(true)
    }

    /// Up to `most` retained messages that match a filter, behind the topic `after`, in the
    /// order of their topics, and whether there may be more.
    ///
    /// # Errors
    /// [`OptionsError`] if the filter is none.
    pub fn retained(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<(Vec<Hooked>, bool), OptionsError> {
        noctule_topics::validate_filter(filter)
            .map_err(|error| OptionsError(format!("{filter:?}: {}", error.0)))?;
        let now = self.common.clock.now();
        let shared = &self.common.shared;
        Ok(shared.retained_messages(filter, after, most, now))
    }

    /// The retained message of one topic.
    #[must_use]
    pub fn retained_of(&self, topic: &str) -> Option<Hooked> {
        let now = self.common.clock.now();
        self.common.shared.retained_message(topic, now)
    }

    /// Opens a tap; waits until its subscription is there.
    ///
    /// # Errors
    /// The engine does not run, or has refused it.
    pub fn tap(&self, options: &TapOptions) -> std::io::Result<Tap> {
        let refused = |text: &str| std::io::Error::other(text.to_owned());
        let running = self.running.get().filter(|running| running.is_here());
        let running = running.ok_or_else(|| refused("the engine does not run"))?;
        let owner = self.common.shared.worker_of(&options.client_identifier());
        let (ours, theirs) = tap::pair()?;
        let ticket = self.common.admission.admit(NO_LISTENER, None);
        let handover = Handover {
            transport: Transport::Channel(Channel::Plain(Socket::Unix(theirs))),
            ticket: ticket.ok_or_else(|| refused("limits.max_connections is reached"))?,
            peer: Peer {
                listener: NO_LISTENER,
                is_private: true,
                is_internal: true,
                ..Peer::default()
            },
            deadline: self.common.clock.now().after(CLIENTS_TIMEOUT),
            bytes: options.greeting()?,
        };
        running.posts[owner].send(Message::Adopt(Box::new(handover)));
        Tap::open(ours)
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

/// What all senders have sent before they went; `None` if one is still there by then.
fn all_answers<T>(receiver: &Receiver<Vec<T>>, until: Instant) -> Option<Vec<T>> {
    let mut all = Vec::new();
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(some) => all.extend(some),
            Err(RecvTimeoutError::Disconnected) => return Some(all),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_some_workers_are_no_answer() {
        let (sender, receiver) = mpsc::channel();
        let slow = sender.clone();
        sender.send(vec![1]).unwrap();
        drop(sender);
        assert_eq!(all_answers(&receiver, Instant::now()), None);
        slow.send(vec![2]).unwrap();
        drop(slow);
        assert_eq!(all_answers(&receiver, Instant::now()), Some(vec![2]));
    }

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
