//! The keys that verify the ID tokens of Epic's Connect service. They are fetched when a token needs them.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::client::CALL_TIMEOUT;
use crate::auth::{IdTokenRules, KeySet, TokenError, fetch_keys, verify_id_token};
use crate::env::Clock;

/// Who issues ID tokens (`iss`), perhaps with a path behind it.
const ISSUER: &str = "https://api.epicgames.dev";
/// The claim with the deployment of the player.
const DEPLOYMENT_CLAIM: &str = "pfdid";
/// Minimum time between two fetches, in milliseconds, so that tokens with unknown keys cannot overload the service.
const PAUSE_MS: i64 = 10_000;

/// Why a token names nobody.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token is not good.
    Token(TokenError),
    /// The keys cannot be fetched.
    Unavailable(String),
}

/// Verifies ID tokens of Connect.
pub struct ConnectTokens {
    url: String,
    deployment_id: String,
    clock: Clock,
    fetched: Mutex<Fetched>,
}

#[derive(Default)]
struct Fetched {
    keys: Option<Arc<KeySet>>,
    /// When the keys were last asked for, by the monotonic clock.
    at_up_ms: Option<i64>,
}

impl ConnectTokens {
    /// Verifies tokens of players of a deployment, with the keys at this URL.
    pub fn new(url: String, deployment_id: String, clock: Clock) -> Self {
        Self { url, deployment_id, clock, fetched: Mutex::default() }
    }

    /// The ProductUserId that a token names.
    ///
    /// # Errors
    /// Why the token names nobody.
    pub async fn product_user_id(&self, token: &str) -> Result<String, Refusal> {
        let mut fetched = self.fetched.lock().await;
        let known = fetched.keys.clone().map(|keys| self.verify(token, &keys));
        match known {
            Some(Err(TokenError::UnknownKey)) if self.may_fetch(&fetched) => {}
            Some(verified) => return verified.map_err(Refusal::Token),
            None if self.may_fetch(&fetched) => {}
            None => return Err(Refusal::Unavailable("the keys could not be fetched a moment ago".into())),
        }
        fetched.at_up_ms = Some(self.clock.up_ms());
        let url = self.url.clone();
        let fetch = tokio::task::spawn_blocking(move || fetch_keys(&url, CALL_TIMEOUT));
        let keys = fetch.await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let keys = Arc::new(keys.map_err(|error| Refusal::Unavailable(error.to_string()))?);
        fetched.keys = Some(Arc::clone(&keys));
        drop(fetched);
        self.verify(token, &keys).map_err(Refusal::Token)
    }

    fn may_fetch(&self, fetched: &Fetched) -> bool {
        fetched.at_up_ms.is_none_or(|at_ms| self.clock.up_ms() >= at_ms.saturating_add(PAUSE_MS))
    }

    fn verify(&self, token: &str, keys: &KeySet) -> Result<String, TokenError> {
        let rules = IdTokenRules { issuer: ISSUER, claim: (DEPLOYMENT_CLAIM, &self.deployment_id) };
        verify_id_token(token, keys, &rules, self.clock.now_ms())
    }
}
