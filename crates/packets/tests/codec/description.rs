//! A decoded packet in the words of the vectors.

use noctule_packets::{
    Acknowledgement, Connect, Packet, Properties, PropertyId, Publish, QoS, Subscribe, Value,
    Version,
};
use serde_json::{Value as Json, json};

/// The packet as the vectors' `packet` describes it. Long payloads are described by
/// length; their bytes are for the caller to compare.
pub fn describe(packet: &Packet<'_>) -> Json {
    let kind = packet.packet_type().name();
    match packet {
        Packet::Connect(connect) => describe_connect(connect),
        Packet::Connack(connack) => json!({
            "type": kind,
            "session_present": connack.session_present,
            "code": connack.reason.0,
            "properties": describe_properties(connack.properties),
        }),
        Packet::Publish(publish) => describe_publish(publish),
        Packet::Puback(acknowledgement)
        | Packet::Pubrec(acknowledgement)
        | Packet::Pubrel(acknowledgement)
        | Packet::Pubcomp(acknowledgement) => describe_acknowledgement(kind, acknowledgement),
        Packet::Subscribe(subscribe) => describe_subscribe(subscribe),
        Packet::Suback(suback) => json!({
            "type": kind,
            "packet_id": suback.packet_identifier,
            "properties": describe_properties(suback.properties),
            "codes": suback.reasons,
        }),
        Packet::Unsubscribe(unsubscribe) => json!({
            "type": kind,
            "packet_id": unsubscribe.packet_identifier,
            "properties": describe_properties(unsubscribe.properties),
            "filters": unsubscribe.filters().collect::<Vec<_>>(),
        }),
        Packet::Unsuback(unsuback) => json!({
            "type": kind,
            "packet_id": unsuback.packet_identifier,
            "properties": describe_properties(unsuback.properties),
            "codes": unsuback.reasons,
        }),
        Packet::Pingreq | Packet::Pingresp => json!({ "type": kind }),
        Packet::Disconnect(disconnect) => json!({
            "type": kind,
            "code": disconnect.reason.0,
            "properties": describe_properties(disconnect.properties),
        }),
        Packet::Auth(auth) => json!({
            "type": kind,
            "code": auth.reason.0,
            "properties": describe_properties(auth.properties),
        }),
    }
}

fn describe_connect(connect: &Connect<'_>) -> Json {
    let will = connect.will.map(|will| {
        json!({
            "topic": will.topic,
            "payload_hex": hex(will.payload),
            "qos": will.qos as u8,
            "retain": will.retain,
            "properties": describe_properties(will.properties),
        })
    });
    json!({
        "type": "CONNECT",
        "protocol_name": if connect.version == Version::V3 { "MQIsdp" } else { "MQTT" },
        "protocol_level": connect.version as u8,
        "clean": connect.clean_start,
        "keepalive": connect.keep_alive,
        "client_id": connect.client_identifier,
        "username": connect.user_name,
        "password_hex": connect.password.map(hex),
        "will": will,
        "properties": describe_properties(connect.properties),
    })
}

fn describe_publish(publish: &Publish<'_>) -> Json {
    json!({
        "type": "PUBLISH",
        "dup": publish.dup,
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "topic": publish.topic,
        "packet_id": (publish.qos != QoS::AtMostOnce).then_some(publish.packet_identifier),
        "payload_hex": hex(publish.payload),
        "properties": describe_properties(publish.properties),
    })
}

fn describe_acknowledgement(kind: &str, acknowledgement: &Acknowledgement<'_>) -> Json {
    json!({
        "type": kind,
        "packet_id": acknowledgement.packet_identifier,
        "code": acknowledgement.reason.0,
        "properties": describe_properties(acknowledgement.properties),
    })
}

fn describe_subscribe(subscribe: &Subscribe<'_>) -> Json {
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
        "properties": describe_properties(subscribe.properties),
        "filters": filters.collect::<Vec<_>>(),
    })
}

fn describe_properties(properties: Properties<'_>) -> Json {
    let described = properties.iter().map(|property| {
        let value = match property.value {
            Value::Byte(value) => json!(value),
            Value::TwoByte(value) => json!(value),
            Value::FourByte(value) | Value::Variable(value) => json!(value),
            Value::String(value) => json!(value),
            Value::Binary(value) => json!(hex(value)),
            Value::Pair(name, value) => json!([name, value]),
        };
        json!([snake(property.id), value])
    });
    Json::Array(described.collect())
}

/// `Maximum QoS` → `maximum_qos`.
fn snake(id: PropertyId) -> String {
    id.name().to_lowercase().replace(' ', "_")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
