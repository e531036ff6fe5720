//! The whole broker on a disk that fails it: the process is lost at any moment with all
//! that is not on the disk, the disk is full or broken for a while, and what was
//! acknowledged is there all the same.

mod client;
mod ledger;
mod machine;

use std::collections::BTreeSet;

use noctule_broker::{ConnectionId, Durability, DurabilityRule, Options, Space, StoreState, Time};
use noctule_packets::QoS;

use crate::log::Log;
use crate::random::Random;
use crate::scene::note;

use client::Client;
use ledger::Ledger;
use machine::{Machine, Wish};

/// Rounds within which everything must have come to rest.
const ROUNDS: usize = 20_000;
const QOS: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

pub struct Outage {
    now: Time,
    random: Random,
    log: Log,
    machine: Machine,
    clients: Vec<Client>,
    ledger: Ledger,
    steps: usize,
}

impl Outage {
    /// The world of one seed; of its events the last `log` are kept, to be told.
    pub fn new(seed: u64, log: usize) -> Outage {
        let mut random = Random::new(!seed);
        let mut options = Options::default();
        options.system_topics_interval_seconds.0 = 0;
        options.limits.max_inflight_messages = random.pick(&[1, 2, 8, 1_024]);
        options.limits.receive_maximum = random.pick(&[3, 20, 1_024]);
        options.limits.write_buffer_bytes = random.pick(&[512, 4_096, 1 << 20]);
        options.limits.queue_memory_bytes = random.pick(&[0, 200, 1_000, 1 << 28]);
        options.durability_rules = vec![DurabilityRule {
            filter: "m/#".into(),
            durability: Durability::Memory,
        }];
        let machine = Machine::new(options, &mut random);
        let clients = (0..random.between(2, 5) as usize).map(Client::new);
        Outage {
            now: Time(1_000),
            clients: clients.collect(),
            machine,
            log: Log::new(log),
            ledger: Ledger::default(),
            steps: random.between(100, 500) as usize,
            random,
        }
    }

    pub fn run(&mut self) {
        for _ in 0..self.steps {
            self.strike();
            self.act();
            self.step();
        }
        self.come_to_rest();
        self.probe();
        self.ledger.check_deliveries();
        self.check_nothing_is_left();
        self.check_rest_lasts();
    }

    /// Something happens to the machine, now and then.
    fn strike(&mut self) {
        match self.random.below(200) {
            0..5 => self.crash(),
            5..8 => self.fail(StoreState::Full),
            8 => self.fail(StoreState::Failed),
            9..30 if self.machine.state == StoreState::Full => self.fail(StoreState::Ready),
            _ => {}
        }
    }

    fn fail(&mut self, state: StoreState) {
        if self.machine.state != StoreState::Failed {
            note!(self, "the store is {state:?}");
            self.machine.fail(state);
        }
    }

    fn crash(&mut self) {
        note!(self, "the process is lost");
        self.clients.iter_mut().for_each(Client::disconnected);
        self.machine.crash(self.now, &mut self.random);
        self.now = Time(1_000);
    }

    /// One client does something.
    fn act(&mut self) {
        let index = self.random.below(self.clients.len());
        if self.clients[index].place.is_none() {
            if self.random.chance(50) {
                let clean = self.random.chance(4);
                self.connect(index, clean);
            }
            return;
        }
        if !self.clients[index].is_open {
            if self.random.chance(5) {
                self.cut(index);
            }
            return;
        }
        match self.random.below(100) {
            0..60 => self.publish(index),
            60..72 => self.subscribe(index),
            72..76 => {
                let filters = self.ledger.filters(index);
                let place = self.random.below(filters.len());
                if let Some(filter) = filters.get(place) {
                    self.clients[index].unsubscribe(filter, &mut self.ledger);
                }
            }
            76..80 => self.cut(index),
            80..82 => {
                self.clients[index].goodbye();
                self.carry_up(index, usize::MAX);
                self.cut(index);
            }
            _ => {}
        }
    }

    fn connect(&mut self, index: usize, clean: bool) {
        let client = &mut self.clients[index];
        let place = self.machine.accept(&client.name, self.now);
        note!(self, "{} connects, clean: {clean}", client.name);
        client.connect(place, clean, &mut self.ledger);
    }

    /// The network breaks; some of what was on its way up arrives.
    fn cut(&mut self, index: usize) {
        let arrives = self.random.below(self.clients[index].up.len() + 1);
        self.carry_up(index, arrives);
        let client = &mut self.clients[index];
        note!(self, "{} is cut off", client.name);
        if let Some((worker, id)) = client.place {
            client.disconnected();
            self.machine.workers[worker].closed(id, self.now);
            self.collect();
        }
    }

    fn publish(&mut self, index: usize) {
        if self.clients[index].under_way(&self.ledger, false) >= 3 {
            return;
        }
        let qos = self.random.pick(&QOS);
        let topic = match self.random.below(10) {
            0..6 => format!("n/{index}"),
            6..8 => format!("m/{index}"),
            // One at a time: which came last must be plain.
            _ if self.clients[index].under_way(&self.ledger, true) > 0 => return,
            _ => format!("r/{index}"),
        };
        let is_empty = topic.starts_with('r') && self.random.chance(25);
        self.clients[index].publish(topic, qos, is_empty, &mut self.ledger);
    }

    fn subscribe(&mut self, index: usize) {
        let publisher = self.random.below(self.clients.len());
        let one = format!("n/{publisher}");
        let filter = self.random.pick(&["n/#", "m/#", "r/#", "+/0", &one]);
        if self.ledger.may_ask(index, filter) {
            let qos = self.random.pick(&QOS);
            self.clients[index].subscribe(filter, qos, &mut self.ledger);
        }
    }

    /// A little time passes, and whatever is due may happen, or not yet.
    fn step(&mut self) {
        self.now.0 += self.random.between(1, 50_000);
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        self.random.shuffle(&mut order);
        for index in order {
            if self.random.chance(60) {
                let most = self.random.pick(&[usize::MAX, 7, 40]);
                self.carry_up(index, most);
            }
            if self.random.chance(60) {
                let most = self.random.pick(&[usize::MAX, 7, 40]);
                self.carry_down(index, most);
            }
            let most = self.random.below(3);
            self.clients[index].acknowledge(most);
        }
        for pair in 0..self.machine.pairs() {
            if self.random.chance(50) {
                self.machine.carry_parcel(pair, self.now);
                self.collect();
            }
        }
        if self.random.chance(50) {
            let most = 1 + self.random.below(4);
            self.machine.commit(most);
        }
        self.read_back(40);
        if self.random.chance(60) {
            let most = self.random.below(6);
            self.hear(most);
        }
        self.tick();
    }

    fn hear(&mut self, most: usize) {
        self.machine.hear(most, self.now);
        self.collect();
    }

    fn read_back(&mut self, percent: u64) {
        self.machine.read_back(&mut self.random, percent, self.now);
        self.collect();
    }

    fn tick(&mut self) {
        for worker in &mut self.machine.workers {
            if worker.next_timeout().is_some_and(|due| due <= self.now) {
                worker.tick(self.now);
            }
        }
        self.collect();
    }

    fn carry_up(&mut self, index: usize, most: usize) {
        let client = &mut self.clients[index];
        let Some((worker, id)) = client.place.filter(|_| !client.is_paused) else {
            return;
        };
        let most = most.min(client.up.len());
        let bytes: Vec<u8> = client.up.drain(..most).collect();
        if !bytes.is_empty() {
            self.machine.workers[worker].received(id, &bytes, self.now);
            self.collect();
        }
    }

    fn carry_down(&mut self, index: usize, most: usize) {
        let Some(place) = self.clients[index].place else {
            return;
        };
        let bytes = self.machine.read(place, most, self.now);
        self.clients[index].receive(&bytes, &mut self.ledger);
        self.collect();
        if self.clients[index].hangs_up {
            self.cut(index);
        }
    }

    /// Records go to the store, batches on their way, and wishes are carried out.
    fn collect(&mut self) {
        let mut wishes = Vec::new();
        self.machine.collect(&mut wishes);
        for wish in wishes {
            match wish {
                Wish::Pause(worker, id, is_paused) => {
                    if let Some(client) = self.client_at(worker, id) {
                        self.clients[client].is_paused = is_paused;
                    }
                }
                Wish::Close(worker, id) => {
                    if let Some(client) = self.client_at(worker, id) {
                        let bytes = self.machine.read((worker, id), usize::MAX, self.now);
                        self.clients[client].receive(&bytes, &mut self.ledger);
                        self.clients[client].disconnected();
                    }
                    self.machine.workers[worker].closed(id, self.now);
                    self.collect();
                }
            }
        }
    }

    fn client_at(&self, worker: usize, id: ConnectionId) -> Option<usize> {
        let mut clients = self.clients.iter();
        clients.position(|each| each.place == Some((worker, id)))
    }

    /// The store is well, everyone comes back, and everything arrives.
    fn come_to_rest(&mut self) {
        note!(self, "everything comes to rest");
        match self.machine.state {
            StoreState::Failed => self.crash(),
            _ => self.machine.fail(StoreState::Ready),
        }
        for _ in 0..ROUNDS {
            self.now.0 += 10_000;
            for index in 0..self.clients.len() {
                if self.clients[index].place.is_none() {
                    self.connect(index, false);
                }
                self.clients[index].acknowledge(usize::MAX);
                self.carry_up(index, usize::MAX);
                self.carry_down(index, usize::MAX);
            }
            for pair in 0..self.machine.pairs() {
                self.machine.carry_parcel(pair, self.now);
                self.collect();
            }
            self.machine.commit(usize::MAX);
            self.hear(usize::MAX);
            self.read_back(100);
            self.tick();
            if self.machine.is_at_rest() && self.clients.iter().all(Client::is_at_rest) {
                return;
            }
        }
        let clients: Vec<String> = self.clients.iter().map(Client::describe).collect();
        panic!("it does not come to rest:\n{}", clients.join("\n"));
    }

    /// A client nobody knew asks for all that is retained, and sends a message for
    /// every filter: whoever has subscribed must get it, and nobody else may.
    fn probe(&mut self) {
        let index = self.clients.len();
        self.clients.push(Client::new(index));
        self.come_to_rest();
        let prober = &mut self.clients[index];
        prober.subscribe("r/#", QoS::AtLeastOnce, &mut self.ledger);
        self.come_to_rest();
        let found = std::mem::take(&mut self.clients[index].retained);
        self.ledger.check_retained(&found);
        for topic in [
            "n/probe", "n/0", "n/1", "n/2", "n/3", "n/4", "m/probe", "x/0",
        ] {
            for qos in QOS {
                self.clients[index].publish(topic.to_owned(), qos, false, &mut self.ledger);
            }
            self.come_to_rest();
        }
    }

    /// Everything has been delivered: nothing of it stays on the disk.
    fn check_nothing_is_left(&self) {
        for space in [Space::Queue, Space::InFlight, Space::Received] {
            assert_eq!(self.machine.disk.count(space), 0, "{space:?} at the end");
        }
        let sessions: BTreeSet<_> = self.clients.iter().map(|each| &each.name).collect();
        assert_eq!(self.machine.disk.count(Space::Session), sessions.len());
    }

    /// After one more restart every session is there, and nothing comes again.
    fn check_rest_lasts(&mut self) {
        let before = self.ledger.deliveries();
        self.crash();
        self.come_to_rest();
        assert_eq!(self.ledger.deliveries(), before);
    }
}
