//! From bytes to packets: framing, and which packet goes where.

use noctule_packets::{
    Acknowledgement, Auth, Disconnect, Error, FixedHeader, PacketType, Unsubscribe, Version,
};

use super::Worker;
use super::disconnect::Cause;
use super::subscribe::check_filter;
use crate::connection::Stage;
use crate::key::ConnectionId;
use crate::pressure::Pressure;
use crate::time::Time;

const CONNECT_FLAGS: u8 = 0x10;

const NOT_A_CLIENTS: Error = Error::protocol_error("this packet is not a client's to send");

/// What may lie there of a packet whose rest has not come, when memory is short.
const LONG_PARTIAL_BYTES: usize = 64 << 10;

impl Worker {
    /// Takes bytes as they came: completes a packet begun earlier, carries out the
    /// whole packets in place, keeps the rest.
    pub(super) fn take_bytes(&mut self, id: ConnectionId, mut bytes: &[u8], now: Time) {
        self.counters().bytes_received.add(bytes.len() as u64);
        let Some(connection) = self.connection(id) else {
            return;
        };
        if connection.stage == Stage::Closing {
            return;
        }
        connection.last_received = now;
        if connection.paused != 0 {
            connection.partial.extend_from_slice(bytes);
            self.counters().partial_bytes.add(bytes.len() as u64);
            return;
        }
        if !connection.partial.is_empty() {
            match self.complete_partial(id, bytes, now) {
                Some(rest) => bytes = rest,
                None => return,
            }
        }
        self.take_packets(id, bytes, now);
    }

    /// A publisher that was paused goes on with what it had sent before.
    pub(super) fn go_on(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        if connection.paused != 0 || connection.stage == Stage::Closing {
            return;
        }
        let bytes = self.take_partial(id);
        self.take_packets(id, &bytes, now);
    }

    /// Carries out whole packets and keeps what is left over.
    fn take_packets(&mut self, id: ConnectionId, bytes: &[u8], now: Time) {
        let used = self.run_packets(id, bytes, now);
        if used == bytes.len() {
            return;
        }
        if let Some(connection) = self.connection(id)
            && connection.stage != Stage::Closing
        {
            self.keep_partial(id, bytes[used..].to_vec());
            self.bound_partial(id, now);
        }
    }

    /// What lies there of a connection's packets; it is counted no more.
    pub(super) fn take_partial(&mut self, id: ConnectionId) -> Vec<u8> {
        let Some(connection) = self.connection(id) else {
            return Vec::new();
        };
        let partial = std::mem::take(&mut connection.partial);
        let bytes = partial.len() as u64;
        self.counters().partial_bytes.subtract(bytes);
        partial
    }

    /// Keeps what is to be carried out once more has come, where nothing lay.
    fn keep_partial(&mut self, id: ConnectionId, partial: Vec<u8>) {
        let bytes = partial.len() as u64;
        if let Some(connection) = self.connection(id) {
            connection.partial = partial;
            self.counters().partial_bytes.add(bytes);
        }
    }

    /// Ends a connection whose packet is long and not there yet, while there is no memory
    /// for the rest of it.
    fn bound_partial(&mut self, id: ConnectionId, now: Time) {
        let is_long = self.connection(id).is_some_and(|connection| {
            connection.paused == 0 && connection.partial.len() > LONG_PARTIAL_BYTES
        });
        if is_long && self.shared.pressure() == Pressure::Full {
            self.end_connection(id, Cause::NO_MEMORY, now);
        }
    }

    /// Adds to the packet begun earlier what it lacks; returns the bytes behind it
    /// once it has been carried out. Never takes more memory than has arrived.
    fn complete_partial<'a>(
        &mut self,
        id: ConnectionId,
        mut bytes: &'a [u8],
        now: Time,
    ) -> Option<&'a [u8]> {
        let mut partial = self.take_partial(id);
        let total = loop {
            match FixedHeader::decode(&partial) {
                Ok(Some(header)) => break header.total(),
                Ok(None) => {
                    let Some((&next, rest)) = bytes.split_first() else {
                        self.keep_partial(id, partial);
                        return None;
                    };
                    partial.push(next);
                    bytes = rest;
                }
                Err(_) => break partial.len(),
            }
        };
        let lacking = total.saturating_sub(partial.len());
        let (begins, rest) = bytes.split_at(lacking.min(bytes.len()));
        partial.extend_from_slice(begins);
        let used = self.run_packets(id, &partial, now);
        let connection = self.connection(id)?;
        if connection.stage == Stage::Closing {
            return None;
        }
        if used == partial.len() {
            return Some(rest);
        }
        // Still incomplete, or paused before it could be carried out.
        partial.drain(..used);
        partial.extend_from_slice(rest);
        self.keep_partial(id, partial);
        self.bound_partial(id, now);
        None
    }

    /// Carries out the whole packets at the front of `bytes`; returns how many
    /// bytes they were.
    fn run_packets(&mut self, id: ConnectionId, bytes: &[u8], now: Time) -> usize {
        let mut at = 0;
        let mut packets = 0;
        while at < bytes.len() {
            let Some(connection) = self.connection(id) else {
                break;
            };
            if connection.paused != 0 || connection.stage == Stage::Closing {
                break;
            }
            let rest = &bytes[at..];
            if connection.stage == Stage::New && rest[0] != CONNECT_FLAGS {
                self.end_connection(id, Cause::NOT_CONNECT, now);
                break;
            }
            let largest = match connection.stage {
                Stage::New => self.shared.options.limits.max_connect_packet_bytes,
                _ => connection.largest_from_client,
            };
            let header = match FixedHeader::decode(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => {
                    self.refuse(id, error, now);
                    break;
                }
            };
            if header.total() > largest as usize {
                self.end_connection(id, Cause::TOO_LARGE, now);
                break;
            }
            let Some(packet) = rest.get(..header.total()) else {
                break;
            };
            at += header.total();
            packets += 1;
            if let Err(error) = self.handle_packet(id, header, packet, now) {
                self.refuse(id, error, now);
            }
        }
        self.counters().messages_received.add(packets);
        at
    }

    /// Always inlined for speed: a call for each packet is 4 % of what a small one costs
    /// (`make instructions`).
    #[inline(always)]
    fn handle_packet(
        &mut self,
        id: ConnectionId,
        header: FixedHeader,
        packet: &[u8],
        now: Time,
    ) -> Result<(), Error> {
        let Some(connection) = self.connection(id) else {
            return Ok(());
        };
        let (stage, version) = (connection.stage, connection.version);
        const PUBLISH: u8 = PacketType::Publish as u8;
        if header.packet_type() == PUBLISH && stage == Stage::Open {
            return self.handle_publish(id, version, header, packet, now);
        }
        let Some(kind) = PacketType::from_u8(header.packet_type()) else {
            return Err(Error::protocol_error("packet type 0 is reserved"));
        };
        let body = &packet[header.header_len..];
        match (stage, kind) {
            (Stage::New, PacketType::Connect) => {
                self.handle_connect(id, header.flags(), body, now);
            }
            (Stage::New, _) => self.end_connection(id, Cause::NOT_CONNECT, now),
            (Stage::Authenticating, PacketType::Auth | PacketType::Disconnect)
            | (Stage::Open, _) => self.handle_open(id, version, kind, header, body, now)?,
            (Stage::Authenticating, _) => {
                return Err(Error::protocol_error(
                    "only AUTH or DISCONNECT may come before CONNACK",
                ));
            }
            (Stage::Closing, _) => {}
        }
        Ok(())
    }

    fn handle_open(
        &mut self,
        id: ConnectionId,
        version: Version,
        kind: PacketType,
        header: FixedHeader,
        body: &[u8],
        now: Time,
    ) -> Result<(), Error> {
        let flags = header.flags();
        match kind {
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
                let ack = Acknowledgement::decode(kind, version, flags, body)?;
                self.handle_acknowledgement(id, kind, ack, now)?;
            }
            PacketType::Subscribe => {
                self.begin_subscribe(id, version, flags, body, now)?;
            }
            PacketType::Unsubscribe => {
                let unsubscribe = Unsubscribe::decode(version, flags, body)?;
                for filter in unsubscribe.filters() {
                    check_filter(filter)?;
                }
                let mounted = self.mounted_unsubscribe(id, version, unsubscribe);
                let body = mounted.as_deref().unwrap_or(body);
                self.handle_unsubscribe(id, Unsubscribe::decode(version, flags, body)?);
            }
            PacketType::Pingreq => {
                noctule_packets::Packet::decode(version, header, body)?;
                self.handle_pingreq(id);
            }
            PacketType::Disconnect => {
                self.handle_disconnect(id, Disconnect::decode(version, flags, body)?, now)?;
            }
            PacketType::Auth if version == Version::V5 => {
                self.handle_auth(id, Auth::decode(flags, body)?)?;
            }
            PacketType::Connect => return Err(Error::protocol_error("a second CONNECT")),
            PacketType::Connack | PacketType::Auth => return Err(NOT_A_CLIENTS),
            // Flags that are not the packet's are malformed, whoever sends it [MQTT-2.1.3-1].
            _ if header.first != kind.first_byte() => {
                return Err(Error::malformed("flags that are not the packet's"));
            }
            _ => return Err(NOT_A_CLIENTS),
        }
        Ok(())
    }

    /// Ends a connection for what its client sent.
    pub(super) fn refuse(&mut self, id: ConnectionId, error: Error, now: Time) {
        self.end_connection(id, Cause::by_server(error.reason, error.what), now);
    }

    fn handle_pingreq(&mut self, id: ConnectionId) {
        self.write_packet(id, &noctule_packets::Packet::Pingresp);
    }

    /// Writes a packet other than PUBLISH. One that is larger than the client
    /// takes is not written [MQTT-3.1.2-24]; false then.
    pub(super) fn write_packet(
        &mut self,
        id: ConnectionId,
        packet: &noctule_packets::Packet<'_>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return false;
        };
        let out = connection.outbox.buffer(&mut self.pool);
        let before = out.len();
        packet.encode(connection.version, out);
        if out.len() - before > connection.maximum_packet_bytes as usize {
            out.truncate(before);
            return false;
        }
        self.counters.messages_sent.add(1);
        self.mark_dirty(id);
        self.bound_answers(id);
        true
    }

    /// Stops reading from a client that asks for answers and does not read them.
    fn bound_answers(&mut self, id: ConnectionId) {
        let limit = self.shared.options.limits.write_buffer_bytes as usize;
        let Some(connection) = self.connection(id) else {
            return;
        };
        if connection.outbox.len() > limit {
            self.pause(id, crate::connection::pause::OUTBOX);
        }
    }
}
