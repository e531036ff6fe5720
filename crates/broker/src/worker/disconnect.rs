//! Ends: of a connection, by whomever and for whatever reason; and of a session.

use noctule_packets::{Disconnect, Error, Packet, PropertyBuffer, PropertyId, ReasonCode, Version};
use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use super::timers::Timer;
use crate::connection::Stage;
use crate::effect::{Effect, Event};
use crate::key::{ConnectionId, SessionKey};
use crate::session::{NEVER_EXPIRES, Session};
use crate::time::Time;

/// Why a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause {
    pub reason: ReasonCode,
    pub detail: &'static str,
    /// Whether a 5.0 client is told so in a DISCONNECT.
    announced: bool,
    /// Whether the will is deleted unpublished [MQTT-3.14.4-3].
    deletes_will: bool,
}

impl Cause {
    pub const NETWORK: Cause = Cause::silent(
        ReasonCode::UNSPECIFIED_ERROR,
        "the network connection ended",
    );
    pub const NOT_CONNECT: Cause = Cause::silent(
        ReasonCode::PROTOCOL_ERROR,
        "the first packet was not a CONNECT",
    );
    pub const CONNECT_TIMEOUT: Cause =
        Cause::silent(ReasonCode::MAXIMUM_CONNECT_TIME, "no CONNECT came in time");
    pub const REFUSED: Cause = Cause::silent(ReasonCode::NOT_AUTHORIZED, "CONNECT was refused");
    pub const TOO_LARGE: Cause = Cause::by_server(
        ReasonCode::PACKET_TOO_LARGE,
        "a packet larger than max_packet_bytes",
    );
    pub const NO_MEMORY: Cause = Cause::by_server(
        ReasonCode::QUOTA_EXCEEDED,
        "a long packet while memory is short",
    );
    pub const KEEP_ALIVE: Cause = Cause::by_server(
        ReasonCode::KEEP_ALIVE_TIMEOUT,
        "nothing came within 1.5 times the keep alive",
    );
    pub const TAKEN_OVER: Cause = Cause::by_server(
        ReasonCode::SESSION_TAKEN_OVER,
        "another connection took the session over",
    );
    pub const SHUTTING_DOWN: Cause = Cause::by_server(
        ReasonCode::SERVER_SHUTTING_DOWN,
        "the server is shutting down",
    );

    const fn silent(reason: ReasonCode, detail: &'static str) -> Cause {
        Cause {
            reason,
            detail,
            announced: false,
            deletes_will: false,
        }
    }

    pub const fn by_server(reason: ReasonCode, detail: &'static str) -> Cause {
        Cause {
            reason,
            detail,
            announced: true,
            deletes_will: false,
        }
    }

    fn by_client(reason: ReasonCode) -> Cause {
        let deletes_will = reason == ReasonCode::NORMAL_DISCONNECTION;
        Cause {
            reason,
            detail: "the client disconnected",
            announced: false,
            deletes_will,
        }
    }
}

impl Worker {
    pub(super) fn handle_disconnect(
        &mut self,
        id: ConnectionId,
        disconnect: Disconnect<'_>,
        now: Time,
    ) -> Result<(), Error> {
        let longest = self.shared.options.limits.max_session_expiry_seconds;
        let hooked = self.rare(id).and_then(|rare| rare.session_expiry);
        let longest = longest.min(hooked.unwrap_or(NEVER_EXPIRES));
        let expiry = disconnect
            .properties
            .four_byte(PropertyId::SessionExpiryInterval);
        if let (Some(expiry), Some((_, session))) = (expiry, self.open(id)) {
            if session.expiry_seconds == 0 && expiry != 0 {
                let what = "a session expiry interval that was 0 at CONNECT stays 0";
                return Err(Error::protocol_error(what));
            }
            session.expiry_seconds = expiry.min(longest);
        }
        self.end_connection(id, Cause::by_client(disconnect.reason), now);
        Ok(())
    }

    /// Ends a connection: says why to a 5.0 client, lets the session go or wait,
    /// and has the server close the transport.
    pub(super) fn end_connection(&mut self, id: ConnectionId, cause: Cause, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let (stage, version) = (connection.stage, connection.version);
        if stage == Stage::Closing {
            return;
        }
        if stage == Stage::Open && version == Version::V5 && cause.announced {
            self.send_disconnect(id, cause);
        }
        self.release_held(id);
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.stage = Stage::Closing;
        connection.incoming_aliases = None;
        connection.outgoing_aliases = None;
        let key = connection.session;
        self.take_partial(id);
        self.effects.push_back(Effect::Close(id));
        if stage == Stage::Open {
            self.detach(key, cause, now);
        }
    }

    /// The server's DISCONNECT: never with a session expiry interval
    /// [MQTT-3.14.2-2], with a reason string if there are to be any and it fits
    /// [MQTT-3.14.2-3].
    fn send_disconnect(&mut self, id: ConnectionId, cause: Cause) {
        let mut properties = PropertyBuffer::default();
        if let Some(draining) = &self.draining
            && let Some(reference) = &draining.server_reference
        {
            properties.push_string(PropertyId::ServerReference, reference);
        }
        let bare = properties.clone();
        if self.shared.options.protocol.reason_strings {
            properties.push_string(PropertyId::ReasonString, cause.detail);
        }
        for properties in [properties, bare, PropertyBuffer::default()] {
            let properties = properties.as_properties();
            let packet = Packet::Disconnect(Disconnect {
                reason: cause.reason,
                properties,
            });
            if self.write_packet(id, &packet) {
                return;
            }
        }
    }

    /// A session loses its connection: its will is published, or waits for its
    /// delay; the session ends, or waits for its expiry.
    fn detach(&mut self, key: SessionKey, cause: Cause, now: Time) {
        self.release_all_own(key);
        let Some(session) = self.session(key) else {
            return;
        };
        session.connection = None;
        session.publish_status();
        self.put_back(key);
        let Some(session) = self.session(key) else {
            return;
        };
        session.offline_since = now;
        session.away_milliseconds = 0;
        if cause.deletes_will {
            session.will = None;
        }
        let expiry = session.expiry_seconds;
        let delay = session.will.as_ref().map(|will| will.delay_seconds);
        let client: Box<str> = (*session.client).into();
        self.counters().clients_connected.subtract(1);
        self.report_drops(key);
        self.tell(|| Event::Disconnected {
            client,
            reason: cause.reason,
            detail: cause.detail,
        });
        if expiry == 0 {
            self.end_session(key, "disconnected", now);
            return;
        }
        self.record_session(key);
        match delay {
            Some(0) => self.release_will(key, now),
            Some(delay) => {
                let due = now.after_seconds(u64::from(delay));
                self.wheel.insert(due, Timer::Will(key, now));
            }
            None => {}
        }
        if expiry != NEVER_EXPIRES {
            let due = now.after_seconds(u64::from(expiry));
            self.wheel.insert(due, Timer::SessionExpiry(key, now));
        }
        self.counters().clients_disconnected.add(1);
        self.shared.offline.fetch_add(1, Relaxed);
        self.offline.push_back((key, now));
        self.bound_offline(now);
    }

    /// The oldest sessions without a connection go when there are too many.
    fn bound_offline(&mut self, now: Time) {
        let most = self.shared.options.limits.max_offline_sessions;
        while self.shared.offline.load(Relaxed) > most {
            let Some((oldest, since)) = self.offline.pop_front() else {
                return;
            };
            // One that came back meanwhile is named again for the time it left.
            if self.is_offline_since(oldest, since) {
                self.end_session(oldest, "max_offline_sessions", now);
            }
        }
        // Sessions that came back are still named; forget them now and then.
        if self.offline.len() > 64 && self.offline.len() > 2 * self.sessions.len() {
            let mut offline = std::mem::take(&mut self.offline);
            offline.retain(|&(key, since)| self.is_offline_since(key, since));
            self.offline = offline;
        }
    }

    /// A session's will goes out, once.
    pub(super) fn release_will(&mut self, key: SessionKey, now: Time) {
        let Some(will) = self.session(key).and_then(|session| session.will.take()) else {
            return;
        };
        self.record_session(key);
        self.publish_will(key, &will, now);
    }

    /// Ends a session that has no connection: its will goes out now, its messages
    /// to what is left of its groups, everything else is forgotten.
    pub(super) fn end_session(&mut self, key: SessionKey, reason: &'static str, now: Time) {
        self.release_will(key, now);
        let Some(mut session) = self.sessions.remove(key.slot(), key.epoch()) else {
            return;
        };
        self.by_client.remove(&session.client);
        self.record_end(&session.client, session.durable);
        let was_offline = session.offline_since != Time::NEVER && session.expiry_seconds != 0;
        if was_offline {
            self.counters().clients_disconnected.subtract(1);
            self.shared.offline.fetch_sub(1, Relaxed);
        }
        let filters = std::mem::take(&mut session.subscriptions);
        self.drop_subscriptions(key, filters, now);
        self.forget_stored(&session);
        self.shared.full.write().remove(&key);
        self.leave_to_groups(&mut session);
        let client: Box<str> = (*session.client).into();
        self.tell(|| Event::SessionEnded { client, reason });
    }

    fn forget_stored(&mut self, session: &Session) {
        let in_flight = session.outgoing.stored_bytes();
        self.spill.forget(session);
        if let Some(tail) = &session.tail {
            self.counters().messages_on_disk.subtract(tail.on_disk);
            self.counters()
                .messages_on_disk_bytes
                .subtract(tail.on_disk_bytes);
        }
        self.counters().messages_stored.subtract(session.stored());
        self.counters()
            .messages_stored_bytes
            .subtract(session.queued_bytes + in_flight);
    }

    /// Tells what a session lost since the last time.
    pub(super) fn report_drops(&mut self, key: SessionKey) {
        let Some(session) = self.session(key) else {
            return;
        };
        let Some(drops) = &mut session.dropped else {
            return;
        };
        let unsaid = std::mem::take(&mut drops.unsaid);
        let client: Box<str> = (*session.client).into();
        for (reason, messages) in unsaid {
            let client = client.clone();
            self.tell(|| Event::Dropped {
                client,
                reason,
                messages,
            });
        }
    }

    /// Ends the connection of a client of this worker; false if it has none.
    pub fn disconnect(&mut self, client: &str, reason: ReasonCode, now: Time) -> bool {
        let Some(&(slot, epoch)) = self.by_client.get(client) else {
            return false;
        };
        let session = self.sessions.get(slot as usize, epoch);
        let Some(id) = session.and_then(|session| session.connection) else {
            return false;
        };
        self.end_connection(id, Cause::by_server(reason, "an operator's wish"), now);
        self.settle(now);
        true
    }

    /// Ends every connection there is.
    pub(super) fn end_all(&mut self, cause: Cause, now: Time) {
        for (index, generation) in self.connections.keys() {
            self.end_connection(ConnectionId::new(index, generation), cause, now);
        }
        self.settle(now);
    }
}
