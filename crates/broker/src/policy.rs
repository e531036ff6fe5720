//! What one listener's clients may do that others may not, and where in the tree they are.

use noctule_packets::{Properties, PropertyBuffer, PropertyId};
use noctule_topics::Filter;

use crate::message::Parts;

/// A listener's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Put in front of every name its clients send, and taken off every name they get: they
    /// neither see nor reach anything else. Empty, or ends with a slash.
    pub topic_prefix: Box<str>,
    pub maximum_qos: u8,
    /// 0: as for all.
    pub max_packet_bytes: u32,
    /// 0: as for all.
    pub max_keep_alive_seconds: u16,
    pub rates: RateLimits,
}

/// PUBLISH packets, and their bytes, taken from or sent to one client in a second; 0: as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub messages_in: u32,
    pub bytes_in: u64,
    pub messages_out: u32,
    pub bytes_out: u64,
}

impl RateLimits {
    /// What holds where both bound the same: the lower of the two.
    pub(crate) fn lower(self, other: RateLimits) -> RateLimits {
        RateLimits {
            messages_in: lower(self.messages_in, other.messages_in),
            bytes_in: lower(self.bytes_in, other.bytes_in),
            messages_out: lower(self.messages_out, other.messages_out),
            bytes_out: lower(self.bytes_out, other.bytes_out),
        }
    }
}

/// The lower of two bounds, of which 0 is none.
fn lower<T: Ord + Default>(one: T, other: T) -> T {
    let none = T::default();
    match one == none || other == none {
        true => one.max(other),
        false => one.min(other),
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            topic_prefix: Box::default(),
            maximum_qos: 2,
            max_packet_bytes: 0,
            max_keep_alive_seconds: 0,
            rates: RateLimits::default(),
        }
    }
}

/// The filter as the broker knows it. One that is none stays as it is, to be refused, and so
/// does one of `$`-topics, which are nobody's.
pub(crate) fn mounted_filter(prefix: &str, whole: &str) -> String {
    match Filter::parse(whole) {
        Ok(Filter::Plain(plain)) if !plain.starts_with('$') => format!("{prefix}{plain}"),
        Ok(Filter::Shared { group, filter }) if !filter.starts_with('$') => {
            format!("$share/{group}/{prefix}{filter}")
        }
        _ => whole.into(),
    }
}

/// The properties with the response topic as the broker knows it.
pub(crate) fn mounted_properties(prefix: &str, properties: Properties<'_>) -> PropertyBuffer {
    with_response_topic(properties, |topic| Some(format!("{prefix}{topic}")))
}

/// A message as a client below `prefix` knows it; `None`: it is none of its.
///
/// A filter `a/#` also matches `a`, which is outside. What is left may be neither empty, which
/// is no name, nor begin with `$`: that would pass for the broker's own.
pub(crate) fn unmounted<'a>(
    prefix: &str,
    parts: Parts<'a>,
    scratch: &'a mut PropertyBuffer,
) -> Option<Parts<'a>> {
    if parts.topic.starts_with(b"$") {
        return Some(parts);
    }
    let topic = parts.topic.strip_prefix(prefix.as_bytes())?;
    if topic.is_empty() || topic.starts_with(b"$") {
        return None;
    }
    if parts.properties.is_empty() {
        return Some(Parts { topic, ..parts });
    }
    let mut raw = PropertyBuffer::default();
    raw.push_raw(parts.properties);
    // A response topic that the client cannot reach is left out.
    *scratch = with_response_topic(raw.as_properties(), |topic| {
        topic.strip_prefix(prefix).map(Into::into)
    });
    let properties = scratch.as_properties().as_bytes();
    Some(Parts {
        topic,
        properties,
        ..parts
    })
}

fn with_response_topic(
    properties: Properties<'_>,
    rename: impl Fn(&str) -> Option<String>,
) -> PropertyBuffer {
    let mut buffer = PropertyBuffer::default();
    for property in properties.iter() {
        if property.id != PropertyId::ResponseTopic {
            buffer.push_raw(property.raw);
            continue;
        }
        let topic = properties.string(PropertyId::ResponseTopic);
        if let Some(topic) = topic
            .and_then(&rename)
            .filter(|topic| topic.len() <= 0xFFFF)
        {
            buffer.push_string(PropertyId::ResponseTopic, &topic);
        }
    }
    buffer
}
