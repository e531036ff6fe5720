//! One network connection: two pipes of bytes that delay, split, merge and break.

use std::collections::VecDeque;

use noctule_broker::{ConnectionId, Time};
use noctule_packets::Version;

use crate::random::Random;

/// Bytes on their way in one direction; they never overtake each other.
#[derive(Default)]
pub struct Pipe {
    chunks: VecDeque<(Time, Vec<u8>)>,
    last_due: Time,
    bytes: usize,
}

impl Pipe {
    pub fn push(&mut self, bytes: Vec<u8>, due: Time) {
        if bytes.is_empty() {
            return;
        }
        self.last_due = self.last_due.max(due);
        self.bytes += bytes.len();
        self.chunks.push_back((self.last_due, bytes));
    }

    /// Up to `most` of the bytes that have arrived by `now`, however they were sent.
    pub fn take(&mut self, now: Time, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some((due, chunk)) = self.chunks.front_mut() {
            let room = most - taken.len();
            if *due > now || room == 0 {
                break;
            }
            if chunk.len() <= room {
                taken.append(chunk);
                self.chunks.pop_front();
            } else {
                let rest = chunk.split_off(room);
                taken.append(chunk);
                *chunk = rest;
            }
        }
        self.bytes -= taken.len();
        taken
    }

    /// Loses everything behind a byte that chance names.
    pub fn cut(&mut self, random: &mut Random) {
        let mut left = random.below(self.bytes + 1);
        for (_, chunk) in &mut self.chunks {
            chunk.truncate(left);
            left -= chunk.len();
        }
        self.chunks.retain(|(_, chunk)| !chunk.is_empty());
        self.bytes = self.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
    }

    pub fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn next_due(&self) -> Option<Time> {
        self.chunks.front().map(|&(due, _)| due)
    }
}

/// A will as a client announced it.
#[derive(Clone, Copy, Debug)]
pub struct AnnouncedWill {
    pub number: u32,
    pub delay_seconds: u32,
}

/// What a client said in its CONNECT.
#[derive(Clone, Debug)]
pub struct Announced {
    pub version: Version,
    pub clean_start: bool,
    /// Seconds the session is to outlive the connection.
    pub expiry_seconds: u32,
    pub keep_alive: u16,
    pub will: Option<AnnouncedWill>,
}

pub struct Link {
    pub client: usize,
    pub up: Pipe,
    pub down: Pipe,
    /// Worker and identifier, once CONNECT has told where it belongs.
    pub place: Option<(usize, ConnectionId)>,
    /// What came before that.
    pub greeting: Vec<u8>,
    /// The broker does not want to read.
    pub paused: bool,
    /// Nothing moves, and nobody is told.
    pub stalled: bool,
    /// The broker has output for it.
    pub pending: bool,
    /// The broker wants it closed.
    pub closing: bool,
    pub broker_gone: bool,
    pub client_gone: bool,
    /// The client's side ends behind what is still on its way up.
    pub ends_up: bool,
    pub ends_down: bool,
    /// Bytes that fit on the way down.
    pub capacity: usize,
    pub announced: Announced,
    /// Reason and session expiry interval of the client's own DISCONNECT.
    pub disconnect: Option<(u8, Option<u32>)>,
    /// When the broker last had bytes from it.
    pub heard: Time,
    pub was_paused: bool,
}

impl Link {
    pub fn new(client: usize, announced: Announced, capacity: usize, now: Time) -> Link {
        Link {
            client,
            up: Pipe::default(),
            down: Pipe::default(),
            place: None,
            greeting: Vec::new(),
            paused: false,
            stalled: false,
            pending: false,
            closing: false,
            broker_gone: false,
            client_gone: false,
            ends_up: false,
            ends_down: false,
            capacity,
            announced,
            disconnect: None,
            heard: now,
            was_paused: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.broker_gone && self.client_gone
    }

    /// The network breaks, at any byte of either direction.
    pub fn cut(&mut self, random: &mut Random) {
        self.up.cut(random);
        self.down.cut(random);
        self.ends_up = true;
        self.ends_down = true;
        self.stalled = false;
    }

    /// The client reads no more; what it has sent may still arrive.
    pub fn abandon(&mut self) {
        self.client_gone = true;
        self.ends_up = true;
        self.down.clear();
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        let up = self.broker_gone || self.up.len() == 0;
        let down = self.client_gone || (self.down.len() == 0 && !self.pending);
        up && down
    }

    /// When something may move here.
    pub fn next_due(&self) -> Option<Time> {
        if self.stalled {
            return None;
        }
        let up = self
            .up
            .next_due()
            .filter(|_| !self.paused && !self.broker_gone);
        let down = self.down.next_due().filter(|_| !self.client_gone);
        up.into_iter().chain(down).min()
    }
}
