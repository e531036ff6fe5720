//! Reason codes; their constants, names and packets are in [`crate::tables`].

use std::fmt;

use crate::tables::PacketType;

/// A reason code of MQTT 5.0 §2.4, or whatever byte stood in its place.
///
/// In CONNACK and SUBACK of earlier versions it holds their return code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReasonCode(pub u8);

impl ReasonCode {
    /// Whether it tells of a failure: 0x80 and above.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// Whether 5.0 lets this packet carry it.
    #[inline]
    pub const fn allowed_in(self, packet: PacketType) -> bool {
        self.packets() & (1 << packet as u16) != 0
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:02X}", self.0),
        }
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReasonCode(0x{:02X} {self})", self.0)
    }
}
