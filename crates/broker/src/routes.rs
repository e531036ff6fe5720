//! Where a message goes: the subscriptions, shared by all workers, and each
//! worker's cache of what they answered.

mod cache;

use std::sync::Arc;

use hashbrown::HashMap;
use noctule_packets::QoS;
use noctule_topics::{Generations, SubscriptionTree};
use parking_lot::RwLock;
use smallvec::SmallVec;

pub(crate) use cache::{RouteCache, Seen};

use crate::durability::Durability;
use crate::group::{Group, Member};
use crate::key::SessionKey;
use crate::shared::Shared;

/// What a subscription asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Names the session's records on disk; 0: it has none.
    pub durable: u64,
    /// 0: none.
    pub subscription_identifier: u32,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
}

/// One session that is to get a message, its overlapping subscriptions joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub key: SessionKey,
    /// As in [`Grant::durable`].
    pub durable: u64,
    identifiers_start: u32,
    identifiers_end: u32,
    pub qos: QoS,
    pub retain_as_published: bool,
    pub audience: Audience,
}

/// For whose messages a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Everyone,
    /// All but the session's own: every matching subscription says no local.
    Others,
    /// The session's own: what is left without the subscriptions that say no local.
    Itself,
}

impl Target {
    #[inline]
    pub fn is_for(&self, publisher: SessionKey) -> bool {
        match self.audience {
            Audience::Everyone => true,
            Audience::Others => self.key != publisher,
            Audience::Itself => self.key == publisher,
        }
    }
}

/// Everyone that a topic's messages go to.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Sorted by worker, then session.
    targets: Box<[Target]>,
    identifiers: Box<[u32]>,
    /// Which of `targets` belong to a worker: (worker, start, end).
    spans: SmallVec<[(u16, u32, u32); 2]>,
    pub groups: Box<[GroupRoute]>,
    /// What is promised of the topic's messages.
    pub durability: Durability,
}

#[derive(Clone, Debug)]
pub(crate) struct GroupRoute {
    pub group: Arc<Group>,
    pub members: Arc<[Member]>,
}

impl Route {
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }

    #[inline]
    pub fn targets_of(&self, worker: usize) -> &[Target] {
        for &(each, start, end) in &self.spans {
            if usize::from(each) == worker {
                return &self.targets[start as usize..end as usize];
            }
        }
        &[]
    }

    pub fn workers(&self) -> impl Iterator<Item = usize> + '_ {
        self.spans.iter().map(|&(worker, _, _)| usize::from(worker))
    }

    /// The one target on a worker, if it is the only one there and has no subscription
    /// identifier: all there is to know of how the message reaches it.
    #[inline]
    pub fn only_target_of(&self, worker: usize) -> Option<Target> {
        match self.targets_of(worker) {
            &[target] if target.identifiers_start == target.identifiers_end => Some(target),
            _ => None,
        }
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Every session that may get the message, group members included.
    pub fn keys(&self) -> impl Iterator<Item = SessionKey> + '_ {
        let members = self.groups.iter().flat_map(|group| group.members.iter());
        let targets = self.targets.iter().map(|target| target.key);
        targets.chain(members.map(|member| member.key))
    }

    #[inline]
    pub fn identifiers(&self, target: &Target) -> &[u32] {
        let (start, end) = (target.identifiers_start, target.identifiers_end);
        if start == end {
            // For speed: mostly there are none (fan-out of `make instructions`).
            return &[];
        }
        &self.identifiers[start as usize..end as usize]
    }

    fn build(mut matches: Vec<(SessionKey, Grant)>, groups: Vec<GroupRoute>) -> Route {
        matches.sort_unstable_by_key(|&(key, grant)| (key, grant.subscription_identifier));
        let mut route = Route {
            groups: groups.into(),
            ..Route::default()
        };
        let mut targets = Vec::with_capacity(matches.len());
        let mut identifiers = Vec::new();
        for of_session in matches.chunk_by(|(left, _), (right, _)| left == right) {
            let (key, _) = of_session[0];
            let silent = of_session
                .iter()
                .filter(|(_, grant)| grant.no_local)
                .count();
            let audience = if silent == 0 {
                Audience::Everyone
            } else {
                Audience::Others
            };
            targets.push(join(key, audience, of_session, &mut identifiers));
            if silent > 0 && silent < of_session.len() {
                let heard: Vec<_> = of_session
                    .iter()
                    .filter(|(_, grant)| !grant.no_local)
                    .copied()
                    .collect();
                targets.push(join(key, Audience::Itself, &heard, &mut identifiers));
            }
        }
        for (place, target) in targets.iter().enumerate() {
            let worker = target.key.worker() as u16;
            match route.spans.last_mut() {
                Some(span) if span.0 == worker => span.2 = place as u32 + 1,
                _ => route.spans.push((worker, place as u32, place as u32 + 1)),
            }
        }
        route.targets = targets.into();
        route.identifiers = identifiers.into();
        route
    }
}

/// One target from a session's overlapping subscriptions: the highest QoS and
/// every subscription identifier [MQTT-3.3.4-2] [MQTT-3.3.4-4].
fn join(
    key: SessionKey,
    audience: Audience,
    grants: &[(SessionKey, Grant)],
    identifiers: &mut Vec<u32>,
) -> Target {
    let identifiers_start = identifiers.len() as u32;
    let of_grants = grants
        .iter()
        .map(|(_, grant)| grant.subscription_identifier);
    identifiers.extend(of_grants.filter(|&identifier| identifier != 0));
    let qos = grants
        .iter()
        .map(|(_, grant)| grant.qos)
        .max()
        .unwrap_or_default();
    Target {
        key,
        durable: grants.first().map_or(0, |(_, grant)| grant.durable),
        identifiers_start,
        identifiers_end: identifiers.len() as u32,
        qos,
        retain_as_published: grants.iter().any(|(_, grant)| grant.retain_as_published),
        audience,
    }
}

/// All subscriptions of all workers.
pub(crate) struct Subscriptions {
    tree: RwLock<SubscriptionTree<SessionKey, Grant>>,
    generations: Generations,
    groups: RwLock<Groups>,
}

#[derive(Default)]
struct Groups {
    by_name: HashMap<Box<str>, Arc<Group>>,
    by_index: HashMap<u32, Arc<Group>>,
    next: u32,
}

impl Subscriptions {
    pub fn new() -> Subscriptions {
        Subscriptions {
            tree: RwLock::new(SubscriptionTree::new()),
            generations: Generations::new(),
            groups: RwLock::default(),
        }
    }

    /// How many there are, those of sessions that have just ended included; a group counts as
    /// one.
    pub fn len(&self) -> usize {
        self.tree.read().len()
    }

    /// Adds or replaces a subscription; true if it is new.
    pub fn insert(&self, filter: &str, key: SessionKey, grant: Grant) -> bool {
        let old = self.tree.write().insert(filter, key, grant);
        self.generations.bump(filter);
        old.is_none()
    }

    /// True if there was such a subscription.
    pub fn remove(&self, filter: &str, key: SessionKey) -> bool {
        let removed = self.tree.write().remove(filter, key).is_some();
        if removed {
            self.generations.bump(filter);
        }
        removed
    }

    /// Joins `$share/{name}/{filter}`, whose text `whole` is; true if new there.
    pub fn join(&self, whole: &str, filter: &str, member: Member) -> bool {
        let group = self.group(whole, filter);
        let new = group.join(member);
        self.generations.bump(filter);
        new
    }

    fn group(&self, whole: &str, filter: &str) -> Arc<Group> {
        let mut groups = self.groups.write();
        if let Some(group) = groups.by_name.get(whole) {
            return group.clone();
        }
        let index = groups.next;
        groups.next = groups.next.wrapping_add(1) & i32::MAX as u32;
        let group = Arc::new(Group::new(index, whole));
        groups.by_name.insert(whole.into(), group.clone());
        groups.by_index.insert(index, group.clone());
        let grant = Grant {
            durable: 0,
            subscription_identifier: 0,
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
        };
        self.tree
            .write()
            .insert(filter, SessionKey::group(index), grant);
        group
    }

    /// Leaves `$share/{name}/{filter}`; the group goes with its last member.
    pub fn leave(&self, whole: &str, filter: &str, key: SessionKey) -> bool {
        let mut groups = self.groups.write();
        let Some(group) = groups.by_name.get(whole).cloned() else {
            return false;
        };
        let (left, remaining) = group.leave(key);
        if remaining == 0 {
            groups.by_name.remove(whole);
            groups.by_index.remove(&group.index);
            self.tree
                .write()
                .remove(filter, SessionKey::group(group.index));
        }
        drop(groups);
        self.generations.bump(filter);
        left
    }

    /// The group behind `$share/{name}/{filter}`, if it has members.
    pub fn group_named(&self, whole: &str) -> Option<Arc<Group>> {
        self.groups.read().by_name.get(whole).cloned()
    }

    fn matching(&self, topic: &str) -> Route {
        let mut matches = Vec::new();
        let mut shared = SmallVec::<[u32; 4]>::new();
        self.tree
            .read()
            .matches(topic, |key, grant| match key.as_group() {
                Some(index) => shared.push(index),
                None => matches.push((key, *grant)),
            });
        if shared.is_empty() {
            return Route::build(matches, Vec::new());
        }
        shared.sort_unstable();
        let groups = self.groups.read();
        let group_route = |index: &u32| {
            let group = groups.by_index.get(index)?.clone();
            Some(GroupRoute {
                members: group.members(),
                group,
            })
        };
        Route::build(matches, shared.iter().filter_map(group_route).collect())
    }
}

impl Shared {
    fn route(&self, topic: &str) -> Route {
        Route {
            durability: self.options.durability_of_topic(topic),
            ..self.subscriptions.matching(topic)
        }
    }
}
