//! A tap, as Python sees it.

use std::sync::{Mutex, PoisonError};

use noctule_server::Tapped;
use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// Every message of one filter, in batches and at the reader's pace.
#[pyclass(frozen, module = "noctule._engine")]
pub(crate) struct Tap(pub(crate) Mutex<noctule_server::Tap>);

#[pymethods]
impl Tap {
    /// A descriptor that is readable while messages wait, for a selector. Not to be read.
    fn fileno(&self) -> i32 {
        self.lock().descriptor()
    }

    /// Up to `maximum` of the messages that are there; ConnectionError once the engine has
    /// ended the tap.
    fn take<'py>(&self, py: Python<'py>, maximum: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let taken = py.detach(|| self.lock().take(maximum));
        let taken = taken.map_err(|error| PyConnectionError::new_err(error.to_string()))?;
        taken.iter().map(|each| to_dict(py, each)).collect()
    }

    /// Let go of the messages taken so far: at QoS 1 they would come again otherwise.
    fn acknowledge(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().acknowledge())
            .map_err(|error| PyConnectionError::new_err(error.to_string()))
    }

    /// End it.
    fn close(&self) {
        self.lock().close();
    }
}

impl Tap {
    fn lock(&self) -> std::sync::MutexGuard<'_, noctule_server::Tap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_dict<'py>(py: Python<'py>, message: &Tapped) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("topic", &message.topic)?;
    dict.set_item("payload", PyBytes::new(py, &message.payload))?;
    dict.set_item("qos", message.qos as u8)?;
    dict.set_item("retain", message.retain)?;
    dict.set_item("content_type", message.content_type.as_deref())?;
    dict.set_item("response_topic", message.response_topic.as_deref())?;
    let correlation_data = message.correlation_data.as_ref();
    dict.set_item(
        "correlation_data",
        correlation_data.map(|data| PyBytes::new(py, data)),
    )?;
    dict.set_item("user_properties", message.user_properties.clone())?;
    Ok(dict)
}
