//! Hooks are asked: what they are asked about waits here, and its connection with it.
//!
//! One question a connection at a time, so what a client sends keeps its order. A changed
//! message is put to the rules again: a hook cannot lead a client past them.

mod publish;
mod subscribe;

use noctule_packets::QoS;

use super::Worker;
use super::timers::Timer;
use crate::connection::{Stage, pause};
use crate::effect::Effect;
use crate::hooks::{Access, Advice, Consultation, Subject, Who};
use crate::key::{ConnectionId, SessionKey};
use crate::time::Time;

use subscribe::{HeldSubscribe, access_to};

pub(super) use publish::{HeldPublish, Sender};

/// Answers remembered for one session; beyond it all are forgotten.
const MAX_VERDICTS: usize = 1_024;

/// What waits for an answer.
pub(super) enum Held {
    Publish(Box<HeldPublish>),
    Subscribe(Box<HeldSubscribe>),
    /// Subscriptions there are already.
    Subscriptions(SessionKey, Vec<Box<str>>),
}

impl Worker {
    pub(super) fn who(&mut self, key: SessionKey) -> Option<Who> {
        let session = self.session(key)?;
        Some(Who {
            client: (*session.client).into(),
            user: session.user.clone(),
        })
    }

    fn is_open(&mut self, id: ConnectionId, key: SessionKey) -> bool {
        self.connection(id)
            .is_some_and(|connection| connection.stage == Stage::Open && connection.session == key)
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
}
