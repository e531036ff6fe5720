//! A table whose places are used again, with a generation for each place.

/// Values at dense indices; a removed one's index is given out again with
/// another generation.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Generations fit the epoch of a session key.
const GENERATION_MASK: u32 = (1 << 24) - 1;

impl<T> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Index and generation of the place the next `insert` will fill.
    pub fn vacant(&self) -> (u32, u32) {
        match self.free.last() {
            Some(&index) => (index, self.places[index as usize].generation),
            None => (self.places.len() as u32, 0),
        }
    }

    pub fn insert(&mut self, value: T) -> (u32, u32) {
        self.len += 1;
        let (index, generation) = self.vacant();
        if self.free.pop().is_some() {
            self.places[index as usize].value = Some(value);
        } else {
            self.places.push(Place {
                generation,
                value: Some(value),
            });
        }
        (index, generation)
    }

    #[inline]
    pub fn get(&self, index: usize, generation: u32) -> Option<&T> {
        let place = self.places.get(index)?;
        if place.generation == generation {
            place.value.as_ref()
        } else {
            None
        }
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize, generation: u32) -> Option<&mut T> {
        let place = self.places.get_mut(index)?;
        if place.generation == generation {
            place.value.as_mut()
        } else {
            None
        }
    }

    pub fn remove(&mut self, index: usize, generation: u32) -> Option<T> {
        let place = self.places.get_mut(index)?;
        if place.generation != generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(index as u32);
        self.len -= 1;
        Some(value)
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.value.as_ref())
    }

    /// Index and generation of every value.
    pub fn keys(&self) -> Vec<(u32, u32)> {
        let place = |(index, place): (usize, &Place<T>)| {
            place
                .value
                .as_ref()
                .map(|_| (index as u32, place.generation))
        };
        self.places.iter().enumerate().filter_map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_used_again_does_not_answer_to_its_old_generation() {
        let mut slab = Slab::new();
        let (index, generation) = slab.insert("first");
        assert_eq!(slab.remove(index as usize, generation), Some("first"));
        let (again, newer) = slab.insert("second");
        assert_eq!(index, again);
        assert_eq!(slab.get(index as usize, generation), None);
        assert_eq!(slab.get(index as usize, newer), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }
}
