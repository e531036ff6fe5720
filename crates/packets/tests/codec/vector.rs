//! Reading `tests/vectors/vectors.jsonl`.
//!
//! A line is one packet on the wire: `ver` 3, 4 or 5; `from` "client", "server" or
//! "either"; `hex` (then `tail.count` times `tail.byte`); and either `valid` with the
//! described `packet`, or `why` it is refused, with the reason `codes` one may answer
//! (empty before 5.0) and the `level` that can tell: "format", "value" or "state".

use noctule_packets::{Error, FixedHeader, Packet, Version, check_from_client, check_from_server};
use serde_json::Value;

const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/vectors/vectors.jsonl"
);

pub struct Vector {
    pub id: String,
    pub version: Version,
    pub from: String,
    pub bytes: Vec<u8>,
    /// What it describes; None: it is to be refused.
    pub packet: Option<Value>,
    pub codes: Vec<u8>,
    pub why: String,
    pub level: String,
}

pub fn all() -> Vec<Vector> {
    let text = std::fs::read_to_string(PATH).expect(PATH);
    let vectors: Vec<Vector> = text.lines().map(parse).collect();
    assert!(
        vectors.len() > 700,
        "the vectors are incomplete: {}",
        vectors.len()
    );
    vectors
}

pub fn valid() -> Vec<Vector> {
    all()
        .into_iter()
        .filter(|vector| vector.packet.is_some())
        .collect()
}

impl Vector {
    /// What a receiver makes of it, who knows which side it came from.
    pub fn receive(&self) -> Result<Packet<'_>, Error> {
        let packet = self.decode()?;
        if self.from != "server" {
            check_from_client(&packet, self.version)?;
        }
        if self.from != "client" {
            check_from_server(&packet, self.version)?;
        }
        Ok(packet)
    }

    pub fn decode(&self) -> Result<Packet<'_>, Error> {
        decode(self.version, &self.bytes).map(|(packet, _)| packet)
    }

    pub fn is_large(&self) -> bool {
        self.bytes.len() > 100_000
    }
}

/// Decodes the packet that `bytes` begin with and must hold whole; says how long it was.
pub fn decode(version: Version, bytes: &[u8]) -> Result<(Packet<'_>, usize), Error> {
    let header = FixedHeader::decode(bytes)?.expect("a whole fixed header");
    let body = bytes
        .get(header.header_len..header.total())
        .expect("a whole packet");
    Ok((Packet::decode(version, header, body)?, header.total()))
}

fn parse(line: &str) -> Vector {
    let value: Value = serde_json::from_str(line).expect(line);
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut bytes = bytes_from_hex(&text("hex"));
    if let Some(tail) = value["tail"].as_object() {
        let byte = bytes_from_hex(tail["byte"].as_str().expect("a tail byte"))[0];
        let count = tail["count"].as_u64().expect("a tail count") as usize;
        bytes.resize(bytes.len() + count, byte);
    }
    let is_valid = value["valid"].as_bool().expect("validity");
    Vector {
        id: text("id"),
        version: match value["ver"].as_u64() {
            Some(3) => Version::V3,
            Some(4) => Version::V4,
            Some(5) => Version::V5,
            version => panic!("version {version:?}"),
        },
        from: text("from"),
        bytes,
        packet: is_valid.then(|| value["packet"].clone()),
        codes: value["codes"]
            .as_array()
            .map(|codes| {
                codes
                    .iter()
                    .map(|code| code.as_u64().expect("a code") as u8)
                    .collect()
            })
            .unwrap_or_default(),
        why: text("why"),
        level: text("level"),
    }
}

fn bytes_from_hex(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0, "half a byte: {hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}
