//! Workers in memory, with a clock that goes where a test sets it.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use noctule_broker::{
    ConnectionId, Consultation, Effect, Event, Options, Peer, QueueRequest, Records, Shared, Time,
    Worker,
};
use noctule_packets::{
    Acknowledgement, Connect, FixedHeader, Packet, PacketType, Properties, PropertyBuffer,
    PropertyId, Publish, QoS, ReasonCode, Subscribe, SubscriptionRequest, Unsubscribe, Version,
    Will,
};

/// A connection of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peerage {
    pub worker: usize,
    pub id: ConnectionId,
    version: Version,
}

/// A packet from the broker, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Connack {
        present: bool,
        reason: u8,
    },
    Publish(Message),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP: identifier and reason.
    Ack(PacketType, u16, u8),
    Suback(Vec<u8>),
    Unsuback(Vec<u8>),
    Pingresp,
    /// Reason and server reference.
    Disconnect(u8, Option<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    pub identifier: u16,
    pub expiry: Option<u32>,
}

/// What a CONNECT says besides a name.
#[derive(Clone)]
pub struct Hello<'a> {
    pub version: Version,
    pub clean: bool,
    pub keep_alive: u16,
    pub expiry: u32,
    pub receive_maximum: u16,
    /// Topic, delay in seconds.
    pub will: Option<(&'a str, u32)>,
    /// The place of the listener it comes in through.
    pub listener: u16,
}

impl Default for Hello<'_> {
    fn default() -> Self {
        Hello {
            version: Version::V5,
            clean: false,
            keep_alive: 0,
            expiry: 0,
            receive_maximum: 0,
            will: None,
            listener: 0,
        }
    }
}

impl Hello<'_> {
    /// A session that stays.
    pub fn kept() -> Self {
        Hello {
            expiry: u32::MAX,
            ..Hello::default()
        }
    }
}

pub struct Rig {
    pub now: Time,
    pub shared: Arc<Shared>,
    pub workers: Vec<Worker>,
    pub paused: Vec<Peerage>,
    pub closing: Vec<(usize, ConnectionId)>,
    pub events: Vec<Event>,
    /// What hooks are asked, by which worker.
    pub questions: Vec<(usize, Consultation)>,
    /// Messages that workers want back from the disk.
    pub readings: Vec<(usize, QueueRequest)>,
    /// What the workers of a durable broker recorded, in order: worker, number, records.
    pub submitted: Vec<(usize, u64, Records)>,
    next_identifier: u16,
    /// What came with a CONNACK that was taken.
    behind_connack: Vec<(Peerage, Vec<Got>)>,
}

impl Rig {
    pub fn new(workers: usize, set: impl FnOnce(&mut Options)) -> Rig {
        let mut options = Options::default();
        options.system_topics_interval_seconds.0 = 0;
        set(&mut options);
        Rig::on(Shared::new(options, workers, 7), workers)
    }

    /// Workers on what they share, whatever it is.
    pub fn on(shared: Arc<Shared>, workers: usize) -> Rig {
        shared.observe(true);
        let workers = (0..workers)
            .map(|index| Worker::new(index, shared.clone()))
            .collect();
        Rig {
            now: Time(1_000_000),
            shared,
            workers,
            paused: Vec::new(),
            closing: Vec::new(),
            events: Vec::new(),
            questions: Vec::new(),
            readings: Vec::new(),
            submitted: Vec::new(),
            next_identifier: 0,
            behind_connack: Vec::new(),
        }
    }

    /// A name whose session belongs to `worker`.
    pub fn name_on(&self, worker: usize, stem: &str) -> String {
        (0..)
            .map(|number| format!("{stem}{number}"))
            .find(|name| self.shared.worker_of(name) == worker)
            .expect("there are names for every worker")
    }

    /// Connects and checks that it was accepted; the CONNACK is taken.
    pub fn connect(&mut self, name: &str, hello: Hello<'_>) -> Peerage {
        let peer = self.knock(name, hello);
        let mut got = self.take(peer);
        let accepted = matches!(got.first(), Some(Got::Connack { reason: 0, .. }));
        assert!(accepted, "{name} was not accepted: {got:?}");
        got.remove(0);
        self.behind_connack.push((peer, got));
        peer
    }

    /// Sends a CONNECT; the answer is left to be taken.
    pub fn knock(&mut self, name: &str, hello: Hello<'_>) -> Peerage {
        let worker = self.shared.worker_of(name);
        let deadline = self.now.after_seconds(10);
        let peer = Peer {
            listener: hello.listener,
            ..Peer::default()
        };
        let id = self.workers[worker].accepted(peer, deadline, self.now);
        let peer = Peerage {
            worker,
            id,
            version: hello.version,
        };
        let mut properties = PropertyBuffer::default();
        if hello.expiry != 0 {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, hello.expiry);
        }
        if hello.receive_maximum != 0 {
            properties.push_two_byte(PropertyId::ReceiveMaximum, hello.receive_maximum);
        }
        let mut will_properties = PropertyBuffer::default();
        if let Some((_, delay)) = hello.will {
            will_properties.push_four_byte(PropertyId::WillDelayInterval, delay);
        }
        let connect = Connect {
            version: hello.version,
            bridge: false,
            clean_start: hello.clean,
            keep_alive: hello.keep_alive,
            client_identifier: name,
            will: hello.will.map(|(topic, _)| Will {
                topic,
                payload: b"gone",
                qos: QoS::AtMostOnce,
                retain: false,
                properties: will_properties.as_properties(),
            }),
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        };
        self.send(peer, &Packet::Connect(connect));
        peer
    }

    pub fn send(&mut self, peer: Peerage, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(peer.version, &mut bytes);
        self.send_bytes(peer, &bytes);
    }

    pub fn send_bytes(&mut self, peer: Peerage, bytes: &[u8]) {
        self.workers[peer.worker].received(peer.id, bytes, self.now);
        self.run();
    }

    /// A message without properties; its packet identifier.
    pub fn publish(&mut self, peer: Peerage, topic: &str, payload: &str, qos: QoS) -> u16 {
        self.publish_with(peer, topic, payload, qos, false, None)
    }

    pub fn publish_with(
        &mut self,
        peer: Peerage,
        topic: &str,
        payload: &str,
        qos: QoS,
        retain: bool,
        expiry: Option<u32>,
    ) -> u16 {
        let mut properties = PropertyBuffer::default();
        if let Some(seconds) = expiry {
            properties.push_four_byte(PropertyId::MessageExpiryInterval, seconds);
        }
        let packet_identifier = match qos {
            QoS::AtMostOnce => 0,
            _ => self.identifier(),
        };
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_identifier,
            properties: properties.as_properties(),
            payload: payload.as_bytes(),
        };
        self.send(peer, &Packet::Publish(publish));
        packet_identifier
    }

    fn identifier(&mut self) -> u16 {
        self.next_identifier += 1;
        self.next_identifier
    }

    /// Subscribes; the SUBACK, and whatever came with it, is left to be taken.
    pub fn subscribe(&mut self, peer: Peerage, filter: &str, qos: QoS) {
        let mut request = Vec::new();
        let options = SubscriptionRequest {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        options.encode(peer.version, &mut request);
        let identifier = self.identifier();
        let packet = Subscribe::new(peer.version, identifier, Properties::EMPTY, &request);
        let packet = packet.expect("a valid SUBSCRIBE");
        self.send(peer, &Packet::Subscribe(packet));
    }

    /// Subscribes and forgets the SUBACK.
    pub fn listen(&mut self, peer: Peerage, filter: &str, qos: QoS) {
        self.subscribe(peer, filter, qos);
        assert_eq!(self.take(peer), [Got::Suback(vec![qos as u8])]);
    }

    /// Unsubscribes; the UNSUBACK is left to be taken.
    pub fn unsubscribe(&mut self, peer: Peerage, filter: &str) {
        let mut filters = (filter.len() as u16).to_be_bytes().to_vec();
        filters.extend_from_slice(filter.as_bytes());
        let identifier = self.identifier();
        let packet = Unsubscribe::new(identifier, Properties::EMPTY, &filters);
        let packet = packet.expect("a valid UNSUBSCRIBE");
        self.send(peer, &Packet::Unsubscribe(packet));
    }

    pub fn acknowledge(&mut self, peer: Peerage, kind: PacketType, packet_identifier: u16) {
        let ack = Acknowledgement {
            packet_identifier,
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        };
        let mut bytes = Vec::new();
        ack.encode(kind, peer.version, &mut bytes);
        self.send_bytes(peer, &bytes);
    }

    /// The network connection ends without a word.
    pub fn cut(&mut self, peer: Peerage) {
        self.workers[peer.worker].closed(peer.id, self.now);
        self.run();
    }

    pub fn is_closing(&self, peer: Peerage) -> bool {
        self.closing.contains(&(peer.worker, peer.id))
    }

    pub fn is_paused(&self, peer: Peerage) -> bool {
        self.paused.contains(&peer)
    }

    /// Time passes; timers run when they are due.
    pub fn wait(&mut self, duration: Duration) {
        let target = self.now.after(duration);
        while self.now < target {
            let timeouts = self.workers.iter().filter_map(Worker::next_timeout);
            let next = timeouts.min().unwrap_or(target);
            self.now = Time(next.0.clamp(self.now.0 + 1, target.0));
            for worker in &mut self.workers {
                worker.tick(self.now);
            }
            self.run();
        }
    }

    pub fn wait_seconds(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    /// Carries effects and batches out until there are none.
    pub fn run(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for from in 0..self.workers.len() {
                while let Some(effect) = self.workers[from].next_effect() {
                    self.carry_out(from, effect);
                }
                if let Some((number, records)) = self.workers[from].take_records() {
                    self.submitted.push((from, number, records));
                }
                let mut batches = Vec::new();
                self.workers[from].take_batches(|to, batch| batches.push((to, batch)));
                for (to, batch) in batches {
                    busy = true;
                    self.workers[to].delivered(batch, self.now);
                }
            }
        }
    }

    fn carry_out(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::Close(id) => self.closing.push((worker, id)),
            Effect::PauseReading(id) => self.paused.push(Peerage {
                worker,
                id,
                version: Version::V5,
            }),
            Effect::ResumeReading(id) => {
                self.paused
                    .retain(|each| (each.worker, each.id) != (worker, id));
            }
            Effect::Event(event) => self.events.push(event),
            Effect::Consult(question) => self.questions.push((worker, *question)),
            Effect::ReadQueue(request) => self.readings.push((worker, *request)),
            Effect::Authenticate(..) => panic!("nobody authenticates here"),
        }
    }

    /// Bytes that wait to be written to a connection.
    pub fn waiting(&mut self, peer: Peerage) -> usize {
        let outbox = self.workers[peer.worker].outbox(peer.id);
        outbox.map_or(0, |outbox| outbox.len())
    }

    /// Takes everything there is for a connection, and what moves up behind it.
    pub fn take(&mut self, peer: Peerage) -> Vec<Got> {
        let mut bytes = Vec::new();
        while let Some(outbox) = self.workers[peer.worker].outbox(peer.id) {
            let before = bytes.len();
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = outbox.chunks(&mut slices);
            slices[..filled]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            let n = bytes.len() - before;
            if n == 0 {
                break;
            }
            outbox.advance(n);
            self.workers[peer.worker].written(peer.id, n, self.now);
            self.run();
        }
        let known = self.behind_connack.iter().position(|each| each.0 == peer);
        let mut all = known.map_or_else(Vec::new, |place| self.behind_connack.remove(place).1);
        all.extend(parse(&bytes, peer.version));
        all
    }

    /// The payloads of the messages there are for a connection.
    pub fn take_payloads(&mut self, peer: Peerage) -> Vec<String> {
        self.take_messages(peer)
            .into_iter()
            .map(|message| message.payload)
            .collect()
    }

    pub fn take_messages(&mut self, peer: Peerage) -> Vec<Message> {
        let all = self.take(peer).into_iter();
        all.filter_map(|each| match each {
            Got::Publish(message) => Some(message),
            _ => None,
        })
        .collect()
    }

    pub fn statistic(&self, name: &str) -> u64 {
        let all = self.shared.statistics();
        let found = all.iter().find(|(each, _)| *each == name);
        found.map_or_else(|| panic!("no statistic {name}"), |&(_, value)| value)
    }

    /// Messages a client lost, by reason, as events told it.
    pub fn dropped(&self, reason: &str) -> u64 {
        let of = |event: &Event| match event {
            Event::Dropped {
                reason: why,
                messages,
                ..
            } if *why == reason => *messages,
            _ => 0,
        };
        self.events.iter().map(of).sum()
    }
}

fn parse(mut bytes: &[u8], version: Version) -> Vec<Got> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let header = FixedHeader::decode(bytes).expect("a fixed header");
        let header = header.expect("a whole fixed header");
        let body = &bytes[header.header_len..header.total()];
        let packet = Packet::decode(version, header, body).expect("a packet");
        all.push(got(packet));
        bytes = &bytes[header.total()..];
    }
    all
}

fn got(packet: Packet<'_>) -> Got {
    let ack = |kind, ack: Acknowledgement<'_>| Got::Ack(kind, ack.packet_identifier, ack.reason.0);
    match packet {
        Packet::Connack(connack) => Got::Connack {
            present: connack.session_present,
            reason: connack.reason.0,
        },
        Packet::Publish(publish) => Got::Publish(Message {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            identifier: publish.packet_identifier,
            expiry: publish
                .properties
                .four_byte(PropertyId::MessageExpiryInterval),
        }),
        Packet::Puback(each) => ack(PacketType::Puback, each),
        Packet::Pubrec(each) => ack(PacketType::Pubrec, each),
        Packet::Pubrel(each) => ack(PacketType::Pubrel, each),
        Packet::Pubcomp(each) => ack(PacketType::Pubcomp, each),
        Packet::Suback(suback) => Got::Suback(suback.reasons.to_vec()),
        Packet::Unsuback(unsuback) => Got::Unsuback(unsuback.reasons.to_vec()),
        Packet::Pingresp => Got::Pingresp,
        Packet::Disconnect(disconnect) => Got::Disconnect(
            disconnect.reason.0,
            disconnect
                .properties
                .string(PropertyId::ServerReference)
                .map(Into::into),
        ),
        other => panic!("{other:?} is not for a client"),
    }
}
