//! Who is kept out, by name or by place, and until when; and who is so for what they did.
//!
//! Shared by all workers. With no ban and no limit set nothing here is locked.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;

use crate::network::Network;
use crate::time::Time;

/// Addresses or clients whose doings are remembered at once; beyond it those are forgotten that
/// have been quiet, and then all.
const MAX_REMEMBERED: usize = 65_536;

/// When somebody is banned for what they did. 0 of a count: never.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BanOptions {
    /// Refused CONNECTs of one address within a window.
    pub failed_logins: u32,
    pub failed_logins_window_seconds: u64,
    /// CONNECTs of one client within a window.
    pub flapping_connects: u32,
    pub flapping_window_seconds: u64,
    /// How long the first ban lasts; each further one twice as long as the one before.
    pub ban_seconds: u64,
    pub max_ban_seconds: u64,
    /// Connections taken from one address in a second.
    pub max_connects_per_second: u32,
}

impl Default for BanOptions {
    fn default() -> Self {
        BanOptions {
            failed_logins: 0,
            failed_logins_window_seconds: 60,
            flapping_connects: 0,
            flapping_window_seconds: 60,
            ban_seconds: 60,
            max_ban_seconds: 86_400,
            max_connects_per_second: 0,
        }
    }
}

/// Whom a ban is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Banned {
    Client(Box<str>),
    User(Box<str>),
    /// An address, or a network.
    Network(Network),
}

impl Banned {
    /// `client`, `user` or `address`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Banned::Client(_) => "client",
            Banned::User(_) => "user",
            Banned::Network(_) => "address",
        }
    }

    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Banned::Client(name) | Banned::User(name) => name.to_string(),
            Banned::Network(network) => network.to_string(),
        }
    }

    /// The other way round.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(kind: &str, value: &str) -> Result<Banned, String> {
        match kind {
            "client" => Ok(Banned::Client(value.into())),
            "user" => Ok(Banned::User(value.into())),
            "address" => value.parse().map(Banned::Network),
            _ => Err(format!("{kind:?} is not client, user or address")),
        }
    }
}

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    pub until: Time,
    pub reason: Box<str>,
}

/// All bans, and what may lead to one.
#[derive(Debug)]
pub struct Bans {
    options: BanOptions,
    /// Whether there may be any.
    any: AtomicBool,
    /// Counts changes, for whoever writes them down.
    changes: AtomicU64,
    bans: RwLock<HashMap<Banned, Ban>>,
    failures: Mutex<HashMap<IpAddr, Doings>>,
    connects: Mutex<HashMap<Box<str>, Doings>>,
    arrivals: Mutex<HashMap<IpAddr, (u64, u32)>>,
}

/// What somebody did of late.
#[derive(Debug)]
struct Doings {
    since: Time,
    count: u32,
    /// Bans so far, and when the last of them ends.
    bans: u32,
    banned_until: Time,
}

impl Bans {
    #[must_use]
    pub fn new(options: BanOptions) -> Bans {
        Bans {
            options,
            any: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            bans: RwLock::default(),
            failures: Mutex::default(),
            connects: Mutex::default(),
            arrivals: Mutex::default(),
        }
    }

    /// Keeps somebody out until then; an earlier ban of theirs is replaced.
    pub fn ban(&self, banned: Banned, until: Time, reason: &str) {
        let reason = reason.into();
        self.bans.write().insert(banned, Ban { until, reason });
        self.any.store(true, Relaxed);
        self.changes.fetch_add(1, Relaxed);
    }

    /// Lets somebody in again; false if they were not banned.
    pub fn unban(&self, banned: &Banned) -> bool {
        let mut bans = self.bans.write();
        let was_banned = bans.remove(banned).is_some();
        self.any.store(!bans.is_empty(), Relaxed);
        self.changes.fetch_add(1, Relaxed);
        was_banned
    }

    /// The bans in force.
    #[must_use]
    pub fn list(&self, now: Time) -> Vec<(Banned, Ban)> {
        let mut bans = self.bans.write();
        bans.retain(|_, ban| ban.until > now);
        self.any.store(!bans.is_empty(), Relaxed);
        bans.iter()
            .map(|(banned, ban)| (banned.clone(), ban.clone()))
            .collect()
    }

    /// Goes up whenever a ban is made or ended.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Whether nobody may come from there.
    #[must_use]
    pub fn bars_address(&self, address: IpAddr, now: Time) -> bool {
        if !self.any.load(Relaxed) {
            return false;
        }
        self.bans.read().iter().any(|(banned, ban)| match banned {
            Banned::Network(network) => ban.until > now && network.contains(address),
            _ => false,
        })
    }

    #[must_use]
    pub fn bars_client(&self, client: &str, now: Time) -> bool {
        self.any.load(Relaxed) && self.bars(&Banned::Client(client.into()), now)
    }

    #[must_use]
    pub fn bars_user(&self, user: Option<&str>, now: Time) -> bool {
        let Some(user) = user.filter(|_| self.any.load(Relaxed)) else {
            return false;
        };
        self.bars(&Banned::User(user.into()), now)
    }

    fn bars(&self, banned: &Banned, now: Time) -> bool {
        let bans = self.bans.read();
        bans.get(banned).is_some_and(|ban| ban.until > now)
    }

    /// Counts a connection from an address; false if there are too many in this second.
    pub fn may_arrive(&self, address: IpAddr, now: Time) -> bool {
        let most = self.options.max_connects_per_second;
        if most == 0 {
            return true;
        }
        let second = now.0 / 1_000_000;
        let mut arrivals = self.arrivals.lock();
        if arrivals.len() >= MAX_REMEMBERED {
            arrivals.retain(|_, (of, _)| *of == second);
        }
        let arrived = arrivals.entry(address).or_insert((second, 0));
        if arrived.0 != second {
            *arrived = (second, 0);
        }
        arrived.1 = arrived.1.saturating_add(1);
        arrived.1 <= most
    }

    /// A CONNECT from there was refused for what it said of itself. Seconds of the ban that
    /// follows, if one does.
    pub fn failed(&self, address: IpAddr, now: Time) -> Option<u64> {
        let (most, window) = (
            self.options.failed_logins,
            self.options.failed_logins_window_seconds,
        );
        let address = address.to_canonical();
        let seconds = self.note(&self.failures, address, most, window, now)?;
        let until = now.after_seconds(seconds);
        self.ban(Banned::Network(address.into()), until, "failed logins");
        Some(seconds)
    }

    /// A client came in. Seconds of the ban that follows, if one does.
    pub fn connected(&self, client: &str, now: Time) -> Option<u64> {
        let (most, window) = (
            self.options.flapping_connects,
            self.options.flapping_window_seconds,
        );
        let seconds = self.note(&self.connects, client.into(), most, window, now)?;
        let until = now.after_seconds(seconds);
        self.ban(Banned::Client(client.into()), until, "flapping");
        Some(seconds)
    }

    /// Counts; at the last one that is too many the count begins anew and a ban is due.
    fn note<K: Hash + Eq>(
        &self,
        all: &Mutex<HashMap<K, Doings>>,
        key: K,
        most: u32,
        window_seconds: u64,
        now: Time,
    ) -> Option<u64> {
        if most == 0 {
            return None;
        }
        let quiet = |doings: &Doings| {
            let forgotten = doings.banned_until.max(doings.since);
            let after = window_seconds.max(if doings.bans > 0 {
                self.options.max_ban_seconds
            } else {
                0
            });
            forgotten.after_seconds(after) < now
        };
        let mut all = all.lock();
        if all.len() >= MAX_REMEMBERED {
            all.retain(|_, doings| !quiet(doings));
            if all.len() >= MAX_REMEMBERED {
                all.clear();
            }
        }
        let new = Doings {
            since: now,
            count: 0,
            bans: 0,
            banned_until: Time(0),
        };
        let doings = all.entry(key).or_insert(new);
        if quiet(doings) {
            doings.bans = 0;
        }
        if doings.since.after_seconds(window_seconds) <= now {
            (doings.since, doings.count) = (now, 0);
        }
        doings.count += 1;
        if doings.count < most {
            return None;
        }
        let doubled = 1u64.checked_shl(doings.bans).unwrap_or(u64::MAX);
        let seconds = self.options.ban_seconds.saturating_mul(doubled);
        let seconds = seconds.min(self.options.max_ban_seconds);
        doings.bans = doings.bans.saturating_add(1).min(63);
        doings.count = 0;
        doings.banned_until = now.after_seconds(seconds);
        Some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans() -> Bans {
        Bans::new(BanOptions {
            failed_logins: 3,
            flapping_connects: 2,
            ban_seconds: 10,
            max_ban_seconds: 35,
            max_connects_per_second: 2,
            ..BanOptions::default()
        })
    }

    fn at(seconds: u64) -> Time {
        Time(0).after_seconds(seconds)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_ban_holds_for_its_time_and_its_network() {
        let bans = bans();
        let network = Banned::parse("address", "10.1.0.0/16").unwrap();
        bans.ban(network.clone(), at(100), "why");
        assert!(bans.bars_address(address("10.1.2.3"), at(99)));
        assert!(bans.bars_address(address("::ffff:10.1.2.3"), at(99)));
        assert!(!bans.bars_address(address("10.2.0.1"), at(99)));
        assert!(!bans.bars_address(address("10.1.2.3"), at(100)));
        assert!(bans.list(at(100)).is_empty());
        bans.ban(network.clone(), Time::NEVER, "why");
        assert!(bans.unban(&network));
        assert!(!bans.unban(&network));
        assert!(!bans.bars_address(address("10.1.2.3"), at(1)));
    }

    #[test]
    fn names_are_banned_each_for_itself() {
        let bans = bans();
        bans.ban(Banned::Client("c".into()), at(10), "");
        bans.ban(Banned::User("u".into()), at(10), "");
        assert!(bans.bars_client("c", at(1)) && !bans.bars_client("u", at(1)));
        assert!(bans.bars_user(Some("u"), at(1)) && !bans.bars_user(Some("c"), at(1)));
        assert!(!bans.bars_user(None, at(1)));
        assert!(!bans.bars_client("c", at(10)));
    }

    #[test]
    fn failed_logins_lead_to_bans_each_twice_as_long_up_to_a_bound() {
        let bans = bans();
        let from = address("192.0.2.1");
        let mut now = 0;
        for expected in [10, 20, 35, 35] {
            assert_eq!(bans.failed(from, at(now)), None);
            assert_eq!(bans.failed(from, at(now)), None);
            assert_eq!(bans.failed(from, at(now)), Some(expected));
            assert!(bans.bars_address(from, at(now + expected - 1)));
            assert!(!bans.bars_address(from, at(now + expected)));
            now += expected;
        }
        // After a quiet time it begins anew.
        let later = at(now + 1_000);
        assert_eq!(bans.failed(from, later), None);
        assert_eq!(bans.failed(from, later), None);
        assert_eq!(bans.failed(from, later), Some(10));
    }

    #[test]
    fn few_failures_in_a_window_are_forgiven() {
        let bans = bans();
        let from = address("192.0.2.1");
        for minute in 0..10 {
            assert_eq!(bans.failed(from, at(minute * 60)), None);
            assert_eq!(bans.failed(from, at(minute * 60)), None);
        }
    }

    #[test]
    fn a_client_that_comes_and_goes_is_banned() {
        let bans = bans();
        assert_eq!(bans.connected("c", at(0)), None);
        assert_eq!(bans.connected("d", at(0)), None);
        assert_eq!(bans.connected("c", at(1)), Some(10));
        assert!(bans.bars_client("c", at(2)));
        assert!(!bans.bars_client("d", at(2)));
    }

    #[test]
    fn an_address_has_so_many_connections_a_second() {
        let bans = bans();
        let from = address("192.0.2.1");
        assert!(bans.may_arrive(from, at(5)) && bans.may_arrive(from, at(5)));
        assert!(!bans.may_arrive(from, at(5)));
        assert!(bans.may_arrive(address("192.0.2.2"), at(5)));
        assert!(bans.may_arrive(from, at(6)));
    }
}
