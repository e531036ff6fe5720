//! What an operator may set: every option has a default and says its unit.

use serde::Deserialize;

use crate::bans::BanOptions;
use crate::durability::{Durability, DurabilityRule};
use crate::policy::{Policy, RateLimits};

/// The broker's options, as the border hands them over (JSON, same keys).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Seconds between two publications of `$SYS/broker/…`; 0 turns them off.
    pub system_topics_interval_seconds: Interval,
    /// What is promised where nothing else is said, of a broker that has a store.
    #[serde(skip)]
    pub durability: Durability,
    /// What is promised of messages by topic; the first that matches holds.
    pub durability_rules: Vec<DurabilityRule>,
    /// What is promised of sessions, by the listener on which they begin.
    #[serde(skip)]
    pub listener_durability: Vec<Option<Durability>>,
    pub limits: Limits,
    pub protocol: Protocol,
    pub bans: BanOptions,
    /// Whether a CONNECT is put to an authenticator before it is answered.
    pub authentication: bool,
    /// By listener; empty where none has any.
    #[serde(skip)]
    pub policies: Vec<Policy>,
}

impl Options {
    /// What stands in front of the names that clients of a listener know.
    #[inline]
    pub(crate) fn prefix(&self, listener: u16) -> Option<&str> {
        if self.policies.is_empty() {
            return None;
        }
        let policy = self.policies.get(usize::from(listener))?;
        (!policy.topic_prefix.is_empty()).then_some(&*policy.topic_prefix)
    }

    /// Bytes of the largest packet that clients of a listener may send.
    pub(crate) fn max_packet_bytes(&self, listener: u16) -> u32 {
        let all = self.limits.max_packet_bytes;
        match self.policies.get(usize::from(listener)) {
            Some(policy) if policy.max_packet_bytes != 0 => policy.max_packet_bytes.min(all),
            _ => all,
        }
    }
}

/// Seconds, 10 by default.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub struct Interval(pub u64);

impl Default for Interval {
    fn default() -> Self {
        Interval(10)
    }
}

/// What happens to a message for which a session's queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueFull {
    /// The oldest queued message makes room.
    DropOldest,
    /// The message itself is dropped.
    DropNewest,
    /// The publisher is answered 0x97 and the message goes to nobody.
    Reject,
    /// The slow subscriber is disconnected (0x97) and the message dropped for it.
    Disconnect,
}

/// How a shared subscription chooses the member that gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedStrategy {
    RoundRobin,
    Random,
    Sticky,
    HashClient,
    HashTopic,
    LeastInflight,
}

/// Bounds on what clients may take. 0 means "no limit" where that is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From accept to a complete CONNECT.
    pub connect_timeout_seconds: u64,
    /// Connections at once, over all listeners.
    pub max_connections: u64,
    /// Connections at once from one address; 0: no limit.
    pub max_connections_per_address: u64,
    /// Largest packet taken, fixed header included; announced to 5.0 clients.
    pub max_packet_bytes: u32,
    /// Largest CONNECT taken.
    pub max_connect_packet_bytes: u32,
    /// QoS 1 and 2 messages a client may have unacknowledged towards us.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages we have unacknowledged towards one client, at most.
    pub max_inflight_messages: u16,
    /// Messages waiting for one session.
    pub max_queued_messages: u32,
    /// Bytes waiting for one session.
    pub max_queued_bytes: u64,
    /// Bytes of waiting messages that are on disk and held in memory too, of all sessions
    /// together; beyond that they are on disk only. The workers have equal shares.
    pub queue_memory_bytes: u64,
    /// How long a message may wait; 0: for ever.
    pub max_queued_age_seconds: u64,
    pub queue_full: QueueFull,
    /// Whether QoS 0 messages wait for an offline session too.
    pub queue_qos0: bool,
    /// Longest session expiry interval granted; `0xFFFF_FFFF`: for ever.
    pub max_session_expiry_seconds: u32,
    /// Sessions kept without a connection, over all workers; the oldest go first.
    pub max_offline_sessions: u64,
    pub max_subscriptions_per_session: u32,
    /// Levels of a topic name or filter.
    pub max_topic_levels: u32,
    /// Bytes of a topic name or filter.
    pub max_topic_bytes: u32,
    /// Properties in one packet.
    pub max_properties_per_packet: u32,
    pub max_retained_messages: u64,
    pub max_retained_bytes: u64,
    /// Bytes waiting to be written to one connection before messages queue or drop.
    pub write_buffer_bytes: u64,
    /// How long a connection may take nothing of what waits for it.
    pub write_timeout_seconds: u64,
    /// How often a subscriber that holds its publishers back is looked at: after
    /// two such periods with less than 64 KiB taken in each, its QoS 0 messages
    /// are dropped instead. 0: nobody is ever held.
    pub hold_publishers_milliseconds: u64,
    /// PUBLISH packets taken from one client a second; 0: no limit.
    pub max_messages_per_second_in: u32,
    /// Bytes of PUBLISH taken from one client a second; 0: no limit.
    pub max_bytes_per_second_in: u64,
    /// PUBLISH packets sent to one client a second; 0: no limit.
    pub max_messages_per_second_out: u32,
    /// Bytes of PUBLISH sent to one client a second; 0: no limit.
    pub max_bytes_per_second_out: u64,
    /// Resident bytes of the process above which connections are refused and
    /// publishers slowed; 0: no limit.
    pub max_memory_bytes: u64,
    /// Longest keep alive a client may have (0 included, which asks for none);
    /// 0: as the client wishes.
    pub max_keep_alive_seconds: u16,
    /// Topic aliases a client may set, by connection.
    pub topic_alias_maximum: u16,
    /// Topic aliases we set towards a client, at most.
    pub topic_alias_maximum_outgoing: u16,
}

impl Limits {
    pub(crate) fn rates(&self) -> RateLimits {
        RateLimits {
            messages_in: self.max_messages_per_second_in,
            bytes_in: self.max_bytes_per_second_in,
            messages_out: self.max_messages_per_second_out,
            bytes_out: self.max_bytes_per_second_out,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect_timeout_seconds: 10,
            max_connections: 100_000,
            max_connections_per_address: 0,
            max_packet_bytes: 16 << 20,
            max_connect_packet_bytes: 512 << 10,
            receive_maximum: 1_024,
            max_inflight_messages: 1_024,
            max_queued_messages: 100_000,
            max_queued_bytes: 64 << 20,
            queue_memory_bytes: 256 << 20,
            max_queued_age_seconds: 0,
            queue_full: QueueFull::DropOldest,
            queue_qos0: false,
            max_session_expiry_seconds: u32::MAX,
            max_offline_sessions: 100_000,
            max_subscriptions_per_session: 10_000,
            max_topic_levels: 200,
            max_topic_bytes: 65_535,
            max_properties_per_packet: 10_000,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 1 << 30,
            write_buffer_bytes: 1 << 20,
            write_timeout_seconds: 30,
            hold_publishers_milliseconds: 100,
            max_messages_per_second_in: 0,
            max_bytes_per_second_in: 0,
            max_messages_per_second_out: 0,
            max_bytes_per_second_out: 0,
            max_memory_bytes: 0,
            max_keep_alive_seconds: 0,
            topic_alias_maximum: 100,
            topic_alias_maximum_outgoing: 100,
        }
    }
}

/// What we offer, told truthfully in CONNACK (MQTT 5.0 §3.2.2.3).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protocol {
    pub maximum_qos: u8,
    pub retain_available: bool,
    pub wildcard_subscription_available: bool,
    pub subscription_identifiers_available: bool,
    pub shared_subscriptions_available: bool,
    pub allow_empty_client_identifier: bool,
    /// Whether payloads marked as UTF-8 are checked (0x99 where they are not).
    pub validate_payload_format: bool,
    pub shared_subscription_strategy: SharedStrategy,
    /// Whether a CONNACK, DISCONNECT or refusal may carry a reason string.
    pub reason_strings: bool,
    /// Whether a 5.0 client that may not publish or subscribe is told so with 0x87;
    /// otherwise it is told 0x80, which gives nothing away.
    pub reveal_not_authorized: bool,
    /// Told to clients that ask for response information; empty: nothing.
    pub response_information: String,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            maximum_qos: 2,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscriptions_available: true,
            allow_empty_client_identifier: true,
            validate_payload_format: false,
            shared_subscription_strategy: SharedStrategy::RoundRobin,
            reason_strings: true,
            reveal_not_authorized: true,
            response_information: String::new(),
        }
    }
}
