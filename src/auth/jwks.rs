//! Loads a JWK Set, and reloads it regularly, so that keys can be rotated without a restart.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::keys::{JWKS_BYTES_MAX, KeyError, KeyRing, KeySet, Origin};
use crate::https;

/// Timeout of a fetch, from the connection to the end of the response.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum time between two reloads, so that tokens with unknown key ids cannot overload the token service.
const PAUSE_MIN: Duration = Duration::from_secs(10);

/// How to trust the certificate authority of a token service.
const TRUST: &str = "set [auth] jwks_ca_file to the file of its certificate authority";

/// The mode bits of a file that let every user read or write it.
const OPEN_TO_OTHERS: u32 = 0o006;

/// The source of a JWK Set.
#[derive(Clone)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// A URL.
    Url {
        /// The URL: https, or http on this machine.
        url: String,
        /// File (PEM) of the certificate authorities to trust, instead of those of the system.
        ca_file: Option<PathBuf>,
    },
}

/// Hides the URL, since it may contain a password.
impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Url { .. } => f.write_str("Url(..)"),
        }
    }
}

/// The setting and its value, for messages, without parts that may be secret.
impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "[auth] jwks_file {}", path.display()),
            Self::Url { url, .. } => write!(f, "[auth] jwks_url {}", mask_url(url)),
        }
    }
}

impl JwksSource {
    /// Loads the keys. Blocks the thread for up to 10 s.
    ///
    /// # Errors
    /// If the source cannot be read or has no usable keys. The error names the source.
    pub fn load(&self) -> Result<KeySet, KeyError> {
        let loaded = match self {
            Self::File(path) => from_file(path),
            Self::Url { url, ca_file } => fetch(url, ca_file.as_deref(), FETCH_TIMEOUT)
                .and_then(|json| KeySet::from_jwks(&json, Origin::Network)),
        };
        loaded.map_err(|error| {
            let cause = match error {
                // The name of the source contains the path already.
                KeyError::File { cause, .. } => cause,
                other => other.to_string(),
            };
            KeyError::Source { name: self.to_string(), cause }
        })
    }
}

/// Fetches the keys of another service. Blocks the thread for up to this time.
///
/// # Errors
/// If the keys cannot be fetched, or none is usable.
pub fn fetch_keys(url: &str, timeout: Duration) -> Result<KeySet, KeyError> {
    fetch(url, None, timeout).and_then(|json| KeySet::from_jwks(&json, Origin::Network))
}

/// A URL without the parts that may be secret: user, password and query.
pub fn mask_url(url: &str) -> String {
    let scheme_end = url.find("://").map_or(0, |end| end + "://".len());
    let (scheme, rest) = url.split_at(scheme_end);
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{host}{path}{query}"),
        None => format!("{scheme}{authority}{path}{query}"),
    }
}

fn from_file(path: &Path) -> Result<KeySet, KeyError> {
    let failed = |cause: String| KeyError::File { path: path.into(), cause };
    let io = |error: std::io::Error| failed(error.to_string());
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode();
    let mut bytes = Vec::new();
    // One byte more than allowed, to tell a file that is too long from one that just fits.
    file.take(JWKS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > JWKS_BYTES_MAX {
        return Err(failed(format!("a JWK Set may have at most {JWKS_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("the file is not UTF-8 text".into()))?;
    let keys = KeySet::from_jwks(&text, Origin::File)?;
    // The group may have access: an operator chooses the group, for example for a mounted secret.
    if keys.holds_secret() && mode & OPEN_TO_OTHERS != 0 {
        let cause = "it has a shared secret, with which everyone who can read it can sign tokens; \
                     run `chmod 640` on it";
        return Err(failed(cause.into()));
    }
    Ok(keys)
}

/// Checks that keys from this URL can be trusted.
///
/// # Errors
/// What is wrong with the URL, and what is allowed.
pub fn check_jwks_url(url: &str) -> Result<(), String> {
    parse_url(url).map(drop)
}

/// Parses a URL. The flag says whether it names this machine.
fn parse_url(url: &str) -> Result<(http::Uri, bool), String> {
    https::parse_url("jwks_url", url, "https://tokens.example.com/.well-known/jwks.json")
}

fn fetch(url: &str, ca_file: Option<&Path>, timeout: Duration) -> Result<String, KeyError> {
    let failed = |cause: String| KeyError::Fetch(cause);
    let failed_request =
        |error: ureq::Error| failed(https::tls_failure(&error, TRUST).unwrap_or_else(|| error.to_string()));
    let (uri, local) = parse_url(url).map_err(failed)?;
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        // A redirect could lead to a URL that the check above would refuse.
        .max_redirects(0)
        .http_status_as_error(false);
    if local {
        // A proxy from the environment could send the plain request to another machine.
        config = config.proxy(None);
    }
    if uri.scheme_str() == Some("https") {
        config = config.tls_config(
            https::trust(ca_file).map_err(|cause| failed(format!("certificate authorities: {cause}")))?,
        );
    }
    let agent: ureq::Agent = config.build().into();
    let mut response = agent.get(uri).call().map_err(failed_request)?;
    let status = response.status();
    if status != http::StatusCode::OK {
        return Err(failed(format!("the status was {status}, not 200; redirects are not followed")));
    }
    let text = response.body_mut().with_config().limit(JWKS_BYTES_MAX).read_to_string();
    text.map_err(failed_request)
}

/// Reloads the keys at this interval, and soon after a token names an unknown key, until `stop` is cancelled. If a
/// reload fails, the current keys stay in force.
pub async fn refresh_forever(
    ring: Arc<KeyRing>,
    source: JwksSource,
    every: Duration,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause(&ring, every) => {}
        }
        let reading = source.clone();
        let read = tokio::task::spawn_blocking(move || reading.load());
        let read = tokio::select! {
            // A stop of the server does not wait for a slow token service.
            () = stop.cancelled() => return,
            read = read => read,
        };
        match read {
            Ok(Ok(keys)) => {
                if ring.replace(keys) {
                    tracing::info!("the keys that verify tokens were replaced");
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the keys could not be read again; the old ones stay in force")
            }
            Err(error) => tracing::error!(%error, "reading the keys failed because of a bug in the server"),
        }
    }
}

/// Waits until the next reload is due: at least [`PAUSE_MIN`], then until the interval is over or a token names an
/// unknown key.
async fn pause(ring: &KeyRing, every: Duration) {
    tokio::time::sleep(PAUSE_MIN.min(every)).await;
    let rest = every.saturating_sub(PAUSE_MIN);
    tokio::select! {
        () = tokio::time::sleep(rest) => {}
        () = ring.unknown_key.notified() => {}
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
