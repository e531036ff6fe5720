//! Variable byte integers, MQTT 5.0 §1.5.5: seven bits a byte, the lowest first.

use crate::error::Error;

/// The greatest value that four bytes hold.
pub const MAX_VARIABLE: u32 = 268_435_455;

const NOT_MINIMAL: Error = Error::malformed("a variable byte integer is longer than it need be");
const TOO_LONG: Error = Error::malformed("a variable byte integer has more than four bytes");

/// Appends `value` in the fewest bytes; at most [`MAX_VARIABLE`], which the caller holds.
#[inline]
pub fn put_variable(out: &mut Vec<u8>, value: u32) {
    debug_assert!(value <= MAX_VARIABLE);
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes `value` takes: 1 to 4.
#[inline]
pub const fn variable_len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Reads the integer that `bytes` begin with: its value and how many bytes it took.
///
/// Ok(None) means that more bytes are needed. An encoding that is not the shortest is
/// malformed [MQTT-1.5.5-1], and so is a fourth byte that announces a fifth.
#[inline]
pub fn take_variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Error> {
    let low = |byte: u8| u32::from(byte & 0x7F);
    let (value, last, len) = match *bytes {
        [a, ..] if a < 0x80 => return Ok(Some((u32::from(a), 1))),
        [a, b, ..] if b < 0x80 => (low(a) | low(b) << 7, b, 2),
        [a, b, c, ..] if c < 0x80 => (low(a) | low(b) << 7 | low(c) << 14, c, 3),
        [a, b, c, d, ..] if d < 0x80 => (low(a) | low(b) << 7 | low(c) << 14 | low(d) << 21, d, 4),
        [_, _, _, _, ..] => return Err(TOO_LONG),
        _ => return Ok(None),
    };
    if last == 0 {
        return Err(NOT_MINIMAL);
    }
    Ok(Some((value, len)))
}
