//! What TLS listeners are made of: certificates, authorities, revocation lists.
//!
//! [`TlsContext`] holds a listener's configuration and can be made anew from its files;
//! [`watch`] does so when they change.

mod certificates;
mod identity;
mod revocation;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::Deserialize;

use certificates::Certificates;
pub(crate) use identity::client_identity;
use revocation::RevocationLists;
pub(crate) use watch::{Watch, Watched};

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    None,
    /// One that is shown must be good.
    Optional,
    Required,
}

/// The oldest version of TLS spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    V12,
    #[serde(rename = "1.3")]
    V13,
}

/// A listener's TLS options. Files are in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// Chains, the server's own certificate first in each; chosen by the name that a client
    /// asks for, the first one if none fits.
    pub certificates: Vec<PathBuf>,
    /// The key of each.
    pub keys: Vec<PathBuf>,
    /// Authorities that complete the chains.
    pub chain: Option<PathBuf>,
    pub minimum_version: TlsVersion,
    pub client_certificates: ClientCertificates,
    /// Authorities that client certificates lead to; they complete the chains, too.
    pub client_ca: Option<PathBuf>,
    /// Their revocation lists. If there are any, a certificate whose authority has none, or
    /// one that should have been renewed, is refused.
    pub crl: Vec<PathBuf>,
    pub alpn: Vec<String>,
}

/// Files that cannot be used.
#[derive(Debug)]
pub(crate) struct TlsError {
    /// The option and the file: `tls_key /etc/noctule/key.pem`.
    pub what: String,
    pub why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl TlsError {
    fn new(option: &str, path: &Path, why: impl fmt::Display) -> TlsError {
        TlsError {
            what: format!("{option} {}", path.display()),
            why: why.to_string(),
        }
    }
}

/// A listener's TLS configuration of the moment.
#[derive(Debug)]
pub(crate) struct TlsContext {
    options: TlsOptions,
    current: Mutex<Loaded>,
}

/// What the files held when they were read.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    lists: RevocationLists,
}

impl TlsContext {
    /// # Errors
    /// [`TlsError`] naming the first file that cannot be used.
    pub fn load(options: TlsOptions) -> Result<TlsContext, TlsError> {
        let current = Mutex::new(options.load()?);
        Ok(TlsContext { options, current })
    }

    /// For a new connection; connections that are there keep what they began with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// A revocation list that should have been renewed before `now`, in seconds since 1970.
    pub fn stale_list(&self, now: i64) -> Option<PathBuf> {
        self.current().lists.stale(now).map(Path::to_owned)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// As [`TlsContext::load`]; what was there stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = self.options.load()?;
        *self.current() = loaded;
        Ok(())
    }

    fn current(&self) -> MutexGuard<'_, Loaded> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let TlsOptions {
            certificates,
            keys,
            chain,
            client_ca,
            crl,
            ..
        } = &self.options;
        let files = certificates.iter().chain(keys).chain(chain);
        let files = files.chain(client_ca).chain(crl);
        files.map(PathBuf::as_path)
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

impl TlsOptions {
    fn load(&self) -> Result<Loaded, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let authorities = all_of("client_ca", self.client_ca.as_deref())?;
        let mut above = all_of("tls_chain", self.chain.as_deref())?;
        above.extend_from_slice(&authorities);
        let certificates = Certificates::load(&self.certificates, &self.keys, &above, &provider)?;
        let versions = match self.minimum_version {
            TlsVersion::V12 => &BOTH[..],
            TlsVersion::V13 => &BOTH[..1],
        };
        let first = self.certificates.first().map_or(Path::new(""), |path| path);
        let broken = |error: rustls::Error| TlsError::new("tls_certificate", first, error);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(broken)?;
        let lists = RevocationLists::load(&self.crl)?;
        let builder = match self.verifier(authorities, &provider, &lists)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into()).collect();
        // Sessions resume from tickets, so that any worker can resume them. The key of the
        // tickets is as old as this configuration: a new revocation list ends them all.
        config.ticketer = ring::Ticketer::new().map_err(broken)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let config = Arc::new(config);
        Ok(Loaded { config, lists })
    }

    fn verifier(
        &self,
        found: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
        lists: &RevocationLists,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(path), true) = (
            &self.client_ca,
            self.client_certificates != ClientCertificates::None,
        ) else {
            return Ok(None);
        };
        let broken = |why: String| TlsError::new("client_ca", path, why);
        let mut authorities = RootCertStore::empty();
        for certificate in found {
            authorities
                .add(certificate)
                .map_err(|error| broken(error.to_string()))?;
        }
        // Who has kept a list from being renewed must not get in by it.
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(authorities.into(), Arc::clone(provider))
                .with_crls(lists.all())
                .enforce_revocation_expiration();
        if self.client_certificates == ClientCertificates::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder
            .build()
            .map(Some)
            .map_err(|error| broken(error.to_string()))
    }
}

/// The certificates of a file that an option may name.
fn all_of(option: &str, path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    path.map_or(Ok(Vec::new()), |path| {
        read_certificates(path).map_err(|why| TlsError::new(option, path, why))
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    match found.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(found),
    }
}
