//! Which message goes where: settled by the scenario alone, alike for all threads.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use noctule_packets::{QoS, Version};

use crate::scenario::{Kind, Scenario};
use crate::stamp::Stamp;

/// Retained topics under one level, so that no level grows without bound.
const RETAINED_PER_LEVEL: u64 = 1_000;

/// The scenario and what follows from it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) version: Version,
    pub(crate) qos: QoS,
    pub(crate) retained: bool,
    /// Tells the client identifiers of this run from those of others.
    run: u32,
    /// Topic names as on the wire, their length in front. Empty where each message has
    /// its own (retained).
    topics: Vec<Box<[u8]>>,
    /// Deliveries that all messages make; 0 where their number is not known.
    expected_deliveries: u64,
    /// Messages each publisher has sent: nothing above may come back.
    sent: Vec<AtomicU32>,
}

impl Plan {
    pub(crate) fn new(scenario: Scenario, run: u32) -> Plan {
        let retained = scenario.kind == Kind::Retained;
        let topics = if scenario.kind == Kind::Publish {
            let names = (0..scenario.topics).map(|topic| format!("{}/{topic}", scenario.prefix));
            names.map(|name| on_the_wire(&name)).collect()
        } else {
            Vec::new()
        };
        let mut plan = Plan {
            expected_deliveries: 0,
            version: scenario.protocol(),
            qos: scenario.quality(),
            retained,
            run,
            topics,
            sent: (0..scenario.publishers)
                .map(|_| AtomicU32::new(0))
                .collect(),
            scenario,
        };
        plan.expected_deliveries = plan.deliveries();
        plan
    }

    fn deliveries(&self) -> u64 {
        if self.scenario.kind != Kind::Publish || self.scenario.messages == 0 {
            return 0;
        }
        let of = |publisher, sequence| u64::from(self.fan_out(self.topic(publisher, sequence)));
        let publishers = 0..self.scenario.publishers;
        if !self.scenario.mixed {
            return publishers
                .map(|publisher| u64::from(self.quota(publisher)) * of(publisher, 0))
                .sum();
        }
        publishers
            .flat_map(|publisher| (0..self.quota(publisher)).map(move |each| of(publisher, each)))
            .sum()
    }

    /// At most 23 bytes, the most that 3.1 allows. Sessions that are to stay are called
    /// alike in every run, so that they do not pile up.
    pub(crate) fn client_identifier(&self, role: char, number: u64) -> String {
        if self.scenario.persistent {
            return format!("load-{role}{number}");
        }
        format!("l{:08x}{role}{number}", self.run)
    }

    /// How many messages a publisher sends.
    pub(crate) fn quota(&self, publisher: u32) -> u32 {
        let Some(messages) = self.scenario.message_limit() else {
            return u32::MAX;
        };
        let publishers = u64::from(self.scenario.publishers);
        let more = u64::from(u64::from(publisher) < messages % publishers);
        (messages / publishers + more) as u32
    }

    /// Says that a publisher has sent so many messages.
    #[inline]
    pub(crate) fn set_sent(&self, publisher: u32, count: u32) {
        self.sent[publisher as usize].store(count, Ordering::Release);
    }

    /// Whether such a message was sent.
    #[inline]
    pub(crate) fn was_sent(&self, stamp: Stamp) -> bool {
        let sent = self.sent.get(stamp.publisher as usize);
        sent.is_some_and(|count| stamp.sequence < count.load(Ordering::Acquire))
    }

    /// Deliveries (or connections) of the whole run; None where only the time ends it.
    pub(crate) fn expected(&self) -> Option<u64> {
        let scenario = &self.scenario;
        match scenario.kind {
            Kind::Idle => Some(u64::from(scenario.connections)),
            _ if scenario.duration_seconds > 0.0 => None,
            Kind::Connect => Some(scenario.messages),
            Kind::Retained => Some(scenario.messages * u64::from(scenario.subscribers)),
            Kind::Publish => Some(self.expected_deliveries),
        }
    }

    /// When a message is due, nanoseconds after the first; only where there is a rate.
    pub(crate) fn due(&self, publisher: u32, sequence: u32) -> u64 {
        let number =
            u64::from(sequence) * u64::from(self.scenario.publishers) + u64::from(publisher);
        self.due_number(number)
    }

    /// The same for the n-th message of all publishers together.
    pub(crate) fn due_number(&self, number: u64) -> u64 {
        (number as f64 * 1e9 / self.scenario.rate) as u64
    }

    /// How many messages are due so many nanoseconds after the first.
    pub(crate) fn due_count(&self, elapsed: u64) -> u64 {
        (elapsed as f64 * self.scenario.rate / 1e9) as u64 + 1
    }

    /// The topic of a message, an index below `scenario.topics`.
    #[inline]
    pub(crate) fn topic(&self, publisher: u32, sequence: u32) -> u32 {
        if self.scenario.mixed {
            return (spread(publisher, sequence) as u32) % self.scenario.topics;
        }
        publisher % self.scenario.topics
    }

    /// Bytes of a message's payload.
    #[inline]
    pub(crate) fn payload_len(&self, publisher: u32, sequence: u32) -> usize {
        let (smallest, largest) = self.scenario.payload_sizes();
        if smallest == largest {
            return smallest as usize;
        }
        let drawn = (spread(publisher, sequence) >> 32) as u32;
        (smallest + drawn % (largest - smallest + 1)) as usize
    }

    /// Whether all of a publisher's messages look alike but for their stamps.
    pub(crate) fn is_uniform(&self) -> bool {
        let (smallest, largest) = self.scenario.payload_sizes();
        !self.scenario.mixed && !self.retained && smallest == largest
    }

    /// Appends the topic name of a message, its length in front.
    #[inline]
    pub(crate) fn put_topic(&self, publisher: u32, sequence: u32, out: &mut Vec<u8>) {
        if !self.retained {
            let topic = self.topic(publisher, sequence) as usize;
            return out.extend_from_slice(&self.topics[topic]);
        }
        let number =
            u64::from(sequence) * u64::from(self.scenario.publishers) + u64::from(publisher);
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        let (level, leaf) = (number / RETAINED_PER_LEVEL, number % RETAINED_PER_LEVEL);
        // Writing to a Vec does not fail.
        let _ = write!(out, "{}/{level}/{leaf}", self.scenario.prefix);
        let len = (out.len() - at - 2) as u16;
        out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }

    /// Whether a message has come under the topic name it was published to.
    #[inline]
    pub(crate) fn is_topic(&self, stamp: Stamp, name: &[u8]) -> bool {
        if !self.retained {
            let topic = self.topic(stamp.publisher, stamp.sequence) as usize;
            return self.topics[topic][2..] == *name;
        }
        let mut wanted = Vec::with_capacity(name.len() + 8);
        self.put_topic(stamp.publisher, stamp.sequence, &mut wanted);
        wanted[2..] == *name
    }

    /// How many subscribers take a topic.
    pub(crate) fn fan_out(&self, topic: u32) -> u32 {
        let Scenario {
            subscribers,
            topics,
            wildcard,
            ..
        } = self.scenario;
        if self.retained {
            return 0;
        }
        if wildcard {
            return subscribers;
        }
        if topics > subscribers {
            return subscribers.min(1);
        }
        subscribers / topics + u32::from(topic < subscribers % topics)
    }

    /// The filters of a subscriber.
    pub(crate) fn filters(&self, subscriber: u32) -> Vec<String> {
        let Scenario {
            subscribers,
            topics,
            prefix,
            ..
        } = &self.scenario;
        if self.scenario.wildcard || self.retained {
            return vec![format!("{prefix}/#")];
        }
        if topics <= subscribers {
            return vec![format!("{prefix}/{}", subscriber % topics)];
        }
        let share = (subscriber..*topics).step_by(*subscribers as usize);
        share.map(|topic| format!("{prefix}/{topic}")).collect()
    }

    /// The filters of the n-th session of a connect run.
    pub(crate) fn session_filters(&self, session: u64) -> Vec<String> {
        let Scenario {
            filters,
            topics,
            prefix,
            ..
        } = &self.scenario;
        let first = session * u64::from(*filters);
        let numbers = first..first + u64::from(*filters);
        numbers
            .map(|number| format!("{prefix}/{}", number % u64::from(*topics)))
            .collect()
    }

    /// Whether a subscriber has a filter for the topic.
    #[inline]
    pub(crate) fn takes(&self, subscriber: u32, topic: u32) -> bool {
        let Scenario {
            subscribers,
            topics,
            wildcard,
            ..
        } = self.scenario;
        if wildcard || self.retained {
            return true;
        }
        if topics <= subscribers {
            return subscriber % topics == topic;
        }
        topic % subscribers == subscriber
    }

    /// How many publishers may reach one subscriber, at most.
    pub(crate) fn lanes(&self) -> u32 {
        match self.lane_shape() {
            None => self.scenario.publishers,
            Some(width) => self.scenario.publishers.div_ceil(self.scenario.topics) * width,
        }
    }

    /// A publisher's place among those that may reach the subscribers of its topic.
    #[inline]
    pub(crate) fn lane(&self, publisher: u32) -> u32 {
        let Some(width) = self.lane_shape() else {
            return publisher;
        };
        let (round, topic) = (
            publisher / self.scenario.topics,
            publisher % self.scenario.topics,
        );
        if width == 1 {
            return round;
        }
        round * width + topic / self.scenario.subscribers
    }

    /// Topics each subscriber takes; None where every publisher may reach every one.
    #[inline]
    fn lane_shape(&self) -> Option<u32> {
        let Scenario {
            subscribers,
            topics,
            wildcard,
            mixed,
            ..
        } = self.scenario;
        if wildcard || mixed || self.retained || subscribers == 0 {
            return None;
        }
        Some(topics.div_ceil(subscribers).max(1))
    }

    /// How many orders a subscriber tells apart (see `receipts`); none of retained
    /// messages, which come in whatever order the broker keeps them.
    pub(crate) fn orders(&self) -> usize {
        if self.retained {
            return 0;
        }
        if self.scenario.mixed {
            return self.scenario.publishers as usize * self.scenario.topics as usize;
        }
        self.lanes() as usize
    }

    /// The order a message belongs to.
    #[inline]
    pub(crate) fn order(&self, stamp: Stamp) -> Option<usize> {
        if self.retained {
            return None;
        }
        if !self.scenario.mixed {
            return Some(self.lane(stamp.publisher) as usize);
        }
        let topic = self.topic(stamp.publisher, stamp.sequence) as usize;
        Some(stamp.publisher as usize * self.scenario.topics as usize + topic)
    }
}

fn on_the_wire(topic: &str) -> Box<[u8]> {
    let mut bytes = (topic.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(topic.as_bytes());
    bytes.into()
}

/// Well-mixed bits of a message's number (the finalizer of SplitMix64): the same on
/// either end, so that topic and size need not travel.
#[inline]
fn spread(publisher: u32, sequence: u32) -> u64 {
    let mut bits =
        (u64::from(publisher) << 32 | u64::from(sequence)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(change: impl FnOnce(&mut Scenario)) -> Plan {
        let mut scenario = Scenario::default();
        change(&mut scenario);
        Plan::new(scenario, 1)
    }

    /// Fan-out by its meaning: how many subscribers have a filter for the topic.
    fn takers(plan: &Plan, topic: u32) -> u32 {
        let name = format!("load/{topic}");
        let takes = |subscriber: u32| {
            let filters = plan.filters(subscriber);
            filters
                .iter()
                .filter(|filter| **filter == name || *filter == "load/#")
                .count() as u32
        };
        (0..plan.scenario.subscribers).map(takes).sum()
    }

    #[test]
    fn fan_out_is_the_number_of_subscribers_with_such_a_filter() {
        for (subscribers, topics) in [
            (1, 1),
            (100, 1),
            (10, 10),
            (10, 1_000),
            (7, 3),
            (0, 3),
            (3, 7),
        ] {
            for wildcard in [false, true] {
                let plan = plan(|s| {
                    s.subscribers = subscribers;
                    s.topics = topics;
                    s.wildcard = wildcard;
                });
                for topic in 0..topics {
                    assert_eq!(
                        plan.fan_out(topic),
                        takers(&plan, topic),
                        "{subscribers} {topics}"
                    );
                }
            }
        }
    }

    #[test]
    fn publishers_that_reach_one_subscriber_have_lanes_of_their_own() {
        for (publishers, subscribers, topics) in [(10, 10, 10), (50, 1, 50), (7, 3, 10), (9, 4, 2)]
        {
            for wildcard in [false, true] {
                let plan = plan(|s| {
                    s.publishers = publishers;
                    s.subscribers = subscribers;
                    s.topics = topics;
                    s.wildcard = wildcard;
                });
                for subscriber in 0..subscribers {
                    let reaches =
                        |publisher: &u32| plan.takes(subscriber, plan.topic(*publisher, 0));
                    let lanes: Vec<u32> = (0..publishers)
                        .filter(reaches)
                        .map(|publisher| plan.lane(publisher))
                        .collect();
                    let different: std::collections::BTreeSet<_> = lanes.iter().collect();
                    assert_eq!(different.len(), lanes.len());
                    assert!(lanes.iter().all(|lane| *lane < plan.lanes()));
                }
            }
        }
    }

    #[test]
    fn a_subscriber_takes_the_topics_it_has_filters_for() {
        for (subscribers, topics) in [(1, 1), (10, 10), (7, 3), (3, 7), (4, 9)] {
            let plan = plan(|s| {
                s.subscribers = subscribers;
                s.topics = topics;
            });
            for subscriber in 0..subscribers {
                let filters = plan.filters(subscriber);
                for topic in 0..topics {
                    let has = filters.contains(&format!("load/{topic}"));
                    assert_eq!(plan.takes(subscriber, topic), has);
                }
            }
        }
    }

    #[test]
    fn quotas_add_up_to_the_messages() {
        let plan = plan(|s| {
            s.publishers = 7;
            s.messages = 1_000;
        });
        assert_eq!(
            (0..7).map(|publisher| plan.quota(publisher)).sum::<u32>(),
            1_000
        );
    }

    #[test]
    fn mixed_messages_reach_all_topics_and_sizes() {
        let plan = plan(|s| {
            s.mixed = true;
            s.topics = 100;
            s.payload_bytes = 16;
            s.max_payload_bytes = 200;
        });
        let mut topics = [0; 100];
        let mut sizes = [0; 201];
        for sequence in 0..100_000 {
            topics[plan.topic(0, sequence) as usize] += 1;
            sizes[plan.payload_len(0, sequence)] += 1;
        }
        assert!(topics.iter().all(|count| (800..1_200).contains(count)));
        assert!(sizes[..16].iter().all(|count| *count == 0));
        assert!(sizes[16..].iter().all(|count| (400..700).contains(count)));
    }

    #[test]
    fn a_retained_topic_has_its_length_in_front() {
        let plan = plan(|s| {
            s.kind = Kind::Retained;
            s.publishers = 2;
        });
        let mut topic = Vec::new();
        plan.put_topic(1, 1_000, &mut topic);
        assert_eq!(topic, b"\x00\x08load/2/1");
    }

    #[test]
    fn client_identifiers_fit_3_1() {
        let plan = plan(|_| ());
        assert!(plan.client_identifier('s', 4_294_967_295).len() <= 23);
    }

    #[test]
    fn only_what_was_sent_may_come_back() {
        let plan = plan(|s| s.publishers = 2);
        plan.set_sent(1, 5);
        let stamp = |publisher, sequence| Stamp {
            due: 0,
            publisher,
            sequence,
        };
        assert!(plan.was_sent(stamp(1, 4)));
        assert!(!plan.was_sent(stamp(1, 5)));
        assert!(!plan.was_sent(stamp(0, 0)));
        assert!(!plan.was_sent(stamp(2, 0)));
    }
}
