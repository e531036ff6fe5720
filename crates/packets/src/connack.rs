//! CONNACK, MQTT 5.0 §3.2.

use crate::connect::lacks_authentication_method;
use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::{PacketType, ReturnCode, section};
use crate::version::Version;

/// The server's answer to CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connack<'a> {
    /// Always false in 3.1, which does not tell.
    pub session_present: bool,
    /// Before 5.0: a return code, 0 to 5 ([`ReturnCode`]).
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Connack<'a>, Error> {
        PacketType::Connack.check_flags(version, flags)?;
        let mut fields = Fields(body);
        let acknowledge_flags = fields.byte()?;
        let session_present = match (version, acknowledge_flags) {
            (Version::V3, _) | (_, 0) => false,
            (_, 1) => true,
            _ => return Err(Error::malformed("reserved acknowledge flags are set")),
        };
        let reason = ReasonCode(fields.byte()?);
        if !is_known(version, reason) {
            return Err(Error::malformed("the reason code is not one of CONNACK's"));
        }
        if session_present && reason != ReasonCode::SUCCESS {
            return Err(Error::protocol_error(
                "a refused connection has a session present",
            ));
        }
        let properties = fields.properties(version, section::CONNACK)?;
        if lacks_authentication_method(properties) {
            return Err(Error::protocol_error(
                "authentication data without a method",
            ));
        }
        fields.end()?;
        Ok(Connack {
            session_present,
            reason,
            properties,
        })
    }

    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let session_present = self.session_present && version > Version::V3;
        let len = 2 + properties_len(version, self.properties);
        put_fixed_header(out, (PacketType::Connack as u8) << 4, len);
        out.extend_from_slice(&[session_present as u8, self.reason.0]);
        put_properties(out, version, self.properties);
    }
}

fn is_known(version: Version, reason: ReasonCode) -> bool {
    match version {
        Version::V5 => reason.allowed_in(PacketType::Connack),
        _ => ReturnCode::from_u8(reason.0).is_some(),
    }
}
