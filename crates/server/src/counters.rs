//! What the server counts; the broker counts the rest.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Events that are rare enough for one set of numbers to serve all workers.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub $name: Counter),* }

        impl Counters {
            /// Every counter by name.
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.value())),*]
            }
        }
    };
}

counters! {
    /// Sockets accepted since the start, those refused at once included.
    sockets_accepted,
    /// Sockets closed at once because a limit on connections was reached.
    sockets_refused,
    /// Sockets closed at once because their address is banned, or comes too often.
    sockets_refused_banned,
    sockets_refused_rate,
    /// Sockets closed at once because the process had no descriptor left.
    sockets_refused_no_descriptor,
    /// Connections whose TLS, WebSocket or PROXY beginning was not as it must be.
    handshakes_failed,
    /// Connections handed to another worker.
    connections_handed_over,
    /// Connections closed because their CONNECT did not come in time.
    connect_timeouts,
    /// Connections closed because they did not take what was written.
    write_timeouts,
    /// Clients refused because too many others waited for the authenticator.
    authentications_refused_busy,
    /// Records dropped because nobody fetched them.
    records_dropped,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
