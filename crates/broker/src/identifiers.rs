//! The packet identifiers of QoS 2 messages a client has begun and not released.

/// Up to here a search through the list is quicker than a map would be.
const LIST_LENGTH: usize = 64;

/// A set of packet identifiers: a list while it is short, a bitmap after that.
#[derive(Debug, Default)]
pub(crate) struct Identifiers {
    list: Vec<u16>,
    map: Option<Box<[u64; 1024]>>,
    len: usize,
}

impl Identifiers {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn contains(&self, identifier: u16) -> bool {
        match &self.map {
            Some(map) => map[usize::from(identifier) / 64] >> (identifier % 64) & 1 == 1,
            None => self.list.contains(&identifier),
        }
    }

    /// Adds an identifier that is not in the set.
    pub fn insert(&mut self, identifier: u16) {
        self.len += 1;
        if self.map.is_none() && self.list.len() < LIST_LENGTH {
            self.list.push(identifier);
            return;
        }
        let map = self.map.get_or_insert_with(|| {
            let mut map = Box::new([0; 1024]);
            self.list.drain(..).for_each(|each| set(&mut map, each));
            map
        });
        set(map, identifier);
    }

    /// Takes an identifier out; false if it was not in.
    pub fn remove(&mut self, identifier: u16) -> bool {
        if !self.contains(identifier) {
            return false;
        }
        self.len -= 1;
        match &mut self.map {
            Some(map) => map[usize::from(identifier) / 64] &= !(1 << (identifier % 64)),
            None => self.list.retain(|&each| each != identifier),
        }
        if self.len == 0 {
            self.map = None;
        }
        true
    }
}

fn set(map: &mut [u64; 1024], identifier: u16) {
    map[usize::from(identifier) / 64] |= 1 << (identifier % 64);
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
