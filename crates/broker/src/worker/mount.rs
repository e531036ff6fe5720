//! Clients of a listener with a topic prefix: their packets are rewritten on the way in, so that
//! everything behind knows whole names alone.

use noctule_packets::{
    Connect, Error, FixedHeader, Packet, Properties, PropertyBuffer, RawPublish, ReasonCode,
    Subscribe, SubscriptionRequest, Unsubscribe, Version, Will,
};

use super::Worker;
use crate::key::ConnectionId;
use crate::message::Parts;
use crate::policy::{Policy, RateLimits, mounted_filter, mounted_properties};
use crate::time::Time;

impl Worker {
    /// The policy of the listener that a connection came through.
    #[inline]
    pub(super) fn policy(&self, id: ConnectionId) -> Option<&Policy> {
        let policies = &self.shared.options.policies;
        if policies.is_empty() {
            return None;
        }
        let connection = self.connections.get(id.index(), id.generation())?;
        policies.get(usize::from(connection.peer.listener))
    }

    pub(super) fn prefix(&self, id: ConnectionId) -> Option<Box<str>> {
        let prefix = &self.policy(id)?.topic_prefix;
        (!prefix.is_empty()).then(|| prefix.clone())
    }

    /// The highest QoS that clients of this connection's listener may have.
    pub(super) fn maximum_qos(&self, id: ConnectionId) -> u8 {
        let all = self.shared.options.protocol.maximum_qos;
        self.policy(id)
            .map_or(all, |policy| policy.maximum_qos.min(all))
    }

    /// What one client may send and be sent in a second.
    pub(super) fn rate_limits(&self, id: ConnectionId) -> RateLimits {
        let all = self.shared.options.limits.rates();
        self.policy(id)
            .map_or(all, |policy| policy.rates.lower(all))
    }

    /// A PUBLISH of a client whose names have a prefix.
    #[cold]
    pub(super) fn take_mounted(
        &mut self,
        id: ConnectionId,
        raw: &RawPublish<'_>,
        parts: Parts<'_>,
        prefix: &str,
        expiry: Option<u32>,
        now: Time,
    ) -> Result<(), Error> {
        let reason = self.check_topic(parts.topic)?;
        if reason.is_error() {
            return self.refuse_publish(id, raw, reason);
        }
        if parts.topic.starts_with(b"$") {
            // With the prefix in front of it, it would be a topic like others.
            return self.take_named(id, raw, parts, None, expiry, now);
        }
        let topic = [prefix.as_bytes(), parts.topic].concat();
        let mut properties = PropertyBuffer::default();
        if !parts.properties.is_empty() {
            properties.push_raw(parts.properties);
            properties = mounted_properties(prefix, properties.as_properties());
        }
        let parts = Parts {
            topic: &topic,
            properties: properties.as_properties().as_bytes(),
            payload: parts.payload,
        };
        self.take_named(id, raw, parts, None, expiry, now)
    }

    /// The CONNECT with its will where the broker knows it; `None`: it stays as it is.
    pub(super) fn mounted_connect(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
    ) -> Result<Option<Vec<u8>>, ReasonCode> {
        let (Some(prefix), Some(will)) = (self.prefix(id), &connect.will) else {
            return Ok(None);
        };
        let topic = format!("{prefix}{}", will.topic);
        let limits = &self.shared.options.limits;
        if topic.len() > limits.max_topic_bytes as usize
            || noctule_topics::levels(&topic) > limits.max_topic_levels as usize
        {
            return Err(ReasonCode::TOPIC_NAME_INVALID);
        }
        let properties = mounted_properties(&prefix, will.properties);
        let will = Will {
            topic: &topic,
            properties: properties.as_properties(),
            ..*will
        };
        let mounted = Connect {
            will: Some(will),
            ..*connect
        };
        Ok(Some(body_of(connect.version, &Packet::Connect(mounted))))
    }

    pub(super) fn mounted_subscribe(
        &self,
        id: ConnectionId,
        version: Version,
        subscribe: Subscribe<'_>,
    ) -> Option<Vec<u8>> {
        let prefix = self.prefix(id)?;
        let mut requests = Vec::new();
        for request in subscribe.filters() {
            let filter = mounted_filter(&prefix, request.filter);
            let request = SubscriptionRequest {
                filter: fitting(&filter, request.filter),
                ..request
            };
            request.encode(version, &mut requests);
        }
        let (identifier, properties) = (subscribe.packet_identifier, subscribe.properties);
        let mounted = Subscribe::new(version, identifier, properties, &requests).ok()?;
        Some(body_of(version, &Packet::Subscribe(mounted)))
    }

    pub(super) fn mounted_unsubscribe(
        &self,
        id: ConnectionId,
        version: Version,
        unsubscribe: Unsubscribe<'_>,
    ) -> Option<Vec<u8>> {
        let prefix = self.prefix(id)?;
        let mut filters = Vec::new();
        for whole in unsubscribe.filters() {
            let filter = mounted_filter(&prefix, whole);
            let filter = fitting(&filter, whole);
            filters.extend_from_slice(&(filter.len() as u16).to_be_bytes());
            filters.extend_from_slice(filter.as_bytes());
        }
        let identifier = unsubscribe.packet_identifier;
        let mounted = Unsubscribe::new(identifier, Properties::EMPTY, &filters).ok()?;
        Some(body_of(version, &Packet::Unsubscribe(mounted)))
    }
}

/// The filter, unless it would be too long for a packet: an empty one stands for it then, which
/// is refused as none. Never the one without the prefix.
fn fitting<'a>(mounted: &'a str, whole: &str) -> &'a str {
    match mounted.len() > usize::from(u16::MAX) && mounted.len() > whole.len() {
        true => "",
        false => mounted,
    }
}

/// What follows the fixed header of a packet.
fn body_of(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    let header = FixedHeader::decode(&bytes).ok().flatten();
    bytes.drain(..header.map_or(0, |header| header.header_len));
    bytes
}
