//! Keys to verify tokens with. Each is pinned to one algorithm, so that no token can choose how it is checked.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// Largest JWK Set, bytes.
pub const JWKS_BYTES_MAX: u64 = 256 * 1024;
/// Most keys of a set.
const KEYS_MAX: usize = 64;
/// Shortest RSA modulus, bytes: 2048 bits.
const RSA_MODULUS_BYTES_MIN: usize = 256;
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
    /// Where the document is no JWK Set, a key in it is too weak, two have one id, or none can be used.
    pub fn from_jwks(json: &str, origin: Origin) -> Result<Self, KeyError> {
        let set: JwkSet =
            serde_json::from_str(json).map_err(|error| KeyError::Unusable(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyError::Unusable(format!("it has more than {KEYS_MAX} keys")));
        }
        let mut kids = HashSet::new();
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let kid = jwk.common.key_id.clone();
            if kid.as_ref().is_some_and(|kid| !kids.insert(kid.clone())) {
                return Err(KeyError::Unusable(format!("two of its keys have the id {kid:?}")));
            }
            match usable(jwk, origin)? {
                Ok(algorithm) => {
                    let decoding = DecodingKey::from_jwk(jwk)
                        .map_err(|error| KeyError::Unusable(format!("key {kid:?}: {error}")))?;
                    keys.push(Key { kid, algorithm, decoding });
                }
                Err(reason) => tracing::warn!(?kid, reason, "a key of the JWK Set is skipped"),
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Unusable("no key in it can verify tokens; see the log for why".into()));
        }
        Ok(Self { keys, digest: Sha256::digest(json).into() })
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
    let weak = |what: String| KeyError::Unusable(format!("key {:?}: {what}", jwk.common.key_id));
    let own = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            if decoded_len(&rsa.n) < RSA_MODULUS_BYTES_MIN {
                return Err(weak("an RSA key needs 2048 bits".into()));
            }
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
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
            if decoded_len(&secret.value) < SECRET_BYTES_MIN {
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

/// Bytes that a base64url text without padding holds, leading zero bytes aside.
fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').trim_start_matches('A').len() * 3 / 4 + usize::from(text.starts_with('A'))
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
