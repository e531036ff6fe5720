//! Connections that have got their last bytes and may not know it yet.
//!
//! Closing a socket that has unread input makes the kernel send a reset, which can
//! overtake the DISCONNECT or CONNACK that says why. So we end our side only, throw
//! away what still comes, and close when the peer does, or a second later.

use slab::Slab;

use crate::admission::Ticket;
use crate::deadlines::Deadline;
use crate::reactor::{Reactor, Token};
use crate::transport::{Read, Transport};

const FAREWELL_SECONDS: u64 = 1;

/// Reads of one connection at once, 256 KiB each: more than a socket's buffer holds.
const READS_AT_ONCE: usize = 32;

#[derive(Default)]
pub(crate) struct Farewells {
    slab: Slab<Farewell>,
    serial: u64,
}

struct Farewell {
    transport: Transport,
    /// It counts as a connection until it is closed.
    _ticket: Ticket,
    serial: u64,
}

impl Farewells {
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Its time is over.
    pub fn expire(&mut self, key: usize, serial: u64) {
        if self
            .slab
            .get(key)
            .is_some_and(|farewell| farewell.serial == serial)
        {
            self.slab.remove(key);
        }
    }

    /// Throws input away; closes at its end. `buffer` is scratch space.
    pub fn read(&mut self, key: usize, buffer: &mut [u8]) {
        let Some(farewell) = self.slab.get_mut(key) else {
            return;
        };
        if farewell.transport.is_over(buffer) {
            self.slab.remove(key);
        }
    }
}

impl Transport {
    /// Throws input away and returns whether it has ended (or comes too fast).
    fn is_over(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..READS_AT_ONCE {
            match self.read(buffer) {
                // Even if that was all: the end may have come with it, on the same edge.
                Ok(Read::Bytes { .. }) => {}
                Ok(Read::Blocked) => return false,
                Ok(Read::Ended) => {}
                Ok(Read::Closed) | Err(_) => return true,
            }
        }
        true
    }
}

impl Reactor {
    /// Ends our side of a connection and closes it when the peer has, too.
    pub(crate) fn say_farewell(&mut self, mut transport: Transport, ticket: Ticket) {
        if transport.finish_writing().is_err() || transport.is_over(&mut self.buffer) {
            return;
        }
        self.farewells.serial += 1;
        let serial = self.farewells.serial;
        let entry = self.farewells.slab.vacant_entry();
        let key = entry.key();
        let token = Token::Farewell(key).into();
        if transport.reregister(self.poll.registry(), token).is_err() {
            return;
        }
        entry.insert(Farewell {
            transport,
            _ticket: ticket,
            serial,
        });
        let deadline = self.now.after_seconds(FAREWELL_SECONDS);
        self.deadlines
            .push(deadline, Deadline::Farewell { key, serial });
    }
}
