//! The engine's options: listeners, workers and durability here, the rest is the broker's.

use std::path::PathBuf;

pub use noctule_broker::Durability;
use noctule_broker::{Options, Policy};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::OptionsError;
pub use crate::listener_options::{ListenerOptions, Scheme};

/// Workers beyond this are a mistake in the number, not a machine.
const MAX_WORKERS: usize = 1_024;

/// Everything the engine is told before it starts.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub listeners: Vec<ListenerOptions>,
    /// Worker threads, 1 to 1,024; 0: one for each core this process may use.
    pub workers: usize,
    /// What is promised of everything that neither rule nor listener says more about.
    pub durability: Durability,
    /// Time between two commits, for [`Durability::Interval`].
    pub interval_milliseconds: u64,
    /// Where the durable log is kept; not used by [`Durability::Memory`].
    pub data_dir: Option<PathBuf>,
    pub broker: Options,
}

/// The keys of the JSON object that are the server's own.
#[derive(Deserialize)]
#[serde(default)]
struct OwnKeys {
    listeners: Vec<ListenerOptions>,
    workers: usize,
    durability: Durability,
    interval_milliseconds: u64,
    data_dir: Option<PathBuf>,
}

impl Default for OwnKeys {
    fn default() -> Self {
        OwnKeys {
            listeners: vec![ListenerOptions::at("127.0.0.1", 1_883)],
            workers: 0,
            durability: Durability::Memory,
            interval_milliseconds: 1_000,
            data_dir: None,
        }
    }
}

const OWN_KEYS: [&str; 5] = [
    "listeners",
    "workers",
    "durability",
    "interval_milliseconds",
    "data_dir",
];

impl ServerOptions {
    /// Reads options from a JSON object; absent keys take their defaults.
    ///
    /// # Errors
    /// [`OptionsError`] naming the key for anything unknown, of the wrong type or
    /// out of range.
    pub fn from_json(text: &str) -> Result<ServerOptions, OptionsError> {
        let mut rest: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| OptionsError(format!("options are not a JSON object: {error}")))?;
        let own: Map<String, Value> = OWN_KEYS
            .iter()
            .filter_map(|&key| rest.remove_entry(key))
            .collect();
        let own: OwnKeys = read(own)?;
        let mut broker: Options = read(rest)?;
        broker.durability = own.durability;
        broker.listener_durability = own.listeners.iter().map(|each| each.durability).collect();
        let mut options = ServerOptions {
            listeners: own.listeners,
            workers: own.workers,
            durability: own.durability,
            interval_milliseconds: own.interval_milliseconds,
            data_dir: own.data_dir,
            broker,
        };
        options.check()?;
        let policies: Vec<Policy> = options
            .listeners
            .iter()
            .map(ListenerOptions::policy)
            .collect();
        if policies.iter().any(|policy| *policy != Policy::default()) {
            options.broker.policies = policies;
        }
        Ok(options)
    }

    /// What the store has to do: the most that is promised to anybody.
    pub(crate) fn store_durability(&self) -> Durability {
        self.broker.strictest_durability()
    }

    /// The number of worker threads to start.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }

    fn check(&self) -> Result<(), OptionsError> {
        if self.listeners.is_empty() {
            return refuse("listeners: at least one is needed");
        }
        if self.listeners.len() > usize::from(u16::MAX) {
            return refuse("listeners: at most 65,535");
        }
        for (place, listener) in self.listeners.iter().enumerate() {
            listener
                .check()
                .map_err(|wrong| OptionsError(format!("listeners[{place}].{wrong}")))?;
        }
        if self.workers > MAX_WORKERS {
            return refuse("workers: at most 1,024; 0 means one for each core");
        }
        if self.store_durability() != Durability::Memory && self.data_dir.is_none() {
            return refuse(
                "data_dir: durability \"disk\" and \"interval\" need a directory for the store",
            );
        }
        for (place, rule) in self.broker.durability_rules.iter().enumerate() {
            noctule_topics::validate_filter(&rule.filter).map_err(|wrong| {
                OptionsError(format!("durability_rules[{place}].filter: {}", wrong.0))
            })?;
        }
        if self.interval_milliseconds == 0 {
            return refuse("interval_milliseconds: at least 1");
        }
        if self.broker.limits.connect_timeout_seconds == 0 {
            return refuse("limits.connect_timeout_seconds: at least 1");
        }
        if self.broker.limits.write_timeout_seconds == 0 {
            return refuse("limits.write_timeout_seconds: at least 1");
        }
        Ok(())
    }
}

fn refuse<T>(text: &str) -> Result<T, OptionsError> {
    Err(OptionsError(text.into()))
}

fn read<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, OptionsError> {
    serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => OptionsError(error.inner().to_string()),
            _ => OptionsError(format!("{path}: {}", error.inner())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        ServerOptions::from_json(json).unwrap_err().0
    }

    #[test]
    fn absent_keys_take_their_defaults() {
        let options = ServerOptions::from_json("{}").unwrap();
        assert_eq!(options.listeners[0].host, "127.0.0.1");
        assert_eq!(options.listeners[0].port, 1_883);
        assert_eq!(options.durability, Durability::Memory);
        assert_eq!(options.broker.limits.max_connections, 100_000);
    }

    #[test]
    fn every_refusal_names_its_key() {
        assert!(refused(r#"{"listener": []}"#).contains("`listener`"));
        assert!(refused(r#"{"workers": "two"}"#).starts_with("workers: "));
        assert!(refused(r#"{"listeners": []}"#).starts_with("listeners: "));
        let port = r#"{"listeners": [{"scheme": "mqtt", "host": "127.0.0.1", "port": 65536}]}"#;
        assert!(refused(port).starts_with("listeners[0].port: "));
        let scheme = r#"{"listeners": [{"scheme": "gopher", "host": "127.0.0.1", "port": 1}]}"#;
        assert!(refused(scheme).starts_with("listeners[0].scheme: "));
        let limit = r#"{"limits": {"max_connections": -1}}"#;
        assert!(refused(limit).starts_with("limits.max_connections: "));
        assert!(refused(r#"{"limits": {"max_conections": 1}}"#).contains("`max_conections`"));
        assert!(refused(r#"{"durability": "disk"}"#).starts_with("data_dir: "));
        assert!(refused("[]").contains("JSON object"));
        let rule = r#"{"durability_rules": [{"filter": "a/#/b", "durability": "memory"}]}"#;
        assert!(refused(rule).starts_with("durability_rules[0].filter: "));
    }

    #[test]
    fn anything_kept_needs_a_directory_and_the_strictest_rules_the_store() {
        let rule = r#""durability_rules": [{"filter": "a/#", "durability": "disk"}]"#;
        assert!(refused(&format!("{{{rule}}}")).starts_with("data_dir: "));
        let listener = r#""listeners": [{"host": "::1", "durability": "interval"}]"#;
        assert!(refused(&format!("{{{listener}}}")).starts_with("data_dir: "));
        let read = |keys: &str| {
            let json = format!(r#"{{"data_dir": "/d", {keys}}}"#);
            ServerOptions::from_json(&json).unwrap().store_durability()
        };
        assert_eq!(read(listener), Durability::Interval);
        assert_eq!(read(&format!("{listener}, {rule}")), Durability::Disk);
        assert_eq!(read(r#""durability": "memory""#), Durability::Memory);
    }
}
