//! SUBSCRIBE and UNSUBSCRIBE: one answer, one reason code a filter.

use noctule_packets::{
    Error, Packet, Properties, PropertyId, QoS, ReasonCode, Suback, Subscribe, SubscriptionRequest,
    Unsuback, Unsubscribe, Version,
};
use noctule_topics::{Bookmark, Filter};
use smallvec::SmallVec;

use super::Worker;
use super::deny::Denied;
use super::permit::is_system;
use crate::access::Action;
use crate::effect::Event;
use crate::group::Member;
use crate::key::{ConnectionId, SessionKey};
use crate::names::has_control;
use crate::routes::Grant;
use crate::session::RetainedWalk;
use crate::time::Time;

/// The failure code of 3.1.1 (§3.9.3); 5.0 has finer ones.
const FAILURE: u8 = 0x80;

/// Refuses what is no filter [MQTT-4.7.3-1], which no client sends for want of rights.
pub(super) fn check_filter(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        return Err(Error::malformed("an empty topic filter"));
    }
    if has_control(filter) {
        return Err(Error::malformed("a control character in a topic filter"));
    }
    Ok(())
}

impl Worker {
    /// `advice`: what hooks say of each filter; those behind its end may be subscribed.
    pub(super) fn handle_subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: Subscribe<'_>,
        advice: &[Result<QoS, ReasonCode>],
        now: Time,
    ) -> Result<(), Error> {
        let Some((connection, _)) = self.open(id) else {
            return Ok(());
        };
        let (key, version) = (connection.session, connection.version);
        self.check_property_count(subscribe.properties)?;
        let identifier = subscribe
            .properties
            .variable(PropertyId::SubscriptionIdentifier);
        let highest = QoS::from_u8(self.maximum_qos(id)).unwrap_or_default();
        let promised = self.journal.promised();
        let mut reasons: SmallVec<[u8; 16]> = SmallVec::new();
        let mut walks: SmallVec<[RetainedWalk; 4]> = SmallVec::new();
        for (place, request) in subscribe.filters().enumerate() {
            let advice = advice.get(place).copied().unwrap_or(Ok(request.qos));
            let advice = advice.map(|qos| qos.min(highest));
            let subscribed = self.subscribe(key, &request, advice, identifier, &mut walks)?;
            let reason = match subscribed {
                Ok(granted) => granted as u8,
                Err(_) if version != Version::V5 => FAILURE,
                Err(reason) => reason.0,
            };
            reasons.push(reason);
        }
        let suback = Suback {
            packet_identifier: subscribe.packet_identifier,
            properties: Properties::EMPTY,
            reasons: &reasons,
        };
        self.gate_since(id, promised);
        self.write_packet(id, &Packet::Suback(suback));
        for walk in walks {
            self.begin_retained(key, walk);
        }
        self.pump(key, now);
        Ok(())
    }

    /// Makes one subscription: the QoS granted, or why not; `advice` is what hooks say of it. An outer error is a
    /// violation of the protocol and ends the connection.
    fn subscribe(
        &mut self,
        key: SessionKey,
        request: &SubscriptionRequest<'_>,
        advice: Result<QoS, ReasonCode>,
        identifier: Option<u32>,
        walks: &mut SmallVec<[RetainedWalk; 4]>,
    ) -> Result<Result<QoS, ReasonCode>, Error> {
        let Ok(filter) = Filter::parse(request.filter) else {
            return Ok(Err(ReasonCode::TOPIC_FILTER_INVALID));
        };
        if let Filter::Shared { .. } = filter
            && request.no_local
        {
            return Err(Error::protocol_error("no local on a shared subscription"));
        }
        if let Err(reason) = self.check_subscription(key, request, &filter, identifier) {
            return Ok(Err(reason));
        }
        let advised = match advice {
            Ok(qos) => qos,
            Err(reason) => return Ok(Err(reason)),
        };
        let maximum = QoS::from_u8(self.shared.options.protocol.maximum_qos).unwrap_or_default();
        let durable = self.session(key).map_or(0, |session| session.durable);
        if durable != 0 && !self.journal.ready() {
            return Ok(Err(ReasonCode::QUOTA_EXCEEDED));
        }
        let grant = Grant {
            durable,
            subscription_identifier: identifier.unwrap_or(0),
            qos: request.qos.min(maximum).min(advised),
            no_local: request.no_local,
            retain_as_published: request.retain_as_published,
        };
        let new = self.add_subscription(key, request.filter, &filter, grant);
        self.record_subscription(request.filter, grant);
        if let Filter::Plain(plain) = filter
            && (request.retain_handling == 0 || (request.retain_handling == 1 && new))
        {
            walks.push(RetainedWalk {
                filter: plain.into(),
                grant,
                bookmark: Bookmark::default(),
            });
        }
        Ok(Ok(grant.qos))
    }

    fn check_subscription(
        &mut self,
        key: SessionKey,
        request: &SubscriptionRequest<'_>,
        filter: &Filter<'_>,
        identifier: Option<u32>,
    ) -> Result<(), ReasonCode> {
        let shared = self.shared.clone();
        let (limits, protocol) = (&shared.options.limits, &shared.options.protocol);
        let too_long = request.filter.len() > limits.max_topic_bytes as usize;
        let levels = noctule_topics::levels(request.filter);
        if too_long || levels > limits.max_topic_levels as usize {
            return Err(ReasonCode::TOPIC_FILTER_INVALID);
        }
        let plain = match filter {
            Filter::Plain(plain) => plain,
            Filter::Shared { filter, .. } => filter,
        };
        if !protocol.wildcard_subscription_available && plain.contains(['+', '#']) {
            return Err(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if !protocol.shared_subscriptions_available && matches!(filter, Filter::Shared { .. }) {
            return Err(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if !protocol.subscription_identifiers_available && identifier.is_some() {
            return Err(ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED);
        }
        let Some(session) = self.session(key) else {
            return Err(ReasonCode::UNSPECIFIED_ERROR);
        };
        let allowed = match &session.permissions {
            Some(permissions) => permissions.may_subscribe(plain, request.qos),
            None => !is_system(plain) || self.is_local(key),
        };
        if !allowed {
            let denied = Denied {
                action: Action::Subscribe,
                topic: plain,
                qos: request.qos,
                retain: false,
            };
            self.tell_denied(key, &denied);
            return Err(self.not_authorized());
        }
        let Some(session) = self.session(key) else {
            return Err(ReasonCode::UNSPECIFIED_ERROR);
        };
        let full = session.subscriptions.len() >= limits.max_subscriptions_per_session as usize;
        if full && !session.subscriptions.contains(request.filter) {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        Ok(())
    }

    /// Enters a subscription everywhere it belongs; true if it is new.
    pub(super) fn add_subscription(
        &mut self,
        key: SessionKey,
        whole: &str,
        filter: &Filter<'_>,
        grant: Grant,
    ) -> bool {
        let shared = self.shared.clone();
        let Some(session) = self.session(key) else {
            return false;
        };
        let new = match *filter {
            Filter::Plain(plain) => shared.subscriptions.insert(plain, key, grant),
            Filter::Shared { filter, .. } => {
                let status = session.status.get_or_insert_default().clone();
                session.publish_status();
                shared
                    .subscriptions
                    .join(whole, filter, Member { key, grant, status })
            }
        };
        if new {
            session.subscriptions.insert(whole.into());
            let client: Box<str> = (*session.client).into();
            self.counters().subscriptions.add(1);
            if let Filter::Shared { .. } = filter {
                self.counters().shared_subscriptions.add(1);
            }
            let (filter, qos) = (whole.into(), grant.qos as u8);
            self.tell(|| Event::Subscribed {
                client,
                filter,
                qos,
            });
        }
        new
    }

    pub(super) fn handle_unsubscribe(&mut self, id: ConnectionId, unsubscribe: Unsubscribe<'_>) {
        let Some((connection, _)) = self.open(id) else {
            return;
        };
        let key = connection.session;
        let promised = self.journal.promised();
        let mut reasons: SmallVec<[u8; 16]> = SmallVec::new();
        for filter in unsubscribe.filters() {
            reasons.push(self.unsubscribe(key, filter).0);
        }
        let unsuback = Unsuback {
            packet_identifier: unsubscribe.packet_identifier,
            properties: Properties::EMPTY,
            reasons: &reasons,
        };
        self.gate_since(id, promised);
        self.write_packet(id, &Packet::Unsuback(unsuback));
    }

    pub(super) fn unsubscribe(&mut self, key: SessionKey, whole: &str) -> ReasonCode {
        let Ok(filter) = Filter::parse(whole) else {
            return ReasonCode::TOPIC_FILTER_INVALID;
        };
        let Some(session) = self.session(key) else {
            return ReasonCode::UNSPECIFIED_ERROR;
        };
        if !session.subscriptions.remove(whole) {
            return ReasonCode::NO_SUBSCRIPTION_EXISTED;
        }
        if let Some(walks) = &mut session.retained {
            walks.retain(|walk| *walk.filter != *whole);
        }
        let client: Box<str> = (*session.client).into();
        let durable = session.durable;
        self.remove_subscription(key, whole, &filter);
        self.record_unsubscription(durable, whole);
        self.tell(|| Event::Unsubscribed {
            client,
            filter: whole.into(),
        });
        ReasonCode::SUCCESS
    }

    /// Takes a subscription out of what all workers share.
    pub(super) fn remove_subscription(
        &mut self,
        key: SessionKey,
        whole: &str,
        filter: &Filter<'_>,
    ) {
        match *filter {
            Filter::Plain(plain) => {
                self.shared.subscriptions.remove(plain, key);
            }
            Filter::Shared { filter, .. } => {
                self.shared.subscriptions.leave(whole, filter, key);
                self.counters().shared_subscriptions.subtract(1);
            }
        }
        self.counters().subscriptions.subtract(1);
    }

    pub(super) fn check_property_count(&self, properties: Properties<'_>) -> Result<(), Error> {
        let most = self.shared.options.limits.max_properties_per_packet as usize;
        if properties.iter().nth(most).is_some() {
            return Err(Error {
                reason: ReasonCode::QUOTA_EXCEEDED,
                what: "too many properties",
            });
        }
        Ok(())
    }
}
