//! A listener's options.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use noctule_broker::{Durability, Network, Policy, RateLimits};

use crate::tls::{ClientCertificates, TlsOptions, TlsVersion};
use crate::transport::Door;

/// Longest path of a Unix socket: `sun_path` of Linux and its closing zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Bytes of a topic prefix: names have to fit behind it.
const MAX_PREFIX_BYTES: usize = 1_024;

/// Whatever a packet limit is, small packets get through.
const MIN_PACKET_BYTES: u32 = 20;

/// Where to accept connections, and how. Options of a scheme that a listener does not have
/// must keep their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerOptions {
    pub scheme: Scheme,
    /// A name or an address; a name that stands for several listens on all of them.
    pub host: String,
    /// 0: any free port.
    pub port: u16,
    /// The socket of [`Scheme::Unix`], which has neither host nor port.
    pub path: Option<PathBuf>,
    /// Who may use that socket: the permission bits of a file, in octal.
    #[serde(deserialize_with = "octal")]
    pub unix_mode: u32,
    /// Whether clients may come in without saying who they are: for the authenticators.
    pub allow_anonymous: bool,
    /// What is promised of sessions that begin here; absent: what the broker promises.
    pub durability: Option<Durability>,
    /// Connections at once on this listener; 0: no limit of its own.
    pub max_connections: u64,
    /// Connections at once on this listener whose CONNECT has not come; 0: no limit.
    pub max_handshakes: u64,
    /// Put in front of every topic name and filter of its clients, and taken off again; empty, or
    /// ends with a slash.
    pub topic_prefix: String,
    /// Highest QoS of its clients.
    pub maximum_qos: u8,
    /// Largest packet taken; 0: as for all.
    pub max_packet_bytes: u32,
    /// Longest keep alive; 0: as for all.
    pub max_keep_alive_seconds: u16,
    /// PUBLISH packets taken from one of its clients a second; 0: as for all.
    pub max_messages_per_second_in: u32,
    /// Bytes of PUBLISH taken from one of its clients a second; 0: as for all.
    pub max_bytes_per_second_in: u64,
    /// PUBLISH packets sent to one of its clients a second; 0: as for all.
    pub max_messages_per_second_out: u32,
    /// Bytes of PUBLISH sent to one of its clients a second; 0: as for all.
    pub max_bytes_per_second_out: u64,
    /// Addresses and networks of proxies, which begin every connection with a PROXY header.
    #[serde(deserialize_with = "networks")]
    pub proxy_protocol_from: Vec<Network>,
    /// Certificate chains in PEM; the first is shown where no other fits the name asked for.
    pub tls_certificate: Vec<PathBuf>,
    /// The key of each certificate, in the same order.
    pub tls_key: Vec<PathBuf>,
    /// Authorities in PEM: those that a certificate's chain lacks are shown with it.
    pub tls_chain: Option<PathBuf>,
    pub tls_minimum_version: TlsVersion,
    pub client_certificates: ClientCertificates,
    pub client_ca: Option<PathBuf>,
    pub crl: Vec<PathBuf>,
    /// Application protocols agreed to; absent: `mqtt`, or `http/1.1` below WebSocket.
    pub alpn: Option<Vec<String>>,
    pub websocket_path: String,
    /// Origins of pages that may connect besides those of the same host; `*`: all.
    pub origins: Vec<String>,
    /// Whether permessage-deflate is agreed to.
    pub websocket_compression: bool,
}

/// What is spoken below MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Unix,
}

impl Scheme {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Unix => "unix",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    fn has_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

impl Default for ListenerOptions {
    fn default() -> Self {
        ListenerOptions {
            scheme: Scheme::Mqtt,
            host: String::new(),
            port: 0,
            path: None,
            unix_mode: 0o660,
            allow_anonymous: false,
            durability: None,
            max_connections: 0,
            max_handshakes: 16_384,
            topic_prefix: String::new(),
            maximum_qos: 2,
            max_packet_bytes: 0,
            max_keep_alive_seconds: 0,
            max_messages_per_second_in: 0,
            max_bytes_per_second_in: 0,
            max_messages_per_second_out: 0,
            max_bytes_per_second_out: 0,
            proxy_protocol_from: Vec::new(),
            tls_certificate: Vec::new(),
            tls_key: Vec::new(),
            tls_chain: None,
            tls_minimum_version: TlsVersion::V12,
            client_certificates: ClientCertificates::None,
            client_ca: None,
            crl: Vec::new(),
            alpn: None,
            websocket_path: "/mqtt".into(),
            origins: Vec::new(),
            websocket_compression: false,
        }
    }
}

impl ListenerOptions {
    /// MQTT over TCP at an address.
    #[must_use]
    pub fn at(host: &str, port: u16) -> ListenerOptions {
        ListenerOptions {
            host: host.into(),
            port,
            ..ListenerOptions::default()
        }
    }

    /// Refuses what cannot be followed. The text begins with the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        let scheme = self.scheme.as_str();
        let default = ListenerOptions::default();
        self.check_place()?;
        self.check_policy()?;
        if !self.scheme.has_tls() {
            let keys = [
                ("tls_certificate", self.tls_certificate.is_empty()),
                ("tls_key", self.tls_key.is_empty()),
                ("tls_chain", self.tls_chain.is_none()),
                ("client_ca", self.client_ca.is_none()),
                ("crl", self.crl.is_empty()),
                ("alpn", self.alpn.is_none()),
                (
                    "client_certificates",
                    self.client_certificates == default.client_certificates,
                ),
                (
                    "tls_minimum_version",
                    self.tls_minimum_version == default.tls_minimum_version,
                ),
            ];
            return absent(
                &keys,
                &format!("{scheme}:// has no TLS; write mqtts:// or wss://"),
            )
            .and_then(|()| self.check_websocket());
        }
        self.check_tls()?;
        self.check_websocket()
    }

    fn check_policy(&self) -> Result<(), String> {
        if self.maximum_qos > 2 {
            return Err("maximum_qos: 0, 1 or 2".into());
        }
        if self.max_packet_bytes != 0 && self.max_packet_bytes < MIN_PACKET_BYTES {
            return Err(format!(
                "max_packet_bytes: 0, or {MIN_PACKET_BYTES} and more"
            ));
        }
        let prefix = &*self.topic_prefix;
        let is_name = noctule_topics::validate_name(prefix).is_ok() && !prefix.starts_with('$');
        let fits = prefix.len() <= MAX_PREFIX_BYTES && prefix.ends_with('/');
        match prefix.is_empty() || (is_name && fits) {
            true => Ok(()),
            false => Err(format!(
                "topic_prefix: a topic name that ends with a slash, at most {MAX_PREFIX_BYTES} \
                 bytes, not beginning with $"
            )),
        }
    }

    /// What holds for its clients alone.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            topic_prefix: (*self.topic_prefix).into(),
            maximum_qos: self.maximum_qos,
            max_packet_bytes: self.max_packet_bytes,
            max_keep_alive_seconds: self.max_keep_alive_seconds,
            rates: RateLimits {
                messages_in: self.max_messages_per_second_in,
                bytes_in: self.max_bytes_per_second_in,
                messages_out: self.max_messages_per_second_out,
                bytes_out: self.max_bytes_per_second_out,
            },
        }
    }

    fn check_place(&self) -> Result<(), String> {
        if self.scheme != Scheme::Unix {
            if self.host.is_empty() {
                return Err("host: a name or an address is needed".into());
            }
            let keys = [
                ("path", self.path.is_none()),
                ("unix_mode", self.unix_mode == 0o660),
            ];
            return absent(&keys, "it is for unix:// alone");
        }
        let keys = [
            ("host", self.host.is_empty()),
            ("port", self.port == 0),
            ("proxy_protocol_from", self.proxy_protocol_from.is_empty()),
        ];
        absent(&keys, "unix:// has none")?;
        let Some(path) = &self.path else {
            return Err("path: a Unix socket needs one".into());
        };
        if !path.is_absolute() || path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            return Err(format!(
                "path: an absolute path of at most {MAX_SOCKET_PATH_BYTES} bytes is needed"
            ));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), String> {
        if self.tls_certificate.is_empty() {
            let scheme = self.scheme.as_str();
            return Err(format!(
                "tls_certificate: {scheme}:// needs a certificate and its key"
            ));
        }
        if self.tls_certificate.len() != self.tls_key.len() {
            return Err("tls_key: each certificate needs its key, in the same order".into());
        }
        let asks = self.client_certificates != ClientCertificates::None;
        if asks && self.client_ca.is_none() {
            return Err("client_ca: the authorities that client certificates lead to".into());
        }
        if !asks && self.client_ca.is_some() {
            return Err(
                "client_certificates: \"optional\" or \"required\", where client_ca is set".into(),
            );
        }
        if !self.crl.is_empty() && !asks {
            return Err("crl: revocation lists need client_ca and client_certificates".into());
        }
        let is_name = |name: &String| (1..=255).contains(&name.len());
        match self.alpn.iter().flatten().all(is_name) {
            true => Ok(()),
            false => Err("alpn: names have 1 to 255 bytes".into()),
        }
    }

    fn check_websocket(&self) -> Result<(), String> {
        if !self.scheme.has_websocket() {
            let keys = [
                ("websocket_path", self.websocket_path == "/mqtt"),
                ("origins", self.origins.is_empty()),
                ("websocket_compression", !self.websocket_compression),
            ];
            return absent(&keys, "it is for ws:// and wss:// alone");
        }
        match self.websocket_path.starts_with('/') {
            true => Ok(()),
            false => Err("websocket_path: it begins with a slash".into()),
        }
    }

    pub(crate) fn tls(&self) -> Option<TlsOptions> {
        self.scheme.has_tls().then(|| TlsOptions {
            certificates: self.tls_certificate.clone(),
            keys: self.tls_key.clone(),
            chain: self.tls_chain.clone(),
            minimum_version: self.tls_minimum_version,
            client_certificates: self.client_certificates,
            client_ca: self.client_ca.clone(),
            crl: self.crl.clone(),
            alpn: self.alpn.clone().unwrap_or_else(|| {
                let usual = if self.scheme.has_websocket() {
                    "http/1.1"
                } else {
                    "mqtt"
                };
                vec![usual.into()]
            }),
        })
    }

    pub(crate) fn door(&self) -> Option<Door> {
        self.scheme.has_websocket().then(|| Door {
            path: self.websocket_path.clone(),
            origins: self.origins.clone(),
            compression: self.websocket_compression,
        })
    }
}

/// Refuses the first key that does not have its default.
fn absent(keys: &[(&str, bool)], why: &str) -> Result<(), String> {
    match keys.iter().find(|(_, is_default)| !is_default) {
        Some((key, _)) => Err(format!("{key}: {why}")),
        None => Ok(()),
    }
}

fn octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    u32::from_str_radix(&text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| de::Error::custom("permission bits in octal are needed, such as \"660\""))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let networks = texts.iter().map(|text| text.parse());
    networks
        .collect::<Result<_, String>>()
        .map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use crate::options::ServerOptions;

    fn check(listener: &str) -> Result<(), String> {
        let json = format!(r#"{{"listeners": [{listener}]}}"#);
        ServerOptions::from_json(&json)
            .map(drop)
            .map_err(|error| error.0)
    }

    #[test]
    fn every_refusal_names_listener_and_key() {
        let tls = r#""scheme": "mqtts", "host": "::1", "tls_certificate": ["c"]"#;
        let cases = [
            (r#""host": """#.to_owned(), "host"),
            (
                r#""host": "h", "topic_prefix": "a""#.to_owned(),
                "topic_prefix",
            ),
            (
                r#""host": "h", "topic_prefix": "$a/""#.to_owned(),
                "topic_prefix",
            ),
            (
                r#""host": "h", "topic_prefix": "+/""#.to_owned(),
                "topic_prefix",
            ),
            (r#""host": "h", "maximum_qos": 3"#.to_owned(), "maximum_qos"),
            (r#""host": "h", "path": "/x""#.to_owned(), "path"),
            (r#""host": "h", "unix_mode": "600""#.to_owned(), "unix_mode"),
            (r#""host": "h", "unix_mode": "9""#.to_owned(), "unix_mode"),
            (
                r#""host": "h", "unix_mode": "7777""#.to_owned(),
                "unix_mode",
            ),
            (r#""host": "h", "tls_key": ["x"]"#.to_owned(), "tls_key"),
            (r#""host": "h", "alpn": []"#.to_owned(), "alpn"),
            (r#""host": "h", "origins": ["*"]"#.to_owned(), "origins"),
            (
                r#""host": "h", "proxy_protocol_from": ["x"]"#.to_owned(),
                "proxy_protocol_from",
            ),
            (r#""scheme": "unix""#.to_owned(), "path"),
            (r#""scheme": "unix", "path": "relative""#.to_owned(), "path"),
            (
                r#""scheme": "unix", "path": "/x", "port": 1"#.to_owned(),
                "port",
            ),
            (
                r#""scheme": "ws", "host": "h", "websocket_path": "mqtt""#.to_owned(),
                "websocket_path",
            ),
            (
                r#""scheme": "wss", "host": "h""#.to_owned(),
                "tls_certificate",
            ),
            (tls.to_owned(), "tls_key"),
            (
                format!(r#"{tls}, "tls_key": ["k"], "client_ca": "a""#),
                "client_certificates",
            ),
            (format!(r#"{tls}, "tls_key": ["k"], "crl": ["r"]"#), "crl"),
            (
                format!(r#"{tls}, "tls_key": ["k"], "client_certificates": "required""#),
                "client_ca",
            ),
            (
                format!(r#"{tls}, "tls_key": ["k"], "tls_minimum_version": "1.1""#),
                "tls_minimum_version",
            ),
        ];
        for (listener, key) in cases {
            let refusal = check(&format!("{{{listener}}}")).unwrap_err();
            let expected = format!("listeners[0].{key}");
            assert!(refusal.starts_with(&expected), "{listener}: {refusal}");
        }
        check(&format!(
            r#"{{{tls}, "tls_key": ["k"], "alpn": ["mqtt", "x-amzn-mqtt-ca"]}}"#
        ))
        .unwrap();
        check(r#"{"scheme": "unix", "path": "/run/x", "unix_mode": "0600"}"#).unwrap();
    }
}
