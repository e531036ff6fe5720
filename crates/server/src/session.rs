//! Connections that belong to this worker: bytes between their sockets and the broker.

use std::io::IoSlice;

use noctule_broker::{ConnectionId, Time};

use crate::admission::Ticket;
use crate::deadlines::Deadline;
use crate::reactor::{READ_TURN_BYTES, Reactor};
use crate::transport::{Read, Transport, Written};

/// Pieces of output offered to one write.
const CHUNKS_A_WRITE: usize = 64;

/// Bytes written in one turn, about, where many connections have much to be written: each gets
/// its share, and the rest of it in the next turn. A thousand sockets that take a megabyte each
/// would otherwise keep everybody waiting.
const WRITE_TURN_BYTES: usize = 8 << 20;
const LEAST_SHARE_BYTES: usize = 16 << 10;

/// How long a connection that is to be closed may take its last output.
const CLOSE_SECONDS: u64 = 5;

/// The server's side of a connection. An idle one holds no buffer.
pub(crate) struct Connection {
    pub transport: Transport,
    pub ticket: Ticket,
    pub id: ConnectionId,
    /// When output last moved, or began to wait.
    progress: Time,
    /// On the list of those to be read.
    readable: bool,
    paused: bool,
    /// The peer has ended its side: read on until that shows.
    hung_up: bool,
    /// The socket takes nothing until the next writable edge.
    blocked: bool,
    /// Output was left over by the last write.
    waiting: bool,
    /// A [`Deadline::Write`] is set.
    watched: bool,
    /// To be closed once its output is written.
    closing: bool,
    /// Its last output must not be lost to a reset: see the farewells.
    pub lingers: bool,
}

impl Connection {
    pub fn new(transport: Transport, ticket: Ticket, id: ConnectionId) -> Connection {
        Connection {
            transport,
            ticket,
            id,
            progress: Time(0),
            readable: false,
            paused: false,
            hung_up: false,
            blocked: false,
            waiting: false,
            watched: false,
            closing: false,
            lingers: false,
        }
    }
}

/// One worker's connections, at the places the broker's ids name.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Connection>>,
    count: usize,
    /// To be read in the next turn, each once.
    ready: Vec<ConnectionId>,
    /// To be written in the next turn.
    dirty: Vec<ConnectionId>,
    /// Began to close in this turn.
    closing: Vec<ConnectionId>,
}

impl Connections {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn insert(&mut self, connection: Connection) {
        let index = connection.id.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.count += 1;
        self.slots[index] = Some(connection);
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let slot = self.slots.get_mut(id.index())?;
        let removed = slot.take_if(|connection| connection.id == id)?;
        self.count -= 1;
        Some(removed)
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots
            .get_mut(id.index())?
            .as_mut()
            .filter(|connection| connection.id == id)
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Puts what is left of a turn's list in front of those that came on meanwhile.
    fn requeue(&mut self, mut list: Vec<ConnectionId>, handled: usize) {
        list.drain(..handled);
        list.append(&mut self.ready);
        self.ready = list;
    }

    /// An edge came for the connection at `index`.
    pub fn edge(&mut self, index: usize, edge: Edge) {
        let Some(Some(connection)) = self.slots.get_mut(index) else {
            return;
        };
        connection.hung_up |= edge.hung_up;
        if edge.readable && !connection.readable && !connection.paused && !connection.closing {
            connection.readable = true;
            self.ready.push(connection.id);
        }
        if edge.writable && (connection.blocked || connection.transport.has_pending()) {
            connection.blocked = false;
            self.dirty.push(connection.id);
        }
    }

    pub fn pause(&mut self, id: ConnectionId) {
        if let Some(connection) = self.find(id) {
            connection.paused = true;
        }
    }

    /// Reads again, without waiting for an edge: it may have come meanwhile.
    pub fn resume(&mut self, id: ConnectionId) {
        let Some(connection) = self.find(id) else {
            return;
        };
        connection.paused = false;
        if !connection.readable && !connection.closing {
            connection.readable = true;
            self.ready.push(id);
        }
    }

    /// Closes it once its output is written; `lingers`: there is some.
    pub fn close(&mut self, id: ConnectionId, lingers: bool) {
        let Some(connection) = self.find(id) else {
            return;
        };
        connection.closing = true;
        connection.lingers = lingers;
        self.dirty.push(id);
        self.closing.push(id);
    }
}

/// What the poll reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub readable: bool,
    pub writable: bool,
    pub hung_up: bool,
}

impl Reactor {
    /// Reads once from each connection that has something, as far as a turn goes.
    pub(crate) fn read_ready(&mut self) {
        let ready = std::mem::take(&mut self.connections.ready);
        let mut left = READ_TURN_BYTES;
        let mut handled = 0;
        while left > 0 && handled < ready.len() {
            left = left.saturating_sub(self.read_connection(ready[handled]));
            handled += 1;
        }
        self.connections.requeue(ready, handled);
    }

    /// Returns how many bytes came.
    fn read_connection(&mut self, id: ConnectionId) -> usize {
        let Some(connection) = self.connections.find(id) else {
            return 0;
        };
        connection.readable = false;
        if connection.paused || connection.closing {
            return 0;
        }
        let (count, more) = match connection.transport.read(&mut self.buffer) {
            Ok(Read::Bytes { count, drained }) => (count, !drained || connection.hung_up),
            Ok(Read::Blocked) => return 0,
            Ok(Read::Ended) => {
                self.finish(id, true);
                return 0;
            }
            Ok(Read::Closed) | Err(_) => {
                self.end(id);
                return 0;
            }
        };
        if count > 0 {
            self.worker.received(id, &self.buffer[..count], self.now);
        }
        if more && let Some(connection) = self.connections.find(id) {
            // Next turn: the others come first.
            connection.readable = true;
            self.connections.ready.push(id);
        }
        count
    }

    /// The connection is gone.
    fn end(&mut self, id: ConnectionId) {
        drop(self.connections.remove(id));
        self.worker.closed(id, self.now);
    }

    /// Ends a connection whose peer does not read; what waits for it is thrown away.
    fn reset(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(id) {
            connection.transport.reset();
        }
        self.worker.closed(id, self.now);
    }

    /// One write for each connection that has output.
    pub(crate) fn write_dirty(&mut self) {
        self.collect_dirty();
        let mut dirty = std::mem::take(&mut self.connections.dirty);
        let share = (WRITE_TURN_BYTES / dirty.len().max(1)).max(LEAST_SHARE_BYTES);
        for &id in &dirty {
            self.write_connection(id, share);
        }
        dirty.clear();
        dirty.append(&mut self.connections.dirty);
        self.connections.dirty = dirty;
        self.collect_dirty();
    }

    fn collect_dirty(&mut self) {
        while let Some(id) = self.worker.next_dirty() {
            if self
                .connections
                .find(id)
                .is_some_and(|connection| !connection.blocked)
            {
                self.connections.dirty.push(id);
            }
        }
    }

    /// Writes so many bytes at most.
    fn write_connection(&mut self, id: ConnectionId, share: usize) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        if connection.blocked {
            return;
        }
        let Some(outbox) = self.worker.outbox(id) else {
            return;
        };
        if outbox.is_empty() && !connection.transport.has_pending() {
            connection.waiting = false;
            // What is behind a gate is still to be said: that the connection ends, and why.
            if connection.closing && outbox.is_spent() {
                self.finish(id, false);
            }
            return;
        }
        let mut chunks = [IoSlice::new(&[]); CHUNKS_A_WRITE];
        let filled = outbox.chunks_within(share, &mut chunks);
        let written = connection.transport.write_vectored(&chunks[..filled]);
        let Ok(Written {
            count,
            blocked,
            moved,
        }) = written
        else {
            return self.end(id);
        };
        outbox.advance(count);
        let left = !outbox.is_empty() || connection.transport.has_pending();
        let spent = !left && outbox.is_spent();
        if moved || !connection.waiting {
            connection.progress = self.now;
        }
        connection.blocked = blocked;
        connection.waiting = left;
        if blocked && !connection.watched {
            connection.watched = true;
            self.deadlines
                .push(self.write_deadline(self.now), Deadline::Write(id));
        }
        self.worker.written(id, count, self.now);
        if !blocked && left {
            self.connections.dirty.push(id);
        } else if spent && self.connections.find(id).is_some_and(|each| each.closing) {
            self.finish(id, false);
        }
    }

    /// Output was waiting when the deadline was set: closes the connection if nothing of it
    /// has moved since.
    pub(crate) fn check_progress(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        if !connection.blocked || !connection.waiting {
            connection.watched = false;
            return;
        }
        let progress = connection.progress;
        let deadline = self.write_deadline(progress);
        if deadline > self.now {
            self.deadlines.push(deadline, Deadline::Write(id));
            return;
        }
        self.common.counters.write_timeouts.add(1);
        self.reset(id);
    }

    fn write_deadline(&self, since: Time) -> Time {
        since.after_seconds(self.common.shared.options().limits.write_timeout_seconds)
    }

    /// Gives those that began to close and could not be flushed a last deadline.
    pub(crate) fn bound_closing(&mut self) {
        let mut closing = std::mem::take(&mut self.connections.closing);
        for id in closing.drain(..) {
            if self.connections.find(id).is_some() {
                let deadline = self.now.after_seconds(CLOSE_SECONDS);
                self.deadlines.push(deadline, Deadline::Close(id));
            }
        }
        self.connections.closing = closing;
    }

    /// The time to flush is over.
    pub(crate) fn close_unflushed(&mut self, id: ConnectionId) {
        if self.connections.find(id).is_some() {
            self.reset(id);
        }
    }

    /// All is written: closes the connection. `ended`: a layer below MQTT has ended it.
    fn finish(&mut self, id: ConnectionId, ended: bool) {
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        self.worker.closed(id, self.now);
        if ended || connection.lingers || connection.transport.has_farewell() {
            self.say_farewell(connection.transport, connection.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_few_bytes() {
        assert!(
            size_of::<Option<Connection>>() <= 80,
            "{}",
            size_of::<Option<Connection>>()
        );
    }
}
