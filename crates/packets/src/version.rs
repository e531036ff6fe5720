//! Protocol versions and qualities of service.

/// A version of the protocol; the value is its protocol level in CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (protocol name `MQIsdp`).
    V3 = 3,
    /// MQTT 3.1.1.
    V4 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Quality of service, MQTT 5.0 §4.3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum QoS {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl QoS {
    /// The quality with this value; None from 3 upwards.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<QoS> {
        match value {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}
