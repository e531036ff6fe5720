//! Who gets a message: sessions here, sessions of other workers, group members.

use std::sync::Arc;

use noctule_packets::{QoS, ReasonCode};
use smallvec::SmallVec;

use super::Worker;
use super::deliver::{Publication, Terms};
use super::record::Place;
use crate::batch::{COPIED_BYTES, Item};
use crate::durability::Durability;
use crate::group::{Draw, Member};
use crate::key::SessionKey;
use crate::options::QueueFull;
use crate::outgoing::Outbound;
use crate::routes::{GroupRoute, Route, Seen};
use crate::time::Time;

impl Worker {
    /// Routes a message to everyone who subscribed; says what its publisher is told.
    #[inline]
    pub(super) fn route(
        &mut self,
        publication: &mut Publication<'_>,
        seen: Seen,
        now: Time,
    ) -> ReasonCode {
        let topic = publication.parts.topic;
        let lent = self.routes.lend(&self.shared, topic, seen);
        let hit = lent.hit;
        let reason = self.follow(publication, &lent.route, now);
        self.routes.give_back(seen, lent);
        let counters = self.counters();
        if hit {
            counters.route_hits.add(1);
        } else {
            counters.route_misses.add(1);
        }
        reason
    }

    #[inline]
    fn follow(
        &mut self,
        publication: &mut Publication<'_>,
        route: &Arc<Route>,
        now: Time,
    ) -> ReasonCode {
        if route.is_empty() {
            return ReasonCode::NO_MATCHING_SUBSCRIBERS;
        }
        if self.shared.options.limits.queue_full == QueueFull::Reject
            && publication.head.qos != QoS::AtMostOnce
            && self.shared.any_full(route)
        {
            return ReasonCode::QUOTA_EXCEEDED;
        }
        if self.must_be_kept(publication, route) {
            if !self.journal.ready() {
                return ReasonCode::QUOTA_EXCEEDED;
            }
            self.record_routed(publication, route);
        }
        self.deliver_local(publication, route, now);
        for worker in route.workers() {
            if worker != self.index {
                self.hand_over(publication, worker, route);
            }
        }
        for group in &route.groups {
            self.deliver_to_group(publication, group, route.durability, now);
        }
        ReasonCode::SUCCESS
    }

    /// To the targets that live on another worker.
    #[inline]
    fn hand_over(&mut self, publication: &mut Publication<'_>, worker: usize, route: &Arc<Route>) {
        let parts = publication.parts;
        if publication.head.qos == QoS::AtMostOnce
            && publication.message.is_none()
            && parts.len() <= COPIED_BYTES
        {
            let (head, sent) = (publication.head, publication.sent);
            self.batches[worker].copy(head, parts, sent, worker, route);
            return;
        }
        let item = Item::Routed {
            message: publication.message().clone(),
            sequence: publication.sequence,
            route: route.clone(),
        };
        self.send_to_worker(worker, item);
    }

    /// To one member of a shared group.
    pub(super) fn deliver_to_group(
        &mut self,
        publication: &mut Publication<'_>,
        route: &GroupRoute,
        durability: Durability,
        now: Time,
    ) {
        let Some(member) = self.choose_member(publication, route) else {
            if publication.head.qos != QoS::AtMostOnce {
                self.counters().publish_dropped.add(1);
            }
            return;
        };
        let (key, grant) = (member.key, member.grant);
        let retain = grant.retain_as_published && publication.head.retain;
        let identifiers: SmallVec<[u32; 2]> = match grant.subscription_identifier {
            0 => SmallVec::new(),
            identifier => SmallVec::from_slice(&[identifier]),
        };
        let qos = publication.head.qos.min(grant.qos);
        let kept = self.journal.on && durability != Durability::Memory;
        if kept && grant.durable != 0 && qos != QoS::AtMostOnce {
            // Its own, because the session may get the message for itself, too.
            publication.sequence = self.shared.sequence.draw();
            let group = Some(&*route.group.name);
            let place = Place {
                durable: grant.durable,
                durability,
            };
            self.record_queued(place, publication, qos, retain, &identifiers, group);
        }
        if key.worker() == self.index {
            let terms = Terms {
                key,
                durable: grant.durable,
                granted: grant.qos,
                retain,
                subscription_identifiers: &identifiers,
                group: Some(&route.group),
            };
            self.deliver(publication, terms, false, now);
            return;
        }
        let outbound = Box::new(Outbound {
            sequence: publication.sequence,
            message: publication.message().clone(),
            qos: publication.head.qos.min(grant.qos),
            retain,
            subscription_identifiers: identifiers,
            group: Some(route.group.clone()),
        });
        let item = Item::Chosen {
            outbound,
            granted: grant.qos,
            key,
            group: route.clone(),
        };
        self.send_to_worker(key.worker(), item);
    }

    fn choose_member(
        &mut self,
        publication: &Publication<'_>,
        route: &GroupRoute,
    ) -> Option<Member> {
        let draw = Draw {
            client_hash: self.hash_of(publication.head.publisher),
            topic_hash: self.shared.hash(publication.parts.topic),
            random: self.next_random(),
        };
        let strategy = self.shared.options.protocol.shared_subscription_strategy;
        let may_wait = publication.head.qos != QoS::AtMostOnce;
        route
            .group
            .choose(&route.members, strategy, draw, may_wait)
            .cloned()
    }

    /// A number that stays the same for one publisher.
    fn hash_of(&mut self, publisher: SessionKey) -> u64 {
        let client = self
            .session(publisher)
            .map(|session| session.client.clone());
        client.map_or(0, |client| self.shared.hash(client.as_bytes()))
    }
}

impl crate::shared::Shared {
    /// Whether a session of this route has no room left in its queue.
    fn any_full(&self, route: &Route) -> bool {
        let full = self.full.read();
        !full.is_empty() && route.keys().any(|key| full.contains(&key))
    }
}
