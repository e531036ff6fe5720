//! What is promised to be on disk, by topic and by the listener a session came in through.

use serde::Deserialize;

use crate::options::Options;

/// When an acknowledged message is on disk; what comes later promises more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Never: a restart begins without it.
    Memory,
    /// At the latest one interval later.
    Interval,
    /// Before it is acknowledged.
    #[default]
    Disk,
}

/// What holds for the messages of some topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DurabilityRule {
    pub filter: String,
    pub durability: Durability,
}

/// The bit of a session's durable id that says that nobody waits for its records. It is
/// part of the id, so that every record of the session and every route to it knows.
pub(crate) const UNAWAITED: u64 = 1 << 63;

impl Options {
    /// The most that is promised to anybody: what the store has to do with each commit.
    #[must_use]
    pub fn strictest_durability(&self) -> Durability {
        let of_rules = self.durability_rules.iter().map(|rule| rule.durability);
        let of_listeners = self.listener_durability.iter().flatten().copied();
        of_rules
            .chain(of_listeners)
            .fold(self.durability, Durability::max)
    }

    /// What holds for messages of a topic: the first rule that matches it says so.
    pub(crate) fn durability_of_topic(&self, topic: &str) -> Durability {
        let mut rules = self.durability_rules.iter();
        let found = rules.find(|rule| noctule_topics::matches(&rule.filter, topic));
        found.map_or(self.durability, |rule| rule.durability)
    }

    /// What holds for sessions that begin on a listener.
    pub(crate) fn durability_of_listener(&self, listener: u16) -> Durability {
        let own = self.listener_durability.get(usize::from(listener));
        own.copied().flatten().unwrap_or(self.durability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Disk, Interval, Memory};

    fn rule(filter: &str, durability: Durability) -> DurabilityRule {
        DurabilityRule {
            filter: filter.into(),
            durability,
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let options = Options {
            durability: Interval,
            durability_rules: vec![rule("a/b/#", Disk), rule("a/#", Memory)],
            ..Options::default()
        };
        assert_eq!(options.durability_of_topic("a/b/c"), Disk);
        assert_eq!(options.durability_of_topic("a/c"), Memory);
        assert_eq!(options.durability_of_topic("b"), Interval);
    }

    #[test]
    fn a_store_syncs_if_anything_is_promised_to_be_on_disk() {
        let mut options = Options {
            durability: Memory,
            ..Options::default()
        };
        assert_eq!(options.strictest_durability(), Memory);
        options.listener_durability = vec![None, Some(Interval)];
        assert_eq!(options.strictest_durability(), Interval);
        assert_eq!(options.durability_of_listener(0), Memory);
        assert_eq!(options.durability_of_listener(1), Interval);
        assert_eq!(options.durability_of_listener(u16::MAX), Memory);
        options.durability_rules = vec![rule("a", Disk)];
        assert_eq!(options.strictest_durability(), Disk);
    }
}
