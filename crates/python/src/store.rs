//! What can be done to a store that no broker has open, and its backup while one has.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use noctule_archive::{ArchiveError, Import};
use noctule_store::StoreError as Refusal;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::json;

create_exception!(
    noctule._engine,
    StoreError,
    PyException,
    "A store, or what is to go into one, is not as it should be; the text says what to do."
);
create_exception!(
    noctule._engine,
    StoreLockedError,
    StoreError,
    "A running broker has the store."
);

/// What a store holds and how it is, as JSON; damage is not an error. Nothing is changed.
#[pyfunction]
pub(crate) fn store_summary(py: Python<'_>, directory: PathBuf) -> PyResult<String> {
    let summary = py.detach(|| noctule_archive::summary(&directory));
    to_json(&summary.map_err(refused)?)
}

/// Hands everything in a store to `write` as lines of JSON, in pieces that end anywhere, and
/// returns what there is to say of it, as JSON.
#[pyfunction]
pub(crate) fn store_export(
    py: Python<'_>,
    directory: PathBuf,
    write: Py<PyAny>,
) -> PyResult<String> {
    let mut pipe = Pipe {
        write: &write,
        raised: None,
    };
    let exported = py.detach(|| {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, &mut pipe);
        let exported = noctule_archive::export(&directory, &mut out, |_| Ok(()));
        // What is left in the buffer after a fault of the pipe is not written again.
        drop(out.into_parts());
        exported
    });
    if let Some(error) = pipe.raised {
        return Err(error);
    }
    let exported = exported.map_err(archive_error)?;
    let damage = exported.report.damage.iter().map(ToString::to_string);
    let quarantined = exported.report.quarantined.iter();
    Ok(json!({
        "lines": exported.lines,
        "left_out": exported.left_out,
        "damage": damage.collect::<Vec<_>>(),
        "damage_left_out": exported.report.damage_left_out,
        "quarantined": quarantined.map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
    .to_string())
}

const PIECE_BYTES: usize = 256 << 10;

/// Writes into Python, where an exception waits until the store is closed.
struct Pipe<'a> {
    write: &'a Py<PyAny>,
    raised: Option<PyErr>,
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = Python::attach(|py| {
            py.check_signals()?;
            self.write.call1(py, (PyBytes::new(py, bytes),)).map(drop)
        });
        match written {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.raised.get_or_insert(error);
                Err(io::Error::other("the receiver of the lines gave up"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fills an empty store with the lines in `pieces`, which are bytes that end anywhere, and
/// returns how much of everything came in, as JSON.
#[pyfunction]
#[pyo3(signature = (directory, pieces, progress = None))]
pub(crate) fn store_import(
    py: Python<'_>,
    directory: PathBuf,
    pieces: &Bound<'_, PyAny>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis() as u64);
    let mut import = Import::begin(&directory, now).map_err(archive_error)?;
    for piece in pieces.try_iter()? {
        let piece = piece?;
        let bytes: &[u8] = piece.extract()?;
        py.check_signals()?;
        py.detach(|| import.feed(bytes)).map_err(archive_error)?;
        if let Some(progress) = &progress {
            progress.call1(py, (import.imported().lines,))?;
        }
    }
    let imported = py.detach(|| import.finish()).map_err(archive_error)?;
    Ok(json!({
        "lines": imported.lines,
        "sessions": imported.sessions,
        "subscriptions": imported.subscriptions,
        "queued": imported.queued,
        "retained": imported.retained,
    })
    .to_string())
}

/// Writes a store anew without what is dead; returns its bytes before and after.
#[pyfunction]
pub(crate) fn store_compact(py: Python<'_>, directory: PathBuf) -> PyResult<(u64, u64)> {
    py.detach(|| noctule_store::compact(&directory))
        .map_err(refused)
}

/// Copies a store, of a running broker or not, into the new directory `to`.
#[pyfunction]
#[pyo3(signature = (directory, to, progress = None))]
pub(crate) fn store_backup(
    py: Python<'_>,
    directory: PathBuf,
    to: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<()> {
    let mut raised = None;
    let copied = py.detach(|| {
        noctule_store::backup(&directory, &to, |at| {
            let told = Python::attach(|py| {
                py.check_signals()?;
                if let Some(progress) = &progress {
                    progress.call1(py, (at.copied_pages, at.total_pages))?;
                }
                Ok(())
            });
            match told {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    raised = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
    });
    if let Some(error) = raised {
        return Err(error);
    }
    copied.map_err(refused)
}

fn archive_error(error: ArchiveError) -> PyErr {
    match error {
        ArchiveError::Store(error) => refused(error),
        ArchiveError::Io(error) => error.into(),
        ArchiveError::Line { .. } => StoreError::new_err(error.to_string()),
    }
}

fn refused(error: Refusal) -> PyErr {
    match error {
        Refusal::Locked { directory } => StoreLockedError::new_err(locked(&directory)),
        Refusal::Io { path, source } => match source.raw_os_error() {
            // With the number, Python chooses the class: FileNotFoundError and so on.
            Some(number) => pyo3::exceptions::PyOSError::new_err((
                number,
                io_text(&source),
                path.display().to_string(),
            )),
            None => pyo3::exceptions::PyOSError::new_err(format!("{}: {source}", path.display())),
        },
        other => StoreError::new_err(other.to_string()),
    }
}

/// Without the number that Python puts there itself.
fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn locked(directory: &Path) -> String {
    format!(
        "a running broker has {}: stop it first, or make a copy with `noctule store backup` \
         and use that",
        directory.display()
    )
}

fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::new_err(error.to_string()))
}
