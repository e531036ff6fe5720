//! What happens when time passes.

use super::Worker;
use super::disconnect::Cause;
use crate::connection::{Stage, pause};
use crate::key::{ConnectionId, SessionKey};
use crate::time::Time;

/// Something to look at later. A timer is never cancelled: whoever it names is
/// asked whether it still matters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// CONNECT must have been accepted.
    Connect(ConnectionId),
    KeepAlive(ConnectionId),
    /// A hold period is over.
    Hold(ConnectionId),
    /// A client may publish again.
    Rate(ConnectionId),
    /// A session may be sent more.
    Pump(SessionKey),
    /// A will's delay is over, if the session is still offline since then.
    Will(SessionKey, Time),
    /// A session's expiry interval is over, if it is still offline since then.
    SessionExpiry(SessionKey, Time),
    SystemTopics,
    /// What can only be known by looking is looked at.
    Measure,
    SweepRetained,
    SweepMarks,
    /// Subscriptions of sessions that have ended are left.
    Departed,
    /// A hook must have answered.
    Consult(u64),
}

impl Worker {
    pub(super) fn run_timers(&mut self, now: Time) {
        let mut due = std::mem::take(&mut self.due);
        let (connections, sessions) = (&self.connections, &self.sessions);
        let is_there = |id: ConnectionId| connections.get(id.index(), id.generation()).is_some();
        let is_kept = |key: SessionKey| sessions.get(key.slot(), key.epoch());
        // Those of who has come and gone would otherwise stay for as long as they wished.
        self.wheel.advance(now, &mut due, |timer| match timer {
            Timer::KeepAlive(id) => is_there(id),
            Timer::Will(key, since) | Timer::SessionExpiry(key, since) => {
                is_kept(key).is_some_and(|session| session.offline_since == since)
            }
            _ => true,
        });
        for timer in due.drain(..) {
            self.run_timer(timer, now);
        }
        self.due = due;
    }

    fn run_timer(&mut self, timer: Timer, now: Time) {
        match timer {
            Timer::Connect(id) => self.check_connected(id, now),
            Timer::KeepAlive(id) => self.check_keep_alive(id, now),
            Timer::Hold(id) => self.review_hold(id, now),
            Timer::Rate(id) => self.check_rate(id, now),
            Timer::Pump(key) => self.pump(key, now),
            Timer::Will(key, since) => {
                if self.is_offline_since(key, since) {
                    self.release_will(key, now);
                }
            }
            Timer::SessionExpiry(key, since) => {
                if self.is_offline_since(key, since) {
                    self.counters().clients_expired.add(1);
                    self.end_session(key, "expired", now);
                }
            }
            Timer::SystemTopics => self.publish_system_topics(now),
            Timer::Measure => self.measure(now),
            Timer::SweepMarks => self.sweep_marks(now),
            Timer::Departed => self.go_on_departing(now),
            Timer::SweepRetained => self.sweep_retained(now),
            Timer::Consult(number) => self.give_up_consulting(number, now),
        }
    }

    pub(super) fn is_offline_since(&mut self, key: SessionKey, since: Time) -> bool {
        self.session(key)
            .is_some_and(|session| session.connection.is_none() && session.offline_since == since)
    }

    fn check_connected(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        match connection.stage {
            Stage::New | Stage::Authenticating => {
                self.end_connection(id, Cause::CONNECT_TIMEOUT, now);
            }
            Stage::Open | Stage::Closing => {}
        }
    }

    /// The keep alive is looked at when it would be over, had nothing come.
    fn check_keep_alive(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        if connection.stage != Stage::Open {
            return;
        }
        if connection.paused != 0 {
            // We do not read it: its silence is ours.
            connection.last_received = now;
        }
        let deadline = connection.keep_alive_deadline();
        if deadline <= now {
            self.end_connection(id, Cause::KEEP_ALIVE, now);
        } else {
            self.wheel.insert(deadline, Timer::KeepAlive(id));
        }
    }

    fn check_rate(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let rates = connection
            .rare
            .as_mut()
            .and_then(|rare| rare.limits.as_mut());
        let later = rates.and_then(|rates| rates.next_receive(now));
        self.resume(id, pause::MEMORY);
        match later {
            Some(later) => self.wheel.insert(later, Timer::Rate(id)),
            None => self.resume(id, pause::RATE),
        }
    }
}
