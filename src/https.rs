//! The program's own HTTP clients: the URLs that they may call, whom they trust, and what their failures mean.

use std::env;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::secret_file;

/// Variables that name the certificate authorities in place of the system's store, as in OpenSSL.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Whether a URL is at `https://`.
pub fn is_https(url: &str) -> bool {
    url.get(.."https://".len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Parses a URL with a host. `None` if it is none, or if it has what a request would leave out: a port that does not
/// exist, or a fragment.
pub fn parse(url: &str) -> Option<http::Uri> {
    let uri: http::Uri = url.parse().ok().filter(|_| !url.contains('#'))?;
    uri.scheme()?;
    let authority = uri.authority()?;
    let (_, host_and_port) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
    let port = host_and_port.strip_prefix(authority.host())?;
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && matches!(port.parse(), Ok(1..=u16::MAX))
    };
    let is_whole =
        !authority.host().is_empty() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    is_whole.then_some(uri)
}

/// Whether a URL has a user, and perhaps a password.
pub fn has_user(uri: &http::Uri) -> bool {
    uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
}

/// Parses a URL that a setting names. The flag says whether it names this machine.
///
/// # Errors
/// If it is neither at `https://` nor on this machine. The message names the setting, and shows the example.
pub fn parse_url(setting: &str, url: &str, example: &str) -> Result<(http::Uri, bool), String> {
    let uri = parse(url).ok_or_else(|| {
        format!("{setting} is not a URL such as {example}, with a host and without a fragment")
    })?;
    let local = uri.host().is_some_and(is_this_machine);
    if uri.scheme_str() != Some("https") && !(uri.scheme_str() == Some("http") && local) {
        return Err(format!("{setting} must start with https://; http:// is allowed for this machine only"));
    }
    Ok((uri, local))
}

/// Whether a host of a URL is a name or address of this machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}

/// Trusts the certificate authorities in a PEM file and no others or, without a file, those of the system's store. The
/// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` replace that store. A system without a store, such as a minimal
/// container, trusts the authorities that browsers trust.
///
/// # Errors
/// If the file, or what a variable names, has no certificate that can be read.
pub fn trust(ca_file: Option<&Path>) -> Result<TlsConfig, String> {
    Ok(TlsConfig::builder().root_certs(authorities(ca_file)?).build())
}

/// Like [`trust`], with a client certificate and its private key (PEM) for servers that require mutual TLS.
///
/// # Errors
/// As [`trust`]; also if the certificate or its key cannot be read, do not belong together, or if other users may read
/// the key.
pub fn mutual(ca_file: Option<&Path>, certificate_file: &Path, key_file: &Path) -> Result<TlsConfig, String> {
    let chain =
        certificates(certificate_file).map_err(|cause| format!("{}: {cause}", certificate_file.display()))?;
    let key = secret_file::read(key_file)?;
    let unusable = |cause: &dyn std::fmt::Display| format!("{}: {cause}", key_file.display());
    let checked = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable(&error))?;
    check_pair(&chain, checked).map_err(|error| unusable(&error))?;
    let key = PrivateKey::from_pem(&key).map_err(|error| unusable(&error))?;
    let chain: Vec<_> =
        chain.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let certificate = ClientCert::new_with_certs(&chain, key);
    let roots = authorities(ca_file)?;
    Ok(TlsConfig::builder().root_certs(roots).client_cert(Some(certificate)).build())
}

/// Checks that a certificate and a key belong together. The HTTP client panics if they do not.
fn check_pair(chain: &[CertificateDer<'static>], key: PrivateKeyDer<'static>) -> Result<(), rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.to_vec(), key)
        .map(drop)
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCerts, String> {
    let authorities = match ca_file {
        Some(file) => certificates(file).map_err(|cause| format!("{}: {cause}", file.display()))?,
        None => system_authorities()?,
    };
    if authorities.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let authorities = authorities.iter().map(|authority| Certificate::from_der(authority).to_owned());
    Ok(RootCerts::from(authorities))
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

/// The cause in TLS of a failed request. `None` if the cause is another one.
fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>(),
        _ => None,
    }
}

/// Whether a request failed because one of the two sides does not trust the other, or because they have no version of
/// TLS in common. Then the server has not read the request, and the next one will fail as well.
pub fn is_refused_by_tls(error: &ureq::Error) -> bool {
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(alert)) => is_about_trust(*alert),
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::NoCertificatesPresented,
        ) => true,
        _ => false,
    }
}

/// Whether a server that sends this alert refuses the certificate of its client, or the client's version of TLS.
fn is_about_trust(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::CertificateRequired
            | A::UnknownCA
            | A::AccessDenied
            | A::HandshakeFailure
            | A::ProtocolVersion
            | A::InsufficientSecurity
            | A::UnrecognisedName
    )
}

/// Why a request failed in TLS, in words that fit the cause. `None` if the cause is another one. `remedy` says how to
/// trust another authority.
pub fn tls_failure(error: &ureq::Error, remedy: &str) -> Option<String> {
    Some(match tls_error(error)? {
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
        rustls::Error::AlertReceived(alert) if is_about_trust(*alert) => {
            format!("the server refuses the certificate of this client, or requires one: {error}")
        }
        _ => format!("no TLS connection with the server: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_nothing_that_a_request_leaves_out() {
        for (url, with_user) in [
            ("http://a", false),
            ("https://a.example:443/b?c=d@e", false),
            ("HTTP://[::1]:7700", false),
            ("https://a_b:1/@", false),
            ("http://u@a", true),
            ("http://u:p@a:1/b", true),
            ("http://@127.0.0.1", true),
        ] {
            let uri = parse(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!(has_user(&uri), with_user, "{url}");
        }
        let no_hosts = [
            "",
            "/",
            "a",
            "a:1",
            "http:",
            "http://",
            "http://:7700",
            "http:///a",
            "http://u@:7700",
            "http://u@",
        ];
        let no_ports =
            ["http://a:", "http://a:0", "http://a:65536", "http://a:+1", "http://a:b", "http://a:1:2"];
        let no_urls = ["http://a#", "http://a/b#c", "http://a b", "http://[::1", "http://::1:7700"];
        for url in no_hosts.into_iter().chain(no_ports).chain(no_urls) {
            assert_eq!(parse(url), None, "{url}");
        }
    }

    #[test]
    fn only_this_machine_may_be_called_without_tls() {
        let of = |url| parse_url("url", url, "https://a");
        for (url, is_local) in [
            ("https://a", false),
            ("https://localhost", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]", true),
        ] {
            assert_eq!(of(url).unwrap().1, is_local, "{url}");
        }
        for url in ["http://a", "http://10.0.0.1", "ftp://localhost", "http://localhost.example"] {
            assert!(of(url).unwrap_err().starts_with("url must start with https://"), "{url}");
        }
        let message = of("https://:443").unwrap_err();
        assert_eq!(message, "url is not a URL such as https://a, with a host and without a fragment");
    }
}
