//! A payload as JSON: text where it is text, else base64.

use data_encoding::BASE64;

/// A payload that is text.
pub type Payload = String;
/// A payload in base64, with padding.
pub type Base64 = String;

/// The two fields of a payload, of which one is there.
pub(crate) fn write(bytes: &[u8]) -> (Option<Payload>, Option<Base64>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

/// The bytes that they say.
pub(crate) fn read(text: Option<&Payload>, base64: Option<&Base64>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(base64)) => decode("payload_base64", base64),
        (None, None) => Err("payload or payload_base64 is missing".to_owned()),
        (Some(_), Some(_)) => Err("payload and payload_base64: give one of them".to_owned()),
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn decode(what: &str, base64: &str) -> Result<Vec<u8>, String> {
    let decoded = BASE64.decode(base64.as_bytes());
    decoded.map_err(|error| format!("{what} is no base64: {error}"))
}
