//! Log lines of the workers, put where Python's logging can fetch them.
//!
//! A subscriber of our own and not one for the whole process: several engines may run in
//! one process, and a host program in Rust keeps the subscriber it has.

use std::fmt::{self, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::counters::Counters;
use crate::events::{Record, Records};

/// Takes events up to `INFO`, one record each. Spans are not used.
pub(crate) struct LogSubscriber {
    pub records: Arc<Records>,
    pub counters: Arc<Counters>,
}

impl Subscriber for LogSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let metadata = event.metadata();
        let record = Record::Log {
            level: *metadata.level(),
            target: metadata.target(),
            message: line.0,
        };
        self.counters
            .records_dropped
            .add(self.records.add([record]));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message, then ` name=value` for each other field.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noctule_broker::FieldValue;

    #[test]
    fn a_log_line_becomes_a_record_with_its_level_and_fields() {
        let records = Arc::new(Records::new(8).unwrap());
        let subscriber = LogSubscriber {
            records: Arc::clone(&records),
            counters: Arc::default(),
        };
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(worker = 1, "no descriptor left");
            tracing::debug!("not fetched");
        });
        let taken = records.take(None, 10).unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].kind(), "log");
        let fields = taken[0].fields();
        assert!(matches!(&fields[0], ("level", FieldValue::Text(level)) if level == "warn"));
        assert!(matches!(&fields[2], ("message", FieldValue::Text(text))
                if text == "no descriptor left worker=1"));
    }
}
