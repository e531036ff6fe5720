//! PUBLISH packets, written into the outbox of one connection.

use noctule_packets::{QoS, Version};

use crate::connection::Connection;
use crate::counters::Counters;
use crate::message::{Envelope, Message, Parts, Sent, encode_before_payload, layout};
use crate::outbox::{Pool, SHARED_PAYLOAD_BYTES};

/// The last PUBLISH written for many: the next subscriber on equal terms gets a
/// copy with another packet identifier in it. For speed (benches/session.rs).
#[derive(Default)]
pub(super) struct Template {
    of: Option<(Version, QoS, bool)>,
    bytes: Vec<u8>,
    identifier_at: usize,
    total: usize,
}

impl Template {
    pub fn forget(&mut self) {
        self.of = None;
    }
}

/// Whether a client takes a packet of this size.
#[inline]
pub(super) fn fits(parts: Parts<'_>, envelope: &Envelope<'_>, connection: &Connection) -> bool {
    layout(parts, envelope)
        .is_some_and(|layout| layout.total() <= connection.maximum_packet_bytes as usize)
}

/// What writes PUBLISH packets to one connection.
pub(super) struct Pen<'a> {
    pub connection: &'a mut Connection,
    pub pool: &'a mut Pool,
    pub template: Option<&'a mut Template>,
    pub counters: &'a Counters,
}

impl Pen<'_> {
    /// False if the packet is larger than the client takes; nothing is written then.
    ///
    /// Always inlined for speed: mostly the packet is copied, and nothing of the envelope has
    /// to be in memory for that (`make instructions`).
    #[inline(always)]
    pub fn write(
        &mut self,
        parts: Parts<'_>,
        sent: Option<&Sent<'_>>,
        message: Option<&Message>,
        envelope: Envelope<'_>,
    ) -> bool {
        match sent {
            Some(sent)
                if self.is_like(sent, &envelope)
                    && (message.is_none() || parts.payload.len() < SHARED_PAYLOAD_BYTES) =>
            {
                self.copy(sent, parts, &envelope)
            }
            _ => self.compose(parts, message, envelope),
        }
    }

    /// Whether this client's packet is the publisher's but for flags and packet identifier.
    #[inline(always)]
    fn is_like(&self, sent: &Sent<'_>, envelope: &Envelope<'_>) -> bool {
        sent.qos == envelope.qos
            && sent.has_properties == (envelope.version == Version::V5)
            && envelope.expiry.is_none()
            && envelope.subscription_identifiers.is_empty()
            && self.connection.outgoing_aliases.is_none()
    }

    #[inline(always)]
    fn copy(&mut self, sent: &Sent<'_>, parts: Parts<'_>, envelope: &Envelope<'_>) -> bool {
        if sent.packet.len() > self.connection.maximum_packet_bytes as usize {
            return false;
        }
        let out = self.connection.outbox.buffer(self.pool);
        let begin = out.len();
        out.extend_from_slice(sent.packet);
        let packet = &mut out[begin..];
        packet[0] = envelope.first_byte();
        if envelope.qos != QoS::AtMostOnce {
            let identifier = envelope.packet_identifier.to_be_bytes();
            packet[sent.body_at + 2 + parts.topic.len()..][..2].copy_from_slice(&identifier);
        }
        self.count(parts);
        true
    }

    #[inline(never)]
    fn compose(
        &mut self,
        parts: Parts<'_>,
        message: Option<&Message>,
        envelope: Envelope<'_>,
    ) -> bool {
        let plain = envelope.subscription_identifiers.is_empty()
            && !envelope.dup
            && self.connection.outgoing_aliases.is_none();
        if plain
            && let Some(template) = self.template.take()
            && !(message.is_some() && parts.payload.len() >= SHARED_PAYLOAD_BYTES)
        {
            return self.write_by_template(template, parts, envelope);
        }
        self.write_anew(parts, message, envelope)
    }

    fn write_by_template(
        &mut self,
        template: &mut Template,
        parts: Parts<'_>,
        envelope: Envelope<'_>,
    ) -> bool {
        let of = Some((envelope.version, envelope.qos, envelope.retain));
        if template.of != of {
            let Some(layout) = layout(parts, &envelope) else {
                return false;
            };
            template.bytes.clear();
            encode_before_payload(&mut template.bytes, parts, &envelope, layout);
            template.bytes.extend_from_slice(parts.payload);
            template.total = layout.total();
            template.identifier_at = identifier_offset(&template.bytes, parts);
            template.of = of;
        }
        if template.total > self.connection.maximum_packet_bytes as usize {
            return false;
        }
        if envelope.qos != QoS::AtMostOnce {
            let identifier = envelope.packet_identifier.to_be_bytes();
            template.bytes[template.identifier_at..][..2].copy_from_slice(&identifier);
        }
        let out = self.connection.outbox.buffer(self.pool);
        out.extend_from_slice(&template.bytes);
        self.count(parts);
        true
    }

    fn write_anew(
        &mut self,
        parts: Parts<'_>,
        message: Option<&Message>,
        mut envelope: Envelope<'_>,
    ) -> bool {
        let largest = self.connection.maximum_packet_bytes as usize;
        let Some(mut size) = layout(parts, &envelope) else {
            return false;
        };
        if size.total() > largest {
            return false;
        }
        if let Some(aliases) = &mut self.connection.outgoing_aliases
            && size.total() + 5 <= largest
        {
            envelope.alias = Some(aliases.assign(parts.topic));
            match layout(parts, &envelope) {
                Some(with_alias) => size = with_alias,
                None => return false,
            }
        }
        let out = self.connection.outbox.buffer(self.pool);
        encode_before_payload(out, parts, &envelope, size);
        match message {
            Some(message) if parts.payload.len() >= SHARED_PAYLOAD_BYTES => {
                self.connection.outbox.splice_payload(message.clone());
            }
            _ => out.extend_from_slice(parts.payload),
        }
        self.count(parts);
        true
    }

    #[inline]
    fn count(&mut self, parts: Parts<'_>) {
        self.counters.messages_sent.add(1);
        self.counters.publish_sent.add(1);
        self.counters
            .publish_bytes_sent
            .add(parts.payload.len() as u64);
        if let Some(rates) = self
            .connection
            .rare
            .as_mut()
            .and_then(|rare| rare.limits.as_mut())
        {
            rates
                .messages_out
                .iter_mut()
                .for_each(|bucket| bucket.spend(1));
            rates
                .bytes_out
                .iter_mut()
                .for_each(|bucket| bucket.spend(parts.payload.len() as u64));
        }
    }
}

/// Where the packet identifier stands in a PUBLISH: behind header and topic.
fn identifier_offset(packet: &[u8], parts: Parts<'_>) -> usize {
    let header = packet[1..]
        .iter()
        .take_while(|&&byte| byte & 0x80 != 0)
        .count()
        + 2;
    header + 2 + parts.topic.len()
}
