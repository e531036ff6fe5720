//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use noctule_broker::Limits;

/// Counts the connections of all workers, from accept to close.
#[derive(Debug)]
pub(crate) struct Admission {
    max_connections: u64,
    /// 0: no limit, and nothing is counted by address.
    max_by_address: u64,
    connections: AtomicU64,
    by_address: Mutex<HashMap<IpAddr, u64>>,
}

/// One connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    pub fn new(limits: &Limits) -> Arc<Admission> {
        Arc::new(Admission {
            max_connections: limits.max_connections,
            max_by_address: limits.max_connections_per_address,
            connections: AtomicU64::new(0),
            by_address: Mutex::default(),
        })
    }

    /// Connections now, those included that have not said who they are.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// A place for one more connection, or `None` if a limit is reached.
    pub fn admit(self: &Arc<Admission>, address: Option<IpAddr>) -> Option<Ticket> {
        let counted = address
            .filter(|_| self.max_by_address != 0)
            .map(|ip| ip.to_canonical());
        let before = self.connections.fetch_add(1, Relaxed);
        // From here on the ticket's drop undoes the count.
        let mut ticket = Ticket {
            admission: Arc::clone(self),
            address: None,
        };
        if before >= self.max_connections {
            return None;
        }
        let Some(address) = counted else {
            return Some(ticket);
        };
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let here = by_address.entry(address).or_default();
        if *here >= self.max_by_address {
            return None;
        }
        *here += 1;
        ticket.address = Some(address);
        drop(by_address);
        Some(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.connections.fetch_sub(1, Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self
            .admission
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(here) = by_address.get_mut(&address) else {
            return;
        };
        *here -= 1;
        if *here == 0 {
            by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max_connections: u64, max_connections_per_address: u64) -> Arc<Admission> {
        let limits = Limits {
            max_connections,
            max_connections_per_address,
            ..Limits::default()
        };
        Admission::new(&limits)
    }

    #[test]
    fn a_dropped_ticket_makes_room() {
        let admission = admission(1, 0);
        let first = admission.admit(None).unwrap();
        assert!(admission.admit(None).is_none());
        drop(first);
        assert!(admission.admit(None).is_some());
        assert_eq!(admission.connections(), 0);
    }

    #[test]
    fn each_address_has_a_limit_of_its_own() {
        let admission = admission(100, 1);
        let [a, mapped, b] =
            ["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"].map(|text| text.parse().ok());
        let first = admission.admit(a).unwrap();
        assert!(admission.admit(a).is_none());
        assert!(admission.admit(mapped).is_none());
        let other = admission.admit(b).unwrap();
        drop(first);
        assert!(admission.admit(a).is_some());
        drop(other);
        assert_eq!(admission.connections(), 0);
        assert!(admission.by_address.lock().unwrap().is_empty());
    }
}
