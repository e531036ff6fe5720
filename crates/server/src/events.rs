//! Records on their way from the workers to whoever asks: log lines and the broker's events.

use noctule_broker::{Event, FieldValue};

use crate::queue::Queue;

/// Records kept for a reader that is late; beyond it new ones are dropped and counted.
pub(crate) const MAX_WAITING_RECORDS: usize = 65_536;

/// Something that happened.
#[derive(Debug)]
pub enum Record {
    Broker(Event),
    Log {
        level: tracing::Level,
        target: &'static str,
        message: String,
    },
    /// A worker died, the engine stops.
    Failed(String),
}

impl Record {
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Broker(event) => event.kind(),
            Record::Log { .. } => "log",
            Record::Failed(_) => "failed",
        }
    }

    /// What there is to say, by name.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        match self {
            Record::Broker(event) => event.fields(),
            Record::Log {
                level,
                target,
                message,
            } => vec![
                (
                    "level",
                    FieldValue::Text(level.as_str().to_ascii_lowercase()),
                ),
                ("target", FieldValue::Text((*target).to_owned())),
                ("message", FieldValue::Text(message.clone())),
            ],
            Record::Failed(message) => vec![("message", FieldValue::Text(message.clone()))],
        }
    }
}

/// Where they wait.
pub(crate) type Records = Queue<Record>;
