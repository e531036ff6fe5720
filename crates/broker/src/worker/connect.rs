//! CONNECT and CONNACK: who comes, what they get, and which session is theirs.

use std::sync::Arc;

use noctule_packets::{
    Connack, Connect, Error, Packet, PropertyBuffer, PropertyId, QoS, ReasonCode, Version,
};

use super::Worker;
use super::disconnect::Cause;
use crate::access::{Permissions, Rule};
use crate::aliases::OutgoingAliases;
use crate::bucket::Bucket;
use crate::connection::{Rates, Stage};
use crate::effect::Event;
use crate::key::{ConnectionId, SessionKey};
use crate::options::Limits;
use crate::session::{NEVER_EXPIRES, Session, Will};
use crate::shared::Pressure;
use crate::time::Time;
use crate::worker::timers::Timer;

/// A CONNECT that is refused, and what the client is told.
pub(super) struct Refusal {
    pub reason: ReasonCode,
    pub text: Option<Box<str>>,
}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Self {
        Refusal { reason, text: None }
    }
}

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
        if let Err(refusal) = self.check_connect(&connect) {
            return self.refuse_connect(id, &connect, refusal, now);
        }
        let method = connect.properties.string(PropertyId::AuthenticationMethod);
        if self.shared.options.authentication {
            return self.begin_authentication(id, &connect, body);
        }
        if method.is_some() {
            let reason = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return self.refuse_connect(id, &connect, reason.into(), now);
        }
        let user = connect.user_name.map(Into::into);
        self.admit(
            id,
            &connect,
            Admission {
                user,
                ..Admission::default()
            },
            now,
        );
    }

    /// Everything about a CONNECT that needs nobody's opinion.
    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Refusal> {
        let (limits, protocol) = (&self.shared.options.limits, &self.shared.options.protocol);
        if let Some(draining) = &self.draining {
            return Err(draining.reason.into());
        }
        if self.shared.pressure() == Pressure::Full {
            return Err(ReasonCode::SERVER_BUSY.into());
        }
        if connect.client_identifier.is_empty() {
            let may_be_assigned = connect.version == Version::V5
                || (connect.version == Version::V4 && connect.clean_start);
            if !protocol.allow_empty_client_identifier || !may_be_assigned {
                return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID.into());
            }
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
            || noctule_topics::levels(will.topic) > limits.max_topic_levels as usize
            || will.topic.len() > limits.max_topic_bytes as usize
        {
            return Err(ReasonCode::TOPIC_NAME_INVALID.into());
        }
        if will.topic.starts_with('$') {
            return Err(ReasonCode::NOT_AUTHORIZED.into());
        }
        if will.qos as u8 > protocol.maximum_qos {
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
        let permissions = admission
            .rules
            .as_ref()
            .map(|rules| Permissions::new(rules, client, admission.user.as_deref()));
        if let (Some(permissions), Some(will)) = (&permissions, &connect.will)
            && !permissions.may_publish(will.topic, will.qos, will.retain)
        {
            return self.refuse_connect(id, connect, ReasonCode::NOT_AUTHORIZED.into(), now);
        }
        let expiry = self.session_expiry(connect);
        if expiry != 0 && !self.journal.ready() {
            return self.refuse_connect(id, connect, ReasonCode::SERVER_UNAVAILABLE.into(), now);
        }
        self.take_over(client, now);
        let durable = self.name_records(expiry);
        let (key, session_present) =
            self.take_session(client, &admission, durable, connect.clean_start, now);
        self.furnish_connection(id, key, connect, now);
        let (user, keep_alive) = (admission.user.clone(), self.keep_alive(connect.keep_alive));
        if let Some(session) = self.session(key) {
            session.connection = Some(id);
            session.expiry_seconds = expiry;
            session.permissions = permissions;
            session.will = Will::of(connect);
            session.outgoing.mark_resends();
            session.publish_status();
        }
        let recorded = self.journal.len();
        self.record_session(key);
        if self.journal.len() > recorded {
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
        self.pump(key, now);
    }

    /// A session may be taken up by the user who made it, and by nobody else.
    fn belongs_to_another(&mut self, client: &str, user: Option<&str>) -> bool {
        if !self.shared.options.authentication {
            return false;
        }
        let Some(&(slot, epoch)) = self.by_client.get(client) else {
            return false;
        };
        let session = self.sessions.get(slot as usize, epoch);
        session.is_some_and(|session| session.user.as_deref() != user)
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
            if !clean_start {
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

    /// A kept session has a connection again: its will is not sent [MQTT-3.1.3-9].
    fn resume_session(&mut self, key: SessionKey) {
        let Some(session) = self.session(key) else {
            return;
        };
        session.will = None;
        session.offline_since = Time::NEVER;
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
        let keep_alive = self.keep_alive(connect.keep_alive);
        let shared = self.shared.clone();
        let limits = &shared.options.limits;
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.stage = Stage::Open;
        connection.session = key;
        connection.keep_alive = keep_alive;
        if connect.version == Version::V5 {
            let two_byte = |property| connect.properties.two_byte(property);
            connection.receive_maximum = two_byte(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
            let aliases = two_byte(PropertyId::TopicAliasMaximum).unwrap_or(0);
            let aliases = aliases.min(limits.topic_alias_maximum_outgoing);
            connection.outgoing_aliases = OutgoingAliases::new(aliases);
        }
        if let Some(rates) = rates(limits, now) {
            connection.rare().limits = Some(Box::new(rates));
        }
        let deadline = connection.keep_alive_deadline();
        self.wheel.insert(deadline, Timer::KeepAlive(id));
    }

    /// Seconds the session outlives its connection; before 5.0, for ever or not at all.
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        let longest = self.shared.options.limits.max_session_expiry_seconds;
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
    fn keep_alive(&self, asked: u16) -> u16 {
        match self.shared.options.limits.max_keep_alive_seconds {
            0 => asked,
            most if asked == 0 || asked > most => most,
            _ => asked,
        }
    }

    /// A client identifier that no session has, and whose owner this worker is.
    fn assign_identifier(&mut self) -> Box<str> {
        loop {
            self.assigned += 1;
            let name = format!(
                "noctule-{:016x}{:04x}",
                self.next_random(),
                self.assigned & 0xFFFF
            );
            let here = self.shared.worker_of(&name) == self.index;
            if here && !self.by_client.contains_key(name.as_str()) {
                return name.into();
            }
        }
    }

    /// CONNACK 0x00 with everything the client must know; optional texts are left
    /// out where they do not fit. False if even the bare packet is too large.
    fn send_connack(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        session_present: bool,
        assigned: Option<&str>,
        admission: &Admission<'_>,
    ) -> bool {
        let mut properties = PropertyBuffer::default();
        if connect.version == Version::V5 {
            self.push_capabilities(connect, &mut properties);
            if let Some(assigned) = assigned {
                properties.push_string(PropertyId::AssignedClientIdentifier, assigned);
            }
            if let Some(method) = connect.properties.string(PropertyId::AuthenticationMethod) {
                properties.push_string(PropertyId::AuthenticationMethod, method);
            }
            if let Some(data) = admission.authentication_data {
                properties.push_binary(PropertyId::AuthenticationData, data);
            }
        }
        let connack = Connack {
            session_present,
            reason: ReasonCode::SUCCESS,
            properties: properties.as_properties(),
        };
        self.write_packet(id, &Packet::Connack(connack))
    }

    /// What we do and do not do, told truthfully (MQTT 5.0 §3.2.2.3): a property for
    /// whatever differs from what its absence says.
    fn push_capabilities(&self, connect: &Connect<'_>, properties: &mut PropertyBuffer) {
        let (limits, protocol) = (&self.shared.options.limits, &self.shared.options.protocol);
        if limits.topic_alias_maximum != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, limits.topic_alias_maximum);
        }
        let asked = connect
            .properties
            .four_byte(PropertyId::SessionExpiryInterval)
            .unwrap_or(0);
        let expiry = self.session_expiry(connect);
        if expiry != asked {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, expiry);
        }
        let keep_alive = self.keep_alive(connect.keep_alive);
        if keep_alive != connect.keep_alive {
            properties.push_two_byte(PropertyId::ServerKeepAlive, keep_alive);
        }
        if protocol.maximum_qos < QoS::ExactlyOnce as u8 {
            properties.push_byte(PropertyId::MaximumQos, protocol.maximum_qos);
        }
        if limits.max_packet_bytes < noctule_packets::MAX_VARIABLE {
            properties.push_four_byte(PropertyId::MaximumPacketSize, limits.max_packet_bytes);
        }
        let offers = [
            (PropertyId::RetainAvailable, protocol.retain_available),
            (
                PropertyId::WildcardSubscriptionAvailable,
                protocol.wildcard_subscription_available,
            ),
            (
                PropertyId::SubscriptionIdentifierAvailable,
                protocol.subscription_identifiers_available,
            ),
            (
                PropertyId::SharedSubscriptionAvailable,
                protocol.shared_subscriptions_available,
            ),
        ];
        for (property, _) in offers.iter().filter(|(_, offered)| !offered) {
            properties.push_byte(*property, 0);
        }
        let asks = connect
            .properties
            .byte(PropertyId::RequestResponseInformation)
            == Some(1);
        if asks && !protocol.response_information.is_empty() {
            let information = &protocol.response_information;
            properties.push_string(PropertyId::ResponseInformation, information);
        }
        if limits.receive_maximum != u16::MAX {
            properties.push_two_byte(PropertyId::ReceiveMaximum, limits.receive_maximum);
        }
    }

    /// CONNACK with a reason, then the end; nothing behind the CONNECT is looked at
    /// [MQTT-3.1.4-6].
    pub(super) fn refuse_connect(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        refusal: Refusal,
        now: Time,
    ) {
        self.counters().connections_refused.add(1);
        let client: Box<str> = connect.client_identifier.into();
        let address = self
            .connection(id)
            .and_then(|connection| connection.peer.address);
        let reason = refusal.reason;
        self.tell(|| Event::Refused {
            client,
            address,
            reason,
        });
        if connect.version == Version::V5 {
            self.send_refusal(id, refusal);
        } else if let Some(code) = return_code(refusal.reason) {
            let connack = Connack {
                session_present: false,
                reason: ReasonCode(code),
                properties: Default::default(),
            };
            self.write_packet(id, &Packet::Connack(connack));
        }
        self.end_connection(id, Cause::REFUSED, now);
    }

    fn send_refusal(&mut self, id: ConnectionId, refusal: Refusal) {
        let mut properties = PropertyBuffer::default();
        if let Some(draining) = &self.draining
            && let Some(reference) = &draining.server_reference
        {
            properties.push_string(PropertyId::ServerReference, reference);
        }
        let bare = properties.clone();
        if let Some(text) = &refusal.text {
            properties.push_string(PropertyId::ReasonString, text);
        }
        for properties in [properties, bare, PropertyBuffer::default()] {
            let connack = Connack {
                session_present: false,
                reason: refusal.reason,
                properties: properties.as_properties(),
            };
            if self.write_packet(id, &Packet::Connack(connack)) {
                return;
            }
        }
    }

    /// A CONNECT that cannot be read. Who speaks 5.0 is told the reason; who asks
    /// for a version we do not know is told so in a way that all can read.
    fn refuse_undecodable(&mut self, id: ConnectionId, body: &[u8], error: Error, now: Time) {
        self.counters().connections_refused.add(1);
        let level = protocol_level(body);
        let unknown_level = noctule_packets::is_unacceptable_level(&error);
        let (version, reason) = match level {
            Some(5) if !unknown_level => (Version::V5, error.reason),
            Some(level) if unknown_level && level > 5 => (Version::V5, error.reason),
            Some(_) if unknown_level => (Version::V4, ReasonCode(UNACCEPTABLE_PROTOCOL_VERSION)),
            _ => return self.end_connection(id, Cause::by_server(error.reason, error.what), now),
        };
        if let Some(connection) = self.connection(id) {
            connection.version = version;
        }
        let connack = Connack {
            session_present: false,
            reason,
            properties: Default::default(),
        };
        self.write_packet(id, &Packet::Connack(connack));
        self.end_connection(id, Cause::by_server(error.reason, error.what), now);
    }
}

const UNACCEPTABLE_PROTOCOL_VERSION: u8 = 1;

/// The return code that 3.1 and 3.1.1 have for a reason (§3.2.2.3); none where the
/// connection is closed without a word.
fn return_code(reason: ReasonCode) -> Option<u8> {
    match reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Some(UNACCEPTABLE_PROTOCOL_VERSION),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => Some(2),
        ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED
        | ReasonCode::CONNECTION_RATE_EXCEEDED
        | ReasonCode::QUOTA_EXCEEDED => Some(3),
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => Some(4),
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED => Some(5),
        _ => None,
    }
}

/// The protocol level of a CONNECT that could not be read as a whole.
fn protocol_level(body: &[u8]) -> Option<u8> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length)))
        .map(|level| level & 0x7F)
}

fn rates(limits: &Limits, now: Time) -> Option<Rates> {
    let rates = Rates {
        messages_in: Bucket::new(u64::from(limits.max_messages_per_second_in), now),
        bytes_in: Bucket::new(limits.max_bytes_per_second_in, now),
        messages_out: Bucket::new(u64::from(limits.max_messages_per_second_out), now),
        bytes_out: Bucket::new(limits.max_bytes_per_second_out, now),
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
