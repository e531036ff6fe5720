//! Shared subscriptions: one of several members gets each message (MQTT 5.0 §4.8.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use crate::key::SessionKey;
use crate::options::SharedStrategy;
use crate::routes::Grant;

/// What other workers may know of a session that is a member of a group.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub connected: AtomicBool,
    pub in_flight: AtomicU32,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub key: SessionKey,
    pub grant: Grant,
    pub status: Arc<Status>,
}

/// The members behind one `$share/{name}/{filter}`.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its key in the subscription tree.
    pub index: u32,
    /// `$share/{name}/{filter}`
    pub name: Box<str>,
    members: RwLock<Arc<[Member]>>,
    cursor: AtomicU64,
    sticky: AtomicU64,
}

/// What decides for whom a message is, where a strategy asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub client_hash: u64,
    pub topic_hash: u64,
    pub random: u64,
}

impl Group {
    pub fn new(index: u32, name: &str) -> Group {
        Group {
            index,
            name: name.into(),
            members: RwLock::new(Arc::from([])),
            cursor: AtomicU64::new(0),
            sticky: AtomicU64::new(0),
        }
    }

    pub fn members(&self) -> Arc<[Member]> {
        self.members.read().clone()
    }

    /// Adds a member or replaces its grant; true if it is new.
    pub fn join(&self, member: Member) -> bool {
        let mut members = self.members.write();
        let mut list = members.to_vec();
        let known = list.iter().position(|each| each.key == member.key);
        match known {
            Some(place) => list[place] = member,
            None => list.push(member),
        }
        *members = list.into();
        known.is_none()
    }

    /// Takes a member out: whether it was one, and how many are left.
    pub fn leave(&self, key: SessionKey) -> (bool, usize) {
        let mut members = self.members.write();
        let before = members.len();
        *members = members
            .iter()
            .filter(|each| each.key != key)
            .cloned()
            .collect();
        (members.len() < before, members.len())
    }

    /// Chooses who gets the next message: a connected member by the strategy,
    /// or, for a message that may wait, one whose session is kept.
    pub fn choose<'a>(
        &self,
        members: &'a [Member],
        strategy: SharedStrategy,
        draw: Draw,
        may_wait: bool,
    ) -> Option<&'a Member> {
        if members.is_empty() {
            return None;
        }
        let start = self.start(members, strategy, draw);
        let from_start = || members[start..].iter().chain(&members[..start]);
        let connected = |member: &&Member| member.status.connected.load(Relaxed);
        let chosen = if strategy == SharedStrategy::LeastInflight {
            from_start()
                .filter(connected)
                .min_by_key(|member| member.status.in_flight.load(Relaxed))
        } else {
            from_start().find(connected)
        };
        let chosen = chosen.or_else(|| if may_wait { from_start().next() } else { None })?;
        if strategy == SharedStrategy::Sticky {
            let place = members
                .iter()
                .position(|each| each.key == chosen.key)
                .unwrap_or(0);
            self.sticky.store(place as u64, Relaxed);
        }
        Some(chosen)
    }

    fn start(&self, members: &[Member], strategy: SharedStrategy, draw: Draw) -> usize {
        let number = match strategy {
            SharedStrategy::RoundRobin | SharedStrategy::LeastInflight => {
                self.cursor.fetch_add(1, Relaxed)
            }
            SharedStrategy::Random => draw.random,
            SharedStrategy::Sticky => self.sticky.load(Relaxed),
            SharedStrategy::HashClient => draw.client_hash,
            SharedStrategy::HashTopic => draw.topic_hash,
        };
        (number % members.len() as u64) as usize
    }
}
