//! A disk that is full, and a disk that fails: at every write and every sync.
//!
//! Whatever happens, what was acknowledged is there afterwards, nothing else than the
//! truth is read meanwhile, and a full disk that has room again is as if nothing had
//! been. The disk is `tests/shim/disk.c`, in a process of its own.

mod support;

use std::fs;
use std::path::Path;

use noctule_store::{Durability, State, StoreError, StoreOptions, SubmitError};
use support::disk::{child_root, control, run_on_shim};
use support::workload::{self, ops};
use support::{Model, batch, open, small};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const BATCHES: u64 = 60;

/// Every how many writes and syncs one fails: each one with `NOCTULE_EVERY_FAULT`.
fn step() -> usize {
    match std::env::var_os("NOCTULE_EVERY_FAULT") {
        Some(_) => 1,
        None => 5,
    }
}

/// How a script with a fault ended.
struct Outcome {
    acknowledged: u64,
    states: Vec<State>,
}

/// Opens a store, has a fault come, and goes on until all is acknowledged or nothing
/// can be. None if the fault kept it from opening.
fn run_script(root: &Path, fault: &str, before_open: bool) -> Option<Outcome> {
    let path = root.join("store");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    if before_open {
        control(root, fault);
        let observer = std::sync::Arc::<support::Told>::default();
        match noctule_store::Store::open(&path, small(), observer) {
            Ok((store, _)) => drop(store),
            Err(StoreError::Database { .. } | StoreError::Io { .. }) => return None,
            Err(other) => panic!("{fault}: {other}"),
        }
        control(root, "ok");
    }
    let (store, _, told) = open(&path, small());
    let (mut writer, reader) = (store.writer(0), store.reader().unwrap());
    control(root, fault);
    let mut acknowledged = 0;
    for n in 1..=BATCHES {
        match writer.submit(batch(&ops(0, n))) {
            Ok(sequence) if told.is_committed(0, sequence) => acknowledged = sequence,
            Ok(_) if store.state() == State::Failed => break,
            Ok(sequence) => {
                // Full: what is committed can be read, and when there is room it goes on.
                let count = reader.read(0, b"count").unwrap();
                let count =
                    count.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
                assert!(count == n - 1 || count == n, "{count} at {n}");
                control(root, "ok");
                told.wait_committed(0, sequence);
                told.wait_state(State::Running);
                acknowledged = sequence;
            }
            Err(SubmitError::Failed(_)) => break,
            Err(SubmitError::Full(_)) => panic!("{fault}: little waits"),
        }
    }
    let states = told.states();
    if states.last() == Some(&State::Failed) {
        // Loud, and for good; but what was committed can be read.
        let refused = writer.submit(batch(&ops(0, BATCHES + 1)));
        assert!(matches!(refused, Err(SubmitError::Failed(_))), "{fault}");
        assert!(!store.reason().is_empty());
        let count = reader.read(0, b"count").unwrap();
        let count = count.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
        assert_eq!(count, acknowledged, "{fault}");
        assert_eq!(told.committed_of(0), acknowledged);
    }
    drop(store);
    control(root, "ok");
    Some(Outcome {
        acknowledged,
        states,
    })
}

fn judge(root: &Path, fault: &str, outcome: Option<&Outcome>) {
    let (_store, recovery, _) = open(&root.join("store"), small());
    assert!(recovery.report.is_sound(), "{fault}: {:?}", recovery.report);
    let acknowledged = outcome.map_or(0, |outcome| outcome.acknowledged);
    let judged = workload::judge(&Model::of(&recovery), &[acknowledged, 0, 0]);
    judged.unwrap_or_else(|what| panic!("{fault}: {what}"));
}

/// Has the fault come at the first, second … write or sync, until it comes no more.
///
/// Returns how often the store changed into each state.
fn at_every_place(what: &str, error: i32, times: u32) -> (usize, usize, usize) {
    let root = child_root();
    let (mut unmoved, mut full, mut failed) = (0, 0, 0);
    for first in (1..3_000).step_by(step()) {
        let fault = format!("{what} {error} {first} {times}");
        let outcome = run_script(&root, &fault, false).expect("it opened");
        judge(&root, &fault, Some(&outcome));
        match outcome.states.last() {
            Some(State::Failed) => failed += 1,
            Some(_) => full += 1,
            None => unmoved += 1,
        }
        if unmoved > 15 {
            return (unmoved, full, failed);
        }
    }
    panic!("{what} never comes to an end");
}

#[test]
fn a_full_disk_is_waited_out() {
    run_on_shim("full_once");
    run_on_shim("full_for_long");
}

#[test]
fn a_failing_write_makes_the_store_read_only() {
    run_on_shim("write_fails_once");
    run_on_shim("write_fails_for_good");
}

#[test]
fn a_failing_sync_makes_the_store_read_only() {
    run_on_shim("sync_fails_once");
}

#[test]
fn a_fault_while_opening_is_an_error_and_no_harm() {
    run_on_shim("opening_fails");
}

#[test]
fn what_fills_the_disk_itself_can_be_deleted() {
    run_on_shim("fills_up");
}

#[test]
#[ignore = "run by another test, on the shim's disk"]
fn full_once() {
    let (_, full, failed) = at_every_place("write", ENOSPC, 1);
    assert!(full > 10 && failed == 0, "{full} full, {failed} failed");
}

#[test]
#[ignore = "run by another test, on the shim's disk"]
fn full_for_long() {
    let (_, full, failed) = at_every_place("write", ENOSPC, 0);
    assert!(full > 10 && failed == 0, "{full} full, {failed} failed");
}

#[test]
#[ignore = "run by another test, on the shim's disk"]
fn write_fails_once() {
    let (_, full, failed) = at_every_place("write", EIO, 1);
    assert!(failed > 10 && full == 0, "{full} full, {failed} failed");
}

#[test]
#[ignore = "run by another test, on the shim's disk"]
fn write_fails_for_good() {
    let (_, full, failed) = at_every_place("write", EIO, 0);
    assert!(failed > 10 && full == 0, "{full} full, {failed} failed");
}

#[test]
#[ignore = "run by another test, on the shim's disk"]
fn sync_fails_once() {
    let (_, full, failed) = at_every_place("sync", EIO, 1);
    assert!(failed > 10 && full == 0, "{full} full, {failed} failed");
}

#[test]
#[ignore = "run by another test, on the shim's disk"]
fn opening_fails() {
    let root = child_root();
    let mut refused = 0;
    for first in 1..60 {
        for fault in [
            format!("write {ENOSPC} {first} 0"),
            format!("write {EIO} {first} 1"),
            format!("sync {EIO} {first} 1"),
        ] {
            let outcome = run_script(&root, &fault, true);
            refused += u32::from(outcome.is_none());
            control(&root, "ok");
            judge(&root, &fault, outcome.as_ref());
        }
    }
    assert!(refused > 10, "{refused}");
}

/// The disk has room for so much: the store fills it, says so, and when the queue is
/// emptied it goes on by itself, with not a byte more of room.
#[test]
#[ignore = "run by another test, on the shim's disk"]
fn fills_up() {
    let root = child_root();
    let options = StoreOptions {
        durability: Durability::Disk,
        reserve_bytes: 512 << 10,
        group_bytes: 16 << 10,
        ..small()
    };
    let (store, _, told) = open(&root.join("store"), options.clone());
    let (mut writer, reader) = (store.writer(0), store.reader().unwrap());
    control(&root, "room 3000000");
    let mut last = 0;
    while store.state() == State::Running {
        last += 1;
        assert!(last < 10_000, "the disk is never full");
        let mut entry = noctule_store::Batch::new();
        entry
            .append(1, b"queue", last, &[last as u8; 1_000])
            .unwrap();
        let sequence = writer.submit(entry).unwrap();
        told.is_committed(0, sequence);
    }
    // Committed with what the reserve gave back.
    told.wait_committed(0, writer.last_sequence());
    assert_eq!(store.state(), State::Full);
    let entries = reader.read_queue(1, b"queue", None, 100_000).unwrap();
    assert_eq!(entries.len() as u64, last);
    for n in 1..=last {
        let mut removal = noctule_store::Batch::new();
        removal.remove(1, b"queue", n).unwrap();
        let sequence = writer.submit(removal).unwrap();
        told.wait_committed(0, sequence);
    }
    told.wait_state(State::Running);
    for n in 1..=100 {
        let mut entry = noctule_store::Batch::new();
        entry.append(1, b"queue", n, &[n as u8; 1_000]).unwrap();
        let sequence = writer.submit(entry).unwrap();
        told.wait_committed(0, sequence);
    }
    drop((store, writer, reader));
    control(&root, "ok");
    let (_store, recovery, _) = open(&root.join("store"), options);
    assert!(recovery.report.is_sound(), "{:?}", recovery.report);
    let entries = recovery.entries(1).map(|entry| entry.unwrap());
    let sequences = entries
        .map(|entry| entry.sequence.unwrap())
        .collect::<Vec<_>>();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
}
