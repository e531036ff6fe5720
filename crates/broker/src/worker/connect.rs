//! CONNECT: who comes, whether they may, and which session is theirs.

use std::sync::Arc;

use noctule_packets::{Connect, PropertyId, ReasonCode, Version};

use super::Worker;
use super::connack::Refusal;
use super::deny::Denied;
use super::disconnect::Cause;
use crate::access::{Action, Permissions, Rule};
use crate::aliases::OutgoingAliases;
use crate::bucket::Bucket;
use crate::connection::{Rates, Stage};
use crate::durability::Durability;
use crate::effect::{Event, INTERNAL_PREFIX};
use crate::key::{ConnectionId, SessionKey};
use crate::names::{has_control, is_reserved};
use crate::policy::RateLimits;
use crate::pressure::Pressure;
use crate::session::{NEVER_EXPIRES, Session, Will};
use crate::time::Time;
use crate::worker::timers::Timer;

/// What CONNACK has to say that depends on how the client got in.
#[derive(Default)]
pub(super) struct Admission<'a> {
    pub user: Option<Box<str>>,
    pub rules: Option<Vec<Rule>>,
    pub authentication_data: Option<&'a [u8]>,
}

impl Worker {
    pub(super) fn handle_connect(&mut self, id: ConnectionId, flags: u8, body: &[u8], now: Time) {
        let connect = match Connect::decode(flags, body) {
            Ok(connect) => connect,
            Err(error) => return self.refuse_undecodable(id, body, error, now),
        };
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.version = connect.version;
        if connect.version == Version::V5 {
            let properties = connect.properties;
            let largest = properties.four_byte(PropertyId::MaximumPacketSize);
            connection.maximum_packet_bytes = largest.unwrap_or(u32::MAX);
            let problem = properties.byte(PropertyId::RequestProblemInformation);
            connection.problem_information = problem != Some(0);
        }
        let is_internal = connection.peer.is_internal;
        if !is_internal && self.is_barred(id, connect.client_identifier, now) {
            return self.refuse_connect(id, &connect, ReasonCode::BANNED.into(), now);
        }
        if let Err(refusal) = self.check_connect(id, &connect) {
            return self.refuse_connect(id, &connect, refusal, now);
        }
        if connect.client_identifier.starts_with(INTERNAL_PREFIX) && !is_internal {
            let reason = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
            return self.refuse_connect(id, &connect, reason.into(), now);
        }
        let mounted = match self.mounted_connect(id, &connect) {
            Ok(mounted) => mounted,
            Err(reason) => return self.refuse_connect(id, &connect, reason.into(), now),
        };
        let Some(mounted) = mounted else {
            return self.let_in(id, &connect, body, now);
        };
        // Decoded once before, so this cannot fail; if it did, nobody would get in.
        if let Ok(connect) = Connect::decode(flags, &mounted) {
            self.let_in(id, &connect, &mounted, now);
        }
    }

    /// A CONNECT that is in order: to the authenticator, if there is one.
    fn let_in(&mut self, id: ConnectionId, connect: &Connect<'_>, body: &[u8], now: Time) {
        let is_internal = self
            .connection(id)
            .is_some_and(|connection| connection.peer.is_internal);
        let method = connect.properties.string(PropertyId::AuthenticationMethod);
        let authentication = self.authenticates();
        let hooked = self.shared.hooks().is_some_and(|hooks| hooks.connect);
        let hooked = hooked && method.is_none();
        if (authentication || hooked) && !is_internal {
            return self.begin_authentication(id, connect, body);
        }
        if method.is_some() {
            let reason = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return self.refuse_connect(id, connect, reason.into(), now);
        }
        let user = connect.user_name.map(Into::into);
        self.admit(
            id,
            connect,
            Admission {
                user,
                ..Admission::default()
            },
            now,
        );
    }

    /// Everything about a CONNECT that needs nobody's opinion.
    fn check_connect(&self, id: ConnectionId, connect: &Connect<'_>) -> Result<(), Refusal> {
        let (limits, protocol) = (&self.shared.options.limits, &self.shared.options.protocol);
        if let Some(draining) = &self.draining {
            return Err(draining.reason.into());
        }
        // Whoever has a session here may come and take what fills the memory.
        if self.shared.pressure() == Pressure::Full && !self.has_session(connect.client_identifier)
        {
            return Err(ReasonCode::SERVER_BUSY.into());
        }
        if connect.client_identifier.is_empty() {
            let may_be_assigned = connect.version == Version::V5
                || (connect.version == Version::V4 && connect.clean_start);
            if !protocol.allow_empty_client_identifier || !may_be_assigned {
                return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID.into());
            }
        }
        if has_control(connect.client_identifier) {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID.into());
        }
        if connect.user_name.is_some_and(has_control) {
            return Err(ReasonCode::MALFORMED_PACKET.into());
        }
        self.check_property_count(connect.properties)
            .map_err(|error| Refusal {
                reason: error.reason,
                text: Some(error.what.into()),
            })?;
        let Some(will) = &connect.will else {
            return Ok(());
        };
        self.check_property_count(will.properties)
            .map_err(|error| Refusal {
                reason: error.reason,
                text: Some(error.what.into()),
            })?;
        if noctule_topics::validate_name(will.topic).is_err()
            || has_control(will.topic)
            || noctule_topics::levels(will.topic) > limits.max_topic_levels as usize
            || will.topic.len() > limits.max_topic_bytes as usize
        {
            return Err(ReasonCode::TOPIC_NAME_INVALID.into());
        }
        let is_mounted = will.topic.starts_with('$') && self.prefix(id).is_some();
        if is_reserved(will.topic.as_bytes()) || is_mounted {
            return Err(ReasonCode::NOT_AUTHORIZED.into());
        }
        if will.qos as u8 > self.maximum_qos(id) {
            return Err(ReasonCode::QOS_NOT_SUPPORTED.into());
        }
        if will.retain && !protocol.retain_available {
            return Err(ReasonCode::RETAIN_NOT_SUPPORTED.into());
        }
        let marked = will.properties.byte(PropertyId::PayloadFormatIndicator) == Some(1);
        if protocol.validate_payload_format && marked && std::str::from_utf8(will.payload).is_err()
        {
            return Err(ReasonCode::PAYLOAD_FORMAT_INVALID.into());
        }
        Ok(())
    }

    /// A client that may come in: its session is taken up or made, and CONNACK sent.
    pub(super) fn admit(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        admission: Admission<'_>,
        now: Time,
    ) {
        let assigned = connect
            .client_identifier
            .is_empty()
            .then(|| self.assign_identifier());
        let client = assigned.as_deref().unwrap_or(connect.client_identifier);
        if self.belongs_to_another(client, admission.user.as_deref()) {
            return self.refuse_connect(id, connect, ReasonCode::NOT_AUTHORIZED.into(), now);
        }
        if self.shared.bans().bars_user(admission.user.as_deref(), now) {
            self.counters().connections_banned.add(1);
            return self.refuse_connect(id, connect, ReasonCode::BANNED.into(), now);
        }
        let permissions = admission
            .rules
            .as_ref()
            .map(|rules| Permissions::new(rules, client, admission.user.as_deref()));
        if let (Some(permissions), Some(will)) = (&permissions, &connect.will)
            && !permissions.may_publish(will.topic, will.qos, will.retain)
        {
            let denied = Denied {
                action: Action::Publish,
                topic: will.topic,
                qos: will.qos,
                retain: will.retain,
            };
            self.tell_denied_of(
                client,
                admission.user.as_deref(),
                Some(permissions),
                &denied,
            );
            return self.refuse_connect(id, connect, ReasonCode::NOT_AUTHORIZED.into(), now);
        }
        let expiry = self.session_expiry(id, connect);
        let listener = self.connection(id).map_or(0, |each| each.peer.listener);
        let durability = self.session_durability(expiry, listener);
        let is_kept = durability != Durability::Memory || self.is_kept(client);
        if is_kept && !self.journal.ready() {
            return self.refuse_connect(id, connect, ReasonCode::SERVER_UNAVAILABLE.into(), now);
        }
        // CONNACK says what becomes of an earlier session, too.
        let promised = self.journal.promised();
        self.take_over(client, now);
        let durable = self.name_records(durability);
        let (key, session_present) =
            self.take_session(client, &admission, durable, connect.clean_start, now);
        self.furnish_connection(id, key, connect, now);
        let (user, keep_alive) = (
            admission.user.clone(),
            self.keep_alive(id, connect.keep_alive),
        );
        if let Some(connection) = self.connection(id) {
            connection.resumed = session_present;
        }
        if let Some(session) = self.session(key) {
            session.connection = Some(id);
            session.expiry_seconds = expiry;
            session.permissions = permissions;
            session.verdicts = None;
            session.will = Will::of(connect);
            session.outgoing.mark_resends();
            session.publish_status();
        }
        if session_present {
            self.leave_system_topics(key);
        }
        self.record_session(key);
        if self.journal.promised() > promised {
            self.gate_all(id);
        }
        let client: Box<str> = client.into();
        let sent = self.send_connack(
            id,
            connect,
            session_present,
            assigned.as_deref(),
            &admission,
        );
        self.counters().clients_connected.add(1);
        self.counters().connections_accepted.add(1);
        let version = connect.version;
        let address = self
            .connection(id)
            .and_then(|connection| connection.peer.address);
        self.tell(|| Event::Connected {
            client,
            user,
            address,
            version,
            session_present,
            keep_alive_seconds: keep_alive,
        });
        if !sent {
            self.end_connection(id, Cause::REFUSED, now);
            return;
        }
        self.note_connected(key, now);
        self.pump(key, now);
    }

    /// Whether somebody says who a client is.
    fn authenticates(&self) -> bool {
        let hooks = self.shared.hooks();
        self.shared.options.authentication || hooks.is_some_and(|hooks| hooks.authenticate)
    }

    /// A session may be taken up by the user who made it, and by nobody else.
    fn belongs_to_another(&mut self, client: &str, user: Option<&str>) -> bool {
        if !self.authenticates() {
            return false;
        }
        let Some(&(slot, epoch)) = self.by_client.get(client) else {
            return false;
        };
        let session = self.sessions.get(slot as usize, epoch);
        session.is_some_and(|session| session.user.as_deref() != user)
    }

    /// Whether a client has a session on disk.
    fn is_kept(&self, client: &str) -> bool {
        let found = self.by_client.get(client);
        let session = found.and_then(|&(slot, epoch)| self.sessions.get(slot as usize, epoch));
        session.is_some_and(|session| session.durable != 0)
    }

    fn has_session(&self, client: &str) -> bool {
        let found = self.by_client.get(client);
        found.is_some_and(|&(slot, epoch)| self.sessions.get(slot as usize, epoch).is_some())
    }

    /// The connection a client already has makes way [MQTT-3.1.4-3].
    fn take_over(&mut self, client: &str, now: Time) {
        let Some(&(slot, epoch)) = self.by_client.get(client) else {
            return;
        };
        let session = self.sessions.get(slot as usize, epoch);
        if let Some(old) = session.and_then(|session| session.connection) {
            self.end_connection(old, Cause::TAKEN_OVER, now);
        }
    }

    /// The client's session: the one that was kept, unless it wants a clean start,
    /// or a new one. Says whether state was there [MQTT-3.2.2-3].
    fn take_session(
        &mut self,
        client: &str,
        admission: &Admission<'_>,
        durable: u64,
        clean_start: bool,
        now: Time,
    ) -> (SessionKey, bool) {
        if let Some(&(slot, epoch)) = self.by_client.get(client) {
            let key = SessionKey::session(self.index, slot, epoch);
            if !clean_start && !self.has_ended(key) {
                self.resume_session(key);
                return (key, true);
            }
            self.end_session(key, "clean_start", now);
        }
        let client: Arc<str> = client.into();
        let mut session = Session::new(client.clone(), admission.user.clone());
        session.durable = durable;
        let (slot, epoch) = self.sessions.insert(session);
        self.by_client.insert(client, (slot, epoch));
        (SessionKey::session(self.index, slot, epoch), false)
    }

    /// Whether a session was to end with its connection, which an earlier process had.
    fn has_ended(&mut self, key: SessionKey) -> bool {
        self.session(key)
            .is_some_and(|session| session.expiry_seconds == 0)
    }

    /// A kept session has a connection again: its will is not sent [MQTT-3.1.3-9].
    fn resume_session(&mut self, key: SessionKey) {
        let Some(session) = self.session(key) else {
            return;
        };
        session.will = None;
        session.offline_since = Time::NEVER;
        session.away_milliseconds = 0;
        self.counters().clients_disconnected.subtract(1);
        self.shared
            .offline
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn furnish_connection(
        &mut self,
        id: ConnectionId,
        key: SessionKey,
        connect: &Connect<'_>,
        now: Time,
    ) {
        let keep_alive = self.keep_alive(id, connect.keep_alive);
        let bounds = self.rate_limits(id);
        let shared = self.shared.clone();
        let limits = &shared.options.limits;
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.stage = Stage::Open;
        connection.session = key;
        connection.keep_alive = match connection.peer.is_internal {
            true => 0,
            false => keep_alive,
        };
        if connect.version == Version::V5 {
            let two_byte = |property| connect.properties.two_byte(property);
            connection.receive_maximum = two_byte(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
            let aliases = two_byte(PropertyId::TopicAliasMaximum).unwrap_or(0);
            let aliases = aliases.min(limits.topic_alias_maximum_outgoing);
            connection.outgoing_aliases = OutgoingAliases::new(aliases);
        }
        if let Some(rates) = rates(bounds, now) {
            connection.rare().limits = Some(Box::new(rates));
        }
        let deadline = connection.keep_alive_deadline();
        self.wheel.insert(deadline, Timer::KeepAlive(id));
    }

    /// Seconds the session outlives its connection; before 5.0, for ever or not at all.
    pub(super) fn session_expiry(&self, id: ConnectionId, connect: &Connect<'_>) -> u32 {
        let longest = self.shared.options.limits.max_session_expiry_seconds;
        let hooked = self.rare(id).and_then(|rare| rare.session_expiry);
        let longest = longest.min(hooked.unwrap_or(NEVER_EXPIRES));
        let asked = match connect.version {
            Version::V5 => connect
                .properties
                .four_byte(PropertyId::SessionExpiryInterval)
                .unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => NEVER_EXPIRES,
        };
        asked.min(longest)
    }

    /// The keep alive that holds, in seconds: the client's, or the operator's bound.
    pub(super) fn keep_alive(&self, id: ConnectionId, asked: u16) -> u16 {
        let hooked = self.rare(id).and_then(|rare| rare.keep_alive);
        let listener = self
            .policy(id)
            .map_or(0, |policy| policy.max_keep_alive_seconds);
        let bounds = [
            listener,
            self.shared.options.limits.max_keep_alive_seconds,
            hooked.unwrap_or(0),
        ];
        match bounds
            .into_iter()
            .filter(|bound| *bound != 0)
            .min()
            .unwrap_or(0)
        {
            0 => asked,
            most if asked == 0 || asked > most => most,
            _ => asked,
        }
    }

    /// A client identifier that no session has, and whose owner this worker is: of
    /// the form that Mosquitto gives them, which rules and log filters know.
    fn assign_identifier(&mut self) -> Box<str> {
        loop {
            self.assigned += 1;
            let (high, low) = (self.next_random(), self.next_random());
            let name = format!(
                "auto-{:08X}-{:04X}-4{:03X}-{:04X}-{:08X}{:04X}",
                high >> 32,
                high >> 16 & 0xFFFF,
                high & 0xFFF,
                low >> 50 | 0x8000,
                low & 0xFFFF_FFFF,
                self.assigned & 0xFFFF
            );
            let here = self.shared.worker_of(&name) == self.index;
            if here && !self.by_client.contains_key(name.as_str()) {
                return name.into();
            }
        }
    }
}

fn rates(limits: RateLimits, now: Time) -> Option<Rates> {
    let rates = Rates {
        messages_in: Bucket::new(u64::from(limits.messages_in), now),
        bytes_in: Bucket::new(limits.bytes_in, now),
        messages_out: Bucket::new(u64::from(limits.messages_out), now),
        bytes_out: Bucket::new(limits.bytes_out, now),
    };
    let Rates {
        messages_in,
        bytes_in,
        messages_out,
        bytes_out,
    } = &rates;
    let any = [messages_in, bytes_in, messages_out, bytes_out]
        .iter()
        .any(|each| each.is_some());
    any.then_some(rates)
}
