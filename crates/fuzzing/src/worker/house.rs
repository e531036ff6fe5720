//! Two workers, the clients at their doors, and what is around them: a store, hooks, bans.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use noctule_broker::{
    BanOptions, ConnectionId, Consultation, Durability, DurabilityRule, Effect, Hooks, Options,
    Policy, QueueFull, QueueRequest, Records, Restorer, Shared, SharedStrategy, Time, Worker,
};

use super::client::Client;
use super::disk::{Disk, promises_message};
use super::script::Script;

pub const WORKERS: usize = 2;
const DOORS: usize = 4;

/// Milliseconds that may pass at once.
const PAUSES: [u64; 6] = [1, 100, 1_000, 10_000, 100_000, 10_000_000];

/// Milliseconds since 1970 at the beginning.
const BEGINNING: u64 = 1_700_000_000_000;

/// Beyond this a counter has gone below zero.
const ABSURD: u64 = 1 << 40;

pub struct House {
    pub now: Time,
    pub shared: Arc<Shared>,
    pub workers: Vec<Worker>,
    pub clients: [Option<Client>; DOORS],
    pub hooks: Option<Hooks>,
    /// An operator has changed what somebody may do.
    pub has_new_rules: bool,
    is_durable: bool,
    /// Wall-clock milliseconds at time 0.
    wall: u64,
    disk: Disk,
    /// What is recorded and not on the disk, in the order in which it was handed over.
    waiting: VecDeque<(usize, u64, Records)>,
    /// The last batch of each worker on the disk.
    committed: [u64; WORKERS],
    /// What workers want back from the disk.
    readings: Vec<(usize, Box<QueueRequest>)>,
    /// What hooks and the authenticator have been asked and have not answered.
    pub questions: Vec<(usize, Box<Consultation>)>,
    pub knocking: Vec<(usize, ConnectionId, Box<str>)>,
}

impl House {
    /// `choice` and `more` set the options that change what workers do.
    pub fn new(choice: u8, more: u8) -> House {
        let is_durable = more & 1 != 0;
        let options = options(choice, more);
        let shared = match is_durable {
            true => Shared::durable(options, WORKERS, 7, BEGINNING),
            false => Shared::new(options, WORKERS, 7),
        };
        let mut house = House {
            now: Time(1_000_000),
            workers: Vec::new(),
            shared,
            clients: [const { None }; DOORS],
            hooks: hooks(more),
            has_new_rules: false,
            is_durable,
            wall: BEGINNING,
            disk: Disk::default(),
            waiting: VecDeque::new(),
            committed: [0; WORKERS],
            readings: Vec::new(),
            questions: Vec::new(),
            knocking: Vec::new(),
        };
        house.open();
        house
    }

    fn open(&mut self) {
        self.shared.observe(true);
        if let Some(hooks) = &self.hooks {
            self.shared.set_hooks(hooks.clone());
        }
        let worker = |index| Worker::new(index, Arc::clone(&self.shared));
        self.workers = (0..WORKERS).map(worker).collect();
    }

    pub fn step(&mut self, script: &mut Script<'_>) {
        let choice = script.byte();
        let door = usize::from(choice >> 6) % DOORS;
        match choice & 0x3F {
            50..=53 => self.commit(script),
            54..=57 => self.advise(script),
            58..=60 => self.administer(door, script),
            61..=62 => self.decide(),
            63 => self.crash(),
            _ => self.act(door, choice % 10, script),
        }
        self.run();
    }

    fn act(&mut self, door: usize, choice: u8, script: &mut Script<'_>) {
        match choice {
            0 => self.connect(door, script),
            1 => self.publish(door, script),
            2 => self.subscribe(door, script),
            3 => self.unsubscribe(door, script),
            4 => self.read(door, script),
            5 => self.answer(door),
            6 => self.send_raw(door, script),
            7 => self.pass(script),
            8 => self.cut(door),
            _ => self.send_small(door, script),
        }
    }

    /// Everything comes onto the disk and everybody reads all there is, then the house closes.
    pub fn finish(&mut self) {
        self.commit_some(usize::MAX);
        for door in 0..DOORS {
            self.take(door, usize::MAX);
        }
        for worker in &mut self.workers {
            worker.shut_down(self.now);
        }
        self.run();
        for door in 0..DOORS {
            self.cut(door);
        }
        self.commit_some(usize::MAX);
        // Wills that are delayed go out, and then nobody is asked anything any more.
        for seconds in [200, 60] {
            self.now = self.now.after_seconds(seconds);
            self.tick();
        }
        let left: usize = self.workers.iter().map(Worker::connections).sum();
        assert_eq!(left, 0, "connections that nobody has");
        let asks = self.workers.iter().any(Worker::is_consulting);
        assert!(!asks, "questions that nobody answers any more");
        for (name, value) in self.shared.statistics() {
            assert!(value < ABSURD, "{name}: {value}");
            let is_of_connections = ["clients_connected", "partial_bytes"].contains(&name);
            assert!(!is_of_connections || value == 0, "{name}: {value}");
        }
    }

    /// Time passes; timers run when they are due, no more than a few of them.
    fn pass(&mut self, script: &mut Script<'_>) {
        let target = self.now.after_milliseconds(script.choose(&PAUSES));
        for _ in 0..16 {
            let timeouts = self.workers.iter().filter_map(Worker::next_timeout);
            let next = timeouts.min().unwrap_or(target);
            self.now = Time(next.0.clamp(self.now.0 + 1, target.0.max(self.now.0 + 1)));
            self.tick();
            if self.now >= target {
                return;
            }
        }
        self.now = target.max(self.now);
        self.tick();
    }

    fn tick(&mut self) {
        for worker in &mut self.workers {
            worker.tick(self.now);
        }
        self.run();
    }

    /// The connection ends; what was on its way has come before.
    pub fn cut(&mut self, door: usize) {
        self.take(door, usize::MAX);
        if let Some(client) = self.clients[door].take() {
            client.end();
            self.workers[client.worker].closed(client.id, self.now);
            self.run();
        }
    }

    /// The client takes what there is for it, in pieces of `most` bytes at most; with a small
    /// piece, only one.
    pub fn take(&mut self, door: usize, most: usize) {
        loop {
            let Some(client) = &mut self.clients[door] else {
                return;
            };
            let worker = &mut self.workers[client.worker];
            let Some(outbox) = worker.outbox(client.id) else {
                return;
            };
            let mut bytes = Vec::new();
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = outbox.chunks(&mut slices);
            for slice in &slices[..filled] {
                bytes.extend_from_slice(slice);
            }
            bytes.truncate(most);
            if bytes.is_empty() {
                return;
            }
            outbox.advance(bytes.len());
            worker.written(client.id, bytes.len(), self.now);
            client.read(&bytes, self.committed[client.worker]);
            self.run();
            if most != usize::MAX {
                return;
            }
        }
    }

    /// Hands over what a worker has recorded; the number under which a message that somebody
    /// waits for will be committed, if there is one.
    pub fn submit(&mut self, worker: usize) -> Option<u64> {
        let (number, records) = self.workers[worker].take_records()?;
        let promised = promises_message(&records).then_some(number);
        self.waiting.push_back((worker, number, records));
        promised
    }

    /// So many batches come onto the disk, in order, and the workers hear of it.
    pub fn commit_some(&mut self, most: usize) {
        for _ in 0..most {
            self.run();
            for (worker, request) in std::mem::take(&mut self.readings) {
                let values = self.disk.read(&request);
                self.workers[worker].queue_read(*request, values, self.now);
            }
            self.run();
            let Some((worker, number, records)) = self.waiting.pop_front() else {
                return;
            };
            self.disk.apply(&records);
            self.committed[worker] = number;
            self.workers[worker].committed(number, self.now);
        }
    }

    /// The process is gone, with all that is not on the disk, and begins anew.
    fn crash(&mut self) {
        if !self.is_durable {
            return;
        }
        self.clients = [const { None }; DOORS];
        self.waiting.clear();
        self.readings.clear();
        self.questions.clear();
        self.knocking.clear();
        self.committed = [0; WORKERS];
        self.wall += self.now.0 / 1_000;
        self.now = Time(1_000_000);
        let options = self.shared.options().clone();
        self.shared = Shared::durable(options, WORKERS, 7, self.wall);
        self.open();
        let mut restorer = Restorer::new(Arc::clone(&self.shared));
        self.disk.restore(&mut restorer);
        let restored = restorer.finish();
        assert_eq!(restored.unreadable, 0, "records that make no sense");
        let wall = self.wall + self.now.0 / 1_000;
        for (worker, share) in self.workers.iter_mut().zip(restored.sessions) {
            worker.restore(share, wall, self.now);
        }
        self.tick();
    }

    /// Carries effects and batches out until there are none.
    pub fn run(&mut self) {
        let mut is_busy = true;
        while is_busy {
            is_busy = false;
            for from in 0..WORKERS {
                while let Some(effect) = self.workers[from].next_effect() {
                    is_busy = true;
                    self.carry_out(from, effect);
                }
                self.submit(from);
                while self.workers[from].next_dirty().is_some() {}
                let mut batches = Vec::new();
                self.workers[from].take_batches(|to, batch| batches.push((to, batch)));
                for (to, batch) in batches {
                    is_busy = true;
                    self.workers[to].delivered(batch, self.now);
                }
            }
        }
    }

    fn carry_out(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::Close(id) => self.change(worker, id, |client| client.is_closing = true),
            Effect::PauseReading(id) => self.change(worker, id, |client| client.is_paused = true),
            Effect::ResumeReading(id) => self.change(worker, id, |client| client.is_paused = false),
            Effect::Authenticate(id, request) => self.judge(worker, id, &request),
            Effect::Consult(question) => self.questions.push((worker, question)),
            Effect::ReadQueue(request) => self.readings.push((worker, request)),
            Effect::Event(event) => drop(event.fields()),
        }
    }

    /// Changes the client of a connection, if it is still there.
    fn change(&mut self, worker: usize, id: ConnectionId, change: impl FnOnce(&mut Client)) {
        let mut clients = self.clients.iter_mut().flatten();
        if let Some(client) = clients.find(|each| each.worker == worker && each.id == id) {
            change(client);
        }
    }
}

fn options(choice: u8, more: u8) -> Options {
    let mut options = Options::default();
    options.system_topics_interval_seconds.0 = 0;
    options.authentication = choice & 0x80 != 0;
    options.limits.max_queued_messages = 8;
    options.limits.max_inflight_messages = if choice & 1 == 0 { 4 } else { 1_024 };
    options.limits.write_buffer_bytes = if choice & 2 == 0 { 256 } else { 1 << 20 };
    options.limits.queue_qos0 = choice & 4 != 0;
    options.limits.max_packet_bytes = 1 << 16;
    options.limits.queue_full = match choice >> 3 & 3 {
        0 => QueueFull::DropOldest,
        1 => QueueFull::DropNewest,
        2 => QueueFull::Reject,
        _ => QueueFull::Disconnect,
    };
    options.protocol.shared_subscription_strategy = match choice >> 5 & 3 {
        0 => SharedStrategy::RoundRobin,
        1 => SharedStrategy::LeastInflight,
        2 => SharedStrategy::Sticky,
        _ => SharedStrategy::HashTopic,
    };
    if more & 8 != 0 {
        options.bans = BanOptions {
            failed_logins: 2,
            flapping_connects: 3,
            ..BanOptions::default()
        };
    }
    if more & 128 != 0 {
        options.limits.queue_memory_bytes = 0;
    }
    if more & 16 != 0 {
        let below = Policy {
            topic_prefix: "t/".into(),
            maximum_qos: 1,
            max_packet_bytes: 60,
            max_keep_alive_seconds: 10,
            ..Policy::default()
        };
        options.policies = vec![Policy::default(), below];
    }
    if more & 32 != 0 {
        options.durability_rules = vec![DurabilityRule {
            filter: "w".into(),
            durability: Durability::Memory,
        }];
        options.listener_durability = vec![None, Some(Durability::Interval)];
    }
    options
}

fn hooks(more: u8) -> Option<Hooks> {
    let (hooked, authorize) = (more & 2 != 0, more & 4 != 0);
    (hooked || authorize).then(|| Hooks {
        connect: more & 64 != 0,
        authenticate: false,
        subscribe: hooked,
        publish: if hooked {
            vec!["t/#".into()]
        } else {
            Vec::new()
        },
        authorize,
        timeout_milliseconds: 5_000,
    })
}
