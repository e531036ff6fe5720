//! What hooks are asked of subscriptions.

use noctule_packets::{Error, QoS, ReasonCode, Subscribe, Version};
use noctule_topics::Filter;

use super::Held;
use crate::access::Action;
use crate::connection::pause;
use crate::hooks::{Access, Advice, Subject};
use crate::key::{ConnectionId, SessionKey};
use crate::time::Time;
use crate::worker::Worker;
use crate::worker::subscribe::check_filter;

pub(in crate::worker) struct HeldSubscribe {
    pub id: ConnectionId,
    key: SessionKey,
    version: Version,
    flags: u8,
    body: Box<[u8]>,
    verdicts: Option<Vec<(Access, bool)>>,
    hooked: bool,
    advice: Vec<Result<QoS, ReasonCode>>,
}

impl Worker {
    /// SUBSCRIBE where hooks want to know of it.
    pub(in crate::worker) fn begin_subscribe(
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

    pub(super) fn advise_subscribe(
        &mut self,
        mut held: Box<HeldSubscribe>,
        advice: Advice,
        now: Time,
    ) {
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

    pub(super) fn advise_subscriptions(
        &mut self,
        key: SessionKey,
        filters: &[Box<str>],
        advice: &Advice,
    ) {
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
pub(super) fn access_to(filter: &str, qos: QoS) -> Option<Access> {
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
