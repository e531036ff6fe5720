//! Requests to the authenticator and rules of access, as Python sees them.

use noctule_server::{
    Action, AuthenticationStage, ClientInfo, Identity, Peer, Permissions, Question, Rule,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::engine::quality;

/// Whether `client` may do it, and the rule that decides; no rule: nothing speaks of it.
///
/// `rules_json` is a list of rules in their order, `action` publish, subscribe or receive;
/// `topic` is a filter where the action is subscribe. ValueError for anything else.
#[pyfunction]
#[pyo3(signature = (rules_json, client, user, action, topic, qos = 0, retain = false))]
pub(crate) fn explain(
    rules_json: &str,
    client: &str,
    user: Option<&str>,
    action: &str,
    topic: &str,
    qos: u8,
    retain: bool,
) -> PyResult<(bool, Option<String>)> {
    let permissions = Permissions::new(&rules(rules_json)?, client, user);
    let qos = quality(qos)?;
    let (action, allowed) = match action {
        "publish" => (Action::Publish, permissions.may_publish(topic, qos, retain)),
        "subscribe" => (Action::Subscribe, permissions.may_subscribe(topic, qos)),
        "receive" => (Action::Receive, permissions.may_receive(topic)),
        _ => return Err(PyValueError::new_err(format!("no such action: {action}"))),
    };
    let deciding = permissions.deciding(action, topic, qos, retain);
    Ok((allowed, deciding.map(str::to_owned)))
}

/// The engine's rules from their JSON.
pub(crate) fn rules(json: &str) -> PyResult<Vec<Rule>> {
    serde_json::from_str(json).map_err(|error| PyValueError::new_err(format!("rules: {error}")))
}

pub(crate) fn request_to_dict<'py>(
    py: Python<'py>,
    question: &Question,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let request = &question.request;
    let stage = match request.stage {
        AuthenticationStage::Connect => "connect",
        AuthenticationStage::Continue => "continue",
        AuthenticationStage::Reauthenticate => "reauthenticate",
    };
    let bytes = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map(|bytes| PyBytes::new(py, bytes));
    dict.set_item("number", question.number)?;
    let connection = question.asker.connection;
    let place = (
        question.asker.worker,
        connection.index(),
        connection.generation(),
    );
    dict.set_item("connection", place)?;
    dict.set_item("stage", stage)?;
    dict.set_item("client", &*request.client_identifier)?;
    dict.set_item("user", request.user_name.as_deref())?;
    dict.set_item("password", bytes(&request.password))?;
    dict.set_item("method", request.method.as_deref())?;
    dict.set_item("data", bytes(&request.data))?;
    dict.set_item("version", request.version as u8)?;
    set_peer(&dict, &request.peer)?;
    dict.set_item("clean_start", request.clean_start)?;
    dict.set_item("keep_alive_seconds", request.keep_alive_seconds)?;
    dict.set_item("session_expiry_seconds", request.session_expiry_seconds)?;
    let will = request.will.as_ref();
    let will = will.map(|will| (&*will.topic, will.qos as u8, will.retain));
    dict.set_item("will", will)?;
    Ok(dict)
}

pub(crate) fn client_to_dict<'py>(
    py: Python<'py>,
    client: &ClientInfo,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("client", &*client.client)?;
    dict.set_item("user", client.user.as_deref())?;
    dict.set_item("connected", client.peer.is_some())?;
    dict.set_item("version", client.version.map(|version| version as u8))?;
    dict.set_item("subscriptions", client.subscriptions)?;
    dict.set_item("queued_messages", client.queued)?;
    set_peer(&dict, client.peer.as_ref().unwrap_or(&Peer::default()))?;
    Ok(dict)
}

fn set_peer(dict: &Bound<'_, PyDict>, peer: &Peer) -> PyResult<()> {
    dict.set_item("address", peer.address.map(|address| address.to_string()))?;
    dict.set_item("port", peer.port)?;
    dict.set_item("listener", peer.listener)?;
    dict.set_item("is_private", peer.is_private)?;
    let name = peer.identity.as_deref().and_then(Identity::name);
    dict.set_item("peer_name", name.or(peer.certificate_name.as_deref()))?;
    let (certificate, unix) = match peer.identity.as_deref() {
        Some(Identity::Certificate(certificate)) => (Some(certificate), None),
        Some(Identity::UnixUser { name, .. }) => (None, Some(name)),
        None => (None, None),
    };
    let subject = certificate.map(|certificate| &*certificate.subject);
    dict.set_item("certificate_subject", subject)?;
    dict.set_item("unix_user", unix.map(|name| &**name))
}
