//! An operator sends the clients elsewhere (MQTT 5.0 §4.11).

use noctule_packets::ReasonCode;

/// What clients are told while a broker is drained.
#[derive(Clone, Debug)]
pub(super) struct Draining {
    /// Use another server (0x9C) or server moved (0x9D).
    pub reason: ReasonCode,
    pub server_reference: Option<Box<str>>,
}
