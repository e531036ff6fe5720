//! Every bit of a small store flipped: no value is ever read that was not written for
//! that key, what is lost is reported, and the store opens and works.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use noctule_store::{RecoveryReport, State, StoreOptions, check};
use support::workload::Numbers;
use support::{Model, Op, batch, memory_directory, open, small};

fn options() -> StoreOptions {
    StoreOptions {
        reserve_bytes: 0,
        // Nothing is trimmed: pages that are free may say anything.
        trim_after_bytes: 1 << 20,
        // All of a store that was killed is in its write-ahead log.
        wal_limit_bytes: 8 << 20,
        ..small()
    }
}

/// What a small store went through.
fn history() -> Vec<Vec<Op>> {
    let mut history = Vec::new();
    for n in 0..12_u8 {
        let value = vec![n; if n == 5 { 6_000 } else { 30 + usize::from(n) }];
        history.push(vec![
            Op::Put(1, vec![b'k', n % 4], value.clone()),
            Op::Append(2, b"queue".to_vec(), u64::from(n), value),
        ]);
        history.push(vec![
            Op::Remove(2, b"queue".to_vec(), u64::from(n) / 2),
            Op::Put(3, vec![n], vec![n; 3]),
            Op::Delete(3, vec![n / 2]),
        ]);
    }
    history
}

/// A store that was closed, or killed with everything in its write-ahead log.
fn make(directory: &Path, closed: bool) -> (PathBuf, Model) {
    let path = directory.join("made");
    let (store, _, told) = open(&path, options());
    let mut writer = store.writer(0);
    let mut model = Model::default();
    for ops in history() {
        model.apply(&ops);
        let sequence = writer.submit(batch(&ops)).unwrap();
        told.wait_committed(0, sequence);
    }
    let copy = directory.join("copy");
    if closed {
        assert_eq!(store.close(), State::Running);
        copy_store(&path, &copy);
    } else {
        copy_store(&path, &copy);
        drop(store);
    }
    (copy, model)
}

fn copy_store(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Shared memory is made anew by the first to open.
        if entry.file_type().unwrap().is_file() && !entry.path().ends_with("log-1.db-shm") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every value that a place ever had.
fn was_written(place: &support::Place, value: &[u8]) -> bool {
    history().iter().flatten().any(|op| match op {
        Op::Put(space, key, written) => {
            (*space, &key[..], None) == (place.0, &place.1[..], place.2) && written == value
        }
        Op::Append(space, key, sequence, written) => {
            (*space, &key[..], Some(*sequence)) == (place.0, &place.1[..], place.2)
                && written == value
        }
        _ => false,
    })
}

/// Opens a store with something wrong, and says what is wrong about how it opens.
fn judge(path: &Path, whole: &Model) -> Result<RecoveryReport, String> {
    let checked = check(path).map_err(|error| format!("check: {error}"))?;
    let (store, recovery, told) = open(path, options());
    let report = recovery.report.clone();
    let model = Model::of(&recovery);
    if let Some((place, _)) = model
        .0
        .iter()
        .find(|(place, value)| !was_written(place, value))
    {
        return Err(format!(
            "{place:?} has a value that was never written; {report:?}"
        ));
    }
    if model != *whole && report.is_sound() {
        return Err("something is missing or old, and nothing is reported".to_owned());
    }
    if checked.damage.is_empty() != report.is_sound() {
        return Err(format!(
            "check says {:?}, recovery {report:?}",
            checked.damage
        ));
    }
    let mut writer = store.writer(0);
    let sequence = writer
        .submit(batch(&[Op::Put(9, b"new".to_vec(), vec![1])]))
        .unwrap();
    told.wait_committed(0, sequence);
    let reader = store.reader().unwrap();
    if reader.read(9, b"new").unwrap() != Some(vec![1]) {
        return Err("what is put afterwards is not there".to_owned());
    }
    drop((store, recovery));
    let (_store, again, _) = open(path, options());
    if !again.report.is_sound() {
        return Err(format!(
            "damaged once more: {:?} after {report:?}",
            again.report
        ));
    }
    let mut after = model;
    after.apply(&[Op::Put(9, b"new".to_vec(), vec![1])]);
    if Model::of(&again) != after {
        return Err("another state when opened again".to_owned());
    }
    Ok(report)
}

/// Which bits are flipped: every so many with `NOCTULE_BIT_STEP` (1 is all of them),
/// else some, a quarter of them in the file's header.
fn sample(bits: u64) -> Vec<u64> {
    const HEADER_BITS: u64 = 800;
    if let Ok(step) = std::env::var("NOCTULE_BIT_STEP") {
        return (0..bits).step_by(step.parse().expect("a number")).collect();
    }
    let mut numbers = Numbers(0xB17F_11B5);
    let bound = |n| {
        if n % 4 == 0 {
            bits.min(HEADER_BITS)
        } else {
            bits
        }
    };
    (0..240).map(|n| numbers.below(bound(n))).collect()
}

/// Flips bits of one file of a store, one at a time. Returns how many were noticed.
fn flip(closed: bool, name: &str) -> usize {
    let directory = memory_directory();
    let (made, whole) = make(directory.path(), closed);
    let sound = fs::read(made.join(name)).unwrap();
    assert!(!sound.is_empty());
    let mut wrong = Vec::new();
    let mut noticed = 0;
    let bits = sample(sound.len() as u64 * 8);
    for &bit in &bits {
        let path = directory.path().join("flipped");
        copy_store(&made, &path);
        let mut flipped = sound.clone();
        flipped[bit as usize / 8] ^= 1 << (bit % 8);
        fs::write(path.join(name), flipped).unwrap();
        match judge(&path, &whole) {
            Ok(report) => noticed += usize::from(!report.is_sound()),
            Err(what) => wrong.push(format!("byte {} bit {}: {what}", bit / 8, bit % 8)),
        }
    }
    assert!(
        wrong.is_empty(),
        "{name}: {} of {}: {:#?}",
        wrong.len(),
        bits.len(),
        wrong
    );
    noticed
}

#[test]
fn a_flipped_bit_in_the_database_is_reported_if_anything_is_lost() {
    let noticed = flip(true, "log-1.db");
    assert!(noticed > 40, "{noticed}");
}

#[test]
fn a_flipped_bit_in_the_write_ahead_log_is_reported_if_anything_is_lost() {
    let noticed = flip(false, "log-1.db-wal");
    assert!(noticed > 10, "{noticed}");
}

#[test]
fn a_flipped_bit_in_the_mark_of_what_was_acknowledged_is_reported() {
    let noticed = flip(true, "acknowledged");
    assert!(noticed > 100, "{noticed}");
}

/// SQLite itself ends its log at the first frame that is damaged.
#[test]
fn a_damaged_frame_of_the_write_ahead_log_takes_little_with_it() {
    let directory = memory_directory();
    let (made, whole) = make(directory.path(), false);
    let wal = "log-1.db-wal";
    let sound = fs::read(made.join(wal)).unwrap();
    let frames = (sound.len() - 32) / 4_120;
    for frame in 0..frames {
        let path = directory.path().join("flipped");
        copy_store(&made, &path);
        let mut flipped = sound.clone();
        flipped[32 + frame * 4_120 + 24 + 2_000] ^= 1;
        fs::write(path.join(wal), flipped).unwrap();
        let (_store, recovery, _) = open(&path, options());
        let model = Model::of(&recovery);
        let there = model
            .0
            .iter()
            .filter(|(place, value)| whole.0.get(*place) == Some(*value));
        let lost = whole.0.len() - there.count();
        assert!(
            lost * 2 <= whole.0.len(),
            "frame {frame} of {frames}: {lost} lost"
        );
    }
}

/// Parts of a database that are not there any more.
#[test]
fn a_database_that_is_cut_or_overwritten_opens_with_a_report() {
    let directory = memory_directory();
    let (made, whole) = make(directory.path(), true);
    let name = "log-1.db";
    let sound = fs::read(made.join(name)).unwrap();
    let pages = sound.len() / 4_096;
    for page in 0..pages {
        for cut in [false, true] {
            let path = directory.path().join("cut");
            copy_store(&made, &path);
            let mut bytes = sound.clone();
            match cut {
                true => bytes.truncate(page * 4_096),
                false => bytes[page * 4_096..][..4_096].fill(0),
            }
            fs::write(path.join(name), bytes).unwrap();
            let report = judge(&path, &whole);
            let report = report.unwrap_or_else(|what| panic!("page {page}, cut {cut}: {what}"));
            assert!(!report.is_sound(), "page {page}, cut {cut}");
        }
    }
}

#[test]
fn a_damaged_value_is_reported_with_its_key_and_the_rest_is_whole() {
    let directory = memory_directory();
    let (made, whole) = make(directory.path(), true);
    let path = made.join("log-1.db");
    let mut bytes = fs::read(&path).unwrap();
    let value = [11_u8; 41];
    let at = bytes
        .windows(41)
        .position(|window| window == value)
        .unwrap();
    bytes[at + 20] ^= 0x10;
    fs::write(&path, bytes).unwrap();
    let (_store, recovery, _) = open(&made, options());
    let damage = &recovery.report.damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    let key = damage[0].key.as_ref().unwrap();
    let sequence = (key.space == 2).then_some(key.sequence);
    let mut expected = whole;
    expected.0.remove(&(key.space, key.key.clone(), sequence));
    // Not the value it had before the damaged one, if it had one.
    assert_eq!(Model::of(&recovery), expected);
}
