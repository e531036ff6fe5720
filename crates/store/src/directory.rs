//! The directory of a store: who may have it, and the files beside the database.
//!
//! ```text
//! lock          held by whoever has the store open
//! log-N.db      the database of generation N (and SQLite's -wal and -shm);
//!               the highest counts
//! log-N.db.new  generation N while it is being made
//! acknowledged  the last row that was acknowledged (`tail.rs`)
//! reserve       room for when the disk is full
//! quarantine/   what was found damaged, as it was
//! ```

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::error::StoreError;

/// A store's directory, held exclusively.
pub(crate) struct Directory {
    path: PathBuf,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Directory {
    /// Takes the directory, made with mode 0700 if it is not there; one that is there
    /// gets that mode. Its parent must exist.
    pub fn open(path: &Path) -> Result<Directory, StoreError> {
        if !path.is_dir() {
            let made = fs::DirBuilder::new().mode(0o700).create(path);
            made.map_err(StoreError::io(path))?;
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        Directory::open_existing(path)
    }

    /// Takes a directory that is there.
    pub fn open_existing(path: &Path) -> Result<Directory, StoreError> {
        let io = || StoreError::io(path);
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io())?;
        let lock = private_file(&path.join("lock")).map_err(io())?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let directory = path.to_owned();
                return Err(StoreError::Locked { directory });
            }
            Err(errno) => return Err(io()(errno.into())),
        }
        Ok(Directory {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn database(&self, generation: u64) -> PathBuf {
        database_in(&self.path, generation)
    }

    pub fn wal(&self, generation: u64) -> PathBuf {
        self.path.join(format!("log-{generation}.db-wal"))
    }

    /// The database of the next generation, before it counts.
    pub fn unfinished(&self, generation: u64) -> PathBuf {
        self.path.join(format!("log-{generation}.db.new"))
    }

    /// Generations whose database is here, ascending.
    pub fn generations(&self) -> Result<Vec<u64>, StoreError> {
        generations(&self.path)
    }

    /// Makes `unfinished` the database that counts: complete and synced as it is.
    pub fn finish(&self, generation: u64) -> Result<(), StoreError> {
        let (from, to) = (self.unfinished(generation), self.database(generation));
        fs::rename(&from, &to).map_err(StoreError::io(&from))?;
        sync_directory(&self.path)
    }

    /// Moves a generation's files where nothing touches them.
    ///
    /// Returns where they are now.
    pub fn quarantine_generation(&self, generation: u64) -> Result<Vec<PathBuf>, StoreError> {
        let mut moved = Vec::new();
        for suffix in ["", "-wal"] {
            let name = format!("log-{generation}.db{suffix}");
            let from = self.path.join(&name);
            if !from.exists() {
                continue;
            }
            let to = self.quarantine_path(&name)?;
            fs::rename(&from, &to).map_err(StoreError::io(&from))?;
            moved.push(to);
        }
        self.remove_generation(generation)?;
        Ok(moved)
    }

    /// Removes what is left of a generation.
    pub fn remove_generation(&self, generation: u64) -> Result<(), StoreError> {
        for suffix in [".db", ".db-wal", ".db-shm", ".db.new", ".db.new-journal"] {
            let path = self.path.join(format!("log-{generation}{suffix}"));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io(&path)(error));
                }
                _ => {}
            }
        }
        sync_directory(&self.path)
    }

    /// A name in the quarantine that is not taken.
    fn quarantine_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let directory = self.path.join("quarantine");
        if !directory.is_dir() {
            let made = fs::DirBuilder::new().mode(0o700).create(&directory);
            made.map_err(StoreError::io(&directory))?;
        }
        let numbered = (1_u64..).map(|number| directory.join(format!("{number}-{name}")));
        let mut free = numbered.filter(|path| !path.exists());
        Ok(free.next().unwrap_or(directory))
    }

    /// Whether the file system says that it has no room, or no more for us.
    ///
    /// SQLite tells ENOSPC from other failed writes, but not a quota or a file size
    /// limit: so it is tried.
    pub fn is_out_of_space(&self) -> bool {
        let path = self.path.join("probe");
        let tried = fs::write(&path, [0; 8_192]);
        let _ = fs::remove_file(&path);
        tried.is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            )
        })
    }

    fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// Has the reserve take `bytes` of the disk. Err: there is no room for it.
    pub fn fill_reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let file = private_file(&self.reserve())?;
        if file.metadata()?.len() >= bytes {
            return Ok(());
        }
        let filled = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can: then it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&file, bytes),
            filled => filled.map_err(io::Error::from),
        };
        if filled.is_err() {
            file.set_len(0)?;
        }
        filled
    }

    /// Gives the reserve back to the file system.
    pub fn release_reserve(&self) -> io::Result<()> {
        private_file(&self.reserve())?.set_len(0)
    }
}

pub(crate) fn database_in(path: &Path, generation: u64) -> PathBuf {
    path.join(format!("log-{generation}.db"))
}

/// Generations whose database is in a directory, whoever has it; ascending.
pub(crate) fn generations(path: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(StoreError::io(path))? {
        let name = entry.map_err(StoreError::io(path))?.file_name();
        let number = name.to_str().and_then(|name| {
            let number = name.strip_prefix("log-")?.strip_suffix(".db")?;
            number.parse::<u64>().ok()
        });
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.sync_data()
}

/// Opens a file for reading and writing, made with mode 0600 if it is not there.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

/// Makes names that were put into a directory outlive power loss.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(StoreError::io(path))
}
