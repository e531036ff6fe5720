//! How long a broker with much to remember takes to begin, and in how much memory.
//!
//! `make large-state` runs this; it takes a few minutes and some gibibytes of disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use noctule_broker::{Hooked, Options, Peer, Records, Shared, Time, Worker};
use noctule_packets::{
    Connect, Packet, Properties, PropertyBuffer, PropertyId, QoS, Subscribe, SubscriptionRequest,
    Version,
};
use noctule_store::{Observer, Store, StoreOptions, SubmitError, Writer};

use super::{batch, open, wall_milliseconds};
use crate::engine::life::make_posts;
use crate::options::{Durability, ServerOptions};

const RETAINED: usize = 1_000_000;
const SESSIONS: usize = 100_000;
const WORKERS: usize = 2;
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// What a start may take.
const MOST_SECONDS: u64 = 10;
/// Resident bytes while it begins, for each retained message and session together with
/// what belongs to it; and whatever the state.
const MOST_BYTES_EACH: u64 = 640;
const MOST_BYTES_ANYWAY: u64 = 64 << 20;

/// Sessions, and the messages that wait for each of them.
const QUEUES: usize = 11;
const QUEUED: usize = 99_000;
const QUEUED_PAYLOAD_BYTES: usize = 1_000;
/// Resident bytes for each message that is on disk only, in the store and in the worker.
const MOST_BYTES_A_QUEUED: u64 = 160;

struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: usize, _: u64) {}
}

#[test]
#[ignore = "takes a minute: make large-state"]
fn a_million_retained_messages_and_a_hundred_thousand_sessions_begin_in_ten_seconds() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let before = reset_peak();
    let options = durable_options(directory.path());
    let (begun, worked) = (Instant::now(), processor_time());
    let shared = Shared::durable(options.broker.clone(), WORKERS, 7, wall_milliseconds());
    let (posts, _polls) = make_posts(WORKERS).unwrap();
    let opened = open(&options, &shared, &posts).unwrap().unwrap();
    let read = begun.elapsed();
    assert_eq!(opened.restored.retained_messages, RETAINED);
    let mut workers = workers(&shared);
    for (worker, share) in workers.iter_mut().zip(opened.restored.sessions) {
        worker.restore(share, wall_milliseconds(), Time(0));
    }
    let (took, worked) = (begun.elapsed(), processor_time() - worked);
    let statistics = shared.statistics();
    let value = |name| statistics.iter().find(|each| each.0 == name).unwrap().1;
    assert_eq!(value("clients_disconnected"), SESSIONS as u64);
    assert_eq!(value("messages_stored"), SESSIONS as u64);
    let (peak, now) = (resident("VmHWM:"), resident("VmRSS:"));
    println!(
        "read in {read:.1?}, begun in {took:.1?}, {worked:.1?} of processor time; {} MiB before, {} MiB at most, {} MiB after",
        before >> 20,
        peak >> 20,
        now >> 20
    );
    assert!(took < Duration::from_secs(MOST_SECONDS));
    let most = (RETAINED + SESSIONS) as u64 * MOST_BYTES_EACH + MOST_BYTES_ANYWAY;
    assert!(peak - before < most, "{} MiB", (peak - before) >> 20);
}

#[test]
#[ignore = "takes a minute: make large-state"]
fn a_gibibyte_of_queues_begins_in_the_memory_it_may_have() {
    let directory = tempfile::tempdir().unwrap();
    fill_queues(directory.path());
    let before = reset_peak();
    let options = durable_options(directory.path());
    let begun = Instant::now();
    let shared = Shared::durable(options.broker.clone(), WORKERS, 7, wall_milliseconds());
    let (posts, _polls) = make_posts(WORKERS).unwrap();
    let opened = open(&options, &shared, &posts).unwrap().unwrap();
    let mut workers = workers(&shared);
    for (worker, share) in workers.iter_mut().zip(opened.restored.sessions) {
        worker.restore(share, wall_milliseconds(), Time(0));
    }
    let took = begun.elapsed();
    let statistics = shared.statistics();
    let value = |name| statistics.iter().find(|each| each.0 == name).unwrap().1;
    let queued = (QUEUES * QUEUED) as u64;
    assert_eq!(value("messages_stored"), queued);
    let in_memory = value("messages_stored_bytes") - value("messages_on_disk_bytes");
    let may_have = options.broker.limits.queue_memory_bytes;
    let (peak, now) = (resident("VmHWM:"), resident("VmRSS:"));
    println!(
        "{queued} messages, {} MiB of which {} MiB in memory, in {took:.1?}; \
         {} MiB before, {} MiB at most, {} MiB after",
        value("messages_stored_bytes") >> 20,
        in_memory >> 20,
        before >> 20,
        peak >> 20,
        now >> 20
    );
    assert!(value("messages_stored_bytes") > 1 << 30);
    assert!(in_memory <= may_have);
    let most = may_have + queued * MOST_BYTES_A_QUEUED + MOST_BYTES_ANYWAY;
    assert!(peak - before < most, "{} MiB", (peak - before) >> 20);
}

/// Sessions for which the same messages wait.
fn fill_queues(directory: &Path) {
    let mut options = Options::default();
    options.system_topics_interval_seconds.0 = 0;
    options.limits.queue_memory_bytes = 0;
    options.limits.max_queued_bytes = u64::MAX >> 1;
    let shared = Shared::durable(options, WORKERS, 7, wall_milliseconds());
    let (store, mut writer) = new_store(directory);
    let mut workers = workers(&shared);
    for number in 0..QUEUES {
        let name = format!("sensor-{number:06}");
        leave_session(&mut workers[shared.worker_of(&name)], &name, "queue");
    }
    for number in 0..QUEUED {
        let message = Hooked {
            payload: [b'x'; QUEUED_PAYLOAD_BYTES].into(),
            ..message("queue".into(), false)
        };
        workers[0].publish_own(&message, Time(0));
        hand_over(&mut workers, &mut writer, number % 100 == 0);
    }
    hand_over(&mut workers, &mut writer, true);
    drop(store);
}

fn durable_options(directory: &Path) -> ServerOptions {
    let options = ServerOptions::from_json("{}").unwrap();
    let mut broker = Options {
        durability: Durability::Disk,
        ..options.broker
    };
    broker.limits.queue_memory_bytes = 64 << 20;
    ServerOptions {
        data_dir: Some(directory.into()),
        broker,
        ..options
    }
}

fn workers(shared: &Arc<Shared>) -> Vec<Worker> {
    (0..WORKERS)
        .map(|index| Worker::new(index, shared.clone()))
        .collect()
}

/// A store as a broker leaves it: every retained message has a topic, every session a
/// subscription and a message that waits.
fn fill(directory: &Path) {
    let mut options = Options::default();
    options.system_topics_interval_seconds.0 = 0;
    let shared = Shared::durable(options, WORKERS, 7, wall_milliseconds());
    let (store, mut writer) = new_store(directory);
    let mut workers = workers(&shared);
    for number in 0..SESSIONS {
        let name = format!("sensor-{number:06}");
        let worker = &mut workers[shared.worker_of(&name)];
        let filter = format!("commands/{}/{}", number % 1_000, number / 1_000);
        leave_session(worker, &name, &filter);
        hand_over(&mut workers, &mut writer, number % 1_000 == 0);
    }
    hand_over(&mut workers, &mut writer, true);
    for number in 0..SESSIONS {
        let topic = format!("commands/{}/{}", number % 1_000, number / 1_000);
        workers[0].publish_own(&message(topic, false), Time(0));
        hand_over(&mut workers, &mut writer, number % 1_000 == 0);
    }
    for number in 0..RETAINED {
        let topic = format!("site/{}/state/{}", number % 1_000, number / 1_000);
        workers[0].publish_own(&message(topic, true), Time(0));
        hand_over(&mut workers, &mut writer, number % 1_000 == 0);
    }
    hand_over(&mut workers, &mut writer, true);
    drop(store);
}

fn new_store(directory: &Path) -> (Store, Writer) {
    let (store, recovery) =
        Store::open(directory, StoreOptions::default(), Arc::new(Nobody)).unwrap();
    drop(recovery);
    let writer = store.writer(0);
    (store, writer)
}

fn leave_session(worker: &mut Worker, name: &str, filter: &str) {
    let id = worker.accepted(Peer::default(), Time(1_000_000), Time(0));
    let mut bytes = Vec::new();
    let mut properties = PropertyBuffer::default();
    properties.push_four_byte(PropertyId::SessionExpiryInterval, u32::MAX);
    let connect = Connect {
        version: Version::V5,
        bridge: false,
        clean_start: false,
        keep_alive: 0,
        client_identifier: name,
        will: None,
        user_name: None,
        password: None,
        properties: properties.as_properties(),
    };
    connect.encode(&mut bytes);
    let request = SubscriptionRequest {
        filter,
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    };
    let mut filters = Vec::new();
    request.encode(Version::V5, &mut filters);
    let subscribe = Subscribe::new(Version::V5, 1, Properties::EMPTY, &filters).unwrap();
    Packet::Subscribe(subscribe).encode(Version::V5, &mut bytes);
    worker.received(id, &bytes, Time(0));
    worker.closed(id, Time(0));
    while worker.next_effect().is_some() {}
}

fn message(topic: String, retain: bool) -> Hooked {
    Hooked {
        topic: topic.into(),
        payload: PAYLOAD.into(),
        qos: QoS::AtLeastOnce,
        retain,
        properties: Box::default(),
        expiry_seconds: None,
    }
}

/// Batches go to the other workers and, now and then, records to the store.
fn hand_over(workers: &mut [Worker], writer: &mut Writer, records: bool) {
    for from in 0..workers.len() {
        let mut batches = Vec::new();
        workers[from].take_batches(|to, batch| batches.push((to, batch)));
        for (to, batch) in batches {
            workers[to].delivered(batch, Time(0));
        }
        if !records {
            continue;
        }
        if let Some((_, records)) = workers[from].take_records() {
            submit(writer, &records);
        }
    }
}

fn submit(writer: &mut Writer, records: &Records) {
    let mut waiting = batch(records);
    loop {
        match writer.submit(waiting) {
            Ok(_) => return,
            Err(SubmitError::Full(batch)) => waiting = batch,
            Err(SubmitError::Failed(_)) => panic!("the store has failed"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Has the peak begin anew; resident bytes now.
fn reset_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    resident("VmRSS:")
}

/// What this process has used of all cores.
fn processor_time() -> Duration {
    const TICK_MILLISECONDS: u64 = 10;
    let status = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the program's name in brackets: the state, then ten numbers before these.
    let (_, numbers) = status.rsplit_once(')').unwrap();
    let ticks = numbers.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|each| each.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * TICK_MILLISECONDS)
}

fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}
