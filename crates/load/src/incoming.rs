//! What the broker sends, and what is to be thought of it.

use noctule_packets::{
    Acknowledgement, Connack, Disconnect, FixedHeader, PacketType, PropertyId, QoS, RawPublish,
    ReasonCode, Suback,
};

use crate::clock::Clock;
use crate::connection::{Connection, Role, State};
use crate::latency::LatencyHistogram;
use crate::plan::Plan;
use crate::publisher::Step;
use crate::receipts::Verdict;
use crate::stamp::{FILLER, STAMP_BYTES, Stamp};
use crate::tally::Tally;

/// What packets are judged by, and where the judgement goes.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tally: &'a mut Tally,
    pub(crate) latency: &'a mut LatencyHistogram,
    pub(crate) clock: Clock,
    /// When the bytes were read.
    pub(crate) now: u64,
}

/// Takes one packet in; answers go to the connection's buffer.
#[inline]
pub(crate) fn handle(
    connection: &mut Connection,
    header: FixedHeader,
    body: &[u8],
    bench: &mut Bench<'_>,
) {
    bench.tally.moves += 1;
    match PacketType::from_u8(header.packet_type()) {
        Some(PacketType::Publish) => on_publish(connection, header.flags(), body, bench),
        Some(
            kind @ (PacketType::Puback
            | PacketType::Pubrec
            | PacketType::Pubrel
            | PacketType::Pubcomp),
        ) => on_acknowledgement(connection, kind, header.flags(), body, bench),
        Some(PacketType::Connack) => on_connack(connection, header.flags(), body, bench),
        Some(PacketType::Suback) => on_suback(connection, header.flags(), body, bench),
        Some(PacketType::Pingresp) => connection.awaits_pingresp = false,
        Some(PacketType::Disconnect) => on_disconnect(connection, header.flags(), body, bench),
        _ => bench
            .tally
            .wrong(format!("a packet of type {}", header.packet_type())),
    }
}

fn on_publish(connection: &mut Connection, flags: u8, body: &[u8], bench: &mut Bench<'_>) {
    let plan = bench.plan;
    let publish = match RawPublish::decode(plan.version, flags, body) {
        Ok(publish) => publish,
        Err(error) => return bench.tally.wrong(format!("PUBLISH: {error}")),
    };
    match publish.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => {
            connection.put_acknowledgement(plan, PacketType::Puback, publish.packet_identifier);
        }
        QoS::ExactlyOnce => {
            connection.put_acknowledgement(plan, PacketType::Pubrec, publish.packet_identifier);
        }
    }
    let Role::Subscriber(subscriber) = &mut connection.role else {
        return bench
            .tally
            .wrong("PUBLISH to a client that has no such subscription");
    };
    if publish.qos == QoS::ExactlyOnce && subscriber.hold(publish.packet_identifier) {
        bench.tally.unreleased += 1;
    }
    let stamp = match check(plan, subscriber.number, &publish) {
        Ok(stamp) => stamp,
        Err(what) => return bench.tally.wrong(what),
    };
    let (lane, order) = (plan.lane(stamp.publisher), plan.order(stamp));
    match subscriber.receipts.take(stamp.sequence, lane, order) {
        Verdict::InOrder => {}
        Verdict::Late => bench.tally.out_of_order += 1,
        Verdict::Duplicate => {
            bench.tally.duplicates += 1;
            return;
        }
    }
    bench.tally.received += 1;
    bench.tally.last_delivery = bench.now;
    bench.latency.record(bench.now.saturating_sub(stamp.due));
}

/// The stamp of a message that is as it was published.
#[inline]
fn check(plan: &Plan, subscriber: u32, publish: &RawPublish<'_>) -> Result<Stamp, &'static str> {
    let stamp = Stamp::from_payload(publish.payload).ok_or("a payload without a stamp")?;
    if !plan.was_sent(stamp) {
        return Err("a message that nobody has published");
    }
    if publish.payload.len() != plan.payload_len(stamp.publisher, stamp.sequence) {
        return Err("a payload of another length than was published");
    }
    if publish.payload.len() > STAMP_BYTES && publish.payload.last() != Some(&FILLER) {
        return Err("a payload with another end than was published");
    }
    if publish.qos != plan.qos {
        return Err("a message of another QoS than was published");
    }
    if publish.retain != plan.retained {
        return Err("a message with the wrong retain flag");
    }
    if !plan.is_topic(stamp, publish.topic) {
        return Err("a message of another topic than it was published to");
    }
    if !plan.takes(subscriber, plan.topic(stamp.publisher, stamp.sequence)) {
        return Err("a message of a topic that was not subscribed to");
    }
    Ok(stamp)
}

/// The publisher's side of the handshakes, and PUBREL on the subscriber's.
fn on_acknowledgement(
    connection: &mut Connection,
    kind: PacketType,
    flags: u8,
    body: &[u8],
    bench: &mut Bench<'_>,
) {
    let plan = bench.plan;
    let (identifier, reason) = match Acknowledgement::decode(kind, plan.version, flags, body) {
        Ok(packet) => (packet.packet_identifier, packet.reason),
        Err(error) => return bench.tally.wrong(format!("{}: {error}", kind.name())),
    };
    if reason.is_error() {
        bench.tally.refused(format!("{}: {reason}", kind.name()));
    }
    let step = match &mut connection.role {
        Role::Subscriber(subscriber) if kind == PacketType::Pubrel => {
            match subscriber.release(identifier) {
                true => bench.tally.unreleased -= 1,
                false => bench.tally.wrong("PUBREL of an unknown packet identifier"),
            }
            return connection.put_acknowledgement(plan, PacketType::Pubcomp, identifier);
        }
        Role::Publisher(publisher) => publisher.acknowledge(kind, identifier, reason.is_error()),
        _ => Step::Unexpected,
    };
    match step {
        Step::Release => connection.put_acknowledgement(plan, PacketType::Pubrel, identifier),
        Step::Done => {}
        Step::Unexpected => bench
            .tally
            .wrong(format!("{} nobody waits for", kind.name())),
    }
}

fn on_connack(connection: &mut Connection, flags: u8, body: &[u8], bench: &mut Bench<'_>) {
    let plan = bench.plan;
    let connack = match Connack::decode(plan.version, flags, body) {
        Ok(connack) => connack,
        Err(error) => {
            connection.state = State::Closed;
            return bench.tally.wrong(format!("CONNACK: {error}"));
        }
    };
    if connection.state != State::Greeting {
        return bench.tally.wrong("a second CONNACK");
    }
    if connack.reason != ReasonCode::SUCCESS {
        connection.state = State::Closed;
        let code = connack.reason.0;
        return bench
            .tally
            .refused(format!("CONNACK: refused with 0x{code:02X}"));
    }
    if let Role::Publisher(publisher) = &mut connection.role {
        let most = connack.properties.two_byte(PropertyId::ReceiveMaximum);
        publisher.window = publisher.window.min(most.map_or(u32::MAX, u32::from));
    }
    if connection.subscribes(plan) {
        connection.put_subscribe(plan);
        if plan.retained {
            connection.begun = bench.clock.now();
        }
        return;
    }
    opened(connection, bench);
}

fn on_suback(connection: &mut Connection, flags: u8, body: &[u8], bench: &mut Bench<'_>) {
    let plan = bench.plan;
    match Suback::decode(plan.version, flags, body) {
        Err(error) => bench.tally.wrong(format!("SUBACK: {error}")),
        Ok(suback) => {
            let other = suback
                .reasons
                .iter()
                .find(|reason| **reason != plan.qos as u8);
            if let Some(other) = other {
                bench.tally.refused(format!("SUBACK: 0x{other:02X}"));
            }
        }
    }
    if connection.state != State::Subscribing {
        return bench.tally.wrong("SUBACK nobody waits for");
    }
    opened(connection, bench);
}

fn opened(connection: &mut Connection, bench: &mut Bench<'_>) {
    if !matches!(connection.role, Role::Visitor) {
        connection.state = State::Ready;
        return;
    }
    bench
        .latency
        .record(bench.clock.now().saturating_sub(connection.begun));
    bench.tally.received += 1;
    bench.tally.last_delivery = bench.now;
    connection.put_disconnect(bench.plan);
    connection.state = State::Leaving;
}

fn on_disconnect(connection: &mut Connection, flags: u8, body: &[u8], bench: &mut Bench<'_>) {
    connection.state = State::Closed;
    match Disconnect::decode(bench.plan.version, flags, body) {
        Ok(disconnect) => bench
            .tally
            .refused(format!("DISCONNECT: {}", disconnect.reason)),
        Err(error) => bench.tally.wrong(format!("DISCONNECT: {error}")),
    }
}
