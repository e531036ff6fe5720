//! A store as the broker sees it: what has been committed, and nothing else.

use std::collections::BTreeMap;

use noctule_broker::{Change, QueueRequest, Record, Records, Restorer, Space};

type Key = (u8, Vec<u8>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    values: BTreeMap<Key, Vec<u8>>,
    entries: BTreeMap<(Key, u64), Vec<u8>>,
}

impl Disk {
    pub fn apply(&mut self, records: &Records) {
        records.iter().for_each(|record| self.apply_one(record));
    }

    fn apply_one(&mut self, record: Record<'_>) {
        let key = (record.space as u8, record.key.to_vec());
        match record.change {
            Change::Put => {
                self.values.insert(key, record.value.to_vec());
            }
            Change::Delete => {
                self.values.remove(&key);
            }
            Change::Append => {
                self.entries
                    .insert((key, record.sequence), record.value.to_vec());
            }
            Change::Remove => {
                self.entries.remove(&(key, record.sequence));
            }
            Change::Clear => self.entries.retain(|(each, _), _| *each != key),
            Change::DeletePrefix => {
                let begins = |each: &Key| each.0 == key.0 && each.1.starts_with(&key.1);
                self.values.retain(|each, _| !begins(each));
                self.entries.retain(|(each, _), _| !begins(each));
            }
        }
    }

    /// What a broker begins with, in the order that it wants.
    pub fn restore(&self, restorer: &mut Restorer) {
        for wanted in Restorer::SPACES {
            let in_space = self.iter().filter(|each| each.0 == wanted as u8);
            in_space.for_each(|(space, key, sequence, value)| {
                restorer.add(space, key, sequence, value);
            });
        }
    }

    /// What is there of the messages that a worker wants back.
    pub fn read(&self, request: &QueueRequest) -> Vec<Option<Vec<u8>>> {
        let key = (QueueRequest::SPACE as u8, request.key().to_vec());
        let sequences = request.sequences().iter();
        let values = sequences.map(|&sequence| self.entries.get(&(key.clone(), sequence)));
        values.map(|value| value.cloned()).collect()
    }

    /// Everything: space, key, sequence (0 for a value), value.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8], u64, &[u8])> {
        let values = self
            .values
            .iter()
            .map(|((space, key), value)| (*space, &key[..], 0, &value[..]));
        let entries = self
            .entries
            .iter()
            .map(|(((space, key), sequence), value)| (*space, &key[..], *sequence, &value[..]));
        values.chain(entries)
    }

    /// How many records there are in a space.
    pub fn count(&self, space: Space) -> usize {
        self.iter().filter(|each| each.0 == space as u8).count()
    }

    /// Cuts the first value of a space short.
    pub fn damage(&mut self, space: Space) {
        let mut values = self.values.iter_mut();
        let found = values.find(|((each, _), _)| *each == space as u8);
        found.expect("there is a record to damage").1.truncate(1);
    }

    /// Cuts an entry of a space short, by its place.
    pub fn damage_entry(&mut self, space: Space, place: usize) {
        let entries = self.entries.iter_mut();
        let mut of_space = entries.filter(|(((each, _), _), _)| *each == space as u8);
        of_space
            .nth(place)
            .expect("there is an entry")
            .1
            .truncate(1);
    }

    /// Loses all of a space.
    pub fn lose(&mut self, space: Space) {
        self.values.retain(|each, _| each.0 != space as u8);
        self.entries.retain(|(each, _), _| each.0 != space as u8);
    }
}
