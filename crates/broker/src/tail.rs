//! The end of a queue for which memory had no room: places on the disk, in order, and
//! between them what is in memory alone.

use std::collections::VecDeque;

use noctule_packets::QoS;

use crate::message::Message;
use crate::outgoing::Outbound;
use crate::time::Time;

/// A message whose record is on disk, or on its way there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    /// As in [`Outbound::sequence`].
    pub sequence: u64,
    /// Once this batch is committed the record can be read.
    pub batch: u64,
    /// From here on nobody wants it.
    pub until: Time,
    /// As [`Message::size`] was.
    pub size: u32,
    pub qos: QoS,
}

impl Reference {
    /// Stands for a message that waits `max_age` seconds at most (0: for ever).
    pub fn to(outbound: &Outbound, batch: u64, max_age: u64) -> Reference {
        let message: &Message = &outbound.message;
        let head = message.head();
        let oldest = match max_age {
            0 => Time::NEVER,
            seconds => head.arrived.after_seconds(seconds),
        };
        Reference {
            sequence: outbound.sequence,
            batch,
            until: head.deadline.min(oldest),
            size: message.size() as u32,
            qos: outbound.qos,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Waiting {
    OnDisk(Reference),
    /// Of this there is no record, or it is a shared group's, which may need it at once.
    Here(Box<Outbound>),
}

impl Waiting {
    pub fn size(&self) -> u64 {
        match self {
            Waiting::OnDisk(reference) => u64::from(reference.size),
            Waiting::Here(outbound) => outbound.message.size() as u64,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Waiting>,
    /// Of all entries.
    pub bytes: u64,
    pub on_disk: u64,
    pub on_disk_bytes: u64,
    /// The next ones are being read.
    pub is_asked: bool,
    /// To be looked at when the next one is committed.
    pub awaits_commit: bool,
}

impl Tail {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn front(&self) -> Option<&Waiting> {
        self.entries.front()
    }

    pub fn push_back(&mut self, waiting: Waiting) {
        self.count(&waiting);
        self.entries.push_back(waiting);
    }

    pub fn push_front(&mut self, waiting: Waiting) {
        self.count(&waiting);
        self.entries.push_front(waiting);
    }

    fn count(&mut self, waiting: &Waiting) {
        self.bytes += waiting.size();
        if let Waiting::OnDisk(reference) = waiting {
            self.on_disk += 1;
            self.on_disk_bytes += u64::from(reference.size);
        }
    }

    pub fn pop_front(&mut self) -> Option<Waiting> {
        let waiting = self.entries.pop_front()?;
        self.bytes -= waiting.size();
        if let Waiting::OnDisk(reference) = &waiting {
            self.on_disk -= 1;
            self.on_disk_bytes -= u64::from(reference.size);
        }
        Some(waiting)
    }

    /// The place of the first message, if it is the record `sequence`: that is taken out.
    pub fn take(&mut self, sequence: u64) -> Option<Reference> {
        let Some(&Waiting::OnDisk(reference)) = self.front() else {
            return None;
        };
        (reference.sequence == sequence).then(|| self.pop_front())?;
        Some(reference)
    }

    /// The places at the front, as far as there is nothing between them.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.entries.iter().map_while(|waiting| match waiting {
            Waiting::OnDisk(reference) => Some(reference),
            Waiting::Here(_) => None,
        })
    }

    /// What there is in memory, in order.
    pub fn into_here(self) -> impl Iterator<Item = Outbound> {
        self.entries
            .into_iter()
            .filter_map(|waiting| match waiting {
                Waiting::OnDisk(_) => None,
                Waiting::Here(outbound) => Some(*outbound),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_the_disk_takes_few_bytes() {
        assert!(size_of::<Waiting>() <= 32, "{}", size_of::<Waiting>());
    }
}
