//! TLS of the program's own HTTP clients: whom they trust, and what their failures mean.

use std::env;
use std::path::Path;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Variables that name the certificate authorities in place of the system's store, as in OpenSSL.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Whether a URL is at `https://`.
pub fn is_https(url: &str) -> bool {
    url.get(.."https://".len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Trusts the certificate authorities in a PEM file and no others or, without a file, those of the system's store. The
/// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` replace that store. A system without a store, such as a minimal
/// container, trusts the authorities that browsers trust.
///
/// # Errors
/// If the file, or what a variable names, has no certificate that can be read.
pub fn trust(ca_file: Option<&Path>) -> Result<TlsConfig, String> {
    let authorities = match ca_file {
        Some(file) => certificates(file).map_err(|cause| format!("{}: {cause}", file.display()))?,
        None => system_authorities()?,
    };
    if authorities.is_empty() {
        return Ok(TlsConfig::builder().root_certs(RootCerts::WebPki).build());
    }
    let authorities = authorities.iter().map(|authority| Certificate::from_der(authority).to_owned());
    Ok(TlsConfig::builder().root_certs(RootCerts::from(authorities)).build())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err("it holds no certificate in PEM format".into()),
        found => found.map_err(|error| error.to_string()),
    }
}

/// The authorities of the system's store; none if there is no store.
fn system_authorities() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    let variable = VARIABLES.into_iter().find(|name| env::var_os(name).is_some());
    match variable {
        Some(variable) if found.certs.is_empty() => {
            let causes: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            Err(format!("{variable} names no certificate that can be read: {}", causes.join("; ")))
        }
        _ => Ok(found.certs),
    }
}

/// Why a request failed in TLS, in words that fit the cause. `None` if the cause is another one. `remedy` says how to
/// trust another authority.
pub fn tls_failure(error: &ureq::Error, remedy: &str) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        _ => return None,
    };
    Some(match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("the server's certificate is from an authority that is not trusted here; {remedy}")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired, or the clock of this machine is wrong".into(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the server's certificate is for another host: {error}"),
        rustls::Error::InvalidCertificate(_) => format!("the server's certificate is refused: {error}"),
        rustls::Error::InvalidMessage(_) => {
            format!("the server does not speak TLS here; is it http://? ({error})")
        }
        _ => format!("no TLS connection with the server: {error}"),
    })
}
