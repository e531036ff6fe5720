//! What the surroundings of workers do: a store commits, hooks and authenticators answer,
//! operators ban and allow.

use noctule_broker::{
    Action, Advice, AuthenticationRequest, Banned, Changes, ConnectionId, Decision, Rule,
    StoreState, Subject,
};
use noctule_packets::{PropertyBuffer, PropertyId, ReasonCode};

use super::acts::{NAMES, TOPICS, qos};
use super::house::{House, WORKERS};
use super::script::Script;

/// What the client "c" may never be sent where an authenticator says so.
pub const FORBIDDEN: &str = "w";

impl House {
    pub fn commit(&mut self, script: &mut Script<'_>) {
        self.commit_some(script.choose(&[usize::MAX, 1, 2]));
    }

    /// An authenticator that knows everybody by name. It takes its time over "d".
    pub fn judge(&mut self, worker: usize, id: ConnectionId, request: &AuthenticationRequest) {
        let name = &request.client_identifier;
        if **name == *"d" {
            return self.knocking.push((worker, id, name.clone()));
        }
        let decision = decision_on(name);
        self.workers[worker].answered(id, decision, self.now);
    }

    pub fn decide(&mut self) {
        if let Some((worker, id, name)) = self.knocking.pop() {
            self.workers[worker].answered(id, decision_on(&name), self.now);
        }
    }

    /// A hook answers one of the questions, perhaps beside the point.
    pub fn advise(&mut self, script: &mut Script<'_>) {
        let which = usize::from(script.byte());
        if self.questions.is_empty() {
            return;
        }
        let (worker, question) = self.questions.swap_remove(which % self.questions.len());
        let choice = script.byte();
        let advice = match &question.subject {
            _ if choice & 7 == 0 => Advice::Failed,
            _ if choice & 7 == 1 => Advice::Refuse(refusal(script)),
            Subject::Publish { .. } => Advice::Publish(Box::new(changes(choice, script))),
            Subject::Subscribe(filters) => {
                let answers = filters.iter().skip(usize::from(choice >> 7));
                let answer = |_| match script.byte() & 7 {
                    7 => Err(refusal(script)),
                    granted => Ok(qos(granted)),
                };
                Advice::Subscribe(answers.map(answer).collect())
            }
            Subject::Authorize(accesses) => {
                let answers = accesses.iter().skip(usize::from(choice >> 7));
                Advice::Authorize(answers.map(|_| script.byte() & 3 != 0).collect())
            }
        };
        self.workers[worker].advised(question.number, advice, self.now);
    }

    /// What an operator may do at any time, and how the store may fare.
    pub fn administer(&mut self, door: usize, script: &mut Script<'_>) {
        let choice = script.byte();
        let name = script.choose(&NAMES);
        match choice & 7 {
            0 => {
                let until = self.now.after_seconds(script.choose(&[1, 100]));
                let banned = Banned::Client(name.into());
                self.shared.bans().ban(banned, until, "an operator's");
                for worker in &mut self.workers {
                    worker.end_banned(self.now);
                }
                self.run();
                self.check_banned(name);
            }
            1 => drop(self.shared.bans().unban(&Banned::Client(name.into()))),
            2 | 3 => {
                let rules = [rule(false, "t/u"), rule(true, "#")];
                let rules = (choice & 1 == 0).then_some(&rules[..]);
                let worker = self.shared.worker_of(name);
                self.workers[worker].set_permissions(name, rules);
                // What was on its way may still come.
                self.has_new_rules = true;
                for client in self.clients.iter_mut().flatten() {
                    client.may_be_sent_anything();
                }
            }
            4 => self.forget(Some(name)),
            5 => self.forget(None),
            _ => {
                let states = [StoreState::Ready, StoreState::Full, StoreState::Failed];
                let state = script.choose(&states);
                self.workers[door % WORKERS].set_store_state(state, self.now);
            }
        }
    }

    fn forget(&mut self, name: Option<&str>) {
        for worker in &mut self.workers {
            worker.forget_permissions(name, self.now);
        }
    }

    /// Nobody of this name is connected.
    fn check_banned(&self, name: &str) {
        let clients = self
            .workers
            .iter()
            .flat_map(noctule_broker::Worker::clients);
        let mut here = clients.filter(|client| client.peer.is_some());
        let found = here.find(|client| *client.client == *name);
        assert!(found.is_none(), "{name:?} is banned, and stays");
    }
}

fn decision_on(name: &str) -> Decision {
    match name {
        "b" => Decision::Refuse {
            reason: ReasonCode::NOT_AUTHORIZED,
            text: Some("not you".into()),
        },
        "c" => accept(Some(vec![
            rule(false, FORBIDDEN),
            Rule {
                maximum_qos: 1,
                retain: false,
                ..rule(true, "#")
            },
        ])),
        _ => accept(None),
    }
}

fn accept(permissions: Option<Vec<Rule>>) -> Decision {
    let is_bound = permissions.is_some();
    Decision::Accept {
        user: Some("u".into()),
        data: None,
        permissions,
        keep_alive_seconds: is_bound.then_some(20),
        session_expiry_seconds: is_bound.then_some(50),
    }
}

fn rule(allow: bool, filter: &str) -> Rule {
    Rule {
        allow,
        actions: vec![Action::Publish, Action::Subscribe, Action::Receive],
        filter: filter.into(),
        maximum_qos: 2,
        retain: true,
    }
}

fn refusal(script: &mut Script<'_>) -> ReasonCode {
    script.choose(&[
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
    ])
}

fn changes(choice: u8, script: &mut Script<'_>) -> Changes {
    let mut properties = PropertyBuffer::new();
    properties.push_string(PropertyId::ContentType, "changed");
    let properties = properties.as_properties().as_bytes();
    Changes {
        topic: (choice & 8 != 0).then(|| script.choose(&TOPICS).into()),
        payload: (choice & 16 != 0).then(|| script.bytes().into()),
        qos: (choice & 32 != 0).then(|| qos(script.byte())),
        retain: (choice & 64 != 0).then(|| script.byte() & 1 != 0),
        properties: (choice & 128 != 0)
            .then(|| (properties.into(), Some(script.choose(&[1, 100])))),
    }
}
