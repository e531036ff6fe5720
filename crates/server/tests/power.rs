//! Power loss of a whole broker: what it acknowledged to its clients is there after a cut
//! at any moment, when nothing is left but what had been synced, or any part of the rest
//! besides.
//!
//! The broker and its clients run once, in a process on a disk that keeps a trace; each
//! acknowledgement that a client receives leaves a note in it. Then the disk is put
//! together as it was at many moments, and what the store holds is read from that.

#[path = "../../store/tests/support/disk.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod disk;
mod wire;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use disk::{Disk, Event, Left, Numbers, child_on_shim, child_root, trace};
use noctule_packets::Version;
use wire::Client;

const PUBLISHERS: u8 = 4;
const MESSAGES: u16 = 150;

#[test]
#[ignore = "run by the other tests, on a traced disk"]
fn broker_on_a_traced_disk() {
    let root = child_root();
    let durability = std::env::var("NOCTULE_DURABILITY").unwrap();
    let store = root.join("store");
    let options = format!(
        r#""durability": "{durability}", "interval_milliseconds": 3600000, "data_dir": {store:?}"#
    );
    let engine = wire::engine(2, &options);
    let address = wire::address(&engine);
    let mut subscriber = Client::open(address, Version::V4);
    let mut connect = wire::connect(Version::V4, "subscriber");
    // Not a clean session: the flags stand behind two lengths, the name and the level.
    connect[9] = 0;
    subscriber.send(&connect);
    subscriber.expect_connack();
    subscriber.subscribe("t/#", 2);
    drop(subscriber);
    note(&root, "subscribed");
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let root = &root;
            scope.spawn(move || {
                let name = format!("publisher-{publisher}");
                let mut client = Client::connect(address, Version::V4, &name);
                let qos = 1 + publisher % 2;
                for n in 1..=MESSAGES {
                    let payload = format!("{publisher} {n}");
                    client.publish_acknowledged("t/x", qos, n, payload.as_bytes());
                    note(root, &payload);
                }
            });
        }
    });
    engine.stop(Duration::from_secs(1)).unwrap();
}

/// A client knows: this goes into the trace.
fn note(root: &Path, what: &str) {
    fs::write(root.join("disk.note"), what).expect("a note is taken");
}

/// Runs the broker and cuts the power at `cuts` moments. Returns what went wrong.
fn cut(durability: &str, cuts: u64, ways: &[Left]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("disk");
    fs::create_dir(&root).unwrap();
    let trace_path = directory.path().join("trace");
    let ran = child_on_shim("broker_on_a_traced_disk", &root)
        .env("NOCTULE_DISK_TRACE", &trace_path)
        .env("NOCTULE_DURABILITY", durability)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    let events = trace(&trace_path);
    let notes = events
        .iter()
        .filter(|event| matches!(event, Event::Note(_)));
    let expected = 1 + usize::from(PUBLISHERS) * usize::from(MESSAGES);
    assert_eq!(notes.count(), expected, "each acknowledgement left a note");

    let seed = std::env::var("NOCTULE_SEED").map_or(0x00C0_FFEE, |seed| seed.parse().unwrap());
    let mut numbers = Numbers(seed);
    let mut moments: Vec<usize> = (0..cuts)
        .map(|_| numbers.below(events.len() as u64 + 1) as usize)
        .collect();
    moments.sort_unstable();
    let mut wrong = Vec::new();
    let (mut disk, mut at, mut acknowledged) = (Disk::default(), 0, Vec::new());
    for (number, moment) in moments.into_iter().enumerate() {
        for event in &events[at..moment] {
            disk.follow(event);
            if let Event::Note(note) = event {
                acknowledged.push(note.clone());
            }
        }
        at = moment;
        let left = ways[number % ways.len()];
        let after = directory.path().join("after");
        fs::create_dir(&after).unwrap();
        disk.write_out(&after, left, &mut numbers);
        if let Err(what) = judge(&after.join("store"), &acknowledged) {
            let of = events.len();
            wrong.push(format!("after event {moment} of {of}, {left:?}: {what}"));
        }
        fs::remove_dir_all(&after).unwrap();
    }
    wrong
}

/// Whether everything that was acknowledged is in the store, and nothing twice.
fn judge(store: &Path, acknowledged: &[String]) -> Result<(), String> {
    fs::create_dir_all(store).unwrap();
    let mut lines = Vec::new();
    let exported = noctule_archive::export(store, &mut lines, |_| Ok(()));
    let exported = exported.map_err(|error| error.to_string())?;
    if !exported.report.is_sound() || exported.left_out > 0 {
        return Err(format!("{exported:?}"));
    }
    let mut subscribed = false;
    let mut queued = HashMap::<String, u32>::new();
    for line in lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice(line).map_err(|error| error.to_string())? {
            noctule_archive::Line::Subscription { .. } => subscribed = true,
            noctule_archive::Line::Queued { message, .. } => {
                *queued
                    .entry(message.payload.unwrap_or_default())
                    .or_default() += 1;
            }
            _ => {}
        }
    }
    for each in acknowledged {
        let is_there = match each.as_str() {
            "subscribed" => subscribed,
            message => queued.contains_key(message),
        };
        if !is_there {
            return Err(format!("{each:?} was acknowledged and is gone"));
        }
    }
    match queued.iter().find(|(_, times)| **times > 1) {
        Some((message, times)) => Err(format!("{message:?} is there {times} times")),
        None => Ok(()),
    }
}

/// How many cuts: more of them with `NOCTULE_POWER_CUTS`.
fn cuts() -> u64 {
    let asked = std::env::var("NOCTULE_POWER_CUTS").ok();
    asked.map_or(60, |cuts| cuts.parse().expect("a number"))
}

#[test]
fn what_a_broker_acknowledged_outlives_power_loss() {
    let ways = [Left::Synced, Left::SomeSectors, Left::Everything];
    let wrong = cut("disk", cuts(), &ways);
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        cuts()
    );
}

#[test]
fn what_is_kept_in_memory_does_not() {
    let wrong = cut("memory", 20, &[Left::Everything]);
    assert!(wrong.len() > 10, "{wrong:#?}");
    assert!(
        wrong
            .iter()
            .all(|what| what.contains("was acknowledged and is gone"))
    );
}

#[test]
fn what_is_synced_by_interval_does_not_and_outlives_the_process() {
    let wrong = cut("interval", 20, &[Left::Synced]);
    assert!(!wrong.is_empty());
    let wrong = cut("interval", 20, &[Left::Everything]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
