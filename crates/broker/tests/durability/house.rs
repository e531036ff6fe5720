//! A durable broker in memory: workers, and a disk that commits when a test says so.

use std::ops::{Deref, DerefMut};

use noctule_broker::{Options, Records, Restorer, Shared, StoreState, Time, Worker};
use noctule_packets::{Packet, PacketType, Properties, Publish, QoS, Unsubscribe, Version};

use crate::disk::Disk;
use crate::rig::{Got, Hello, Peerage, Rig};

/// Milliseconds since 1970 when the first broker of a test begins.
const BEGINNING: u64 = 1_700_000_000_000;

pub struct House {
    pub rig: Rig,
    pub disk: Disk,
    /// Records a worker made that are not on the disk.
    waiting: Vec<(usize, u64, Records)>,
    /// Of the next start.
    pub options: Options,
    /// Wall-clock milliseconds at the rig's time 0.
    wall: u64,
    starts: u64,
    /// Records the last start could not read.
    pub unreadable: u64,
}

impl House {
    pub fn new(workers: usize) -> House {
        House::with(workers, |_| {})
    }

    pub fn with(workers: usize, set: impl FnOnce(&mut Options)) -> House {
        let mut options = Options::default();
        options.system_topics_interval_seconds.0 = 0;
        set(&mut options);
        let mut house = House {
            rig: Rig::on(Shared::new(options.clone(), 1, 7), 1),
            disk: Disk::default(),
            waiting: Vec::new(),
            options,
            wall: BEGINNING,
            starts: 0,
            unreadable: 0,
        };
        house.start(workers);
        house
    }

    /// Wall-clock milliseconds now.
    fn now(&self) -> u64 {
        self.wall + self.rig.now.0 / 1_000
    }

    /// The broker is gone, with all that is not committed, and begins anew `seconds`
    /// later, perhaps by a clock that was set.
    pub fn crash_for(&mut self, workers: usize, seconds: i64) {
        self.waiting.clear();
        self.rig.submitted.clear();
        self.wall = self.now().saturating_add_signed(seconds * 1_000);
        self.start(workers);
    }

    pub fn crash(&mut self) {
        let workers = self.rig.workers.len();
        self.crash_for(workers, 0);
    }

    fn start(&mut self, workers: usize) {
        self.starts += 1;
        let shared = Shared::durable(self.options.clone(), workers, self.starts, self.wall);
        let mut restorer = Restorer::new(shared.clone());
        self.disk.restore(&mut restorer);
        let restored = restorer.finish();
        self.unreadable = restored.unreadable;
        self.rig = Rig::on(shared, workers);
        self.rig.now = Time(1_000);
        let now = self.rig.now;
        let wall = self.now();
        for (worker, sessions) in self.rig.workers.iter_mut().zip(restored.sessions) {
            worker.restore(sessions, wall, now);
        }
        for worker in &mut self.rig.workers {
            worker.tick(now);
        }
        self.rig.run();
    }

    /// Everything recorded comes onto the disk, and the workers hear of it.
    pub fn commit(&mut self) {
        loop {
            self.rig.run();
            self.waiting.append(&mut self.rig.submitted);
            if self.waiting.is_empty() && self.rig.readings.is_empty() {
                return;
            }
            for (worker, number, records) in std::mem::take(&mut self.waiting) {
                self.disk.apply(&records);
                let now = self.rig.now;
                self.rig.workers[worker].committed(number, now);
            }
            self.read_back();
        }
    }

    /// What workers want back from the disk comes.
    pub fn read_back(&mut self) {
        for (worker, request) in std::mem::take(&mut self.rig.readings) {
            let values = self.disk.read(&request);
            let now = self.rig.now;
            self.rig.workers[worker].queue_read(request, values, now);
        }
    }

    /// Onto the disk it comes, but the broker is gone before it hears of it.
    pub fn commit_unheard(&mut self) {
        self.rig.run();
        for (_, _, records) in std::mem::take(&mut self.rig.submitted) {
            self.disk.apply(&records);
        }
    }

    /// As [`House::commit_unheard`], with the workers' records in the other order.
    pub fn commit_backwards(&mut self) {
        self.rig.run();
        for (_, _, records) in std::mem::take(&mut self.rig.submitted).into_iter().rev() {
            self.disk.apply(&records);
        }
    }

    pub fn set_store(&mut self, state: StoreState) {
        for worker in &mut self.rig.workers {
            Worker::set_store_state(worker, state, self.rig.now);
        }
    }

    /// Connects and commits; the CONNACK is taken, and nothing comes with it.
    pub fn enter(&mut self, name: &str, hello: Hello<'_>) -> Peerage {
        let (peer, _, rest) = self.come_back(name, hello);
        assert_eq!(rest, []);
        peer
    }

    /// Connects and commits; says whether a session was present, and what came then.
    pub fn come_back(&mut self, name: &str, hello: Hello<'_>) -> (Peerage, bool, Vec<Got>) {
        let peer = self.rig.knock(name, hello);
        self.commit();
        let mut got = self.rig.take(peer);
        let Some(&Got::Connack { present, reason: 0 }) = got.first() else {
            panic!("{name} was not accepted: {got:?}");
        };
        got.remove(0);
        self.commit();
        got.append(&mut self.rig.take(peer));
        (peer, present, got)
    }

    /// A client that keeps its session, subscribed.
    pub fn subscriber(&mut self, name: &str, filter: &str, qos: QoS) -> Peerage {
        let peer = self.enter(name, Hello::kept());
        self.rig.subscribe(peer, filter, qos);
        self.commit();
        assert_eq!(self.rig.take(peer), [Got::Suback(vec![qos as u8])]);
        peer
    }

    /// A message once more, under the identifier it had.
    pub fn publish_again(&mut self, peer: Peerage, identifier: u16, topic: &str, payload: &str) {
        let publish = Publish {
            dup: true,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic,
            packet_identifier: identifier,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        self.rig.send(peer, &Packet::Publish(publish));
    }

    /// A message of QoS 1 under identifier 1.
    pub fn publish_first(&mut self, peer: Peerage, topic: &str) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_identifier: 1,
            properties: Properties::EMPTY,
            payload: b"",
        };
        self.rig.send(peer, &Packet::Publish(publish));
    }

    /// A message of QoS 1 that is recorded, and comes to other workers, only when
    /// `meanwhile` is done.
    pub fn publish_while(
        &mut self,
        peer: Peerage,
        topic: &str,
        meanwhile: impl FnOnce(&mut House),
    ) {
        let mut bytes = Vec::new();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_identifier: 1,
            properties: Properties::EMPTY,
            payload: b"",
        };
        Packet::Publish(publish).encode(Version::V5, &mut bytes);
        let now = self.rig.now;
        let worker = &mut self.rig.workers[peer.worker];
        worker.received(peer.id, &bytes, now);
        let mut under_way = Vec::new();
        let records = worker.take_records();
        worker.take_batches(|to, batch| under_way.push((to, batch)));
        meanwhile(self);
        if let Some((number, records)) = records {
            self.rig.submitted.push((peer.worker, number, records));
        }
        for (to, batch) in under_way {
            self.rig.workers[to].delivered(batch, now);
        }
        self.rig.run();
    }

    /// PUBREL for every identifier a test can have used.
    pub fn release_all(&mut self, peer: Peerage) {
        for identifier in 1..=100 {
            self.acknowledge(peer, PacketType::Pubrel, identifier);
        }
        self.commit();
    }

    /// Unsubscribes; the UNSUBACK is left to be taken.
    pub fn unsubscribe(&mut self, peer: Peerage, filter: &str) {
        let mut filters = (filter.len() as u16).to_be_bytes().to_vec();
        filters.extend_from_slice(filter.as_bytes());
        let packet = Unsubscribe::new(60_000, Properties::EMPTY, &filters);
        let packet = packet.expect("a valid UNSUBSCRIBE");
        self.rig.send(peer, &Packet::Unsubscribe(packet));
    }

    /// Takes what there is for a client and answers every message to its end; the
    /// payloads in their order.
    pub fn receive(&mut self, peer: Peerage) -> Vec<String> {
        let mut payloads = Vec::new();
        loop {
            self.commit();
            let got = self.rig.take(peer);
            if got.is_empty() {
                return payloads;
            }
            for each in got {
                self.answer(peer, each, &mut payloads);
            }
        }
    }

    pub fn answer(&mut self, peer: Peerage, got: Got, payloads: &mut Vec<String>) {
        match got {
            Got::Publish(message) => {
                match message.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => {
                        self.acknowledge(peer, PacketType::Puback, message.identifier);
                    }
                    QoS::ExactlyOnce => {
                        self.acknowledge(peer, PacketType::Pubrec, message.identifier);
                    }
                }
                payloads.push(message.payload);
            }
            Got::Ack(PacketType::Pubrel, identifier, _) => {
                self.acknowledge(peer, PacketType::Pubcomp, identifier);
            }
            other => panic!("{other:?} is not a delivery"),
        }
    }
}

impl Deref for House {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for House {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}
