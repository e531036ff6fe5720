//! The end: everyone comes back, everything arrives, nothing is left.

use noctule_broker::Time;

use super::World;
use crate::client::Stage;
use crate::scene::note;

/// Turns within which everything must have arrived.
const TURNS: usize = 60_000;
/// Seconds within which everything must have arrived.
const SECONDS: u64 = 3_600;
/// Longer than any will or expiry interval of these clients but "for ever".
const LONGEST_WAIT_SECONDS: u64 = 70;

impl World {
    pub(super) fn come_to_rest(&mut self) {
        note!(self.scene, "everything comes to rest");
        self.resting = true;
        self.overload(false);
        self.heal();
        self.pass(self.scene.now.after_seconds(1));
        self.settle();
        self.pass(self.scene.now.after_seconds(LONGEST_WAIT_SECONDS));
        self.settle();
        self.scene.ledger.wills.check_complete();
        self.check_retained();
        self.scene.ledger.closed = true;
        self.dismiss();
        self.scene.ledger.check_deliveries();
        self.check_nothing_is_left();
    }

    /// No link is stalled any longer, and every client minds its business.
    fn heal(&mut self) {
        for index in 0..self.links.len() {
            if self.links[index].stalled {
                self.links[index].cut(&mut self.scene.random);
            }
        }
        self.clients.iter_mut().for_each(|client| client.behave());
    }

    /// Runs until nobody waits for anything.
    fn settle(&mut self) {
        let limit = self.scene.now.after_seconds(SECONDS);
        for _ in 0..TURNS {
            self.bring_back();
            let next = self.next_due().unwrap_or(limit);
            let soon = self.scene.now.after_milliseconds(20);
            self.scene.now = Time(next.min(soon).0.max(self.scene.now.0 + 1));
            self.turn();
            if self.is_settled() {
                return;
            }
            if self.scene.now > limit {
                break;
            }
        }
        let clients: Vec<String> = self.clients.iter().map(|each| each.describe()).collect();
        panic!(
            "it does not come to rest: {} messages stored, parcels {:?}\n{}",
            self.statistic("messages_stored"),
            self.parcels
                .iter()
                .map(|each| each.len())
                .collect::<Vec<_>>(),
            clients.join("\n")
        );
    }

    /// Who has a session that is kept, or something to say, connects again.
    fn bring_back(&mut self) {
        for client in 1..self.clients.len() {
            let wanted = self.scene.ledger.sessions.0[client].exists
                || self.clients[client].has_state()
                || !self.clients[client].waiting.is_empty();
            match self.clients[client].stage {
                Stage::Offline if wanted => {
                    self.connect(client, true);
                    self.clients[client].behave();
                }
                Stage::Waiting => self.lose_patience(client),
                _ => {}
            }
        }
    }

    fn is_settled(&self) -> bool {
        let clients = self.clients.iter();
        self.statistic("messages_stored") == 0
            && clients.clone().all(|each| each.is_at_rest())
            && clients.clone().all(|each| each.stage != Stage::Waiting)
            && self.parcels.iter().all(|each| each.is_empty())
            && self.commits.is_empty()
            && self.readings.is_empty()
            && self.live.iter().all(|&link| self.links[link].is_quiet())
    }

    /// A subscriber that comes now gets the last retained message of every topic.
    fn check_retained(&mut self) {
        self.clients[0].habits.traits.retain_as_published = false;
        let scene = &mut self.scene;
        self.clients[0].subscribe(&["r/#".to_owned()], scene);
        self.collect(0);
        self.pass(self.scene.now.after_seconds(1));
        self.settle();
        let found = std::mem::take(&mut self.clients[0].retained);
        self.scene.ledger.check_retained(&found);
    }

    /// Everyone leaves for good.
    fn dismiss(&mut self) {
        for client in 0..self.clients.len() {
            self.say_goodbye(client, true);
        }
        self.pass(self.scene.now.after_seconds(1));
        // Before 5.0 a session that is kept ends by a clean one only.
        for client in 1..self.clients.len() {
            if self.scene.ledger.sessions.0[client].exists {
                self.clients[client].habits.expiry_seconds = 0;
                self.connect(client, true);
            }
        }
        for _ in 0..TURNS {
            if self.clients.iter().all(|each| each.stage != Stage::Waiting) {
                break;
            }
            self.step();
        }
        for client in 0..self.clients.len() {
            self.say_goodbye(client, true);
        }
        self.pass(self.scene.now.after_seconds(2));
    }

    fn check_nothing_is_left(&self) {
        for name in [
            "clients_connected",
            "clients_disconnected",
            "subscriptions",
            "shared_subscriptions",
            "messages_stored",
            "messages_stored_bytes",
            "partial_bytes",
            "messages_on_disk",
            "messages_on_disk_bytes",
        ] {
            assert_eq!(self.statistic(name), 0, "{name} at the end");
        }
        for worker in &self.workers {
            assert_eq!(worker.connections(), 0, "connections at the end");
        }
    }

    fn statistic(&self, name: &str) -> u64 {
        let all = self.shared.statistics();
        let found = all.iter().find(|(each, _)| *each == name);
        found
            .map(|&(_, value)| value)
            .unwrap_or_else(|| panic!("no statistic {name}"))
    }
}
