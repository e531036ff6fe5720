//! The packet identifiers of QoS 2 messages a client has begun and not released.

/// Up to here a search through the list is quicker than a map would be.
const LIST_LENGTH: usize = 64;

/// A set of packet identifiers: a list while it is short, a bitmap after that.
#[derive(Debug, Default)]
pub(crate) struct Identifiers {
    list: Vec<u16>,
    map: Option<Box<Map>>,
}

#[derive(Debug)]
struct Map {
    bits: [u64; 1024],
    len: usize,
}

impl Map {
    fn insert(&mut self, identifier: u16) {
        self.bits[usize::from(identifier) / 64] |= 1 << (identifier % 64);
        self.len += 1;
    }

    fn remove(&mut self, identifier: u16) {
        self.bits[usize::from(identifier) / 64] &= !(1 << (identifier % 64));
        self.len -= 1;
    }
}

impl Identifiers {
    pub fn len(&self) -> usize {
        self.map.as_ref().map_or(self.list.len(), |map| map.len)
    }

    pub fn contains(&self, identifier: u16) -> bool {
        match &self.map {
            Some(map) => map.bits[usize::from(identifier) / 64] >> (identifier % 64) & 1 == 1,
            None => self.list.contains(&identifier),
        }
    }

    /// Adds an identifier that is not in the set.
    pub fn insert(&mut self, identifier: u16) {
        if self.map.is_none() && self.list.len() < LIST_LENGTH {
            self.list.push(identifier);
            return;
        }
        let map = self.map.get_or_insert_with(|| {
            let mut map = Box::new(Map {
                bits: [0; 1024],
                len: 0,
            });
            self.list.drain(..).for_each(|each| map.insert(each));
            map
        });
        map.insert(identifier);
    }

    /// Takes an identifier out; false if it was not in.
    pub fn remove(&mut self, identifier: u16) -> bool {
        if !self.contains(identifier) {
            return false;
        }
        match &mut self.map {
            Some(map) => map.remove(identifier),
            None => self.list.retain(|&each| each != identifier),
        }
        if self.map.as_ref().is_some_and(|map| map.len == 0) {
            self.map = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_identifiers_go_in_and_out() {
        let mut set = Identifiers::default();
        for identifier in 1..=u16::MAX {
            assert!(!set.contains(identifier));
            set.insert(identifier);
            assert!(set.contains(identifier));
        }
        assert_eq!(set.len(), 65_535);
        for identifier in 1..=u16::MAX {
            assert!(set.remove(identifier));
            assert!(!set.remove(identifier));
        }
        assert_eq!(set.len(), 0);
    }
}
