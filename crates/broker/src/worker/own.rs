//! A client's own QoS 2 messages: they come back to it once it has released them.
//!
//! Everybody else is sent a message as soon as it is taken. Its publisher, where it
//! subscribes too, would be handed it between PUBREC and PUBCOMP of the exchange in
//! which it sends it; clients that go through an exchange step by step do not expect
//! that, and other brokers do not do it.

use noctule_packets::QoS;

use super::Worker;
use super::deliver::{Publication, Terms};
use crate::key::SessionKey;
use crate::outgoing::{Outbound, identifiers};
use crate::time::Time;

impl Worker {
    /// Puts a copy for the publisher aside until PUBREL. A client that leaves more
    /// exchanges open than the receive maximum gets all there are at once.
    #[cold]
    pub(super) fn withhold_own(
        &mut self,
        publication: &mut Publication<'_>,
        terms: Terms<'_>,
        now: Time,
    ) {
        let exchange = publication.exchange;
        let outbound = Outbound {
            sequence: publication.sequence,
            message: publication.message().clone(),
            qos: QoS::ExactlyOnce,
            retain: terms.retain,
            subscription_identifiers: identifiers(terms.subscription_identifiers),
            group: terms.group.cloned(),
        };
        let most = usize::from(self.shared.options.limits.receive_maximum);
        let Some(session) = self.session(terms.key) else {
            return;
        };
        let own = session.own.get_or_insert_default();
        own.push_back((exchange, outbound));
        if own.len() > most {
            self.release_all_own(terms.key);
            self.pump(terms.key, now);
        }
    }

    /// PUBREL has come: the exchange is over for the client, and its copy may go. Those
    /// from before go with it, so that their order is that in which they came
    /// [MQTT-4.6.0-6].
    #[inline]
    pub(super) fn release_own(&mut self, key: SessionKey, exchange: u16, now: Time) {
        let Some(session) = self.session(key) else {
            return;
        };
        let Some(own) = &mut session.own else { return };
        let Some(last) = own
            .iter()
            .rposition(|(identifier, _)| *identifier == exchange)
        else {
            return;
        };
        let released: Vec<_> = own.drain(..=last).collect();
        if own.is_empty() {
            session.own = None;
        }
        self.enqueue_own(key, released);
        self.pump(key, now);
    }

    /// The connection ends, and with it the wait.
    pub(super) fn release_all_own(&mut self, key: SessionKey) {
        let own = self.session(key).and_then(|session| session.own.take());
        if let Some(own) = own {
            self.enqueue_own(key, *own);
        }
    }

    fn enqueue_own(&mut self, key: SessionKey, own: impl IntoIterator<Item = (u16, Outbound)>) {
        for (_, outbound) in own {
            self.enqueue(key, outbound);
        }
    }
}
