//! Keys that verify tokens. Each key has one algorithm, so that a token cannot choose how it is checked.

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

/// Maximum size of a JWK Set, in bytes.
pub const JWKS_BYTES_MAX: u64 = 256 * 1024;
/// Maximum number of keys in a set.
const KEYS_MAX: usize = 64;
/// Minimum length of an RSA modulus, in bits. Shorter ones are not secure.
const RSA_BITS_MIN: usize = 2048;
/// Maximum length of an RSA modulus that the library supports, in bits.
const RSA_BITS_MAX: usize = 4096;
/// Length of an Ed25519 public key, in bytes.
const ED25519_BYTES: usize = 32;
/// Minimum length of a shared secret, in bytes: the length of a SHA-256 hash (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

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
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The keys that verify tokens.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    /// SHA-256 of the document or secret, to compare two sets.
    digest: [u8; 32],
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.keys.iter().map(|key| (&key.kid, key.algorithm)).collect();
        f.debug_struct("KeySet").field("keys", &kids).finish_non_exhaustive()
    }
}

impl KeySet {
    /// A set with one shared secret.
    pub fn shared_secret(kid: &str, secret: &[u8]) -> Self {
        let key = VerifyingKey {
            kid: Some(kid.to_owned()),
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(secret),
        };
        Self { keys: vec![key], digest: Sha256::digest(secret).into() }
    }

    /// The keys of a JWK Set. Keys that have another use or an unsupported type are skipped and logged.
    ///
    /// # Errors
    /// If the document is not a JWK Set, a key in it is broken or too weak, two keys have the same id, or no key can
    /// be used.
    pub fn from_jwks(json: &str, origin: Origin) -> Result<Self, KeyError> {
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
                        KeyError::Unusable(format!("{}: it is not a valid {algorithm:?} key", named(jwk)))
                    })?;
                    keys.push(VerifyingKey { kid, algorithm, decoding });
                }
                Err(reason) => tracing::warn!(kid, reason, "a key of the JWK Set is skipped"),
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Unusable("no key in it can verify tokens; see the log for why".into()));
        }
        Ok(Self { keys, digest: Sha256::digest(json).into() })
    }

    /// Whether the set contains a shared secret, with which tokens can be signed too.
    pub(super) fn holds_secret(&self) -> bool {
        self.keys.iter().any(|key| key.algorithm == Algorithm::HS256)
    }

    /// The keys that can have signed a token with this header: the key with its key id or, if it has none, the keys of
    /// its algorithm.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        let matches = move |key: &&VerifyingKey| match kid {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => key.algorithm == algorithm,
        };
        self.keys.iter().filter(matches)
    }
}

/// The algorithm of a key. The inner error is the reason to skip the key; the outer error refuses the whole set, since
/// the key is too weak.
fn usable(jwk: &Jwk, origin: Origin) -> Result<Result<Algorithm, &'static str>, KeyError> {
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return Ok(Err("it is not for signatures"));
    }
    if jwk.common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
        return Ok(Err("it is not for the verification of signatures"));
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
            return Ok(Err("it is a shared secret, which must come from a file (jwks_file)"));
        }
        AlgorithmParameters::OctetKey(secret) => {
            if decoded(&secret.value).len() < SECRET_BYTES_MIN {
                return Err(weak(format!("a shared secret needs {SECRET_BYTES_MIN} bytes")));
            }
            (Algorithm::HS256, KeyAlgorithm::HS256)
        }
        _ => return Ok(Err("its type is not RSA, P-256, Ed25519 or oct")),
    };
    match jwk.common.key_algorithm {
        Some(named) if named != own.1 => {
            Ok(Err("its alg is not the supported one of its type: RS256, ES256, EdDSA or HS256"))
        }
        _ => Ok(Ok(own.0)),
    }
}

/// The key in the library's form, or `None` if it is broken. Verifies an empty signature to find a broken key when it
/// is loaded, not when the first token names it.
fn decoding(jwk: &Jwk, algorithm: Algorithm) -> Option<DecodingKey> {
    if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
        && decoded(&pair.x).len() != ED25519_BYTES
    {
        // The library panics on a shorter key and truncates a longer one.
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let checked = jsonwebtoken::crypto::verify("", b"", &decoding, algorithm);
    checked.is_ok().then_some(decoding)
}

/// The name of a key in messages.
fn named(jwk: &Jwk) -> String {
    jwk.common.key_id.as_ref().map_or_else(|| "a key without an id".into(), |kid| format!("key {kid:?}"))
}

/// Decodes base64url. Returns no bytes if the text is not valid.
fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}

/// The length of a base64url number in bits, without leading zeros.
fn bits(number: &str) -> usize {
    let bytes = decoded(number);
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].first().map_or(0, |first| (bytes.len() - zeros) * 8 - first.leading_zeros() as usize)
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
        Self { keys: RwLock::new(Arc::new(keys)), generation: AtomicU64::new(0), unknown_key: Notify::new() }
    }

    /// Replaces the keys, so that cached tokens are verified again. Returns false and changes nothing if the keys are
    /// the same.
    pub fn replace(&self, keys: KeySet) -> bool {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.digest != keys.digest;
        if changed {
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
