//! The protocol's tables: packet types, properties, reason codes.
//!
//! Generated from `spec/mqtt.toml` by `tools/generate_tables.py`; change the table, not
//! this file. Sources: MQTT 5.0 §2.1.2, §2.2.2.2 and §2.4; MQTT 3.1.1 §3.2.2.3.

use crate::reason::ReasonCode;

/// The control packets; the value is the upper half of a packet's first byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The member with this value, if there is one.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }
}

impl PacketType {
    /// The specification's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl PacketType {
    /// The fixed header flags the packet must carry; None: flags of its own.
    pub const fn flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            _ => Some(0b0000),
        }
    }
}

/// The property identifiers, MQTT 5.0 §2.2.2.2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

impl PropertyId {
    /// The member with this value, if there is one.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0B => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1A => Self::ResponseInformation,
            0x1C => Self::ServerReference,
            0x1F => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQos,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifierAvailable,
            0x2A => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }
}

impl PropertyId {
    /// The specification's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PayloadFormatIndicator => "Payload Format Indicator",
            Self::MessageExpiryInterval => "Message Expiry Interval",
            Self::ContentType => "Content Type",
            Self::ResponseTopic => "Response Topic",
            Self::CorrelationData => "Correlation Data",
            Self::SubscriptionIdentifier => "Subscription Identifier",
            Self::SessionExpiryInterval => "Session Expiry Interval",
            Self::AssignedClientIdentifier => "Assigned Client Identifier",
            Self::ServerKeepAlive => "Server Keep Alive",
            Self::AuthenticationMethod => "Authentication Method",
            Self::AuthenticationData => "Authentication Data",
            Self::RequestProblemInformation => "Request Problem Information",
            Self::WillDelayInterval => "Will Delay Interval",
            Self::RequestResponseInformation => "Request Response Information",
            Self::ResponseInformation => "Response Information",
            Self::ServerReference => "Server Reference",
            Self::ReasonString => "Reason String",
            Self::ReceiveMaximum => "Receive Maximum",
            Self::TopicAliasMaximum => "Topic Alias Maximum",
            Self::TopicAlias => "Topic Alias",
            Self::MaximumQos => "Maximum QoS",
            Self::RetainAvailable => "Retain Available",
            Self::UserProperty => "User Property",
            Self::MaximumPacketSize => "Maximum Packet Size",
            Self::WildcardSubscriptionAvailable => "Wildcard Subscription Available",
            Self::SubscriptionIdentifierAvailable => "Subscription Identifier Available",
            Self::SharedSubscriptionAvailable => "Shared Subscription Available",
        }
    }
}

/// The data types of property values, MQTT 5.0 §1.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyType {
    Byte,
    TwoByteInteger,
    FourByteInteger,
    VariableByteInteger,
    Utf8String,
    BinaryData,
    Utf8StringPair,
}

/// Where properties and reason codes stand: a bit for each packet, by its type's
/// value, and one for the will's section of CONNECT.
#[allow(dead_code, reason = "PINGREQ and PINGRESP hold neither")]
pub(crate) mod section {
    pub(crate) const WILL: u16 = 1 << 0;
    pub(crate) const CONNECT: u16 = 1 << 1;
    pub(crate) const CONNACK: u16 = 1 << 2;
    pub(crate) const PUBLISH: u16 = 1 << 3;
    pub(crate) const PUBACK: u16 = 1 << 4;
    pub(crate) const PUBREC: u16 = 1 << 5;
    pub(crate) const PUBREL: u16 = 1 << 6;
    pub(crate) const PUBCOMP: u16 = 1 << 7;
    pub(crate) const SUBSCRIBE: u16 = 1 << 8;
    pub(crate) const SUBACK: u16 = 1 << 9;
    pub(crate) const UNSUBSCRIBE: u16 = 1 << 10;
    pub(crate) const UNSUBACK: u16 = 1 << 11;
    pub(crate) const PINGREQ: u16 = 1 << 12;
    pub(crate) const PINGRESP: u16 = 1 << 13;
    pub(crate) const DISCONNECT: u16 = 1 << 14;
    pub(crate) const AUTH: u16 = 1 << 15;
}

/// What the specification says of one property.
pub(crate) struct PropertyRule {
    pub(crate) id: PropertyId,
    pub(crate) kind: PropertyType,
    /// The sections it may stand in, bits of [`section`].
    pub(crate) packets: u16,
    /// Those of them where it may stand more than once.
    pub(crate) repeatable: u16,
    /// Bounds of an integer's value, inclusive; 0 and 0 for the other types.
    pub(crate) minimum: u32,
    pub(crate) maximum: u32,
    /// What a value outside the bounds is answered with.
    pub(crate) refusal: ReasonCode,
}

/// The rules by property identifier.
#[rustfmt::skip]
pub(crate) static PROPERTY_RULES: [Option<PropertyRule>; 43] = {
    use section::*;
    [
        None,
        Some(PropertyRule {
            id: PropertyId::PayloadFormatIndicator, kind: PropertyType::Byte,
            packets: PUBLISH | WILL, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::MessageExpiryInterval, kind: PropertyType::FourByteInteger,
            packets: PUBLISH | WILL, repeatable: 0,
            minimum: 0, maximum: 4_294_967_295, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::ContentType, kind: PropertyType::Utf8String,
            packets: PUBLISH | WILL, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        None,
        None,
        None,
        Some(PropertyRule {
            id: PropertyId::ResponseTopic, kind: PropertyType::Utf8String,
            packets: PUBLISH | WILL, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::CorrelationData, kind: PropertyType::BinaryData,
            packets: PUBLISH | WILL, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        Some(PropertyRule {
            id: PropertyId::SubscriptionIdentifier, kind: PropertyType::VariableByteInteger,
            packets: PUBLISH | SUBSCRIBE, repeatable: PUBLISH,
            minimum: 1, maximum: 268_435_455, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        None,
        None,
        None,
        None,
        Some(PropertyRule {
            id: PropertyId::SessionExpiryInterval, kind: PropertyType::FourByteInteger,
            packets: CONNECT | CONNACK | DISCONNECT, repeatable: 0,
            minimum: 0, maximum: 4_294_967_295, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::AssignedClientIdentifier, kind: PropertyType::Utf8String,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::ServerKeepAlive, kind: PropertyType::TwoByteInteger,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 65_535, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        Some(PropertyRule {
            id: PropertyId::AuthenticationMethod, kind: PropertyType::Utf8String,
            packets: CONNECT | CONNACK | AUTH, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::AuthenticationData, kind: PropertyType::BinaryData,
            packets: CONNECT | CONNACK | AUTH, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::RequestProblemInformation, kind: PropertyType::Byte,
            packets: CONNECT, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::WillDelayInterval, kind: PropertyType::FourByteInteger,
            packets: WILL, repeatable: 0,
            minimum: 0, maximum: 4_294_967_295, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::RequestResponseInformation, kind: PropertyType::Byte,
            packets: CONNECT, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::ResponseInformation, kind: PropertyType::Utf8String,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        Some(PropertyRule {
            id: PropertyId::ServerReference, kind: PropertyType::Utf8String,
            packets: CONNACK | DISCONNECT, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        None,
        Some(PropertyRule {
            id: PropertyId::ReasonString, kind: PropertyType::Utf8String,
            packets: CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK | DISCONNECT | AUTH, repeatable: 0,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        None,
        Some(PropertyRule {
            id: PropertyId::ReceiveMaximum, kind: PropertyType::TwoByteInteger,
            packets: CONNECT | CONNACK, repeatable: 0,
            minimum: 1, maximum: 65_535, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::TopicAliasMaximum, kind: PropertyType::TwoByteInteger,
            packets: CONNECT | CONNACK, repeatable: 0,
            minimum: 0, maximum: 65_535, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::TopicAlias, kind: PropertyType::TwoByteInteger,
            packets: PUBLISH, repeatable: 0,
            minimum: 1, maximum: 65_535, refusal: ReasonCode::TOPIC_ALIAS_INVALID,
        }),
        Some(PropertyRule {
            id: PropertyId::MaximumQos, kind: PropertyType::Byte,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::RetainAvailable, kind: PropertyType::Byte,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::UserProperty, kind: PropertyType::Utf8StringPair,
            packets: CONNECT | CONNACK | PUBLISH | WILL | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBSCRIBE | SUBACK | UNSUBSCRIBE | UNSUBACK | DISCONNECT | AUTH, repeatable: CONNECT | CONNACK | PUBLISH | WILL | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBSCRIBE | SUBACK | UNSUBSCRIBE | UNSUBACK | DISCONNECT | AUTH,
            minimum: 0, maximum: 0, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::MaximumPacketSize, kind: PropertyType::FourByteInteger,
            packets: CONNECT | CONNACK, repeatable: 0,
            minimum: 1, maximum: 4_294_967_295, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::WildcardSubscriptionAvailable, kind: PropertyType::Byte,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::SubscriptionIdentifierAvailable, kind: PropertyType::Byte,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
        Some(PropertyRule {
            id: PropertyId::SharedSubscriptionAvailable, kind: PropertyType::Byte,
            packets: CONNACK, repeatable: 0,
            minimum: 0, maximum: 1, refusal: ReasonCode::PROTOCOL_ERROR,
        }),
    ]
};

impl ReasonCode {
    pub const SUCCESS: Self = Self(0x00);
    pub const NORMAL_DISCONNECTION: Self = Self(0x00);
    pub const GRANTED_QOS_0: Self = Self(0x00);
    pub const GRANTED_QOS_1: Self = Self(0x01);
    pub const GRANTED_QOS_2: Self = Self(0x02);
    pub const DISCONNECT_WITH_WILL_MESSAGE: Self = Self(0x04);
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    pub const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    pub const CONTINUE_AUTHENTICATION: Self = Self(0x18);
    pub const RE_AUTHENTICATE: Self = Self(0x19);
    pub const UNSPECIFIED_ERROR: Self = Self(0x80);
    pub const MALFORMED_PACKET: Self = Self(0x81);
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    pub const IMPLEMENTATION_SPECIFIC_ERROR: Self = Self(0x83);
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(0x84);
    pub const CLIENT_IDENTIFIER_NOT_VALID: Self = Self(0x85);
    pub const BAD_USER_NAME_OR_PASSWORD: Self = Self(0x86);
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    pub const SERVER_BUSY: Self = Self(0x89);
    pub const BANNED: Self = Self(0x8A);
    pub const SERVER_SHUTTING_DOWN: Self = Self(0x8B);
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8C);
    pub const KEEP_ALIVE_TIMEOUT: Self = Self(0x8D);
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8F);
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    pub const PACKET_IDENTIFIER_IN_USE: Self = Self(0x91);
    pub const PACKET_IDENTIFIER_NOT_FOUND: Self = Self(0x92);
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    pub const MESSAGE_RATE_TOO_HIGH: Self = Self(0x96);
    pub const QUOTA_EXCEEDED: Self = Self(0x97);
    pub const ADMINISTRATIVE_ACTION: Self = Self(0x98);
    pub const PAYLOAD_FORMAT_INVALID: Self = Self(0x99);
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    pub const USE_ANOTHER_SERVER: Self = Self(0x9C);
    pub const SERVER_MOVED: Self = Self(0x9D);
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0x9E);
    pub const CONNECTION_RATE_EXCEEDED: Self = Self(0x9F);
    pub const MAXIMUM_CONNECT_TIME: Self = Self(0xA0);
    pub const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: Self = Self(0xA1);
    pub const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0xA2);

    /// The specification's name, the first of several; None: no reason code of 5.0.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x00 => "Success",
            0x01 => "Granted QoS 1",
            0x02 => "Granted QoS 2",
            0x04 => "Disconnect with Will Message",
            0x10 => "No matching subscribers",
            0x11 => "No subscription existed",
            0x18 => "Continue authentication",
            0x19 => "Re-authenticate",
            0x80 => "Unspecified error",
            0x81 => "Malformed Packet",
            0x82 => "Protocol Error",
            0x83 => "Implementation specific error",
            0x84 => "Unsupported Protocol Version",
            0x85 => "Client Identifier not valid",
            0x86 => "Bad User Name or Password",
            0x87 => "Not authorized",
            0x88 => "Server unavailable",
            0x89 => "Server busy",
            0x8A => "Banned",
            0x8B => "Server shutting down",
            0x8C => "Bad authentication method",
            0x8D => "Keep Alive timeout",
            0x8E => "Session taken over",
            0x8F => "Topic Filter invalid",
            0x90 => "Topic Name invalid",
            0x91 => "Packet Identifier in use",
            0x92 => "Packet Identifier not found",
            0x93 => "Receive Maximum exceeded",
            0x94 => "Topic Alias invalid",
            0x95 => "Packet too large",
            0x96 => "Message rate too high",
            0x97 => "Quota exceeded",
            0x98 => "Administrative action",
            0x99 => "Payload format invalid",
            0x9A => "Retain not supported",
            0x9B => "QoS not supported",
            0x9C => "Use another server",
            0x9D => "Server moved",
            0x9E => "Shared Subscriptions not supported",
            0x9F => "Connection rate exceeded",
            0xA0 => "Maximum connect time",
            0xA1 => "Subscription Identifiers not supported",
            0xA2 => "Wildcard Subscriptions not supported",
            _ => return None,
        })
    }

    /// The packets it may stand in, bits of [`section`].
    #[rustfmt::skip]
    pub(crate) const fn packets(self) -> u16 {
        use section::*;
        match self.0 {
            0x00 => CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | UNSUBACK | AUTH | DISCONNECT | SUBACK,
            0x01 => SUBACK,
            0x02 => SUBACK,
            0x04 => DISCONNECT,
            0x10 => PUBACK | PUBREC,
            0x11 => UNSUBACK,
            0x18 => AUTH,
            0x19 => AUTH,
            0x80 => CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT,
            0x81 => CONNACK | DISCONNECT,
            0x82 => CONNACK | DISCONNECT,
            0x83 => CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT,
            0x84 => CONNACK,
            0x85 => CONNACK,
            0x86 => CONNACK,
            0x87 => CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT,
            0x88 => CONNACK,
            0x89 => CONNACK | DISCONNECT,
            0x8A => CONNACK,
            0x8B => DISCONNECT,
            0x8C => CONNACK | DISCONNECT,
            0x8D => DISCONNECT,
            0x8E => DISCONNECT,
            0x8F => SUBACK | UNSUBACK | DISCONNECT,
            0x90 => CONNACK | PUBACK | PUBREC | DISCONNECT,
            0x91 => PUBACK | PUBREC | SUBACK | UNSUBACK,
            0x92 => PUBREL | PUBCOMP,
            0x93 => DISCONNECT,
            0x94 => DISCONNECT,
            0x95 => CONNACK | DISCONNECT,
            0x96 => DISCONNECT,
            0x97 => CONNACK | PUBACK | PUBREC | SUBACK | DISCONNECT,
            0x98 => DISCONNECT,
            0x99 => CONNACK | PUBACK | PUBREC | DISCONNECT,
            0x9A => CONNACK | DISCONNECT,
            0x9B => CONNACK | DISCONNECT,
            0x9C => CONNACK | DISCONNECT,
            0x9D => CONNACK | DISCONNECT,
            0x9E => SUBACK | DISCONNECT,
            0x9F => CONNACK | DISCONNECT,
            0xA0 => DISCONNECT,
            0xA1 => SUBACK | DISCONNECT,
            0xA2 => SUBACK | DISCONNECT,
            _ => 0,
        }
    }
}

/// The return codes of CONNACK before 5.0, MQTT 3.1.1 §3.2.2.3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ReturnCode {
    ConnectionAccepted = 0x00,
    UnacceptableProtocolVersion = 0x01,
    IdentifierRejected = 0x02,
    ServerUnavailable = 0x03,
    BadUserNameOrPassword = 0x04,
    NotAuthorized = 0x05,
}

impl ReturnCode {
    /// The member with this value, if there is one.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0x00 => Self::ConnectionAccepted,
            0x01 => Self::UnacceptableProtocolVersion,
            0x02 => Self::IdentifierRejected,
            0x03 => Self::ServerUnavailable,
            0x04 => Self::BadUserNameOrPassword,
            0x05 => Self::NotAuthorized,
            _ => return None,
        })
    }
}

impl ReturnCode {
    /// How a server tells a reason code of 5.0 to a client of an earlier version.
    pub const fn from_reason(reason: ReasonCode) -> Self {
        match reason.0 {
            0x00 => Self::ConnectionAccepted,
            0x84 => Self::UnacceptableProtocolVersion,
            0x85 => Self::IdentifierRejected,
            0x88 => Self::ServerUnavailable,
            0x86 | 0x8C => Self::BadUserNameOrPassword,
            0x87 | 0x8A => Self::NotAuthorized,
            _ => Self::ServerUnavailable,
        }
    }
}
