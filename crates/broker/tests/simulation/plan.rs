//! What one seed makes of the world: how many of everything, and which limits.

use noctule_broker::{Limits, Options, QueueFull, SharedStrategy};

use crate::random::Random;

/// The shape of one run.
pub struct Plan {
    pub workers: usize,
    pub clients: usize,
    /// Steps of the eventful part.
    pub steps: usize,
    /// Longest time between two steps, in microseconds.
    pub tempo_micros: u64,
    /// Longest way of a chunk of bytes, in microseconds.
    pub delay_micros: u64,
    /// Longest way of a batch between workers, in microseconds.
    pub batch_micros: u64,
    /// Queues are short: messages may be lost, but every loss is counted.
    pub tight: bool,
    pub overloads: bool,
    /// Longest way of records to the disk, in microseconds; `None`: nothing is kept.
    pub commit_micros: Option<u64>,
    pub options: Options,
}

impl Plan {
    pub fn new(random: &mut Random) -> Plan {
        let tight = random.chance(10);
        let limited = random.chance(8);
        let overloads = random.chance(8);
        let mut options = Options {
            limits: limits(random),
            authentication: random.chance(12),
            ..Options::default()
        };
        options.system_topics_interval_seconds.0 = random.pick(&[0, 0, 0, 10]);
        options.protocol.shared_subscription_strategy = random.pick(&[
            SharedStrategy::RoundRobin,
            SharedStrategy::Random,
            SharedStrategy::Sticky,
            SharedStrategy::HashClient,
            SharedStrategy::HashTopic,
            SharedStrategy::LeastInflight,
        ]);
        if tight {
            options.limits.max_queued_messages = random.pick(&[1, 4, 15]);
            options.limits.queue_full = random.pick(&[
                QueueFull::DropOldest,
                QueueFull::DropNewest,
                QueueFull::Reject,
                QueueFull::Disconnect,
            ]);
        }
        if limited {
            options.limits.max_messages_per_second_in = random.pick(&[0, 50, 500]);
            options.limits.max_messages_per_second_out = random.pick(&[0, 50, 500]);
            options.limits.max_bytes_per_second_in = random.pick(&[0, 100_000]);
            options.limits.max_bytes_per_second_out = random.pick(&[0, 100_000]);
        }
        if overloads {
            options.limits.max_memory_bytes = 1 << 40;
        }
        Plan {
            workers: random.between(1, 4) as usize,
            clients: random.between(3, 9) as usize,
            steps: random.between(60, 260) as usize,
            tempo_micros: random.pick(&[500, 5_000, 30_000]),
            delay_micros: random.pick(&[100, 3_000, 40_000]),
            batch_micros: random.pick(&[0, 2_000, 40_000]),
            tight,
            overloads,
            commit_micros: random.pick(&[None, None, Some(2_000), Some(40_000)]),
            options,
        }
    }
}

fn limits(random: &mut Random) -> Limits {
    Limits {
        receive_maximum: random.pick(&[1, 3, 20, 1_024]),
        max_inflight_messages: random.pick(&[1, 2, 8, 1_024]),
        write_buffer_bytes: random.pick(&[512, 4_096, 30_000, 1 << 20]),
        hold_publishers_milliseconds: random.pick(&[0, 20, 100]),
        queue_memory_bytes: random.pick(&[0, 100, 3_000, 1 << 28]),
        topic_alias_maximum: random.pick(&[0, 2, 100]),
        topic_alias_maximum_outgoing: random.pick(&[0, 2, 100]),
        ..Limits::default()
    }
}
