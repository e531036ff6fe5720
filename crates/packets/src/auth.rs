//! AUTH, MQTT 5.0 §3.15.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::{PacketType, PropertyId, section};
use crate::version::Version;

/// A step of an enhanced authentication; 5.0 only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// Takes apart what follows a fixed header with these flags.
    ///
    /// An empty body is a success without properties. Any other names its authentication
    /// method (0x82).
    pub fn decode(flags: u8, body: &'a [u8]) -> Result<Auth<'a>, Error> {
        PacketType::Auth.check_flags(Version::V5, flags)?;
        if body.is_empty() {
            return Ok(Auth {
                reason: ReasonCode::SUCCESS,
                properties: Properties::EMPTY,
            });
        }
        let mut fields = Fields(body);
        let reason = ReasonCode(fields.byte()?);
        if !reason.allowed_in(PacketType::Auth) {
            return Err(Error::malformed("the reason code is not one of AUTH's"));
        }
        let properties = fields.properties(Version::V5, section::AUTH)?;
        if properties
            .string(PropertyId::AuthenticationMethod)
            .is_none()
        {
            return Err(Error::protocol_error("AUTH names no authentication method"));
        }
        fields.end()?;
        Ok(Auth { reason, properties })
    }

    /// Appends the packet in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let first = PacketType::Auth.first_byte();
        if self.properties.is_empty() && self.reason == ReasonCode::SUCCESS {
            return out.extend_from_slice(&[first, 0]);
        }
        put_fixed_header(out, first, 1 + properties_len(Version::V5, self.properties));
        out.push(self.reason.0);
        put_properties(out, Version::V5, self.properties);
    }
}
