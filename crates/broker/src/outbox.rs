//! Bytes on their way to one connection.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::message::Message;

/// Payloads from this size on are written from the message itself and never
/// copied for a subscriber. Below it a copy is cheaper than a vector entry.
pub(crate) const SHARED_PAYLOAD_BYTES: usize = 8 << 10;

/// Bytes of the buffers kept for connections that begin to write; idle ones hold none.
const POOLED_BYTES: usize = 8 << 20;

/// Bytes in front that are worth moving the rest for.
const COMPACT_BYTES: usize = 64 << 10;

/// Output of one connection: bytes, with shared payloads set in between.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of `bytes` have been written.
    sent: usize,
    splices: Option<Box<Splices>>,
    #[expect(
        clippy::box_collection,
        reason = "outboxes are many, and few wait for a disk"
    )]
    gates: Option<Box<VecDeque<Gate>>>,
}

/// What lies behind it promises something that is not on disk yet.
#[derive(Debug)]
struct Gate {
    /// The gate stands after `bytes[..at]` and this many splices.
    at: usize,
    splices: usize,
    sequence: u64,
}

#[derive(Debug, Default)]
struct Splices {
    queue: VecDeque<Splice>,
    bytes: usize,
}

/// A payload that comes after `bytes[..at]`.
#[derive(Debug)]
struct Splice {
    at: usize,
    message: Message,
    /// What of the message's bytes is still to be written.
    from: usize,
}

impl Outbox {
    /// Whether there is nothing to write now; what is behind a gate does not count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.gates.as_ref().and_then(|gates| gates.front()) {
            Some(gate) => gate.at == self.sent && gate.splices == 0,
            None => {
                self.sent == self.bytes.len()
                    && self.splices.as_ref().is_none_or(|each| each.bytes == 0)
            }
        }
    }

    /// Bytes waiting to be written, those behind gates included.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        let spliced = self.splices.as_ref().map_or(0, |splices| splices.bytes);
        self.bytes.len() - self.sent + spliced
    }

    /// Fills `into` with what is to be written next; returns how many it filled.
    pub fn chunks<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        self.chunks_within(usize::MAX, into)
    }

    /// The same, with so many bytes at most.
    pub fn chunks_within<'a>(&'a self, mut bytes: usize, into: &mut [IoSlice<'a>]) -> usize {
        let gate = self.gates.as_ref().and_then(|gates| gates.front());
        let (end, most) = gate.map_or((self.bytes.len(), usize::MAX), |gate| {
            (gate.at, gate.splices)
        });
        let mut filled = 0;
        let mut position = self.sent;
        let splices = self.splices.iter().flat_map(|splices| &splices.queue);
        for splice in splices.take(most) {
            let payload = &splice.message.bytes()[splice.from..];
            for chunk in [&self.bytes[position..splice.at], payload] {
                if filled == into.len() || bytes == 0 {
                    return filled;
                }
                if !chunk.is_empty() {
                    let chunk = &chunk[..chunk.len().min(bytes)];
                    into[filled] = IoSlice::new(chunk);
                    filled += 1;
                    bytes -= chunk.len();
                }
            }
            position = splice.at;
        }
        if filled < into.len() && position < end && bytes > 0 {
            let end = end.min(position.saturating_add(bytes));
            into[filled] = IoSlice::new(&self.bytes[position..end]);
            filled += 1;
        }
        filled
    }

    /// `n` bytes have been written.
    pub fn advance(&mut self, mut n: usize) {
        while let Some(splices) = &mut self.splices {
            let Some(splice) = splices.queue.front_mut() else {
                break;
            };
            let plain = (splice.at - self.sent).min(n);
            self.sent += plain;
            n -= plain;
            if n == 0 {
                break;
            }
            let left = splice.message.bytes().len() - splice.from;
            let taken = left.min(n);
            splices.bytes -= taken;
            splice.from += taken;
            n -= taken;
            if taken == left {
                splices.queue.pop_front();
                let gates = self.gates.iter_mut().flat_map(|gates| gates.iter_mut());
                gates.for_each(|gate| gate.splices -= 1);
            }
        }
        self.sent = (self.sent + n).min(self.bytes.len());
        if self.is_spent() {
            self.bytes.clear();
            self.sent = 0;
            self.splices = None;
        } else if self.sent >= COMPACT_BYTES && self.sent * 2 >= self.bytes.len() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.sent);
        for splice in self
            .splices
            .iter_mut()
            .flat_map(|splices| &mut splices.queue)
        {
            splice.at -= self.sent;
        }
        for gate in self.gates.iter_mut().flat_map(|gates| gates.iter_mut()) {
            gate.at -= self.sent;
        }
        self.sent = 0;
    }

    /// The buffer to append to; one from the pool if there is none yet.
    #[inline]
    pub(crate) fn buffer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
        &mut self.bytes
    }

    /// Appends a message's payload without copying it.
    pub(crate) fn splice_payload(&mut self, message: Message) {
        let from = message.payload_start();
        let splices = self.splices.get_or_insert_default();
        splices.bytes += message.bytes().len() - from;
        splices.queue.push_back(Splice {
            at: self.bytes.len(),
            message,
            from,
        });
    }

    /// Holds back everything appended from now on, until `sequence` is committed.
    pub(crate) fn gate(&mut self, sequence: u64) {
        let gates = self.gates.get_or_insert_default();
        if gates.back().is_some_and(|last| last.sequence == sequence) {
            return;
        }
        let splices = self
            .splices
            .as_ref()
            .map_or(0, |splices| splices.queue.len());
        gates.push_back(Gate {
            at: self.bytes.len(),
            splices,
            sequence,
        });
    }

    /// Lets go what waited for `sequence` and for those before it.
    pub(crate) fn open_gates(&mut self, sequence: u64) {
        let Some(gates) = &mut self.gates else { return };
        while gates
            .front()
            .is_some_and(|first| first.sequence <= sequence)
        {
            gates.pop_front();
        }
        if gates.is_empty() {
            self.gates = None;
        }
    }

    /// Whether nothing is in it, not even behind a gate.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.gates.is_none() && self.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn discard(&mut self, pool: &mut Pool) {
        self.gates = None;
        self.advance(self.len());
        self.release(pool);
    }

    /// Gives the buffer back if nothing is in it.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if self.bytes.capacity() != 0 && self.is_spent() {
            pool.give(std::mem::take(&mut self.bytes));
        }
    }
}

/// Empty buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.buffers.pop() else {
            return Vec::with_capacity(512);
        };
        self.bytes -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.bytes + buffer.capacity() <= POOLED_BYTES {
            self.bytes += buffer.capacity();
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SessionKey;
    use crate::message::{Head, Parts};
    use crate::time::Time;
    use noctule_packets::QoS;

    fn message(payload: &[u8]) -> Message {
        let head = Head {
            publisher: SessionKey::BROKER,
            arrived: Time(0),
            deadline: Time::NEVER,
            qos: QoS::AtMostOnce,
            retain: false,
        };
        Message::new(
            head,
            Parts {
                topic: b"t",
                properties: b"",
                payload,
            },
        )
    }

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = outbox.chunks_within(step, &mut slices);
            let before = all.len();
            for slice in &slices[..filled] {
                all.extend_from_slice(slice);
            }
            let bytes = all.len() - before;
            assert!((1..=step).contains(&bytes), "{bytes} of {step}");
            outbox.advance(bytes);
        }
        all
    }

    #[test]
    fn shared_payloads_come_out_between_the_bytes_around_them_at_any_write_size() {
        for step in 1..40 {
            let mut pool = Pool::default();
            let mut outbox = Outbox::default();
            outbox.buffer(&mut pool).extend_from_slice(b"one ");
            outbox.splice_payload(message(b"two "));
            outbox.splice_payload(message(b"three "));
            outbox.buffer(&mut pool).extend_from_slice(b"four ");
            outbox.splice_payload(message(b"five"));
            assert_eq!(outbox.len(), 23);
            assert_eq!(drain(&mut outbox, step), b"one two three four five");
        }
    }

    #[test]
    fn what_is_behind_a_gate_waits_and_keeps_its_place() {
        for step in 1..40 {
            let mut pool = Pool::default();
            let mut outbox = Outbox::default();
            outbox.buffer(&mut pool).extend_from_slice(b"free ");
            outbox.splice_payload(message(b"too "));
            outbox.gate(1);
            outbox.splice_payload(message(b"held "));
            outbox.buffer(&mut pool).extend_from_slice(b"back ");
            outbox.gate(2);
            outbox.buffer(&mut pool).extend_from_slice(b"long");
            assert_eq!(drain(&mut outbox, step), b"free too ");
            assert_eq!(outbox.len(), 14);
            outbox.release(&mut pool);
            outbox.open_gates(1);
            assert_eq!(drain(&mut outbox, step), b"held back ");
            outbox.buffer(&mut pool).extend_from_slice(b"er");
            outbox.open_gates(2);
            assert_eq!(drain(&mut outbox, step), b"longer");
            assert_eq!(outbox.len(), 0);
        }
    }

    #[test]
    fn an_empty_outbox_gives_its_buffer_back() {
        let mut pool = Pool::default();
        let mut outbox = Outbox::default();
        outbox.buffer(&mut pool).push(1);
        outbox.release(&mut pool);
        assert_eq!(pool.buffers.len(), 0);
        outbox.advance(1);
        outbox.release(&mut pool);
        assert_eq!(pool.buffers.len(), 1);
    }
}
