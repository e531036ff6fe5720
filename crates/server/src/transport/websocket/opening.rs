//! The opening handshake, RFC 6455 §4: an HTTP request in, an answer out.

use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;

use super::deflate;

/// Sub-protocols spoken, by their names in RFC 6455's registry.
const SUB_PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Longest request taken, its empty line included.
pub(super) const MAX_REQUEST_BYTES: usize = 8 << 10;

/// Characters of a base64 key of 16 bytes.
const KEY_CHARACTERS: usize = 24;

/// Who may open a WebSocket on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// The one path there is, such as `/mqtt`.
    pub path: String,
    /// Origins that a browser's page may come from, besides the host that it asks; `*`: any.
    pub origins: Vec<String>,
    /// Whether compression is agreed to where a client offers it.
    pub compression: bool,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub bytes: Vec<u8>,
    pub is_open: bool,
    pub is_compressed: bool,
}

/// Whether these bytes can be the beginning of a request at all.
pub(super) fn may_be_http(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(u8::is_ascii_uppercase)
}

/// Where the request ends, if it does.
pub(super) fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

impl Door {
    /// Answers a whole request.
    pub(super) fn answer(&self, request: &[u8]) -> Answer {
        match self.open(request) {
            Ok((bytes, is_compressed)) => Answer {
                bytes,
                is_open: true,
                is_compressed,
            },
            Err(refusal) => refusal.answer(),
        }
    }

    /// The answer, and whether messages may be compressed from there on.
    fn open(&self, request: &[u8]) -> Result<(Vec<u8>, bool), Refusal> {
        let malformed = || Refusal::BadRequest("this is no HTTP/1.1 request".into());
        let (_, request) = Request::try_parse(request)
            .map_err(Refusal::from)?
            .ok_or_else(malformed)?;
        if request.uri().path() != self.path {
            return Err(Refusal::NotFound(self.path.clone()));
        }
        let mut response = create_response(&request)?;
        let header = |name: &str| request.headers().get(name);
        if header("Sec-WebSocket-Key").is_none_or(|key| key.len() != KEY_CHARACTERS) {
            return Err(Refusal::BadRequest(
                "Sec-WebSocket-Key is not 16 bytes in base64".into(),
            ));
        }
        if let Some(origin) = header("Origin")
            && !self.is_welcome(origin, header("Host"))
        {
            return Err(Refusal::Forbidden);
        }
        let offered = request.headers().get_all("Sec-WebSocket-Protocol");
        let chosen = choose(offered.iter().filter_map(|value| value.to_str().ok()));
        let chosen = chosen.ok_or_else(|| {
            Refusal::BadRequest(
                "offer the sub-protocol mqtt (MQTT 5.0 section 6): Sec-WebSocket-Protocol: mqtt"
                    .into(),
            )
        })?;
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(chosen));
        let offers = request.headers().get_all("Sec-WebSocket-Extensions");
        let offers = offers.iter().filter_map(|value| value.to_str().ok());
        let is_compressed = self.compression && deflate::is_offered(offers);
        if is_compressed {
            let answer = HeaderValue::from_static(deflate::ANSWER);
            response
                .headers_mut()
                .insert("Sec-WebSocket-Extensions", answer);
        }
        let mut bytes = Vec::with_capacity(192);
        write_response(&mut bytes, &response).map_err(|_| malformed())?;
        Ok((bytes, is_compressed))
    }

    /// Only browsers send an origin, and any page may tell a browser to open a WebSocket to
    /// this machine: so pages come in from the host itself and from where the list says.
    fn is_welcome(&self, origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let is_listed = |listed: &String| listed == "*" || listed.eq_ignore_ascii_case(origin);
        if self.origins.iter().any(is_listed) {
            return true;
        }
        let origin_host = origin.split_once("://").map(|(_, rest)| without_port(rest));
        let host = host.and_then(|host| host.to_str().ok()).map(without_port);
        origin_host.is_some() && origin_host.map(lower) == host.map(lower)
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// `host` of `host:port`, an IPv6 address with its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The client's first choice that is spoken here [MQTT-6.0.0-3], [MQTT-6.0.0-4].
fn choose<'a>(offered: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let names = offered.flat_map(|value| value.split(',')).map(str::trim);
    names
        .filter_map(|name| SUB_PROTOCOLS.into_iter().find(|spoken| *spoken == name))
        .next()
}

/// Why a request opens nothing.
#[derive(Debug)]
enum Refusal {
    BadRequest(String),
    Forbidden,
    NotFound(String),
    UpgradeRequired,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        match error {
            Error::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => Refusal::UpgradeRequired,
            other => Refusal::BadRequest(other.to_string()),
        }
    }
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, headers, body) = match self {
            Refusal::BadRequest(what) => ("400 Bad Request", "", what),
            Refusal::Forbidden => (
                "403 Forbidden",
                "",
                "pages of this origin may not connect; the listener's option `origins` \
                 lists those that may"
                    .into(),
            ),
            Refusal::NotFound(path) => (
                "404 Not Found",
                "",
                format!("MQTT over WebSocket is served on {path}"),
            ),
            Refusal::UpgradeRequired => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "this is an MQTT broker: connect with WebSocket, version 13".into(),
            ),
        };
        refused(status, headers, &body)
    }
}

/// A request that has not ended where it must have.
pub(super) fn too_long() -> Answer {
    let body = format!("a request may have {MAX_REQUEST_BYTES} bytes");
    refused("431 Request Header Fields Too Large", "", &body)
}

fn refused(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len() + 1;
    let bytes = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}\n"
    );
    Answer {
        bytes: bytes.into_bytes(),
        is_open: false,
        is_compressed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [(&str, &str); 6] = [
        ("Host", "broker.example:8083"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ];

    /// The answer to a good request with some headers changed; an empty value: left out.
    fn answer(line: &str, changes: &[(&str, &str)], origins: &[&str]) -> String {
        let door = Door {
            path: "/mqtt".into(),
            origins: origins.iter().map(|&origin| origin.into()).collect(),
            compression: false,
        };
        let mut request = format!("{line}\r\n");
        let changed = |name: &str| changes.iter().any(|(other, _)| *other == name);
        let kept = HEADERS.iter().filter(|(name, _)| !changed(name));
        for (name, value) in kept.chain(changes).filter(|(_, value)| !value.is_empty()) {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        assert_eq!(end_of_request(request.as_bytes()), Some(request.len()));
        let answer = door.answer(request.as_bytes());
        let text = String::from_utf8(answer.bytes).unwrap();
        assert_eq!(answer.is_open, text.starts_with("HTTP/1.1 101 "), "{text}");
        text
    }

    const GET: &str = "GET /mqtt HTTP/1.1";

    #[test]
    fn a_good_request_is_answered_as_the_rfc_shows() {
        let text = answer(GET, &[], &[]).to_lowercase();
        assert!(text.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
        assert!(text.contains("sec-websocket-protocol: mqtt\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
        assert!(answer("GET /mqtt?token=x HTTP/1.1", &[], &[]).contains(" 101 "));
    }

    #[test]
    fn the_first_sub_protocol_that_is_spoken_is_chosen() {
        for (offered, chosen) in [
            ("chat, mqtt", "mqtt"),
            ("mqttv3.1,mqtt", "mqttv3.1"),
            ("mqtt", "mqtt"),
        ] {
            let text = answer(GET, &[("Sec-WebSocket-Protocol", offered)], &[]).to_lowercase();
            assert!(
                text.contains(&format!("sec-websocket-protocol: {chosen}\r\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_upgrade_is_told_what_to_do() {
        let cases = [
            (GET, ("Upgrade", ""), "426"),
            (GET, ("Connection", "close"), "426"),
            (GET, ("Sec-WebSocket-Version", "8"), "426"),
            (GET, ("Sec-WebSocket-Key", ""), "400"),
            (GET, ("Sec-WebSocket-Key", "short"), "400"),
            (GET, ("Sec-WebSocket-Protocol", ""), "400"),
            (GET, ("Sec-WebSocket-Protocol", "chat"), "400"),
            ("POST /mqtt HTTP/1.1", ("Host", "x"), "400"),
            ("GET /mqtt HTTP/1.0", ("Host", "x"), "400"),
            ("GET / HTTP/1.1", ("Host", "x"), "404"),
            ("NONSENSE", ("Host", "x"), "400"),
        ];
        for (line, change, status) in cases {
            let text = answer(line, &[change], &[]);
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status} ")),
                "{line} {change:?}: {text}"
            );
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())));
            assert!(body.len() > 10);
        }
    }

    #[test]
    fn pages_come_in_from_the_same_host_and_from_listed_origins() {
        let from = |origin, origins: &[&str]| {
            answer(GET, &[("Origin", origin)], origins).contains(" 101 ")
        };
        assert!(from("https://Broker.example", &[]));
        assert!(from("http://broker.example:3000", &[]));
        assert!(!from("https://evil.example", &[]));
        assert!(!from("https://broker.example.evil.example", &[]));
        assert!(!from("null", &[]));
        assert!(from("https://app.example", &["https://app.example"]));
        assert!(!from("http://app.example", &["https://app.example"]));
        assert!(from("null", &["*"]));
    }
}
