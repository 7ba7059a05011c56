//! Reading a JWK Set, and reading it again, so that keys can be rotated without a restart.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::keys::{JWKS_BYTES_MAX, KeyError, KeyRing, KeySet, Origin};

/// Longest wait for a fetch, whole.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest pause between two reads: unknown key ids must not become a flood at the token service.
const PAUSE_MIN: Duration = Duration::from_secs(10);

/// The bits of a file's mode that let everyone read or write it.
const OPEN_TO_OTHERS: u32 = 0o006;

/// Where a JWK Set is.
#[derive(Clone)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// At a URL: https, or http on this machine.
    Url(String),
}

/// Without the URL: it may carry a password.
impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Url(_) => f.write_str("Url(..)"),
        }
    }
}

/// The knob that names it, for messages, without what may be secret.
impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "[auth] jwks_file {}", path.display()),
            Self::Url(url) => write!(f, "[auth] jwks_url {}", mask_url(url)),
        }
    }
}

impl JwksSource {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// Where it cannot be read, or does not hold keys that can be used; the error names it.
    pub fn load(&self) -> Result<KeySet, KeyError> {
        let loaded = match self {
            Self::File(path) => from_file(path),
            Self::Url(url) => {
                fetch(url, FETCH_TIMEOUT).and_then(|json| KeySet::from_jwks(&json, Origin::Network))
            }
        };
        loaded.map_err(|error| {
            let cause = match error {
                // The path is in the name already.
                KeyError::File { cause, .. } => cause,
                other => other.to_string(),
            };
            KeyError::Source { name: self.to_string(), cause }
        })
    }
}

/// A URL without what may be secret in it: user, password, query.
pub fn mask_url(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |end| end + "://".len()));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority =
        authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
    format!("{scheme}{authority}{path}{query}")
}

fn from_file(path: &Path) -> Result<KeySet, KeyError> {
    let failed = |cause: String| KeyError::File { path: path.into(), cause };
    let io = |error: std::io::Error| failed(error.to_string());
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode();
    let mut bytes = Vec::new();
    // The byte too many tells a set that was cut from one that just fits.
    file.take(JWKS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > JWKS_BYTES_MAX {
        return Err(failed(format!("a JWK Set takes at most {JWKS_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("a JWK Set is UTF-8 text".into()))?;
    let keys = KeySet::from_jwks(&text, Origin::File)?;
    // A group is somebody's choice, as where a secret is mounted; everyone is nobody's.
    if keys.holds_secret() && mode & OPEN_TO_OTHERS != 0 {
        let cause = "it holds a shared secret, with which anyone signs tokens who reads it; chmod 640 it";
        return Err(failed(cause.into()));
    }
    Ok(keys)
}

/// Refuses a URL that keys cannot be trusted to come from.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn check_jwks_url(url: &str) -> Result<(), String> {
    parse_url(url).map(drop)
}

/// A URL, and whether it leads to this machine.
fn parse_url(url: &str) -> Result<(http::Uri, bool), String> {
    let uri: Option<http::Uri> = url.parse().ok().filter(|uri: &http::Uri| uri.scheme().is_some());
    let uri = uri.ok_or("jwks_url is no URL, as in https://tokens.example.com/.well-known/jwks.json")?;
    let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if uri.scheme_str() != Some("https") && !(uri.scheme_str() == Some("http") && local) {
        return Err("jwks_url must start with https://; http:// is for this machine only".into());
    }
    Ok((uri, local))
}

fn fetch(url: &str, timeout: Duration) -> Result<String, KeyError> {
    let failed = |cause: String| KeyError::Fetch(cause);
    let (uri, local) = parse_url(url).map_err(failed)?;
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        // A redirect could lead to where the rule above does not reach.
        .max_redirects(0)
        .http_status_as_error(false);
    if local {
        // Nor may a proxy of the environment carry it off this machine.
        config = config.proxy(None);
    }
    let agent: ureq::Agent = config.build().into();
    let mut response = agent.get(uri).call().map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    if status != http::StatusCode::OK {
        return Err(failed(format!("the answer was {status}, not 200; redirects are not followed")));
    }
    let text = response.body_mut().with_config().limit(JWKS_BYTES_MAX).read_to_string();
    text.map_err(|error| failed(error.to_string()))
}

/// Reads the keys again every so often, and soon after a token named a key that is not there, until `stop` is
/// cancelled. What fails keeps the keys there are.
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
            // A server that stops does not wait for a token service that is slow.
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
            Err(error) => tracing::error!(%error, "reading the keys failed by our fault"),
        }
    }
}

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
