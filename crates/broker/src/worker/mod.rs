//! One worker: the sessions it owns, the connections to them, and what happens to both.
//!
//! Each file here is one concern, as methods of [`Worker`]; this one is the door.

mod acknowledge;
mod authenticate;
mod ban;
mod connack;
mod connect;
mod consult;
mod deliver;
mod deny;
mod departed;
mod disconnect;
mod drain;
mod hold;
mod mount;
mod own;
mod packets;
mod pen;
mod permit;
mod publish;
mod queue;
mod record;
mod redispatch;
mod restore;
mod retained;
mod route;
mod send;
mod spill;
mod subscribe;
mod system;
mod timers;
mod will;
mod worst;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use noctule_packets::ReasonCode;

use crate::batch::{Batch, Item};
use crate::connection::{Connection, Rare, Stage};
use crate::counters::Counters;
use crate::effect::{Decision, Effect, Event, Peer};
use crate::hooks::Advice;
use crate::journal::Journal;
use crate::key::{ConnectionId, SessionKey};
use crate::message::Message;
use crate::outbox::{Outbox, Pool};
use crate::outgoing::Outbound;
use crate::routes::RouteCache;
use crate::session::Session;
use crate::shared::Shared;
use crate::slab::Slab;
use crate::time::Time;
use crate::wheel::Wheel;

use consult::Held;
use deny::Denials;
use departed::Departed;
use disconnect::Cause;
use drain::Draining;
use pen::Template;
use record::Mark;
use spill::Spill;
use system::SystemTopics;
use timers::Timer;
use worst::Suspects;

pub use restore::{Restored, RestoredShare, Restorer};

/// A worker of the broker: a state machine without I/O.
pub struct Worker {
    index: usize,
    shared: Arc<Shared>,
    /// Those of `shared` that are this worker's.
    counters: Arc<Counters>,
    connections: Slab<Connection>,
    sessions: Slab<Session>,
    by_client: HashMap<Arc<str>, (u32, u32)>,
    routes: RouteCache,
    template: Template,
    journal: Journal,
    spill: Spill,
    /// Retained messages cleared a moment ago, in order.
    marks: VecDeque<Mark>,
    pool: Pool,
    wheel: Wheel<Timer>,
    due: Vec<Timer>,
    dirty: VecDeque<ConnectionId>,
    effects: VecDeque<Effect>,
    batches: Vec<Batch>,
    /// Messages to be published once the work in hand is done: wills.
    unpublished: VecDeque<Message>,
    /// Messages of ended group members, for the members that are left.
    orphans: VecDeque<Outbound>,
    /// Connections to be ended once the work in hand is done.
    ending: VecDeque<(ConnectionId, Cause)>,
    /// Publishers to go on with what they had sent before they were paused.
    resumed: VecDeque<ConnectionId>,
    /// Sessions in the order in which they went offline, and when.
    offline: VecDeque<(SessionKey, Time)>,
    system: Option<Box<SystemTopics>>,
    suspects: Suspects,
    draining: Option<Draining>,
    denials: Denials,
    departed: Departed,
    /// What hooks have been asked about, by number.
    held: HashMap<u64, Held>,
    consultations: u64,
    random: u64,
    assigned: u64,
}

impl Worker {
    /// Worker `index` of those that share `shared`.
    #[must_use]
    pub fn new(index: usize, shared: Arc<Shared>) -> Worker {
        let seed = shared.seed ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut worker = Worker {
            index,
            counters: shared.counters[index].clone(),
            connections: Slab::new(),
            sessions: Slab::new(),
            by_client: HashMap::new(),
            routes: RouteCache::new(),
            template: Template::default(),
            journal: Journal::new(shared.durable),
            spill: Spill::new(
                shared.options.limits.queue_memory_bytes / shared.workers as u64,
                shared.options.limits.max_queued_age_seconds,
            ),
            marks: VecDeque::new(),
            pool: Pool::default(),
            wheel: Wheel::new(),
            due: Vec::new(),
            dirty: VecDeque::new(),
            effects: VecDeque::new(),
            batches: (0..shared.workers).map(|_| Batch::default()).collect(),
            unpublished: VecDeque::new(),
            orphans: VecDeque::new(),
            ending: VecDeque::new(),
            resumed: VecDeque::new(),
            offline: VecDeque::new(),
            system: None,
            suspects: Suspects::default(),
            draining: None,
            denials: Denials::default(),
            departed: Departed::default(),
            held: HashMap::new(),
            consultations: 0,
            random: seed | 1,
            assigned: 0,
            shared,
        };
        worker.begin_system_topics();
        worker
    }

    /// A connection belongs to this worker from now on. Its CONNECT must be
    /// complete by `deadline`.
    pub fn accepted(&mut self, peer: Peer, deadline: Time, now: Time) -> ConnectionId {
        let largest = self.shared.options.max_packet_bytes(peer.listener);
        let connection = Connection::new(peer, largest, now);
        let (index, generation) = self.connections.insert(connection);
        let id = ConnectionId::new(index, generation);
        self.wheel.insert(deadline, Timer::Connect(id));
        id
    }

    /// Bytes that arrived, cut anywhere. A connection that is unknown or being
    /// closed is ignored.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8], now: Time) {
        self.take_bytes(id, bytes, now);
        self.settle(now);
    }

    /// The connection is gone: its end came from outside, or [`Effect::Close`] has
    /// been carried out. Frees the id.
    pub fn closed(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        if connection.stage != Stage::Closing {
            self.end_connection(id, Cause::NETWORK, now);
        }
        if let Some(mut connection) = self.connections.remove(id.index(), id.generation()) {
            connection.outbox.discard(&mut self.pool);
        }
        self.settle(now);
    }

    /// What waits to be written to a connection.
    pub fn outbox(&mut self, id: ConnectionId) -> Option<&mut Outbox> {
        self.connection(id).map(|connection| &mut connection.outbox)
    }

    /// `n` bytes of the outbox were taken by the socket. Lets what was queued
    /// behind them move up.
    pub fn written(&mut self, id: ConnectionId, n: usize, now: Time) {
        self.counters().bytes_sent.add(n as u64);
        let Some(connection) = self.connections.get_mut(id.index(), id.generation()) else {
            return;
        };
        if connection.outbox.is_empty() {
            connection.outbox.release(&mut self.pool);
        }
        self.relieve(id, n, now);
        self.settle(now);
    }

    /// A connection that has output since it was last named here.
    pub fn next_dirty(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.dirty.pop_front() {
            if let Some(connection) = self.connection(id) {
                connection.dirty = false;
                return Some(id);
            }
        }
        None
    }

    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Hands out what goes to other workers: at most one batch for each.
    pub fn take_batches(&mut self, mut send: impl FnMut(usize, Batch)) {
        for worker in 0..self.batches.len() {
            if !self.batches[worker].items.is_empty() {
                let next = self.shared.spent.take();
                send(worker, std::mem::replace(&mut self.batches[worker], next));
            }
        }
    }

    /// A batch from another worker.
    pub fn delivered(&mut self, mut batch: Batch, now: Time) {
        let mut bytes = batch.bytes.as_slice();
        for item in batch.items.drain(..) {
            match item {
                Item::Copied(copied, route) => {
                    let route = &batch.routes[route as usize];
                    self.deliver_copied(copied, &mut bytes, route, now);
                }
                Item::CopiedToOne(copied, target) => {
                    self.deliver_copied_to_one(copied, &mut bytes, target, now);
                }
                Item::Routed {
                    message,
                    sequence,
                    route,
                } => {
                    self.deliver_routed(message, sequence, &route, now);
                }
                Item::Chosen {
                    outbound,
                    granted,
                    key,
                    group,
                } => {
                    self.deliver_chosen(*outbound, granted, key, &group, now);
                }
                Item::Hold { publisher } => self.hold_publisher(publisher),
                Item::Release { publisher } => self.release_publisher(publisher),
            }
        }
        // One on its way and one to be filled, for each.
        self.shared.spent.keep(batch, 2 * self.batches.len());
        self.settle(now);
    }

    /// An authenticator's answer to [`Effect::Authenticate`].
    pub fn answered(&mut self, id: ConnectionId, decision: Decision, now: Time) {
        self.handle_decision(id, decision, now);
        self.settle(now);
    }

    /// The answer to an [`Effect::Consult`]; one that comes too late is ignored.
    pub fn advised(&mut self, number: u64, advice: Advice, now: Time) {
        self.take_advice(number, advice, now);
        self.settle(now);
    }

    /// Whether a hook has been asked and has not answered.
    #[must_use]
    pub fn is_consulting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Time has passed: carries out what is due.
    pub fn tick(&mut self, now: Time) {
        self.run_timers(now);
        self.settle(now);
    }

    /// When [`Worker::tick`] is to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        self.wheel.next_due()
    }

    /// Ends every connection: DISCONNECT 0x8B to 5.0 clients, then closes.
    pub fn shut_down(&mut self, now: Time) {
        self.end_all(Cause::SHUTTING_DOWN, now);
    }

    /// Sends clients elsewhere, now and when they come: 0x9D if the server has
    /// `moved` for good, else 0x9C.
    pub fn drain(&mut self, server_reference: Option<&str>, moved: bool, now: Time) {
        let reason = if moved {
            ReasonCode::SERVER_MOVED
        } else {
            ReasonCode::USE_ANOTHER_SERVER
        };
        self.draining = Some(Draining {
            reason,
            server_reference: server_reference.map(Into::into),
        });
        self.end_all(Cause::by_server(reason, "drained"), now);
    }

    /// Connections of this worker now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Carries out what could not be done in the midst of something else, until
    /// nothing is left: ends, wills, orphans, publishers that go on.
    fn settle(&mut self, now: Time) {
        self.denials.set_time(now);
        loop {
            if let Some((id, cause)) = self.ending.pop_front() {
                self.end_connection(id, cause, now);
            } else if let Some(message) = self.unpublished.pop_front() {
                self.publish_message(message, now);
            } else if let Some(outbound) = self.orphans.pop_front() {
                self.redispatch(outbound, now);
            } else if let Some(id) = self.resumed.pop_front() {
                self.go_on(id, now);
            } else {
                return;
            }
        }
    }

    #[inline]
    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index(), id.generation())
    }

    fn rare(&self, id: ConnectionId) -> Option<&Rare> {
        let connection = self.connections.get(id.index(), id.generation())?;
        connection.rare.as_deref()
    }

    #[inline]
    fn session(&mut self, key: SessionKey) -> Option<&mut Session> {
        if key == SessionKey::BROKER || key.worker() != self.index {
            return None;
        }
        self.sessions.get_mut(key.slot(), key.epoch())
    }

    /// The open connection of `id` and the session it serves.
    fn open(&mut self, id: ConnectionId) -> Option<(&mut Connection, &mut Session)> {
        let connection = self.connections.get_mut(id.index(), id.generation())?;
        if connection.stage != Stage::Open {
            return None;
        }
        let key = connection.session;
        let session = self.sessions.get_mut(key.slot(), key.epoch())?;
        Some((connection, session))
    }

    #[inline]
    fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Names a connection as one that has something to write. Always inlined for speed: the
    /// compiler wavers where it is called for every delivery (fan-out of `make instructions`).
    #[inline(always)]
    fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.index(), id.generation())
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.shared.observed() {
            self.effects.push_back(Effect::Event(event()));
        }
    }

    /// A number nobody outside can foresee (xorshift64*).
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
