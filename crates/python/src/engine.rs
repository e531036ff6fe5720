//! The engine, as Python sees it.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use noctule_server::{
    Banned, Decision, FieldValue, Hooked, Hooks, QoS, ReasonCode, Record, ServerOptions,
    StartError, TapOptions, tap_qos,
};
use pyo3::exceptions::{PyConnectionError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::access::{client_to_dict, request_to_dict, rules};
use crate::hooks::{advice, encoded, message_to_dict, question_to_dict};
use crate::tap::Tap;

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
            .map_err(|error| match error.source.kind() {
                // A listener's file that cannot be used.
                ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
                _ => os_error(error),
            })
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

    /// Position, host and port of each listener as bound, in the order of the options; of a
    /// name that stands for several addresses, each.
    fn addresses(&self) -> Vec<(u16, String, u16)> {
        let addresses = self.0.addresses().iter();
        addresses
            .map(|each| (each.listener, each.host(), each.port()))
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
        let taken = wait_for(py, timeout_seconds, |wait| {
            self.0.next_events(Some(wait), maximum.max(1))
        })?;
        taken
            .map(|records| records.iter().map(|each| to_dict(py, each)).collect())
            .transpose()
    }

    /// Wait for clients to be authenticated: up to `maximum` requests, oldest first.
    ///
    /// Each is to be answered, once, by its `number`. Otherwise as `next_events`.
    #[pyo3(signature = (timeout_seconds, maximum = 1024))]
    fn next_requests<'py>(
        &self,
        py: Python<'py>,
        timeout_seconds: Option<f64>,
        maximum: usize,
    ) -> PyResult<Option<Vec<Bound<'py, PyDict>>>> {
        let taken = wait_for(py, timeout_seconds, |wait| {
            self.0.next_requests(Some(wait), maximum.max(1))
        })?;
        taken
            .map(|questions| {
                questions
                    .iter()
                    .map(|each| request_to_dict(py, each))
                    .collect()
            })
            .transpose()
    }

    /// A descriptor that is readable while requests wait, for a selector. Not to be read.
    fn request_fd(&self) -> i32 {
        self.0.request_descriptor()
    }

    /// Let a client in: as `user` (None: the name it gave), with `data` in CONNACK or AUTH,
    /// allowed what `rules_json` says (None: everything). False if answered before.
    #[pyo3(signature = (
        number, user, data, rules_json, keep_alive_seconds = None, session_expiry_seconds = None
    ))]
    fn accept(
        &self,
        number: u64,
        user: Option<&str>,
        data: Option<&[u8]>,
        rules_json: Option<&str>,
        keep_alive_seconds: Option<u16>,
        session_expiry_seconds: Option<u32>,
    ) -> PyResult<bool> {
        let decision = Decision::Accept {
            user: user.map(Into::into),
            data: data.map(Into::into),
            permissions: rules_json.map(rules).transpose()?,
            keep_alive_seconds,
            session_expiry_seconds,
        };
        Ok(self.0.answer(number, decision))
    }

    /// Go on with an AUTH 0x18 that carries `data`. False if answered before.
    #[pyo3(signature = (number, data))]
    fn challenge(&self, number: u64, data: Option<&[u8]>) -> bool {
        let data = data.map(Into::into);
        self.0.answer(number, Decision::Continue { data })
    }

    /// Turn a client away; `reason_code` is 0x80 or above. False if answered before.
    #[pyo3(signature = (number, reason_code, text = None))]
    fn refuse(&self, number: u64, reason_code: u8, text: Option<&str>) -> PyResult<bool> {
        let decision = Decision::Refuse {
            reason: error_code(reason_code)?,
            text: text.map(Into::into),
        };
        Ok(self.0.answer(number, decision))
    }

    /// Ask hooks from the start on; once, before it. `publish` are topic filters.
    #[pyo3(signature = (*, connect, authenticate, subscribe, publish, authorize, timeout_seconds))]
    fn set_hooks(
        &self,
        connect: bool,
        authenticate: bool,
        subscribe: bool,
        publish: Vec<String>,
        authorize: bool,
        timeout_seconds: f64,
    ) -> PyResult<()> {
        let timeout = duration(timeout_seconds)?;
        let hooks = Hooks {
            connect,
            authenticate,
            subscribe,
            publish: publish.into_iter().map(Into::into).collect(),
            authorize,
            timeout_milliseconds: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        match self.0.set_hooks(hooks) {
            true => Ok(()),
            false => Err(PyRuntimeError::new_err("hooks are set once")),
        }
    }

    /// Wait for questions to hooks: up to `maximum`, oldest first. Each is to be answered,
    /// once, with `advise`. Otherwise as `next_events`.
    #[pyo3(signature = (timeout_seconds, maximum = 1024))]
    fn next_consultations<'py>(
        &self,
        py: Python<'py>,
        timeout_seconds: Option<f64>,
        maximum: usize,
    ) -> PyResult<Option<Vec<Bound<'py, PyDict>>>> {
        let taken = wait_for(py, timeout_seconds, |wait| {
            self.0.next_consultations(Some(wait), maximum.max(1))
        })?;
        taken
            .map(|all| all.iter().map(|each| question_to_dict(py, each)).collect())
            .transpose()
    }

    /// A descriptor that is readable while questions to hooks wait and after the end.
    fn consultation_fd(&self) -> i32 {
        self.0.consultation_descriptor()
    }

    /// Answer questions to hooks: `(worker, number, answer)` for each.
    #[pyo3(signature = (answers))]
    fn advise(&self, answers: Vec<(usize, u64, Bound<'_, PyDict>)>) -> PyResult<()> {
        let answers: PyResult<Vec<_>> = answers
            .into_iter()
            .map(|(worker, number, answer)| Ok((worker, number, advice(&answer)?)))
            .collect();
        self.0.advise(answers?);
        Ok(())
    }

    /// Keep a client, a user or an address out, for some seconds or for ever.
    #[pyo3(signature = (kind, value, seconds, reason))]
    fn ban(&self, kind: &str, value: &str, seconds: Option<f64>, reason: &str) -> PyResult<()> {
        let banned = Banned::parse(kind, value).map_err(PyValueError::new_err)?;
        let duration = seconds.map(duration).transpose()?;
        self.0.ban(banned, duration, reason);
        Ok(())
    }

    /// Let them in again; False where they were not banned.
    #[pyo3(signature = (kind, value))]
    fn unban(&self, kind: &str, value: &str) -> PyResult<bool> {
        let banned = Banned::parse(kind, value).map_err(PyValueError::new_err)?;
        Ok(self.0.unban(&banned))
    }

    /// Kind, value, seconds left and reason of each ban.
    fn bans(&self) -> Vec<(&'static str, String, Option<u64>, String)> {
        let bans = self.0.bans().into_iter();
        bans.map(|(banned, left, reason)| (banned.kind(), banned.value(), left, reason.into()))
            .collect()
    }

    /// Ask anew what one client may do, or all, about their subscriptions at once.
    #[pyo3(signature = (client))]
    fn forget_permissions(&self, client: Option<&str>) {
        self.0.forget_permissions(client);
    }

    /// Record an event for each message delivered, or no longer.
    fn observe_deliveries(&self, observed: bool) {
        self.0.observe_deliveries(observed);
    }

    /// Give a client's session other rules at once; None allows everything.
    #[pyo3(signature = (client, rules_json))]
    fn set_permissions(&self, client: &str, rules_json: Option<&str>) -> PyResult<()> {
        let rules = rules_json.map(rules).transpose()?;
        self.0.set_permissions(client, rules);
        Ok(())
    }

    /// End a client's connection, if it has one.
    #[pyo3(signature = (client, reason_code))]
    fn disconnect(&self, client: &str, reason_code: u8) -> PyResult<()> {
        self.0.disconnect(client, error_code(reason_code)?);
        Ok(())
    }

    /// Publish on the broker's own account; False: try again a little later.
    #[pyo3(signature = (topic, payload, qos = 0, retain = false, properties = None))]
    fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        properties: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<bool> {
        let (properties, expiry_seconds) = properties.map(encoded).transpose()?.unwrap_or_default();
        let own = Hooked {
            topic: topic.into(),
            payload: payload.into(),
            qos: quality(qos)?,
            retain,
            properties,
            expiry_seconds,
        };
        let published = self.0.publish(own);
        published.map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Retained messages that match a filter, behind the topic `after`, and whether there may
    /// be more.
    #[pyo3(signature = (filter, after, maximum))]
    fn retained<'py>(
        &self,
        py: Python<'py>,
        filter: &str,
        after: Option<&str>,
        maximum: usize,
    ) -> PyResult<(Vec<Bound<'py, PyDict>>, bool)> {
        let found = py.detach(|| self.0.retained(filter, after, maximum.max(1)));
        let (messages, more) = found.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let messages = messages.iter().map(|each| message_to_dict(py, each));
        Ok((messages.collect::<PyResult<_>>()?, more))
    }

    /// The retained message of one topic.
    #[pyo3(signature = (topic))]
    fn retained_of<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let found = self.0.retained_of(topic);
        found.map(|each| message_to_dict(py, &each)).transpose()
    }

    /// Open a tap; `kept`: messages wait for it while it is not there.
    #[pyo3(signature = (name, filter, qos = 1, kept = false))]
    fn tap(
        &self,
        py: Python<'_>,
        name: String,
        filter: String,
        qos: u8,
        kept: bool,
    ) -> PyResult<Tap> {
        let qos = tap_qos(qos)
            .ok_or_else(|| PyValueError::new_err(format!("qos = {qos}: a tap has 0 or 1")))?;
        let options = TapOptions {
            name,
            filter,
            qos,
            kept,
        };
        let tap = py.detach(|| self.0.tap(&options));
        let tap = tap.map_err(|error| PyConnectionError::new_err(error.to_string()))?;
        Ok(Tap(Mutex::new(tap)))
    }

    /// Every session, connected or not; None where a worker has not answered in time.
    #[pyo3(signature = (timeout_seconds = 5.0))]
    fn clients<'py>(
        &self,
        py: Python<'py>,
        timeout_seconds: f64,
    ) -> PyResult<Option<Vec<Bound<'py, PyDict>>>> {
        let timeout = duration(timeout_seconds)?;
        let Some(clients) = py.detach(|| self.0.clients(timeout)) else {
            return Ok(None);
        };
        let all: PyResult<_> = clients
            .iter()
            .map(|each| client_to_dict(py, each))
            .collect();
        all.map(Some)
    }
}

/// Waits without the GIL, and now and then looks for signals.
fn wait_for<T: Send>(
    py: Python<'_>,
    timeout_seconds: Option<f64>,
    take: impl Fn(Duration) -> Option<Vec<T>> + Sync,
) -> PyResult<Option<Vec<T>>> {
    let timeout = timeout_seconds.map(duration).transpose()?;
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let wait = left.map_or(SIGNAL_CHECK, |left| left.min(SIGNAL_CHECK));
        let Some(taken) = py.detach(|| take(wait)) else {
            return Ok(None);
        };
        if !taken.is_empty() || left == Some(wait) {
            return Ok(Some(taken));
        }
        py.check_signals()?;
    }
}

/// A QoS from Python.
pub(crate) fn quality(qos: u8) -> PyResult<QoS> {
    match qos {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(PyValueError::new_err(format!("qos = {qos}: not 0, 1 or 2"))),
    }
}

pub(crate) fn error_code(code: u8) -> PyResult<ReasonCode> {
    let reason = ReasonCode(code);
    match reason.is_error() {
        true => Ok(reason),
        false => Err(PyValueError::new_err(format!(
            "reason_code = 0x{code:02X}: a refusal is 0x80 or above"
        ))),
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
