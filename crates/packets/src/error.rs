//! Why bytes were refused.

use std::fmt;

use crate::reason::ReasonCode;

/// Why bytes were refused, with what to answer.
///
/// All of them are the peer's faults. Before 5.0 there is nothing to answer with but a
/// CONNACK's return code ([`crate::ReturnCode::from_reason`]); the connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// The reason code for CONNACK or DISCONNECT.
    pub reason: ReasonCode,
    /// What was wrong, for a log line.
    pub what: &'static str,
}

impl Error {
    /// The bytes cannot be taken apart (0x81).
    #[inline]
    pub const fn malformed(what: &'static str) -> Error {
        Error {
            reason: ReasonCode::MALFORMED_PACKET,
            what,
        }
    }

    /// The packet is well formed but says what it must not (0x82).
    #[inline]
    pub const fn protocol_error(what: &'static str) -> Error {
        Error {
            reason: ReasonCode::PROTOCOL_ERROR,
            what,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X} {})", self.what, self.reason.0, self.reason)
    }
}

impl std::error::Error for Error {}
