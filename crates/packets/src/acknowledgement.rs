//! PUBACK, PUBREC, PUBREL and PUBCOMP, MQTT 5.0 §3.4 to §3.7: one form, four meanings.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::PacketType;
use crate::version::Version;

/// A step of a QoS 1 or QoS 2 delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledgement<'a> {
    pub packet_identifier: u16,
    /// Always 0 before 5.0.
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> Acknowledgement<'a> {
    /// A success without properties.
    pub const fn success(packet_identifier: u16) -> Acknowledgement<'static> {
        Acknowledgement::with_reason(packet_identifier, ReasonCode::SUCCESS)
    }

    /// A reason code without properties.
    pub const fn with_reason(
        packet_identifier: u16,
        reason: ReasonCode,
    ) -> Acknowledgement<'static> {
        Acknowledgement {
            packet_identifier,
            reason,
            properties: Properties::EMPTY,
        }
    }

    /// Takes apart what follows a fixed header with these flags; `kind` is one of the four.
    ///
    /// 5.0 may leave out the properties' length, or that and the reason code (then 0).
    /// Errors: 0x82 for packet identifier 0 and for other packets' reason codes.
    #[inline]
    pub fn decode(
        kind: PacketType,
        version: Version,
        flags: u8,
        body: &'a [u8],
    ) -> Result<Acknowledgement<'a>, Error> {
        kind.check_flags(version, flags)?;
        let mut fields = Fields(body);
        let packet_identifier = fields.packet_identifier()?;
        if version < Version::V5 || fields.is_empty() {
            fields.end()?;
            return Ok(Acknowledgement::success(packet_identifier));
        }
        let reason = ReasonCode(fields.byte()?);
        if !reason.allowed_in(kind) {
            return Err(Error::protocol_error(
                "the reason code is not one of its packet's",
            ));
        }
        if fields.is_empty() {
            return Ok(Acknowledgement::with_reason(packet_identifier, reason));
        }
        let properties = fields.properties(version, kind.section())?;
        fields.end()?;
        Ok(Acknowledgement {
            packet_identifier,
            reason,
            properties,
        })
    }

    /// Appends the packet in its shortest form; `kind` is one of the four.
    #[inline]
    pub fn encode(&self, kind: PacketType, version: Version, out: &mut Vec<u8>) {
        let first = kind.first_byte();
        let [high, low] = self.packet_identifier.to_be_bytes();
        let is_plain = self.properties.is_empty();
        if version < Version::V5 || (is_plain && self.reason == ReasonCode::SUCCESS) {
            return out.extend_from_slice(&[first, 2, high, low]);
        }
        if is_plain {
            return out.extend_from_slice(&[first, 3, high, low, self.reason.0]);
        }
        put_fixed_header(out, first, 3 + properties_len(version, self.properties));
        out.extend_from_slice(&[high, low, self.reason.0]);
        put_properties(out, version, self.properties);
    }
}
