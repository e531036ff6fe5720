//! What can go wrong before and while the engine runs.
//!
//! [`OptionsError`]: what was asked for makes no sense (the caller's fault).
//! [`StartError`]: the system refused (an address in use, no descriptors).
//! [`Failure`]: a worker died; the engine has stopped itself.

use std::fmt;
use std::io;

/// Options that cannot be followed. The text names the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError(pub String);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionsError {}

/// The engine could not start.
#[derive(Debug)]
pub struct StartError {
    /// What could not be had: an address such as `mqtt://127.0.0.1:1883`, or a thread.
    pub what: String,
    pub source: io::Error,
}

impl StartError {
    pub(crate) fn new(what: impl Into<String>, source: io::Error) -> StartError {
        StartError {
            what: what.into(),
            source,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Why the engine stopped by itself: our fault, worth a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
