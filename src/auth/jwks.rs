//! Reading a JWK Set, and reading it again, so that keys can be rotated without a restart.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::keys::{JWKS_BYTES_MAX, KeyError, KeyRing, KeySet, Origin};

/// Longest wait for a fetch, whole.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest pause between two reads: unknown key ids must not become a flood at the token service.
const PAUSE_MIN: Duration = Duration::from_secs(10);

/// Where a JWK Set is.
#[derive(Clone, Debug)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// At a URL: https, or http on this machine.
    Url(String),
}

impl JwksSource {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// Where it cannot be read, or does not hold keys that can be used.
    pub fn load(&self) -> Result<KeySet, KeyError> {
        match self {
            Self::File(path) => {
                let failed =
                    |error: std::io::Error| KeyError::File { path: path.clone(), cause: error.to_string() };
                let file = std::fs::File::open(path).map_err(failed)?;
                let mut text = String::new();
                file.take(JWKS_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
                KeySet::from_jwks(&text, Origin::File)
            }
            Self::Url(url) => KeySet::from_jwks(&fetch(url)?, Origin::Network),
        }
    }
}

fn fetch(url: &str) -> Result<String, KeyError> {
    let failed = |cause: String| KeyError::Fetch(cause);
    let uri: http::Uri = url.parse().map_err(|_| failed("jwks_url is no URL".into()))?;
    let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if uri.scheme_str() != Some("https") && !(uri.scheme_str() == Some("http") && local) {
        return Err(failed("jwks_url must start with https://; http:// is for this machine only".into()));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        // A redirect could lead to where the rule above does not reach.
        .max_redirects(0)
        .build()
        .into();
    let mut response = agent.get(uri).call().map_err(|error| failed(error.to_string()))?;
    let text = response.body_mut().with_config().limit(JWKS_BYTES_MAX).read_to_string();
    text.map_err(|error| failed(error.to_string()))
}

/// Reads the keys again every so often, and soon after a token named a key that is not there, until `stop` turns
/// true. What fails keeps the keys there are.
pub async fn refresh_forever(
    ring: Arc<KeyRing>,
    source: JwksSource,
    every: Duration,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = crate::net::stopped(&mut stop) => return,
            () = pause(&ring, every) => {}
        }
        let reading = source.clone();
        match tokio::task::spawn_blocking(move || reading.load()).await {
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
