//! What the broker asks for and tells, carried out and entered in the ledger.

use noctule_broker::{ConnectionId, Effect, Event, Time};
use noctule_packets::ReasonCode;

use super::World;
use crate::scene::note;

impl World {
    /// Everything a worker has for others after one call. `speaker`: the link whose
    /// bytes or decision it was given.
    pub(super) fn carry_out(&mut self, worker: usize, speaker: Option<usize>) {
        while let Some(id) = self.workers[worker].next_dirty() {
            if let Some(link) = self.link_of(worker, id) {
                self.links[link].pending = true;
            }
        }
        while let Some(effect) = self.workers[worker].next_effect() {
            match effect {
                Effect::Close(id) => {
                    if let Some(link) = self.link_of(worker, id) {
                        self.links[link].closing = true;
                    }
                }
                Effect::PauseReading(id) => self.set_paused(worker, id, true),
                Effect::ResumeReading(id) => self.set_paused(worker, id, false),
                Effect::Authenticate(id, _) => {
                    let delay = self.scene.random.between(0, 50_000);
                    let due = Time(self.scene.now.0 + delay);
                    self.questions.push((due, worker, id));
                }
                Effect::Consult(_) => panic!("there are no hooks here"),
                Effect::ReadQueue(request) => {
                    let longest = self.plan.commit_micros.unwrap_or(0);
                    let due = Time(self.scene.now.0 + self.scene.random.between(0, longest));
                    self.readings.push((due, worker, request));
                }
                Effect::Event(event) => self.hear(event, speaker),
            }
        }
        self.keep_records(worker);
        self.send_batches(worker);
    }

    fn link_of(&self, worker: usize, id: ConnectionId) -> Option<usize> {
        let place = self.places[worker].get(id.index()).copied().flatten();
        place
            .filter(|&(known, _)| known == id)
            .map(|(_, link)| link)
    }

    fn set_paused(&mut self, worker: usize, id: ConnectionId, paused: bool) {
        if let Some(link) = self.link_of(worker, id) {
            note!(self.scene, "link {link} paused: {paused}");
            self.links[link].paused = paused;
            self.links[link].was_paused = true;
        }
    }

    fn hear(&mut self, event: Event, speaker: Option<usize>) {
        note!(self.scene, "event: {event:?}");
        match event {
            Event::Connected {
                client,
                session_present,
                ..
            } => self.hear_connected(&client, session_present, speaker),
            Event::Disconnected { client, reason, .. } => self.hear_disconnected(&client, reason),
            Event::SessionEnded { client, reason } => {
                let (client, now) = (index_of(&client), self.scene.now);
                let ledger = &mut self.scene.ledger;
                ledger.sessions.ended(client, reason, now);
                ledger.session_ended(client, now);
                ledger.wills.session_ended(client, now);
            }
            Event::Dropped {
                client,
                messages,
                reason,
            } => {
                assert_ne!(reason, "unreadable", "of {client}: the disk is well");
                self.scene.ledger.dropped[index_of(&client)] += messages;
            }
            Event::Refused { reason, .. } => assert!(
                reason == ReasonCode::SERVER_BUSY && self.plan.overloads,
                "a CONNECT was refused: {reason}"
            ),
            _ => {}
        }
    }

    fn hear_connected(&mut self, client: &str, session_present: bool, speaker: Option<usize>) {
        let client = index_of(client);
        let Some(link) = speaker.filter(|&link| self.links[link].client == client) else {
            panic!("client {client} connected without having asked");
        };
        let announced = self.links[link].announced.clone();
        let ledger = &mut self.scene.ledger;
        let sessions = &mut ledger.sessions;
        sessions.connected(client, link, &announced, session_present);
        if session_present {
            ledger.wills.resumed(client, self.scene.now);
        }
    }

    fn hear_disconnected(&mut self, client: &str, reason: ReasonCode) {
        let (client, now) = (index_of(client), self.scene.now);
        let known = self.scene.ledger.sessions.0[client].link;
        let link = known.unwrap_or_else(|| panic!("client {client} was not connected"));
        let link = &self.links[link];
        let mut expiry = link.announced.expiry_seconds;
        let by_client = matches!(reason.0, 0x00 | 0x04);
        match (by_client, link.disconnect) {
            (true, Some((said, changed))) => {
                assert_eq!(said, reason.0);
                expiry = changed.unwrap_or(expiry);
            }
            (true, None) => panic!("client {client} never said goodbye"),
            (false, _) => self.check_reason(client, reason),
        }
        let announced = link.announced.clone();
        let ledger = &mut self.scene.ledger;
        ledger.sessions.disconnected(client, expiry, now);
        if reason != ReasonCode::NORMAL_DISCONNECTION {
            ledger.wills.connection_ended(&announced, expiry, now);
        }
    }

    /// The broker ends a connection for reasons there are, and keeps to the keep alive.
    fn check_reason(&self, client: usize, reason: ReasonCode) {
        let known = self.scene.ledger.sessions.0[client].link;
        let link = &self.links[known.expect("checked before")];
        match reason {
            // The network connection ended.
            ReasonCode::UNSPECIFIED_ERROR => assert!(link.broker_gone),
            ReasonCode::SESSION_TAKEN_OVER => {
                let others = self.links.iter().filter(|each| each.client == client);
                assert!(
                    others.count() > 1,
                    "client {client} was taken over by nobody"
                );
            }
            ReasonCode::KEEP_ALIVE_TIMEOUT => {
                let micros = u64::from(link.announced.keep_alive) * 1_500_000;
                assert!(
                    micros > 0 && self.scene.now.0 >= link.heard.0 + micros,
                    "client {client} was given up too soon"
                );
            }
            ReasonCode::QUOTA_EXCEEDED => assert!(self.scene.ledger.may_refuse),
            _ => panic!("client {client} was sent away: {reason}"),
        }
    }
}

/// A client's index, by its name.
fn index_of(name: &str) -> usize {
    let index = name.strip_prefix('c').and_then(|rest| rest.parse().ok());
    index.unwrap_or_else(|| panic!("there is no client {name}"))
}
