//! What a message costs the worker: in memory, acknowledgements fed back.
//!
//! Every figure is time for each message delivered: criterion's throughput in
//! elements. Nothing but the worker and the least a client must do is measured.

use std::hint::black_box;
use std::io::IoSlice;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use noctule_broker::{ConnectionId, Options, Peer, Shared, Time, Worker};
use noctule_packets::{
    Connect, FixedHeader, Properties, Publish, QoS, Subscribe, SubscriptionRequest, Version,
};

/// Messages each publisher sends in one read.
const BURST: usize = 50;
const VERSION: Version = Version::V4;

/// Who speaks with whom, and about what.
struct Case<'a> {
    name: &'static str,
    publishers: usize,
    subscribers: usize,
    qos: QoS,
    /// Published to in turn.
    topics: &'a [String],
    /// Bytes of the payloads, in turn.
    payloads: &'a [usize],
}

impl Case<'_> {
    /// Messages of one publisher in one turn: so many that each topic comes.
    fn burst(&self) -> usize {
        BURST.max(self.topics.len())
    }
}

/// A worker with publishers and subscribers, and what the publishers send.
struct Scenario {
    worker: Worker,
    publishers: Vec<ConnectionId>,
    /// What a publisher reads out in one turn, by publisher.
    bursts: Vec<Vec<u8>>,
    /// QoS 2: the PUBREL packets of a burst.
    releases: Vec<u8>,
    delivered: usize,
    scratch: Vec<u8>,
    answers: Vec<u8>,
    now: Time,
}

impl Scenario {
    fn new(case: &Case<'_>) -> Scenario {
        let mut options = Options::default();
        options.system_topics_interval_seconds.0 = 0;
        let shared = Shared::new(options, 1, 1);
        let mut scenario = Scenario {
            worker: Worker::new(0, shared),
            publishers: Vec::new(),
            bursts: Vec::new(),
            releases: Vec::new(),
            delivered: 0,
            scratch: Vec::new(),
            answers: Vec::new(),
            now: Time(1),
        };
        for number in 0..case.subscribers {
            let id = scenario.connect(&format!("subscriber {number}"));
            scenario.subscribe(id, case.qos);
        }
        for number in 0..case.publishers {
            let id = scenario.connect(&format!("publisher {number}"));
            scenario.publishers.push(id);
            scenario.bursts.push(burst(case, number));
        }
        for identifier in 1..=BURST as u16 {
            scenario.releases.extend_from_slice(&[0x62, 2]);
            scenario
                .releases
                .extend_from_slice(&identifier.to_be_bytes());
        }
        scenario.settle();
        scenario.delivered = 0;
        scenario
    }

    fn connect(&mut self, name: &str) -> ConnectionId {
        let id = self.worker.accepted(Peer::default(), Time::NEVER, self.now);
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
        self.worker.received(id, &bytes, self.now);
        id
    }

    fn subscribe(&mut self, id: ConnectionId, qos: QoS) {
        let mut request = Vec::new();
        SubscriptionRequest {
            filter: "bench/#",
            qos,
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
        self.worker.received(id, &bytes, self.now);
    }

    /// One burst of every publisher, until everything is delivered and acknowledged.
    /// Returns the messages delivered.
    fn round(&mut self, qos: QoS) -> usize {
        self.delivered = 0;
        for place in 0..self.publishers.len() {
            let id = self.publishers[place];
            self.now.0 += 10;
            self.worker.received(id, &self.bursts[place], self.now);
            if qos == QoS::ExactlyOnce {
                self.worker.received(id, &self.releases, self.now);
            }
            self.settle();
        }
        self.delivered
    }

    /// Takes output, and answers it, until there is none.
    fn settle(&mut self) {
        while let Some(effect) = self.worker.next_effect() {
            black_box(effect);
        }
        while let Some(id) = self.worker.next_dirty() {
            self.take(id);
            self.answer(id);
        }
    }

    /// What a socket does: takes all there is.
    fn take(&mut self, id: ConnectionId) {
        self.scratch.clear();
        let Some(outbox) = self.worker.outbox(id) else {
            return;
        };
        let n = outbox.len();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = outbox.chunks(&mut slices);
            let before = self.scratch.len();
            for slice in &slices[..filled] {
                self.scratch.extend_from_slice(slice);
            }
            outbox.advance(self.scratch.len() - before);
        }
        self.worker.written(id, n, self.now);
    }

    /// What a client must: counts messages, and acknowledges them.
    fn answer(&mut self, id: ConnectionId) {
        self.answers.clear();
        let mut rest = &self.scratch[..];
        while let Ok(Some(header)) = FixedHeader::decode(rest) {
            let body = &rest[header.header_len..header.total()];
            let qos = header.first >> 1 & 3;
            let kind = header.packet_type();
            if kind == 3 {
                self.delivered += 1;
            }
            let answer = match kind {
                3 if qos != 0 => {
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let first = if qos == 1 { 0x40 } else { 0x50 };
                    Some((first, [body[2 + topic], body[3 + topic]]))
                }
                // PUBREL is answered with PUBCOMP; PUBREC was, ahead of time.
                6 => Some((0x70, [body[0], body[1]])),
                _ => None,
            };
            if let Some((first, identifier)) = answer {
                self.answers
                    .extend_from_slice(&[first, 2, identifier[0], identifier[1]]);
            }
            rest = &rest[header.total()..];
        }
        if !self.answers.is_empty() {
            self.worker.received(id, &self.answers, self.now);
        }
    }
}

fn burst(case: &Case<'_>, offset: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..case.burst() {
        let payload = vec![b'x'; case.payloads[number % case.payloads.len()]];
        let publish = Publish {
            dup: false,
            qos: case.qos,
            retain: false,
            topic: &case.topics[(number + offset) % case.topics.len()],
            packet_identifier: number as u16 + 1,
            properties: Properties::EMPTY,
            payload: &payload,
        };
        publish.encode(VERSION, &mut bytes);
    }
    bytes
}

fn sessions(criterion: &mut Criterion) {
    let one = ["bench/topic".to_owned()];
    let many: Vec<String> = (0..1_000)
        .map(|number| format!("bench/{}/{number}", number % 10))
        .collect();
    let mixed = [16, 64, 64, 256, 64, 1_024, 64, 64, 4_096, 16_384];
    let case = |name, publishers, subscribers, qos| Case {
        name,
        publishers,
        subscribers,
        qos,
        topics: &one,
        payloads: &[64],
    };
    let cases = [
        case("1 to 1, QoS 0", 1, 1, QoS::AtMostOnce),
        case("1 to 100, QoS 0", 1, 100, QoS::AtMostOnce),
        case("10 to 10, QoS 1", 10, 10, QoS::AtLeastOnce),
        case("10 to 10, QoS 2", 10, 10, QoS::ExactlyOnce),
        Case {
            topics: &many,
            payloads: &mixed,
            ..case("1,000 topics, mixed sizes", 1, 1, QoS::AtMostOnce)
        },
    ];
    let mut group = criterion.benchmark_group("session");
    for case in cases {
        let mut scenario = Scenario::new(&case);
        let messages = scenario.round(case.qos);
        let expected = case.publishers * case.subscribers * case.burst();
        assert_eq!(messages, expected, "{}", case.name);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
            bencher.iter(|| scenario.round(case.qos));
        });
    }
    group.finish();
}

criterion_group!(benches, sessions);
criterion_main!(benches);
