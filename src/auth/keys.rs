//! Keys that verify tokens. Each key has one algorithm, so that a token cannot choose how it is checked.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::jwk;
use super::signature::SignatureCheck;

/// Maximum size of a JWK Set, in bytes.
pub const JWKS_BYTES_MAX: u64 = 256 * 1024;
/// Maximum number of keys in a set.
const KEYS_MAX: usize = 64;

/// Where a set of keys came from. Shared secrets are accepted from a file only, since others may fetch what the
/// network delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file on this machine.
    File,
    /// A URL.
    Network,
}

/// Why keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read, written or used.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause, and what the user can do.
        cause: String,
    },
    /// The directory of the development key cannot be used.
    #[error("cannot use the data directory {dir}: {error}; name one that this user may write to")]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The source that the configuration names does not have usable keys.
    #[error("{name}: {cause}")]
    Source {
        /// The setting, and the path or URL.
        name: String,
        /// The cause, and what the user can do.
        cause: String,
    },
    /// A document has no usable keys.
    #[error("the JWK Set cannot be used: {0}")]
    Unusable(String),
    /// The JWK Set could not be fetched from its URL.
    #[error("the JWK Set could not be fetched: {0}")]
    Fetch(String),
}

/// A key that verifies tokens of one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) kid: Option<String>,
    pub(super) check: SignatureCheck,
}

/// An entry of a JWK Set that is not used.
#[derive(Clone, Debug)]
struct SkippedKey {
    /// Its position in the set, from 0.
    index: usize,
    /// Its key id, if it has one.
    kid: Option<String>,
    /// Why it is not used. Contains no key material.
    reason: String,
}

/// The keys that verify tokens.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    skipped: Vec<SkippedKey>,
    /// SHA-256 of the document or secret, to compare two sets.
    digest: [u8; 32],
}

/// A JWK Set. Its entries are read one by one, so that one that cannot be read does not affect the others.
#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.keys.iter().map(|key| (&key.kid, key.check.algorithm())).collect();
        f.debug_struct("KeySet").field("keys", &kids).finish_non_exhaustive()
    }
}

impl KeySet {
    /// A set with one shared secret.
    pub fn shared_secret(kid: &str, secret: &[u8]) -> Self {
        let key = VerifyingKey { kid: Some(kid.to_owned()), check: SignatureCheck::secret(secret) };
        Self { keys: vec![key], skipped: Vec::new(), digest: Sha256::digest(secret).into() }
    }

    /// A set with one RSA key: its modulus and exponent, without leading zeros.
    pub(super) fn rsa(kid: &str, modulus: Vec<u8>, exponent: Vec<u8>) -> Self {
        let digest = Sha256::digest([&modulus[..], &exponent].concat()).into();
        let key = VerifyingKey { kid: Some(kid.to_owned()), check: SignatureCheck::rsa(modulus, exponent) };
        Self { keys: vec![key], skipped: Vec::new(), digest }
    }

    /// The keys of both sets.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.digest = Sha256::digest([self.digest, other.digest].concat()).into();
        self.keys.extend(other.keys);
        self.skipped.extend(other.skipped);
        self
    }

    /// The keys of a JWK Set that can verify tokens. Other entries are skipped (RFC 7517, 5). Keys may share an id.
    ///
    /// # Errors
    /// If the document is not a JWK Set, has too many keys, or has no key that can be used.
    pub fn from_jwks(json: &str, origin: Origin) -> Result<Self, KeyError> {
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        if json.trim_start().starts_with("-----BEGIN ") {
            return Err(KeyError::Unusable("it is a PEM file; a JWK Set is JSON, {\"keys\": [...]}".into()));
        }
        // Only the position: the parser's message may contain a secret.
        let set: JwkSet = serde_json::from_str(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            KeyError::Unusable(format!("it is not a JWK Set; the error is at line {line}, column {column}"))
        })?;
        if set.keys.is_empty() {
            return Err(KeyError::Unusable("it has no keys".into()));
        }
        if set.keys.len() > KEYS_MAX {
            return Err(KeyError::Unusable(format!("it has more than {KEYS_MAX} keys")));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (index, entry) in set.keys.iter().enumerate() {
            match jwk::verifying_key(entry, origin) {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let kid = entry.get("kid").and_then(Value::as_str).map(str::to_owned);
                    skipped.push(SkippedKey { index, kid, reason });
                }
            }
        }
        let set = Self { keys, skipped, digest: Sha256::digest(json).into() };
        if set.keys.is_empty() {
            set.log_skipped();
            return Err(KeyError::Unusable("no key in it can verify tokens; see the log for why".into()));
        }
        Ok(set)
    }

    /// Logs the keys that are not used, a line for each.
    fn log_skipped(&self) {
        for SkippedKey { index, kid, reason } in &self.skipped {
            tracing::warn!(index, kid, reason, "a key of the JWK Set is skipped");
        }
    }

    /// Whether the set contains a shared secret, with which tokens can be signed too.
    pub(super) fn holds_secret(&self) -> bool {
        self.keys.iter().any(|key| key.check.algorithm() == Algorithm::HS256)
    }

    /// Whether a key has this id, whatever its algorithm.
    pub(super) fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that can have signed a token with this header: those of its algorithm that have its key id, if it names
    /// one.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        let matches = move |key: &&VerifyingKey| {
            key.check.algorithm() == algorithm && (kid.is_none() || key.kid.as_deref() == kid)
        };
        self.keys.iter().filter(matches)
    }
}

/// The current set of keys. The set is replaced as a whole. A generation number shows whether a cached token was
/// verified with the current set.
#[derive(Debug)]
pub struct KeyRing {
    keys: RwLock<Arc<KeySet>>,
    generation: AtomicU64,
    /// Notified when a token names an unknown key, since the keys may have been rotated.
    pub(super) unknown_key: Notify,
}

impl KeyRing {
    /// A ring with this set of keys.
    pub fn new(keys: KeySet) -> Self {
        keys.log_skipped();
        Self { keys: RwLock::new(Arc::new(keys)), generation: AtomicU64::new(0), unknown_key: Notify::new() }
    }

    /// Replaces the keys, so that cached tokens are verified again. Returns false and changes nothing if the keys are
    /// the same.
    pub fn replace(&self, keys: KeySet) -> bool {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.digest != keys.digest;
        if changed {
            keys.log_skipped();
            *current = Arc::new(keys);
            self.generation.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// The number of times that the keys were replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The current keys and their generation.
    pub(super) fn current(&self) -> (Arc<KeySet>, u64) {
        let current = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&current), self.generation())
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
