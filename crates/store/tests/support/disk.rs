//! Running a test in a process of its own, on a disk that keeps a trace and can fail
//! (`tests/shim/disk.c`), and putting together what is left of that disk after a cut. The
//! server's tests use it, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A small generator of numbers that look random: xorshift64*.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

/// Builds the shim, once.
pub fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/shim/disk.c");
        let name = format!("noctule-disk-{}.so", std::process::id());
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([library.as_path(), source.as_path()])
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("a C compiler is there");
        assert!(built.success(), "the shim does not compile");
        library
    })
}

/// A command that runs an ignored test of this very binary in `root`.
pub fn child(test: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test binary"));
    command.args([
        test,
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env("NOCTULE_DISK", root);
    command
}

/// As [`child`], on the shim's disk.
pub fn child_on_shim(test: &str, root: &Path) -> Command {
    let mut command = child(test, root);
    command.env("LD_PRELOAD", shim());
    command
}

/// Runs a [`child_on_shim`] in an empty directory; fails if it does.
#[track_caller]
pub fn run_on_shim(test: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let ran = child_on_shim(test, directory.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    let failed = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{failed}");
    assert!(said.contains("1 passed"), "there is no such test: {said}");
}

/// Sets what fails on the shim's disk from now on; see `tests/shim/disk.c`.
pub fn control(root: &Path, line: &str) {
    fs::write(root.join("disk.control"), line).expect("the shim takes it");
}

/// The directory a child was started in.
pub fn child_root() -> PathBuf {
    PathBuf::from(std::env::var_os("NOCTULE_DISK").expect("started by another test"))
}

/// One thing that happened on a traced disk.
#[derive(Clone, Debug)]
pub enum Event {
    Write {
        name: String,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        name: String,
        length: u64,
    },
    Sync {
        name: String,
    },
    SyncDirectory {
        name: String,
    },
    Create {
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        name: String,
    },
    Note(String),
}

/// Reads a trace; a last event that is cut short is left away.
pub fn trace(path: &Path) -> Vec<Event> {
    let bytes = fs::read(path).expect("a trace");
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(15) {
        let name_bytes = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let offset = u64::from_le_bytes(head[3..11].try_into().expect("eight bytes"));
        let data_bytes = u32::from_le_bytes(head[11..15].try_into().expect("four bytes")) as usize;
        if after.len() < name_bytes + data_bytes {
            break;
        }
        let (name, after) = after.split_at(name_bytes);
        let (data, after) = after.split_at(data_bytes);
        rest = after;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = text(name);
        events.push(match head[0] {
            b'W' => Event::Write {
                name,
                offset,
                data: data.to_vec(),
            },
            b'T' => Event::Truncate {
                name,
                length: offset,
            },
            b'S' => Event::Sync { name },
            b'D' => Event::SyncDirectory { name },
            b'C' => Event::Create { name },
            b'R' => Event::Rename {
                from: name,
                to: text(data),
            },
            b'U' => Event::Unlink { name },
            b'A' => Event::Note(text(data)),
            other => panic!("event {other}"),
        });
    }
    events
}

/// What survives the cut.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Only what was synced.
    Synced,
    /// That, and any sectors of what was written since, in any order.
    SomeSectors,
    /// All that was written: the process died, not the machine.
    Everything,
}

/// A file: what it is for the process, what it is on the disk, and what lies between.
#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

const SECTOR_BYTES: usize = 512;

impl File {
    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.since.push(change);
    }

    fn sync(&mut self) {
        self.synced.clone_from(&self.now);
        self.since.clear();
    }

    fn left(&self, left: Left, numbers: &mut Numbers) -> Vec<u8> {
        match left {
            Left::Synced => self.synced.clone(),
            Left::Everything => self.now.clone(),
            Left::SomeSectors => {
                let mut bytes = self.synced.clone();
                for change in &self.since {
                    keep_some(&mut bytes, change, numbers);
                }
                bytes
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(length) => bytes.resize(*length as usize, 0),
        Change::Write(offset, data) => {
            let (from, to) = (*offset as usize, *offset as usize + data.len());
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(data);
        }
    }
}

fn keep_some(bytes: &mut Vec<u8>, change: &Change, numbers: &mut Numbers) {
    let Change::Write(offset, data) = change else {
        if numbers.below(2) == 0 {
            apply(bytes, change);
        }
        return;
    };
    let mut from = 0;
    while from < data.len() {
        let at = *offset as usize + from;
        let to = (from + SECTOR_BYTES - at % SECTOR_BYTES).min(data.len());
        if numbers.below(2) == 0 {
            apply(bytes, &Change::Write(at as u64, data[from..to].to_vec()));
        }
        from = to;
    }
}

/// A disk, as it is after some events.
#[derive(Default)]
pub struct Disk {
    files: Vec<File>,
    /// Names as the process sees them: which file each is.
    names: BTreeMap<String, usize>,
    /// Names that outlive a cut.
    synced_names: BTreeMap<String, usize>,
}

impl Disk {
    pub fn follow(&mut self, event: &Event) {
        match event {
            Event::Write { name, offset, data } => {
                let change = Change::Write(*offset, data.clone());
                self.file(name).change(change);
            }
            Event::Truncate { name, length } => self.file(name).change(Change::Truncate(*length)),
            Event::Sync { name } => self.file(name).sync(),
            Event::SyncDirectory { name } => self.sync_directory(name),
            Event::Create { name } => {
                self.names.insert(name.clone(), self.files.len());
                self.files.push(File::default());
            }
            Event::Rename { from, to } => {
                let file = self.names.remove(from).expect("a file to rename");
                self.names.insert(to.clone(), file);
            }
            Event::Unlink { name } => {
                self.names.remove(name);
            }
            Event::Note(_) => {}
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        &mut self.files[self.names[name]]
    }

    fn sync_directory(&mut self, directory: &str) {
        let within = |name: &str| name.rsplit_once('/').is_some_and(|(of, _)| of == directory);
        self.synced_names.retain(|name, _| !within(name));
        let names = self.names.iter().filter(|(name, _)| within(name));
        self.synced_names
            .extend(names.map(|(name, file)| (name.clone(), *file)));
    }

    /// Writes what a cut leaves below `root`.
    pub fn write_out(&self, root: &Path, left: Left, numbers: &mut Numbers) {
        let names = match left {
            Left::Synced => &self.synced_names,
            Left::Everything => &self.names,
            // The file system may have written its directory, or not.
            Left::SomeSectors if numbers.below(2) == 0 => &self.synced_names,
            Left::SomeSectors => &self.names,
        };
        for (name, &file) in names {
            let path = root.join(name.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
            fs::write(path, self.files[file].left(left, numbers)).expect("it is written");
        }
    }
}
