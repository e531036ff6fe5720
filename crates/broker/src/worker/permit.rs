//! What sessions may do, asked and changed.

use noctule_packets::{QoS, ReasonCode};
use noctule_topics::Filter;

use super::Worker;
use crate::access::{Permissions, Rule};
use crate::effect::ClientInfo;
use crate::key::SessionKey;

impl Worker {
    /// Gives a client of this worker other rules, in force from the next packet
    /// and the next delivery on; `None` allows everything. False if it has no session.
    pub fn set_permissions(&mut self, client: &str, rules: Option<&[Rule]>) -> bool {
        let Some(&(slot, epoch)) = self.by_client.get(client) else {
            return false;
        };
        let Some(session) = self.sessions.get_mut(slot as usize, epoch) else {
            return false;
        };
        let user = session.user.as_deref();
        session.permissions = rules.map(|rules| Permissions::new(rules, client, user));
        session.verdicts = None;
        true
    }

    /// What a re-authenticated client may do from now on; false if it came back as
    /// somebody else, which a session may not.
    pub(super) fn renew_permissions(
        &mut self,
        key: SessionKey,
        user: Option<&str>,
        rules: Option<Vec<Rule>>,
    ) -> bool {
        let Some(session) = self.session(key) else {
            return false;
        };
        if user.is_some() && user != session.user.as_deref() {
            return false;
        }
        let names = (&*session.client, session.user.as_deref());
        session.permissions = rules.map(|rules| Permissions::new(&rules, names.0, names.1));
        session.verdicts = None;
        true
    }

    /// The sessions of this worker, connected or not.
    pub fn clients(&self) -> impl Iterator<Item = ClientInfo> {
        self.by_client.values().filter_map(|&(slot, epoch)| {
            let session = self.sessions.get(slot as usize, epoch)?;
            let connection = session.connection;
            let connection =
                connection.and_then(|id| self.connections.get(id.index(), id.generation()));
            Some(ClientInfo {
                client: (*session.client).into(),
                user: session.user.clone(),
                peer: connection.map(|connection| connection.peer.clone()),
                version: connection.map(|connection| connection.version),
                subscriptions: session.subscriptions.len() as u64,
                queued: session.waiting() as u64,
            })
        })
    }

    /// Whether a client is on this machine, as far as its address tells.
    pub(super) fn is_local(&self, key: SessionKey) -> bool {
        let connection = self
            .sessions
            .get(key.slot(), key.epoch())
            .and_then(|session| session.connection)
            .and_then(|id| self.connections.get(id.index(), id.generation()));
        let address = connection.and_then(|connection| connection.peer.address);
        address.is_none_or(|address| address.to_canonical().is_loopback())
    }

    /// Ends subscriptions to what the broker says of itself, of a session that no rule bounds
    /// and whose client has come back from another machine.
    pub(super) fn leave_system_topics(&mut self, key: SessionKey) {
        if self.is_local(key) {
            return;
        }
        let Some(session) = self.session(key) else {
            return;
        };
        if session.permissions.is_some() {
            return;
        }
        let filters: Vec<Box<str>> = session
            .subscriptions
            .iter()
            .filter(|whole| match Filter::parse(whole) {
                Ok(Filter::Plain(plain) | Filter::Shared { filter: plain, .. }) => is_system(plain),
                Err(_) => false,
            })
            .cloned()
            .collect();
        for filter in filters {
            self.unsubscribe(key, &filter);
        }
    }

    /// What a client is told that may not do what it asks for. 0x80 is for a server
    /// that does not wish to reveal the reason (MQTT 5.0 §3.4.2.1, §3.9.3).
    pub(super) fn not_authorized(&self) -> ReasonCode {
        if self.shared.options.protocol.reveal_not_authorized {
            ReasonCode::NOT_AUTHORIZED
        } else {
            ReasonCode::UNSPECIFIED_ERROR
        }
    }

    pub(super) fn may_publish(
        &mut self,
        publisher: SessionKey,
        topic: &str,
        qos: QoS,
        retain: bool,
    ) -> bool {
        let permissions = self
            .session(publisher)
            .and_then(|each| each.permissions.as_ref());
        permissions.is_none_or(|permissions| permissions.may_publish(topic, qos, retain))
    }

    #[inline]
    pub(super) fn may_publish_bytes(
        &mut self,
        publisher: SessionKey,
        topic: &[u8],
        qos: QoS,
        retain: bool,
    ) -> bool {
        let Some(session) = self.session(publisher) else {
            return false;
        };
        let Some(permissions) = &session.permissions else {
            return true;
        };
        std::str::from_utf8(topic).is_ok_and(|topic| permissions.may_publish(topic, qos, retain))
    }
}

/// Whether a filter reaches what the broker says of itself: no wildcard does in the first level.
pub(super) fn is_system(filter: &str) -> bool {
    filter.split('/').next() == Some("$SYS")
}
