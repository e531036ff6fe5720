//! What a topic name and a topic filter may look like. MQTT 5.0 §4.7.

use std::fmt;

/// Longest topic name or filter, in bytes of UTF-8 [MQTT-4.7.3-3].
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicError(pub &'static str);

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for TopicError {}

/// Says whether `name` is a topic name: 1 to 65,535 bytes, without U+0000, `+` and `#`
/// [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3].
pub fn validate_name(name: &str) -> Result<(), TopicError> {
    validate_length(name)?;
    // One pass over the bytes: this stands on the way of every PUBLISH.
    if !name.bytes().any(|byte| matches!(byte, 0 | b'+' | b'#')) {
        return Ok(());
    }
    if name.bytes().any(|byte| byte == 0) {
        return Err(TopicError("a topic name must not contain U+0000"));
    }
    Err(TopicError(
        "a topic name must not contain wildcards (+ or #)",
    ))
}

/// Says whether `filter` is a topic filter: 1 to 65,535 bytes, without U+0000, `#` only
/// as the whole last level [MQTT-4.7.1-1], `+` only as a whole level [MQTT-4.7.1-2].
///
/// A shared subscription's text is taken apart by [`Filter::parse`](crate::Filter::parse).
pub fn validate_filter(filter: &str) -> Result<(), TopicError> {
    validate_length(filter)?;
    let bytes = filter.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            0 => return Err(TopicError("a topic filter must not contain U+0000")),
            b'#' if at + 1 != bytes.len() => {
                return Err(TopicError("# must be the last character of a topic filter"));
            }
            b'#' if !begins_level(bytes, at) => {
                return Err(TopicError("# must stand alone or right after a /"));
            }
            b'+' if !begins_level(bytes, at) || !ends_level(bytes, at) => {
                return Err(TopicError("+ must fill a whole level of a topic filter"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the number of levels of a topic name or filter: its separators and one.
pub fn levels(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'/').count() + 1
}

fn validate_length(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError("a topic must have at least one character"));
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError("a topic must not be longer than 65,535 bytes"));
    }
    Ok(())
}

fn begins_level(bytes: &[u8], at: usize) -> bool {
    at == 0 || bytes[at - 1] == b'/'
}

fn ends_level(bytes: &[u8], at: usize) -> bool {
    at + 1 == bytes.len() || bytes[at + 1] == b'/'
}

/// Returns the first level of `text`, without its separator.
#[inline]
pub(crate) fn first_level(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .position(|&byte| byte == b'/')
        .unwrap_or(text.len());
    &text[..end]
}
