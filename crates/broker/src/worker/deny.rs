//! Telling of what clients may not do, so much of it as somebody can read.

use hashbrown::HashMap;
use noctule_packets::QoS;

use super::Worker;
use crate::access::{Action, Permissions};
use crate::effect::{Effect, Event};
use crate::key::SessionKey;
use crate::names::is_reserved;
use crate::time::Time;

/// Beyond it a client's denials are not told until the second is over: they cost the client
/// nothing, and us a line in the log each.
const TOLD_PER_SECOND: u8 = 10;
const CLIENTS_PER_SECOND: usize = 256;

/// Who has been told of in this second, and how often.
#[derive(Default)]
pub(super) struct Denials {
    now: Time,
    ends: Time,
    told: HashMap<Box<str>, u8>,
}

impl Denials {
    #[inline]
    pub(super) fn set_time(&mut self, now: Time) {
        self.now = now;
    }

    fn may_tell(&mut self, client: &str) -> bool {
        if self.now >= self.ends {
            self.told.clear();
            self.ends = self.now.after_seconds(1);
        }
        if let Some(count) = self.told.get_mut(client) {
            *count = count.saturating_add(1);
            return *count <= TOLD_PER_SECOND;
        }
        if self.told.len() >= CLIENTS_PER_SECOND {
            return false;
        }
        self.told.insert(client.into(), 1);
        true
    }
}

/// What was asked for, and refused.
pub(super) struct Denied<'a> {
    pub action: Action,
    /// A filter where the action is to subscribe.
    pub topic: &'a str,
    pub qos: QoS,
    pub retain: bool,
}

impl Worker {
    /// Tells that a session's rules do not allow what its client asked for.
    #[cold]
    pub(super) fn tell_denied(&mut self, key: SessionKey, denied: &Denied<'_>) {
        let Some(session) = self.session(key) else {
            return;
        };
        let (client, user) = (session.client.clone(), session.user.clone());
        let permissions = session.permissions.clone();
        self.tell_denied_of(&client, user.as_deref(), permissions.as_deref(), denied);
    }

    /// The same of a message to be published.
    #[cold]
    pub(super) fn tell_denied_bytes(
        &mut self,
        key: SessionKey,
        topic: &[u8],
        qos: QoS,
        retain: bool,
    ) {
        let denied = Denied {
            action: Action::Publish,
            topic: &String::from_utf8_lossy(topic),
            qos,
            retain,
        };
        self.tell_denied(key, &denied);
    }

    /// The same of a client that has no session yet.
    #[cold]
    pub(super) fn tell_denied_of(
        &mut self,
        client: &str,
        user: Option<&str>,
        permissions: Option<&Permissions>,
        denied: &Denied<'_>,
    ) {
        if !self.denials.may_tell(client) {
            return;
        }
        let rule = if denied.action == Action::Publish && is_reserved(denied.topic.as_bytes()) {
            Some("deny $-topics, which are the broker's own")
        } else {
            permissions.and_then(|permissions| {
                permissions.deciding(denied.action, denied.topic, denied.qos, denied.retain)
            })
        };
        let event = Event::Denied {
            client: client.into(),
            user: user.map(Into::into),
            action: denied.action,
            topic: denied.topic.into(),
            rule: rule.map(Into::into),
        };
        self.effects.push_back(Effect::Event(event));
    }
}
