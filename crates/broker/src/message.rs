//! An application message, kept once however many sessions wait for it.

use noctule_packets::{
    Properties, PropertyBuffer, PropertyId, QoS, Version, put_variable, variable_len,
};
use triomphe::ThinArc;

use crate::key::SessionKey;
use crate::time::Time;

/// What is known of a message besides its bytes.
///
/// `repr(C)` for speed: `qos` first, where the compiler would put it, is read four bytes wide
/// right after it was written as one, which stalls (scenario A of `make bench`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Head {
    pub publisher: SessionKey,
    /// When it arrived here.
    pub arrived: Time,
    /// When its message expiry interval is over; [`Time::NEVER`] without one.
    pub deadline: Time,
    /// The RETAIN flag as it was published.
    pub retain: bool,
    pub qos: QoS,
}

/// The head, and where the parts begin and end among the bytes behind it.
#[derive(Clone, Copy, Debug)]
struct Stored {
    head: Head,
    topic_start: u32,
    topic_end: u32,
    properties_start: u32,
    payload_start: u32,
}

/// A shared, immutable message: one allocation, one pointer wide.
#[derive(Clone, Debug)]
pub struct Message(ThinArc<Stored, u8>);

/// The parts of a message as they lie in somebody's buffer.
///
/// `properties` are those that travel with the message: no topic alias, no
/// subscription identifier, no message expiry interval (that is the head's).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub topic: &'a [u8],
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

/// A PUBLISH packet as its publisher sent it, whose parts travel as they are: one
/// subscriber's packet is often the same but for its flags and packet identifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub packet: &'a [u8],
    /// Where its fixed header ends.
    pub body_at: usize,
    pub qos: QoS,
    /// Of MQTT 5.0: with a property section.
    pub has_properties: bool,
}

impl<'a> Parts<'a> {
    pub fn len(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Appends the parts, one behind the other.
    pub fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.len());
        bytes.extend_from_slice(self.topic);
        bytes.extend_from_slice(self.properties);
        bytes.extend_from_slice(self.payload);
    }
}

impl Message {
    pub(crate) fn new(head: Head, parts: Parts<'_>) -> Message {
        let properties_start = parts.topic.len();
        let payload_start = properties_start + parts.properties.len();
        let mut bytes = Vec::with_capacity(payload_start + parts.payload.len());
        bytes.extend_from_slice(parts.topic);
        bytes.extend_from_slice(parts.properties);
        bytes.extend_from_slice(parts.payload);
        let stored = Stored {
            head,
            topic_start: 0,
            topic_end: properties_start as u32,
            properties_start: properties_start as u32,
            payload_start: payload_start as u32,
        };
        Message(ThinArc::from_header_and_slice(stored, &bytes))
    }

    /// A message from the PUBLISH body whose parts travel as they are: the
    /// body is copied once, packet identifier and lengths included.
    pub(crate) fn from_body(head: Head, body: &[u8], parts: Parts<'_>) -> Message {
        let payload_start = body.len() - parts.payload.len();
        let stored = Stored {
            head,
            topic_start: 2,
            topic_end: 2 + parts.topic.len() as u32,
            properties_start: (payload_start - parts.properties.len()) as u32,
            payload_start: payload_start as u32,
        };
        Message(ThinArc::from_header_and_slice(stored, body))
    }

    #[inline]
    pub(crate) fn head(&self) -> &Head {
        &self.0.header.header.head
    }

    #[inline]
    pub(crate) fn parts(&self) -> Parts<'_> {
        let stored = &self.0.header.header;
        let bytes = &self.0.slice;
        Parts {
            topic: &bytes[stored.topic_start as usize..stored.topic_end as usize],
            properties: &bytes[stored.properties_start as usize..stored.payload_start as usize],
            payload: &bytes[stored.payload_start as usize..],
        }
    }

    /// Where the payload begins among [`Message::bytes`].
    pub(crate) fn payload_start(&self) -> usize {
        self.0.header.header.payload_start as usize
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// Bytes this message keeps, as limits count them.
    pub(crate) fn size(&self) -> usize {
        self.0.slice.len() + size_of::<Stored>()
    }

    pub(crate) fn expired(&self, now: Time) -> bool {
        self.head().deadline <= now
    }
}

/// What a PUBLISH packet to one client says besides the message itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub version: Version,
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Not written at QoS 0.
    pub packet_identifier: u16,
    /// What is left of the message expiry interval, in seconds.
    pub expiry: Option<u32>,
    pub subscription_identifiers: &'a [u32],
    /// A topic alias to send; the topic itself is left out if the client knows it.
    pub alias: Option<(u16, AliasUse)>,
}

impl Envelope<'_> {
    /// The packet's first byte: its type and flags.
    #[inline]
    pub fn first_byte(&self) -> u8 {
        0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AliasUse {
    /// The alias is set anew: the topic goes along.
    Sets,
    /// The alias stands for the topic.
    Replaces,
}

/// Lengths of a PUBLISH to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    property_length: u32,
    remaining: u32,
    total: usize,
}

impl Layout {
    pub fn total(self) -> usize {
        self.total
    }
}

/// Works out the size of a PUBLISH; `None` if no packet can be that large.
#[inline]
pub(crate) fn layout(parts: Parts<'_>, envelope: &Envelope<'_>) -> Option<Layout> {
    let topic = match envelope.alias {
        Some((_, AliasUse::Replaces)) => 0,
        _ => parts.topic.len(),
    };
    let identifier = if envelope.qos == QoS::AtMostOnce {
        0
    } else {
        2
    };
    let mut remaining = 2 + topic + identifier + parts.payload.len();
    let mut property_length = 0;
    if envelope.version == Version::V5 {
        property_length = parts.properties.len() as u32 + own_properties_len(envelope);
        remaining += variable_len(property_length) + property_length as usize;
    }
    if remaining > noctule_packets::MAX_VARIABLE as usize {
        return None;
    }
    let remaining = remaining as u32;
    let total = 1 + variable_len(remaining) + remaining as usize;
    Some(Layout {
        property_length,
        remaining,
        total,
    })
}

#[inline]
fn own_properties_len(envelope: &Envelope<'_>) -> u32 {
    let mut length = 0;
    if envelope.expiry.is_some() {
        length += 5;
    }
    if envelope.alias.is_some() {
        length += 3;
    }
    for &identifier in envelope.subscription_identifiers {
        length += 1 + variable_len(identifier) as u32;
    }
    length
}

/// Writes everything of a PUBLISH up to its payload.
#[inline]
pub(crate) fn encode_before_payload(
    out: &mut Vec<u8>,
    parts: Parts<'_>,
    envelope: &Envelope<'_>,
    layout: Layout,
) {
    out.push(envelope.first_byte());
    put_variable(out, layout.remaining);
    if let Some((_, AliasUse::Replaces)) = envelope.alias {
        out.extend_from_slice(&[0, 0]);
    } else {
        out.extend_from_slice(&(parts.topic.len() as u16).to_be_bytes());
        out.extend_from_slice(parts.topic);
    }
    if envelope.qos != QoS::AtMostOnce {
        out.extend_from_slice(&envelope.packet_identifier.to_be_bytes());
    }
    if envelope.version != Version::V5 {
        return;
    }
    put_variable(out, layout.property_length);
    if let Some(seconds) = envelope.expiry {
        out.push(PropertyId::MessageExpiryInterval as u8);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    if let Some((alias, _)) = envelope.alias {
        out.push(PropertyId::TopicAlias as u8);
        out.extend_from_slice(&alias.to_be_bytes());
    }
    for &identifier in envelope.subscription_identifiers {
        out.push(PropertyId::SubscriptionIdentifier as u8);
        put_variable(out, identifier);
    }
    out.extend_from_slice(parts.properties);
}

/// What is left of a message's expiry interval at `now`, in seconds, rounded
/// up so that a message under way never says 0 (MQTT 5.0 §3.3.2.3.3).
pub(crate) fn remaining_expiry(deadline: Time, now: Time) -> Option<u32> {
    if deadline == Time::NEVER {
        return None;
    }
    let seconds = now.seconds_until(deadline).max(1);
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// Copies the properties that travel with a message into `out`; returns the
/// message expiry interval in seconds, if there is one.
pub(crate) fn travelling_properties(
    properties: Properties<'_>,
    out: &mut PropertyBuffer,
) -> Option<u32> {
    let mut expiry = None;
    for property in properties.iter() {
        match property.id {
            PropertyId::MessageExpiryInterval => {
                expiry = properties.four_byte(PropertyId::MessageExpiryInterval);
            }
            PropertyId::TopicAlias
            | PropertyId::SubscriptionIdentifier
            | PropertyId::WillDelayInterval => {}
            _ => out.push_raw(property.raw),
        }
    }
    expiry
}
