//! Back-pressure: a subscriber that falls behind holds those who publish to it, for
//! as long as it gets on; one that does not get on loses messages instead, counted.

use super::Worker;
use super::timers::Timer;
use crate::batch::Item;
use crate::connection::{Stage, pause};
use crate::key::{ConnectionId, SessionKey};
use crate::time::Time;

/// What a subscriber that gets on takes in a hold period, at least. The kernel
/// frees room in lumps of up to 128 KiB, so one lean period says little: it is the
/// second in a row that makes a subscriber slow.
const PROGRESS_BYTES: u64 = 64 << 10;
const LEAN_PERIODS: u8 = 2;

impl Worker {
    /// Leaves a connection unread, for one more reason.
    pub(super) fn pause(&mut self, id: ConnectionId, why: u8) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let before = connection.paused;
        connection.paused |= why;
        if before == 0 && connection.stage != Stage::Closing {
            self.effects.push_back(crate::Effect::PauseReading(id));
        }
    }

    /// One reason fewer; with the last, the connection is read again.
    pub(super) fn resume(&mut self, id: ConnectionId, why: u8) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let before = connection.paused;
        connection.paused &= !why;
        if before != 0 && connection.paused == 0 && connection.stage != Stage::Closing {
            self.effects.push_back(crate::Effect::ResumeReading(id));
            self.resumed.push_back(id);
        }
    }

    /// Holds a publisher until the subscriber behind `id` has caught up.
    pub(super) fn hold(&mut self, id: ConnectionId, publisher: SessionKey, now: Time) {
        let period = self.shared.options.limits.hold_publishers_milliseconds;
        let Some(connection) = self.connection(id) else {
            return;
        };
        if period == 0 || publisher == SessionKey::BROKER || connection.slow {
            return;
        }
        let rare = connection.rare();
        if rare.holding.contains(&publisher) {
            return;
        }
        rare.holding.push(publisher);
        if !rare.hold_timer {
            rare.hold_timer = true;
            rare.written_in_hold = 0;
            self.wheel
                .insert(now.after_milliseconds(period), Timer::Hold(id));
        }
        if publisher.worker() == self.index {
            self.hold_publisher(publisher);
        } else {
            self.send_to_worker(publisher.worker(), Item::Hold { publisher });
        }
    }

    pub(super) fn hold_publisher(&mut self, publisher: SessionKey) {
        let Some(id) = self
            .session(publisher)
            .and_then(|session| session.connection)
        else {
            return;
        };
        if let Some(connection) = self.connection(id) {
            connection.held = connection.held.saturating_add(1);
            self.pause(id, pause::HELD);
        }
    }

    pub(super) fn release_publisher(&mut self, publisher: SessionKey) {
        let Some(id) = self
            .session(publisher)
            .and_then(|session| session.connection)
        else {
            return;
        };
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.held = connection.held.saturating_sub(1);
        if connection.held == 0 {
            self.resume(id, pause::HELD);
        }
    }

    /// Lets everyone go on who waits for this connection.
    pub(super) fn release_held(&mut self, id: ConnectionId) {
        let Some(rare) = self
            .connection(id)
            .and_then(|connection| connection.rare.as_mut())
        else {
            return;
        };
        for publisher in std::mem::take(&mut rare.holding) {
            if publisher.worker() == self.index {
                self.release_publisher(publisher);
            } else {
                self.send_to_worker(publisher.worker(), Item::Release { publisher });
            }
        }
    }

    /// A connection took `n` bytes: what waited for that moves on.
    pub(super) fn relieve(&mut self, id: ConnectionId, n: usize, now: Time) {
        let low = self.shared.options.limits.write_buffer_bytes as usize / 4;
        let Some(connection) = self.connection(id) else {
            return;
        };
        if let Some(rare) = &mut connection.rare {
            rare.written_in_hold += n as u64;
        }
        if connection.outbox.len() > low {
            return;
        }
        connection.slow = false;
        let (stage, key, paused) = (connection.stage, connection.session, connection.paused);
        if connection
            .rare
            .as_ref()
            .is_some_and(|rare| !rare.holding.is_empty())
        {
            self.release_held(id);
        }
        if paused & pause::OUTBOX != 0 {
            self.resume(id, pause::OUTBOX);
        }
        if stage == Stage::Open {
            self.pump(key, now);
        }
    }

    /// The hold period of a slow connection is over.
    pub(super) fn review_hold(&mut self, id: ConnectionId, now: Time) {
        let period = self.shared.options.limits.hold_publishers_milliseconds;
        let Some(connection) = self.connection(id) else {
            return;
        };
        let rare = connection.rare();
        rare.hold_timer = false;
        if rare.holding.is_empty() {
            return;
        }
        let lean = rare.written_in_hold < PROGRESS_BYTES;
        rare.lean_periods = if lean { rare.lean_periods + 1 } else { 0 };
        if rare.lean_periods < LEAN_PERIODS {
            rare.hold_timer = true;
            rare.written_in_hold = 0;
            self.wheel
                .insert(now.after_milliseconds(period), Timer::Hold(id));
            return;
        }
        rare.lean_periods = 0;
        connection.slow = true;
        self.release_held(id);
    }
}
