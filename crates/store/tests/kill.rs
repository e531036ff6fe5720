//! kill -9: whatever was acknowledged to the one who asked is there afterwards, and the
//! state is what the history up to there leaves.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use noctule_store::{Durability, Observer, StoreOptions};
use parking_lot::Mutex;
use support::disk::{child, child_root};
use support::workload::{self, Numbers, WORKERS};
use support::{Model, open, small};

/// Says on standard output what is acknowledged.
struct Speaker(Mutex<std::io::Stdout>);

impl Observer for Speaker {
    fn committed(&self, worker: usize, sequence: u64) {
        let mut out = self.0.lock();
        writeln!(out, "committed {worker} {sequence}").expect("someone listens");
        out.flush().expect("someone listens");
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        durability: Durability::Disk,
        pending_bytes: 20_000,
        ..small()
    }
}

#[test]
#[ignore = "run by another test, which kills it"]
fn workload_until_killed() {
    let speaker = Speaker(Mutex::new(std::io::stdout()));
    let path = child_root().join("store");
    workload::run(&path, options(), Arc::new(speaker), u64::MAX);
}

/// Reads what is acknowledged until the child's output ends.
fn listen(output: ChildStdout, before: [u64; WORKERS]) -> [u64; WORKERS] {
    let mut acknowledged = before;
    for line in BufReader::new(output).lines() {
        let line = line.expect("text");
        let mut words = line
            .split_whitespace()
            .skip_while(|&word| word != "committed")
            .skip(1);
        let (Some(worker), Some(sequence)) = (words.next(), words.next()) else {
            continue;
        };
        // A line is whole or not there at all: it is written at once.
        let worker: usize = worker.parse().expect("a worker");
        let sequence: u64 = sequence.parse().expect("a sequence");
        acknowledged[worker] = before[worker] + sequence;
    }
    acknowledged
}

/// More of them with `NOCTULE_KILLS`.
fn rounds() -> u64 {
    let asked = std::env::var("NOCTULE_KILLS").ok();
    asked.map_or(30, |rounds| rounds.parse().expect("a number"))
}

#[test]
fn what_is_acknowledged_outlives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut numbers = Numbers(0xDEAD_BEEF);
    let mut before = [0; WORKERS];
    for round in 0..rounds() {
        let mut running = child("workload_until_killed", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = running.stdout.take().unwrap();
        let listener = std::thread::spawn(move || listen(output, before));
        // Not to wait for anything: the moment is the test.
        std::thread::sleep(Duration::from_millis(20 + numbers.below(130)));
        running.kill().unwrap();
        running.wait().unwrap();
        let acknowledged = listener.join().unwrap();
        let (store, recovery, _) = open(&path, options());
        assert!(
            recovery.report.is_sound(),
            "round {round}: {:?}",
            recovery.report
        );
        let model = Model::of(&recovery);
        workload::judge(&model, &acknowledged).unwrap_or_else(|what| panic!("{round}: {what}"));
        before = workload::counts(&recovery);
        drop(store);
    }
    assert!(
        before.iter().all(|&count| count > 100),
        "too little was done: {before:?}"
    );
}
