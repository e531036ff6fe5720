//! A fixed amount of work for the broker's state machine, in memory: what
//! `make instructions` counts the instructions of.
//!
//! `fixed_work WORKLOAD MESSAGES`: publishes so many messages, carries every handshake to
//! its end, and fails (exit code 1) unless every delivery came. No socket, no clock and no
//! randomness are in it, so that two runs of one build differ by next to nothing; the
//! work of twice the messages less that of once is that of the messages alone.

use std::io::IoSlice;
use std::process::ExitCode;
use std::sync::Arc;

use noctule_broker::{ConnectionId, Options, Peer, Shared, Time, Worker};
use noctule_packets::{
    Acknowledgement, Connect, FixedHeader, PacketType, Properties, Publish, QoS, Subscribe,
    SubscriptionRequest, Version,
};

/// Messages of each publisher that the broker gets in one piece, as a read of a busy
/// socket brings many.
const BURST: usize = 64;
const SEED: u64 = 1;
const DEADLINE: Time = Time(u64::MAX / 2);

/// The shape of the traffic.
struct Workload {
    name: &'static str,
    version: Version,
    qos: QoS,
    publishers: usize,
    subscribers: usize,
    topics: usize,
    payload: usize,
    retain: bool,
    /// Publishers live on the first, subscribers on the last.
    workers: usize,
}

const DEFAULT: Workload = Workload {
    name: "",
    version: Version::V4,
    qos: QoS::AtMostOnce,
    publishers: 10,
    subscribers: 10,
    topics: 10,
    payload: 64,
    retain: false,
    workers: 1,
};

const WORKLOADS: [Workload; 12] = [
    Workload {
        name: "qos0",
        ..DEFAULT
    },
    Workload {
        name: "qos0-v5",
        version: Version::V5,
        ..DEFAULT
    },
    Workload {
        name: "qos1",
        qos: QoS::AtLeastOnce,
        ..DEFAULT
    },
    Workload {
        name: "qos1-v5",
        version: Version::V5,
        qos: QoS::AtLeastOnce,
        ..DEFAULT
    },
    Workload {
        name: "qos2",
        qos: QoS::ExactlyOnce,
        ..DEFAULT
    },
    Workload {
        name: "fan-out-qos0",
        publishers: 1,
        subscribers: 100,
        topics: 1,
        ..DEFAULT
    },
    Workload {
        name: "fan-out-qos1",
        publishers: 1,
        subscribers: 100,
        topics: 1,
        qos: QoS::AtLeastOnce,
        ..DEFAULT
    },
    Workload {
        name: "mixed-qos0",
        topics: 1_000,
        ..DEFAULT
    },
    Workload {
        name: "mixed-qos1",
        topics: 1_000,
        qos: QoS::AtLeastOnce,
        ..DEFAULT
    },
    Workload {
        name: "crossing-qos0",
        workers: 2,
        ..DEFAULT
    },
    Workload {
        name: "crossing-mixed-qos1",
        topics: 1_000,
        qos: QoS::AtLeastOnce,
        workers: 2,
        ..DEFAULT
    },
    Workload {
        name: "retained",
        topics: 1_000,
        subscribers: 0,
        retain: true,
        ..DEFAULT
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(messages)) = (arguments.next(), arguments.next()) else {
        for workload in &WORKLOADS {
            println!("{}", workload.name);
        }
        return ExitCode::SUCCESS;
    };
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    let (Some(workload), Ok(messages)) = (workload, messages.parse()) else {
        eprintln!("no such workload, or no number: {name} {messages}");
        return ExitCode::from(2);
    };
    let mut bench = Bench::new(workload);
    let burst = BURST * workload.publishers;
    for first in (0..messages).step_by(burst) {
        for number in first..messages.min(first + burst) {
            bench.publish(number);
        }
        bench.send_bursts();
        bench.settle();
    }
    let wanted = bench.deliveries(messages);
    if bench.received != wanted {
        eprintln!("{} deliveries of {wanted}", bench.received);
        return ExitCode::FAILURE;
    }
    println!("{} deliveries", bench.received);
    ExitCode::SUCCESS
}

/// A broker and its clients.
struct Bench {
    workload: &'static Workload,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// The publishers, then the subscribers.
    clients: Vec<ConnectionId>,
    topics: Vec<String>,
    identifiers: Vec<u16>,
    /// What each publisher is about to send.
    bursts: Vec<Vec<u8>>,
    now: Time,
    out: Vec<u8>,
    incoming: Vec<u8>,
    received: usize,
}

impl Bench {
    fn new(workload: &'static Workload) -> Bench {
        let count = workload.workers;
        let shared: Arc<Shared> = Shared::new(Options::default(), count, SEED);
        let mut bench = Bench {
            workload,
            workers: (0..count)
                .map(|index| Worker::new(index, shared.clone()))
                .collect(),
            shared,
            clients: Vec::new(),
            topics: (0..workload.topics)
                .map(|topic| format!("load/{topic}"))
                .collect(),
            identifiers: vec![0; workload.publishers],
            bursts: vec![Vec::new(); workload.publishers],
            now: Time(1),
            out: Vec::new(),
            incoming: Vec::new(),
            received: 0,
        };
        for number in 0..workload.publishers + workload.subscribers {
            bench.connect(number);
        }
        bench.settle();
        for subscriber in 0..workload.subscribers {
            bench.subscribe(subscriber);
        }
        bench.settle();
        bench
    }

    fn connect(&mut self, number: usize) {
        let home = match number < self.workload.publishers {
            true => 0,
            false => self.workload.workers - 1,
        };
        let mut names = (number..)
            .step_by(1_000)
            .map(|name| format!("client-{name}"));
        let name = names.find(|name| self.shared.worker_of(name) == home);
        let name = name.expect("there are names for every worker");
        let worker = &mut self.workers[home];
        let id = worker.accepted(Peer::default(), DEADLINE, self.now);
        self.clients.push(id);
        let connect = Connect {
            version: self.workload.version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_identifier: &name,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        };
        self.out.clear();
        connect.encode(&mut self.out);
        worker.received(id, &self.out, self.now);
    }

    /// Subscriber j takes topic j modulo the topics, or, where they outnumber the
    /// subscribers, its share of them.
    fn subscribe(&mut self, subscriber: usize) {
        let Workload {
            version,
            subscribers,
            topics,
            publishers,
            qos,
            ..
        } = *self.workload;
        let step = subscribers.max(1);
        let mut requests = Vec::new();
        let share: Vec<usize> = if topics > subscribers {
            (subscriber..topics).step_by(step).collect()
        } else {
            vec![subscriber % topics]
        };
        for topic in share {
            let request = SubscriptionRequest {
                filter: &self.topics[topic],
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
            };
            request.encode(version, &mut requests);
        }
        let subscribe = Subscribe::new(version, 1, Properties::EMPTY, &requests);
        let subscribe = subscribe.expect("filters of our own making");
        let id = self.clients[publishers + subscriber];
        self.out.clear();
        subscribe.encode(version, &mut self.out);
        self.workers[self.workload.workers - 1].received(id, &self.out, self.now);
    }

    fn publish(&mut self, number: usize) {
        let workload = self.workload;
        let publisher = number % workload.publishers;
        let identifier = match workload.qos {
            QoS::AtMostOnce => 0,
            _ => {
                let identifier = &mut self.identifiers[publisher];
                *identifier = identifier.wrapping_add(1).max(1);
                *identifier
            }
        };
        let payload = [b'x'; 256];
        let publish = Publish {
            dup: false,
            qos: workload.qos,
            retain: workload.retain,
            topic: &self.topics[topic_of(number, workload.topics)],
            packet_identifier: identifier,
            properties: Properties::EMPTY,
            payload: &payload[..workload.payload],
        };
        publish.encode(workload.version, &mut self.bursts[publisher]);
    }

    fn send_bursts(&mut self) {
        for (id, burst) in self.clients.iter().zip(&mut self.bursts) {
            self.workers[0].received(*id, burst, self.now);
            burst.clear();
        }
    }

    /// Deliveries that so many messages make.
    fn deliveries(&self, messages: usize) -> usize {
        let Workload {
            topics,
            subscribers,
            ..
        } = *self.workload;
        let fan_out = |topic: usize| match topics > subscribers {
            true => subscribers.min(1),
            false => (0..subscribers)
                .filter(|each| each % topics == topic)
                .count(),
        };
        (0..messages)
            .map(|number| fan_out(topic_of(number, topics)))
            .sum()
    }

    /// Takes what the broker writes and answers it, until it is silent.
    fn settle(&mut self) {
        self.now = Time(self.now.0 + 100);
        let mut batches = Vec::new();
        for from in (0..self.workers.len()).cycle() {
            self.workers[from].tick(self.now);
            while let Some(id) = self.workers[from].next_dirty() {
                self.take(from, id);
                self.answer(from, id);
            }
            while self.workers[from].next_effect().is_some() {}
            self.workers[from].take_batches(|to, batch| batches.push((to, batch)));
            if batches.is_empty() && from + 1 == self.workers.len() {
                break;
            }
            for (to, batch) in batches.drain(..) {
                self.workers[to].delivered(batch, self.now);
            }
        }
    }

    /// Empties an outbox into `incoming`.
    fn take(&mut self, worker: usize, id: ConnectionId) {
        let worker = &mut self.workers[worker];
        self.incoming.clear();
        let mut taken = 0;
        if let Some(outbox) = worker.outbox(id) {
            while !outbox.is_empty() {
                let mut chunks = [IoSlice::new(&[]); 16];
                let count = outbox.chunks(&mut chunks);
                let before = self.incoming.len();
                for chunk in &chunks[..count] {
                    self.incoming.extend_from_slice(chunk);
                }
                let len = self.incoming.len() - before;
                outbox.advance(len);
                taken += len;
            }
        }
        worker.written(id, taken, self.now);
    }

    /// Acknowledges what has come.
    fn answer(&mut self, worker: usize, id: ConnectionId) {
        let incoming = std::mem::take(&mut self.incoming);
        self.out.clear();
        let mut rest = &incoming[..];
        while let Ok(Some(header)) = FixedHeader::decode(rest) {
            let (packet, more) = rest.split_at(header.total());
            self.answer_one(header, &packet[header.header_len..]);
            rest = more;
        }
        self.workers[worker].received(id, &self.out, self.now);
        self.incoming = incoming;
    }

    fn answer_one(&mut self, header: FixedHeader, body: &[u8]) {
        let acknowledgement = |at: usize| {
            let bytes = [body[at], body[at + 1]];
            Acknowledgement::success(u16::from_be_bytes(bytes))
        };
        let (kind, packet) = match PacketType::from_u8(header.packet_type()) {
            Some(PacketType::Publish) => {
                self.received += 1;
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                match header.flags() >> 1 & 3 {
                    0 => return,
                    1 => (PacketType::Puback, acknowledgement(2 + topic)),
                    _ => (PacketType::Pubrec, acknowledgement(2 + topic)),
                }
            }
            Some(PacketType::Pubrec) => (PacketType::Pubrel, acknowledgement(0)),
            Some(PacketType::Pubrel) => (PacketType::Pubcomp, acknowledgement(0)),
            _ => return,
        };
        packet.encode(kind, self.workload.version, &mut self.out);
    }
}

/// Topics in an order that is not that of their numbers.
fn topic_of(number: usize, topics: usize) -> usize {
    (number * 7_919) % topics
}
