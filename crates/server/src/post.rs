//! What workers send each other, and the engine sends them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};

use mio::{Registry, Token, Waker};
use noctule_broker::{
    Advice, Batch, ClientInfo, ConnectionId, Decision, Hooked, Peer, QueueRequest, Rule, Time,
};
use noctule_packets::ReasonCode;

use crate::admission::Ticket;
use crate::transport::Transport;

/// Messages waiting for a worker above which the others read no more from their own
/// connections. Each may be a batch of all that one turn has read, and what is under way
/// comes on top of what the owner has queued before it can tell a publisher to wait.
const CROWDED: usize = 2;

pub(crate) enum Message {
    Adopt(Box<Handover>),
    Batch(Batch),
    Drain {
        server_reference: Option<String>,
        moved: bool,
    },
    /// The authenticator's answer.
    Answer(ConnectionId, Decision),
    /// What hooks say, by the number of the question.
    Advice(Vec<(u64, Advice)>),
    /// Whoever authorizes is to be asked again, about one client or all.
    ForgetPermissions(Option<Box<str>>),
    /// Other rules for a client; `None`: it may do everything.
    Permissions(Box<str>, Option<Vec<Rule>>),
    /// Somebody has been banned: end what is theirs.
    EndBanned,
    /// What was asked of the store, as far as it can be read.
    QueueRead(Box<QueueRequest>, Vec<Option<Vec<u8>>>),
    /// End a client's connection.
    Disconnect(Box<str>, ReasonCode),
    /// Who is here is to be sent there.
    Clients(Sender<Vec<ClientInfo>>),
    /// Publish on the broker's own account.
    Publish(Box<Hooked>),
    /// End all connections by then.
    Stop(Time),
    #[cfg(test)]
    Panic,
}

/// A connection on its way to the worker that owns its client.
pub(crate) struct Handover {
    pub transport: Transport,
    pub ticket: Ticket,
    pub peer: Peer,
    /// When its CONNECT must be complete.
    pub deadline: Time,
    /// What has been read from it.
    pub bytes: Vec<u8>,
}

/// A worker's letter box, seen by the senders.
pub(crate) struct Post {
    sender: Sender<Message>,
    waker: Waker,
    waiting: AtomicUsize,
    asleep: AtomicBool,
    /// Somebody waits until this box is no longer crowded.
    awaited: AtomicBool,
}

/// The same letter box, seen by its owner.
pub(crate) struct Mailbox(Receiver<Message>);

impl Post {
    /// # Errors
    /// The system has no descriptor for the waker.
    pub fn new(registry: &Registry, token: Token) -> io::Result<(Post, Mailbox)> {
        let (sender, receiver) = mpsc::channel();
        let post = Post {
            sender,
            waker: Waker::new(registry, token)?,
            waiting: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
        };
        Ok((post, Mailbox(receiver)))
    }

    /// Leaves a message. If the worker has ended the message goes with it.
    ///
    /// The wake-up costs a system call only if the worker sleeps, and then once: the
    /// owner says that it sleeps before it looks at `waiting` for the last time, a
    /// sender counts its message before it looks at `asleep`.
    pub fn send(&self, message: Message) {
        self.waiting.fetch_add(1, SeqCst);
        if self.sender.send(message).is_err() {
            self.waiting.fetch_sub(1, SeqCst);
            return;
        }
        self.wake();
    }

    /// Ends the owner's sleep, if it sleeps.
    pub fn wake(&self) {
        if self.asleep.swap(false, SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!("a worker could not be woken: {error}");
        }
    }

    /// The owner is about to wait; returns whether it may (no message is there).
    pub fn fall_asleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        if self.waiting.load(SeqCst) == 0 {
            return true;
        }
        self.stay_awake();
        false
    }

    pub fn stay_awake(&self) {
        self.asleep.store(false, SeqCst);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Messages that the owner has not taken yet.
    pub fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Whether the owner has more to do than it can. If so the caller, another worker, is
    /// woken when that has changed (said before the last look at `waiting`, as above).
    pub fn is_crowded(&self) -> bool {
        if self.waiting.load(SeqCst) <= CROWDED {
            return false;
        }
        self.awaited.store(true, SeqCst);
        self.waiting.load(SeqCst) > CROWDED
    }

    /// The owner has taken what was there: whether others waited for that.
    pub fn relieve(&self) -> bool {
        self.awaited.load(SeqCst) && self.awaited.swap(false, SeqCst)
    }

    /// Takes the messages that are there now, not those that come meanwhile.
    pub fn take(&self, mailbox: &Mailbox, mut handle: impl FnMut(Message)) {
        for _ in 0..self.waiting.load(SeqCst) {
            let Ok(message) = mailbox.0.try_recv() else {
                return;
            };
            self.waiting.fetch_sub(1, SeqCst);
            handle(message);
        }
    }
}
