//! Which certificate is shown to whom.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{TlsError, read_certificates};

/// A listener's certificates with the names that they are for.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Named>);

#[derive(Debug)]
struct Named {
    /// In lower case; `*.` stands for one label in front.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads each chain with its key. What a chain lacks is taken from `authorities`.
    pub fn load(
        certificates: &[PathBuf],
        keys: &[PathBuf],
        authorities: &[CertificateDer<'static>],
        provider: &CryptoProvider,
    ) -> Result<Certificates, TlsError> {
        let pairs = certificates.iter().zip(keys);
        let loaded = pairs.map(|(certificate, key)| {
            let broken = |why: String| TlsError::new("tls_certificate", certificate, why);
            let mut chain = read_certificates(certificate).map_err(broken)?;
            complete(&mut chain, authorities);
            let names = chain
                .first()
                .map_or(Ok(Vec::new()), |first| dns_names(first));
            let names = names.map_err(broken)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| TlsError::new("tls_key", key, error))?;
            let certified = CertifiedKey::from_der(chain, private, provider)
                .map_err(|error| TlsError::new("tls_key", key, error))?;
            Ok(Named {
                names,
                key: Arc::new(certified),
            })
        });
        loaded.collect::<Result<_, _>>().map(Certificates)
    }

    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let fitting = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.0.iter().find(|each| each.is_for(&name))
        });
        fitting.or(self.0.first()).map(|found| &found.key)
    }
}

impl Named {
    fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(own) => parent == Some(own),
            None => own == name,
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).cloned()
    }
}

/// Adds the authorities between a chain's end and the root that clients have themselves;
/// those that cannot be read are passed over.
fn complete(chain: &mut Vec<CertificateDer<'static>>, authorities: &[CertificateDer<'static>]) {
    for _ in authorities {
        let Some(issuer) = chain.last().and_then(|last| issuer_of(last, authorities)) else {
            return;
        };
        chain.push(issuer.clone());
    }
}

/// The authority that has issued a certificate; none for a root, nor where a root has.
fn issuer_of<'a>(
    certificate: &CertificateDer<'_>,
    authorities: &'a [CertificateDer<'static>],
) -> Option<&'a CertificateDer<'static>> {
    let certificate = parse(certificate).ok()?;
    authorities.iter().find(|authority| {
        parse(authority).is_ok_and(|authority| {
            authority.subject() == certificate.issuer()
                && authority.subject() != authority.issuer()
                && authority.subject() != certificate.subject()
        })
    })
}

fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, String> {
    let parsed = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.1)
}

fn dns_names(certificate: &[u8]) -> Result<Vec<String>, String> {
    let certificate = parse(certificate)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok(names.collect())
}
