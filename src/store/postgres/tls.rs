//! Encryption on the way to the database: whom to trust, and who this is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How connections are encrypted, where `sslmode` and the server have them so. The server's certificate is always
/// checked, and must be for its name.
#[derive(Clone)]
pub struct Tls(pub(super) MakeRustlsConnect);

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the authorities in a file, or those that browsers trust, and shows a certificate where there is one.
    ///
    /// # Errors
    /// With the knob of the file that cannot be used, and why.
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
                let shown = config.with_client_auth_cert(chain, key);
                shown.map_err(|error| unusable("certificate_file", file, error))?
            }
            None => config.with_no_client_auth(),
        };
        Ok(Self(MakeRustlsConnect::new(config)))
    }
}

fn certificates(knob: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(unusable(knob, file, "it holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(knob, file, error)),
    }
}

fn unusable(knob: &str, file: &Path, error: impl fmt::Display) -> String {
    format!("[postgres] {knob} {}: {error}", file.display())
}
