//! What may be asked of an engine and said to it while it runs, from any thread.

use std::os::fd::RawFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use noctule_broker::{
    Advice, Banned, ClientInfo, Consultation, Decision, Hooked, Hooks, Peer, Rule,
};
use noctule_packets::ReasonCode;

use super::Engine;
use crate::authentication::Question;
use crate::error::OptionsError;
use crate::events::Record;
use crate::post::{Handover, Message};
use crate::tap::{self, Tap, TapOptions};
use crate::transport::{Channel, Socket, Transport};

/// Stands for the listener of a connection from within.
const NO_LISTENER: u16 = u16::MAX;

/// Publications from outside that wait for one worker, at most.
const MAX_WAITING_PUBLICATIONS: usize = 4_096;

/// The longest wait for workers to say who is there.
const CLIENTS_TIMEOUT: Duration = Duration::from_secs(60);

impl Engine {
    /// Keeps somebody out for some time (`None`: for ever), and ends their connections.
    pub fn ban(&self, banned: Banned, duration: Option<Duration>, reason: &str) {
        let now = self.common.clock.now();
        let until = duration.map_or(noctule_broker::Time::NEVER, |duration| now.after(duration));
        self.common.shared.bans().ban(banned, until, reason);
        for worker in 0..self.options.worker_count() {
            self.send(worker, Message::EndBanned);
        }
    }

    /// Lets somebody in again; false if they were not banned.
    pub fn unban(&self, banned: &Banned) -> bool {
        self.common.shared.bans().unban(banned)
    }

    /// Each ban in force, how many seconds it has left (`None`: for ever), and why.
    #[must_use]
    pub fn bans(&self) -> Vec<(Banned, Option<u64>, Box<str>)> {
        let now = self.common.clock.now();
        let bans = self.common.shared.bans().list(now).into_iter();
        bans.map(|(banned, ban)| {
            let is_bounded = ban.until != noctule_broker::Time::NEVER;
            let left = is_bounded.then(|| now.seconds_until(ban.until));
            (banned, left, ban.reason)
        })
        .collect()
    }

    /// Asks clients to go elsewhere: 5.0 clients are told 0x9D (`moved`, for good) or 0x9C
    /// and, if given, where.
    pub fn drain(&self, server_reference: Option<&str>, moved: bool) {
        let Some(running) = self.running.get() else {
            return;
        };
        for post in running.posts.iter() {
            let server_reference = server_reference.map(str::to_owned);
            post.send(Message::Drain {
                server_reference,
                moved,
            });
        }
    }

    /// Whether the broker's events are to be recorded; they are not, at first.
    pub fn observe(&self, observed: bool) {
        self.common.shared.observe(observed);
    }

    /// Every counter and gauge by name, over all workers.
    #[must_use]
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.common.shared.statistics();
        all.extend(self.common.counters.values());
        all.push(("sockets_open", self.common.admission.connections()));
        all.push(("handshakes_open", self.common.admission.greetings()));
        all
    }

    /// Log lines and events, oldest first: up to `maximum`, after waiting for the first at
    /// most `timeout` (`None`: as long as it takes). Empty: none came in time. `None`: the
    /// engine has stopped and all have been taken.
    #[must_use]
    pub fn next_events(&self, timeout: Option<Duration>, maximum: usize) -> Option<Vec<Record>> {
        self.common.records.take(timeout, maximum)
    }

    /// A descriptor that is readable while events wait and after the engine has stopped.
    /// It stays ours: poll it, never read or close it.
    #[must_use]
    pub fn event_descriptor(&self) -> RawFd {
        self.common.records.descriptor()
    }

    /// Clients that wait for the authenticator, oldest first; otherwise as
    /// [`Engine::next_events`]. Each is to be answered, once.
    #[must_use]
    pub fn next_requests(
        &self,
        timeout: Option<Duration>,
        maximum: usize,
    ) -> Option<Vec<Question>> {
        self.common.questions.take(timeout, maximum)
    }

    /// As [`Engine::event_descriptor`], for the requests.
    #[must_use]
    pub fn request_descriptor(&self) -> RawFd {
        self.common.questions.descriptor()
    }

    /// Answers a request; false if that has been done before.
    pub fn answer(&self, number: u64, decision: Decision) -> bool {
        let Some(asker) = self.common.questions.settle(number) else {
            return false;
        };
        self.send(asker.worker, Message::Answer(asker.connection, decision));
        true
    }

    /// Asks these hooks from the start on; false if some have been set before.
    pub fn set_hooks(&self, hooks: Hooks) -> bool {
        self.common.shared.set_hooks(hooks)
    }

    /// Questions to the hooks, each with its worker; otherwise as [`Engine::next_events`].
    /// Each is to be answered, once, by worker and number.
    #[must_use]
    pub fn next_consultations(
        &self,
        timeout: Option<Duration>,
        maximum: usize,
    ) -> Option<Vec<(usize, Consultation)>> {
        self.common.consultations.take(timeout, maximum)
    }

    /// As [`Engine::event_descriptor`], for the questions to hooks.
    #[must_use]
    pub fn consultation_descriptor(&self) -> RawFd {
        self.common.consultations.descriptor()
    }

    /// Answers questions to hooks, each worker's in their order. One that is not open any more
    /// is ignored.
    pub fn advise(&self, answers: Vec<(usize, u64, Advice)>) {
        let workers = self.options.worker_count();
        let mut by_worker: Vec<Vec<(u64, Advice)>> = Vec::new();
        by_worker.resize_with(workers, Vec::new);
        for (worker, number, advice) in answers {
            if let Some(of_worker) = by_worker.get_mut(worker) {
                of_worker.push((number, advice));
            }
        }
        for (worker, answers) in by_worker.into_iter().enumerate() {
            if !answers.is_empty() {
                self.send(worker, Message::Advice(answers));
            }
        }
    }

    /// Has whoever authorizes asked anew about everything that one client does, or all do, and
    /// about their subscriptions at once.
    pub fn forget_permissions(&self, client: Option<&str>) {
        let Some(client) = client else {
            for worker in 0..self.options.worker_count() {
                self.send(worker, Message::ForgetPermissions(None));
            }
            return;
        };
        let owner = self.common.shared.worker_of(client);
        self.send(owner, Message::ForgetPermissions(Some(client.into())));
    }

    /// Whether there is an event for each message delivered, besides the others.
    pub fn observe_deliveries(&self, observed: bool) {
        self.common.shared.observe_deliveries(observed);
    }

    /// Gives a client's session other rules, from its next packet and the next delivery on;
    /// `None` allows everything. Does nothing to a client without a session.
    pub fn set_permissions(&self, client: &str, rules: Option<Vec<Rule>>) {
        let owner = self.common.shared.worker_of(client);
        self.send(owner, Message::Permissions(client.into(), rules));
    }

    /// Ends a client's connection, if it has one; a 5.0 client is told the reason.
    pub fn disconnect(&self, client: &str, reason: ReasonCode) {
        let owner = self.common.shared.worker_of(client);
        self.send(owner, Message::Disconnect(client.into(), reason));
    }

    /// Every session there is, connected or not; `None` where a worker does not answer within
    /// `timeout`. Less than all is no answer: rules would be changed for some alone.
    #[must_use]
    pub fn clients(&self, timeout: Duration) -> Option<Vec<ClientInfo>> {
        let Some(running) = self.running.get().filter(|running| running.is_here()) else {
            return Some(Vec::new());
        };
        let (sender, receiver) = mpsc::channel();
        for post in running.posts.iter() {
            post.send(Message::Clients(sender.clone()));
        }
        drop(sender);
        let until = Instant::now() + timeout.min(CLIENTS_TIMEOUT);
        all_answers(&receiver, until)
    }

    /// Publishes a message on the broker's own account; false if a worker has more to do
    /// than it can, so that it is worth trying again a little later.
    ///
    /// # Errors
    /// [`OptionsError`] if the topic is no topic name, or begins with `$`.
    pub fn publish(&self, own: Hooked) -> Result<bool, OptionsError> {
        let topic = &*own.topic;
        if topic.starts_with('$') || noctule_topics::validate_name(topic).is_err() {
            let text = format!("{topic:?} is not a topic name to publish to");
            return Err(OptionsError(text));
        }
        // All of one topic by one worker, in order.
        let owner = self.common.shared.worker_of(topic);
        let running = self.running.get().filter(|running| running.is_here());
        if running.is_some_and(|running| running.posts[owner].len() > MAX_WAITING_PUBLICATIONS) {
            return Ok(false);
        }
        self.send(owner, Message::Publish(Box::new(own)));
        Ok(true)
    }

    /// Up to `most` retained messages that match a filter, behind the topic `after`, in the
    /// order of their topics, and whether there may be more.
    ///
    /// # Errors
    /// [`OptionsError`] if the filter is none.
    pub fn retained(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<(Vec<Hooked>, bool), OptionsError> {
        noctule_topics::validate_filter(filter)
            .map_err(|error| OptionsError(format!("{filter:?}: {}", error.0)))?;
        let now = self.common.clock.now();
        let shared = &self.common.shared;
        Ok(shared.retained_messages(filter, after, most, now))
    }

    /// The retained message of one topic.
    #[must_use]
    pub fn retained_of(&self, topic: &str) -> Option<Hooked> {
        let now = self.common.clock.now();
        self.common.shared.retained_message(topic, now)
    }

    /// Opens a tap; waits until its subscription is there.
    ///
    /// # Errors
    /// The engine does not run, or has refused it.
    pub fn tap(&self, options: &TapOptions) -> std::io::Result<Tap> {
        let refused = |text: &str| std::io::Error::other(text.to_owned());
        let running = self.running.get().filter(|running| running.is_here());
        let running = running.ok_or_else(|| refused("the engine does not run"))?;
        let owner = self.common.shared.worker_of(&options.client_identifier());
        let (ours, theirs) = tap::pair()?;
        let ticket = self.common.admission.admit(NO_LISTENER, None);
        let handover = Handover {
            transport: Transport::Channel(Channel::Plain(Socket::Unix(theirs))),
            ticket: ticket.ok_or_else(|| refused("limits.max_connections is reached"))?,
            peer: Peer {
                listener: NO_LISTENER,
                is_private: true,
                is_internal: true,
                ..Peer::default()
            },
            deadline: self.common.clock.now().after(CLIENTS_TIMEOUT),
            bytes: options.greeting()?,
        };
        running.posts[owner].send(Message::Adopt(Box::new(handover)));
        Tap::open(ours)
    }
}

/// What all senders have sent before they went; `None` if one is still there by then.
fn all_answers<T>(receiver: &Receiver<Vec<T>>, until: Instant) -> Option<Vec<T>> {
    let mut all = Vec::new();
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(some) => all.extend(some),
            Err(RecvTimeoutError::Disconnected) => return Some(all),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_some_workers_are_no_answer() {
        let (sender, receiver) = mpsc::channel();
        let slow = sender.clone();
        sender.send(vec![1]).unwrap();
        drop(sender);
        assert_eq!(all_answers(&receiver, Instant::now()), None);
        slow.send(vec![2]).unwrap();
        drop(slow);
        assert_eq!(all_answers(&receiver, Instant::now()), Some(vec![2]));
    }
}
