//! Questions to hooks and their answers, as Python sees them.

use noctule_packets::{PropertyBuffer, PropertyId};
use noctule_server::{Access, Action, Advice, Changes, Consultation, Hooked, Subject};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::engine::{error_code, quality};

/// Longest text or binary in a packet (MQTT 5.0 §1.5.4).
const MAX_FIELD_BYTES: usize = 65_535;

pub(crate) fn question_to_dict<'py>(
    py: Python<'py>,
    (worker, question): &(usize, Consultation),
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("worker", worker)?;
    dict.set_item("number", question.number)?;
    dict.set_item("client", &*question.who.client)?;
    dict.set_item("user", question.who.user.as_deref())?;
    match &question.subject {
        Subject::Publish { message, is_will } => {
            dict.set_item("kind", "publish")?;
            dict.set_item("is_will", is_will)?;
            set_message(py, &dict, message)?;
        }
        Subject::Subscribe(filters) => {
            dict.set_item("kind", "subscribe")?;
            let filters = filters
                .iter()
                .map(|(filter, qos)| (filter.to_string(), *qos as u8));
            dict.set_item("filters", filters.collect::<Vec<_>>())?;
        }
        Subject::Authorize(all) => {
            dict.set_item("kind", "authorize")?;
            dict.set_item("accesses", PyList::new(py, all.iter().map(access_tuple))?)?;
        }
    }
    Ok(dict)
}

fn access_tuple(access: &Access) -> (&'static str, String, u8, bool) {
    let action = match access.action {
        Action::Publish => "publish",
        Action::Subscribe => "subscribe",
        Action::Receive => "receive",
    };
    let qos = access.qos as u8;
    (action, access.topic.to_string(), qos, access.retain)
}

pub(crate) fn message_to_dict<'py>(
    py: Python<'py>,
    message: &Hooked,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    set_message(py, &dict, message)?;
    Ok(dict)
}

fn set_message(py: Python<'_>, dict: &Bound<'_, PyDict>, message: &Hooked) -> PyResult<()> {
    dict.set_item("topic", &*message.topic)?;
    dict.set_item("payload", PyBytes::new(py, &message.payload))?;
    dict.set_item("qos", message.qos as u8)?;
    dict.set_item("retain", message.retain)?;
    dict.set_item("message_expiry_seconds", message.expiry_seconds)?;
    // They were encoded by the engine itself.
    let mut buffer = PropertyBuffer::default();
    buffer.push_raw(&message.properties);
    let properties = buffer.as_properties();
    let indicator = properties.byte(PropertyId::PayloadFormatIndicator);
    dict.set_item("payload_is_text", indicator == Some(1))?;
    dict.set_item("content_type", properties.string(PropertyId::ContentType))?;
    dict.set_item(
        "response_topic",
        properties.string(PropertyId::ResponseTopic),
    )?;
    let correlation = properties.binary(PropertyId::CorrelationData);
    dict.set_item(
        "correlation_data",
        correlation.map(|data| PyBytes::new(py, data)),
    )?;
    dict.set_item(
        "user_properties",
        properties.user_properties().collect::<Vec<_>>(),
    )
}

/// An answer from its dict; the key says what kind it is.
pub(crate) fn advice(answer: &Bound<'_, PyDict>) -> PyResult<Advice> {
    if let Some(code) = item::<u8>(answer, "refuse")? {
        return Ok(Advice::Refuse(error_code(code)?));
    }
    if let Some(allowed) = item::<Vec<bool>>(answer, "allowed")? {
        return Ok(Advice::Authorize(allowed));
    }
    if let Some(codes) = item::<Vec<u8>>(answer, "granted")? {
        let granted = codes.into_iter().map(|code| match code {
            0..=2 => Ok(Ok(quality(code)?)),
            _ => Ok(Err(error_code(code)?)),
        });
        return Ok(Advice::Subscribe(granted.collect::<PyResult<_>>()?));
    }
    match item::<Bound<'_, PyDict>>(answer, "changes")? {
        Some(changed) => Ok(Advice::Publish(Box::new(changes(&changed)?))),
        None => Ok(Advice::Failed),
    }
}

fn changes(changed: &Bound<'_, PyDict>) -> PyResult<Changes> {
    let properties = item::<Bound<'_, PyDict>>(changed, "properties")?;
    Ok(Changes {
        topic: item::<String>(changed, "topic")?.map(Into::into),
        payload: item::<Vec<u8>>(changed, "payload")?.map(Into::into),
        qos: item::<u8>(changed, "qos")?.map(quality).transpose()?,
        retain: item(changed, "retain")?,
        properties: properties.map(|all| encoded(&all)).transpose()?,
    })
}

/// The properties that travel with a message, and its message expiry interval.
pub(crate) fn encoded(all: &Bound<'_, PyDict>) -> PyResult<(Box<[u8]>, Option<u32>)> {
    let mut buffer = PropertyBuffer::default();
    if item::<bool>(all, "payload_is_text")? == Some(true) {
        buffer.push_byte(PropertyId::PayloadFormatIndicator, 1);
    }
    let texts = [
        ("content_type", PropertyId::ContentType),
        ("response_topic", PropertyId::ResponseTopic),
    ];
    for (name, id) in texts {
        if let Some(text) = item::<String>(all, name)? {
            if id == PropertyId::ResponseTopic && text.contains(['+', '#']) {
                return Err(PyValueError::new_err("response_topic: it has no wildcards"));
            }
            buffer.push_string(id, fitting(name, &text)?);
        }
    }
    if let Some(data) = item::<Vec<u8>>(all, "correlation_data")? {
        if data.len() > MAX_FIELD_BYTES {
            return Err(too_long("correlation_data"));
        }
        buffer.push_binary(PropertyId::CorrelationData, &data);
    }
    for (name, value) in item::<Vec<(String, String)>>(all, "user_properties")?.unwrap_or_default()
    {
        let (name, value) = (
            fitting("user_properties", &name)?,
            fitting("user_properties", &value)?,
        );
        buffer.push_pair(PropertyId::UserProperty, name, value);
    }
    let properties = buffer.as_properties().as_bytes().into();
    Ok((properties, item(all, "message_expiry_seconds")?))
}

fn fitting<'a>(name: &str, text: &'a str) -> PyResult<&'a str> {
    match text.len() > MAX_FIELD_BYTES || text.contains('\0') {
        true => Err(too_long(name)),
        false => Ok(text),
    }
}

fn too_long(name: &str) -> PyErr {
    PyValueError::new_err(format!("{name}: at most 65,535 bytes, without U+0000"))
}

/// What stands under a key; `None` where nothing does, or None.
fn item<'py, T>(dict: &Bound<'py, PyDict>, key: &str) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py>,
    for<'a> <T as FromPyObject<'a, 'py>>::Error: Into<PyErr>,
{
    match dict.get_item(key)? {
        Some(value) if !value.is_none() => value.extract().map(Some).map_err(Into::into),
        _ => Ok(None),
    }
}
