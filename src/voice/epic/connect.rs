//! The keys that verify the ID tokens of Epic's Connect service. They are fetched when a token needs them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

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
/// Age from which the keys are fetched again, in milliseconds: a key that Epic withdraws stops to count.
const FRESH_MS: i64 = 600_000;
/// Age up to which keys count while they cannot be fetched again, in milliseconds.
const KEPT_MS: i64 = 3_600_000;
/// How long a token waits for a fetch. The fetch itself goes on.
const WAIT: Duration = Duration::from_secs(2);

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
    fetched: Arc<RwLock<Option<Fetched>>>,
    /// When the keys were last asked for, by the monotonic clock. A fetch holds the lock.
    asked_up_ms: Arc<Mutex<Option<i64>>>,
}

#[derive(Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    /// When these keys were asked for, by the monotonic clock.
    at_up_ms: i64,
}

impl ConnectTokens {
    /// Verifies tokens of players of a deployment, with the keys at this URL.
    pub fn new(url: String, deployment_id: String, clock: Clock) -> Self {
        Self { url, deployment_id, clock, fetched: Arc::default(), asked_up_ms: Arc::default() }
    }

    /// The ProductUserId that a token names. A token whose key is known waits for nobody.
    ///
    /// # Errors
    /// Why the token names nobody.
    pub async fn product_user_id(&self, token: &str) -> Result<String, Refusal> {
        if let Some(keys) = self.keys_up_to(FRESH_MS) {
            match self.verify(token, &keys) {
                Err(TokenError::UnknownKey) => {}
                verified => return verified.map_err(Refusal::Token),
            }
        }
        let fetched = tokio::time::timeout(WAIT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("there is no answer yet".into()));
        match (self.keys_up_to(KEPT_MS).map(|keys| self.verify(token, &keys)), fetched) {
            // Perhaps its key is new.
            (None | Some(Err(TokenError::UnknownKey)), Err(cause)) => Err(Refusal::Unavailable(cause)),
            (None, Ok(())) => Err(Refusal::Unavailable("the keys could not be fetched a moment ago".into())),
            (Some(verified), _) => verified.map_err(Refusal::Token),
        }
    }

    /// The keys, if they are not older than this.
    fn keys_up_to(&self, age_ms: i64) -> Option<Arc<KeySet>> {
        let fetched = self.fetched.read().unwrap_or_else(PoisonError::into_inner);
        let is_young = |fetched: &&Fetched| self.clock.up_ms() < fetched.at_up_ms.saturating_add(age_ms);
        fetched.as_ref().filter(is_young).map(|fetched| Arc::clone(&fetched.keys))
    }

    /// Fetches the keys, unless that was tried a moment ago. Who comes meanwhile waits for the same fetch.
    async fn fetch(&self) -> Result<(), String> {
        let mut asked_up_ms = Arc::clone(&self.asked_up_ms).lock_owned().await;
        let at_up_ms = self.clock.up_ms();
        if asked_up_ms.is_some_and(|last| at_up_ms < last.saturating_add(PAUSE_MS)) {
            return Ok(());
        }
        *asked_up_ms = Some(at_up_ms);
        let (url, fetched) = (self.url.clone(), Arc::clone(&self.fetched));
        // The fetch keeps the lock and stores the keys: if its caller goes away, its work is not lost.
        let fetch = tokio::task::spawn_blocking(move || {
            let _asked = asked_up_ms;
            let keys = fetch_keys(&url, CALL_TIMEOUT).map_err(|error| error.to_string());
            let keys = keys.inspect_err(|cause| {
                tracing::warn!(
                    %cause,
                    "the keys of connect_id_token cannot be fetched; keys that are known count for an hour"
                );
            })?;
            let mut fetched = fetched.write().unwrap_or_else(PoisonError::into_inner);
            *fetched = Some(Fetched { keys: Arc::new(keys), at_up_ms });
            Ok::<(), String>(())
        });
        fetch.await.map_err(|error| error.to_string())?
    }

    fn verify(&self, token: &str, keys: &KeySet) -> Result<String, TokenError> {
        let rules = IdTokenRules { issuer: ISSUER, claim: (DEPLOYMENT_CLAIM, &self.deployment_id) };
        verify_id_token(token, keys, &rules, self.clock.now_ms())
    }
}
