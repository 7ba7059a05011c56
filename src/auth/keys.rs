//! Keys to verify tokens with. Each is pinned to one algorithm, so that no token can choose how it is checked.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// Largest JWK Set, bytes.
pub const JWKS_BYTES_MAX: u64 = 256 * 1024;
/// Most keys of a set.
const KEYS_MAX: usize = 64;
/// Shortest RSA modulus that can be trusted.
const RSA_BITS_MIN: usize = 2048;
/// Longest RSA modulus that the library verifies with.
const RSA_BITS_MAX: usize = 4096;
/// Length of an Ed25519 key.
const ED25519_BYTES: usize = 32;
/// Shortest shared secret, bytes: as long as the hash that it keys.
const SECRET_BYTES_MIN: usize = 32;

/// Where a set of keys came from. A shared secret that can be fetched is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of this machine.
    File,
    /// The network.
    Network,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause, and what to do.
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
    /// A source that the configuration names has none.
    #[error("{name}: {cause}")]
    Source {
        /// The knob, and the path or URL.
        name: String,
        /// The cause, and what to do.
        cause: String,
    },
    /// A document does not hold keys that can be used.
    #[error("the JWK Set cannot be used: {0}")]
    Unusable(String),
    /// The network did not deliver.
    #[error("the JWK Set could not be fetched: {0}")]
    Fetch(String),
}

/// A key, pinned to its algorithm.
#[derive(Clone)]
pub struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// Keys that tokens may be signed with.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Tells two sets apart.
    digest: [u8; 32],
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.keys.iter().map(|key| (&key.kid, key.algorithm)).collect();
        f.debug_struct("KeySet").field("keys", &kids).finish_non_exhaustive()
    }
}

impl KeySet {
    /// The set of one shared secret.
    pub fn shared_secret(kid: &str, secret: &[u8]) -> Self {
        let key = Key {
            kid: Some(kid.to_owned()),
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(secret),
        };
        Self { keys: vec![key], digest: Sha256::digest(secret).into() }
    }

    /// The keys of a JWK Set. Keys that are not for us (other uses, other types) are skipped and logged.
    ///
    /// # Errors
    /// Where the document is no JWK Set, a key in it is broken or too weak, two have one id, or none can be used.
    pub fn from_jwks(json: &str, origin: Origin) -> Result<Self, KeyError> {
        if json.trim_start().starts_with("-----BEGIN ") {
            return Err(KeyError::Unusable("it is a PEM file; a JWK Set is JSON, {\"keys\": [...]}".into()));
        }
        // The parser's own words may quote a secret; the place is enough.
        let set: JwkSet = serde_json::from_str(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            KeyError::Unusable(format!("it is no JWK Set, from line {line}, column {column} on"))
        })?;
        if set.keys.is_empty() {
            return Err(KeyError::Unusable("it has no keys".into()));
        }
        if set.keys.len() > KEYS_MAX {
            return Err(KeyError::Unusable(format!("it has more than {KEYS_MAX} keys")));
        }
        let mut kids = HashSet::new();
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let kid = jwk.common.key_id.clone();
            if let Some(kid) = &kid
                && !kids.insert(kid.clone())
            {
                return Err(KeyError::Unusable(format!("two of its keys have the id {kid:?}")));
            }
            match usable(jwk, origin)? {
                Ok(algorithm) => {
                    let decoding = decoding(jwk, algorithm).ok_or_else(|| {
                        KeyError::Unusable(format!("{}: it is no {algorithm:?} key", named(jwk)))
                    })?;
                    keys.push(Key { kid, algorithm, decoding });
                }
                Err(reason) => tracing::warn!(kid, reason, "a key of the JWK Set is skipped"),
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Unusable("no key in it can verify tokens; see the log for why".into()));
        }
        Ok(Self { keys, digest: Sha256::digest(json).into() })
    }

    /// Whether a key of the set signs as well as it verifies.
    pub(super) fn holds_secret(&self) -> bool {
        self.keys.iter().any(|key| key.algorithm == Algorithm::HS256)
    }

    /// The keys that may have signed a token with this header: the one it names, else those of its algorithm.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let named = move |key: &&Key| match kid {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => key.algorithm == algorithm,
        };
        self.keys.iter().filter(named)
    }
}

/// The algorithm that a key is pinned to; a reason where it is not for us, an error where it is too weak to trust.
fn usable(jwk: &Jwk, origin: Origin) -> Result<Result<Algorithm, &'static str>, KeyError> {
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return Ok(Err("it is not for signatures"));
    }
    if jwk.common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
        return Ok(Err("it is not for verifying"));
    }
    let weak = |what: String| KeyError::Unusable(format!("{}: {what}", named(jwk)));
    let own = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => match bits(&rsa.n) {
            ..RSA_BITS_MIN => return Err(weak(format!("an RSA key needs {RSA_BITS_MIN} bits"))),
            RSA_BITS_MIN..=RSA_BITS_MAX => (Algorithm::RS256, KeyAlgorithm::RS256),
            _ => return Ok(Err("its modulus is longer than 4096 bits")),
        },
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) if origin == Origin::Network => {
            return Ok(Err("it is a shared secret, and these are taken from a file only"));
        }
        AlgorithmParameters::OctetKey(secret) => {
            if decoded(&secret.value).len() < SECRET_BYTES_MIN {
                return Err(weak(format!("a shared secret needs {SECRET_BYTES_MIN} bytes")));
            }
            (Algorithm::HS256, KeyAlgorithm::HS256)
        }
        _ => return Ok(Err("its type is none of RSA, P-256, Ed25519 and oct")),
    };
    match jwk.common.key_algorithm {
        Some(named) if named != own.1 => Ok(Err("its alg is none of RS256, ES256, EdDSA and HS256")),
        _ => Ok(Ok(own.0)),
    }
}

/// The key itself, where it is one of its algorithm: what no signature could be checked with must not be found
/// out by the first token that names it.
fn decoding(jwk: &Jwk, algorithm: Algorithm) -> Option<DecodingKey> {
    if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
        && decoded(&pair.x).len() != ED25519_BYTES
    {
        // The library panics on a shorter one and cuts a longer one.
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let checked = jsonwebtoken::crypto::verify("", b"", &decoding, algorithm);
    checked.is_ok().then_some(decoding)
}

/// A key, for messages.
fn named(jwk: &Jwk) -> String {
    jwk.common.key_id.as_ref().map_or_else(|| "a key without an id".into(), |kid| format!("key {kid:?}"))
}

/// The bytes of a base64url text; none where it is not one.
fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}

/// The length of a number in base64url, in bits.
fn bits(number: &str) -> usize {
    let bytes = decoded(number);
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].first().map_or(0, |first| (bytes.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// The keys in force. They are replaced whole; a number tells verified tokens that they must be looked at again.
#[derive(Debug)]
pub struct KeyRing {
    keys: RwLock<Arc<KeySet>>,
    generation: AtomicU64,
    /// Notified when a token names a key that is not here: perhaps the keys were just rotated.
    pub(super) unknown_key: Notify,
}

impl KeyRing {
    /// A ring of these keys.
    pub fn new(keys: KeySet) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)), generation: AtomicU64::new(0), unknown_key: Notify::new() }
    }

    /// Replaces the keys; tokens verified with the old ones are verified again. The same keys change nothing.
    pub fn replace(&self, keys: KeySet) -> bool {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.digest != keys.digest;
        if changed {
            *current = Arc::new(keys);
            self.generation.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// How often the keys were replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The keys in force, with their generation.
    pub(super) fn current(&self) -> (Arc<KeySet>, u64) {
        let current = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&current), self.generation())
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
