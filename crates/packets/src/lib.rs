//! Bytes ↔ packets: MQTT 3.1, 3.1.1 and 5.0, in place.
//!
//! A packet borrows from the bytes it was decoded from; nothing here allocates but the
//! buffers that packets are encoded into. [`FixedHeader::decode`] finds where a packet
//! ends, [`Packet::decode`] takes it apart, and [`RawPublish::decode`] is the short way
//! for the one packet that matters to throughput. What is refused comes with the reason
//! code to answer with ([`Error`]).
//!
//! What only a receiver can judge (who may send what) is in [`check_from_client`] and
//! [`check_from_server`]; what only a session can judge (aliases, packet identifiers in
//! use, filters' syntax) is not this crate's.
#![forbid(unsafe_code)]

mod acknowledgement;
mod auth;
mod connack;
mod connect;
mod direction;
mod disconnect;
mod error;
mod fields;
mod framing;
mod packet;
mod properties;
mod property_buffer;
mod publish;
mod reason;
mod suback;
mod subscribe;
mod tables;
mod text;
mod unsubscribe;
mod variable;
mod version;

pub use acknowledgement::Acknowledgement;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::{Connect, Will, is_unacceptable_level};
pub use direction::{check_from_client, check_from_server};
pub use disconnect::Disconnect;
pub use error::Error;
pub use framing::{FixedHeader, put_fixed_header};
pub use packet::Packet;
pub use properties::{Properties, Property, Value};
pub use property_buffer::PropertyBuffer;
pub use publish::{Publish, RawPublish};
pub use reason::ReasonCode;
pub use suback::{Suback, Unsuback};
pub use subscribe::{Subscribe, SubscriptionRequest};
pub use tables::{PacketType, PropertyId, PropertyType, ReturnCode};
pub use unsubscribe::Unsubscribe;
pub use variable::{MAX_VARIABLE, put_variable, take_variable, variable_len};
pub use version::{QoS, Version};
