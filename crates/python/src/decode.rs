//! A packet as JSON: how tests hold this codec and the one in Python to one answer.

use noctule_packets::{
    Acknowledgement, Connect, Error, FixedHeader, Packet, Properties, Publish, QoS, Subscribe,
    Value, Version, Will,
};
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::{Value as Json, json};

create_exception!(
    noctule._engine,
    DecodeError,
    PyValueError,
    "Bytes that are no packet of the given version.\n\n\
     `what` says what was wrong, `reason_code` is the one to answer a peer with."
);

/// One whole packet as JSON; `version` is the protocol level 3, 4 or 5.
#[pyfunction]
pub(crate) fn decode(py: Python<'_>, version: u8, data: &[u8]) -> PyResult<String> {
    let version = match version {
        3 => Version::V3,
        4 => Version::V4,
        5 => Version::V5,
        _ => return Err(PyValueError::new_err("version: 3, 4 or 5")),
    };
    match decode_one(version, data) {
        Ok(packet) => Ok(packet_json(&packet).to_string()),
        Err(error) => Err(decode_error(py, error)?),
    }
}

fn decode_error(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    let raised = DecodeError::new_err(error.what);
    let value = raised.value(py);
    value.setattr("reason_code", error.reason.0)?;
    value.setattr("what", error.what)?;
    Ok(raised)
}

fn decode_one(version: Version, data: &[u8]) -> Result<Packet<'_>, Error> {
    let header = FixedHeader::decode(data)?.ok_or(Error::malformed("the packet is cut off"))?;
    let (body, rest) = data[header.header_len..]
        .split_at_checked(header.remaining)
        .ok_or(Error::malformed("the packet is cut off"))?;
    if !rest.is_empty() {
        return Err(Error::malformed("bytes follow the packet"));
    }
    Packet::decode(version, header, body)
}

fn packet_json(packet: &Packet<'_>) -> Json {
    match packet {
        Packet::Connect(connect) => connect_json(connect),
        Packet::Connack(connack) => json!({
            "type": "CONNACK",
            "session_present": connack.session_present,
            "code": connack.reason.0,
            "properties": properties_json(connack.properties),
        }),
        Packet::Publish(publish) => publish_json(publish),
        Packet::Puback(each) => acknowledgement_json("PUBACK", each),
        Packet::Pubrec(each) => acknowledgement_json("PUBREC", each),
        Packet::Pubrel(each) => acknowledgement_json("PUBREL", each),
        Packet::Pubcomp(each) => acknowledgement_json("PUBCOMP", each),
        Packet::Subscribe(subscribe) => subscribe_json(subscribe),
        Packet::Suback(suback) => json!({
            "type": "SUBACK",
            "packet_id": suback.packet_identifier,
            "properties": properties_json(suback.properties),
            "codes": suback.reasons,
        }),
        Packet::Unsubscribe(unsubscribe) => json!({
            "type": "UNSUBSCRIBE",
            "packet_id": unsubscribe.packet_identifier,
            "properties": properties_json(unsubscribe.properties),
            "filters": unsubscribe.filters().collect::<Vec<_>>(),
        }),
        Packet::Unsuback(unsuback) => json!({
            "type": "UNSUBACK",
            "packet_id": unsuback.packet_identifier,
            "properties": properties_json(unsuback.properties),
            "codes": unsuback.reasons,
        }),
        Packet::Pingreq => json!({"type": "PINGREQ"}),
        Packet::Pingresp => json!({"type": "PINGRESP"}),
        Packet::Disconnect(disconnect) => json!({
            "type": "DISCONNECT",
            "code": disconnect.reason.0,
            "properties": properties_json(disconnect.properties),
        }),
        Packet::Auth(auth) => json!({
            "type": "AUTH",
            "code": auth.reason.0,
            "properties": properties_json(auth.properties),
        }),
    }
}

fn connect_json(connect: &Connect<'_>) -> Json {
    let protocol_name = match connect.version {
        Version::V3 => "MQIsdp",
        Version::V4 | Version::V5 => "MQTT",
    };
    json!({
        "type": "CONNECT",
        "protocol_name": protocol_name,
        "protocol_level": connect.version as u8,
        "clean": connect.clean_start,
        "keepalive": connect.keep_alive,
        "client_id": connect.client_identifier,
        "username": connect.user_name,
        "password_hex": connect.password.map(hex),
        "will": connect.will.as_ref().map(will_json),
        "properties": properties_json(connect.properties),
    })
}

fn will_json(will: &Will<'_>) -> Json {
    json!({
        "topic": will.topic,
        "payload_hex": hex(will.payload),
        "qos": will.qos as u8,
        "retain": will.retain,
        "properties": properties_json(will.properties),
    })
}

fn publish_json(publish: &Publish<'_>) -> Json {
    let identified = publish.qos != QoS::AtMostOnce;
    json!({
        "type": "PUBLISH",
        "dup": publish.dup,
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "topic": publish.topic,
        "packet_id": identified.then_some(publish.packet_identifier),
        "payload_hex": hex(publish.payload),
        "properties": properties_json(publish.properties),
    })
}

fn acknowledgement_json(kind: &str, each: &Acknowledgement<'_>) -> Json {
    json!({
        "type": kind,
        "packet_id": each.packet_identifier,
        "code": each.reason.0,
        "properties": properties_json(each.properties),
    })
}

fn subscribe_json(subscribe: &Subscribe<'_>) -> Json {
    let filters = subscribe.filters().map(|request| {
        json!({
            "filter": request.filter,
            "qos": request.qos as u8,
            "no_local": request.no_local,
            "retain_as_published": request.retain_as_published,
            "retain_handling": request.retain_handling,
        })
    });
    json!({
        "type": "SUBSCRIBE",
        "packet_id": subscribe.packet_identifier,
        "properties": properties_json(subscribe.properties),
        "filters": filters.collect::<Json>(),
    })
}

/// Pairs of name and value in the order of the wire.
fn properties_json(properties: Properties<'_>) -> Json {
    let pairs = properties.iter().map(|property| {
        let name = property.id.name().to_ascii_lowercase().replace(' ', "_");
        let value = match property.value {
            Value::Byte(value) => json!(value),
            Value::TwoByte(value) => json!(value),
            Value::FourByte(value) | Value::Variable(value) => json!(value),
            Value::String(value) => json!(value),
            Value::Binary(value) => json!(hex(value)),
            Value::Pair(key, value) => json!([key, value]),
        };
        json!([name, value])
    });
    pairs.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
