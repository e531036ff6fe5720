//! The store's recovery: however one of its files is damaged, it opens, gives back no value
//! that was not written for that key, and reports what is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use noctule_store::{Batch, Observer, State, Store, StoreError, StoreOptions};
use parking_lot::{Condvar, Mutex};

/// The files of a store, each with its name.
type Files = Vec<(String, Vec<u8>)>;

/// Space, key, and the sequence of an entry of its queue.
type Place = (u8, Vec<u8>, Option<u64>);

/// A store that was closed, one that was killed with everything in its write-ahead log, what
/// was ever written to them and what they held at the end.
struct Sound {
    closed: Files,
    killed: Files,
    written: Vec<(Place, Vec<u8>)>,
    live: BTreeMap<Place, Vec<u8>>,
}

/// The first byte of `input` chooses the store and its file; then every five bytes are a
/// change: kind, place (three bytes, of the file's length), value.
///
/// # Panics
/// The store does, or a value is wrong, or something is missing and nothing is reported.
pub fn check(input: &[u8]) {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    let sound = SOUND.get_or_init(make);
    let Some((&choice, changes)) = input.split_first() else {
        return;
    };
    let files = if choice & 1 == 0 {
        &sound.closed
    } else {
        &sound.killed
    };
    let damaged = usize::from(choice >> 1) % files.len();
    let directory = memory_directory();
    for (number, (name, bytes)) in files.iter().enumerate() {
        let mut bytes = bytes.clone();
        if number == damaged {
            changes
                .chunks_exact(5)
                .for_each(|each| change(&mut bytes, each));
        }
        fs::write(directory.path().join(name), bytes).expect("a file");
    }
    judge(directory.path(), sound, &files[damaged].0);
}

fn change(bytes: &mut Vec<u8>, change: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let place = usize::from(change[1]) << 16 | usize::from(change[2]) << 8 | usize::from(change[3]);
    let at = place % bytes.len();
    let value = change[4];
    match change[0] % 5 {
        0 => bytes[at] ^= 1 << (value % 8),
        1 => bytes[at] = value,
        2 => bytes.truncate(at),
        3 => {
            let end = bytes.len().min(at + 16 * usize::from(value));
            bytes[at..end].fill(0);
        }
        _ => {
            let page = at / 4_096 * 4_096;
            let from = (page + 4_096 * usize::from(value)) % bytes.len() / 4_096 * 4_096;
            let length = 4_096.min(bytes.len() - page.max(from));
            bytes.copy_within(from..from + length, page);
        }
    }
}

fn judge(path: &Path, sound: &Sound, damaged: &str) {
    let opened = Store::open(path, options(), Arc::new(Told::default()));
    let (store, recovery) = match opened {
        Ok(opened) => opened,
        // Of a later version, as far as can be told.
        Err(StoreError::Format { .. }) => return,
        Err(error) => panic!("{damaged} is damaged, and the store does not open: {error}"),
    };
    let mut live = BTreeMap::new();
    for space in 1..=3 {
        for entry in recovery.entries(space) {
            let entry = entry.expect("a record that was intact when the store was opened");
            let place = (space, entry.key.to_vec(), entry.sequence);
            let value = entry.value.to_vec();
            let pair = (place, value);
            assert!(sound.written.contains(&pair), "never written: {pair:?}");
            live.insert(pair.0, pair.1);
        }
    }
    if live != sound.live {
        let report = &recovery.report;
        assert!(
            !report.is_sound(),
            "{damaged}: lost, and nothing is reported"
        );
    }
    drop(recovery);
    assert_eq!(store.close(), State::Running);
}

fn make() -> Sound {
    let directory = memory_directory();
    let path = directory.path().join("made");
    let told = Arc::new(Told::default());
    let observer = Arc::clone(&told) as Arc<dyn Observer>;
    let (store, _) = Store::open(&path, options(), observer).expect("a new store");
    let mut writer = store.writer(0);
    let (mut written, mut live) = (Vec::new(), BTreeMap::new());
    for n in 0..12_u8 {
        let value = vec![n; if n == 5 { 6_000 } else { 30 + usize::from(n) }];
        let mut batch = Batch::new();
        let key = vec![b'k', n % 4];
        batch.put(1, &key, &value).expect("it fits");
        batch
            .append(2, b"queue", u64::from(n), &value)
            .expect("it fits");
        batch
            .remove(2, b"queue", u64::from(n) / 2)
            .expect("it fits");
        batch.put(3, &[n], &[n; 3]).expect("it fits");
        batch.delete(3, &[n / 2]).expect("it fits");
        for (place, value) in [
            ((1, key, None), value.clone()),
            ((2, b"queue".to_vec(), Some(u64::from(n))), value),
            ((3, vec![n], None), vec![n; 3]),
        ] {
            written.push((place.clone(), value.clone()));
            live.insert(place, value);
        }
        live.remove(&(2, b"queue".to_vec(), Some(u64::from(n) / 2)));
        live.remove(&(3, vec![n / 2], None));
        let sequence = writer.submit(batch).expect("room for it");
        told.wait_committed(sequence);
    }
    let killed = files(&path);
    assert_eq!(store.close(), State::Running);
    Sound {
        closed: files(&path),
        killed,
        written,
        live,
    }
}

/// All but the shared memory, which the first to open makes anew.
fn files(path: &Path) -> Files {
    let entries = fs::read_dir(path)
        .expect("a store")
        .map(|entry| entry.expect("a file"));
    let paths = entries
        .map(|entry| entry.path())
        .filter(|path: &PathBuf| path.is_file());
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let mut files: Files = paths
        .map(|path| (name(&path), path))
        .filter(|(name, _)| !name.ends_with("-shm"))
        .map(|(name, path)| (name, fs::read(path).expect("a file")))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    files.sort();
    files
}

fn options() -> StoreOptions {
    StoreOptions {
        reserve_bytes: 0,
        trim_after_bytes: 1 << 20,
        wal_limit_bytes: 8 << 20,
        ..StoreOptions::default()
    }
}

fn memory_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

/// Waits for commits.
#[derive(Default)]
struct Told {
    committed: Mutex<u64>,
    changed: Condvar,
}

impl Told {
    fn wait_committed(&self, sequence: u64) {
        let mut committed = self.committed.lock();
        while *committed < sequence {
            self.changed.wait(&mut committed);
        }
    }
}

impl Observer for Told {
    fn committed(&self, _: usize, sequence: u64) {
        *self.committed.lock() = sequence;
        self.changed.notify_all();
    }

    fn state_changed(&self, state: State, reason: &str) {
        assert_ne!(state, State::Failed, "{reason}");
    }

    fn damaged(&self, _: &str) {}
}
