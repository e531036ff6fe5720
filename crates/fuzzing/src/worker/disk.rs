//! A store as the workers see it: what has been committed, and nothing else.

use std::collections::BTreeMap;

use noctule_broker::{Change, QueueRequest, Record, Records, Restorer, Space};

type Key = (u8, Vec<u8>);

#[derive(Default)]
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
        let value = record.value.to_vec();
        match record.change {
            Change::Put => drop(self.values.insert(key, value)),
            Change::Delete => drop(self.values.remove(&key)),
            Change::Append => drop(self.entries.insert((key, record.sequence), value)),
            Change::Remove => drop(self.entries.remove(&(key, record.sequence))),
            Change::Clear => self.entries.retain(|(each, _), _| *each != key),
            Change::DeletePrefix => {
                let begins = |each: &Key| each.0 == key.0 && each.1.starts_with(&key.1);
                self.values.retain(|each, _| !begins(each));
                self.entries.retain(|(each, _), _| !begins(each));
            }
        }
    }

    /// What workers begin with, in the order that they want.
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
    fn iter(&self) -> impl Iterator<Item = (u8, &[u8], u64, &[u8])> {
        let values = self.values.iter();
        let values = values.map(|((space, key), value)| (*space, &key[..], 0, &value[..]));
        let entries = self.entries.iter();
        let entries = entries
            .map(|(((space, key), sequence), value)| (*space, &key[..], *sequence, &value[..]));
        values.chain(entries)
    }
}

/// Whether a message is among the records that somebody waits for: the sessions' ids say.
pub fn promises_message(records: &Records) -> bool {
    let is_message =
        |each: &Record<'_>| each.change == Change::Append && each.space == Space::Queue;
    let is_awaited = |each: &Record<'_>| each.key.first().is_some_and(|first| first & 0x80 == 0);
    records
        .iter()
        .any(|each| is_message(&each) && is_awaited(&each))
}
