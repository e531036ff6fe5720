//! Sessions as the broker tells of them, held to what clients asked for.

use noctule_broker::Time;

use crate::link::Announced;

/// How late anything due may happen: a tick or a batch may be late in this world.
pub const SLACK_MICROS: u64 = 3_000_000;

/// A session never expires.
const NEVER: u32 = u32::MAX;

/// What is known of a client's session at the broker.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub exists: bool,
    /// The link that serves it.
    pub link: Option<usize>,
    pub offline_since: Option<Time>,
    pub expiry_seconds: u32,
}

#[derive(Default)]
pub struct Sessions(pub Vec<Known>);

impl Sessions {
    pub fn new(clients: usize) -> Sessions {
        Sessions(vec![Known::default(); clients])
    }

    pub fn connected(&mut self, client: usize, link: usize, said: &Announced, present: bool) {
        let known = &mut self.0[client];
        assert!(
            known.link.is_none(),
            "client {client} is connected while link {:?} still is",
            known.link
        );
        assert_eq!(
            present,
            known.exists && !said.clean_start,
            "session present for client {client}, clean start {}",
            said.clean_start
        );
        *known = Known {
            exists: true,
            link: Some(link),
            offline_since: None,
            expiry_seconds: said.expiry_seconds,
        };
    }

    pub fn disconnected(&mut self, client: usize, expiry_seconds: u32, now: Time) -> usize {
        let known = &mut self.0[client];
        known.offline_since = Some(now);
        known.expiry_seconds = expiry_seconds;
        known
            .link
            .take()
            .unwrap_or_else(|| panic!("client {client} was disconnected without a connection"))
    }

    /// `reason` as the event tells it.
    pub fn ended(&mut self, client: usize, reason: &str, now: Time) {
        let known = std::mem::take(&mut self.0[client]);
        assert!(known.exists, "client {client} had no session to end");
        let since = known.offline_since;
        let since = since.unwrap_or_else(|| panic!("client {client} was online ({reason})"));
        match reason {
            "expired" => assert!(
                known.expiry_seconds != NEVER
                    && now >= since.after_seconds(u64::from(known.expiry_seconds)),
                "client {client}'s session expired at {now:?}, offline since {since:?} for {} s",
                known.expiry_seconds
            ),
            "disconnected" => assert_eq!(known.expiry_seconds, 0, "client {client}"),
            "clean_start" => {}
            _ => panic!("client {client}'s session ended: {reason}"),
        }
    }

    /// No session outlives its expiry interval.
    pub fn check_expiry(&self, now: Time) {
        for (client, known) in self.0.iter().enumerate() {
            let Some(since) = known.offline_since.filter(|_| known.exists) else {
                continue;
            };
            if known.expiry_seconds == NEVER {
                continue;
            }
            let due = since.after_seconds(u64::from(known.expiry_seconds));
            assert!(
                now.0 <= due.0 + SLACK_MICROS,
                "client {client}'s session has outlived its expiry interval"
            );
        }
    }
}
