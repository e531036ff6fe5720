//! Acknowledgements both ways: PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5.0 §4.3).

use noctule_packets::{Acknowledgement, Error, PacketType, Properties, QoS, ReasonCode, Version};

use super::Worker;
use crate::key::{ConnectionId, SessionKey};
use crate::outgoing::{Awaiting, Settled};
use crate::time::Time;

impl Worker {
    #[inline]
    pub(super) fn send_puback(&mut self, id: ConnectionId, identifier: u16, reason: ReasonCode) {
        self.send_acknowledgement(id, PacketType::Puback, identifier, reason);
    }

    /// PUBREC; unless it says an error, the identifier is in use until PUBREL. That
    /// nobody subscribes, which a server may say or not (MQTT 5.0 §3.5.2.1), is no
    /// matter of who owns the message, and not said.
    pub(super) fn send_pubrec(&mut self, id: ConnectionId, identifier: u16, reason: ReasonCode) {
        let reason = match reason.is_error() {
            true => reason,
            false => ReasonCode::SUCCESS,
        };
        if let Some((_, session)) = self.open(id)
            && !reason.is_error()
            && !session.received.contains(identifier)
        {
            session.received.insert(identifier);
            let durable = session.durable;
            let promised = self.journal.promised();
            self.record_received(durable, identifier, true);
            self.gate_since(id, promised);
        }
        self.send_acknowledgement(id, PacketType::Pubrec, identifier, reason);
    }

    /// Before 5.0 there is no way to refuse one message: it is acknowledged, but
    /// where that would lose it for want of room the connection ends instead, and
    /// the client sends it again when it is back.
    #[inline]
    fn send_acknowledgement(
        &mut self,
        id: ConnectionId,
        kind: PacketType,
        packet_identifier: u16,
        reason: ReasonCode,
    ) {
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        if connection.version != Version::V5 && reason == ReasonCode::QUOTA_EXCEEDED {
            self.ending
                .push_back((id, super::Cause::by_server(reason, "queue full")));
            return;
        }
        let ack = Acknowledgement {
            packet_identifier,
            reason,
            properties: Properties::EMPTY,
        };
        let out = connection.outbox.buffer(&mut self.pool);
        ack.encode(kind, connection.version, out);
        let waiting = out.len();
        self.counters.messages_sent.add(1);
        self.mark_dirty(id);
        if waiting > self.shared.options.limits.write_buffer_bytes as usize {
            self.pause(id, crate::connection::pause::OUTBOX);
        }
    }

    pub(super) fn handle_acknowledgement(
        &mut self,
        id: ConnectionId,
        kind: PacketType,
        ack: Acknowledgement<'_>,
        now: Time,
    ) -> Result<(), Error> {
        let observed = self.shared.deliveries_observed();
        let Some((connection, session)) = self.open(id) else {
            return Ok(());
        };
        let (key, identifier) = (connection.session, ack.packet_identifier);
        let resumed = connection.resumed;
        if kind == PacketType::Pubrel {
            let known = session.received.remove(identifier);
            let durable = session.durable;
            let promised = self.journal.promised();
            if known {
                self.record_received(durable, identifier, false);
                self.gate_since(id, promised);
            }
            // Where a session goes on, PUBCOMP may have been lost with the connection:
            // that is no error (MQTT 5.0 §3.7.2.1).
            let reason = match known || resumed {
                true => ReasonCode::SUCCESS,
                false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            };
            self.send_acknowledgement(id, PacketType::Pubcomp, identifier, reason);
            self.release_own(key, identifier, now);
            return Ok(());
        }
        let awaiting = session
            .outgoing
            .get_mut(identifier)
            .map(|in_flight| in_flight.awaiting);
        if kind == PacketType::Puback && awaiting == Some(Awaiting::Puback) && !observed {
            // For speed: the session is at hand.
            if let Some(settled) = session.outgoing.settle(identifier) {
                session.publish_status();
                let durable = session.durable;
                self.account_for(durable, settled);
            }
            self.pump(key, now);
            return Ok(());
        }
        if observed {
            self.tell_taken(key, kind, &ack);
        }
        match (kind, awaiting) {
            (PacketType::Puback, Some(Awaiting::Puback))
            | (PacketType::Pubcomp, Some(Awaiting::Pubcomp)) => {
                self.settle_outgoing(key, identifier)
            }
            (PacketType::Pubrec, Some(Awaiting::Pubrec)) if ack.reason.is_error() => {
                // The client does not want it: never sent again [MQTT-4.4.0-2].
                self.settle_outgoing(key, identifier);
            }
            (PacketType::Pubrec, Some(Awaiting::Pubrec)) => self.release(id, key, identifier),
            (PacketType::Pubrec, Some(Awaiting::Pubcomp)) => {
                self.send_acknowledgement(id, PacketType::Pubrel, identifier, ReasonCode::SUCCESS);
            }
            (PacketType::Pubrec, None) if !ack.reason.is_error() => {
                let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                self.send_acknowledgement(id, PacketType::Pubrel, identifier, reason);
            }
            // Late, or for a message never sent: it settles nothing.
            (_, None) => return Ok(()),
            (_, Some(_)) => {
                return Err(Error::protocol_error(
                    "an acknowledgement that the message in flight does not wait for",
                ));
            }
        }
        self.pump(key, now);
        Ok(())
    }

    /// A message in flight is the client's now: PUBACK or PUBREC says so.
    #[cold]
    fn tell_taken(&mut self, key: SessionKey, kind: PacketType, ack: &Acknowledgement<'_>) {
        let in_flight = self
            .session(key)
            .and_then(|session| session.outgoing.get_mut(ack.packet_identifier));
        let Some(in_flight) = in_flight.filter(|_| !ack.reason.is_error()) else {
            return;
        };
        let takes = match in_flight.awaiting {
            Awaiting::Puback => kind == PacketType::Puback,
            Awaiting::Pubrec => kind == PacketType::Pubrec,
            Awaiting::Pubcomp => false,
        };
        if let Some(outbound) = in_flight.outbound.as_ref().filter(|_| takes).cloned() {
            self.tell_delivered(key, outbound.message.parts(), outbound.qos);
        }
    }

    /// PUBREC has come: the message is the client's now, the identifier still ours.
    fn release(&mut self, id: ConnectionId, key: SessionKey, identifier: u16) {
        let Some(session) = self.session(key) else {
            return;
        };
        let Some(in_flight) = session.outgoing.get_mut(identifier) else {
            return;
        };
        in_flight.awaiting = Awaiting::Pubcomp;
        let outbound = in_flight.outbound.take();
        let (sequence, durable) = (in_flight.sequence, session.durable);
        self.record_in_flight(id, durable, sequence, identifier, Awaiting::Pubcomp);
        let bytes = outbound.map_or(0, |outbound| outbound.message.size());
        self.counters().messages_stored_bytes.subtract(bytes as u64);
        self.send_acknowledgement(id, PacketType::Pubrel, identifier, ReasonCode::SUCCESS);
    }

    /// PUBREL again, on the connection that resumed the session.
    pub(super) fn send_pubrel(&mut self, id: ConnectionId, identifier: u16) {
        self.send_acknowledgement(id, PacketType::Pubrel, identifier, ReasonCode::SUCCESS);
    }

    /// A message in flight is done with.
    pub(super) fn settle_outgoing(&mut self, key: SessionKey, identifier: u16) {
        let Some(session) = self.sessions.get_mut(key.slot(), key.epoch()) else {
            return;
        };
        let Some(settled) = session.outgoing.settle(identifier) else {
            return;
        };
        session.publish_status();
        let durable = session.durable;
        self.account_for(durable, settled);
    }

    #[inline]
    fn account_for(&mut self, durable: u64, settled: Settled) {
        let qos = match settled.awaiting {
            Awaiting::Puback => QoS::AtLeastOnce,
            Awaiting::Pubrec | Awaiting::Pubcomp => QoS::ExactlyOnce,
        };
        self.record_settled(durable, settled.sequence, qos);
        let counters = self.counters();
        counters.messages_stored.subtract(1);
        counters
            .messages_stored_bytes
            .subtract(settled.bytes as u64);
    }
}
