//! TLS for connections to the database: trusted certificate authorities and the client certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The TLS configuration of connections. The parameter `sslmode` of the address decides whether TLS is used. With TLS,
/// the server's certificate is always verified, including its host name.
#[derive(Clone)]
pub struct PostgresTls(pub(super) MakeRustlsConnect);

impl fmt::Debug for PostgresTls {
    /// Omits the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresTls")
    }
}

impl PostgresTls {
    /// Trusts the certificate authorities in `ca_file` (PEM), or those that browsers trust if there is none.
    /// `certificate` is the client certificate and its private key (PEM), for servers that require mutual TLS.
    ///
    /// # Errors
    /// A message that names the setting and the file that cannot be used, with the cause.
    pub fn new(ca_file: Option<&Path>, certificate: Option<(&Path, &Path)>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(file) => {
                for authority in certificates("ca_file", file)? {
                    roots.add(authority).map_err(|error| unusable("ca_file", file, error))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match certificate {
            Some((file, key_file)) => {
                let chain = certificates("certificate_file", file)?;
                let key = PrivateKeyDer::from_pem_file(key_file);
                let key = key.map_err(|error| unusable("key_file", key_file, error))?;
                let config = config.with_client_auth_cert(chain, key);
                config.map_err(|error| unusable("certificate_file", file, error))?
            }
            None => config.with_no_client_auth(),
        };
        Ok(Self(MakeRustlsConnect::new(config)))
    }
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => {
            Err(unusable(setting, file, "it holds no certificate in PEM format"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(setting, file, error)),
    }
}

fn unusable(setting: &str, file: &Path, error: impl fmt::Display) -> String {
    format!("[postgres] {setting} {}: {error}", file.display())
}
