//! Hooks in the present tense: what is asked outside before it happens, and the answers.
//!
//! A worker never waits: it puts aside what it asks about, leaves the connection unread, and
//! goes on with the others. Where nobody answers in time the answer is no.

use noctule_packets::{QoS, ReasonCode};

use crate::access::Action;

/// Which hooks there are. Set once, before anything is asked.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// CONNECT is put to [`crate::Effect::Authenticate`] even without an authenticator.
    pub connect: bool,
    /// Those who answer about CONNECT also say who a client is.
    pub authenticate: bool,
    pub subscribe: bool,
    /// Topic filters: what matches none of them never leaves the engine.
    pub publish: Vec<Box<str>>,
    /// Whether PUBLISH, wills and SUBSCRIBE need permission from outside besides the rules.
    pub authorize: bool,
    /// After this an answer counts as no.
    pub timeout_milliseconds: u64,
}

impl Hooks {
    pub(crate) fn ask_about(&self, topic: &str) -> bool {
        let mut filters = self.publish.iter();
        filters.any(|filter| noctule_topics::matches(filter, topic))
    }
}

/// Whose packet it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub client: Box<str>,
    pub user: Option<Box<str>>,
}

/// A question of a worker; it is answered once, by its number.
#[derive(Clone, Debug)]
pub struct Consultation {
    pub number: u64,
    pub who: Who,
    pub subject: Subject,
}

#[derive(Clone, Debug)]
pub enum Subject {
    /// A message that matches a hook's filter; `is_will`: nobody waits for an answer to it.
    Publish { message: Box<Hooked>, is_will: bool },
    /// Filters as the client wrote them, with the QoS asked for.
    Subscribe(Vec<(Box<str>, QoS)>),
    /// Whether the client may do each of these.
    Authorize(Vec<Access>),
}

/// A message, for a hook to look at.
#[derive(Clone, Debug)]
pub struct Hooked {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    pub qos: QoS,
    pub retain: bool,
    /// The properties that travel with it, as they are encoded.
    pub properties: Box<[u8]>,
    /// Its message expiry interval, in seconds.
    pub expiry_seconds: Option<u32>,
}

/// One thing that a client wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    pub action: Action,
    /// A topic name, or a filter where the action is to subscribe.
    pub topic: Box<str>,
    pub qos: QoS,
    pub retain: bool,
}

/// The answer to a [`Consultation`].
#[derive(Clone, Debug)]
pub enum Advice {
    /// Nobody could answer; it holds for no.
    Failed,
    /// The message goes on, with these changes.
    Publish(Box<Changes>),
    /// It does not.
    Refuse(ReasonCode),
    /// For each filter in its order: the QoS granted at most, or why not.
    Subscribe(Vec<Result<QoS, ReasonCode>>),
    /// For each thing in its order. Remembered until [`crate::Worker::forget_permissions`].
    Authorize(Vec<bool>),
}

/// What a hook changed of a message.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub topic: Option<Box<str>>,
    pub payload: Option<Box<[u8]>>,
    pub qos: Option<QoS>,
    pub retain: Option<bool>,
    /// All properties anew, encoded, and the message expiry interval in seconds.
    pub properties: Option<(Box<[u8]>, Option<u32>)>,
}
