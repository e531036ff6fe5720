//! Hooks are asked: what they are asked about waits here, and its connection with it.
//!
//! One question a connection at a time, so what a client sends keeps its order. A changed
//! message is put to the rules again: a hook cannot lead a client past them.

use std::sync::Arc;

use noctule_packets::{Error, QoS, ReasonCode, Subscribe, Version};
use noctule_topics::Filter;

use super::Worker;
use super::deliver::Publication;
use super::subscribe::check_filter;
use super::timers::Timer;
use crate::access::{Action, Permissions};
use crate::connection::{Stage, pause};
use crate::effect::Effect;
use crate::hooks::{Access, Advice, Changes, Consultation, Hooked, Subject, Who};
use crate::key::{ConnectionId, SessionKey};
use crate::message::{Head, Parts, remaining_expiry};
use crate::names::is_reserved;
use crate::session::Will;
use crate::time::Time;

/// Answers remembered for one session; beyond it all are forgotten.
const MAX_VERDICTS: usize = 1_024;

/// What waits for an answer.
pub(super) enum Held {
    Publish(Box<HeldPublish>),
    Subscribe(Box<HeldSubscribe>),
    /// Subscriptions there are already.
    Subscriptions(SessionKey, Vec<Box<str>>),
}

/// A message whose publisher may be told what became of it.
pub(super) struct HeldPublish {
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
pub(super) struct Sender {
    pub id: ConnectionId,
    /// As the client sent it: this decides about the acknowledgement.
    pub qos: QoS,
    pub packet_identifier: u16,
}

pub(super) struct HeldSubscribe {
    id: ConnectionId,
    key: SessionKey,
    version: Version,
    flags: u8,
    body: Box<[u8]>,
    verdicts: Option<Vec<(Access, bool)>>,
    hooked: bool,
    advice: Vec<Result<QoS, ReasonCode>>,
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
    pub(super) fn must_ask(
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

    pub(super) fn hold_will(&mut self, publisher: SessionKey, will: &Will, now: Time) -> bool {
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

    pub(super) fn who(&mut self, key: SessionKey) -> Option<Who> {
        let session = self.session(key)?;
        Some(Who {
            client: (*session.client).into(),
            user: session.user.clone(),
        })
    }

    /// One step on with a message: to the rules, to whoever authorizes, to the hook, to its
    /// subscribers.
    pub(super) fn advance_publish(&mut self, mut held: Box<HeldPublish>, now: Time) {
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
            body: None,
            message: None,
            exchange: match &held.sender {
                Some(sender) if sender.qos == QoS::ExactlyOnce => sender.packet_identifier,
                _ => 0,
            },
            sequence: 0,
        };
        self.publish(&mut publication, seen, now)
    }

    fn is_open(&mut self, id: ConnectionId, key: SessionKey) -> bool {
        self.connection(id)
            .is_some_and(|connection| connection.stage == Stage::Open && connection.session == key)
    }

    /// SUBSCRIBE where hooks want to know of it.
    pub(super) fn begin_subscribe(
        &mut self,
        id: ConnectionId,
        version: Version,
        flags: u8,
        body: &[u8],
        now: Time,
    ) -> Result<(), Error> {
        let subscribe = Subscribe::decode(version, flags, body)?;
        for request in subscribe.filters() {
            check_filter(request.filter)?;
        }
        let mounted = self.mounted_subscribe(id, version, subscribe);
        let body = mounted.as_deref().unwrap_or(body);
        let subscribe = Subscribe::decode(version, flags, body)?;
        let asks = self
            .shared
            .hooks()
            .is_some_and(|hooks| hooks.subscribe || hooks.authorize);
        let Some((connection, _)) = self.open(id) else {
            return Ok(());
        };
        if !asks || connection.peer.is_internal {
            return self.handle_subscribe(id, subscribe, &[], now);
        }
        let key = connection.session;
        self.check_property_count(subscribe.properties)?;
        let held = HeldSubscribe {
            id,
            key,
            version,
            flags,
            body: body.into(),
            verdicts: None,
            hooked: false,
            advice: Vec::new(),
        };
        self.advance_subscribe(Box::new(held), now);
        Ok(())
    }

    fn advance_subscribe(&mut self, mut held: Box<HeldSubscribe>, now: Time) {
        let (id, key) = (held.id, held.key);
        if !self.is_open(id, key) {
            return;
        }
        let shared = self.shared.clone();
        let body = held.body.clone();
        let decoded = Subscribe::decode(held.version, held.flags, &body);
        let (Some(hooks), Ok(subscribe), Some(who)) = (shared.hooks(), decoded, self.who(key))
        else {
            return;
        };
        if hooks.authorize && held.verdicts.is_none() {
            let asked = subscribe
                .filters()
                .map(|each| access_to(each.filter, each.qos));
            let asked: Vec<Access> = asked
                .flatten()
                .filter(|access| self.verdict(key, access).is_none())
                .collect();
            if !asked.is_empty() {
                let subject = Subject::Authorize(asked);
                return self.consult(who, subject, Held::Subscribe(held), now);
            }
        }
        if hooks.subscribe && !held.hooked {
            held.hooked = true;
            let asked = subscribe.filters();
            let asked = asked.map(|each| (each.filter.into(), each.qos)).collect();
            return self.consult(who, Subject::Subscribe(asked), Held::Subscribe(held), now);
        }
        let mut advice: Vec<Result<QoS, ReasonCode>> = Vec::new();
        for (place, request) in subscribe.filters().enumerate() {
            let granted = held.advice.get(place).copied();
            let allowed = !hooks.authorize
                || access_to(request.filter, request.qos)
                    .is_none_or(|access| self.is_granted(&held, &access));
            advice.push(match allowed {
                true => granted.unwrap_or(Ok(request.qos)),
                false => Err(self.not_authorized()),
            });
        }
        if let Err(error) = self.handle_subscribe(id, subscribe, &advice, now) {
            self.refuse(id, error, now);
        }
        self.resume(id, pause::HOOK);
    }

    fn is_granted(&self, held: &HeldSubscribe, access: &Access) -> bool {
        let mut answered = held.verdicts.iter().flatten();
        match answered.find(|(each, _)| each == access) {
            Some((_, allowed)) => *allowed,
            None => self.verdict(held.key, access) == Some(true),
        }
    }

    fn consult(&mut self, who: Who, subject: Subject, held: Held, now: Time) {
        self.consultations += 1;
        let number = self.consultations;
        let waits = match &held {
            Held::Publish(held) => held.sender.map(|sender| sender.id),
            Held::Subscribe(held) => Some(held.id),
            Held::Subscriptions(..) => None,
        };
        if let Some(id) = waits {
            self.pause(id, pause::HOOK);
        }
        self.counters().hooks_asked.add(1);
        let timeout = self
            .shared
            .hooks()
            .map_or(0, |hooks| hooks.timeout_milliseconds);
        self.held.insert(number, held);
        self.wheel
            .insert(now.after_milliseconds(timeout), Timer::Consult(number));
        self.effects
            .push_back(Effect::Consult(Box::new(Consultation {
                number,
                who,
                subject,
            })));
    }

    pub(super) fn give_up_consulting(&mut self, number: u64, now: Time) {
        self.take_advice(number, Advice::Failed, now);
    }

    pub(super) fn take_advice(&mut self, number: u64, advice: Advice, now: Time) {
        let Some(held) = self.held.remove(&number) else {
            return;
        };
        if matches!(advice, Advice::Failed) {
            self.counters().hooks_failed.add(1);
        }
        match held {
            Held::Publish(held) => self.advise_publish(held, advice, now),
            Held::Subscribe(held) => self.advise_subscribe(held, advice, now),
            Held::Subscriptions(key, filters) => self.advise_subscriptions(key, &filters, &advice),
        }
    }

    fn advise_publish(&mut self, mut held: Box<HeldPublish>, advice: Advice, now: Time) {
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

    fn advise_subscribe(&mut self, mut held: Box<HeldSubscribe>, advice: Advice, now: Time) {
        let body = held.body.clone();
        let Ok(subscribe) = Subscribe::decode(held.version, held.flags, &body) else {
            return;
        };
        let refused = |reason| subscribe.filters().map(|_| Err(reason)).collect();
        match advice {
            Advice::Authorize(verdicts) => {
                let filters = subscribe.filters();
                let all = filters.filter_map(|each| access_to(each.filter, each.qos));
                let mut verdicts = verdicts.into_iter();
                let answered: Vec<(Access, bool)> = all
                    .map(|access| {
                        let known = self.verdict(held.key, &access);
                        let allowed = known.or_else(|| verdicts.next()).unwrap_or(false);
                        (access, allowed)
                    })
                    .collect();
                for (access, allowed) in &answered {
                    self.remember(held.key, access.clone(), *allowed);
                }
                held.verdicts = Some(answered);
            }
            Advice::Subscribe(advice) => {
                let missing = std::iter::repeat(Err(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR));
                let count = subscribe.filters().count();
                held.advice = advice.into_iter().chain(missing).take(count).collect();
            }
            Advice::Refuse(reason) => {
                held.hooked = true;
                held.verdicts.get_or_insert_default();
                held.advice = refused(reason);
            }
            Advice::Failed | Advice::Publish(_) => {
                held.hooked = true;
                held.verdicts.get_or_insert_default();
                held.advice = refused(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
            }
        }
        self.advance_subscribe(held, now);
    }

    /// What the hook that authorizes has said before; `None`: it is to be asked.
    fn verdict(&self, key: SessionKey, access: &Access) -> Option<bool> {
        if key == SessionKey::BROKER || key.worker() != self.index {
            return None;
        }
        let session = self.sessions.get(key.slot(), key.epoch())?;
        session.verdicts.as_ref()?.get(access).copied()
    }

    fn remember(&mut self, key: SessionKey, access: Access, allowed: bool) {
        let Some(session) = self.session(key) else {
            return;
        };
        let verdicts = session.verdicts.get_or_insert_default();
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(access, allowed);
    }

    /// Whoever authorizes is asked anew about everything that one client does, or all do; about
    /// subscriptions at once, and those it does not allow any more end.
    pub fn forget_permissions(&mut self, client: Option<&str>, now: Time) {
        let keys: Vec<SessionKey> = match client {
            Some(client) => self.by_client.get(client).into_iter().copied().collect(),
            None => self.by_client.values().copied().collect::<Vec<_>>(),
        }
        .into_iter()
        .map(|(slot, epoch)| SessionKey::session(self.index, slot, epoch))
        .collect();
        let authorizes = self.shared.hooks().is_some_and(|hooks| hooks.authorize);
        for key in keys {
            let Some(session) = self.session(key) else {
                continue;
            };
            session.verdicts = None;
            if !authorizes || session.client.starts_with(crate::effect::INTERNAL_PREFIX) {
                continue;
            }
            let filters: Vec<Box<str>> = session.subscriptions.iter().cloned().collect();
            let asked = filters
                .iter()
                .filter_map(|each| access_to(each, QoS::AtMostOnce));
            let asked: Vec<Access> = asked.collect();
            if let Some(who) = self.who(key).filter(|_| !asked.is_empty()) {
                let held = Held::Subscriptions(key, filters);
                self.consult(who, Subject::Authorize(asked), held, now);
            }
        }
        self.settle(now);
    }

    fn advise_subscriptions(&mut self, key: SessionKey, filters: &[Box<str>], advice: &Advice) {
        let verdicts: &[bool] = match advice {
            Advice::Authorize(verdicts) => verdicts,
            _ => &[],
        };
        for (place, filter) in filters.iter().enumerate() {
            if verdicts.get(place) != Some(&true) {
                self.unsubscribe(key, filter);
            }
        }
    }
}

/// What a subscription asks for; `None` for a filter that is none.
fn access_to(filter: &str, qos: QoS) -> Option<Access> {
    let plain = match Filter::parse(filter).ok()? {
        Filter::Plain(plain) => plain,
        Filter::Shared { filter, .. } => filter,
    };
    Some(Access {
        action: Action::Subscribe,
        topic: plain.into(),
        qos,
        retain: false,
    })
}
