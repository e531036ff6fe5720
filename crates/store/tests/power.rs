//! Power loss: whatever was acknowledged is there after a cut at any moment, when
//! nothing is left but what had been synced, or any part of the rest besides.
//!
//! kill -9 cannot show a missing sync. Here a workload runs once on a disk that keeps a
//! trace of every write and sync; then the disk is put together as it was at many
//! moments, and the store is opened from that.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use noctule_store::{Durability, Observer, StoreOptions};
use support::disk::{Disk, Event, Left, child_on_shim, child_root, trace};
use support::workload::{self, Numbers, WORKERS};
use support::{Model, open, small};

const BATCHES: u64 = 400;

/// Writes a note into the trace for everything that is acknowledged.
struct Notes {
    path: std::path::PathBuf,
}

impl Observer for Notes {
    fn committed(&self, worker: usize, sequence: u64) {
        fs::write(&self.path, format!("{worker} {sequence}")).expect("a note is taken");
    }
}

fn options(durability: Durability) -> StoreOptions {
    StoreOptions {
        durability,
        // Groups of a few batches, so that there are many syncs.
        pending_bytes: 4_000,
        ..small()
    }
}

#[test]
#[ignore = "run by the other tests, on a traced disk"]
fn workload_on_a_traced_disk() {
    let root = child_root();
    let durability = match std::env::var("NOCTULE_DURABILITY").as_deref() {
        Ok("disk") => Durability::Disk,
        _ => Durability::Interval(Duration::from_secs(3_600)),
    };
    let notes = Notes {
        path: root.join("disk.note"),
    };
    workload::run(
        &root.join("store"),
        options(durability),
        Arc::new(notes),
        BATCHES,
    );
}

/// Runs the workload and cuts the power at `cuts` moments.
///
/// Returns what went wrong.
fn cut(durability: &str, cuts: u64, ways: &[Left]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("disk");
    fs::create_dir(&root).unwrap();
    let trace_path = directory.path().join("trace");
    let ran = child_on_shim("workload_on_a_traced_disk", &root)
        .env("NOCTULE_DISK_TRACE", &trace_path)
        .env("NOCTULE_DURABILITY", durability)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let events = trace(&trace_path);
    let notes = events
        .iter()
        .filter(|event| matches!(event, Event::Note(_)));
    assert!(notes.count() > 100, "the trace is of too little");

    let mut numbers = Numbers(0xC0FF_EE00 | cuts);
    let mut moments: Vec<usize> = (0..cuts)
        .map(|_| numbers.below(events.len() as u64 + 1) as usize)
        .collect();
    moments.sort_unstable();
    let mut wrong = Vec::new();
    let (mut disk, mut at, mut acknowledged) = (Disk::default(), 0, [0; WORKERS]);
    for (number, moment) in moments.into_iter().enumerate() {
        for event in &events[at..moment] {
            disk.follow(event);
            if let Event::Note(note) = event {
                let (worker, sequence) = note.split_once(' ').unwrap();
                let worker: usize = worker.parse().unwrap();
                acknowledged[worker] = sequence.parse().unwrap();
            }
        }
        at = moment;
        let left = ways[number % ways.len()];
        let after = directory.path().join("after");
        fs::create_dir(&after).unwrap();
        disk.write_out(&after, left, &mut numbers);
        if let Err(what) = judge(&after.join("store"), &acknowledged) {
            wrong.push(format!(
                "after event {moment} of {}, {left:?}: {what}",
                events.len()
            ));
        }
        fs::remove_dir_all(&after).unwrap();
    }
    wrong
}

fn judge(store: &Path, acknowledged: &[u64; WORKERS]) -> Result<(), String> {
    fs::create_dir_all(store).unwrap();
    let (_store, recovery, _) = open(store, options(Durability::Disk));
    if !recovery.report.is_sound() {
        return Err(format!("{:?}", recovery.report));
    }
    workload::judge(&Model::of(&recovery), acknowledged)
}

/// How many cuts: more of them with `NOCTULE_POWER_CUTS`.
fn cuts() -> u64 {
    let asked = std::env::var("NOCTULE_POWER_CUTS").ok();
    asked.map_or(150, |cuts| cuts.parse().expect("a number"))
}

#[test]
fn what_is_acknowledged_outlives_power_loss() {
    let ways = [Left::Synced, Left::SomeSectors, Left::Everything];
    let wrong = cut("disk", cuts(), &ways);
    assert!(
        wrong.is_empty(),
        "{} of {}: {:#?}",
        wrong.len(),
        cuts(),
        wrong
    );
}

#[test]
fn what_is_synced_by_interval_only_does_not() {
    let wrong = cut("interval", 30, &[Left::Synced]);
    assert!(
        wrong.iter().any(|what| what.contains("were acknowledged")),
        "{wrong:#?}"
    );
}

#[test]
fn what_is_synced_by_interval_outlives_the_process() {
    let wrong = cut("interval", 30, &[Left::Everything]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
