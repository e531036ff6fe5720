//! The broker's process, and the disk that outlives it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use noctule_broker::{
    Batch, ConnectionId, Effect, Options, Peer, QueueRequest, Records, Restorer, Shared,
    StoreState, Time, Worker,
};

use crate::disk::Disk;
use crate::random::Random;

/// Milliseconds since 1970 when the first process begins.
const BEGINNING: u64 = 1_700_000_000_000;

pub struct Machine {
    pub disk: Disk,
    pub workers: Vec<Worker>,
    pub state: StoreState,
    shared: Arc<Shared>,
    options: Options,
    /// Handed to the store in this order, and not on the disk.
    log: VecDeque<(usize, u64, Records)>,
    /// On the disk, but the broker has not heard of it.
    unheard: VecDeque<(usize, u64)>,
    /// What the workers have been told of the store.
    told: StoreState,
    /// What workers want read back, and whose it is.
    readings: Vec<(usize, Box<QueueRequest>)>,
    /// Batches under way, in order for each pair: `from * workers + to`.
    parcels: Vec<VecDeque<Batch>>,
    /// Wall-clock milliseconds at the process's time 0.
    wall: u64,
}

/// What a worker wants done with connections.
pub enum Wish {
    Close(usize, ConnectionId),
    Pause(usize, ConnectionId, bool),
}

impl Machine {
    pub fn new(options: Options, random: &mut Random) -> Machine {
        let mut machine = Machine {
            disk: Disk::default(),
            workers: Vec::new(),
            state: StoreState::Ready,
            shared: Shared::new(options.clone(), 1, 0),
            options,
            log: VecDeque::new(),
            unheard: VecDeque::new(),
            told: StoreState::Ready,
            readings: Vec::new(),
            parcels: Vec::new(),
            wall: BEGINNING,
        };
        machine.start(Time(0), random);
        machine
    }

    /// The process is gone, with everything that is not on the disk; another begins.
    pub fn crash(&mut self, now: Time, random: &mut Random) {
        self.wall += now.0 / 1_000 + random.between(0, 5_000);
        self.start(now, random);
    }

    fn start(&mut self, _: Time, random: &mut Random) {
        let workers = random.between(1, 3) as usize;
        self.log.clear();
        self.unheard.clear();
        self.readings.clear();
        self.state = StoreState::Ready;
        self.told = StoreState::Ready;
        self.parcels = (0..workers * workers).map(|_| VecDeque::new()).collect();
        let options = self.options.clone();
        self.shared = Shared::durable(options, workers, random.next(), self.wall);
        let mut restorer = Restorer::new(self.shared.clone());
        self.disk.restore(&mut restorer);
        let restored = restorer.finish();
        assert_eq!(restored.unreadable, 0, "records that make no sense");
        self.workers = (0..workers)
            .map(|index| Worker::new(index, self.shared.clone()))
            .collect();
        for (worker, share) in self.workers.iter_mut().zip(restored.sessions) {
            worker.restore(share, self.wall, Time(0));
        }
    }

    pub fn accept(&mut self, client: &str, now: Time) -> (usize, ConnectionId) {
        let worker = self.shared.worker_of(client);
        let deadline = now.after_seconds(1_000_000);
        let id = self.workers[worker].accepted(Peer::default(), deadline, now);
        (worker, id)
    }

    /// What the workers have made since: records go to the store before anything else
    /// leaves.
    pub fn collect(&mut self, wishes: &mut Vec<Wish>) {
        let count = self.workers.len();
        for (from, worker) in self.workers.iter_mut().enumerate() {
            if let Some((number, records)) = worker.take_records()
                && self.state != StoreState::Failed
            {
                self.log.push_back((from, number, records));
            }
            worker.take_batches(|to, batch| self.parcels[from * count + to].push_back(batch));
            while let Some(effect) = worker.next_effect() {
                match effect {
                    Effect::Close(id) => wishes.push(Wish::Close(from, id)),
                    Effect::PauseReading(id) => wishes.push(Wish::Pause(from, id, true)),
                    Effect::ResumeReading(id) => wishes.push(Wish::Pause(from, id, false)),
                    Effect::ReadQueue(request) => self.readings.push((from, request)),
                    Effect::Event(_) => {}
                    other => panic!("{other:?} is not for this world"),
                }
            }
        }
    }

    /// One batch of a pair of workers arrives, if there is one.
    pub fn carry_parcel(&mut self, pair: usize, now: Time) {
        let to = pair % self.workers.len();
        if let Some(batch) = self.parcels[pair].pop_front() {
            self.workers[to].delivered(batch, now);
        }
    }

    /// Some of what is wanted is read as it lies on the disk now, in any order.
    pub fn read_back(&mut self, random: &mut Random, percent: u64, now: Time) {
        random.shuffle(&mut self.readings);
        for (worker, request) in std::mem::take(&mut self.readings) {
            if random.chance(percent) {
                let values = self.disk.read(&request);
                self.workers[worker].queue_read(*request, values, now);
            } else {
                self.readings.push((worker, request));
            }
        }
    }

    pub fn pairs(&self) -> usize {
        self.parcels.len()
    }

    /// A group of at most `most` batches comes onto the disk, all of it.
    pub fn commit(&mut self, most: usize) {
        if self.state != StoreState::Ready {
            return;
        }
        for _ in 0..most.min(self.log.len()) {
            let Some((worker, number, records)) = self.log.pop_front() else {
                return;
            };
            self.disk.apply(&records);
            self.unheard.push_back((worker, number));
        }
    }

    pub fn fail(&mut self, state: StoreState) {
        self.state = state;
        if state == StoreState::Failed {
            self.log.clear();
        }
    }

    /// The workers hear what is committed, and how the store fares.
    pub fn hear(&mut self, most: usize, now: Time) {
        for _ in 0..most.min(self.unheard.len()) {
            if let Some((worker, number)) = self.unheard.pop_front() {
                self.workers[worker].committed(number, now);
            }
        }
        if self.told != self.state {
            self.told = self.state;
            for worker in &mut self.workers {
                worker.set_store_state(self.state, now);
            }
        }
    }

    /// Takes up to `most` bytes of what may be written to a connection.
    pub fn read(&mut self, (worker, id): (usize, ConnectionId), most: usize, now: Time) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(outbox) = self.workers[worker].outbox(id) else {
            return bytes;
        };
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = outbox.chunks(&mut slices);
        for slice in &slices[..filled] {
            let n = slice.len().min(most - bytes.len());
            bytes.extend_from_slice(&slice[..n]);
        }
        let n = bytes.len();
        if n > 0 {
            outbox.advance(n);
            self.workers[worker].written(id, n, now);
        }
        bytes
    }

    /// Whether nothing is on its way anywhere.
    pub fn is_at_rest(&self) -> bool {
        let statistics = self.shared.statistics();
        let stored = statistics.iter().find(|each| each.0 == "messages_stored");
        self.log.is_empty()
            && self.unheard.is_empty()
            && self.parcels.iter().all(VecDeque::is_empty)
            && stored.is_some_and(|each| each.1 == 0)
    }
}
