//! Bytes and batches on their way.

use std::io::IoSlice;

use noctule_broker::{Batch, Decision, Destination, Peer, Time, destination};

use super::{Commit, Question, Reading, World};
use crate::link::Link;
use crate::scene::note;

/// Seconds a connection has for its CONNECT.
const CONNECT_SECONDS: u64 = 10;

impl World {
    /// A client opens a connection. `tidy`: with its session kept and without a will.
    pub(super) fn connect(&mut self, client: usize, tidy: bool) {
        let link = self.links.len();
        let announced = self.clients[client].connect(link, tidy, &mut self.scene);
        if self.overloaded || self.plan.overloads {
            self.clients[client].may_be_ended = true;
        }
        let capacity = self.clients[client].habits.capacity;
        self.links
            .push(Link::new(client, announced, capacity, self.scene.now));
        self.live.push(link);
        self.collect(client);
    }

    /// What a client has written goes on its way, in pieces.
    pub(super) fn collect(&mut self, client: usize) {
        let mut bytes = std::mem::take(&mut self.clients[client].out);
        let Some(link) = self.clients[client].link else {
            return;
        };
        let link = &mut self.links[link];
        if link.ends_up || link.broker_gone {
            return;
        }
        let random = &mut self.scene.random;
        while bytes.len() > 1 && random.chance(30) {
            let rest = bytes.split_off(random.below(bytes.len()));
            let due = self.scene.now.0 + random.between(0, self.plan.delay_micros);
            link.up.push(bytes, Time(due));
            bytes = rest;
        }
        let longest = if client == 0 {
            0
        } else {
            self.plan.delay_micros
        };
        let due = self.scene.now.0 + random.between(0, longest);
        link.up.push(bytes, Time(due));
    }

    /// Bytes that have arrived go to the broker.
    pub(super) fn carry_up(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.broker_gone || link.stalled {
            return;
        }
        if link.closing {
            link.up.clear();
            return;
        }
        let now = self.scene.now;
        if !link.paused {
            let most = match self.scene.random.chance(70) {
                true => usize::MAX / 2,
                false => 1 + self.scene.random.below(200),
            };
            let bytes = link.up.take(now, most);
            if !bytes.is_empty() {
                link.heard = now;
                link.was_paused = false;
                self.arrive(index, bytes);
            }
        }
        let link = &mut self.links[index];
        let unread = link.up.len() > 0 && !link.paused;
        if !link.ends_up || unread || link.broker_gone || self.scene.random.chance(20) {
            return;
        }
        link.broker_gone = true;
        if let Some((worker, id)) = link.place {
            note!(self.scene, "link {index} is closed for the broker");
            self.workers[worker].closed(id, now);
            self.places[worker][id.index()] = None;
            self.carry_out(worker, None);
        }
    }

    fn arrive(&mut self, index: usize, bytes: Vec<u8>) {
        let now = self.scene.now;
        if let Some((worker, id)) = self.links[index].place {
            self.workers[worker].received(id, &bytes, now);
            self.carry_out(worker, Some(index));
            return;
        }
        let link = &mut self.links[index];
        link.greeting.extend_from_slice(&bytes);
        let worker = match destination(&link.greeting, &self.shared) {
            Destination::Incomplete => return,
            Destination::Here => panic!("a good CONNECT belongs nowhere"),
            Destination::Worker(worker) => worker,
        };
        let greeting = std::mem::take(&mut link.greeting);
        let deadline = now.after_seconds(CONNECT_SECONDS);
        let id = self.workers[worker].accepted(Peer::default(), deadline, now);
        let places = &mut self.places[worker];
        if places.len() <= id.index() {
            places.resize(id.index() + 1, None);
        }
        assert!(places[id.index()].is_none(), "{id:?} is in use");
        places[id.index()] = Some((id, index));
        link.place = Some((worker, id));
        note!(self.scene, "link {index} is {id:?} of worker {worker}");
        self.workers[worker].received(id, &greeting, now);
        self.carry_out(worker, Some(index));
    }

    /// Output goes on its way as far as there is room, and what has arrived to the client.
    pub(super) fn carry_down(&mut self, index: usize) {
        if self.links[index].stalled {
            return;
        }
        self.write_down(index);
        self.close_down(index);
        self.read_down(index);
    }

    fn write_down(&mut self, index: usize) {
        let link = &mut self.links[index];
        let Some((worker, id)) = link.place.filter(|_| link.pending && !link.broker_gone) else {
            return;
        };
        let Some(outbox) = self.workers[worker].outbox(id) else {
            panic!("{id:?} of worker {worker} has no outbox");
        };
        let random = &mut self.scene.random;
        let mut room = link.capacity.saturating_sub(link.down.len());
        if random.chance(20) {
            room = random.below(room + 1);
        }
        let mut slices = [IoSlice::new(&[]); 5];
        let filled = outbox.chunks(&mut slices);
        let mut bytes = Vec::new();
        for slice in &slices[..filled] {
            let n = slice.len().min(room - bytes.len());
            bytes.extend_from_slice(&slice[..n]);
        }
        let n = bytes.len();
        outbox.advance(n);
        link.pending = !outbox.is_spent();
        let longest = if link.client == 0 {
            0
        } else {
            self.plan.delay_micros
        };
        let due = self.scene.now.0 + random.between(0, longest);
        if !link.ends_down && !link.client_gone {
            link.down.push(bytes, Time(due));
        }
        let room_again = n > 0 || random.chance(5);
        if room_again {
            self.workers[worker].written(id, n, self.scene.now);
            self.carry_out(worker, None);
        }
    }

    /// The broker closes: with everything written, or when it has waited long enough.
    fn close_down(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.closing || link.broker_gone {
            return;
        }
        let patient = self.resting || !self.scene.random.chance(10);
        if link.pending && patient && !link.ends_down {
            return;
        }
        link.broker_gone = true;
        link.ends_down = true;
        if let Some((worker, id)) = link.place {
            note!(self.scene, "link {index} is closed by the broker");
            self.workers[worker].closed(id, self.scene.now);
            self.places[worker][id.index()] = None;
            self.carry_out(worker, None);
        }
    }

    fn read_down(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.client_gone {
            return;
        }
        let client = &mut self.clients[link.client];
        if !self.scene.random.chance(client.habits.reads) {
            return;
        }
        let bytes = link.down.take(self.scene.now, usize::MAX / 2);
        let over = link.ends_down && link.down.len() == 0;
        if !bytes.is_empty() {
            let window = usize::from(self.plan.options.limits.max_inflight_messages);
            client.receive(&bytes, window, &mut self.scene);
        }
        if over || client.hangs_up {
            note!(self.scene, "link {index} is over for {}", client.name);
            link.abandon();
            client.disconnected(&mut self.scene);
        }
    }

    /// Batches between workers: in order for each pair, at any pace.
    pub(super) fn carry_parcels(&mut self) {
        let workers = self.workers.len();
        let mut order: Vec<usize> = (0..self.parcels.len()).collect();
        self.scene.random.shuffle(&mut order);
        for pair in order {
            let now = self.scene.now;
            let is_due = |&(due, _): &(Time, Batch)| due <= now;
            while self.parcels[pair].front().is_some_and(is_due) {
                let Some((_, batch)) = self.parcels[pair].pop_front() else {
                    break;
                };
                let to = pair % workers;
                note!(self.scene, "a batch of worker {} for {to}", pair / workers);
                self.workers[to].delivered(batch, now);
                self.carry_out(to, None);
            }
        }
    }

    /// What a worker has recorded goes to the disk, behind all that is on its way there.
    pub(super) fn keep_records(&mut self, worker: usize) {
        let Some((number, records)) = self.workers[worker].take_records() else {
            return;
        };
        let longest = self.plan.commit_micros.unwrap_or(0);
        let due = Time(self.scene.now.0 + self.scene.random.between(0, longest));
        let last = self.commits.back().map_or(due, |each| each.0.max(due));
        self.commits.push_back((last, worker, number, records));
    }

    /// Workers hear of what has come onto the disk.
    pub(super) fn commit(&mut self) {
        let now = self.scene.now;
        let is_due = |each: &Commit| each.0 <= now;
        while self.commits.front().is_some_and(is_due) {
            let Some((_, worker, number, records)) = self.commits.pop_front() else {
                return;
            };
            self.disk.apply(&records);
            note!(self.scene, "batch {number} of worker {worker} is on disk");
            self.workers[worker].committed(number, self.scene.now);
            self.carry_out(worker, None);
        }
    }

    /// What workers want back is read, as it lies on the disk now.
    pub(super) fn read_back(&mut self) {
        let now = self.scene.now;
        let (due, later): (Vec<Reading>, Vec<Reading>) = std::mem::take(&mut self.readings)
            .into_iter()
            .partition(|reading| reading.0 <= now);
        self.readings = later;
        for (_, worker, request) in due {
            let values = self.disk.read(&request);
            note!(self.scene, "worker {worker} gets back {request:?}");
            self.workers[worker].queue_read(*request, values, now);
            self.carry_out(worker, None);
        }
    }

    /// Batches a worker has filled are sent off.
    pub(super) fn send_batches(&mut self, from: usize) {
        let (now, workers) = (self.scene.now, self.plan.workers);
        let longest = self.plan.batch_micros;
        let (random, parcels) = (&mut self.scene.random, &mut self.parcels);
        self.workers[from].take_batches(|to, batch| {
            let pair = &mut parcels[from * workers + to];
            let due = Time(now.0 + random.between(0, longest));
            let last = pair.back().map_or(due, |&(last, _)| last.max(due));
            pair.push_back((last, batch));
        });
    }

    /// Time passes for the workers; now and then one is late.
    pub(super) fn tick(&mut self) {
        for worker in 0..self.workers.len() {
            let due = self.workers[worker].next_timeout();
            let is_due = due.is_some_and(|due| due <= self.scene.now);
            let late = self.scene.random.chance(15);
            if (is_due && !late) || self.scene.random.chance(2) {
                self.workers[worker].tick(self.scene.now);
                self.carry_out(worker, None);
            }
        }
    }

    pub(super) fn answer_questions(&mut self) {
        let now = self.scene.now;
        let questions = std::mem::take(&mut self.questions);
        let (due, later): (Vec<Question>, Vec<Question>) = questions
            .into_iter()
            .partition(|question| question.0 <= now);
        self.questions = later;
        for (_, worker, id) in due {
            let place = self.places[worker].get(id.index()).copied().flatten();
            let link = place
                .filter(|&(known, _)| known == id)
                .map(|(_, link)| link);
            let decision = Decision::Accept {
                user: None,
                data: None,
                permissions: None,
                keep_alive_seconds: None,
                session_expiry_seconds: None,
            };
            self.workers[worker].answered(id, decision, now);
            self.carry_out(worker, link);
        }
    }
}
