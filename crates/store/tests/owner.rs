//! What the owner of a store may count on: it is alone and private, back-pressure
//! comes as a signal, files stay bounded, a backup is a store, and a large state opens
//! soon.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use noctule_store::{
    Batch, Durability, MAX_KEY_BYTES, State, Store, StoreError, StoreOptions, SubmitError, check,
    compact,
};
use support::disk::{child, child_root};
use support::workload::{self, ops};
use support::{Model, Op, Told, batch, open, small};

fn try_open(path: &Path) -> Result<(), StoreError> {
    let told = Arc::<Told>::default();
    Store::open(path, small(), told).map(drop)
}

fn entry(sequence: u64, length: usize) -> Batch {
    batch(&[Op::Append(
        1,
        b"queue".to_vec(),
        sequence,
        vec![sequence as u8; length],
    )])
}

#[test]
fn a_second_opener_is_refused_and_told_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (store, ..) = open(&path, small());
    for refused in [try_open(&path).unwrap_err(), check(&path).unwrap_err()] {
        assert!(matches!(&refused, StoreError::Locked { directory } if *directory == path));
        assert!(
            refused.to_string().contains(path.to_str().unwrap()),
            "{refused}"
        );
    }
    let other = child("opens_what_is_open", directory.path())
        .status()
        .unwrap();
    assert!(other.success(), "another process was not refused");
    drop(store);
    try_open(&path).unwrap();
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn opens_what_is_open() {
    let refused = try_open(&child_root().join("store"));
    assert!(matches!(refused, Err(StoreError::Locked { .. })));
}

#[test]
fn everything_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (store, _, told) = open(&path, small());
    let sequence = store.writer(0).submit(entry(1, 10)).unwrap();
    told.wait_committed(0, sequence);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(
        files.iter().any(|file| file.ends_with("log-1.db-wal")),
        "{files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_database_of_someone_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log-1.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE addresses (name TEXT)")
        .unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let refused = try_open(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Format { .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap().len(), before.len());
    let again = rusqlite::Connection::open(&path).unwrap();
    again.execute_batch("SELECT name FROM addresses").unwrap();
}

#[test]
fn what_may_wait_is_bounded_and_a_refused_batch_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        pending_bytes: 10_000,
        ..small()
    };
    let (store, _, told) = open(&directory.path().join("store"), options);
    let mut writer = store.writer(0);
    let (mut refused, mut congested, mut most) = (0, 0, 0);
    for n in 1..=3_000 {
        let mut next = entry(n, 500);
        loop {
            most = most.max(store.statistics().pending_bytes);
            congested += u32::from(writer.is_congested());
            match writer.submit(next) {
                Ok(sequence) => break assert_eq!(sequence, n),
                Err(SubmitError::Full(batch)) => next = batch,
                Err(SubmitError::Failed(_)) => panic!("{}", store.reason()),
            }
            refused += 1;
            std::thread::yield_now();
        }
    }
    told.wait_committed(0, 3_000);
    assert!(
        most <= 10_000 && refused > 0 && congested > 0,
        "{most} {refused} {congested}"
    );
    assert_eq!(store.statistics().pending_bytes, 0);
    // One that is longer than all that may wait is taken when nothing waits.
    let sequence = writer.submit(entry(3_001, 50_000)).unwrap();
    told.wait_committed(0, sequence);
    let reader = store.reader().unwrap();
    let queue = reader.read_queue(1, b"queue", Some(2_999), 10).unwrap();
    let lengths: Vec<_> = queue.iter().map(|(n, value)| (*n, value.len())).collect();
    assert_eq!(lengths, [(3_000, 500), (3_001, 50_000)]);
}

#[test]
fn an_empty_batch_marks_a_place_in_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, told) = open(&directory.path().join("store"), small());
    let mut writer = store.writer(7);
    for _ in 0..3 {
        let sequence = writer.submit(Batch::new()).unwrap();
        told.wait_committed(7, sequence);
    }
    writer.submit(entry(1, 10)).unwrap();
    let mark = writer.submit(Batch::new()).unwrap();
    told.wait_committed(7, mark);
    assert!(
        store
            .reader()
            .unwrap()
            .read_queue(1, b"queue", None, 1)
            .unwrap()
            .len()
            == 1
    );
}

#[test]
fn a_key_that_is_too_long_is_refused_and_the_batch_stays_as_it_was() {
    let mut batch = Batch::new();
    batch.put(0, b"key", b"value").unwrap();
    let before = batch.clone();
    let refused = batch.put(0, &vec![0; MAX_KEY_BYTES + 1], b"").unwrap_err();
    assert_eq!((refused.what, refused.most), ("key", MAX_KEY_BYTES));
    assert_eq!(batch, before);
}

#[test]
fn a_store_that_is_dropped_has_committed_what_was_submitted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (store, _, told) = open(&path, small());
    let mut writer = store.writer(0);
    for n in 1..=500 {
        writer.submit(entry(n, 100)).unwrap();
    }
    drop(store);
    assert_eq!(told.committed_of(0), 500);
    // All of it in the one file.
    assert_eq!(path.join("log-1.db-wal").metadata().unwrap().len(), 0);
    let (_store, recovery, _) = open(&path, small());
    assert_eq!(recovery.queues(1).next().unwrap().entries, 500);
}

/// A queue that is filled and emptied for ever, beside something that stays.
#[test]
fn files_stay_bounded_whatever_goes_through() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = StoreOptions {
        trim_after_bytes: 256 << 10,
        wal_limit_bytes: 1 << 20,
        durability: Durability::Interval(Duration::from_millis(50)),
        ..small()
    };
    let (store, _, told) = open(&path, options.clone());
    let mut writer = store.writer(0);
    let kept: Vec<Op> = (0..1_000_u32)
        .map(|n| Op::Put(2, n.to_be_bytes().to_vec(), vec![n as u8; 300]))
        .collect();
    writer.submit(batch(&kept)).unwrap();
    let mut most_files = 0;
    for n in 1..=60_000_u64 {
        let mut next = entry(n, 500);
        if n > 100 {
            next.remove(1, b"queue", n - 100).unwrap();
        }
        let sequence = writer.submit(next).unwrap();
        if n % 100 == 0 {
            told.wait_committed(0, sequence);
            most_files = most_files.max(store.statistics().file_bytes);
        }
    }
    let statistics = store.statistics();
    assert!(statistics.committed_bytes > 30 << 20, "{statistics:?}");
    assert!(statistics.trimmed_rows > 100 && statistics.moved_records > 1_000);
    // Alive are 350 KB, of which the log may be a bit more than double; and the
    // write-ahead log.
    assert!(most_files < 4 << 20, "{most_files} bytes; {statistics:?}");
    drop(store);
    let (_store, recovery, _) = open(&path, options);
    assert_eq!(recovery.keys(2), 1_000);
    assert_eq!(recovery.queues(1).next().unwrap().entries, 100);
}

#[test]
fn readers_are_right_while_everything_moves() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, told) = open(&directory.path().join("store"), small());
    let mut writer = store.writer(0);
    let kept: Vec<Op> = (0..50_u8)
        .map(|n| Op::Put(2, vec![n], vec![n; 200]))
        .collect();
    let sequence = writer.submit(batch(&kept)).unwrap();
    told.wait_committed(0, sequence);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let reader = store.reader().unwrap();
            let mut reads = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let n = (reads % 50) as u8;
                assert_eq!(reader.read(2, &[n]).unwrap(), Some(vec![n; 200]));
                let queue = reader.read_queue(1, b"queue", None, 20).unwrap();
                for (sequence, value) in &queue {
                    assert_eq!(value, &vec![*sequence as u8; 300]);
                }
                let backwards: Vec<u64> = queue.iter().rev().map(|each| each.0).collect();
                let again = reader.read_entries(1, b"queue", &backwards);
                for (sequence, value) in backwards.iter().zip(again) {
                    // Or it has been removed meanwhile.
                    let value = value.unwrap();
                    assert!(value.is_none_or(|value| value == vec![*sequence as u8; 300]));
                }
                reads += 1;
            }
            reads
        });
        for n in 1..=3_000 {
            let mut next = entry(n, 300);
            next.remove(1, b"queue", n.saturating_sub(30)).unwrap();
            let sequence = writer.submit(next).unwrap();
            if n % 10 == 0 {
                told.wait_committed(0, sequence);
            }
        }
        told.wait_committed(0, writer.last_sequence());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reads.join().unwrap() > 50);
    });
    assert!(store.statistics().moved_records > 1_000);
}

#[test]
fn damage_in_a_running_store_keeps_no_other_entry_from_being_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (store, _, told) = open(&path, small());
    let mut writer = store.writer(0);
    for n in 1..=9 {
        let sequence = writer.submit(entry(n, 1_000)).unwrap();
        told.wait_committed(0, sequence);
    }
    let reader = store.reader().unwrap();
    let found = |sequences: &[u64]| -> Vec<Option<bool>> {
        let read = reader.read_entries(1, b"queue", sequences);
        let values = sequences.iter().zip(read);
        let right = |n: u64, value: Option<Vec<u8>>| value.is_some_and(|v| v == [n as u8; 1_000]);
        values
            .map(|(&n, value)| value.ok().map(|value| right(n, value)))
            .collect()
    };
    assert_eq!(
        found(&[7, 3, 500, 5, 8]),
        [true, true, false, true, true].map(Some)
    );
    // Each was committed alone, so each has a row of its own.
    let other = rusqlite::Connection::open(path.join("log-1.db")).unwrap();
    let row_of = |n: u8| -> i64 {
        let holds = "SELECT id FROM log WHERE instr(bytes, ?1)";
        other
            .query_row(holds, [vec![n; 900]], |row| row.get(0))
            .unwrap()
    };
    let (damaged, gone) = (row_of(3), row_of(5));
    let flip = "UPDATE log SET bytes = substr(bytes, 1, length(bytes) - 1) || x'00' WHERE id = ?1";
    other.execute(flip, [damaged]).unwrap();
    other
        .execute("DELETE FROM log WHERE id = ?1", [gone])
        .unwrap();
    drop(other);
    assert_eq!(
        found(&[7, 3, 500, 5, 8]),
        [Some(true), None, Some(false), None, Some(true)]
    );
    drop((store, reader));
    let (_store, recovery, _) = open(&path, small());
    assert!(!recovery.report.is_sound());
    let left: Vec<_> = recovery
        .entries(1)
        .map(|each| each.unwrap().sequence)
        .collect();
    assert_eq!(left, [1, 2, 4, 6, 7, 8, 9].map(Some));
}

#[test]
fn a_backup_of_a_running_store_is_a_store_of_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (
        directory.path().join("store"),
        directory.path().join("copy"),
    );
    let (store, _, told) = open(&path, small());
    let mut writer = store.writer(0);
    let mut submit = |from: u64, to: u64| {
        for n in from..=to {
            writer.submit(batch(&ops(0, n))).unwrap();
        }
        writer.last_sequence()
    };
    told.wait_committed(0, submit(1, 500));
    let mut steps = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| submit(501, 1_000));
        store
            .backup(&copy, |progress| {
                steps.push(progress);
                ControlFlow::Continue(())
            })
            .unwrap();
    });
    let last = steps.last().unwrap();
    assert!(
        last.total_pages > 0 && last.copied_pages == last.total_pages,
        "{steps:?}"
    );
    let refused = store
        .backup(&copy, |_| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::Io { .. }),
        "an old backup is not written over"
    );
    told.wait_committed(0, 1_000);
    let (_copy, recovery, _) = open(&copy, small());
    assert!(recovery.report.is_sound(), "{:?}", recovery.report);
    workload::judge(&Model::of(&recovery), &[500, 0, 0]).unwrap();
}

#[test]
fn compacting_keeps_what_is_alive_and_gives_the_rest_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = StoreOptions {
        trim_after_bytes: 1 << 30,
        ..small()
    };
    let (store, _, told) = open(&path, options);
    let mut writer = store.writer(0);
    for n in 1..=2_000 {
        writer.submit(batch(&ops(0, n))).unwrap();
    }
    told.wait_committed(0, 2_000);
    assert_eq!(store.close(), State::Running);
    let (before, after) = compact(&path).unwrap();
    assert!(after * 2 < before, "{before} {after}");
    assert!(!path.join("log-1.db").exists() && path.join("log-2.db").exists());
    let (_store, recovery, _) = open(&path, small());
    assert!(recovery.report.is_sound(), "{:?}", recovery.report);
    workload::judge(&Model::of(&recovery), &[2_000, 0, 0]).unwrap();
}

/// Damage that comes while the store runs is told by whoever reads it.
#[test]
fn a_value_that_rots_while_the_store_runs_is_an_error_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let (store, _, told) = open(&path, small());
    let kept: Vec<Op> = (0..9_u8)
        .map(|n| Op::Put(2, vec![n], vec![n; 900]))
        .collect();
    let sequence = store.writer(0).submit(batch(&kept)).unwrap();
    told.wait_committed(0, sequence);
    drop(store);
    let database = path.join("log-1.db");
    let bytes = fs::read(&database).unwrap();
    let at = bytes
        .windows(300)
        .position(|window| window == [4; 300])
        .unwrap()
        + 7;
    let (store, ..) = open(&path, small());
    // By another process: one that closes the file here takes SQLite's locks with it.
    let rot = format!(
        "printf x | dd of={} bs=1 seek={at} conv=notrunc",
        database.display()
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &rot])
        .status()
        .unwrap();
    assert!(status.success());
    let reader = store.reader().unwrap();
    assert!(matches!(
        reader.read(2, &[4]),
        Err(StoreError::Damaged { .. })
    ));
    assert_eq!(reader.read(2, &[5]).unwrap(), Some(vec![5; 900]));
    drop((store, reader));
    let (store, recovery, _) = open(&path, small());
    assert_eq!(recovery.report.damage[0].key.as_ref().unwrap().key, [4]);
    assert_eq!(store.reader().unwrap().read(2, &[4]).unwrap(), None);
}

/// A million retained messages and the subscriptions of 100,000 sessions.
#[test]
fn a_large_state_opens_in_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = StoreOptions {
        durability: Durability::Interval(Duration::from_secs(1)),
        ..StoreOptions::default()
    };
    let (store, _, told) = open(&path, options.clone());
    let mut writer = store.writer(0);
    let topic = |n: u32| format!("site/{}/device/{n}/temperature", n % 97);
    for first in (0..1_000_000).step_by(1_000) {
        let mut batch = Batch::new();
        for n in first..first + 1_000 {
            batch.put(1, topic(n).as_bytes(), &[n as u8; 64]).unwrap();
            if n < 100_000 {
                batch
                    .put(2, format!("client-{n}").as_bytes(), &[1; 40])
                    .unwrap();
                batch
                    .append(3, format!("client-{n}").as_bytes(), 1, &[2; 80])
                    .unwrap();
            }
        }
        let mut next = batch;
        while let Err(refused) = writer.submit(next) {
            next = refused.into_batch();
            told.wait_committed(0, writer.last_sequence());
        }
    }
    told.wait_committed(0, writer.last_sequence());
    drop(store);
    let (begun, begun_cpu) = (Instant::now(), cpu_time());
    let (_store, recovery, _) = open(&path, options);
    let opened = begun.elapsed();
    assert!(recovery.report.is_sound(), "{:?}", recovery.report);
    let mut last = Vec::new();
    let mut topics = 0;
    for entry in recovery.entries(1) {
        let entry = entry.unwrap();
        assert!(entry.value.len() == 64 && entry.key > last);
        topics += 1;
        last = entry.key;
    }
    assert_eq!(recovery.entries(2).count(), 100_000);
    assert_eq!(recovery.queues(3).count(), 100_000);
    let (all, cpu) = (begun.elapsed(), cpu_time() - begun_cpu);
    assert_eq!(topics, 1_000_000);
    println!("opened in {opened:?}, gone through in {all:?}, of which {cpu:?} on a core");
    // All of it is done by this thread; what others do on the machine is not counted.
    assert!(cpu < Duration::from_secs(10), "{cpu:?} of {all:?}");
}

/// What this thread has used of a core.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
