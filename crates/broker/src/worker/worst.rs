//! Who loses messages and who is behind: short lists, filled where that happens and
//! looked at once an interval of `$SYS`.

use super::Worker;
use crate::key::SessionKey;
use crate::worst::{Dropping, Slow, Worst};

/// Sessions in a list, more than are told: some have ended by then.
const LISTED: usize = 16;

/// A queue of a connected session that is worth a look.
const LONG_QUEUE: usize = 16;

/// Sessions of this worker to look at when the interval ends.
#[derive(Default)]
pub(super) struct Suspects {
    pub interval: u32,
    dropping: Vec<SessionKey>,
    queueing: Vec<SessionKey>,
}

impl Worker {
    /// A session that is in no list has lost another message: it takes the place of
    /// one that lost fewer. Asked at powers of two, not for each.
    #[cold]
    pub(super) fn list_dropping(&mut self, key: SessionKey) {
        let lost = self.lost(key);
        let mut suspects = std::mem::take(&mut self.suspects.dropping);
        let fewest = suspects.iter().map(|&each| self.lost(each)).enumerate();
        let fewest = fewest.min_by_key(|&(_, lost)| lost);
        let is_listed = match fewest {
            Some((place, least)) if suspects.len() == LISTED => {
                if least < lost {
                    self.mark_listed(suspects[place], false);
                    suspects[place] = key;
                }
                least < lost
            }
            _ => {
                suspects.push(key);
                true
            }
        };
        self.suspects.dropping = suspects;
        self.mark_listed(key, is_listed);
    }

    fn lost(&mut self, key: SessionKey) -> u64 {
        let interval = self.suspects.interval;
        let drops = self.session(key).and_then(|each| each.dropped.as_ref());
        drops.map_or(0, |drops| drops.since(interval))
    }

    fn mark_listed(&mut self, key: SessionKey, is_listed: bool) {
        if let Some(drops) = self.session(key).and_then(|each| each.dropped.as_mut()) {
            drops.is_listed = is_listed;
        }
    }

    /// A message waits in the queue of a connected session, behind others.
    #[inline]
    pub(super) fn suspect_queue(&mut self, key: SessionKey, queued: usize) {
        if queued >= LONG_QUEUE && queued.is_power_of_two() {
            self.list_queueing(key, queued);
        }
    }

    #[cold]
    fn list_queueing(&mut self, key: SessionKey, queued: usize) {
        if self.suspects.queueing.contains(&key) {
            return;
        }
        let mut suspects = std::mem::take(&mut self.suspects.queueing);
        let shortest = suspects.iter().map(|&each| self.queued(each)).enumerate();
        match shortest.min_by_key(|&(_, queued)| queued) {
            Some((place, least)) if suspects.len() == LISTED => {
                if least < queued {
                    suspects[place] = key;
                }
            }
            _ => suspects.push(key),
        }
        self.suspects.queueing = suspects;
    }

    /// Messages queued for a session that is connected.
    fn queued(&mut self, key: SessionKey) -> usize {
        self.session(key)
            .filter(|session| session.connection.is_some())
            .map_or(0, |session| session.waiting())
    }

    /// Puts this worker's share where worker 0 finds it, and begins the next interval.
    /// `behind` are sessions whose connections have much to be written.
    pub(super) fn share_worst(&mut self, behind: Vec<SessionKey>) {
        let worst = Worst {
            dropping: self.dropping(),
            slow: self.slow(behind),
        };
        *self.shared.worst[self.index].lock() = worst;
        self.suspects.interval = self.suspects.interval.wrapping_add(1);
    }

    fn dropping(&mut self) -> Vec<Dropping> {
        let interval = self.suspects.interval;
        let mut found = Vec::new();
        for key in std::mem::take(&mut self.suspects.dropping) {
            let Some(session) = self.session(key) else {
                continue;
            };
            let Some(drops) = &mut session.dropped else {
                continue;
            };
            let since = drops.since(interval);
            drops.is_listed = since > 0;
            if since == 0 {
                continue;
            }
            found.push(Dropping {
                client: session.client.clone(),
                user: session.user.clone(),
                since,
                in_all: drops.in_all.clone(),
            });
            self.suspects.dropping.push(key);
        }
        found
    }

    fn slow(&mut self, mut behind: Vec<SessionKey>) -> Vec<Slow> {
        for key in std::mem::take(&mut self.suspects.queueing) {
            if self.queued(key) < LONG_QUEUE {
                continue;
            }
            self.suspects.queueing.push(key);
            if !behind.contains(&key) {
                behind.push(key);
            }
        }
        let slow = behind.into_iter().filter_map(|key| {
            let session = self.sessions.get(key.slot(), key.epoch())?;
            let id = session.connection?;
            let connection = self.connections.get(id.index(), id.generation())?;
            Some(Slow {
                client: session.client.clone(),
                user: session.user.clone(),
                bytes: connection.outbox.len() as u64 + session.queued_bytes,
                queued_messages: session.waiting() as u64,
            })
        });
        slow.collect()
    }
}

/// The connections with most to be written, among those that have much.
#[derive(Default)]
pub(super) struct Behind(Vec<(usize, SessionKey)>);

impl Behind {
    pub fn note(&mut self, waiting: usize, key: SessionKey) {
        if self.0.len() < LISTED {
            self.0.push((waiting, key));
        } else if let Some(least) = self.0.iter_mut().min()
            && least.0 < waiting
        {
            *least = (waiting, key);
        }
    }

    pub fn into_keys(self) -> Vec<SessionKey> {
        self.0.into_iter().map(|(_, key)| key).collect()
    }
}
