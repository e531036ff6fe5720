//! What happened last, told when a promise is broken.

use std::collections::VecDeque;
use std::fmt::Arguments;

use noctule_broker::Time;

/// The last events of a run; nothing is written down unless somebody will read it.
pub struct Log {
    pub on: bool,
    most: usize,
    lines: VecDeque<String>,
}

impl Log {
    /// Keeps the last `most` events.
    pub fn new(most: usize) -> Log {
        Log {
            on: most > 0,
            most,
            lines: VecDeque::new(),
        }
    }

    pub fn add(&mut self, now: Time, what: Arguments<'_>) {
        if !self.on {
            return;
        }
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        let line = format!("{:>12.6}s {what}", now.0 as f64 / 1e6);
        self.lines.push_back(line);
    }
}

impl Drop for Log {
    /// A broken promise is a panic; the events that led to it come with it.
    fn drop(&mut self) {
        if self.on && std::thread::panicking() {
            eprintln!("the last {} events:", self.lines.len());
            self.lines.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
