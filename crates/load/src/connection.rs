//! One connection to the broker and the packets that open and close it.

use noctule_packets::{
    Acknowledgement, Connect, Disconnect, PacketType, Properties, PropertyBuffer, PropertyId,
    ReasonCode, Subscribe, SubscriptionRequest, Version,
};

use crate::outgoing::Outgoing;
use crate::plan::Plan;
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::transport::Transport;

const SUBSCRIBE_IDENTIFIER: u16 = 1;
const NEVER_EXPIRES: u32 = u32::MAX;

/// What a connection is for.
#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
    /// Held open, with a subscription of its own.
    Idle,
    /// Comes, subscribes where it should, and goes.
    Visitor,
}

impl Role {
    fn letter(&self) -> char {
        match self {
            Role::Publisher(_) => 'p',
            Role::Subscriber(_) => 's',
            Role::Idle => 'i',
            Role::Visitor => 'v',
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    New,
    /// The transport is being connected.
    Dialing,
    /// CONNECT is out.
    Greeting,
    /// SUBSCRIBE is out.
    Subscribing,
    Ready,
    /// A visitor has all it came for.
    Leaving,
    Closed,
}

impl State {
    pub(crate) fn is_opening(self) -> bool {
        matches!(self, State::Dialing | State::Greeting | State::Subscribing)
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) transport: Option<Transport>,
    pub(crate) state: State,
    /// The transport took no more; a writable event ends it.
    pub(crate) is_blocked: bool,
    pub(crate) awaits_pingresp: bool,
    /// A packet that has come in part.
    pub(crate) partial: Vec<u8>,
    pub(crate) out: Outgoing,
    /// When it was dialed, or a retained run's SUBSCRIBE sent.
    pub(crate) begun: u64,
    /// Which of its role it is; of a visitor: which session of the run.
    pub(crate) number: u64,
    pub(crate) role: Role,
}

impl Connection {
    pub(crate) fn new(role: Role, number: u64) -> Connection {
        Connection {
            transport: None,
            state: State::New,
            is_blocked: false,
            awaits_pingresp: false,
            partial: Vec::new(),
            out: Outgoing::default(),
            begun: 0,
            number,
            role,
        }
    }

    /// Whether the broker will be asked for this connection's subscriptions.
    pub(crate) fn subscribes(&self, plan: &Plan) -> bool {
        match self.role {
            Role::Publisher(_) => false,
            Role::Subscriber(_) | Role::Idle => true,
            Role::Visitor => plan.scenario.filters > 0,
        }
    }

    pub(crate) fn put_connect(&mut self, plan: &Plan) {
        let scenario = &plan.scenario;
        let mut properties = PropertyBuffer::new();
        if scenario.persistent && plan.version == Version::V5 {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, NEVER_EXPIRES);
        }
        let connect = Connect {
            version: plan.version,
            bridge: false,
            clean_start: !scenario.persistent,
            keep_alive: scenario.keep_alive_seconds,
            client_identifier: &plan.client_identifier(self.role.letter(), self.number),
            will: None,
            user_name: scenario.user_name.as_deref(),
            password: scenario.password.as_deref().map(str::as_bytes),
            properties: properties.as_properties(),
        };
        connect.encode(self.out.buffer());
        self.state = State::Greeting;
    }

    pub(crate) fn put_subscribe(&mut self, plan: &Plan) {
        let filters = match self.role {
            Role::Subscriber(_) => plan.filters(self.number as u32),
            Role::Visitor => plan.session_filters(self.number),
            _ => vec![format!("{}/{}", plan.scenario.prefix, self.number)],
        };
        let mut requests = Vec::new();
        for filter in &filters {
            let request = SubscriptionRequest {
                filter,
                qos: plan.qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
            };
            request.encode(plan.version, &mut requests);
        }
        let subscribe = Subscribe::new(
            plan.version,
            SUBSCRIBE_IDENTIFIER,
            Properties::EMPTY,
            &requests,
        );
        if let Ok(subscribe) = subscribe {
            subscribe.encode(plan.version, self.out.buffer());
        }
        self.state = State::Subscribing;
    }

    pub(crate) fn put_disconnect(&mut self, plan: &Plan) {
        Disconnect::with_reason(ReasonCode::NORMAL_DISCONNECTION)
            .encode(plan.version, self.out.buffer());
    }

    #[inline]
    pub(crate) fn put_acknowledgement(&mut self, plan: &Plan, kind: PacketType, identifier: u16) {
        Acknowledgement::success(identifier).encode(kind, plan.version, self.out.buffer());
    }
}
