//! Properties that travel with a message, as pairs of name and value.
//!
//! `payload_format_indicator` is 0 or 1, `content_type` and `response_topic` are texts,
//! `correlation_data` is base64, `user_property` is a pair of texts (MQTT 5.0 §3.3.2.3).

use noctule_packets::{PropertyBuffer, PropertyId, Value as Property};
use serde_json::{Value, json};

use crate::payload;

const LONGEST_BYTES: usize = 65_535;

/// Those that travel on; what else a PUBLISH can have is the broker's own business.
const NAMES: [(&str, PropertyId); 5] = [
    (
        "payload_format_indicator",
        PropertyId::PayloadFormatIndicator,
    ),
    ("content_type", PropertyId::ContentType),
    ("response_topic", PropertyId::ResponseTopic),
    ("correlation_data", PropertyId::CorrelationData),
    ("user_property", PropertyId::UserProperty),
];

pub(crate) fn write(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut buffer = PropertyBuffer::new();
    buffer.push_raw(bytes);
    let pairs = buffer.as_properties();
    let pairs = pairs.iter().filter_map(|property| {
        let (name, _) = NAMES.iter().find(|(_, id)| *id == property.id)?;
        let value = match property.value {
            Property::Byte(value) => json!(value),
            Property::TwoByte(value) => json!(value),
            Property::FourByte(value) | Property::Variable(value) => json!(value),
            Property::String(value) => json!(value),
            Property::Binary(value) => json!(payload::encode(value)),
            Property::Pair(name, value) => json!([name, value]),
        };
        Some(((*name).to_owned(), value))
    });
    pairs.collect()
}

pub(crate) fn read(pairs: &[(String, Value)]) -> Result<Vec<u8>, String> {
    let mut buffer = PropertyBuffer::new();
    for (at, (name, value)) in pairs.iter().enumerate() {
        let known = NAMES.iter().find(|(known, _)| known == name);
        let Some(&(_, id)) = known else {
            return Err(format!("{name} is no property that travels with a message"));
        };
        let before = &pairs[..at];
        if id != PropertyId::UserProperty && before.iter().any(|(other, _)| other == name) {
            return Err(format!("{name} stands twice"));
        }
        push(&mut buffer, id, value).ok_or_else(|| format!("{name} cannot be {value}"))?;
    }
    Ok(buffer.as_properties().as_bytes().to_vec())
}

fn push(buffer: &mut PropertyBuffer, id: PropertyId, value: &Value) -> Option<()> {
    match id {
        PropertyId::PayloadFormatIndicator => {
            let byte = value.as_u64().filter(|&value| value <= 1)?;
            buffer.push_byte(id, byte as u8);
        }
        PropertyId::CorrelationData => {
            let bytes = payload::decode("", value.as_str()?).ok()?;
            if bytes.len() > LONGEST_BYTES {
                return None;
            }
            buffer.push_binary(id, &bytes);
        }
        PropertyId::UserProperty => {
            let [name, value] = value.as_array()?.as_slice() else {
                return None;
            };
            buffer.push_pair(id, text(name)?, text(value)?);
        }
        PropertyId::ResponseTopic => {
            let topic = text(value)?;
            noctule_topics::validate_name(topic).ok()?;
            buffer.push_string(id, topic);
        }
        _ => buffer.push_string(id, text(value)?),
    }
    Some(())
}

fn text(value: &Value) -> Option<&str> {
    let text = value.as_str()?;
    is_text(text).then_some(text)
}

/// Whether MQTT can carry it: MQTT 5.0 §1.5.4 [MQTT-1.5.4-2].
pub(crate) fn is_text(text: &str) -> bool {
    text.len() <= LONGEST_BYTES && !text.contains('\0')
}
