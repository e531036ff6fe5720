//! What a worker remembers of the routes it used.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::Route;
use crate::shared::Shared;

/// Topics whose routes a worker remembers, at first and at most. Each may be at some places
/// next to one another. Where those are taken there are to be more; from the most on topics
/// take turns, so memory is bounded.
const FEWEST_PLACES: usize = 32;
const MOST_PLACES: usize = 8_192;
const CHOICES: usize = 4;

/// The routes one worker used last, each as old as the subscriptions it was
/// made from: a look-up is a hash, a comparison and a number that stands still.
pub(crate) struct RouteCache {
    places: Box<[Option<Cached>]>,
    state: FixedState,
}

struct Cached {
    hash: u64,
    topic: Box<[u8]>,
    /// The count of all changes when `stamp` was last compared.
    changes: u64,
    stamp: u64,
    /// Lent out while a message is delivered.
    route: Option<Arc<Route>>,
}

/// What the cache says of a topic before it is known to be valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    hash: u64,
    /// Where it is; [`NOWHERE`]. Not an `Option` for speed: as two words it is returned in
    /// registers (`make instructions`).
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Seen {
    /// Whether this very topic has been routed before, and so is a valid name.
    #[inline]
    pub fn before(self) -> bool {
        self.place != NOWHERE
    }
}

/// A route, to be given back.
pub(crate) struct Lent {
    pub route: Arc<Route>,
    place: u32,
    /// Whether the cache had it.
    pub hit: bool,
}

impl RouteCache {
    pub fn new() -> RouteCache {
        RouteCache {
            places: vacant(FEWEST_PLACES),
            state: FixedState::with_seed(0x6e6f_6374_756c_6521),
        }
    }

    #[inline]
    pub fn look(&self, topic: &[u8]) -> Seen {
        let hash = self.state.hash_one(topic);
        let first = self.first_choice(hash);
        let is_it = |place: &Option<Cached>| {
            let cached = place.as_ref();
            cached.is_some_and(|cached| cached.hash == hash && *cached.topic == *topic)
        };
        let found = self.places[first..first + CHOICES].iter().position(is_it);
        let place = found.map_or(NOWHERE, |choice| (first + choice) as u32);
        Seen { hash, place }
    }

    /// The route of a valid topic name that `look` has just seen.
    #[inline]
    pub fn lend(&mut self, shared: &Shared, topic: &[u8], seen: Seen) -> Lent {
        let changes = shared.subscriptions.generations.changes();
        if let Some(Some(cached)) = self.places.get_mut(seen.place as usize)
            && cached.changes == changes
            && let Some(route) = cached.route.take()
        {
            let (place, hit) = (seen.place, true);
            return Lent { route, place, hit };
        }
        self.refresh(shared, topic, seen, changes)
    }

    fn refresh(&mut self, shared: &Shared, topic: &[u8], seen: Seen, changes: u64) -> Lent {
        // Stamped before the look-up: a change in between makes it old at once.
        let name = std::str::from_utf8(topic).unwrap_or_default();
        let stamp = shared.subscriptions.generations.stamp(name);
        if let Some(Some(cached)) = self.places.get_mut(seen.place as usize) {
            cached.changes = changes;
            if cached.stamp == stamp
                && let Some(route) = cached.route.take()
            {
                let (place, hit) = (seen.place, true);
                return Lent { route, place, hit };
            }
            cached.stamp = stamp;
            return Lent {
                route: Arc::new(shared.route(name)),
                place: seen.place,
                hit: false,
            };
        }
        let place = self.make_room(seen.hash);
        self.places[place] = Some(Cached {
            hash: seen.hash,
            topic: topic.into(),
            changes,
            stamp,
            route: None,
        });
        Lent {
            route: Arc::new(shared.route(name)),
            place: place as u32,
            hit: false,
        }
    }

    #[inline]
    pub fn give_back(&mut self, seen: Seen, lent: Lent) {
        if let Some(cached) = &mut self.places[lent.place as usize]
            && cached.hash == seen.hash
        {
            cached.route = Some(lent.route);
        }
    }

    /// The number of places is a power of two.
    #[inline]
    fn first_choice(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - CHOICES)
    }

    /// A place for a topic that has none.
    #[cold]
    fn make_room(&mut self, hash: u64) -> usize {
        loop {
            let first = self.first_choice(hash);
            let mut choices = first..first + CHOICES;
            if let Some(vacant) = choices.find(|&place| self.places[place].is_none()) {
                return vacant;
            }
            if self.places.len() >= MOST_PLACES {
                return first + (hash >> 32) as usize % CHOICES;
            }
            self.grow();
        }
    }

    /// Whoever had a place has one: those of one choice fall on as many.
    fn grow(&mut self) {
        let more = vacant(self.places.len() * 4);
        let before = std::mem::replace(&mut self.places, more);
        for cached in before.into_iter().flatten() {
            let place = self.make_room(cached.hash);
            self.places[place] = Some(cached);
        }
    }
}

fn vacant(places: usize) -> Box<[Option<Cached>]> {
    (0..places).map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn a_few_thousand_topics_have_a_route_each_and_any_number_no_more_places() {
        let shared = Shared::new(Options::default(), 1, 7);
        let mut cache = RouteCache::new();
        let mut look_up = |topic: String| {
            let seen = cache.look(topic.as_bytes());
            let lent = cache.lend(&shared, topic.as_bytes(), seen);
            let known = lent.hit;
            cache.give_back(seen, lent);
            (known, cache.places.len())
        };
        for topics in [100, 1_000, 2_000] {
            for topic in 0..topics {
                look_up(format!("{topics}/{topic}"));
            }
            let known = (0..topics).filter(|topic| look_up(format!("{topics}/{topic}")).0);
            assert!(known.count() * 100 > topics * 95);
        }
        for topic in 0..50_000 {
            assert!(look_up(format!("many/{topic}")).1 <= MOST_PLACES);
        }
    }
}
