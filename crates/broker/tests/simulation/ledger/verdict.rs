//! What must have reached whom, once everything has come to rest.

use std::collections::BTreeSet;

use noctule_broker::Time;
use noctule_packets::QoS;

use super::deliveries::Delivery;
use super::{Ledger, Message, Outcome};

/// Bytes of a PUBLISH around its payload, generously.
const ENVELOPE_BYTES: usize = 120;

impl Ledger {
    /// Every message acknowledged to its publisher has arrived.
    pub fn check_deliveries(&self) {
        let mut missing = vec![0; self.traits.len()];
        for (serial, message) in self.messages.iter().enumerate() {
            if message.qos == QoS::AtMostOnce
                || message.outcome != Outcome::Acknowledged
                || message.expiry_seconds.is_some()
                || message.payload_bytes == 0
            {
                continue;
            }
            if message.topic.starts_with('s') {
                self.check_shared(serial, message);
                continue;
            }
            for client in self.entitled(message) {
                let came = |each: &Delivery| each.client == client && !each.retained;
                if !message.deliveries.iter().any(came) {
                    missing[client] += 1;
                    assert!(
                        self.tight,
                        "message {serial} ({}, {:?}) never reached client {client}",
                        message.topic, message.qos
                    );
                }
            }
        }
        for (client, missing) in missing.into_iter().enumerate() {
            assert!(
                missing <= self.dropped[client],
                "client {client} lacks {missing} messages, {} were counted",
                self.dropped[client]
            );
        }
    }

    /// Who had subscribed all the time, with QoS 1 or 2, and still has that session.
    fn entitled(&self, message: &Message) -> BTreeSet<usize> {
        let fits = |client: usize| {
            let largest = self.traits[client].largest_packet as usize;
            largest == 0 || message.payload_bytes + ENVELOPE_BYTES <= largest
        };
        self.subscriptions
            .iter()
            .filter(|each| each.qos != QoS::AtMostOnce && each.covers(&message.topic))
            .filter(|each| each.spans(message.routed()) && self.still_there(each.client, message))
            .map(|each| each.client)
            .filter(|&client| fits(client))
            .filter(|&client| !(self.traits[client].no_local && message.publisher == client))
            .collect()
    }

    /// Whether no session of this client has ended since the message was sent.
    pub(super) fn still_there(&self, client: usize, message: &Message) -> bool {
        let since = message.sent.unwrap_or(Time::NEVER);
        let ends = &self.sessions_ended;
        !ends
            .iter()
            .any(|&(who, when)| who == client && when >= since)
    }

    /// One member gets it, and another if that one is gone.
    fn check_shared(&self, serial: usize, message: &Message) {
        let members = |client: usize| {
            let mut of = self.of(client, message);
            of.any(|each| each.may_overlap(message.routed()))
        };
        let clients = 0..self.traits.len();
        let unharmed = clients
            .filter(|&client| members(client))
            .all(|client| self.still_there(client, message));
        let got: BTreeSet<usize> = message.deliveries.iter().map(|each| each.client).collect();
        if message.qos == QoS::ExactlyOnce && message.deliveries.iter().any(at_qos_2) {
            assert!(
                message.deliveries.len() == 1,
                "shared message {serial} came more than once: {:?}",
                message.deliveries
            );
        }
        if unharmed && message.sends == 1 {
            assert!(
                got.len() <= 1,
                "shared message {serial} went to several members: {got:?}"
            );
        }
        let lives = self.subscriptions.iter().any(|each| {
            each.covers(&message.topic) && each.spans((message.routed().0, Time(u64::MAX - 1)))
        });
        let may_be_lost = message.qos == QoS::ExactlyOnce && !unharmed;
        assert!(
            !got.is_empty() || !lives || may_be_lost || self.tight,
            "shared message {serial} ({}, {:?}) was lost",
            message.topic,
            message.qos
        );
    }
}

fn at_qos_2(delivery: &Delivery) -> bool {
    delivery.qos == QoS::ExactlyOnce
}
