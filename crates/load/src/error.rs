//! Why a run could not be carried out.

use std::fmt;
use std::io;

/// What kept a run from its end. What a broker does wrong is in the report instead.
#[derive(Debug)]
pub enum LoadError {
    /// A field of the scenario is out of its range, or does not go with another.
    Scenario { field: &'static str, what: String },
    /// The host's name has no address.
    Resolve { host: String, source: io::Error },
    /// No certificates can be read from the file, or they are of no use.
    Certificates { file: String, why: String },
    /// The operating system refused something (descriptors, a poll, a thread).
    System {
        what: &'static str,
        source: io::Error,
    },
    /// Not all connections came up.
    Connect {
        up: u64,
        asked: u64,
        /// The last refusal: a socket's error or a CONNACK's reason.
        why: String,
    },
}

impl LoadError {
    pub(crate) fn scenario(field: &'static str, what: impl Into<String>) -> LoadError {
        LoadError::Scenario {
            field,
            what: what.into(),
        }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> LoadError {
        move |source| LoadError::System { what, source }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Scenario { field, what } => write!(f, "{field}: {what}"),
            LoadError::Resolve { host, source } => {
                write!(f, "{host}: no address is known for it ({source})")
            }
            LoadError::Certificates { file, why } => write!(f, "{file}: {why}"),
            LoadError::System { what, source } => write!(f, "{what}: {source}"),
            LoadError::Connect { up, asked, why } => {
                write!(f, "{up} of {asked} connections came up: {why}")
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Resolve { source, .. } | LoadError::System { source, .. } => Some(source),
            LoadError::Scenario { .. }
            | LoadError::Certificates { .. }
            | LoadError::Connect { .. } => None,
        }
    }
}
