//! Names of sessions and connections that are cheap to copy and safe when stale.

/// A session of some worker: worker, slot, and an epoch that tells a slot's tenants apart.
///
/// Ordered by worker first, so that sorted targets lie together by worker. The
/// top bit marks a shared group instead of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u64);

const GROUP: u64 = 1 << 63;
const EPOCH_BITS: u32 = 24;
const SLOT_BITS: u32 = 28;

impl SessionKey {
    /// Nobody: the broker itself as a publisher.
    pub const BROKER: SessionKey = SessionKey(u64::MAX);

    /// A client whose message was kept by an earlier process: no session has this key.
    pub(crate) const FORMER: SessionKey = SessionKey((1 << (EPOCH_BITS + SLOT_BITS)) - 1);

    pub(crate) fn session(worker: usize, slot: u32, epoch: u32) -> SessionKey {
        let epoch = u64::from(epoch) & ((1 << EPOCH_BITS) - 1);
        let slot = u64::from(slot) & ((1 << SLOT_BITS) - 1);
        SessionKey((worker as u64) << (EPOCH_BITS + SLOT_BITS) | slot << EPOCH_BITS | epoch)
    }

    pub(crate) fn group(index: u32) -> SessionKey {
        SessionKey(GROUP | u64::from(index))
    }

    pub(crate) fn as_group(self) -> Option<u32> {
        (self.0 & GROUP != 0).then_some(self.0 as u32)
    }

    #[inline]
    pub(crate) fn worker(self) -> usize {
        (self.0 >> (EPOCH_BITS + SLOT_BITS)) as usize
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        (self.0 >> EPOCH_BITS) as usize & ((1 << SLOT_BITS) - 1)
    }

    #[inline]
    pub(crate) fn epoch(self) -> u32 {
        self.0 as u32 & ((1 << EPOCH_BITS) - 1)
    }
}

/// A connection of one worker; the generation tells an index's tenants apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    index: u32,
    generation: u32,
}

impl ConnectionId {
    pub(crate) fn new(index: u32, generation: u32) -> ConnectionId {
        ConnectionId { index, generation }
    }

    /// Dense from 0: fit for an index into a table kept beside this one.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    #[inline]
    #[must_use]
    pub fn generation(self) -> u32 {
        self.generation
    }
}
