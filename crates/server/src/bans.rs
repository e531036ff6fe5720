//! Bans outlast the process: a small file beside the store.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use noctule_broker::{Banned, Shared, Time};
use serde::{Deserialize, Serialize};

use crate::durable::wall_milliseconds;

const FILE_NAME: &str = "bans.json";

/// A ban as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: String,
    value: String,
    /// Seconds since 1970; absent: for ever.
    until: Option<u64>,
    reason: String,
}

/// Writes the bans down when they have changed.
#[derive(Debug)]
pub(crate) struct BanFile {
    path: PathBuf,
    /// The change written last; held while writing.
    written: Mutex<u64>,
}

impl BanFile {
    /// Reads the bans of earlier.
    ///
    /// # Errors
    /// The file is there and cannot be read: who was banned is not let in for that.
    pub fn open(data_dir: &Path, shared: &Shared, now: Time) -> io::Result<BanFile> {
        let path = data_dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => "[]".into(),
            Err(error) => {
                let text = format!("{}: {error}", path.display());
                return Err(io::Error::new(error.kind(), text));
            }
        };
        let wrong = |why: String| {
            io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", path.display()))
        };
        let all: Vec<Written> =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let seconds = wall_milliseconds() / 1_000;
        for each in all {
            let banned = Banned::parse(&each.kind, &each.value).map_err(wrong)?;
            let until = match each.until {
                None => Time::NEVER,
                Some(until) if until <= seconds => continue,
                Some(until) => now.after_seconds(until - seconds),
            };
            shared.bans().ban(banned, until, &each.reason);
        }
        let written = Mutex::new(shared.bans().changes());
        Ok(BanFile { path, written })
    }

    /// Writes on a thread of its own if something has changed: a worker never waits for a disk.
    pub fn save_later(self: &Arc<BanFile>, shared: &Arc<Shared>, now: Time) {
        let is_new = |written: &u64| *written != shared.bans().changes();
        if !self
            .written
            .try_lock()
            .is_ok_and(|written| is_new(&written))
        {
            return;
        }
        let (file, shared) = (Arc::clone(self), Arc::clone(shared));
        let spawned = thread::Builder::new()
            .name("noctule-bans".into())
            .spawn(move || file.save(&shared, now));
        if let Err(error) = spawned {
            tracing::error!("the bans cannot be written down: {error}");
        }
    }

    /// Writes if something has changed.
    pub fn save(&self, shared: &Shared, now: Time) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = shared.bans().changes();
        if *written == changes {
            return;
        }
        match self.write(shared, now) {
            Ok(()) => *written = changes,
            Err(error) => tracing::error!("{}: bans are not written: {error}", self.path.display()),
        }
    }

    fn write(&self, shared: &Shared, now: Time) -> io::Result<()> {
        let seconds = wall_milliseconds() / 1_000;
        let bans = shared.bans().list(now).into_iter();
        let all: Vec<Written> = bans
            .map(|(banned, ban)| Written {
                kind: banned.kind().into(),
                value: banned.value(),
                until: (ban.until != Time::NEVER).then(|| seconds + now.seconds_until(ban.until)),
                reason: ban.reason.into(),
            })
            .collect();
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // The store's own, where there is one; nobody else's business in any case.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let beside = self.path.with_extension("new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(serde_json::to_string_pretty(&all)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        // So that the name, too, outlasts a crash.
        File::open(folder)?.sync_all()
    }
}
