//! SUBACK and UNSUBACK, MQTT 5.0 §3.9 and §3.11.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::{PacketType, section};
use crate::version::Version;

/// The server's answer to SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suback<'a> {
    pub packet_identifier: u16,
    pub properties: Properties<'a>,
    /// A reason code for each filter; before 5.0 a QoS, or 0x80 for a failure.
    pub reasons: &'a [u8],
}

/// The server's answer to UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsuback<'a> {
    pub packet_identifier: u16,
    pub properties: Properties<'a>,
    /// A reason code for each filter; none before 5.0.
    pub reasons: &'a [u8],
}

/// What 3.1.1 has for a filter that was refused, MQTT 3.1.1 §3.9.3.
const FAILURE: u8 = 0x80;

impl<'a> Suback<'a> {
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Suback<'a>, Error> {
        PacketType::Suback.check_flags(version, flags)?;
        let mut fields = Fields(body);
        let packet_identifier = fields.request_identifier()?;
        let properties = fields.properties(version, section::SUBACK)?;
        let reasons = fields.0;
        check_reasons(reasons, |reason| match version {
            Version::V5 => ReasonCode(reason).allowed_in(PacketType::Suback),
            _ => matches!(reason, 0..=2 | FAILURE),
        })?;
        Ok(Suback {
            packet_identifier,
            properties,
            reasons,
        })
    }

    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let len = 2 + properties_len(version, self.properties) + self.reasons.len();
        put_fixed_header(out, PacketType::Suback.first_byte(), len);
        out.extend_from_slice(&self.packet_identifier.to_be_bytes());
        put_properties(out, version, self.properties);
        if version == Version::V5 {
            return out.extend_from_slice(self.reasons);
        }
        // Before 5.0 all failures are one.
        out.extend(self.reasons.iter().map(|&reason| reason.min(FAILURE)));
    }
}

impl<'a> Unsuback<'a> {
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Unsuback<'a>, Error> {
        PacketType::Unsuback.check_flags(version, flags)?;
        let mut fields = Fields(body);
        let packet_identifier = fields.request_identifier()?;
        if version < Version::V5 {
            fields.end()?;
            return Ok(Unsuback {
                packet_identifier,
                properties: Properties::EMPTY,
                reasons: &[],
            });
        }
        let properties = fields.properties(version, section::UNSUBACK)?;
        let reasons = fields.0;
        check_reasons(reasons, |reason| {
            ReasonCode(reason).allowed_in(PacketType::Unsuback)
        })?;
        Ok(Unsuback {
            packet_identifier,
            properties,
            reasons,
        })
    }

    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let reasons = if version < Version::V5 {
            &[]
        } else {
            self.reasons
        };
        let len = 2 + properties_len(version, self.properties) + reasons.len();
        put_fixed_header(out, PacketType::Unsuback.first_byte(), len);
        out.extend_from_slice(&self.packet_identifier.to_be_bytes());
        put_properties(out, version, self.properties);
        out.extend_from_slice(reasons);
    }
}

fn check_reasons(reasons: &[u8], is_known: impl Fn(u8) -> bool) -> Result<(), Error> {
    if reasons.is_empty() {
        return Err(Error::malformed("an acknowledgement holds no reason code"));
    }
    if !reasons.iter().all(|&reason| is_known(reason)) {
        return Err(Error::malformed(
            "the reason code is not one of its packet's",
        ));
    }
    Ok(())
}
