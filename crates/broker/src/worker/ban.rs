//! Who is banned is not let in, and does not stay; what may lead to a ban is counted.

use noctule_packets::ReasonCode;

use super::Worker;
use super::disconnect::Cause;
use crate::effect::{Effect, Event};
use crate::key::{ConnectionId, SessionKey};
use crate::time::Time;

impl Worker {
    /// Whether a client, or whoever comes from its address, is banned.
    pub(super) fn is_barred(&mut self, id: ConnectionId, client: &str, now: Time) -> bool {
        let shared = self.shared.clone();
        let bans = shared.bans();
        let peer = self.connection(id).map(|connection| &connection.peer);
        let address = peer.and_then(|peer| peer.address);
        let barred = bans.bars_client(client, now)
            || address.is_some_and(|address| bans.bars_address(address, now));
        if barred {
            self.counters().connections_banned.add(1);
        }
        barred
    }

    /// A CONNECT was refused; where that says that somebody guesses, it is counted.
    pub(super) fn note_refused(&mut self, id: ConnectionId, reason: ReasonCode, now: Time) {
        let guesses = [
            ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            ReasonCode::NOT_AUTHORIZED,
            ReasonCode::BAD_AUTHENTICATION_METHOD,
        ];
        let peer = self.connection(id).map(|connection| &connection.peer);
        let address = peer.and_then(|peer| peer.address);
        if let Some(address) = address.filter(|_| guesses.contains(&reason))
            && let Some(seconds) = self.shared.bans().failed(address, now)
        {
            let value = address.to_string().into();
            self.tell_banned("address", value, "failed logins", seconds);
        }
    }

    /// A client came in.
    pub(super) fn note_connected(&mut self, key: SessionKey, now: Time) {
        let Some(client) = self.session(key).map(|session| session.client.clone()) else {
            return;
        };
        if client.starts_with(crate::effect::INTERNAL_PREFIX) {
            return;
        }
        if let Some(seconds) = self.shared.bans().connected(&client, now) {
            self.tell_banned("client", (*client).into(), "flapping", seconds);
        }
    }

    fn tell_banned(
        &mut self,
        whom: &'static str,
        value: Box<str>,
        reason: &'static str,
        seconds: u64,
    ) {
        self.counters().bans_made.add(1);
        // Always told: it is logged, too.
        self.effects.push_back(Effect::Event(Event::Banned {
            whom,
            value,
            reason,
            seconds,
        }));
    }

    /// Ends the connections of whoever has been banned.
    pub fn end_banned(&mut self, now: Time) {
        let shared = self.shared.clone();
        let bans = shared.bans();
        let mut ending = Vec::new();
        for &(slot, epoch) in self.by_client.values() {
            let Some(session) = self.sessions.get(slot as usize, epoch) else {
                continue;
            };
            let Some(id) = session.connection else {
                continue;
            };
            let connection = self.connections.get(id.index(), id.generation());
            let Some(peer) = connection.map(|connection| &connection.peer) else {
                continue;
            };
            let barred = bans.bars_client(&session.client, now)
                || bans.bars_user(session.user.as_deref(), now)
                || peer
                    .address
                    .is_some_and(|address| bans.bars_address(address, now));
            if barred && !peer.is_internal {
                ending.push(id);
            }
        }
        for id in ending {
            // 0x8A is for CONNACK alone (MQTT 5.0 §2.4).
            let cause = Cause::by_server(ReasonCode::ADMINISTRATIVE_ACTION, "banned");
            self.end_connection(id, cause, now);
        }
        self.settle(now);
    }
}
