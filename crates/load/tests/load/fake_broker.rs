//! A broker small enough to be trusted, which does wrong on demand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use noctule_packets::{
    Acknowledgement, Connack, Disconnect, FixedHeader, Packet, PacketType, Properties,
    PropertyBuffer, PropertyId, Publish, QoS, ReasonCode, Suback, Version,
};

/// What the broker does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Each n-th delivery is left out.
    Drop(u64),
    /// Each n-th delivery is made twice.
    Duplicate(u64),
    /// Each n-th delivery comes after the one that follows it.
    Swap(u64),
    /// Each n-th delivery has another last byte.
    Corrupt(u64),
    /// Each n-th delivery is one byte shorter.
    Shorten(u64),
    /// Each n-th delivery has another topic name.
    Rename(u64),
    /// Each n-th delivery has the retain flag turned.
    Retain(u64),
    /// Each n-th message goes to all subscribers, whatever they subscribed to.
    Misroute(u64),
    /// Each n-th PUBACK or PUBREC is left out.
    Forget(u64),
    /// Each n-th message waits that long (milliseconds) before it is routed.
    Stall(u64, u64),
    RefuseConnect,
    RefuseSubscribe,
    /// DISCONNECT and an end after so many messages of a connection.
    Disconnect(u64),
}

struct Subscription {
    filter: String,
    qos: QoS,
    version: Version,
    peer: Arc<Mutex<Peer>>,
}

/// Where a connection's packets go.
struct Peer {
    stream: TcpStream,
    identifier: u16,
    deliveries: u64,
    held_back: Option<Vec<u8>>,
}

#[derive(Default)]
struct State {
    subscriptions: Vec<Subscription>,
    /// By topic: payload.
    retained: BTreeMap<String, Vec<u8>>,
    messages: u64,
    acknowledgements: u64,
}

pub struct FakeBroker {
    pub port: u16,
}

impl FakeBroker {
    pub fn start(fault: Fault) -> FakeBroker {
        FakeBroker::launch(fault, u16::MAX)
    }

    /// Disconnects a client that has more in flight.
    pub fn with_receive_maximum(receive_maximum: u16) -> FakeBroker {
        FakeBroker::launch(Fault::None, receive_maximum)
    }

    fn launch(fault: Fault, receive_maximum: u16) -> FakeBroker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(stream, &state, fault, receive_maximum));
            }
        });
        FakeBroker { port }
    }
}

/// Reads one connection to its end.
fn serve(mut stream: TcpStream, state: &Mutex<State>, fault: Fault, receive_maximum: u16) {
    stream.set_nodelay(true).unwrap();
    let peer = Arc::new(Mutex::new(Peer {
        stream: stream.try_clone().unwrap(),
        identifier: 0,
        deliveries: 0,
        held_back: None,
    }));
    let mut version = Version::V4;
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    let mut messages = 0;
    loop {
        let mut at = 0;
        let before = messages;
        while let Some(header) = FixedHeader::decode(&bytes[at..]).unwrap() {
            let Some(body) = bytes[at..].get(header.header_len..header.total()) else {
                break;
            };
            let packet = Packet::decode(version, header, body).unwrap();
            if let Packet::Connect(connect) = &packet {
                version = connect.version;
            }
            messages += u64::from(matches!(packet, Packet::Publish(_)));
            handle(
                &packet,
                version,
                &peer,
                &mut state.lock().unwrap(),
                fault,
                receive_maximum,
            );
            if matches!(fault, Fault::Disconnect(most) if messages >= most) {
                let reason = ReasonCode::ADMINISTRATIVE_ACTION;
                send(&peer, |out| {
                    Disconnect::with_reason(reason).encode(version, out)
                });
                return;
            }
            if messages - before > u64::from(receive_maximum) {
                // None of what came at once had been answered when it was sent.
                let reason = ReasonCode::RECEIVE_MAXIMUM_EXCEEDED;
                send(&peer, |out| {
                    Disconnect::with_reason(reason).encode(version, out)
                });
                return;
            }
            at += header.total();
        }
        bytes.drain(..at);
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    let mut state = state.lock().unwrap();
    state
        .subscriptions
        .retain(|each| !Arc::ptr_eq(&each.peer, &peer));
}

fn send(peer: &Mutex<Peer>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    // A client that has gone does not hear it.
    let _ = peer.lock().unwrap().stream.write_all(&bytes);
}

fn handle(
    packet: &Packet<'_>,
    version: Version,
    peer: &Arc<Mutex<Peer>>,
    state: &mut State,
    fault: Fault,
    receive_maximum: u16,
) {
    match packet {
        Packet::Connect(_) => {
            let mut properties = PropertyBuffer::new();
            properties.push_two_byte(PropertyId::ReceiveMaximum, receive_maximum);
            let refused = ReasonCode(if version == Version::V5 { 0x87 } else { 5 });
            let refuse = fault == Fault::RefuseConnect;
            let connack = Connack {
                session_present: false,
                reason: if refuse { refused } else { ReasonCode::SUCCESS },
                properties: properties.as_properties(),
            };
            send(peer, |out| connack.encode(version, out));
        }
        Packet::Subscribe(subscribe) => {
            let refuse = fault == Fault::RefuseSubscribe;
            let mut reasons = Vec::new();
            for request in subscribe.filters() {
                reasons.push(if refuse { 0x80 } else { request.qos as u8 });
                state.subscriptions.push(Subscription {
                    filter: request.filter.into(),
                    qos: request.qos,
                    version,
                    peer: Arc::clone(peer),
                });
            }
            let suback = Suback {
                packet_identifier: subscribe.packet_identifier,
                properties: Properties::EMPTY,
                reasons: &reasons,
            };
            send(peer, |out| suback.encode(version, out));
            let subscribed: Vec<&str> = subscribe.filters().map(|each| each.filter).collect();
            for (topic, payload) in &state.retained {
                if subscribed.iter().any(|filter| matches(filter, topic)) {
                    let last = state.subscriptions.last().unwrap();
                    deliver(last, topic, payload, last.qos, true, fault);
                }
            }
        }
        Packet::Publish(publish) => {
            route(publish, state, fault);
            state.acknowledgements += 1;
            let forgotten = matches!(fault, Fault::Forget(n) if state.acknowledgements % n == 0);
            let kind = match publish.qos {
                QoS::AtLeastOnce if !forgotten => PacketType::Puback,
                QoS::ExactlyOnce if !forgotten => PacketType::Pubrec,
                _ => return,
            };
            let answer = Acknowledgement::success(publish.packet_identifier);
            send(peer, |out| answer.encode(kind, version, out));
        }
        Packet::Pubrec(received) => {
            let answer = Acknowledgement::success(received.packet_identifier);
            send(peer, |out| answer.encode(PacketType::Pubrel, version, out));
        }
        Packet::Pubrel(release) => {
            let answer = Acknowledgement::success(release.packet_identifier);
            send(peer, |out| answer.encode(PacketType::Pubcomp, version, out));
        }
        Packet::Pingreq => send(peer, |out| Packet::Pingresp.encode(version, out)),
        _ => {}
    }
}

fn route(publish: &Publish<'_>, state: &mut State, fault: Fault) {
    state.messages += 1;
    if let Fault::Stall(n, milliseconds) = fault
        && state.messages % n == 0
    {
        thread::sleep(std::time::Duration::from_millis(milliseconds));
    }
    if publish.retain {
        state
            .retained
            .insert(publish.topic.into(), publish.payload.into());
    }
    for subscription in &state.subscriptions {
        let astray = matches!(fault, Fault::Misroute(n) if state.messages % n == 0);
        if astray || matches(&subscription.filter, publish.topic) {
            let qos = publish.qos.min(subscription.qos);
            deliver(
                subscription,
                publish.topic,
                publish.payload,
                qos,
                false,
                fault,
            );
        }
    }
}

fn deliver(to: &Subscription, topic: &str, payload: &[u8], qos: QoS, retain: bool, fault: Fault) {
    let mut peer = to.peer.lock().unwrap();
    peer.deliveries += 1;
    let nth = peer.deliveries;
    let hits = |n: u64| nth % n == 0;
    let mut payload = payload.to_vec();
    let mut topic = topic.to_owned();
    let mut retain = retain;
    match fault {
        Fault::Drop(n) if hits(n) => return,
        Fault::Corrupt(n) if hits(n) => *payload.last_mut().unwrap() = b'?',
        Fault::Shorten(n) if hits(n) => {
            payload.pop();
        }
        Fault::Rename(n) if hits(n) => topic.push('0'),
        Fault::Retain(n) if hits(n) => retain = !retain,
        _ => {}
    }
    let mut bytes = Vec::new();
    let times = if matches!(fault, Fault::Duplicate(n) if hits(n)) {
        2
    } else {
        1
    };
    for _ in 0..times {
        if qos > QoS::AtMostOnce {
            peer.identifier = peer.identifier.wrapping_add(1).max(1);
        }
        let packet = Publish {
            dup: false,
            qos,
            retain,
            topic: &topic,
            packet_identifier: if qos > QoS::AtMostOnce {
                peer.identifier
            } else {
                0
            },
            properties: Properties::EMPTY,
            payload: &payload,
        };
        packet.encode(to.version, &mut bytes);
    }
    if matches!(fault, Fault::Swap(n) if hits(n)) {
        peer.held_back = Some(bytes);
        return;
    }
    if let Some(earlier) = peer.held_back.take() {
        bytes.extend_from_slice(&earlier);
    }
    let _ = peer.stream.write_all(&bytes);
}

/// The filters this broker is given: names, and `…/#`.
fn matches(filter: &str, topic: &str) -> bool {
    match filter.strip_suffix("/#") {
        Some(parent) => topic
            .strip_prefix(parent)
            .is_some_and(|rest| rest.starts_with('/')),
        None => filter == topic,
    }
}
