//! How much memory the process holds, and how it gets rid of what it does not need.

use std::time::Duration;

use noctule_broker::Time;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

/// Resident bytes of this process; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

/// Says when the allocator is to give memory back: while the process holds much more than
/// it once did, and soon where clients have let go of much. Where that did not help it is
/// done more and more seldom, for then the memory is in use.
#[derive(Debug)]
pub(crate) struct Trimming {
    lowest: u64,
    /// Resident bytes, and what clients held, when it was done last.
    then: u64,
    held_then: u64,
    earliest: Time,
    next: Time,
    interval: Duration,
}

impl Trimming {
    const SHORTEST: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(60);
    /// While memory is short.
    const URGENT: Duration = Duration::from_millis(500);
    /// What is not worth the trouble.
    const LITTLE_BYTES: u64 = 16 << 20;

    pub fn new() -> Trimming {
        Trimming {
            lowest: u64::MAX,
            then: 0,
            held_then: 0,
            earliest: Time(0),
            next: Time(0),
            interval: Trimming::SHORTEST,
        }
    }

    /// It was due and could not be done: it is due again in a moment.
    pub fn postpone(&mut self, now: Time) {
        self.next = now.after(Trimming::URGENT);
        self.earliest = self.next;
    }

    /// Whether to do it now.
    pub fn is_due(&mut self, resident: u64, held: u64, is_short: bool, now: Time) -> bool {
        self.lowest = self.lowest.min(resident);
        let is_let_go = held + Trimming::LITTLE_BYTES / 4 < self.held_then;
        self.held_then = self.held_then.max(held);
        let due = if is_let_go { self.earliest } else { self.next };
        if now < due {
            return false;
        }
        let is_much = resident > self.lowest + Trimming::LITTLE_BYTES.max(self.lowest / 10);
        if !is_much && !is_short {
            self.interval = Trimming::SHORTEST;
            return false;
        }
        let helped = resident + Trimming::LITTLE_BYTES / 2 < self.then;
        self.interval = match (is_short, helped) {
            (true, _) => Trimming::URGENT,
            (false, true) => Trimming::SHORTEST,
            (false, false) => (self.interval * 2).min(Trimming::LONGEST),
        };
        (self.then, self.held_then) = (resident, held);
        self.earliest = now.after(self.interval.min(Trimming::SHORTEST));
        self.next = now.after(self.interval);
        true
    }
}

/// Gives back to the system what is free in the allocator's pages: only what is resident
/// counts, and glibc keeps most of what was freed. In a thread of its own, since it takes
/// milliseconds for each gigabyte; false where one is at it already, which may have passed by
/// what has been freed since.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back() -> bool {
    static BUSY: AtomicBool = AtomicBool::new(false);
    if BUSY.swap(true, SeqCst) {
        return false;
    }
    let trim = || {
        malloc_trim(0);
        BUSY.store(false, SeqCst);
    };
    let trimming = thread::Builder::new().name("noctule-memory".into());
    if trimming.spawn(trim).is_err() {
        BUSY.store(false, SeqCst);
    }
    true
}

// SAFETY: glibc's, of this signature. It takes the allocator's own locks and touches only
// what is free, so that any thread may call it at any time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
unsafe extern "C" {
    safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn memory_is_given_back_less_often_where_that_does_not_help() {
        let mut trimming = super::Trimming::new();
        let mut times = Vec::new();
        for second in 0..300 {
            // A burst in the middle, which stays.
            let resident = if second < 10 { 40 << 20 } else { 140 << 20 };
            // In the end clients let go of it.
            let held = if (10..200).contains(&second) {
                90 << 20
            } else {
                0
            };
            if trimming.is_due(resident, held, false, super::Time(second * 1_000_000)) {
                times.push(second);
            }
        }
        assert_eq!(times, [10, 14, 22, 38, 70, 130, 190, 200, 260]);
        assert!(trimming.is_due(41 << 20, 0, true, super::Time(320_000_000)));
        assert!(!trimming.is_due(41 << 20, 0, false, super::Time(321_000_000)));
        // One that could not be done is not waited for as long as one that did not help.
        assert!(trimming.is_due(140 << 20, 0, false, super::Time(400_000_000)));
        trimming.postpone(super::Time(400_000_000));
        assert!(trimming.is_due(140 << 20, 0, false, super::Time(401_000_000)));
    }

    #[test]
    fn resident_bytes_grow_with_what_is_touched() {
        let before = super::resident_bytes().unwrap();
        let touched = vec![1u8; 64 << 20];
        let after = super::resident_bytes().unwrap();
        assert!(after > before + (32 << 20), "{before} → {after}");
        drop(touched);
    }
}
