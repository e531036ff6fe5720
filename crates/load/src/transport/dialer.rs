//! Opens connections to the broker of a run.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use socket2::{Domain, Socket, Type};

use super::Transport;
use super::channel::Channel;
use super::websocket::WebSocket;
use crate::error::LoadError;
use crate::scenario::{Scenario, Scheme};

/// Ports an address has for outgoing connections, with room to spare (Linux has 28,232).
const CONNECTIONS_PER_SOURCE: u32 = 16_384;
/// Loopback addresses to go around. A closed connection holds its port for a minute, so that
/// each run begins somewhere else.
const SOURCES: u32 = 4_096;

/// Knows where the broker is, and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Dialer {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Where a WebSocket is opened.
    url: Option<String>,
}

impl Dialer {
    /// # Errors
    /// A host without an address, or certificates that cannot be read.
    pub fn new(scenario: &Scenario) -> Result<Dialer, LoadError> {
        let address = resolve(scenario)?;
        let tls = match scenario.scheme.is_encrypted() {
            true => Some((Arc::new(tls_config(scenario)?), server_name(scenario)?)),
            false => None,
        };
        let Scenario {
            host, port, path, ..
        } = scenario;
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let url = scenario
            .scheme
            .is_websocket()
            .then(|| format!("ws://{host}:{port}{path}"));
        Ok(Dialer { address, tls, url })
    }

    /// Begins to connect; writable once it has. `nth` counts the connections, so that
    /// those to a loopback address come from different ones and ports do not run out.
    pub fn dial(&self, nth: u32) -> io::Result<Transport> {
        let stream = connect(self.address, nth)?;
        let channel = match &self.tls {
            None => Channel::Plain(stream),
            Some((config, name)) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone())
                    .map_err(io::Error::other)?;
                Channel::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        };
        match &self.url {
            None => Ok(Transport::Channel(channel)),
            Some(url) => Ok(Transport::WebSocket(Box::new(WebSocket::new(
                channel, url,
            )?))),
        }
    }
}

fn connect(address: SocketAddr, nth: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let IpAddr::V4(host) = address.ip()
        && host.is_loopback()
        && cfg!(target_os = "linux")
    {
        let source = std::process::id().wrapping_add(nth / CONNECTIONS_PER_SOURCE) % SOURCES;
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + source);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if !is_under_way(&error) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

fn is_under_way(error: &io::Error) -> bool {
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(in_progress)
}

/// The first address of the host, IPv4 before IPv6: brokers that listen on one listen on
/// that.
fn resolve(scenario: &Scenario) -> Result<SocketAddr, LoadError> {
    let failed = |source| LoadError::Resolve {
        host: scenario.host.clone(),
        source,
    };
    let addresses = (scenario.host.as_str(), scenario.port).to_socket_addrs();
    let mut addresses: Vec<SocketAddr> = addresses.map_err(failed)?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let first = addresses.first().copied();
    first.ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound)))
}

fn server_name(scenario: &Scenario) -> Result<ServerName<'static>, LoadError> {
    let name = ServerName::try_from(scenario.host.clone());
    name.map_err(|error| LoadError::scenario("host", error.to_string()))
}

fn tls_config(scenario: &Scenario) -> Result<ClientConfig, LoadError> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| LoadError::scenario("scheme", error.to_string()))?;
    let trusting = match &scenario.ca_file {
        _ if scenario.insecure => versions
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        Some(file) => versions.with_root_certificates(authorities(file)?),
        None => versions.with_root_certificates(RootCertStore::empty()),
    };
    let mut config = trusting.with_no_client_auth();
    let protocol: &[u8] = match scenario.scheme {
        Scheme::Wss => b"http/1.1",
        _ => b"mqtt",
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

fn authorities(file: &Path) -> Result<RootCertStore, LoadError> {
    let failed = |why: String| LoadError::Certificates {
        file: file.display().to_string(),
        why,
    };
    let mut store = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        let added = store.add(certificate);
        added.map_err(|error| failed(error.to_string()))?;
    }
    match store.is_empty() {
        true => Err(failed("there is no certificate in it".into())),
        false => Ok(store),
    }
}

/// Takes a certificate whoever it was issued by and for: only its key must be the peer's.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
