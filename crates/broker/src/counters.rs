//! What each worker counts: written by it alone, read by anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with one writer. Plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub fn subtract(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One worker's counters, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters { $($(#[$doc])* pub $name: Counter),* }

        impl Counters {
            /// Every counter by name, added up over all workers.
            pub fn totals(workers: &[Arc<Counters>]) -> Vec<(&'static str, u64)> {
                vec![$((
                    stringify!($name),
                    workers.iter().fold(0, |sum, each| sum.wrapping_add(each.$name.value())),
                )),*]
            }
        }
    };
}

counters! {
    /// Sessions with a connection now.
    clients_connected,
    /// Sessions kept without a connection now.
    clients_disconnected,
    /// Sessions ended because their expiry interval was over.
    clients_expired,
    /// CONNECT packets accepted since the start.
    connections_accepted,
    /// CONNECT packets refused since the start.
    connections_refused,
    /// Subscriptions held now, shared ones included.
    subscriptions,
    /// Subscriptions to shared groups held now.
    shared_subscriptions,
    /// Packets of any type.
    messages_received,
    messages_sent,
    bytes_received,
    bytes_sent,
    publish_received,
    publish_sent,
    publish_dropped,
    /// Bans for failed logins and flapping, and CONNECT packets refused for a ban.
    bans_made,
    connections_banned,
    /// Questions to hooks, and those nobody answered in time.
    hooks_asked,
    hooks_failed,
    publish_bytes_received,
    publish_bytes_sent,
    /// Messages queued or in flight now.
    messages_stored,
    messages_stored_bytes,
    /// Of these, what is on disk and not in memory.
    messages_on_disk,
    messages_on_disk_bytes,
    /// Bytes that have come and are not carried out: of packets whose rest has not come, and
    /// of clients that are not read now.
    partial_bytes,
    /// Connections whose output waits now, and the bytes of it.
    waiting_out,
    waiting_out_bytes,
    /// Route look-ups answered by the cache, and those that were not.
    route_hits,
    route_misses,
}
