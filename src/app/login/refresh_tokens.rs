//! Refresh tokens: 32 random bytes, of which only the hash is stored. A token stays the same when it is used: published
//! clients save the one of their first login, and present it at their next start.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::app::passes::{KeyRange, Passes, Step};
use crate::domain::{Identity, PlayerUuid};
use crate::env::Entropy;
use crate::records::RefreshToken;
use crate::records::keys::{self, TokenHash};
use crate::store::{Batch, CommitError, Store, StoreError, Version, prefix_end};

/// Most refresh tokens of a player. Beyond that, the oldest end.
pub const TOKENS_PER_PLAYER_MAX: usize = 20;
/// A token ends this long after its creation, however often it is used: 180 days, in milliseconds.
const LIFETIME_MS_MAX: i64 = 180 * 24 * 3_600_000;
/// Length of a token, in bytes, before it is encoded.
const TOKEN_BYTES: usize = 32;
/// Tokens that a round of the sweep reads.
const SWEPT_AT_ONCE: usize = 512;
/// The time from the start of a sweep over all tokens until the next one starts, in milliseconds.
const SWEEP_EVERY_MS: i64 = 600_000;

/// The refresh tokens of all players.
pub struct RefreshTokens {
    store: Store,
    /// How long a token is valid after its last use, in milliseconds.
    ttl_ms: i64,
    sweeps: Passes,
    /// Valid tokens that the sweep under way has seen.
    valid: AtomicU64,
}

/// What a round of the sweep has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Whether it deleted tokens and more are left to look at.
    pub more: bool,
    /// The number of valid tokens, if the sweep has ended.
    pub valid: Option<u64>,
}

/// A new token. `Debug` masks it.
pub struct NewToken {
    /// The text for the client.
    pub text: String,
    /// The writes.
    pub batch: Batch,
    /// How many older tokens of the player end.
    pub ended: usize,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The hash of a token's text.
pub fn hash_of(text: &str) -> TokenHash {
    Sha256::digest(text).into()
}

impl RefreshTokens {
    /// Tokens that end `ttl_ms` milliseconds after their last use.
    pub fn new(store: Store, ttl_ms: i64) -> Self {
        Self { store, ttl_ms, sweeps: Passes::every_ms(SWEEP_EVERY_MS), valid: AtomicU64::new(0) }
    }

    /// A token that is still valid, and its version.
    pub async fn find(
        &self,
        hash: &TokenHash,
        now_ms: i64,
    ) -> Result<Option<(RefreshToken, Version)>, StoreError> {
        let Some(entry) = self.store.get(&keys::refresh_token(hash)).await? else { return Ok(None) };
        let token = RefreshToken::decode(&entry.value)?;
        Ok(self.is_valid(&token, now_ms).then_some((token, entry.version)))
    }

    /// Makes a token for a player, to be committed under the player's lock.
    pub async fn create(
        &self,
        identity: &Identity,
        client_id: Option<String>,
        now_ms: i64,
        entropy: &Entropy,
    ) -> Result<NewToken, StoreError> {
        let player = identity.player();
        let prefix = keys::refresh_tokens_of(player);
        let older = self.store.scan(&prefix, &prefix_end(&prefix), TOKENS_PER_PLAYER_MAX).await?;
        let ended = (older.len() + 1).saturating_sub(TOKENS_PER_PLAYER_MAX);
        let mut batch = Batch::default();
        for (key, _) in older.into_iter().take(ended) {
            if let Some(hash) = keys::parse_refresh_token_of(&key) {
                batch = batch.delete(keys::refresh_token(&hash));
            }
            batch = batch.delete(key);
        }
        let text = URL_SAFE_NO_PAD.encode(entropy.bytes::<TOKEN_BYTES>());
        let hash = hash_of(&text);
        let token =
            RefreshToken { identity: identity.clone(), client_id, created_ms: now_ms, used_ms: now_ms };
        let batch = batch
            .put(keys::refresh_token(&hash), token.encode())
            .put(keys::refresh_token_of(player, now_ms, &hash), "");
        Ok(NewToken { text, batch, ended })
    }

    /// The writes that end all tokens of a player, and how many these are. They conflict with a logout at the same
    /// moment, so that no token is counted twice.
    pub async fn end_all_of(&self, player: PlayerUuid) -> Result<(Batch, usize), StoreError> {
        let prefix = keys::refresh_tokens_of(player);
        let found = self.store.scan(&prefix, &prefix_end(&prefix), TOKENS_PER_PLAYER_MAX).await?;
        let (mut batch, tokens) = (Batch::default(), found.len());
        for (key, entry) in found {
            if let Some(hash) = keys::parse_refresh_token_of(&key) {
                batch = batch.delete(keys::refresh_token(&hash));
            }
            batch = batch.expect_version(key.clone(), entry.version).delete(key);
        }
        Ok((batch, tokens))
    }

    /// The writes of a use of a token, which moves its end.
    pub fn use_of(hash: &TokenHash, token: RefreshToken, version: Version, now_ms: i64) -> Batch {
        let key = keys::refresh_token(hash);
        let used = RefreshToken { used_ms: now_ms, ..token };
        Batch::default().expect_version(key.clone(), version).put(key, used.encode())
    }

    /// Ends a token. Returns whether there was one.
    pub async fn end(&self, hash: &TokenHash) -> Result<bool, StoreError> {
        let key = keys::refresh_token(hash);
        let Some(entry) = self.store.get(&key).await? else { return Ok(false) };
        let batch = deletion(hash, &RefreshToken::decode(&entry.value)?);
        match self.store.commit(batch).await {
            // The batch expects nothing, so that it ends a token that is used at this moment, too.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(true),
            Err(CommitError::Store(error)) => Err(error),
        }
    }

    /// The tokens that [`sweep`](Self::sweep) looks at next. `None` until a sweep is due.
    pub fn next_sweep(&self, up_ms: i64) -> Option<KeyRange> {
        self.sweeps.next(up_ms, || vec![keys::all_refresh_tokens()])
    }

    /// Looks at the next tokens of a sweep, and deletes those that have ended. `now_ms` is the time of a right clock,
    /// and `last_step_ms` when it was last set, in milliseconds since the epoch. A token that ends now may have been used
    /// a moment ago if the clock was set while the token was valid. So none is deleted then.
    pub async fn sweep(
        &self,
        next: KeyRange,
        now_ms: i64,
        last_step_ms: Option<i64>,
    ) -> Result<Swept, StoreError> {
        let deletes = last_step_ms.is_none_or(|step_ms| step_ms <= now_ms.saturating_sub(self.ttl_ms));
        let Step { found, has_more } = self.sweeps.read(&self.store, next, SWEPT_AT_ONCE).await?;
        let (mut batch, mut valid) = (Batch::default(), 0);
        for (key, entry) in &found {
            let token = RefreshToken::decode(&entry.value);
            match (keys::parse_refresh_token(key), token) {
                (Some(_), Ok(token)) if self.is_valid(&token, now_ms) => valid += 1,
                (Some(_), Ok(_)) if !deletes => {}
                (Some(hash), Ok(token)) => {
                    batch = batch.expect_version(key.clone(), entry.version).and(deletion(&hash, &token));
                }
                (_, Err(error)) => {
                    tracing::error!(%error, "a refresh token cannot be read; it is deleted");
                    batch = batch.delete(key.clone());
                }
                (None, Ok(_)) => {}
            }
        }
        let has_ended = !batch.is_empty();
        if has_ended && self.store.commit(batch).await.is_err() {
            // One of them has just been used or ended. The next sweep finds the others again.
            tracing::debug!("refresh tokens changed while they were swept");
        }
        let valid = self.valid.fetch_add(valid, Ordering::Relaxed) + valid;
        if has_more {
            return Ok(Swept { more: has_ended, valid: None });
        }
        self.valid.store(0, Ordering::Relaxed);
        Ok(Swept { more: false, valid: Some(valid) })
    }

    fn is_valid(&self, token: &RefreshToken, now_ms: i64) -> bool {
        let end_ms =
            token.used_ms.saturating_add(self.ttl_ms).min(token.created_ms.saturating_add(LIFETIME_MS_MAX));
        now_ms < end_ms
    }
}

/// The writes that end a token.
fn deletion(hash: &TokenHash, token: &RefreshToken) -> Batch {
    let player: PlayerUuid = token.identity.player();
    Batch::default().delete(keys::refresh_token(hash)).delete(keys::refresh_token_of(
        player,
        token.created_ms,
        hash,
    ))
}
