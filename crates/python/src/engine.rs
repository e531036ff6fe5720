//! The engine, as Python sees it.

use std::time::{Duration, Instant};

use noctule_server::{FieldValue, Record, ServerOptions, StartError};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// How long to wait without looking for signals: Ctrl-C must get through.
const SIGNAL_CHECK: Duration = Duration::from_millis(200);

/// The native broker: listeners and one worker thread per core.
///
/// ValueError names the key and the reason where an option is unknown or out of its range.
/// An engine does not survive a fork: in the child it is inert.
#[pyclass(frozen, module = "noctule._engine")]
pub(crate) struct Engine(noctule_server::Engine);

#[pymethods]
impl Engine {
    #[new]
    fn new(options_json: &str) -> PyResult<Engine> {
        let options = ServerOptions::from_json(options_json)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        noctule_server::Engine::new(options)
            .map(Engine)
            .map_err(os_error)
    }

    /// Whether the workers run: from `start` until `stop`, or until one of them died.
    #[getter]
    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// Why the engine stopped by itself; None unless a worker died.
    #[getter]
    fn failure(&self) -> Option<String> {
        self.0.failure().map(ToString::to_string)
    }

    /// Bind the listeners and start the threads; OSError names the address refused.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.start()).map_err(os_error)
    }

    /// Scheme, host and port of each listener as bound, in the order of the options.
    fn addresses(&self) -> Vec<(&'static str, String, u16)> {
        let addresses = self.0.addresses().iter();
        addresses
            .map(|each| {
                (
                    each.scheme.as_str(),
                    each.socket.ip().to_string(),
                    each.socket.port(),
                )
            })
            .collect()
    }

    /// Send the clients elsewhere.
    #[pyo3(signature = (server_reference, moved))]
    fn drain(&self, server_reference: Option<&str>, moved: bool) {
        self.0.drain(server_reference, moved);
    }

    /// Disconnect every client (0x8B to 5.0 clients), then join the threads.
    ///
    /// What has not been written after `timeout_seconds` is cut off. RuntimeError if a
    /// worker had died.
    #[pyo3(signature = (timeout_seconds = 5.0))]
    fn stop(&self, py: Python<'_>, timeout_seconds: f64) -> PyResult<()> {
        let timeout = duration(timeout_seconds)?;
        py.detach(|| self.0.stop(timeout))
            .map_err(|failure| PyRuntimeError::new_err(failure.to_string()))
    }

    /// Counters since the start and gauges of the moment, by name.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = py.detach(|| self.0.statistics());
        let dict = PyDict::new(py);
        for (name, value) in all {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    /// Record the broker's events from now on (they are not, at first), or no longer.
    fn observe(&self, observed: bool) {
        self.0.observe(observed);
    }

    /// A descriptor that is readable while events wait, for a selector. Not to be read.
    fn event_fd(&self) -> i32 {
        self.0.event_descriptor()
    }

    /// Wait for events and return up to `maximum` of them, oldest first.
    ///
    /// An empty list after `timeout_seconds` (None: no limit) without any; None once the
    /// engine has stopped and all events have been taken.
    #[pyo3(signature = (timeout_seconds, maximum = 1024))]
    fn next_events<'py>(
        &self,
        py: Python<'py>,
        timeout_seconds: Option<f64>,
        maximum: usize,
    ) -> PyResult<Option<Vec<Bound<'py, PyDict>>>> {
        let timeout = timeout_seconds.map(duration).transpose()?;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let wait = left.map_or(SIGNAL_CHECK, |left| left.min(SIGNAL_CHECK));
            let Some(records) = py.detach(|| self.0.next_events(Some(wait), maximum.max(1))) else {
                return Ok(None);
            };
            if !records.is_empty() || left == Some(wait) {
                return records
                    .iter()
                    .map(|record| to_dict(py, record))
                    .collect::<Result<_, _>>()
                    .map(Some);
            }
            py.check_signals()?;
        }
    }
}

fn to_dict<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("kind", record.kind())?;
    for (name, value) in record.fields() {
        match value {
            FieldValue::Text(text) => dict.set_item(name, text)?,
            FieldValue::Number(number) => dict.set_item(name, number)?,
        }
    }
    Ok(dict)
}

/// Seconds from Python: 0 or more.
fn duration(seconds: f64) -> PyResult<Duration> {
    if seconds == f64::INFINITY {
        return Ok(Duration::MAX);
    }
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("timeout_seconds = {seconds}: {error}")))
}

/// OSError with the system's number, so that Python makes a PermissionError of it where it is
/// one; the number does not stand in the text again.
fn os_error(error: StartError) -> PyErr {
    let text = error.to_string();
    match error.source.raw_os_error() {
        Some(number) => {
            let text = text
                .trim_end_matches(&format!(" (os error {number})"))
                .to_owned();
            PyOSError::new_err((number, text))
        }
        None => PyOSError::new_err(text),
    }
}
