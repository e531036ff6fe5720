//! The load generator, as Python sees it.

use std::ops::ControlFlow;

use noctule_load::{LoadError, Progress, Scenario};
use pyo3::exceptions::{PyConnectionError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// Carries a scenario out and returns the report, both as JSON.
///
/// `progress` is called about ten times a second, and before each phase, with the state so
/// far, as JSON. Where it returns False the run ends with what there is; an exception it raises, or a signal's
/// handler, ends the run and comes out of here. The GIL is released in between. ValueError names the field of the scenario that is wrong,
/// ConnectionError says why connections did not come up, OSError what the system refused.
#[pyfunction]
#[pyo3(signature = (scenario_json, progress = None))]
pub(crate) fn bench(
    py: Python<'_>,
    scenario_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let scenario: Scenario = serde_json::from_str(scenario_json)
        .map_err(|error| PyValueError::new_err(format!("scenario: {error}")))?;
    let mut raised = None;
    let report = py.detach(|| {
        noctule_load::run(scenario, |now| match observe(now, progress.as_ref()) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                raised = Some(error);
                ControlFlow::Break(())
            }
        })
    });
    if let Some(error) = raised {
        return Err(error);
    }
    to_json(&report.map_err(load_error)?)
}

/// Whether the run is to go on.
fn observe(now: &Progress, progress: Option<&Py<PyAny>>) -> PyResult<bool> {
    Python::attach(|py| {
        py.check_signals()?;
        let Some(progress) = progress else {
            return Ok(true);
        };
        let answer = progress.call1(py, (to_json(now)?,))?;
        Ok(!answer.bind(py).is(PyBool::new(py, false)))
    })
}

fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn load_error(error: LoadError) -> PyErr {
    let text = error.to_string();
    match error {
        LoadError::Scenario { .. } => PyValueError::new_err(text),
        LoadError::Connect { .. } => PyConnectionError::new_err(text),
        LoadError::Resolve { .. } | LoadError::Certificates { .. } | LoadError::System { .. } => {
            PyOSError::new_err(text)
        }
    }
}
