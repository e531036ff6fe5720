//! A message that waited, or was in flight before, is written to its client.

use noctule_packets::{PropertyBuffer, QoS};

use super::Worker;
use super::pen::{Pen, fits};
use crate::access::Permissions;
use crate::counters::Counters;
use crate::key::SessionKey;
use crate::message::{Envelope, Parts, remaining_expiry};
use crate::outgoing::{Awaiting, Outbound};
use crate::policy::unmounted;
use crate::session::Session;
use crate::time::Time;

impl Worker {
    /// Puts a QoS 1 or 2 message in flight and writes it.
    #[inline]
    pub(super) fn send_new(
        &mut self,
        key: SessionKey,
        mut outbound: Outbound,
        many: bool,
        now: Time,
    ) {
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let Some(id) = session.connection else { return };
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        let mut envelope = Envelope {
            version: connection.version,
            dup: false,
            qos: outbound.qos,
            retain: outbound.retain,
            packet_identifier: 0,
            expiry: remaining_expiry(outbound.message.head().deadline, now),
            subscription_identifiers: &outbound.subscription_identifiers,
            alias: None,
        };
        let parts = outbound.message.parts();
        if let Some(permissions) = &session.permissions
            && !permitted(permissions, parts)
        {
            // The right was revoked while the message waited.
            self.drop_outbound(key, &outbound, "not_authorized");
            return;
        }
        let mut scratch = PropertyBuffer::default();
        let prefix = self.shared.options.prefix(connection.peer.listener);
        let parts = match prefix {
            None => parts,
            Some(prefix) => match unmounted(prefix, parts, &mut scratch) {
                Some(parts) => parts,
                None => return self.drop_outbound(key, &outbound, "outside_prefix"),
            },
        };
        let many = many && prefix.is_none();
        if !fits(parts, &envelope, connection) {
            // As if delivered [MQTT-3.1.2-25].
            self.drop_outbound(key, &outbound, "too_large");
            return;
        }
        let in_flight = outbound.qos != QoS::AtMostOnce;
        if in_flight {
            let identifier = session.outgoing.next_identifier();
            envelope.packet_identifier = identifier;
            if outbound.qos == QoS::ExactlyOnce && self.journal.on {
                if outbound.sequence == 0 && session.durable != 0 {
                    // Not kept, but the client keeps its identifier.
                    outbound.sequence = self.shared.sequence.draw();
                }
                let (durable, sequence) = (session.durable, outbound.sequence);
                self.record_in_flight(id, durable, sequence, identifier, Awaiting::Pubrec);
            }
        }
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        let counters = &self.counters;
        let mut pen = Pen {
            connection,
            pool: &mut self.pool,
            template: (many && in_flight).then_some(&mut self.template),
            counters,
        };
        pen.write(parts, None, Some(&outbound.message), envelope);
        self.mark_dirty(id);
        if in_flight {
            let counters = &self.counters;
            if let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) {
                put_in_flight(session, outbound, counters);
            }
        } else if self.shared.deliveries_observed() {
            self.tell_delivered(key, outbound.message.parts(), QoS::AtMostOnce);
        }
    }

    /// Writes a message in flight once more, with DUP [MQTT-3.3.1-1].
    pub(super) fn send_again(
        &mut self,
        key: SessionKey,
        identifier: u16,
        outbound: &Outbound,
        now: Time,
    ) {
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let Some(id) = session.connection else { return };
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        let envelope = Envelope {
            version: connection.version,
            dup: true,
            qos: outbound.qos,
            retain: outbound.retain,
            packet_identifier: identifier,
            expiry: remaining_expiry(outbound.message.head().deadline, now),
            subscription_identifiers: &outbound.subscription_identifiers,
            alias: None,
        };
        if let Some(permissions) = &session.permissions
            && !permitted(permissions, outbound.message.parts())
        {
            // The right was revoked since it was sent first.
            self.settle_outgoing(key, identifier);
            self.drop_for(key, "not_authorized");
            return;
        }
        let mut scratch = PropertyBuffer::default();
        let parts = outbound.message.parts();
        let parts = match self.shared.options.prefix(connection.peer.listener) {
            None => Some(parts),
            Some(prefix) => unmounted(prefix, parts, &mut scratch),
        };
        let Some(parts) = parts else {
            self.settle_outgoing(key, identifier);
            self.drop_for(key, "outside_prefix");
            return;
        };
        let counters = &self.counters;
        let mut pen = Pen {
            connection,
            pool: &mut self.pool,
            template: None,
            counters,
        };
        if pen.write(parts, None, Some(&outbound.message), envelope) {
            self.mark_dirty(id);
        } else {
            self.settle_outgoing(key, identifier);
            self.drop_for(key, "too_large");
        }
    }
}

/// A message is on its way: it stays until the client has it.
#[inline]
pub(super) fn put_in_flight(session: &mut Session, outbound: Outbound, counters: &Counters) {
    counters.messages_stored.add(1);
    let size = outbound.message.size();
    counters.messages_stored_bytes.add(size as u64);
    session.outgoing.push(outbound);
    session.publish_status();
}

/// Whether a client may receive a message now.
#[inline]
pub(super) fn permitted(permissions: &Permissions, parts: Parts<'_>) -> bool {
    std::str::from_utf8(parts.topic).is_ok_and(|topic| permissions.may_receive(topic))
}
