//! Topic aliases: names for topics that last as long as a connection (MQTT 5.0 §3.3.2.3.4).

use hashbrown::HashMap;

use crate::message::AliasUse;

/// What a client's aliases stand for.
#[derive(Debug, Default)]
pub(crate) struct IncomingAliases {
    topics: Vec<Option<Box<[u8]>>>,
}

impl IncomingAliases {
    /// `alias` is from 1 and within the maximum that was announced.
    pub fn set(&mut self, alias: u16, topic: &[u8]) {
        let place = usize::from(alias);
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        match &self.topics[place] {
            Some(known) if **known == *topic => {}
            _ => self.topics[place] = Some(topic.into()),
        }
    }

    pub fn topic(&self, alias: u16) -> Option<&[u8]> {
        self.topics.get(usize::from(alias))?.as_deref()
    }
}

/// The aliases we set towards a client; the one least recently used is set anew.
#[derive(Debug)]
pub(crate) struct OutgoingAliases {
    maximum: u16,
    by_topic: HashMap<Box<[u8]>, u16>,
    /// By alias, from 1; place 0 holds the ends of the order of use.
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    topic: Box<[u8]>,
    newer: u16,
    older: u16,
}

impl OutgoingAliases {
    /// `None` if the client takes no aliases.
    pub fn new(maximum: u16) -> Option<Box<OutgoingAliases>> {
        let aliases = || OutgoingAliases {
            maximum,
            by_topic: HashMap::new(),
            places: vec![Place::default()],
        };
        (maximum > 0).then(|| Box::new(aliases()))
    }

    /// The alias a message of `topic` is to be sent with.
    pub fn assign(&mut self, topic: &[u8]) -> (u16, AliasUse) {
        if let Some(&alias) = self.by_topic.get(topic) {
            self.unlink(alias);
            self.link_newest(alias);
            return (alias, AliasUse::Replaces);
        }
        let alias = if self.places.len() <= usize::from(self.maximum) {
            self.places.push(Place::default());
            (self.places.len() - 1) as u16
        } else {
            let oldest = self.places[0].newer;
            self.unlink(oldest);
            self.by_topic
                .remove(&self.places[usize::from(oldest)].topic);
            oldest
        };
        self.places[usize::from(alias)].topic = topic.into();
        self.by_topic.insert(topic.into(), alias);
        self.link_newest(alias);
        (alias, AliasUse::Sets)
    }

    fn unlink(&mut self, alias: u16) {
        let Place { newer, older, .. } = self.places[usize::from(alias)];
        self.places[usize::from(older)].newer = newer;
        self.places[usize::from(newer)].older = older;
    }

    /// Place 0's `older` is the newest alias, its `newer` the oldest.
    fn link_newest(&mut self, alias: u16) {
        let newest = self.places[0].older;
        self.places[usize::from(alias)].older = newest;
        self.places[usize::from(alias)].newer = 0;
        self.places[usize::from(newest)].newer = alias;
        self.places[0].older = alias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_least_recently_used_is_given_to_a_new_topic() {
        let mut aliases = OutgoingAliases::new(2).unwrap();
        assert_eq!(aliases.assign(b"a"), (1, AliasUse::Sets));
        assert_eq!(aliases.assign(b"b"), (2, AliasUse::Sets));
        assert_eq!(aliases.assign(b"a"), (1, AliasUse::Replaces));
        assert_eq!(aliases.assign(b"c"), (2, AliasUse::Sets));
        assert_eq!(aliases.assign(b"a"), (1, AliasUse::Replaces));
        assert_eq!(aliases.assign(b"b"), (2, AliasUse::Sets));
    }

    #[test]
    fn a_client_that_takes_no_alias_gets_none() {
        assert!(OutgoingAliases::new(0).is_none());
    }

    #[test]
    fn a_client_always_resolves_what_we_send() {
        for maximum in [1_u16, 2, 3, 7] {
            let mut ours = OutgoingAliases::new(maximum).unwrap();
            let mut theirs = IncomingAliases::default();
            for round in 0..1_000_u32 {
                let topic = (round.wrapping_mul(2_654_435_761) >> 28).to_string();
                let (alias, usage) = ours.assign(topic.as_bytes());
                assert!((1..=maximum).contains(&alias));
                if usage == AliasUse::Sets {
                    theirs.set(alias, topic.as_bytes());
                }
                assert_eq!(theirs.topic(alias), Some(topic.as_bytes()));
            }
        }
    }
}
