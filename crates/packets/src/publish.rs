//! PUBLISH, MQTT 5.0 §3.3.

use crate::error::Error;
use crate::fields::{Fields, properties_len, put_properties, put_string, string_len};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::{PacketType, PropertyId, section};
use crate::text::topic_name;
use crate::version::{QoS, Version};

const DUP: u8 = 0b1000;
const QOS: u8 = 0b0110;
const RETAIN: u8 = 0b0001;

const CUT_OFF: Error = Error::malformed("a field of PUBLISH runs past its end");
const EMPTY_TOPIC: Error = Error {
    reason: ReasonCode::TOPIC_NAME_INVALID,
    what: "the topic name is empty",
};
const NO_TOPIC: Error = Error::protocol_error("neither a topic name nor a topic alias");

/// PUBLISH split by its lengths only: strings are not validated yet, because whoever is
/// in a hurry looks the topic up by its bytes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawPublish<'a> {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Not validated: see [`RawPublish::validate_topic`].
    pub topic: &'a [u8],
    /// 0 at QoS 0, which has none.
    pub packet_identifier: u16,
    /// Not validated, without the length in front: see [`RawPublish::validate_properties`].
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

/// A message on its way, all of it validated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Empty only where a topic alias stands for it.
    pub topic: &'a str,
    /// 0 at QoS 0, which has none.
    pub packet_identifier: u16,
    pub properties: Properties<'a>,
    pub payload: &'a [u8],
}

impl<'a> RawPublish<'a> {
    /// Splits what follows a fixed header with these flags.
    ///
    /// Errors: 0x81 for QoS 3 [MQTT-3.3.1-4], DUP at QoS 0 [MQTT-3.3.1-2] and lengths that
    /// run past the end; 0x82 for packet identifier 0 [MQTT-2.2.1-3].
    #[inline]
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Self, Error> {
        let qos = match flags & QOS {
            0b0000 if flags & DUP != 0 => return Err(Error::malformed("DUP at QoS 0")),
            0b0000 => QoS::AtMostOnce,
            0b0010 => QoS::AtLeastOnce,
            0b0100 => QoS::ExactlyOnce,
            _ => return Err(Error::malformed("QoS 3")),
        };
        let (len, rest) = body.split_first_chunk().ok_or(CUT_OFF)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (topic, rest) = rest.split_at_checked(len).ok_or(CUT_OFF)?;
        let mut fields = Fields(rest);
        let packet_identifier = if qos == QoS::AtMostOnce {
            0
        } else {
            fields.packet_identifier()?
        };
        let properties = if version < Version::V5 {
            &[]
        } else {
            fields.property_bytes()?
        };
        Ok(RawPublish {
            dup: flags & DUP != 0,
            qos,
            retain: flags & RETAIN != 0,
            topic,
            packet_identifier,
            properties,
            payload: fields.0,
        })
    }

    /// The topic name: UTF-8 without U+0000 and without wildcards (0x81).
    ///
    /// It may be empty; whether an alias stands for it is the caller's to check.
    pub fn validate_topic(&self) -> Result<&'a str, Error> {
        topic_name(self.topic)
    }

    /// The properties, held against the rules for PUBLISH.
    #[inline]
    pub fn validate_properties(&self) -> Result<Properties<'a>, Error> {
        if self.properties.is_empty() {
            return Ok(Properties::EMPTY);
        }
        Properties::validate(section::PUBLISH, self.properties)
    }
}

impl<'a> Publish<'a> {
    /// Takes apart and validates what follows a fixed header with these flags.
    ///
    /// Errors: those of [`RawPublish`]; an empty topic name (0x90), in 5.0 without a topic
    /// alias (0x82) [MQTT-4.7.3-1].
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Result<Publish<'a>, Error> {
        let raw = RawPublish::decode(version, flags, body)?;
        let topic = raw.validate_topic()?;
        let properties = raw.validate_properties()?;
        if topic.is_empty() && version < Version::V5 {
            return Err(EMPTY_TOPIC);
        }
        if topic.is_empty() && properties.two_byte(PropertyId::TopicAlias).is_none() {
            return Err(NO_TOPIC);
        }
        Ok(Publish {
            dup: raw.dup,
            qos: raw.qos,
            retain: raw.retain,
            topic,
            packet_identifier: raw.packet_identifier,
            properties,
            payload: raw.payload,
        })
    }

    /// Appends the packet; DUP and the packet identifier are left out at QoS 0.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let has_identifier = self.qos != QoS::AtMostOnce;
        let mut first = (PacketType::Publish as u8) << 4 | (self.qos as u8) << 1;
        if self.dup && has_identifier {
            first |= DUP;
        }
        if self.retain {
            first |= RETAIN;
        }
        let len = string_len(self.topic)
            + if has_identifier { 2 } else { 0 }
            + properties_len(version, self.properties)
            + self.payload.len();
        put_fixed_header(out, first, len);
        put_string(out, self.topic);
        if has_identifier {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
        }
        put_properties(out, version, self.properties);
        out.extend_from_slice(self.payload);
    }
}
