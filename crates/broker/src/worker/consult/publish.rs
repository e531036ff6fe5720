//! What hooks are asked of messages.

use std::sync::Arc;

use noctule_packets::{QoS, ReasonCode};

use super::Held;
use crate::access::{Action, Permissions};
use crate::connection::pause;
use crate::hooks::{Access, Advice, Changes, Hooked, Subject, Who};
use crate::key::{ConnectionId, SessionKey};
use crate::message::{Head, Parts, remaining_expiry};
use crate::names::is_reserved;
use crate::session::Will;
use crate::time::Time;
use crate::worker::Worker;
use crate::worker::deliver::Publication;

/// A message whose publisher may be told what became of it.
pub(in crate::worker) struct HeldPublish {
    /// `None`: it is a will.
    pub sender: Option<Sender>,
    pub publisher: SessionKey,
    pub who: Who,
    /// What the publisher of a will might do; of others the session is asked.
    pub permissions: Option<Arc<Permissions>>,
    pub arrived: Time,
    pub deadline: Time,
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    pub properties: Box<[u8]>,
    pub qos: QoS,
    pub retain: bool,
    /// The hook has had it.
    pub hooked: bool,
    /// What the hook that authorizes has said of the message as it is now.
    pub allowed: Option<bool>,
}

#[derive(Clone, Copy)]
pub(in crate::worker) struct Sender {
    pub id: ConnectionId,
    /// As the client sent it: this decides about the acknowledgement.
    pub qos: QoS,
    pub packet_identifier: u16,
}

impl HeldPublish {
    fn access(&self) -> Access {
        Access {
            action: Action::Publish,
            topic: self.topic.clone(),
            qos: self.qos,
            retain: self.retain,
        }
    }

    /// Applies what a hook changed, as far as it makes another message of it.
    fn change(&mut self, changes: Changes, now: Time) {
        let before = (self.topic.clone(), self.qos, self.retain);
        self.topic = changes.topic.unwrap_or_else(|| before.0.clone());
        self.qos = changes.qos.unwrap_or(self.qos);
        self.retain = changes.retain.unwrap_or(self.retain);
        if let Some(payload) = changes.payload {
            self.payload = payload;
        }
        if let Some((properties, expiry)) = changes.properties {
            self.properties = properties;
            self.deadline =
                expiry.map_or(Time::NEVER, |seconds| now.after_seconds(u64::from(seconds)));
        }
        if before != (self.topic.clone(), self.qos, self.retain) {
            self.allowed = None;
        }
    }
}

impl Worker {
    /// Whether somebody is to be asked about this message before it goes anywhere.
    #[inline]
    pub(in crate::worker) fn must_ask(
        &self,
        publisher: SessionKey,
        topic: &[u8],
        qos: QoS,
        retain: bool,
    ) -> bool {
        match self.shared.hooks() {
            None => false,
            Some(_) => self.must_ask_hooks(publisher, topic, qos, retain),
        }
    }

    #[cold]
    fn must_ask_hooks(&self, publisher: SessionKey, topic: &[u8], qos: QoS, retain: bool) -> bool {
        let (Some(hooks), Ok(topic)) = (self.shared.hooks(), std::str::from_utf8(topic)) else {
            return false;
        };
        let known = || {
            let access = Access {
                action: Action::Publish,
                topic: topic.into(),
                qos,
                retain,
            };
            self.verdict(publisher, &access) == Some(true)
        };
        hooks.ask_about(topic) || (hooks.authorize && !known())
    }

    pub(in crate::worker) fn hold_will(
        &mut self,
        publisher: SessionKey,
        will: &Will,
        now: Time,
    ) -> bool {
        if !self.must_ask(publisher, will.topic.as_bytes(), will.qos, will.retain) {
            return false;
        }
        let (Some(who), Some(session)) = (self.who(publisher), self.session(publisher)) else {
            return false;
        };
        let deadline = will
            .expiry_seconds
            .map_or(Time::NEVER, |seconds| now.after_seconds(u64::from(seconds)));
        let held = HeldPublish {
            sender: None,
            publisher,
            who,
            permissions: session.permissions.clone(),
            arrived: now,
            deadline,
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            properties: will.properties.clone(),
            qos: will.qos,
            retain: will.retain,
            hooked: false,
            allowed: None,
        };
        self.advance_publish(Box::new(held), now);
        true
    }

    /// One step on with a message: to the rules, to whoever authorizes, to the hook, to its
    /// subscribers.
    pub(in crate::worker) fn advance_publish(&mut self, mut held: Box<HeldPublish>, now: Time) {
        if !self.follows_rules(&held) {
            let (topic, qos, retain) = (held.topic.as_bytes(), held.qos, held.retain);
            self.tell_denied_bytes(held.publisher, topic, qos, retain);
            return self.finish_publish(*held, Err(self.not_authorized()), now);
        }
        if held.allowed == Some(false) {
            return self.finish_publish(*held, Err(self.not_authorized()), now);
        }
        let shared = self.shared.clone();
        let Some(hooks) = shared.hooks() else { return };
        if hooks.authorize && held.allowed.is_none() {
            let access = held.access();
            match self.verdict(held.publisher, &access) {
                Some(true) => held.allowed = Some(true),
                Some(false) => {
                    return self.finish_publish(*held, Err(self.not_authorized()), now);
                }
                None => {
                    let who = held.who.clone();
                    let subject = Subject::Authorize(vec![access]);
                    return self.consult(who, subject, Held::Publish(held), now);
                }
            }
        }
        if !held.hooked && hooks.ask_about(&held.topic) {
            held.hooked = true;
            let message = Box::new(Hooked {
                topic: held.topic.clone(),
                payload: held.payload.clone(),
                qos: held.qos,
                retain: held.retain,
                properties: held.properties.clone(),
                expiry_seconds: remaining_expiry(held.deadline, now),
            });
            let is_will = held.sender.is_none();
            let who = held.who.clone();
            let subject = Subject::Publish { message, is_will };
            return self.consult(who, subject, Held::Publish(held), now);
        }
        self.finish_publish(*held, Ok(()), now);
    }

    fn follows_rules(&mut self, held: &HeldPublish) -> bool {
        match &held.permissions {
            Some(permissions) => permissions.may_publish(&held.topic, held.qos, held.retain),
            None if held.sender.is_none() => true,
            None => self.may_publish(held.publisher, &held.topic, held.qos, held.retain),
        }
    }

    /// A hook's topic is held to what a client's is.
    fn check_changed(&self, held: &HeldPublish) -> Result<(), ReasonCode> {
        let (limits, protocol) = (&self.shared.options.limits, &self.shared.options.protocol);
        let topic = &*held.topic;
        let too_long = topic.len() > limits.max_topic_bytes as usize
            || noctule_topics::levels(topic) > limits.max_topic_levels as usize;
        if noctule_topics::validate_name(topic).is_err()
            || is_reserved(topic.as_bytes())
            || too_long
        {
            return Err(ReasonCode::TOPIC_NAME_INVALID);
        }
        if held.qos as u8 > protocol.maximum_qos {
            return Err(ReasonCode::QOS_NOT_SUPPORTED);
        }
        match held.retain && !protocol.retain_available {
            true => Err(ReasonCode::RETAIN_NOT_SUPPORTED),
            false => Ok(()),
        }
    }

    fn finish_publish(&mut self, held: HeldPublish, verdict: Result<(), ReasonCode>, now: Time) {
        let Some(sender) = held.sender else {
            match verdict {
                Ok(()) => self.pass_on(&held, now),
                Err(_) => {
                    self.counters().publish_dropped.add(1);
                    ReasonCode::SUCCESS
                }
            };
            return;
        };
        if !self.is_open(sender.id, held.publisher) {
            // Its client was not told that we have it.
            self.counters().publish_dropped.add(1);
            return;
        }
        let promised = self.journal.promised();
        let reason = match verdict {
            Ok(()) => self.pass_on(&held, now),
            Err(reason) => {
                self.counters().publish_dropped.add(1);
                reason
            }
        };
        if sender.qos != QoS::AtMostOnce {
            self.gate_since(sender.id, promised);
        }
        if let Err(error) =
            self.answer_publish(sender.id, sender.qos, sender.packet_identifier, reason)
        {
            self.refuse(sender.id, error, now);
        }
        self.resume(sender.id, pause::HOOK);
    }

    fn pass_on(&mut self, held: &HeldPublish, now: Time) -> ReasonCode {
        let seen = self.routes.look(held.topic.as_bytes());
        let mut publication = Publication {
            head: Head {
                publisher: held.publisher,
                arrived: held.arrived,
                deadline: held.deadline,
                qos: held.qos,
                retain: held.retain,
            },
            parts: Parts {
                topic: held.topic.as_bytes(),
                properties: &held.properties,
                payload: &held.payload,
            },
            sent: None,
            message: None,
            exchange: match &held.sender {
                Some(sender) if sender.qos == QoS::ExactlyOnce => sender.packet_identifier,
                _ => 0,
            },
            sequence: 0,
        };
        self.publish(&mut publication, seen, now)
    }

    pub(super) fn advise_publish(&mut self, mut held: Box<HeldPublish>, advice: Advice, now: Time) {
        match advice {
            Advice::Authorize(verdicts) => {
                let allowed = verdicts.first() == Some(&true);
                self.remember(held.publisher, held.access(), allowed);
                held.allowed = Some(allowed);
                self.advance_publish(held, now);
            }
            Advice::Publish(changes) => {
                held.change(*changes, now);
                match self.check_changed(&held) {
                    Ok(()) => self.advance_publish(held, now),
                    Err(reason) => self.finish_publish(*held, Err(reason), now),
                }
            }
            Advice::Refuse(reason) => self.finish_publish(*held, Err(reason), now),
            Advice::Failed | Advice::Subscribe(_) => {
                let reason = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
                self.finish_publish(*held, Err(reason), now);
            }
        }
    }
}
