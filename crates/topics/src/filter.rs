//! Topic filters: plain or shared, and which names they match.

use crate::name::{TopicError, validate_filter};

const SHARE_PREFIX: &str = "$share/";

/// A topic filter as a client wrote it in SUBSCRIBE, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter<'a> {
    Plain(&'a str),
    /// `$share/{group}/{filter}`, MQTT 5.0 §4.8.2.
    Shared {
        group: &'a str,
        filter: &'a str,
    },
}

impl<'a> Filter<'a> {
    /// Takes `text` apart and validates it.
    ///
    /// A shared filter has a share name of at least one character [MQTT-4.8.2-1] without
    /// `/`, `+` and `#`, followed by `/` and a topic filter [MQTT-4.8.2-2].
    pub fn parse(text: &'a str) -> Result<Filter<'a>, TopicError> {
        if text == "$share" {
            return Err(TopicError(
                "a shared subscription is $share/{name}/{filter}",
            ));
        }
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            validate_filter(text)?;
            return Ok(Filter::Plain(text));
        };
        let Some((group, filter)) = shared.split_once('/') else {
            return Err(TopicError(
                "a shared subscription is $share/{name}/{filter}",
            ));
        };
        if group.is_empty() {
            return Err(TopicError("a share name must have at least one character"));
        }
        if group.contains(['+', '#', '\0']) {
            return Err(TopicError("a share name must not contain +, # or U+0000"));
        }
        if text.len() > crate::MAX_TOPIC_BYTES {
            return Err(TopicError("a topic must not be longer than 65,535 bytes"));
        }
        validate_filter(filter)?;
        Ok(Filter::Shared { group, filter })
    }
}

/// Says whether the valid `filter` matches the valid `name`.
///
/// Linear in the shorter of the two, without allocation. A filter that begins with a
/// wildcard matches no name that begins with `$` [MQTT-4.7.2-1]; `a/#` matches `a` too.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    levels_match(filter.as_bytes(), name.as_bytes())
}

/// As [`matches`], for the rest of a filter and the rest of a name after their first
/// levels, where `$` means nothing.
#[inline]
pub(crate) fn levels_match(filter: &[u8], name: &[u8]) -> bool {
    let (mut f, mut n) = (0, 0);
    loop {
        match filter.get(f) {
            Some(b'#') => return true,
            Some(b'+') => {
                f += 1;
                n += level_bytes(&name[n..]);
            }
            _ => {
                let same = common_bytes(&filter[f..], &name[n..]);
                f += same;
                n += same;
            }
        }
        match (filter.get(f), name.get(n)) {
            (None, None) => return true,
            (Some(b'/'), Some(b'/')) => (f, n) = (f + 1, n + 1),
            (Some(b'/'), None) => return &filter[f..] == b"/#",
            _ => return false,
        }
    }
}

/// Returns the length in bytes of the level that `text` begins with.
fn level_bytes(text: &[u8]) -> usize {
    text.iter()
        .position(|&byte| byte == b'/')
        .unwrap_or(text.len())
}

/// Returns how many bytes both begin with, up to the end of the level.
fn common_bytes(left: &[u8], right: &[u8]) -> usize {
    let both = left.iter().zip(right);
    both.take_while(|(l, r)| l == r && **l != b'/').count()
}
