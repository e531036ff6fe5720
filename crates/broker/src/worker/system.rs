//! `$SYS/broker/…`: the broker about itself, under Mosquitto's names. Worker 0 tells.

use noctule_packets::QoS;

use super::Worker;
use super::timers::Timer;
use super::worst::Behind;
use crate::counters::Counters;
use crate::key::SessionKey;
use crate::message::{Head, Message, Parts};
use crate::time::Time;
use crate::worst;

/// Retained messages looked through for expired ones, a second.
const SWEEP_MESSAGES: usize = 10_000;

const LOADS: [(&str, &str); 9] = [
    ("messages/received", "messages_received"),
    ("messages/sent", "messages_sent"),
    ("publish/received", "publish_received"),
    ("publish/sent", "publish_sent"),
    ("publish/dropped", "publish_dropped"),
    ("bytes/received", "bytes_received"),
    ("bytes/sent", "bytes_sent"),
    ("connections", "connections_accepted"),
    ("sockets", "connections_accepted"),
];

const WINDOWS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// What is needed from one telling to the next.
pub(super) struct SystemTopics {
    last: Time,
    /// Exponentially weighted averages per minute: by [`LOADS`], then [`WINDOWS`].
    loads: [[f64; WINDOWS.len()]; LOADS.len()],
    counts: [u64; LOADS.len()],
    highest: [(u64, &'static str); 3],
    /// What was told last, so that only changes are published.
    told: hashbrown::HashMap<String, String>,
    sweep_after: Option<Box<str>>,
}

impl Worker {
    pub(super) fn begin_system_topics(&mut self) {
        let interval = self.shared.options.system_topics_interval_seconds.0;
        if interval != 0 {
            self.wheel.insert(Time(0), Timer::Measure);
        }
        if self.index != 0 {
            return;
        }
        self.system = Some(Box::new(SystemTopics {
            last: Time(0),
            loads: Default::default(),
            counts: Default::default(),
            highest: [
                (0, "clients/maximum"),
                (0, "heap/maximum"),
                (0, "heap/maximum size"),
            ],
            told: hashbrown::HashMap::new(),
            sweep_after: None,
        }));
        if interval != 0 {
            self.wheel.insert(Time(0), Timer::SystemTopics);
        }
        self.wheel.insert(Time(1_000_000), Timer::SweepRetained);
    }

    /// Adds up what waits to be written to this worker's connections, and sees who is behind.
    pub(super) fn measure(&mut self, now: Time) {
        let interval = self.shared.options.system_topics_interval_seconds.0;
        self.wheel
            .insert(now.after_seconds(interval), Timer::Measure);
        let soft = self.shared.options.limits.write_buffer_bytes as usize / 2;
        let (mut waiting, mut bytes) = (0, 0);
        let mut behind = Behind::default();
        for connection in self.connections.values() {
            let length = connection.outbox.len();
            waiting += u64::from(!connection.outbox.is_empty());
            bytes += length as u64;
            if connection.slow || length >= soft {
                behind.note(length, connection.session);
            }
        }
        self.counters().waiting_out.set(waiting);
        self.counters().waiting_out_bytes.set(bytes);
        self.share_worst(behind.into_keys());
    }

    pub(super) fn publish_system_topics(&mut self, now: Time) {
        let interval = self.shared.options.system_topics_interval_seconds.0;
        self.wheel
            .insert(now.after_seconds(interval), Timer::SystemTopics);
        let Some(mut system) = self.system.take() else {
            return;
        };
        let mut values = self.plain_values(now);
        self.add_loads(&mut system, &mut values, now);
        self.add_highest(&mut system, &mut values);
        self.add_worst(&mut values);
        for (topic, value) in values {
            if system.told.get(&topic) != Some(&value) {
                self.tell_system(&topic, &value, now);
                system.told.insert(topic, value);
            }
        }
        self.system = Some(system);
    }

    fn plain_values(&self, now: Time) -> Vec<(String, String)> {
        let totals = Counters::totals(&self.shared.counters);
        let count = |name: &str| {
            totals
                .iter()
                .find(|(each, _)| *each == name)
                .map_or(0, |(_, value)| *value)
        };
        let retained = self.shared.retained.read();
        let (retained_messages, retained_bytes) = (retained.tree.len() as u64, retained.bytes);
        drop(retained);
        let connected = count("clients_connected");
        let disconnected = count("clients_disconnected");
        let numbers = [
            ("clients/connected", connected),
            ("clients/active", connected),
            ("clients/disconnected", disconnected),
            ("clients/inactive", disconnected),
            ("clients/total", connected + disconnected),
            ("clients/expired", count("clients_expired")),
            ("messages/received", count("messages_received")),
            ("messages/sent", count("messages_sent")),
            (
                "messages/stored",
                count("messages_stored") + retained_messages,
            ),
            ("bytes/received", count("bytes_received")),
            ("bytes/sent", count("bytes_sent")),
            ("publish/messages/received", count("publish_received")),
            ("publish/messages/sent", count("publish_sent")),
            ("publish/messages/dropped", count("publish_dropped")),
            ("publish/bytes/received", count("publish_bytes_received")),
            ("publish/bytes/sent", count("publish_bytes_sent")),
            ("packet/out/count", count("waiting_out")),
            ("packet/out/bytes", count("waiting_out_bytes")),
            (
                "store/messages/count",
                count("messages_stored") + retained_messages,
            ),
            (
                "store/messages/bytes",
                count("messages_stored_bytes") + retained_bytes,
            ),
            ("store/messages/disk/count", count("messages_on_disk")),
            ("store/messages/disk/bytes", count("messages_on_disk_bytes")),
            ("subscriptions/count", count("subscriptions")),
            ("shared_subscriptions/count", count("shared_subscriptions")),
            ("retained messages/count", retained_messages),
            ("heap/current size", self.shared.memory().resident()),
            ("heap/current", self.shared.memory().resident()),
            ("overload/slowed", self.shared.memory().slowed()),
            ("overload/refused", self.shared.memory().refused()),
        ];
        let mut values: Vec<_> = numbers
            .iter()
            .map(|(name, value)| (topic(name), value.to_string()))
            .collect();
        values.push((
            topic("version"),
            format!("noctule version {}", env!("CARGO_PKG_VERSION")),
        ));
        values.push((topic("uptime"), format!("{} seconds", now.0 / 1_000_000)));
        values
    }

    /// Averages per minute over one, five and fifteen minutes.
    fn add_loads(&self, system: &mut SystemTopics, values: &mut Vec<(String, String)>, now: Time) {
        let totals = Counters::totals(&self.shared.counters);
        let minutes = now.0.saturating_sub(system.last.0) as f64 / 60e6;
        system.last = now;
        for (index, (name, counter)) in LOADS.iter().enumerate() {
            let found = totals.iter().find(|(each, _)| each == counter);
            let count = found.map_or(0, |(_, value)| *value);
            let since = count.wrapping_sub(system.counts[index]) as f64;
            system.counts[index] = count;
            for (window, (window_name, seconds)) in WINDOWS.iter().enumerate() {
                let load = &mut system.loads[index][window];
                if minutes > 0.0 {
                    let weight = (-minutes * 60.0 / seconds).exp();
                    *load = *load * weight + since / minutes * (1.0 - weight);
                }
                values.push((
                    topic(&format!("load/{name}/{window_name}")),
                    format!("{load:.2}"),
                ));
            }
        }
    }

    fn add_highest(&self, system: &mut SystemTopics, values: &mut Vec<(String, String)>) {
        let connected: u64 = self
            .shared
            .counters
            .iter()
            .map(|each| each.clients_connected.value())
            .sum();
        let memory = self.shared.memory().resident();
        let current = [connected, memory, memory];
        for ((highest, name), current) in system.highest.iter_mut().zip(current) {
            *highest = current.max(*highest);
            values.push((topic(name), highest.to_string()));
        }
    }

    /// The clients that fare worst, of all workers.
    fn add_worst(&self, values: &mut Vec<(String, String)>) {
        let (mut dropping, mut slow) = (Vec::new(), Vec::new());
        for each in &self.shared.worst {
            let each = each.lock();
            dropping.extend_from_slice(&each.dropping);
            slow.extend_from_slice(&each.slow);
        }
        values.push((topic("clients/dropping"), worst::tell_dropping(dropping)));
        values.push((topic("clients/slow"), worst::tell_slow(slow)));
    }

    /// A retained message of the broker's own.
    fn tell_system(&mut self, topic: &str, value: &str, now: Time) {
        let head = Head {
            publisher: SessionKey::BROKER,
            arrived: now,
            deadline: Time::NEVER,
            qos: QoS::AtMostOnce,
            retain: true,
        };
        let parts = Parts {
            topic: topic.as_bytes(),
            properties: &[],
            payload: value.as_bytes(),
        };
        self.unpublished.push_back(Message::new(head, parts));
    }

    /// Looks a part of the retained messages through for those that have expired.
    pub(super) fn sweep_retained(&mut self, now: Time) {
        self.wheel
            .insert(now.after_seconds(1), Timer::SweepRetained);
        let Some(system) = &mut self.system else {
            return;
        };
        let after = system.sweep_after.take();
        let (cleared, last) = self
            .shared
            .sweep_retained(after.as_deref(), SWEEP_MESSAGES, now);
        system.sweep_after = last;
        for (topic, what) in cleared {
            self.record_cleared(&topic, what, now);
        }
    }
}

fn topic(name: &str) -> String {
    format!("$SYS/broker/{name}")
}
