//! Timers by the hundred thousand: a hashed wheel, never a scan of connections.

use crate::time::Time;

/// Width of a place, in microseconds.
const TICK_MICROS: u64 = 1 << 16;
const PLACES: usize = 1_024;
const WORDS: usize = PLACES / 64;

/// Things to be looked at when their time comes. Nothing is ever cancelled: who
/// is named by a timer that no longer matters ignores it. One that is far off goes
/// when the wheel comes past and it no longer matters.
pub(crate) struct Wheel<T> {
    /// In groups of 64; those of a group are made when the first is used.
    places: [Vec<Vec<(Time, T)>>; WORDS],
    /// Which places hold anything, a bit each.
    occupied: [u64; WORDS],
    /// The next place to look at, counted from the beginning of time.
    cursor: u64,
    len: usize,
}

impl<T: Copy> Wheel<T> {
    pub fn new() -> Wheel<T> {
        Wheel {
            places: [const { Vec::new() }; WORDS],
            occupied: [0; WORDS],
            cursor: 0,
            len: 0,
        }
    }

    pub fn insert(&mut self, due: Time, timer: T) {
        if due == Time::NEVER {
            return;
        }
        let tick = (due.0 / TICK_MICROS).max(self.cursor);
        let place = tick as usize % PLACES;
        let group = &mut self.places[place / 64];
        if group.is_empty() {
            group.resize_with(64, Vec::new);
        }
        group[place % 64].push((due, timer));
        self.occupied[place / 64] |= 1 << (place % 64);
        self.len += 1;
    }

    /// Takes out everything due by `now`, into `due`, and what it passes by and is not alive.
    pub fn advance(&mut self, now: Time, due: &mut Vec<T>, is_alive: impl Fn(T) -> bool) {
        let target = now.0 / TICK_MICROS;
        if self.len == 0 {
            self.cursor = target;
            return;
        }
        // More than one turn of the wheel looks at every place once.
        let end = (target + 1).min(self.cursor + PLACES as u64);
        let mut tick = self.cursor;
        while let Some(next) = self.next_occupied(tick).filter(|&next| next < end) {
            self.take_due(next as usize % PLACES, now, due, &is_alive);
            tick = next + 1;
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
        let end = self.cursor + PLACES as u64;
        let mut tick = self.cursor;
        while let Some(next) = self.next_occupied(tick).filter(|&next| next < end) {
            let number = next as usize % PLACES;
            let place = self.places[number / 64][number % 64].iter();
            let in_this_turn = place.filter(|(when, _)| when.0 / TICK_MICROS <= next);
            if let Some(first) = in_this_turn.map(|&(when, _)| when).min() {
                return Some(first);
            }
            tick = next + 1;
        }
        Some(Time(end * TICK_MICROS))
    }

    /// The first tick from this one on whose place holds anything, within one turn.
    fn next_occupied(&self, tick: u64) -> Option<u64> {
        let start = tick as usize % PLACES;
        let (word, bit) = (start / 64, start % 64);
        let here = self.occupied[word] >> bit;
        if here != 0 {
            return Some(tick + u64::from(here.trailing_zeros()));
        }
        // Round to the bits before `start` in its own word.
        (1..=WORDS).find_map(|step| {
            let bits = self.occupied[(word + step) % WORDS];
            let ahead = (step * 64 - bit) as u64 + u64::from(bits.trailing_zeros());
            (bits != 0).then_some(tick + ahead)
        })
    }

    fn take_due(
        &mut self,
        number: usize,
        now: Time,
        due: &mut Vec<T>,
        is_alive: &impl Fn(T) -> bool,
    ) {
        let place = &mut self.places[number / 64][number % 64];
        let before = place.len();
        place.retain(|&(when, timer)| {
            if when <= now {
                due.push(timer);
            }
            when > now && is_alive(timer)
        });
        self.len -= before - place.len();
        if place.is_empty() {
            self.occupied[number / 64] &= !(1 << (number % 64));
        }
        // What a flood has left behind is given back.
        if place.capacity() > 64 && place.len() < place.capacity() / 4 {
            place.shrink_to(64.max(place.len() * 2));
        }
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
            wheel.advance(now, &mut due, |_| true);
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
        wheel.advance(Time(u64::MAX / 2), &mut due, |_| true);
        assert_eq!(due.len(), 1000);
        assert!(wheel.next_due().is_none());
    }

    #[test]
    fn a_timer_set_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.advance(Time(10_000_000), &mut due, |_| true);
        wheel.insert(Time(5), 1);
        assert!(
            wheel
                .next_due()
                .is_some_and(|next| next <= Time(10_000_000))
        );
        wheel.advance(Time(10_000_000), &mut due, |_| true);
        assert_eq!(due, [1]);
    }

    #[test]
    fn what_is_far_off_and_dead_is_forgotten_when_the_wheel_comes_past() {
        let mut wheel = Wheel::new();
        let a_day = Time(0).after_seconds(86_400);
        (0..1_000).for_each(|each| wheel.insert(a_day, each));
        let mut due = Vec::new();
        let mut now = Time(0);
        while wheel.len > 10 {
            now = wheel.next_due().unwrap();
            wheel.advance(now, &mut due, |each| each % 100 == 0);
        }
        assert!(due.is_empty() && now < Time(0).after_seconds(140));
        wheel.advance(a_day, &mut due, |_| false);
        assert_eq!(due.len(), 10);
    }
}
