//! Lists of certificates that are no longer good, RFC 5280 §5.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::TlsError;

/// The lists in a listener's files.
#[derive(Debug, Default)]
pub(super) struct RevocationLists(Vec<RevocationList>);

#[derive(Debug)]
struct RevocationList {
    path: PathBuf,
    list: CertificateRevocationListDer<'static>,
    /// When the next one should be there, in seconds since 1970.
    next_update: Option<i64>,
}

impl RevocationLists {
    /// Reads files that each hold one or several.
    pub fn load(paths: &[PathBuf]) -> Result<RevocationLists, TlsError> {
        let mut all = Vec::new();
        for path in paths {
            let broken = |why: String| TlsError::new("crl", path, why);
            let lists = CertificateRevocationListDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| broken(error.to_string()))?;
            if lists.is_empty() {
                return Err(broken("there is no revocation list in it".into()));
            }
            for list in lists {
                let next_update = next_update(&list).map_err(broken)?;
                let path = path.clone();
                all.push(RevocationList {
                    path,
                    list,
                    next_update,
                });
            }
        }
        Ok(RevocationLists(all))
    }

    pub fn all(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> {
        self.0.iter().map(|each| each.list.clone())
    }

    /// The file of one that should have been renewed before `now`.
    pub fn stale(&self, now: i64) -> Option<&Path> {
        let is_stale = |each: &&RevocationList| each.next_update.is_some_and(|end| end < now);
        self.0.iter().find(is_stale).map(|each| each.path.as_path())
    }
}

fn next_update(list: &[u8]) -> Result<Option<i64>, String> {
    let (_, list) = CertificateRevocationList::from_der(list).map_err(|error| error.to_string())?;
    Ok(list.next_update().map(|time| time.timestamp()))
}
