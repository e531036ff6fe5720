//! UTF-8 strings, MQTT 5.0 §1.5.4, and topic names.

use memchr::{memchr, memchr2};

use crate::error::Error;

/// Below this many bytes plain loops are ahead of vectorised ones, which first ask what
/// the processor can do: measured on a PUBLISH with a topic name of 14 bytes, decoding took
/// 33 ns against 46.
const SHORT_BYTES: usize = 64;

const NOT_UTF8: Error = Error::malformed("a string is not UTF-8");
const HAS_NUL: Error = Error::malformed("a string holds U+0000");
const HAS_WILDCARD: Error = Error::malformed("a topic name holds a wildcard");

/// The string in `bytes`: well-formed UTF-8 [MQTT-1.5.4-1] without U+0000 [MQTT-1.5.4-2].
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Error> {
    if has_nul(bytes) {
        return Err(HAS_NUL);
    }
    if bytes.len() < SHORT_BYTES {
        return std::str::from_utf8(bytes).map_err(|_| NOT_UTF8);
    }
    simdutf8::basic::from_utf8(bytes).map_err(|_| NOT_UTF8)
}

/// A topic name, which may be empty: text without wildcards [MQTT-3.3.2-2].
#[inline]
pub(crate) fn topic_name(bytes: &[u8]) -> Result<&str, Error> {
    let name = text(bytes)?;
    if has_wildcard(bytes) {
        return Err(HAS_WILDCARD);
    }
    Ok(name)
}

#[inline]
#[allow(
    clippy::manual_contains,
    reason = "contains() calls a search made for long slices"
)]
fn has_nul(bytes: &[u8]) -> bool {
    if bytes.len() < SHORT_BYTES {
        return bytes.iter().any(|byte| *byte == 0);
    }
    memchr(0, bytes).is_some()
}

#[inline]
fn has_wildcard(bytes: &[u8]) -> bool {
    if bytes.len() < SHORT_BYTES {
        return bytes.iter().any(|byte| matches!(byte, b'+' | b'#'));
    }
    memchr2(b'+', b'#', bytes).is_some()
}
