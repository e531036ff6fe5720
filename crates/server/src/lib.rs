//! Sockets, timers and threads around the broker's workers.
//!
//! Each worker thread ([`reactor`]) has its own poll, accepts connections itself,
//! gathers their first bytes until it is known who owns the client ([`greeting`]),
//! hands the transport over to that worker ([`post`]), and from then on carries
//! bytes between the socket and the owner's state machine ([`session`]). What lies between
//! the socket and MQTT (TLS, WebSocket, a PROXY header) is the connection's [`transport`],
//! put together by its listener's [`gate`].
//! No thread but the caller's ever runs anything but Rust.

// One line of `memory` needs the allocator's own function.
#![deny(unsafe_code)]

mod acceptor;
mod admission;
mod authentication;
mod bans;
mod clock;
mod common;
mod counters;
mod deadlines;
mod descriptors;
mod durable;
mod effects;
mod engine;
mod error;
mod events;
mod farewell;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod greeting;
mod listener;
mod listener_options;
mod logging;
mod memory;
mod options;
mod post;
mod proxy;
mod queue;
mod reactor;
mod session;
mod tap;
mod tls;
mod transport;
mod unix;
mod users;

pub use authentication::{Asker, Question};
pub use engine::Engine;
pub use error::{Failure, OptionsError, StartError};
pub use events::Record;
pub use listener::{Address, Place};
pub use noctule_broker::{
    Access, Action, Advice, AuthenticationRequest, AuthenticationStage, Banned, Changes,
    ClientInfo, Consultation, Decision, FieldValue, Hooked, Hooks, Identity, Network, Peer,
    Permissions, Rule, Subject, WillInfo,
};
pub use noctule_packets::{QoS, ReasonCode};
pub use options::{Durability, ListenerOptions, Scheme, ServerOptions};
pub use tap::{Tap, TapOptions, Tapped, tap_qos};
pub use tls::{ClientCertificates, TlsVersion};
