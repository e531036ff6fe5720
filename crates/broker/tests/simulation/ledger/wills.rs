//! Wills: each goes out when it is due, once, or never.

use noctule_broker::Time;

use super::sessions::SLACK_MICROS;
use crate::link::Announced;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its connection is there, or ended in a way that deletes it.
    Kept,
    Due(Time),
    /// The client came back in time.
    Cancelled,
    /// The client came back just after it was due: whichever was first.
    Either,
    Published,
}

#[derive(Debug)]
struct Will {
    client: usize,
    fate: Fate,
}

/// Every will there was, by number.
#[derive(Default)]
pub struct Wills(Vec<Will>);

impl Wills {
    pub fn add(&mut self, client: usize) -> u32 {
        self.0.push(Will {
            client,
            fate: Fate::Kept,
        });
        (self.0.len() - 1) as u32
    }

    pub fn payload(number: u32) -> Vec<u8> {
        [&b"W"[..], &number.to_be_bytes()].concat()
    }

    /// The connection that announced a will ended, and not by DISCONNECT 0x00.
    pub fn connection_ended(&mut self, said: &Announced, expiry_seconds: u32, now: Time) {
        if let Some(will) = said.will {
            let delay = will.delay_seconds.min(expiry_seconds);
            let due = now.after_seconds(u64::from(delay));
            self.0[will.number as usize].fate = Fate::Due(due);
        }
    }

    /// The client is back in its session: what was not due yet is not sent.
    pub fn resumed(&mut self, client: usize, now: Time) {
        for will in self.0.iter_mut().filter(|will| will.client == client) {
            will.fate = match will.fate {
                Fate::Due(due) if due > now => Fate::Cancelled,
                Fate::Due(_) => Fate::Either,
                fate => fate,
            };
        }
    }

    /// The session ended: what waited for its delay is due at once.
    pub fn session_ended(&mut self, client: usize, now: Time) {
        for will in self.0.iter_mut().filter(|will| will.client == client) {
            if let Fate::Due(due) = will.fate {
                will.fate = Fate::Due(due.min(now));
            }
        }
    }

    /// The witness got a will.
    pub fn published(&mut self, topic: &str, payload: &[u8], now: Time) {
        let [b'W', number @ ..] = payload else {
            panic!("no will, but {payload:?} on {topic}");
        };
        let number: [u8; 4] = number.try_into().expect("four bytes");
        let number = u32::from_be_bytes(number);
        let will = &mut self.0[number as usize];
        assert_eq!(topic, format!("w/c{}", will.client));
        match will.fate {
            Fate::Due(due) => assert!(
                due <= now && now.0 <= due.0 + SLACK_MICROS,
                "will {number} of client {} came at {now:?}, due at {due:?}",
                will.client
            ),
            Fate::Either => {}
            fate => panic!("will {number} of client {} is {fate:?}", will.client),
        }
        will.fate = Fate::Published;
    }

    /// Nothing that is due is still missing.
    pub fn check_complete(&self) {
        for (number, will) in self.0.iter().enumerate() {
            assert!(
                !matches!(will.fate, Fate::Due(_)),
                "will {number} of client {} never came: {:?}",
                will.client,
                will.fate
            );
        }
    }
}
