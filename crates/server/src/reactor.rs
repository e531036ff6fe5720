//! One worker thread: the turn that everything else is a step of.
//!
//! poll → greetings and accepts → reads → letters from other workers → deadlines →
//! effects → batches → one write for each connection with output. While something is
//! left to do the next turn does not wait.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll};
use noctule_broker::{Pressure, Time, Worker};

use crate::acceptor::Acceptor;
use crate::common::Common;
use crate::deadlines::{Deadline, Deadlines};
use crate::descriptors::Reserve;
use crate::durable::Keeper;
use crate::events::Record;
use crate::farewell::Farewells;
use crate::greeting::Greetings;
use crate::listener::Listening;
use crate::memory;
use crate::post::{Mailbox, Message, Post};
use crate::session::{Connections, Edge};

/// Bytes read from one connection in one turn, at most.
const READ_BUFFER_BYTES: usize = 256 << 10;

/// Bytes after which a turn reads no further connection: what they lead to is to be
/// written, and handed to the other workers, in pieces.
pub(crate) const READ_TURN_BYTES: usize = 256 << 10;

/// Readiness reports taken by one poll.
const EVENTS_A_TURN: usize = 1_024;

/// How often the process's memory is measured, by the first worker: to be told, and to
/// be kept within a limit, which a gigabit a second may reach soon.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
const LIMITED_MEMORY_INTERVAL: Duration = Duration::from_millis(100);

/// How long until a store without room is tried again.
const STORE_RETRY: Duration = Duration::from_millis(20);

/// How long peers have to close after the last byte when the engine stops.
const STOP_FAREWELL: Duration = Duration::from_millis(200);

/// What a readiness report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Waker,
    Listener(usize),
    Greeting(usize),
    Connection(usize),
    Farewell(usize),
}

impl From<Token> for mio::Token {
    fn from(token: Token) -> mio::Token {
        let (kind, index) = match token {
            Token::Waker => (0, 0),
            Token::Listener(index) => (0, index + 1),
            Token::Greeting(key) => (1, key),
            Token::Connection(index) => (2, index),
            Token::Farewell(key) => (3, key),
        };
        mio::Token(index << 2 | kind)
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Token {
        let index = token.0 >> 2;
        match token.0 & 3 {
            0 if index == 0 => Token::Waker,
            0 => Token::Listener(index - 1),
            1 => Token::Greeting(index),
            2 => Token::Connection(index),
            _ => Token::Farewell(index),
        }
    }
}

/// A worker's state machine with everything it needs of the outside.
pub(crate) struct Reactor {
    pub index: usize,
    pub common: Common,
    pub worker: Worker,
    pub poll: Poll,
    pub now: Time,
    pub posts: Arc<[Post]>,
    pub acceptor: Acceptor,
    pub greetings: Greetings,
    pub connections: Connections,
    pub farewells: Farewells,
    pub deadlines: Deadlines,
    /// What reads read into, for all connections.
    pub buffer: Box<[u8]>,
    /// The turn's events, for whoever observes.
    pub records: Vec<Record>,
    /// The way to the store, where there is one.
    pub keeper: Option<Keeper>,
    events: Events,
    mailbox: Mailbox,
    /// Empty between turns; kept for its room.
    messages: Vec<Message>,
    next_memory: Time,
    trimming: memory::Trimming,
    stopping: Option<Stopping>,
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    /// When to end whatever has not been flushed.
    deadline: Time,
    /// When the last connection was flushed.
    flushed: Option<Time>,
}

/// Whether there is another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Again,
    Last,
}

impl Reactor {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(
        index: usize,
        common: Common,
        (poll, mailbox): (Poll, Mailbox),
        posts: Arc<[Post]>,
        sockets: Vec<Listening>,
        reserve: Arc<Reserve>,
    ) -> io::Result<Reactor> {
        let token = |index| Token::Listener(index).into();
        let acceptor = Acceptor::new(sockets, poll.registry(), token, reserve)?;
        Ok(Reactor {
            index,
            worker: Worker::new(index, Arc::clone(&common.shared)),
            now: common.clock.now(),
            common,
            poll,
            posts,
            acceptor,
            greetings: Greetings::default(),
            connections: Connections::default(),
            farewells: Farewells::default(),
            deadlines: Deadlines::default(),
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            records: Vec::new(),
            keeper: None,
            events: Events::with_capacity(EVENTS_A_TURN),
            mailbox,
            messages: Vec::new(),
            next_memory: Time(0),
            trimming: memory::Trimming::new(),
            stopping: None,
        })
    }

    /// Waits for something to happen and handles it.
    ///
    /// # Errors
    /// The poll is broken: our fault.
    pub fn turn(&mut self) -> io::Result<Turn> {
        self.wait()?;
        self.now = self.common.clock.now();
        self.dispatch();
        self.accept_connections();
        // Before what connections say: a client that asks for something after a message to
        // it has been acknowledged gets the message first.
        self.handle_messages();
        if !self.is_held() {
            self.read_ready();
        }
        self.handle_deadlines();
        self.hear_of_commits();
        self.perform_effects();
        // Records first: another worker's records of a message must not be on disk before
        // those of the worker it came from.
        self.submit_records();
        self.send_batches();
        self.write_dirty();
        self.bound_closing();
        // Writing moves queued messages up and ends connections, whose wills go out.
        self.perform_effects();
        self.submit_records();
        self.send_batches();
        self.send_records();
        Ok(self.next_turn())
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let post = &self.posts[self.index];
        let timeout = match timeout {
            Some(Duration::ZERO) => timeout,
            _ if post.fall_asleep() && !self.has_commits() => timeout,
            _ => Some(Duration::ZERO),
        };
        let polled = self.poll.poll(&mut self.events, timeout);
        post.stay_awake();
        match polled {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// How long there is nothing to do; `None`: until something arrives.
    fn timeout(&self) -> Option<Duration> {
        let busy = self.connections.has_dirty()
            || (self.connections.has_ready() && !self.is_held())
            || self.acceptor.has_more()
            || !self.posts[self.index].is_empty();
        if busy {
            return Some(Duration::ZERO);
        }
        let memory = (self.index == 0).then_some(self.next_memory);
        let waits = |keeper: &Keeper| keeper.is_waiting() || keeper.is_congested();
        let waits = self.keeper.as_ref().is_some_and(waits);
        let retry = waits.then(|| self.now.after(STORE_RETRY));
        let stop = self.stopping.map(|stopping| stopping.due());
        let next = [
            self.worker.next_timeout(),
            self.deadlines.next(),
            self.greetings.next_deadline(),
            self.acceptor.paused_until(),
            memory,
            retry,
            stop,
        ];
        let next = next.into_iter().flatten().min()?;
        Some(self.common.clock.now().until(next))
    }

    /// What is on disk by now may be promised, as far as the store is well.
    fn hear_of_commits(&mut self) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        let (committed, state) = keeper.news();
        if let Some(state) = state {
            self.worker.set_store_state(state, self.now);
        }
        if let Some(sequence) = committed {
            self.worker.committed(sequence, self.now);
        }
    }

    /// Hands what this turn has recorded to the store.
    fn submit_records(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.submit(self.worker.take_records());
        }
    }

    fn has_commits(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::has_news)
    }

    /// Whether the store or another worker is so far behind that reading on would bury it.
    fn is_held(&self) -> bool {
        if self.keeper.as_ref().is_some_and(Keeper::is_congested) {
            return true;
        }
        let mut others = (0..)
            .zip(self.posts.iter())
            .filter(|(index, _)| *index != self.index);
        others.any(|(_, post)| post.is_crowded())
    }

    fn dispatch(&mut self) {
        // Taken out for the loop, because handling an event needs all of self.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token().into() {
                Token::Waker => {}
                Token::Listener(index) => self.acceptor.ready(index),
                Token::Greeting(key) => self.read_greeting(key),
                Token::Connection(index) => self.connections.edge(index, event.into()),
                Token::Farewell(key) => self.farewells.read(key, &mut self.buffer),
            }
        }
        self.events = events;
    }

    fn handle_messages(&mut self) {
        let posts = Arc::clone(&self.posts);
        let mut messages = std::mem::take(&mut self.messages);
        posts[self.index].take(&self.mailbox, |message| messages.push(message));
        let count = messages.len();
        for (number, message) in (1..).zip(messages.drain(..)) {
            self.handle_message(message);
            if number < count {
                // Each is a turn's worth: what it leads to should not pile up.
                self.write_dirty();
            }
        }
        self.messages = messages;
        if posts[self.index].relieve() {
            posts.iter().for_each(Post::wake);
        }
    }

    fn handle_message(&mut self, message: Message) {
        match message {
            // The engine is stopping: it would only be closed again.
            Message::Adopt(_) if self.stopping.is_some() => {}
            Message::Adopt(handover) => self.adopt(*handover, false),
            Message::Batch(batch) => self.worker.delivered(batch, self.now),
            Message::Drain {
                server_reference,
                moved,
            } => {
                self.worker
                    .drain(server_reference.as_deref(), moved, self.now);
            }
            Message::Answer(id, decision) => self.worker.answered(id, decision, self.now),
            Message::Advice(answers) => {
                for (number, advice) in answers {
                    self.worker.advised(number, advice, self.now);
                }
            }
            Message::ForgetPermissions(client) => {
                self.worker.forget_permissions(client.as_deref(), self.now);
            }
            Message::Permissions(client, rules) => {
                self.worker.set_permissions(&client, rules.as_deref());
            }
            Message::QueueRead(request, values) => {
                self.worker.queue_read(*request, values, self.now);
            }
            Message::EndBanned => self.worker.end_banned(self.now),
            Message::Disconnect(client, reason) => {
                self.worker.disconnect(&client, reason, self.now);
            }
            Message::Publish(own) => self.worker.publish_own(&own, self.now),
            // Who asked may have given up meanwhile.
            Message::Clients(asker) => drop(asker.send(self.worker.clients().collect())),
            Message::Stop(deadline) => self.stop(deadline),
            #[cfg(test)]
            Message::Panic => panic!("asked to by a test"),
        }
    }

    fn handle_deadlines(&mut self) {
        self.expire_greetings();
        self.acceptor.resume_due(self.now);
        while let Some(deadline) = self.deadlines.pop_due(self.now) {
            match deadline {
                Deadline::Write(id) => self.check_progress(id),
                Deadline::Close(id) => self.close_unflushed(id),
                Deadline::Farewell { key, serial } => self.farewells.expire(key, serial),
            }
        }
        if self
            .worker
            .next_timeout()
            .is_some_and(|due| due <= self.now)
        {
            self.worker.tick(self.now);
        }
        if self.index == 0 && self.next_memory <= self.now {
            if let Some(file) = self.common.ban_file.get() {
                file.save_later(&self.common.shared, self.now);
            }
            self.measure_memory();
        }
    }

    fn measure_memory(&mut self) {
        let limit = self.common.shared.options().limits.max_memory_bytes;
        let interval = match limit {
            0 => MEMORY_INTERVAL,
            _ => LIMITED_MEMORY_INTERVAL,
        };
        self.next_memory = self.now.after(interval);
        let Some(bytes) = memory::resident_bytes() else {
            return;
        };
        let told = self.common.shared.set_memory(bytes);
        let is_short = self.common.shared.is_memory_short();
        let held = self.common.shared.held_bytes();
        if self.trimming.is_due(bytes, held, is_short, self.now) && !memory::give_back() {
            self.trimming.postpone(self.now);
        }
        match told {
            None => {}
            Some(Pressure::None) => tracing::warn!(
                "memory is no longer short: {bytes} bytes of limits.max_memory_bytes = {limit}"
            ),
            Some(Pressure::High) => tracing::warn!(
                "memory is short, publishers are slowed: {bytes} bytes of \
                 limits.max_memory_bytes = {limit}"
            ),
            Some(Pressure::Full) => tracing::error!(
                "memory is spent, new clients and messages are refused: {bytes} bytes of \
                 limits.max_memory_bytes = {limit}"
            ),
        }
    }

    /// Takes no more connections and ends those that are there.
    fn stop(&mut self, deadline: Time) {
        if let Some(stopping) = &mut self.stopping {
            stopping.deadline = stopping.deadline.min(deadline);
            return;
        }
        self.stopping = Some(Stopping {
            deadline,
            flushed: None,
        });
        self.acceptor.close();
        self.greetings.clear();
        self.worker.shut_down(self.now);
    }

    fn next_turn(&mut self) -> Turn {
        let all_flushed = self.connections.len() == 0;
        let nobody_left = all_flushed && self.farewells.is_empty() && !self.worker.is_consulting();
        let Some(stopping) = &mut self.stopping else {
            return Turn::Again;
        };
        if all_flushed && stopping.flushed.is_none() {
            stopping.flushed = Some(self.now);
        }
        match nobody_left || self.now >= stopping.due() {
            true => Turn::Last,
            false => Turn::Again,
        }
    }
}

impl Stopping {
    fn due(&self) -> Time {
        let farewell = self
            .flushed
            .map_or(Time::NEVER, |flushed| flushed.after(STOP_FAREWELL));
        self.deadline.min(farewell)
    }
}

impl From<&Event> for Edge {
    fn from(event: &Event) -> Edge {
        // An error shows in the next read or write, whichever there is.
        Edge {
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            hung_up: event.is_read_closed() || event.is_error(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_poll() {
        let tokens = [
            Token::Waker,
            Token::Listener(0),
            Token::Listener(7),
            Token::Greeting(0),
            Token::Connection(1 << 30),
            Token::Farewell(3),
        ];
        for token in tokens {
            assert_eq!(Token::from(mio::Token::from(token)), token);
        }
    }
}
