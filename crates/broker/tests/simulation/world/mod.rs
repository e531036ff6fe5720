//! Workers, clients, the network between them and the clock: all that there is.

mod actions;
mod carrying;
mod rest;
mod telling;

use std::collections::VecDeque;
use std::sync::Arc;

use noctule_broker::{Batch, ConnectionId, QueueRequest, Records, Shared, Time, Worker};

use crate::client::{Client, Habits, Stage};
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::log::Log;
use crate::plan::Plan;
use crate::random::Random;
use crate::scene::Scene;

/// Microseconds; far from zero, so that nothing is in the past by chance.
const BEGINNING: Time = Time(1_000_000);

/// When an authenticator answers about a connection of a worker.
type Question = (Time, usize, ConnectionId);

/// Records on their way to the disk: when they are there, whose they are, their number.
type Commit = (Time, usize, u64, Records);

/// When a worker has messages back that it wants.
type Reading = (Time, usize, Box<QueueRequest>);

pub struct World {
    pub scene: Scene,
    plan: Plan,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Batches under way, in order for each pair: `from * workers + to`.
    parcels: Vec<VecDeque<(Time, Batch)>>,
    disk: Disk,
    commits: VecDeque<Commit>,
    readings: Vec<Reading>,
    clients: Vec<Client>,
    links: Vec<Link>,
    /// Links that are not over.
    live: Vec<usize>,
    /// Link of a connection, by worker and connection index.
    places: Vec<Vec<Option<(ConnectionId, usize)>>>,
    /// Connections an authenticator has been asked about.
    questions: Vec<Question>,
    overloaded: bool,
    /// Everything random has come to an end.
    resting: bool,
}

impl World {
    /// The world of one seed; of its events the last `log` are kept, to be told.
    pub fn new(seed: u64, log: usize) -> World {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let (options, hash) = (plan.options.clone(), random.next());
        let shared = match plan.commit_micros {
            Some(_) => Shared::durable(options, plan.workers, hash, 0),
            None => Shared::new(options, plan.workers, hash),
        };
        shared.observe(true);
        let workers = (0..plan.workers)
            .map(|index| Worker::new(index, shared.clone()))
            .collect();
        let mut clients = vec![Client::new(0, Habits::witness())];
        for index in 1..=plan.clients {
            clients.push(Client::new(index, Habits::new(&plan, &mut random)));
        }
        let mut ledger = Ledger::new(clients.len(), plan.tight);
        ledger.may_refuse = plan.tight || plan.overloads;
        for client in &clients {
            ledger.traits[client.index] = client.habits.traits;
        }
        let mut world = World {
            scene: Scene {
                now: BEGINNING,
                random,
                ledger,
                log: Log::new(log),
            },
            parcels: (0..plan.workers * plan.workers)
                .map(|_| VecDeque::new())
                .collect(),
            places: vec![Vec::new(); plan.workers],
            disk: Disk::default(),
            commits: VecDeque::new(),
            readings: Vec::new(),
            plan,
            shared,
            workers,
            clients,
            links: Vec::new(),
            live: Vec::new(),
            questions: Vec::new(),
            overloaded: false,
            resting: false,
        };
        world.summon_witness();
        world
    }

    /// A whole life: something happens for a while, then everything comes to rest
    /// and what must be true is looked at.
    pub fn run(&mut self) {
        for _ in 0..self.plan.steps {
            self.act();
            self.step();
        }
        self.come_to_rest();
    }

    /// The witness hears every will from the beginning.
    fn summon_witness(&mut self) {
        self.connect(0, true);
        while self.clients[0].stage != Stage::Open {
            self.step();
        }
        let scene = &mut self.scene;
        self.clients[0].subscribe(&["w/#".to_owned()], scene);
        for _ in 0..200 {
            self.step();
        }
    }

    /// A little time passes, and whatever is due may happen, in any order.
    fn step(&mut self) {
        let tempo = self.plan.tempo_micros;
        self.scene.now.0 += self.scene.random.between(1, tempo);
        self.turn();
    }

    fn turn(&mut self) {
        let mut live = std::mem::take(&mut self.live);
        self.scene.random.shuffle(&mut live);
        for &link in &live {
            self.carry_up(link);
        }
        self.carry_parcels();
        self.commit();
        self.read_back();
        self.answer_questions();
        self.tick();
        for &link in &live {
            self.carry_down(link);
        }
        for index in 0..self.clients.len() {
            self.clients[index].act(&mut self.scene);
            self.collect(index);
        }
        // Links made meanwhile are in `self.live` already.
        live.retain(|&link| !self.links[link].is_over());
        self.live.append(&mut live);
        self.scene.ledger.sessions.check_expiry(self.scene.now);
    }

    /// Passes time until `target`, with a look at everything that is due on the way.
    fn pass(&mut self, target: Time) {
        while self.scene.now < target {
            let next = self.next_due().unwrap_or(target);
            self.scene.now = Time(next.0.max(self.scene.now.0 + 1).min(target.0));
            self.turn();
        }
    }

    /// When something is due next.
    fn next_due(&self) -> Option<Time> {
        let links = self
            .live
            .iter()
            .filter_map(|&link| self.links[link].next_due());
        let parcels = self.parcels.iter().filter_map(|each| each.front());
        let commits = self.commits.front().map(|each| each.0);
        let readings = self.readings.iter().map(|each| each.0);
        let questions = self.questions.iter().map(|&(due, _, _)| due);
        let timeouts = self.workers.iter().filter_map(Worker::next_timeout);
        let pings = self.clients.iter().filter_map(Client::next_ping);
        let soon = self.scene.now.after_milliseconds(1);
        let owing = self.clients.iter().filter(|each| each.owes()).map(|_| soon);
        let pending = self
            .live
            .iter()
            .filter(|&&link| self.moves(link))
            .map(|_| soon);
        links
            .chain(parcels.map(|&(due, _)| due))
            .chain(commits)
            .chain(readings)
            .chain(questions)
            .chain(timeouts)
            .chain(pings)
            .chain(owing)
            .chain(pending)
            .min()
    }

    /// Whether a link has something to do that no due time tells of.
    fn moves(&self, link: usize) -> bool {
        let link = &self.links[link];
        let room = link.down.len() < link.capacity;
        !link.stalled && ((link.pending && room) || link.closing || link.ends_up || link.ends_down)
    }
}
