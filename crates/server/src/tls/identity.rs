//! What a client certificate says about its owner.

use std::net::{Ipv4Addr, Ipv6Addr};

use noctule_broker::{ClientCertificate, Identity};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Reads a certificate that the handshake has checked.
///
/// # Errors
/// It is not valid now, or cannot be read after all.
pub(crate) fn client_identity(certificate: &[u8]) -> Result<Identity, String> {
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("the client's certificate cannot be read: {error}"))?;
    if !certificate.validity().is_valid() {
        return Err("the client's certificate is not valid now".into());
    }
    let common_name = certificate
        .subject()
        .iter_common_name()
        .find_map(|name| name.as_str().ok());
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.map_or(&[][..], |extension| &extension.value.general_names);
    let names = alternative.iter().filter_map(alternative_name);
    Ok(Identity::Certificate(ClientCertificate {
        subject: certificate.subject().to_string().into(),
        common_name: common_name.map(Into::into),
        alternative_names: names.map(Into::into).collect(),
        serial: certificate.tbs_certificate.serial.to_str_radix(16).into(),
        not_after: certificate.validity().not_after.timestamp(),
    }))
}

fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}
