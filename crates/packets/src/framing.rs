//! The fixed header: where a packet begins and ends in a stream.

use crate::error::Error;
use crate::variable::{put_variable, take_variable};

/// A packet's first byte and its lengths, MQTT 5.0 §2.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FixedHeader {
    /// Packet type and flags, as on the wire.
    pub first: u8,
    /// Bytes of the fixed header itself: 2 to 5.
    pub header_len: usize,
    /// Bytes that follow it.
    pub remaining: usize,
}

impl FixedHeader {
    /// The packet type's value, 1 to 15.
    #[inline]
    pub const fn packet_type(self) -> u8 {
        self.first >> 4
    }

    /// The flags, the lower half of the first byte.
    #[inline]
    pub const fn flags(self) -> u8 {
        self.first & 0x0F
    }

    /// Bytes of the whole packet.
    #[inline]
    pub const fn total(self) -> usize {
        self.header_len + self.remaining
    }

    /// Reads the header that `bytes` begin with; Ok(None) means that more are needed.
    ///
    /// The declared length is not compared with anything: whoever buffers the packet
    /// holds it against the maximum packet size first. Packet type 0 is a protocol error;
    /// remaining lengths that are not in the fewest bytes or go on after the fourth are
    /// malformed.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Option<FixedHeader>, Error> {
        let [first, lengths @ ..] = bytes else {
            return Ok(None);
        };
        if *first < 0x10 {
            return Err(Error::protocol_error("packet type 0 is reserved"));
        }
        let Some((remaining, len)) = take_variable(lengths)? else {
            return Ok(None);
        };
        Ok(Some(FixedHeader {
            first: *first,
            header_len: 1 + len,
            remaining: remaining as usize,
        }))
    }
}

/// Appends a fixed header and makes room for what follows; `remaining` is at most
/// [`crate::MAX_VARIABLE`] bytes.
#[inline]
pub fn put_fixed_header(out: &mut Vec<u8>, first: u8, remaining: usize) {
    out.reserve(5 + remaining);
    out.push(first);
    put_variable(out, remaining as u32);
}
