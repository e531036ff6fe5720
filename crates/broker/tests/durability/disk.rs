//! A store as the broker sees it: what has been committed, and nothing else.

use std::collections::BTreeMap;

use noctule_broker::{Change, Record, Records, Space};

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

    /// Loses all of a space.
    pub fn lose(&mut self, space: Space) {
        self.values.retain(|each, _| each.0 != space as u8);
        self.entries.retain(|(each, _), _| each.0 != space as u8);
    }
}
