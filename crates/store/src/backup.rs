//! A copy of a store while it runs.

use std::fs::{self, DirBuilder, File};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::database;
use crate::directory::{self, private_file, sync_directory};
use crate::error::StoreError;

/// Pages copied between two reports.
const STEP_PAGES: i32 = 1_024;

/// How far a backup is, in pages of 4,096 bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub copied_pages: u64,
    pub total_pages: u64,
}

/// Copies the store in directory `from` as it is now into a new directory `to`, which
/// is itself a store when this returns. A broker may have it open, and goes on.
/// `progress` may end it.
///
/// # Errors
///
/// [`StoreError::Format`] if there is no store; what was copied is removed again.
pub fn backup(
    from: &Path,
    to: &Path,
    progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let newest = directory::generations(from)?.pop();
    let newest = newest.ok_or_else(|| StoreError::absent(from))?;
    copy(&directory::database_in(from, newest), to, progress)
}

/// Copies `database` into a new directory `to`.
pub(crate) fn copy(
    database: &Path,
    to: &Path,
    progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let made = DirBuilder::new().mode(0o700).create(to);
    made.map_err(StoreError::io(to))?;
    let copied = copy_into(database, to, progress);
    if copied.is_err() {
        // A part of a store is of no use, and in the way of another attempt.
        let _ = fs::remove_dir_all(to);
    }
    copied
}

fn copy_into(
    database: &Path,
    to: &Path,
    progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let unfinished = to.join("log-1.db.new");
    let from = database::open_read_only(database);
    let from = from.map_err(StoreError::database("opening the store to copy it"))?;
    private_file(&unfinished).map_err(StoreError::io(&unfinished))?;
    let copied = copy_pages(&from, &unfinished, progress);
    if copied
        .map_err(StoreError::database("copying the store"))?
        .is_break()
    {
        return Err(StoreError::Interrupted);
    }
    let synced = File::open(&unfinished).and_then(|file| file.sync_all());
    synced.map_err(StoreError::io(&unfinished))?;
    let finished = to.join("log-1.db");
    fs::rename(&unfinished, &finished).map_err(StoreError::io(&finished))?;
    sync_directory(to)?;
    sync_directory(
        to.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )
}

fn copy_pages(
    from: &Connection,
    to: &Path,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> rusqlite::Result<ControlFlow<()>> {
    // One read transaction over all steps: the copy is of one moment, and commits
    // meanwhile do not have it begin again.
    from.execute_batch("BEGIN")?;
    from.query_row("SELECT count(*) FROM format", [], |_| Ok(()))?;
    let mut to = Connection::open(to)?;
    {
        let backup = Backup::new(from, &mut to)?;
        loop {
            let step = backup.step(STEP_PAGES)?;
            let at = backup.progress();
            let total_pages = u64::try_from(at.pagecount).unwrap_or(0);
            let left = u64::try_from(at.remaining).unwrap_or(0);
            let so_far = progress(Progress {
                copied_pages: total_pages - left,
                total_pages,
            });
            if so_far.is_break() {
                return Ok(so_far);
            }
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                // Someone else writes to the destination, or SQLite waits for itself.
                _ => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }
    from.execute_batch("COMMIT")?;
    Ok(ControlFlow::Continue(()))
}
