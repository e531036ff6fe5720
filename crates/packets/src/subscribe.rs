//! SUBSCRIBE, MQTT 5.0 §3.8.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties, put_string};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::tables::{PacketType, section};
use crate::version::{QoS, Version};

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING: u8 = 0b0011_0000;
const RESERVED: u8 = 0b1100_0000;

/// A client's wish for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    pub packet_identifier: u16,
    pub properties: Properties<'a>,
    /// Filters and options as on the wire, validated.
    requests: &'a [u8],
    len: usize,
}

/// A topic filter and how its messages are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionRequest<'a> {
    /// UTF-8 without U+0000; whether it is a valid filter is not judged here.
    pub filter: &'a str,
    pub qos: QoS,
    /// Not the client's own messages. Always false before 5.0.
    pub no_local: bool,
    /// Always false before 5.0.
    pub retain_as_published: bool,
    /// 0: retained messages are sent; 1: only for a new subscription; 2: never. Always 0
    /// before 5.0.
    pub retain_handling: u8,
}

impl<'a> Subscribe<'a> {
    /// Puts a packet together; `requests` are filters and options as
    /// [`SubscriptionRequest::encode`] appends them. Errors: as of [`Subscribe::decode`].
    pub fn new(
        version: Version,
        packet_identifier: u16,
        properties: Properties<'a>,
        requests: &'a [u8],
    ) -> Result<Subscribe<'a>, Error> {
        let mut fields = Fields(requests);
        let mut len = 0;
        while !fields.is_empty() {
            take_request(version, &mut fields)?;
            len += 1;
        }
        if len == 0 {
            return Err(Error::protocol_error("SUBSCRIBE holds no topic filter"));
        }
        Ok(Subscribe {
            packet_identifier,
            properties,
            requests,
            len,
        })
    }

    /// Takes apart what follows a fixed header with these flags.
    ///
    /// Errors: 0x82 for no filter at all [MQTT-3.8.3-2], QoS 3 or retain handling 3; 0x81
    /// for reserved bits [MQTT-3.8.3-5] and what cannot be read.
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Subscribe<'a>, Error> {
        PacketType::Subscribe.check_flags(version, flags)?;
        let mut fields = Fields(body);
        let packet_identifier = fields.request_identifier()?;
        let properties = fields.properties(version, section::SUBSCRIBE)?;
        Subscribe::new(version, packet_identifier, properties, fields.0)
    }

    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let len = 2 + properties_len(version, self.properties) + self.requests.len();
        put_fixed_header(out, PacketType::Subscribe.first_byte(), len);
        out.extend_from_slice(&self.packet_identifier.to_be_bytes());
        put_properties(out, version, self.properties);
        for request in self.filters() {
            request.encode(version, out);
        }
    }

    /// The filters with their options, in their order.
    pub fn filters(&self) -> impl Iterator<Item = SubscriptionRequest<'a>> + use<'a> {
        let mut fields = Fields(self.requests);
        // Validated by the rules of the packet's version, which are a part of 5.0's.
        std::iter::from_fn(move || take_request(Version::V5, &mut fields).ok())
    }

    /// How many filters there are; at least one.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl SubscriptionRequest<'_> {
    /// Appends filter and options.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_string(out, self.filter);
        out.push(self.options(version));
    }

    fn options(&self, version: Version) -> u8 {
        let mut options = self.qos as u8;
        if version < Version::V5 {
            return options;
        }
        if self.no_local {
            options |= NO_LOCAL;
        }
        if self.retain_as_published {
            options |= RETAIN_AS_PUBLISHED;
        }
        options | (self.retain_handling << 4) & RETAIN_HANDLING
    }
}

fn take_request<'a>(
    version: Version,
    fields: &mut Fields<'a>,
) -> Result<SubscriptionRequest<'a>, Error> {
    let filter = fields.string()?;
    let options = fields.byte()?;
    let reserved = if version < Version::V5 {
        !QOS
    } else {
        RESERVED
    };
    if options & reserved != 0 {
        return Err(Error::malformed("reserved subscription options are set"));
    }
    let qos = QoS::from_u8(options & QOS).ok_or(Error::protocol_error("QoS 3 is requested"))?;
    let retain_handling = (options & RETAIN_HANDLING) >> 4;
    if retain_handling == 3 {
        return Err(Error::protocol_error("retain handling 3"));
    }
    Ok(SubscriptionRequest {
        filter,
        qos,
        no_local: options & NO_LOCAL != 0,
        retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    })
}
