//! Timers by the hundred thousand: a hashed wheel, never a scan of connections.

use crate::time::Time;

/// Width of a place, in microseconds.
const TICK_MICROS: u64 = 1 << 16;
const PLACES: usize = 1_024;

/// Things to be looked at when their time comes. Nothing is ever cancelled: who
/// is named by a timer that no longer matters ignores it.
pub(crate) struct Wheel<T> {
    places: Vec<Vec<(Time, T)>>,
    /// The next place to look at, counted from the beginning of time.
    cursor: u64,
    len: usize,
}

impl<T: Copy> Wheel<T> {
    pub fn new() -> Wheel<T> {
        Wheel {
            places: (0..PLACES).map(|_| Vec::new()).collect(),
            cursor: 0,
            len: 0,
        }
    }

    pub fn insert(&mut self, due: Time, timer: T) {
        if due == Time::NEVER {
            return;
        }
        let tick = (due.0 / TICK_MICROS).max(self.cursor);
        self.places[tick as usize % PLACES].push((due, timer));
        self.len += 1;
    }

    /// Takes out everything due by `now`, into `due`.
    pub fn advance(&mut self, now: Time, due: &mut Vec<T>) {
        let target = now.0 / TICK_MICROS;
        if self.len == 0 {
            self.cursor = target;
            return;
        }
        // More than one turn of the wheel looks at every place once.
        let mut left = (target + 1 - self.cursor.min(target + 1)).min(PLACES as u64);
        let mut tick = self.cursor;
        while left > 0 {
            let place = &mut self.places[tick as usize % PLACES];
            let before = place.len();
            place.retain(|&(when, timer)| {
                if when <= now {
                    due.push(timer);
                }
                when > now
            });
            self.len -= before - place.len();
            // What a flood has left behind is given back.
            if place.capacity() > 64 && place.len() < place.capacity() / 4 {
                place.shrink_to(64.max(place.len() * 2));
            }
            tick += 1;
            left -= 1;
        }
        // The place of this very moment may hold what is due a little later.
        self.cursor = target;
    }

    /// When to call `advance` next: not later than the first timer is due, give
    /// or take a place's width.
    pub fn next_due(&self) -> Option<Time> {
        if self.len == 0 {
            return None;
        }
        for ahead in 0..PLACES as u64 {
            let tick = self.cursor + ahead;
            let place = &self.places[tick as usize % PLACES];
            let in_this_turn = |&&(when, _): &&(Time, T)| when.0 / TICK_MICROS <= tick;
            if let Some(first) = place
                .iter()
                .filter(in_this_turn)
                .map(|&(when, _)| when)
                .min()
            {
                return Some(first);
            }
        }
        Some(Time((self.cursor + PLACES as u64) * TICK_MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_once_at_their_time_near_and_far() {
        let mut wheel = Wheel::new();
        let dues = [
            0,
            1,
            70_000,
            1_000_000,
            90_000_000,
            4_000_000_000,
            4_000_000_001,
        ];
        for due in dues {
            wheel.insert(Time(due), due);
        }
        let mut now = Time(0);
        let mut seen = Vec::new();
        while let Some(next) = wheel.next_due() {
            now = now.max(next);
            let mut due = Vec::new();
            wheel.advance(now, &mut due);
            due.iter().for_each(|&when| assert!(when <= now.0));
            seen.extend(due);
        }
        seen.sort_unstable();
        assert_eq!(seen, dues);
    }

    #[test]
    fn a_long_sleep_loses_no_timer() {
        let mut wheel = Wheel::new();
        (0..1000_u64).for_each(|each| wheel.insert(Time(each * 777_777), each));
        let mut due = Vec::new();
        wheel.advance(Time(u64::MAX / 2), &mut due);
        assert_eq!(due.len(), 1000);
        assert!(wheel.next_due().is_none());
    }

    #[test]
    fn a_timer_set_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.advance(Time(10_000_000), &mut due);
        wheel.insert(Time(5), 1);
        assert!(
            wheel
                .next_due()
                .is_some_and(|next| next <= Time(10_000_000))
        );
        wheel.advance(Time(10_000_000), &mut due);
        assert_eq!(due, [1]);
    }
}
