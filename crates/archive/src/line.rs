//! The form: one JSON object a line.
//!
//! The first line is [`Line::Store`]. A session's line comes before those that name its
//! client, and its queue in the order in which it is to be sent. Times are
//! milliseconds since 1970.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::payload::{Base64, Payload};

/// Version of the form that this code writes; it reads this one and those before.
pub const FORMAT: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// What follows, and which form it has.
    Store {
        format: u32,
        #[serde(default)]
        written_by: String,
    },
    Session {
        client: String,
        /// Who made it, and alone may take it over; null: a client without a name.
        #[serde(default)]
        user: Option<String>,
        /// 1 to 4,294,967,295, which is for ever.
        expiry_seconds: u32,
        /// When its connection ended; null: it had one.
        #[serde(default)]
        offline_since_ms: Option<u64>,
        /// A will that is still to be published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        will: Option<Will>,
    },
    Subscription {
        client: String,
        /// As the client wrote it, `$share/…` included.
        filter: String,
        qos: u8,
        #[serde(default)]
        no_local: bool,
        #[serde(default)]
        retain_as_published: bool,
        /// 1 to 268,435,455; null: none.
        #[serde(default)]
        subscription_identifier: Option<u32>,
    },
    /// A message that waits for a client, or was sent and is not acknowledged.
    Queued {
        client: String,
        /// QoS of the delivery, 1 or 2.
        qos: u8,
        /// RETAIN of the delivery.
        #[serde(default)]
        retain: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        subscription_identifiers: Vec<u32>,
        /// The shared group by way of which it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// At QoS 2: sent under this identifier, and PUBREC has not come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        packet_identifier: Option<u16>,
        message: Message,
    },
    /// A QoS 2 message to a client of which PUBREC has come, and PUBCOMP has not.
    Released {
        client: String,
        packet_identifier: u16,
    },
    /// A QoS 2 message from a client of which PUBREL has not come.
    Received {
        client: String,
        packet_identifier: u16,
    },
    Retained {
        message: Message,
    },
}

/// An application message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub topic: String,
    /// As it was published.
    pub qos: u8,
    /// As it was published.
    #[serde(default)]
    pub retain: bool,
    /// When it came to the broker; null on the way in: now.
    #[serde(default)]
    pub arrived_ms: Option<u64>,
    /// When its message expiry interval is over; null: never.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Pairs of name and value, in their order: see `properties.rs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(String, Value)>,
    /// The payload where it is text; else `payload_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<Base64>,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Will {
    pub topic: String,
    pub qos: u8,
    #[serde(default)]
    pub retain: bool,
    #[serde(default)]
    pub delay_seconds: u32,
    /// Its message expiry interval; null: none.
    #[serde(default)]
    pub expiry_seconds: Option<u32>,
    /// As those of a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(String, Value)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<Base64>,
}
