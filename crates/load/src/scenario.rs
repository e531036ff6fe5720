//! What a run does.

use std::path::PathBuf;

use noctule_packets::{QoS, Version};
use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::stamp::STAMP_BYTES;

/// Bytes of the largest payload: what fits a packet with room for any topic.
const MAX_PAYLOAD_BYTES: u32 = 64 * 1024 * 1024;
/// Bytes of deliveries under way when `outstanding` is left to us.
const OUTSTANDING_BYTES: u32 = 32 * 1024 * 1024;
const MAX_OUTSTANDING: u32 = 20_000;

/// What is done to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Publishers publish, subscribers receive, everything is checked.
    #[default]
    Publish,
    /// Subscribed connections are opened and held.
    Idle,
    /// Clients connect, subscribe where `filters` says so, and disconnect.
    Connect,
    /// Retained messages are published, then each subscriber in turn takes them all.
    Retained,
}

/// How the broker is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// TCP.
    #[default]
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

/// A run, complete; every field has a default.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    pub kind: Kind,
    /// Name or address of the broker.
    pub host: String,
    pub port: u16,
    pub scheme: Scheme,
    /// Path that a WebSocket is opened on.
    pub path: String,
    /// PEM file with the authorities that the broker's certificate may lead to.
    pub ca_file: Option<PathBuf>,
    /// Any certificate will do, for any name.
    pub insecure: bool,
    /// Protocol level: 3 (3.1), 4 (3.1.1) or 5 (5.0).
    pub version: u8,
    pub user_name: Option<String>,
    pub password: Option<String>,
    /// Seconds; 0: none. Idle connections send PINGREQ twice in it.
    pub keep_alive_seconds: u16,
    /// Threads that share the connections.
    pub threads: u32,
    /// Publishing connections.
    pub publishers: u32,
    /// Subscribing connections.
    pub subscribers: u32,
    /// Connections held (idle) or open at once (connect).
    pub connections: u32,
    /// Topic names: publisher i publishes to number i modulo this, subscriber j takes
    /// number j modulo this, or, where topics outnumber subscribers, its share of them.
    /// Of `filters` in a connect run: the different ones, in all sessions together.
    pub topics: u32,
    /// Subscribers take every topic by one filter.
    pub wildcard: bool,
    /// Each message has another topic, spread evenly over all of them.
    pub mixed: bool,
    /// What topic names begin with.
    pub prefix: String,
    pub qos: u8,
    /// Bytes of a payload, the stamp of 16 included.
    pub payload_bytes: u32,
    /// Bytes of the largest payload: sizes are spread evenly between the two. 0: all alike.
    pub max_payload_bytes: u32,
    /// Messages in all (publish, retained), or connections made (connect). 0: no end but
    /// `duration_seconds`.
    pub messages: u64,
    /// Seconds of publishing or connecting; 0: no end but `messages`.
    pub duration_seconds: f64,
    /// Messages a second in all, each at its time whether or not the broker keeps up
    /// (open loop). 0: as fast as it takes them (closed loop).
    pub rate: f64,
    /// QoS 1 and 2: messages in flight for each publisher, less where the broker says so.
    pub window: u16,
    /// QoS 0 in a closed loop: deliveries under way at most. 0: 20,000, less if large.
    pub outstanding: u32,
    /// Seconds an idle run holds its connections.
    pub hold_seconds: f64,
    /// Filters each session of a connect run subscribes to.
    pub filters: u32,
    /// The sessions of a connect run stay with the broker (clean start off, no expiry).
    pub persistent: bool,
    /// Milliseconds to wait after the last delivery for duplicates that come late.
    pub linger_milliseconds: u64,
    /// Seconds without any progress after which a run gives up.
    pub stall_seconds: f64,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            kind: Kind::Publish,
            host: "127.0.0.1".into(),
            port: 1883,
            scheme: Scheme::Mqtt,
            path: "/mqtt".into(),
            ca_file: None,
            insecure: false,
            version: 4,
            user_name: None,
            password: None,
            keep_alive_seconds: 0,
            threads: 1,
            publishers: 1,
            subscribers: 1,
            connections: 1,
            topics: 1,
            wildcard: false,
            mixed: false,
            prefix: "load".into(),
            qos: 0,
            payload_bytes: 64,
            max_payload_bytes: 0,
            messages: 100_000,
            duration_seconds: 0.0,
            rate: 0.0,
            window: 64,
            outstanding: 0,
            hold_seconds: 10.0,
            filters: 0,
            persistent: false,
            linger_milliseconds: 50,
            stall_seconds: 10.0,
        }
    }
}

impl Scenario {
    /// Says which field is out of its range.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.validate_connection()?;
        self.validate_messages()?;
        self.validate_shape()
    }

    fn validate_connection(&self) -> Result<(), LoadError> {
        require("version", (3..=5).contains(&self.version), "3, 4 or 5")?;
        require("threads", (1..=256).contains(&self.threads), "1 to 256")?;
        require("port", self.port > 0, "1 to 65535")?;
        let trusts = self.insecure || self.ca_file.is_some() || !self.scheme.is_encrypted();
        require(
            "ca_file",
            trusts,
            "needed for TLS, unless `insecure` is set",
        )?;
        require("path", self.path.starts_with('/'), "begins with a slash")?;
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        require("user_name", length(&self.user_name) <= 0xFFFF, "too long")?;
        require("password", length(&self.password) <= 0xFFFF, "too long")?;
        let nameless = self.password.is_some() && self.user_name.is_none() && self.version < 5;
        require("password", !nameless, "needs a user name before 5.0")
    }

    fn validate_messages(&self) -> Result<(), LoadError> {
        require("qos", self.qos <= 2, "0, 1 or 2")?;
        let sizes = self.payload_sizes();
        let smallest = STAMP_BYTES as u32;
        require(
            "payload_bytes",
            (smallest..=MAX_PAYLOAD_BYTES).contains(&sizes.0),
            "16 (the stamp) to 67,108,864",
        )?;
        require(
            "max_payload_bytes",
            (sizes.0..=MAX_PAYLOAD_BYTES).contains(&sizes.1),
            "0, or payload_bytes to 67,108,864",
        )?;
        require("window", (1..=60_000).contains(&self.window), "1 to 60,000")?;
        require("rate", is_duration(self.rate), "0 or more")?;
        let prefix = &self.prefix;
        let sound =
            !prefix.is_empty() && prefix.len() <= 1_000 && !prefix.contains(['#', '+', '\0']);
        require("prefix", sound, "1 to 1,000 bytes without wildcards")?;
        require(
            "messages",
            self.messages <= u64::from(u32::MAX),
            "at most 4,294,967,295",
        )
    }

    fn validate_shape(&self) -> Result<(), LoadError> {
        require("topics", self.topics >= 1, "at least 1")?;
        for (field, value) in [
            ("duration_seconds", self.duration_seconds),
            ("hold_seconds", self.hold_seconds),
            ("stall_seconds", self.stall_seconds),
        ] {
            require(field, is_duration(value), "0 to 86,400,000 seconds")?;
        }
        let endless = self.messages == 0 && self.duration_seconds == 0.0;
        match self.kind {
            Kind::Publish => {
                require("publishers", self.publishers >= 1, "at least 1")?;
                require("messages", !endless, "either this or duration_seconds")
            }
            Kind::Idle => require("connections", self.connections >= 1, "at least 1"),
            Kind::Connect => {
                require("connections", self.connections >= 1, "at least 1")?;
                require("messages", !endless, "either this or duration_seconds")?;
                let filters = self.filters <= 10_000 && self.filters <= self.topics.max(1);
                require(
                    "filters",
                    filters,
                    "at most 10,000, and no more than topics",
                )
            }
            Kind::Retained => {
                require("publishers", self.publishers >= 1, "at least 1")?;
                require("messages", self.messages >= 1, "at least 1")?;
                require(
                    "duration_seconds",
                    self.duration_seconds == 0.0,
                    "0 with retained",
                )?;
                require("threads", self.threads == 1, "1 with retained")
            }
        }
    }

    /// Smallest and largest payload, bytes.
    pub(crate) fn payload_sizes(&self) -> (u32, u32) {
        match self.max_payload_bytes {
            0 => (self.payload_bytes, self.payload_bytes),
            largest => (self.payload_bytes, largest),
        }
    }

    /// Deliveries under way at most, QoS 0 in a closed loop.
    pub(crate) fn outstanding_limit(&self) -> u64 {
        let limit = match self.outstanding {
            0 => (OUTSTANDING_BYTES / self.payload_sizes().1).clamp(1, MAX_OUTSTANDING),
            given => given,
        };
        // A message to all subscribers must fit.
        u64::from(limit.max(self.subscribers))
    }

    /// Messages of the run; None where only the time ends it.
    pub(crate) fn message_limit(&self) -> Option<u64> {
        (self.messages > 0).then_some(self.messages)
    }

    pub(crate) fn protocol(&self) -> Version {
        match self.version {
            3 => Version::V3,
            4 => Version::V4,
            _ => Version::V5,
        }
    }

    pub(crate) fn quality(&self) -> QoS {
        match self.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }
}

fn require(field: &'static str, holds: bool, what: &str) -> Result<(), LoadError> {
    if holds {
        return Ok(());
    }
    Err(LoadError::scenario(field, what))
}

/// A thousand days are enough for everybody, and do not overflow nanoseconds.
fn is_duration(seconds: f64) -> bool {
    (0.0..=86_400_000.0).contains(&seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Scenario)) -> &'static str {
        let mut scenario = Scenario::default();
        change(&mut scenario);
        match scenario.validate() {
            Err(LoadError::Scenario { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_valid() {
        assert!(Scenario::default().validate().is_ok());
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        assert_eq!(refused(|s| s.qos = 3), "qos");
        assert_eq!(refused(|s| s.version = 6), "version");
        assert_eq!(refused(|s| s.payload_bytes = 15), "payload_bytes");
        assert_eq!(refused(|s| s.max_payload_bytes = 63), "max_payload_bytes");
        assert_eq!(refused(|s| s.window = 0), "window");
        assert_eq!(refused(|s| s.rate = f64::NAN), "rate");
        assert_eq!(refused(|s| s.rate = -1.0), "rate");
        assert_eq!(refused(|s| s.prefix = "a/#".into()), "prefix");
        assert_eq!(refused(|s| s.publishers = 0), "publishers");
        assert_eq!(refused(|s| s.messages = 0), "messages");
        assert_eq!(refused(|s| s.topics = 0), "topics");
        assert_eq!(refused(|s| s.password = Some("x".into())), "password");
        assert_eq!(
            refused(|s| s.duration_seconds = f64::INFINITY),
            "duration_seconds"
        );
    }

    #[test]
    fn retained_runs_have_one_thread() {
        assert_eq!(
            refused(|s| {
                s.kind = Kind::Retained;
                s.threads = 2;
            }),
            "threads"
        );
    }

    #[test]
    fn large_payloads_have_fewer_under_way() {
        let mut scenario = Scenario::default();
        assert_eq!(scenario.outstanding_limit(), 20_000);
        scenario.payload_bytes = 65_536;
        assert_eq!(scenario.outstanding_limit(), 512);
        scenario.outstanding = 7;
        assert_eq!(scenario.outstanding_limit(), 7);
    }
}
