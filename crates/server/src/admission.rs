//! How many connections there may be: in all, on one listener, from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use noctule_broker::Limits;

use crate::options::ListenerOptions;

/// Counts the connections of all workers, from accept to close.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: Places,
    listeners: Vec<ListenerPlaces>,
    /// 0: no limit, and nothing is counted by address.
    max_by_address: u64,
    by_address: Mutex<HashMap<IpAddr, u64>>,
}

#[derive(Debug)]
struct ListenerPlaces {
    connections: Places,
    /// Connections that have not said who they are.
    greetings: Places,
}

/// A number with a limit.
#[derive(Debug)]
struct Places {
    /// 0: none.
    max: u64,
    taken: AtomicU64,
}

impl Places {
    fn new(max: u64) -> Places {
        Places {
            max,
            taken: AtomicU64::new(0),
        }
    }

    /// Takes a place, and says whether there was one; to be given back in either case.
    fn take(&self) -> bool {
        let before = self.taken.fetch_add(1, Relaxed);
        self.max == 0 || before < self.max
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

/// One connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    listener: u16,
    is_greeting: bool,
}

impl Admission {
    pub fn new(limits: &Limits, listeners: &[ListenerOptions]) -> Arc<Admission> {
        let places = listeners.iter().map(|options| ListenerPlaces {
            connections: Places::new(options.max_connections),
            greetings: Places::new(options.max_handshakes),
        });
        Arc::new(Admission {
            connections: Places::new(limits.max_connections),
            listeners: places.collect(),
            max_by_address: limits.max_connections_per_address,
            by_address: Mutex::default(),
        })
    }

    /// Connections now, those included that have not said who they are.
    pub fn connections(&self) -> u64 {
        self.connections.taken.load(Relaxed)
    }

    /// Connections that have not said who they are.
    pub fn greetings(&self) -> u64 {
        let each = self.listeners.iter();
        each.map(|listener| listener.greetings.taken.load(Relaxed))
            .sum()
    }

    /// A place for one more connection, or `None` if a limit is reached.
    pub fn admit(self: &Arc<Admission>, listener: u16, address: Option<IpAddr>) -> Option<Ticket> {
        // From here on the ticket's drop undoes the counts, so all are taken first.
        let mut is_free = self.connections.take();
        if let Some(places) = self.listeners.get(usize::from(listener)) {
            is_free &= places.connections.take();
            is_free &= places.greetings.take();
        }
        let mut ticket = Ticket {
            admission: Arc::clone(self),
            address: None,
            listener,
            is_greeting: true,
        };
        let is_free = is_free && address.is_none_or(|address| ticket.count_address(address));
        is_free.then_some(ticket)
    }

    fn by_address(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Counts the connection to an address that was not known before; returns whether that
    /// has room.
    pub fn count_address(&mut self, address: IpAddr) -> bool {
        if self.admission.max_by_address == 0 || self.address.is_some() {
            return true;
        }
        let address = address.to_canonical();
        let mut by_address = self.admission.by_address();
        let here = by_address.entry(address).or_default();
        if *here >= self.admission.max_by_address {
            return false;
        }
        *here += 1;
        drop(by_address);
        self.address = Some(address);
        true
    }

    /// The connection has said who it is.
    pub fn greeted(&mut self) {
        if std::mem::take(&mut self.is_greeting)
            && let Some(places) = self.admission.listeners.get(usize::from(self.listener))
        {
            places.greetings.give_back();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.greeted();
        self.admission.connections.give_back();
        if let Some(places) = self.admission.listeners.get(usize::from(self.listener)) {
            places.connections.give_back();
        }
        let Some(address) = self.address else { return };
        let mut by_address = self.admission.by_address();
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
        let listener = ListenerOptions {
            max_connections: 4,
            max_handshakes: 2,
            ..ListenerOptions::at("127.0.0.1", 0)
        };
        Admission::new(&limits, &[listener])
    }

    #[test]
    fn a_dropped_ticket_makes_room() {
        let admission = admission(1, 0);
        let first = admission.admit(0, None).unwrap();
        assert!(admission.admit(0, None).is_none());
        drop(first);
        assert!(admission.admit(0, None).is_some());
        assert_eq!((admission.connections(), admission.greetings()), (0, 0));
    }

    #[test]
    fn each_address_has_a_limit_of_its_own() {
        let admission = admission(100, 1);
        let [a, mapped, b] =
            ["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"].map(|text| text.parse().ok());
        let first = admission.admit(0, a).unwrap();
        assert!(admission.admit(0, a).is_none());
        assert!(admission.admit(0, mapped).is_none());
        let other = admission.admit(0, b).unwrap();
        drop(first);
        let mut behind_a_proxy = admission.admit(0, None).unwrap();
        assert!(!behind_a_proxy.count_address(b.unwrap()));
        assert!(behind_a_proxy.count_address(a.unwrap()));
        drop((other, behind_a_proxy));
        assert_eq!(admission.connections(), 0);
        assert!(admission.by_address.lock().unwrap().is_empty());
    }

    #[test]
    fn a_listener_has_limits_of_its_own() {
        let admission = admission(100, 0);
        let mut tickets: Vec<Ticket> = (0..2).filter_map(|_| admission.admit(0, None)).collect();
        assert!(admission.admit(0, None).is_none(), "two greet at once");
        tickets.iter_mut().for_each(Ticket::greeted);
        tickets.extend((0..2).filter_map(|_| admission.admit(0, None)));
        assert_eq!(tickets.len(), 4);
        tickets.iter_mut().for_each(Ticket::greeted);
        assert!(admission.admit(0, None).is_none(), "four at once");
        drop(tickets);
        assert_eq!((admission.connections(), admission.greetings()), (0, 0));
    }
}
