//! How sessions and messages are written down, and read back.
//!
//! Numbers are big-endian, texts and binaries have their length before them, times are
//! wall-clock milliseconds (the core's own clock begins anew with every process).
//! Every value begins with the number of its form, so that a later one can tell.

use noctule_packets::QoS;
use smallvec::SmallVec;

use crate::key::SessionKey;
use crate::message::{Head, Message, Parts};
use crate::outgoing::{Awaiting, Outbound};
use crate::routes::Grant;
use crate::session::{Session, Will};
use crate::time::Time;

const FORM: u8 = 1;
/// Of a time: never, or not at all.
pub(crate) const NO_TIME: u64 = u64::MAX;

/// Wall-clock time at the beginning of the core's: milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wall(pub u64);

impl Wall {
    fn write(self, time: Time) -> u64 {
        if time == Time::NEVER {
            NO_TIME
        } else {
            self.0.saturating_add(time.0 / 1_000)
        }
    }

    /// A wall-clock time as the core's; what lies before its beginning is that.
    fn read(self, milliseconds: u64) -> Time {
        if milliseconds == NO_TIME {
            return Time::NEVER;
        }
        Time(milliseconds.saturating_sub(self.0).saturating_mul(1_000))
    }
}

/// A session as it was kept.
#[derive(Debug)]
pub(crate) struct KeptSession {
    pub durable: u64,
    pub user: Option<Box<str>>,
    pub expiry_seconds: u32,
    /// Milliseconds since 1970 when its connection ended; `None` if it had one.
    pub offline_since: Option<u64>,
    pub will: Option<Box<Will>>,
}

pub(crate) fn write_session(session: &Session, wall: Wall, out: &mut Vec<u8>) {
    let since = session.connection.is_none().then(|| {
        wall.write(session.offline_since)
            .saturating_sub(session.away_milliseconds)
    });
    let (durable, expiry_seconds) = (session.durable, session.expiry_seconds);
    let (user, will) = (session.user.as_deref(), session.will.as_deref());
    write_session_parts(durable, expiry_seconds, since, user, will, out);
}

pub(crate) fn write_session_parts(
    durable: u64,
    expiry_seconds: u32,
    offline_since: Option<u64>,
    user: Option<&str>,
    will: Option<&Will>,
    out: &mut Vec<u8>,
) {
    out.push(FORM);
    out.extend_from_slice(&durable.to_be_bytes());
    out.extend_from_slice(&expiry_seconds.to_be_bytes());
    out.extend_from_slice(&offline_since.unwrap_or(NO_TIME).to_be_bytes());
    write_option(user.map(str::as_bytes), out);
    let Some(will) = will else {
        return out.push(0);
    };
    out.push(1);
    out.push((will.qos as u8) << 1 | u8::from(will.retain));
    out.extend_from_slice(&will.delay_seconds.to_be_bytes());
    write_option(
        will.expiry_seconds
            .map(u32::to_be_bytes)
            .as_ref()
            .map(|each| &each[..]),
        out,
    );
    write_bytes(will.topic.as_bytes(), out);
    write_bytes(&will.properties, out);
    write_bytes(&will.payload, out);
}

pub(crate) fn read_session(mut bytes: &[u8]) -> Option<KeptSession> {
    let reader = &mut bytes;
    read_form(reader)?;
    let durable = read_u64(reader)?;
    let expiry_seconds = read_u32(reader)?;
    let since = read_u64(reader)?;
    let user = match read_option(reader)? {
        Some(user) => Some(std::str::from_utf8(user).ok()?.into()),
        None => None,
    };
    let will = match read_u8(reader)? {
        0 => None,
        _ => Some(Box::new(read_will(reader)?)),
    };
    let offline_since = (since != NO_TIME).then_some(since);
    Some(KeptSession {
        durable,
        user,
        expiry_seconds,
        offline_since,
        will,
    })
}

fn read_will(reader: &mut &[u8]) -> Option<Will> {
    let flags = read_u8(reader)?;
    let delay_seconds = read_u32(reader)?;
    let expiry = read_option(reader)?;
    let expiry_seconds = match expiry {
        Some(bytes) => Some(u32::from_be_bytes(bytes.try_into().ok()?)),
        None => None,
    };
    Some(Will {
        topic: std::str::from_utf8(read_bytes(reader)?).ok()?.into(),
        properties: read_bytes(reader)?.into(),
        payload: read_bytes(reader)?.into(),
        qos: QoS::from_u8(flags >> 1)?,
        retain: flags & 1 == 1,
        delay_seconds,
        expiry_seconds,
    })
}

pub(crate) fn write_grant(grant: Grant, out: &mut Vec<u8>) {
    let flags = u8::from(grant.no_local) | u8::from(grant.retain_as_published) << 1;
    out.extend_from_slice(&[FORM, grant.qos as u8, flags]);
    out.extend_from_slice(&grant.subscription_identifier.to_be_bytes());
}

pub(crate) fn read_grant(mut bytes: &[u8], durable: u64) -> Option<Grant> {
    let reader = &mut bytes;
    read_form(reader)?;
    let qos = QoS::from_u8(read_u8(reader)?)?;
    let flags = read_u8(reader)?;
    Some(Grant {
        durable,
        qos,
        no_local: flags & 1 != 0,
        retain_as_published: flags & 2 != 0,
        subscription_identifier: read_u32(reader)?,
    })
}

pub(crate) fn write_message(message: &Message, wall: Wall, out: &mut Vec<u8>) {
    write_parts(message.head(), message.parts(), wall, out);
}

/// A message that may still lie in its publisher's bytes.
pub(crate) fn write_parts(head: &Head, parts: Parts<'_>, wall: Wall, out: &mut Vec<u8>) {
    out.push(FORM);
    out.push((head.qos as u8) << 1 | u8::from(head.retain));
    out.extend_from_slice(&wall.write(head.arrived).to_be_bytes());
    out.extend_from_slice(&wall.write(head.deadline).to_be_bytes());
    write_bytes(parts.topic, out);
    write_bytes(parts.properties, out);
    out.extend_from_slice(parts.payload);
}

/// By whom something was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    ThisProcess,
    /// By a clock that may have been set since.
    Former,
}

pub(crate) fn read_message(bytes: &[u8], wall: Wall, writer: Writer) -> Option<Message> {
    let raw = read_raw_message(bytes)?;
    // A clock that went back counts as no time: nothing lives longer than it was given.
    let behind = match (writer, raw.deadline) {
        (Writer::ThisProcess, _) | (_, NO_TIME) => 0,
        (Writer::Former, _) => raw.arrived.saturating_sub(wall.0),
    };
    let head = Head {
        publisher: SessionKey::FORMER,
        qos: raw.qos,
        retain: raw.retain,
        arrived: wall.read(raw.arrived - behind),
        deadline: wall.read(raw.deadline.saturating_sub(behind)),
    };
    Some(Message::new(head, raw.parts))
}

/// A message as it lies on disk: its times are of the wall clock that wrote it.
pub(crate) struct RawMessage<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub arrived: u64,
    /// [`NO_TIME`] without one.
    pub deadline: u64,
    pub parts: Parts<'a>,
}

pub(crate) fn read_raw_message(mut bytes: &[u8]) -> Option<RawMessage<'_>> {
    let reader = &mut bytes;
    read_form(reader)?;
    let flags = read_u8(reader)?;
    let (arrived, deadline) = (read_u64(reader)?, read_u64(reader)?);
    let (topic, properties) = (read_bytes(reader)?, read_bytes(reader)?);
    noctule_topics::validate_name(std::str::from_utf8(topic).ok()?).ok()?;
    Some(RawMessage {
        qos: QoS::from_u8(flags >> 1)?,
        retain: flags & 1 == 1,
        arrived,
        deadline,
        parts: Parts {
            topic,
            properties,
            payload: reader,
        },
    })
}

/// How one session is to get a message, before the message itself.
pub(crate) fn write_terms(
    qos: QoS,
    retain: bool,
    identifiers: &[u32],
    group: Option<&str>,
    out: &mut Vec<u8>,
) {
    out.push(FORM);
    out.push((qos as u8) << 1 | u8::from(retain));
    out.extend_from_slice(&(identifiers.len() as u32).to_be_bytes());
    identifiers
        .iter()
        .for_each(|each| out.extend_from_slice(&each.to_be_bytes()));
    write_option(group.map(str::as_bytes), out);
}

/// A queued message and the name of the group that chose its session.
pub(crate) fn read_queued(
    mut bytes: &[u8],
    sequence: u64,
    wall: Wall,
    writer: Writer,
) -> Option<(Outbound, Option<Box<str>>)> {
    let terms = read_terms(&mut bytes)?;
    let outbound = Outbound {
        sequence,
        qos: terms.qos,
        retain: terms.retain,
        subscription_identifiers: terms.identifiers,
        group: None,
        message: read_message(bytes, wall, writer)?,
    };
    Some((outbound, terms.group.map(Box::from)))
}

/// What stands before the message in a queue.
pub(crate) struct Terms<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub identifiers: SmallVec<[u32; 2]>,
    pub group: Option<&'a str>,
}

/// Leaves `reader` at the message.
pub(crate) fn read_terms<'a>(reader: &mut &'a [u8]) -> Option<Terms<'a>> {
    read_form(reader)?;
    let flags = read_u8(reader)?;
    let count = read_u32(reader)?;
    let mut identifiers = SmallVec::new();
    for _ in 0..count {
        identifiers.push(read_u32(reader)?);
    }
    let group = match read_option(reader)? {
        Some(name) => Some(std::str::from_utf8(name).ok()?),
        None => None,
    };
    Some(Terms {
        qos: QoS::from_u8(flags >> 1)?,
        retain: flags & 1 == 1,
        identifiers,
        group,
    })
}

pub(crate) fn write_in_flight(identifier: u16, awaiting: Awaiting, out: &mut Vec<u8>) {
    let [high, low] = identifier.to_be_bytes();
    out.extend_from_slice(&[FORM, u8::from(awaiting == Awaiting::Pubcomp), high, low]);
}

pub(crate) fn read_in_flight(bytes: &[u8]) -> Option<(u16, Awaiting)> {
    let &[FORM, released, high, low] = bytes else {
        return None;
    };
    let awaiting = if released == 1 {
        Awaiting::Pubcomp
    } else {
        Awaiting::Pubrec
    };
    Some((u16::from_be_bytes([high, low]), awaiting))
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn write_option(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        write_bytes(bytes, out);
    }
}

fn read_form(reader: &mut &[u8]) -> Option<()> {
    (read_u8(reader)? == FORM).then_some(())
}

fn read_u8(reader: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = reader.split_first()?;
    *reader = rest;
    Some(first)
}

fn read_u32(reader: &mut &[u8]) -> Option<u32> {
    let (first, rest) = reader.split_first_chunk()?;
    *reader = rest;
    Some(u32::from_be_bytes(*first))
}

fn read_u64(reader: &mut &[u8]) -> Option<u64> {
    let (first, rest) = reader.split_first_chunk()?;
    *reader = rest;
    Some(u64::from_be_bytes(*first))
}

fn read_bytes<'a>(reader: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = read_u32(reader)? as usize;
    let (bytes, rest) = reader.split_at_checked(length)?;
    *reader = rest;
    Some(bytes)
}

/// The outer `Option` says whether it could be read, the inner whether it is there.
#[expect(clippy::option_option, reason = "an absent field is not a damaged one")]
fn read_option<'a>(reader: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match read_u8(reader)? {
        0 => Some(None),
        1 => Some(Some(read_bytes(reader)?)),
        _ => None,
    }
}
