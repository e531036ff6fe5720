//! One thread's poll loop: sockets in, packets to `incoming`, bursts out.

use std::collections::VecDeque;
use std::io;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use mio::{Events, Poll, Token};
use noctule_packets::FixedHeader;

use crate::clock::{MILLISECOND, SECOND, seconds};
use crate::connection::{Connection, Role, State};
use crate::error::LoadError;
use crate::incoming::{self, Bench};
use crate::latency::LatencyHistogram;
use crate::report::{Phase, Progress};
use crate::shared::Shared;
use crate::tally::Tally;
use crate::timer::{TIMER, Timer};

/// Bytes one read may take. What fills it is read on after the other connections.
const READ_BYTES: usize = 1 << 20;
/// Bytes a packet may have beside its payload: a topic name of the largest size, and more.
const PACKET_OVERHEAD_BYTES: usize = 128 * 1024;
/// Connections being opened at once, so that the broker's backlog does not overflow.
const DIALS: usize = 128;
const EVENTS: usize = 1_024;
const PROGRESS_EVERY: u64 = 100 * MILLISECOND;

/// Sees the progress, and may end the run.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// A thread's part of the run.
pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) thread: usize,
    pub(crate) connections: Vec<Connection>,
    pub(crate) tally: Tally,
    pub(crate) latency: LatencyHistogram,
    pub(crate) timer: Timer,
    /// The time of this turn.
    pub(crate) now: u64,
    /// Publishers that may have something to send (indexes of connections).
    pub(crate) runnable: VecDeque<usize>,
    /// It has given up because nothing moved.
    pub(crate) has_stalled: bool,
    poll: Poll,
    events: Events,
    /// Connections whose last read filled the buffer: no further event will tell of them.
    unread: Vec<usize>,
    opening: usize,
    read_buffer: Vec<u8>,
    meetings: u64,
    last_moves: u64,
    last_move_at: u64,
    next_ping: u64,
    observer: Option<Observer<'a>>,
    phase: Phase,
    phase_began: u64,
    next_progress: u64,
}

impl<'a> Worker<'a> {
    /// `observer` is the first thread's.
    pub(crate) fn new(
        shared: &'a Shared,
        thread: usize,
        observer: Option<Observer<'a>>,
    ) -> Result<Worker<'a>, LoadError> {
        let poll = Poll::new().map_err(LoadError::system("a poll"))?;
        let timer = Timer::new(&poll).map_err(LoadError::system("a timer"))?;
        let now = shared.clock.now();
        Ok(Worker {
            shared,
            thread,
            connections: Vec::new(),
            tally: Tally::default(),
            latency: LatencyHistogram::new(),
            timer,
            now,
            runnable: VecDeque::new(),
            has_stalled: false,
            poll,
            events: Events::with_capacity(EVENTS),
            unread: Vec::new(),
            opening: 0,
            read_buffer: vec![0; READ_BYTES],
            meetings: 0,
            last_moves: 0,
            last_move_at: now,
            next_ping: now,
            observer,
            phase: Phase::Opening,
            phase_began: now,
            next_progress: now + PROGRESS_EVERY,
        })
    }

    /// Begins a phase; the observer is told before anything happens in it.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.now = self.shared.clock.now();
        self.phase_began = self.now;
        self.shared.post(self.thread, &self.tally);
        self.show_progress();
        self.now = self.shared.clock.now();
        self.last_move_at = self.now;
    }

    /// The numbers below `count` that fall to this thread.
    pub(crate) fn share(&self, count: u32) -> impl Iterator<Item = u32> + use<> {
        let threads = self.shared.plan.scenario.threads as usize;
        (self.thread as u32..count).step_by(threads)
    }

    /// Adds a connection, not opened yet; its index.
    pub(crate) fn add(&mut self, role: Role, number: u64) -> usize {
        self.connections.push(Connection::new(role, number));
        self.connections.len() - 1
    }

    /// Opens connections until all are up; fails where some do not come up.
    pub(crate) fn open_all(&mut self, range: Range<usize>) -> Result<(), LoadError> {
        let mut next = range.start;
        self.last_move_at = self.shared.clock.now();
        while self.goes_on() {
            while next < range.end && self.opening < DIALS {
                self.dial(next);
                next += 1;
            }
            if next == range.end && self.opening == 0 {
                break;
            }
            self.step(Duration::from_millis(100));
        }
        let is_up = |connection: &&Connection| connection.state == State::Ready;
        let up = self.connections[range.clone()].iter().filter(is_up).count();
        if up == range.len() || self.shared.is_interrupted() {
            return Ok(());
        }
        let why = self.tally.first_problem.clone();
        Err(LoadError::Connect {
            up: up as u64,
            asked: range.len() as u64,
            why: why.unwrap_or_else(|| "no answer in time".into()),
        })
    }

    /// Waits until all threads have come as far.
    pub(crate) fn meet(&mut self) {
        self.meetings += 1;
        self.shared.post(self.thread, &self.tally);
        self.shared.arrive();
        while !self.shared.is_complete(self.meetings) && !self.shared.is_stopped() {
            self.step(Duration::from_millis(1));
        }
    }

    /// Whether the run is to go on: nobody ended it, and it has not stalled.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.shared.is_stopped() {
            return false;
        }
        let limit = (self.shared.plan.scenario.stall_seconds * SECOND as f64) as u64;
        if self.quiet() > limit {
            self.has_stalled = true;
        }
        !self.has_stalled
    }

    /// For how long nothing has moved, nanoseconds.
    pub(crate) fn quiet(&mut self) -> u64 {
        let moves = self.shared.moves();
        if moves != self.last_moves {
            self.last_moves = moves;
            self.last_move_at = self.now;
        }
        self.now.saturating_sub(self.last_move_at)
    }

    /// Begins to open a connection that is new or closed.
    pub(crate) fn dial(&mut self, index: usize) {
        let nth = self.shared.next_dial();
        let connection = &mut self.connections[index];
        connection.begun = self.shared.clock.now();
        connection.state = State::Dialing;
        self.opening += 1;
        let registry = self.poll.registry();
        let dialed = self.shared.dialer.dial(nth).and_then(|mut transport| {
            transport.register(registry, Token(index))?;
            Ok(transport)
        });
        match dialed {
            Ok(transport) => connection.transport = Some(transport),
            Err(error) => self.lose(index, &error),
        }
    }

    /// One turn: what the poll has, or nothing within `timeout`.
    pub(crate) fn step(&mut self, timeout: Duration) {
        let timeout = if self.unread.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => self.shared.fail(LoadError::System {
                what: "poll",
                source,
            }),
        }
        for index in std::mem::take(&mut self.unread) {
            self.read(index);
        }
        for event in &events {
            if event.token() == TIMER {
                continue;
            }
            let index = event.token().0;
            if event.is_writable() {
                self.on_writable(index);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(index);
                self.resume_blocked(index);
            }
        }
        self.events = events;
        self.now = self.shared.clock.now();
        self.ping_all_when_due();
        self.shared.post(self.thread, &self.tally);
        if self.now >= self.next_progress {
            self.show_progress();
        }
    }

    fn on_writable(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state == State::Dialing {
            return self.finish_dial(index);
        }
        self.resume_blocked(index);
    }

    /// What was blocked may have waited for a handshake, which reading has carried on.
    fn resume_blocked(&mut self, index: usize) {
        if self.connections[index].is_blocked {
            self.flush(index);
            self.consider(index);
        }
    }

    fn finish_dial(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(transport) = &mut connection.transport else {
            return;
        };
        match transport.finish_dial() {
            Ok(false) => {}
            Ok(true) => {
                connection.put_connect(&self.shared.plan);
                self.flush(index);
            }
            Err(error) => self.lose(index, &error),
        }
    }

    fn read(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(transport) = &mut connection.transport else {
            return;
        };
        let kept = connection.partial.len();
        self.read_buffer[..kept].copy_from_slice(&connection.partial);
        match transport.read(&mut self.read_buffer[kept..]) {
            Ok(0) => {
                let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed it");
                self.lose(index, &ended);
            }
            Ok(count) => {
                connection.partial.clear();
                let end = kept + count;
                if end == self.read_buffer.len() {
                    self.unread.push(index);
                }
                self.take_packets(index, end);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.unread.push(index),
            Err(error) => self.lose(index, &error),
        }
    }

    /// Takes the whole packets at the beginning of the read buffer, keeps the rest.
    fn take_packets(&mut self, index: usize, end: usize) {
        let connection = &mut self.connections[index];
        let before = connection.state;
        let mut bench = Bench {
            plan: &self.shared.plan,
            tally: &mut self.tally,
            latency: &mut self.latency,
            clock: self.shared.clock,
            now: self.shared.clock.now(),
        };
        let mut at = 0;
        let mut missing = 0;
        while !matches!(connection.state, State::Closed | State::Leaving) {
            let rest = &self.read_buffer[at..end];
            let header = match FixedHeader::decode(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => {
                    bench.tally.wrong(format!("no packet: {error}"));
                    connection.state = State::Closed;
                    break;
                }
            };
            let Some(body) = rest.get(header.header_len..header.total()) else {
                missing = header.total();
                break;
            };
            incoming::handle(connection, header, body, &mut bench);
            at += header.total();
        }
        if connection.state != State::Closed {
            connection
                .partial
                .extend_from_slice(&self.read_buffer[at..end]);
        }
        self.make_room(index, missing);
        self.settle(index, before);
    }

    /// Makes the read buffer large enough for a packet of so many bytes.
    fn make_room(&mut self, index: usize, packet: usize) {
        if packet < self.read_buffer.len() {
            return;
        }
        let largest = self.shared.plan.scenario.payload_sizes().1 as usize;
        if packet > largest + PACKET_OVERHEAD_BYTES {
            self.tally.wrong(format!("a packet of {packet} bytes"));
            self.connections[index].state = State::Closed;
            return;
        }
        self.read_buffer.resize(packet + 1, 0);
    }

    /// Carries out what packets have made of a connection's state.
    fn settle(&mut self, index: usize, before: State) {
        let state = self.connections[index].state;
        self.opening -= usize::from(before.is_opening() && !state.is_opening());
        match state {
            State::Ready if before != State::Ready => self.tally.ready += 1,
            State::Closed => {
                self.tally.ready -= u64::from(before == State::Ready);
                return self.forget(index);
            }
            _ => {}
        }
        self.flush(index);
        match state {
            State::Leaving => self.forget(index),
            _ => self.consider(index),
        }
    }

    /// Writes what waits, and keeps count of the publishers that are not done.
    pub(crate) fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(transport) = &mut connection.transport else {
            return;
        };
        match connection.out.flush(transport) {
            Ok(complete) => connection.is_blocked = !complete,
            Err(error) => return self.lose(index, &error),
        }
        if let Role::Publisher(publisher) = &mut connection.role
            && publisher.is_busy
            && publisher.is_done()
            && !connection.is_blocked
        {
            publisher.is_busy = false;
            self.tally.busy_publishers -= 1;
        }
    }

    /// Puts a publisher that may have something to send into the list of those.
    pub(crate) fn consider(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Role::Publisher(publisher) = &mut connection.role else {
            return;
        };
        let may_send = connection.state == State::Ready && !connection.is_blocked;
        if may_send && publisher.is_busy && !publisher.is_queued && publisher.has_room() {
            publisher.is_queued = true;
            self.runnable.push_back(index);
        }
    }

    /// A connection ended though nobody asked.
    #[cold]
    fn lose(&mut self, index: usize, error: &io::Error) {
        let before = self.connections[index].state;
        self.opening -= usize::from(before.is_opening());
        self.tally.ready -= u64::from(before == State::Ready);
        self.tally.closed(format!("a connection ended: {error}"));
        self.forget(index);
    }

    /// Closes a connection, asked for or not.
    fn forget(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.state = State::Closed;
        connection.transport = None;
        connection.is_blocked = false;
        connection.partial = Vec::new();
        connection.out.clear();
        if let Role::Publisher(publisher) = &mut connection.role
            && publisher.is_busy
        {
            publisher.is_busy = false;
            self.tally.busy_publishers -= 1;
        }
    }

    /// Asks the broker for a sign that it has taken everything so far.
    pub(crate) fn ping(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state != State::Ready {
            return;
        }
        connection.awaits_pingresp = true;
        noctule_packets::Packet::Pingreq.encode(self.shared.plan.version, connection.out.buffer());
        self.flush(index);
    }

    fn ping_all_when_due(&mut self) {
        let keep_alive = u64::from(self.shared.plan.scenario.keep_alive_seconds) * SECOND;
        if keep_alive == 0 || self.now < self.next_ping {
            return;
        }
        self.next_ping = self.now + keep_alive / 2;
        for index in 0..self.connections.len() {
            self.ping(index);
        }
    }

    /// Late duplicates show up now.
    pub(crate) fn linger(&mut self) {
        let end = self.now + self.shared.plan.scenario.linger_milliseconds * MILLISECOND;
        while self.now < end && !self.shared.is_stopped() {
            self.step(Duration::from_millis(10));
        }
    }

    /// Says goodbye to the broker on all connections.
    pub(crate) fn disconnect_all(&mut self) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.state == State::Ready {
                connection.put_disconnect(&self.shared.plan);
                if let Some(transport) = &mut connection.transport {
                    // Whether the broker still hears it does not matter any more.
                    let _ = connection.out.flush(transport);
                }
            }
            connection.transport = None;
        }
    }

    fn show_progress(&mut self) {
        self.next_progress = self.now + PROGRESS_EVERY;
        let Some(observer) = &mut self.observer else {
            return;
        };
        let total = self.shared.total();
        let progress = Progress {
            phase: self.phase,
            elapsed_seconds: seconds(self.now.saturating_sub(self.phase_began)),
            connections: total.ready,
            sent: total.sent,
            received: total.received,
            expected: self.shared.plan.expected(),
            duplicates: total.duplicates,
            out_of_order: total.out_of_order,
            p50_us: self.latency.quantile(0.5),
            p99_us: self.latency.quantile(0.99),
        };
        if observer(&progress).is_break() {
            self.shared.interrupt();
        }
    }
}
