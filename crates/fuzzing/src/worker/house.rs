//! Two workers and the clients at their doors.

use std::io::IoSlice;
use std::sync::Arc;

use noctule_broker::{
    ConnectionId, Decision, Effect, Options, Peer, QueueFull, Shared, SharedStrategy, Time, Worker,
};
use noctule_packets::{
    Acknowledgement, Connect, Packet, PacketType, Properties, PropertyBuffer, PropertyId, Publish,
    QoS, Subscribe, SubscriptionRequest, Unsubscribe, Version, Will,
};

use super::client::{Announced, Client};
use super::script::Script;

const WORKERS: usize = 2;
const DOORS: usize = 4;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", ""];
const TOPICS: [&str; 6] = ["t", "t/u", "t/u/v", "w", "$SYS/x", "long/long/long/long"];
const FILTERS: [&str; 12] = [
    "t",
    "t/u",
    "#",
    "+/u",
    "t/#",
    "+",
    "w",
    "$share/g/t/#",
    "$share/g/#",
    "$share/h/t",
    "t/#/u",
    "$SYS/#",
];

/// Milliseconds that may pass at once.
const PAUSES: [u64; 6] = [1, 100, 1_000, 10_000, 100_000, 10_000_000];

pub struct House {
    now: Time,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    clients: [Option<Client>; DOORS],
}

impl House {
    /// `choice` sets the options that change what workers do.
    pub fn new(choice: u8) -> House {
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
        let shared = Shared::new(options, WORKERS, 7);
        shared.observe(true);
        House {
            now: Time(1_000_000),
            workers: (0..WORKERS)
                .map(|index| Worker::new(index, Arc::clone(&shared)))
                .collect(),
            shared,
            clients: [const { None }; DOORS],
        }
    }

    pub fn step(&mut self, script: &mut Script<'_>) {
        let choice = script.byte();
        let door = usize::from(choice >> 6) % DOORS;
        match choice % 10 {
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
        self.run();
    }

    /// Everybody reads all there is, then the house closes.
    pub fn finish(&mut self) {
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
        self.run();
        let left: usize = self.workers.iter().map(Worker::connections).sum();
        assert_eq!(left, 0, "connections that nobody has");
    }

    fn connect(&mut self, door: usize, script: &mut Script<'_>) {
        self.cut(door);
        let version = script.choose(&[Version::V5, Version::V4, Version::V3]);
        let name = script.choose(&NAMES);
        let flags = script.byte();
        let announced = Announced {
            version,
            receive_maximum: if version == Version::V5 {
                script.choose(&[0, 1, 2, 5])
            } else {
                0
            },
            maximum_packet: if version == Version::V5 && flags & 1 != 0 {
                script.choose(&[20, 60, 200])
            } else {
                0
            },
            topic_alias_maximum: if version == Version::V5 {
                script.choose(&[0, 1, 3])
            } else {
                0
            },
        };
        let mut properties = PropertyBuffer::new();
        if announced.receive_maximum != 0 {
            properties.push_two_byte(PropertyId::ReceiveMaximum, announced.receive_maximum);
        }
        if announced.maximum_packet != 0 {
            properties.push_four_byte(PropertyId::MaximumPacketSize, announced.maximum_packet);
        }
        if announced.topic_alias_maximum != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, announced.topic_alias_maximum);
        }
        if flags & 2 != 0 {
            let seconds = script.choose(&[1, 100, u32::MAX]);
            properties.push_four_byte(PropertyId::SessionExpiryInterval, seconds);
        }
        let mut will = PropertyBuffer::new();
        if flags & 4 != 0 {
            will.push_four_byte(PropertyId::WillDelayInterval, script.choose(&[0, 1, 100]));
        }
        let connect = Connect {
            version,
            bridge: flags & 0x80 != 0 && version < Version::V5,
            clean_start: flags & 8 == 0,
            keep_alive: script.choose(&[0, 1, 60]),
            client_identifier: name,
            will: (flags & 16 != 0).then(|| Will {
                topic: script.choose(&TOPICS),
                payload: b"gone",
                qos: qos(flags >> 5),
                retain: flags & 4 == 0,
                properties: in_5(version, &will),
            }),
            user_name: None,
            password: None,
            properties: in_5(version, &properties),
        };
        let worker = self.shared.worker_of(name);
        let deadline = self.now.after_seconds(10);
        let id = self.workers[worker].accepted(Peer::default(), deadline, self.now);
        self.clients[door] = Some(Client::new(worker, id, &announced));
        self.send(door, &Packet::Connect(connect));
    }

    fn publish(&mut self, door: usize, script: &mut Script<'_>) {
        let Some(version) = self.version(door) else {
            return;
        };
        let flags = script.byte();
        let mut properties = PropertyBuffer::new();
        if flags & 8 != 0 {
            let seconds = script.choose(&[1, 100]);
            properties.push_four_byte(PropertyId::MessageExpiryInterval, seconds);
        }
        let alias = script.choose(&[0, 0, 1, 2, 101]);
        if alias != 0 {
            properties.push_two_byte(PropertyId::TopicAlias, alias);
        }
        let topic = script.choose(&TOPICS);
        let has_alias_only = flags & 16 != 0 && alias != 0 && version == Version::V5;
        let qos = qos(flags);
        let publish = Publish {
            dup: flags & 32 != 0 && qos != QoS::AtMostOnce,
            qos,
            retain: flags & 4 != 0,
            topic: if has_alias_only { "" } else { topic },
            packet_identifier: match qos {
                QoS::AtMostOnce => 0,
                _ => u16::from(script.byte() % 8) + 1,
            },
            properties: in_5(version, &properties),
            payload: script.bytes(),
        };
        self.send(door, &Packet::Publish(publish));
    }

    fn subscribe(&mut self, door: usize, script: &mut Script<'_>) {
        let Some(version) = self.version(door) else {
            return;
        };
        let mut requests = Vec::new();
        for _ in 0..=script.byte() % 3 {
            let flags = script.byte();
            let request = SubscriptionRequest {
                filter: script.choose(&FILTERS),
                qos: qos(flags),
                no_local: flags & 4 != 0,
                retain_as_published: flags & 8 != 0,
                retain_handling: (flags >> 4) % 3,
            };
            request.encode(version, &mut requests);
        }
        let mut properties = PropertyBuffer::new();
        let identifier = script.choose(&[0, 1, 300]);
        if identifier != 0 {
            properties.push_variable(PropertyId::SubscriptionIdentifier, identifier);
        }
        let properties = in_5(version, &properties);
        if let Ok(packet) = Subscribe::new(version, 9, properties, &requests) {
            self.send(door, &Packet::Subscribe(packet));
        }
    }

    fn unsubscribe(&mut self, door: usize, script: &mut Script<'_>) {
        let filter = script.choose(&FILTERS);
        let mut filters = (filter.len() as u16).to_be_bytes().to_vec();
        filters.extend_from_slice(filter.as_bytes());
        let packet = Unsubscribe::new(9, Properties::EMPTY, &filters);
        self.send(door, &Packet::Unsubscribe(packet.expect("an UNSUBSCRIBE")));
    }

    fn read(&mut self, door: usize, script: &mut Script<'_>) {
        let most = script.choose(&[usize::MAX, 1, 7, 100]);
        self.take(door, most);
    }

    /// The client acknowledges what it has read.
    fn answer(&mut self, door: usize) {
        let Some(client) = &mut self.clients[door] else {
            return;
        };
        if client.is_paused || client.is_closing {
            return;
        }
        let Some((kind, identifier)) = client.answer() else {
            return;
        };
        let packet = Acknowledgement::success(identifier);
        let mut bytes = Vec::new();
        packet.encode(kind, client.version, &mut bytes);
        self.deliver(door, &bytes);
    }

    /// Anything at all: from here on nobody knows what the client has acknowledged.
    fn send_raw(&mut self, door: usize, script: &mut Script<'_>) {
        let bytes = script.bytes();
        if let Some(client) = &mut self.clients[door] {
            client.is_known = false;
        }
        self.deliver(door, bytes);
    }

    /// Packets without much to say, wanted or not.
    fn send_small(&mut self, door: usize, script: &mut Script<'_>) {
        let choice = script.byte();
        let identifier = u16::from(choice >> 4) + 1;
        let kind = match choice % 6 {
            0 => return self.send(door, &Packet::Pingreq),
            1 => {
                let reason = noctule_packets::ReasonCode(script.choose(&[0, 4]));
                let packet = noctule_packets::Disconnect::with_reason(reason);
                return self.send(door, &Packet::Disconnect(packet));
            }
            2 => PacketType::Puback,
            3 => PacketType::Pubrec,
            // The client's own QoS 2 messages go on; nothing of what it was sent does.
            4 => return self.send(door, &Packet::Pubrel(Acknowledgement::success(identifier))),
            _ => PacketType::Pubcomp,
        };
        let Some(client) = &mut self.clients[door] else {
            return;
        };
        client.is_known = false;
        let mut bytes = Vec::new();
        Acknowledgement::success(identifier).encode(kind, client.version, &mut bytes);
        self.deliver(door, &bytes);
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
    fn cut(&mut self, door: usize) {
        self.take(door, usize::MAX);
        if let Some(client) = self.clients[door].take() {
            client.end();
            self.workers[client.worker].closed(client.id, self.now);
            self.run();
        }
    }

    fn version(&self, door: usize) -> Option<Version> {
        self.clients[door].as_ref().map(|client| client.version)
    }

    fn send(&mut self, door: usize, packet: &Packet<'_>) {
        if let Some(version) = self.version(door) {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes);
            self.deliver(door, &bytes);
        }
    }

    /// Bytes reach the worker, unless it leaves them unread.
    fn deliver(&mut self, door: usize, bytes: &[u8]) {
        if let Some(client) = &self.clients[door]
            && !client.is_paused
            && !client.is_closing
        {
            self.workers[client.worker].received(client.id, bytes, self.now);
            self.run();
        }
    }

    /// The client takes what there is for it, in pieces of `most` bytes at most; with a small
    /// piece, only one.
    fn take(&mut self, door: usize, most: usize) {
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
            client.read(&bytes);
            self.run();
            if most != usize::MAX {
                return;
            }
        }
    }

    /// Carries effects and batches out until there are none.
    fn run(&mut self) {
        let mut is_busy = true;
        while is_busy {
            is_busy = false;
            for from in 0..WORKERS {
                while let Some(effect) = self.workers[from].next_effect() {
                    is_busy = true;
                    self.carry_out(from, effect);
                }
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
            Effect::Authenticate(id, request) => {
                let decision = match &*request.client_identifier {
                    "b" => Decision::Refuse {
                        reason: noctule_packets::ReasonCode::NOT_AUTHORIZED,
                        text: None,
                    },
                    _ => Decision::Accept {
                        user: None,
                        data: None,
                        permissions: None,
                        keep_alive_seconds: None,
                        session_expiry_seconds: None,
                    },
                };
                self.workers[worker].answered(id, decision, self.now);
            }
            Effect::Consult(_) => panic!("there are no hooks here"),
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

fn qos(choice: u8) -> QoS {
    QoS::from_u8(choice & 3).unwrap_or(QoS::ExactlyOnce)
}

/// The properties in 5.0, nothing before.
fn in_5(version: Version, properties: &PropertyBuffer) -> Properties<'_> {
    match version {
        Version::V5 => properties.as_properties(),
        _ => Properties::EMPTY,
    }
}
