//! DISCONNECT, MQTT 5.0 §3.14.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::{PacketType, section};
use crate::version::Version;

/// The last packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// Always 0 before 5.0.
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A reason code without properties.
    pub const fn with_reason(reason: ReasonCode) -> Disconnect<'static> {
        Disconnect {
            reason,
            properties: Properties::EMPTY,
        }
    }

    /// Takes apart what follows a fixed header with these flags.
    ///
    /// 5.0 may leave out the properties' length, or that and the reason code (then 0).
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Disconnect<'a>, Error> {
        PacketType::Disconnect.check_flags(version, flags)?;
        let mut fields = Fields(body);
        if version < Version::V5 || fields.is_empty() {
            fields.end()?;
            return Ok(Disconnect::with_reason(ReasonCode::NORMAL_DISCONNECTION));
        }
        let reason = ReasonCode(fields.byte()?);
        if !reason.allowed_in(PacketType::Disconnect) {
            return Err(Error::malformed(
                "the reason code is not one of DISCONNECT's",
            ));
        }
        if fields.is_empty() {
            return Ok(Disconnect::with_reason(reason));
        }
        let properties = fields.properties(version, section::DISCONNECT)?;
        fields.end()?;
        Ok(Disconnect { reason, properties })
    }

    /// Appends the packet in its shortest form.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let first = PacketType::Disconnect.first_byte();
        let is_plain = self.properties.is_empty();
        if version < Version::V5 || (is_plain && self.reason == ReasonCode::NORMAL_DISCONNECTION) {
            return out.extend_from_slice(&[first, 0]);
        }
        if is_plain {
            return out.extend_from_slice(&[first, 1, self.reason.0]);
        }
        put_fixed_header(out, first, 1 + properties_len(version, self.properties));
        out.push(self.reason.0);
        put_properties(out, version, self.properties);
    }
}
