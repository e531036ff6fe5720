//! CONNECT, MQTT 5.0 §3.1.

use crate::error::Error;
use crate::fields::{
    Fields, binary_len, properties_len, put_binary, put_properties, put_string, string_len,
};
use crate::framing::put_fixed_header;
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::tables::{PacketType, PropertyId, section};
use crate::text::topic_name;
use crate::version::{QoS, Version};

/// A client's request to connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    pub version: Version,
    /// The peer is a bridge (it set bit 7 of the level, as Mosquitto's bridges do).
    pub bridge: bool,
    /// Clean session, before 5.0.
    pub clean_start: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    pub client_identifier: &'a str,
    pub will: Option<Will<'a>>,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub properties: Properties<'a>,
}

/// The message to publish when the connection is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub properties: Properties<'a>,
}

const BRIDGE: u8 = 0x80;

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

const UNKNOWN_NAME: Error = Error {
    reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
    what: "the protocol name is neither MQTT nor MQIsdp",
};
const UNKNOWN_LEVEL: Error = Error {
    reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
    what: "the protocol level is not 3, 4 or 5",
};
const EMPTY_WILL_TOPIC: Error = Error {
    reason: ReasonCode::TOPIC_NAME_INVALID,
    what: "the will's topic name is empty",
};

/// Whether a CONNECT was refused for its level alone: then the peer does speak MQTT, and
/// may be told with CONNACK 1 (or 0x84) [MQTT-3.1.2-2]. A wrong name is told nothing.
pub fn is_unacceptable_level(error: &Error) -> bool {
    *error == UNKNOWN_LEVEL
}

impl<'a> Connect<'a> {
    /// Takes apart what follows a fixed header with these flags.
    ///
    /// 3.1 leaves more open: unused flags are not looked at, and a user name or password
    /// that the flags announce may be missing at the end.
    pub fn decode(flags: u8, body: &'a [u8]) -> Result<Connect<'a>, Error> {
        if flags != 0 {
            return Err(Error::malformed("CONNECT has fixed header flags"));
        }
        let mut fields = Fields(body);
        let (version, bridge) = decode_protocol(&mut fields)?;
        let connect_flags = fields.byte()?;
        check_flags(version, connect_flags)?;
        let keep_alive = fields.two_byte()?;
        let properties = fields.properties(version, section::CONNECT)?;
        if lacks_authentication_method(properties) {
            return Err(Error::protocol_error(
                "authentication data without a method",
            ));
        }
        let client_identifier = fields.string()?;
        let will = decode_will(version, connect_flags, &mut fields)?;
        let announced = |flag: u8, fields: &Fields<'_>| {
            connect_flags & flag != 0 && !(version == Version::V3 && fields.is_empty())
        };
        let user_name = announced(USER_NAME, &fields)
            .then(|| fields.string())
            .transpose()?;
        let password = announced(PASSWORD, &fields)
            .then(|| fields.binary())
            .transpose()?;
        fields.end()?;
        Ok(Connect {
            version,
            bridge,
            clean_start: connect_flags & CLEAN_START != 0,
            keep_alive,
            client_identifier,
            will,
            user_name,
            password,
            properties,
        })
    }

    /// Appends the packet, in its own version.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = if self.version == Version::V3 {
            "MQIsdp"
        } else {
            "MQTT"
        };
        let len = string_len(name)
            + 4
            + properties_len(self.version, self.properties)
            + string_len(self.client_identifier)
            + self.will.map_or(0, |will| will.encoded_len(self.version))
            + self.user_name.map_or(0, string_len)
            + self.password.map_or(0, binary_len);
        put_fixed_header(out, (PacketType::Connect as u8) << 4, len);
        put_string(out, name);
        out.push(self.version as u8 | if self.bridge { BRIDGE } else { 0 });
        out.push(self.flags());
        out.extend_from_slice(&self.keep_alive.to_be_bytes());
        put_properties(out, self.version, self.properties);
        put_string(out, self.client_identifier);
        if let Some(will) = self.will {
            will.encode(self.version, out);
        }
        if let Some(user_name) = self.user_name {
            put_string(out, user_name);
        }
        if let Some(password) = self.password {
            put_binary(out, password);
        }
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.clean_start, CLEAN_START)
            | flag(self.user_name.is_some(), USER_NAME)
            | flag(self.password.is_some(), PASSWORD)
            | self.will.map_or(0, |will| {
                WILL | (will.qos as u8) << 3 | flag(will.retain, WILL_RETAIN)
            })
    }
}

impl Will<'_> {
    fn encoded_len(&self, version: Version) -> usize {
        properties_len(version, self.properties) + string_len(self.topic) + binary_len(self.payload)
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_properties(out, version, self.properties);
        put_string(out, self.topic);
        put_binary(out, self.payload);
    }
}

/// Protocol name and level [MQTT-3.1.2-1] [MQTT-3.1.2-2].
fn decode_protocol(fields: &mut Fields<'_>) -> Result<(Version, bool), Error> {
    let name = fields.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(UNKNOWN_NAME);
    }
    let level = fields.byte()?;
    match (name, level) {
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", 4) => Ok((Version::V4, false)),
        (b"MQIsdp", 3) => Ok((Version::V3, false)),
        (b"MQTT", 0x84) => Ok((Version::V4, true)),
        (b"MQIsdp", 0x83) => Ok((Version::V3, true)),
        _ => Err(UNKNOWN_LEVEL),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), Error> {
    if version < Version::V5 && flags & USER_NAME == 0 && flags & PASSWORD != 0 {
        return Err(Error::malformed("a password without a user name"));
    }
    if version == Version::V3 {
        return Ok(());
    }
    if flags & RESERVED != 0 {
        return Err(Error::malformed("the reserved connect flag is set"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(Error::malformed("will QoS or will retain without a will"));
    }
    Ok(())
}

fn decode_will<'a>(
    version: Version,
    flags: u8,
    fields: &mut Fields<'a>,
) -> Result<Option<Will<'a>>, Error> {
    if flags & WILL == 0 {
        return Ok(None);
    }
    let qos = QoS::from_u8((flags & WILL_QOS) >> 3).ok_or(Error::malformed("will QoS 3"))?;
    let properties = fields.properties(version, section::WILL)?;
    let topic = topic_name(fields.binary()?)?;
    if topic.is_empty() {
        return Err(EMPTY_WILL_TOPIC);
    }
    let payload = fields.binary()?;
    Ok(Some(Will {
        topic,
        payload,
        qos,
        retain: flags & WILL_RETAIN != 0,
        properties,
    }))
}

/// MQTT 5.0 §3.1.2.11.10: data without a method is a protocol error.
pub(crate) fn lacks_authentication_method(properties: Properties<'_>) -> bool {
    properties.binary(PropertyId::AuthenticationData).is_some()
        && properties
            .string(PropertyId::AuthenticationMethod)
            .is_none()
}
