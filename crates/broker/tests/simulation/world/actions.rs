//! What happens by chance.

use noctule_broker::Time;
use noctule_packets::{QoS, Version};

use super::World;
use crate::client::Stage;
use crate::ledger::{Message, Outcome};
use crate::scene::note;

/// Seconds after which a client gives a CONNECT up.
const PATIENCE_MICROS: u64 = 4_000_000;

impl World {
    /// Something happens, or nothing.
    pub(super) fn act(&mut self) {
        if self.plan.overloads && self.scene.random.chance(4) {
            self.overload(!self.overloaded);
        }
        if self.scene.random.chance(1) {
            let longest = self.scene.random.pick(&[100_000, 3_000_000, 40_000_000]);
            let target = self.scene.now.0 + self.scene.random.between(1, longest);
            note!(self.scene, "time passes until {target}");
            self.pass(Time(target));
        }
        let client = 1 + self.scene.random.below(self.plan.clients);
        match self.clients[client].stage {
            Stage::Offline => {
                if self.scene.random.chance(50) {
                    self.connect(client, false);
                } else if self.clients[client].waiting.len() < 20 {
                    self.publish(client);
                }
            }
            Stage::Waiting => self.lose_patience(client),
            Stage::Open => self.act_connected(client),
        }
    }

    pub(super) fn overload(&mut self, overloaded: bool) {
        note!(self.scene, "overloaded: {overloaded}");
        self.overloaded = overloaded;
        self.shared.set_memory(if overloaded { 1 << 41 } else { 0 });
    }

    /// A CONNECT without an answer is given up at last.
    pub(super) fn lose_patience(&mut self, client: usize) {
        let since = self.clients[client].waits_since();
        if since.is_some_and(|since| self.scene.now.0 > since.0 + PATIENCE_MICROS) {
            self.walk_away(client);
        }
    }

    fn act_connected(&mut self, client: usize) {
        let link = self.clients[client].link.expect("it is connected");
        match self.scene.random.below(100) {
            0..60 => {
                for _ in 0..self.scene.random.between(1, 5) {
                    self.publish(client);
                }
            }
            60..78 => self.subscribe(client),
            78..83 => self.unsubscribe(client),
            83..87 => self.say_goodbye(client, false),
            87..92 => {
                note!(self.scene, "link {link} is cut");
                self.links[link].cut(&mut self.scene.random);
            }
            92..94 if client != 0 => {
                note!(self.scene, "link {link} is stalled");
                self.links[link].stalled = true;
                self.clients[client].may_be_ended = true;
            }
            94..97 => {
                self.walk_away(client);
                self.connect(client, false);
            }
            _ => {}
        }
    }

    /// A client drops its connection without a word; the broker may hear of it late.
    pub(super) fn walk_away(&mut self, client: usize) {
        let Some(link) = self.clients[client].link else {
            return;
        };
        note!(self.scene, "c{client} walks away from link {link}");
        self.collect(client);
        let stalled = self.links[link].stalled;
        self.links[link].abandon();
        // What was stuck on the way is lost for good.
        if stalled {
            self.links[link].up.clear();
            self.links[link].stalled = false;
        }
        self.clients[client].disconnected(&mut self.scene);
    }

    pub(super) fn say_goodbye(&mut self, client: usize, finally: bool) {
        let Some(link) = self.clients[client].link else {
            return;
        };
        let said = self.clients[client].disconnect(finally, &mut self.scene);
        self.collect(client);
        self.links[link].disconnect = Some(said);
        self.links[link].abandon();
        self.clients[client].disconnected(&mut self.scene);
    }

    fn subscribe(&mut self, client: usize) {
        let modern = self.clients[client].habits.version == Version::V5;
        let one_by_one = self.clients[client].habits.subscription_identifiers;
        let publisher = self.scene.random.below(self.plan.clients + 1);
        let mut choice = vec![
            "n/#".to_owned(),
            "n/+/0".to_owned(),
            format!("n/c{publisher}/1"),
            format!("n/c{publisher}/+"),
            "r/#".to_owned(),
            format!("r/+/{}", publisher % 2),
        ];
        // A retained message and a message of its own cannot be told apart by
        // clients of 3.1.1 in a group, so those have topics of their own.
        if modern && self.clients[client].habits.traits.largest_packet == 0 {
            choice.extend(["$share/g0/s0/#".to_owned(), "$share/g1/s1/#".to_owned()]);
        }
        self.scene.random.shuffle(&mut choice);
        let most = if one_by_one { 1 } else { 2 };
        choice.truncate(self.scene.random.between(1, most) as usize);
        self.clients[client].subscribe(&choice, &mut self.scene);
        self.collect(client);
    }

    fn unsubscribe(&mut self, client: usize) {
        let filters = &self.clients[client].filters;
        let place = self.scene.random.below(filters.len());
        let Some(filter) = filters.iter().nth(place).cloned() else {
            return;
        };
        self.clients[client].unsubscribe(&filter, &mut self.scene);
        self.collect(client);
    }

    fn publish(&mut self, client: usize) {
        let online = self.clients[client].stage == Stage::Open;
        let modern = self.clients[client].habits.version == Version::V5;
        let random = &mut self.scene.random;
        let qos = random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        if qos == QoS::AtMostOnce && !online {
            return;
        }
        let number = random.below(2);
        let (topic, retain) = match random.below(10) {
            0..5 => (format!("n/c{client}/{number}"), false),
            5..8 => (format!("s{number}/c{client}"), false),
            _ => (format!("r/c{client}/{number}"), random.chance(80)),
        };
        let payload_bytes = match random.below(100) {
            0..10 if topic.starts_with('r') && retain => 0,
            0..80 => random.between(5, 60),
            80..94 => random.between(100, 2_000),
            _ => random.between(8_000, 20_000),
        };
        let expires = modern && random.chance(6);
        let expiry_seconds = expires.then(|| random.between(1, 5) as u32);
        let serial = self.scene.ledger.add(Message {
            publisher: client,
            topic,
            qos,
            retain,
            expiry_seconds,
            payload_bytes: payload_bytes as usize,
            sent: None,
            last_sent: None,
            settled: None,
            outcome: Outcome::Unknown,
            sends: 0,
            deliveries: Vec::new(),
        });
        self.clients[client].waiting.push_back(serial);
    }
}
