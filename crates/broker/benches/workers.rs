//! What a message costs when it goes from one worker to another, by the number of workers.
//!
//! All workers run in turn on one thread, each with one publisher and one subscriber, and
//! every message crosses to the next worker (with one worker it stays). What is measured is
//! the work that is done for a message on all workers together: where it does not grow with
//! their number, n cores do n times the work of one, as far as the memory between them goes.

use std::hint::black_box;
use std::io::IoSlice;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use noctule_broker::{ConnectionId, Options, Peer, Shared, Time, Worker};
use noctule_packets::{Connect, Properties, Publish, QoS, Subscribe, SubscriptionRequest, Version};

/// Messages a publisher sends in one read.
const BURST: usize = 64;
const VERSION: Version = Version::V4;

struct House {
    workers: Vec<Worker>,
    publishers: Vec<ConnectionId>,
    bursts: Vec<Vec<u8>>,
    /// What sockets took.
    taken: usize,
    now: Time,
}

impl House {
    fn new(count: usize) -> House {
        let mut options = Options::default();
        options.system_topics_interval_seconds.0 = 0;
        let shared = Shared::new(options, count, 1);
        let name_on = |worker: usize, stem: &str| {
            let names = (0..).map(|number| format!("{stem}{number}"));
            let mut fitting = names.filter(|name| shared.worker_of(name) == worker);
            fitting.next().expect("there are names for every worker")
        };
        let mut house = House {
            workers: (0..count)
                .map(|index| Worker::new(index, shared.clone()))
                .collect(),
            publishers: Vec::new(),
            bursts: Vec::new(),
            taken: 0,
            now: Time(1),
        };
        for worker in 0..count {
            let id = house.connect(worker, &name_on(worker, "subscriber"));
            house.subscribe(worker, id);
            let id = house.connect(worker, &name_on(worker, "publisher"));
            house.publishers.push(id);
            house.bursts.push(burst((worker + 1) % count));
        }
        house.settle();
        house
    }

    fn connect(&mut self, worker: usize, name: &str) -> ConnectionId {
        let worker = &mut self.workers[worker];
        let id = worker.accepted(Peer::default(), Time::NEVER, self.now);
        let connect = Connect {
            version: VERSION,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_identifier: name,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        worker.received(id, &bytes, self.now);
        id
    }

    /// To the topic of its own worker.
    fn subscribe(&mut self, worker: usize, id: ConnectionId) {
        let mut request = Vec::new();
        SubscriptionRequest {
            filter: &format!("bench/{worker}"),
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        }
        .encode(VERSION, &mut request);
        let packet = Subscribe::new(VERSION, 1, Properties::EMPTY, &request);
        let mut bytes = Vec::new();
        packet
            .expect("a valid SUBSCRIBE")
            .encode(VERSION, &mut bytes);
        self.workers[worker].received(id, &bytes, self.now);
    }

    /// A burst of every publisher, until all of it is written; returns the bytes.
    fn round(&mut self) -> usize {
        self.taken = 0;
        self.now.0 += 1;
        for worker in 0..self.workers.len() {
            let id = self.publishers[worker];
            self.workers[worker].received(id, &self.bursts[worker], self.now);
        }
        self.settle();
        self.taken
    }

    fn settle(&mut self) {
        let mut batches = Vec::new();
        loop {
            for worker in &mut self.workers {
                while let Some(effect) = worker.next_effect() {
                    black_box(effect);
                }
                worker.take_batches(|to, batch| batches.push((to, batch)));
            }
            if batches.is_empty() {
                break;
            }
            for (to, batch) in batches.drain(..) {
                self.workers[to].delivered(batch, self.now);
            }
        }
        for index in 0..self.workers.len() {
            while let Some(id) = self.workers[index].next_dirty() {
                self.taken += take(&mut self.workers[index], id, self.now);
            }
        }
    }
}

/// What a socket does: takes all there is.
fn take(worker: &mut Worker, id: ConnectionId, now: Time) -> usize {
    let Some(outbox) = worker.outbox(id) else {
        return 0;
    };
    let count = outbox.len();
    let mut slices = [IoSlice::new(&[]); 4];
    black_box(outbox.chunks(&mut slices));
    outbox.advance(count);
    worker.written(id, count, now);
    count
}

fn burst(worker: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &format!("bench/{worker}"),
        packet_identifier: 0,
        properties: Properties::EMPTY,
        payload: &[b'x'; 64],
    };
    for _ in 0..BURST {
        publish.encode(VERSION, &mut bytes);
    }
    bytes
}

fn workers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("workers");
    for count in [1, 2, 4, 8, 16] {
        let mut house = House::new(count);
        let sent: usize = house.bursts.iter().map(Vec::len).sum();
        assert_eq!(house.round(), sent, "every message is passed on as it came");
        group.throughput(Throughput::Elements((count * BURST) as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| house.round());
        });
    }
    group.finish();
}

criterion_group!(benches, workers);
criterion_main!(benches);
