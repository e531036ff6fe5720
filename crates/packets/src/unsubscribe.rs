//! UNSUBSCRIBE, MQTT 5.0 §3.10.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::tables::{PacketType, section};
use crate::version::Version;

/// A client's end of interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    pub packet_identifier: u16,
    pub properties: Properties<'a>,
    /// Strings as on the wire, validated.
    filters: &'a [u8],
    len: usize,
}

impl<'a> Unsubscribe<'a> {
    /// Puts a packet together; `filters` are strings with a two byte length in front of
    /// each. Errors: as of [`Unsubscribe::decode`].
    pub fn new(
        packet_identifier: u16,
        properties: Properties<'a>,
        filters: &'a [u8],
    ) -> Result<Unsubscribe<'a>, Error> {
        let mut fields = Fields(filters);
        let mut len = 0;
        while !fields.is_empty() {
            fields.string()?;
            len += 1;
        }
        if len == 0 {
            return Err(Error::protocol_error("UNSUBSCRIBE holds no topic filter"));
        }
        Ok(Unsubscribe {
            packet_identifier,
            properties,
            filters,
            len,
        })
    }

    /// Takes apart what follows a fixed header with these flags.
    ///
    /// Errors: 0x82 for no filter at all [MQTT-3.10.3-2], 0x81 for what cannot be read.
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Unsubscribe<'a>, Error> {
        PacketType::Unsubscribe.check_flags(version, flags)?;
        let mut fields = Fields(body);
        let packet_identifier = fields.request_identifier()?;
        let properties = fields.properties(version, section::UNSUBSCRIBE)?;
        Unsubscribe::new(packet_identifier, properties, fields.0)
    }

    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let len = 2 + properties_len(version, self.properties) + self.filters.len();
        put_fixed_header(out, PacketType::Unsubscribe.first_byte(), len);
        out.extend_from_slice(&self.packet_identifier.to_be_bytes());
        put_properties(out, version, self.properties);
        out.extend_from_slice(self.filters);
    }

    /// The topic filters, in their order: UTF-8 without U+0000, their syntax not judged.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut fields = Fields(self.filters);
        std::iter::from_fn(move || fields.string().ok())
    }

    /// How many filters there are; at least one.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len
    }
}
