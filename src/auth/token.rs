//! Tokens: strict verification, and a cache of verified tokens. The check of a signature takes about ten times as long
//! as the rest of a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::keys::{KeyRing, VerifyingKey};
use super::permission::Permissions;
use crate::domain::{Platform, PlayerUuid};
use crate::env::Clock;

/// Maximum size of a token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Assumed size of a token, in bytes: the cache holds at most this many bytes for each token in `cache_tokens`.
const TOKEN_BYTES_TYPICAL: usize = 1024;
/// Maximum number of keys that are tried for a token without a key id. It bounds the cost of such a token.
const CANDIDATES_MAX: usize = 8;

/// A verified token: the caller, its permissions, and when the token expires.
#[derive(Debug)]
pub struct Token {
    /// The player. A token without a player can be used for operations that need none.
    pub player: Option<PlayerUuid>,
    /// The player's older, numeric id.
    pub player_id: Option<i64>,
    /// The platform of the player.
    pub platform: Option<Platform>,
    /// The permissions that the token grants.
    pub permissions: Permissions,
    /// When the token expires, in ms since the epoch. Includes the leeway.
    pub ends_ms: i64,
    /// The generation of the keys with which the token was verified.
    generation: u64,
}

/// Why a token was refused. The caller may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The token is not a signed JWT, or it is too long.
    Malformed,
    /// Its algorithm is not allowed, or differs from that of its key.
    Algorithm,
    /// There is no key with its key id, or no key of its algorithm.
    UnknownKey,
    /// Its signature is wrong.
    Signature,
    /// It has expired.
    Expired,
    /// It is not valid yet (`nbf`).
    NotYetValid,
    /// Its issuer is not the configured one.
    Issuer,
    /// Its audience does not contain the configured one.
    Audience,
    /// This claim is missing or has the wrong type.
    Claim(&'static str),
    /// The configured permissions claim has the wrong type.
    Permissions,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is not a signed JWT"),
            Self::Algorithm => f.write_str("its algorithm is not allowed or not that of its key"),
            Self::UnknownKey => f.write_str("there is no key for it"),
            Self::Signature => f.write_str("its signature is wrong"),
            Self::Expired => f.write_str("it has expired"),
            Self::NotYetValid => f.write_str("it is not valid yet"),
            Self::Issuer => f.write_str("it has another issuer"),
            Self::Audience => f.write_str("it has another audience"),
            Self::Claim(claim) => write!(f, "its {claim} claim is missing or has the wrong type"),
            Self::Permissions => f.write_str(
                "its permissions claim is neither a list of names nor a text of names separated by spaces",
            ),
        }
    }
}

/// How tokens are verified and read.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The issuer that tokens must have (`iss`). `None` accepts every issuer.
    pub issuer: Option<String>,
    /// The audience that tokens must name (`aud`). `None` accepts every audience.
    pub audience: Option<String>,
    /// Tolerance for differences between clocks.
    pub leeway: Duration,
    /// The name of the claim with the player's uuid.
    pub player_claim: String,
    /// The name of the claim with the permissions: a list, or a text separated by spaces.
    pub permissions_claim: String,
    /// The name of the claim with the player's older, numeric id.
    pub player_id_claim: String,
    /// The name of the claim with the platform.
    pub platform_claim: String,
    /// Maximum number of verified tokens in the cache.
    pub cache_tokens: usize,
}

/// Weighs cached tokens by their size, so that long tokens cannot exceed the intended memory.
#[derive(Clone)]
struct ByLength;

impl Weighter<Box<[u8]>, Arc<Token>> for ByLength {
    fn weight(&self, raw: &Box<[u8]>, _: &Arc<Token>) -> u64 {
        (raw.len() + size_of::<Token>()) as u64
    }
}

/// Verifies tokens and caches the verified ones.
pub struct Verifier {
    keys: Arc<KeyRing>,
    settings: TokenSettings,
    clock: Clock,
    verified: Cache<Box<[u8]>, Arc<Token>, ByLength>,
}

impl Verifier {
    /// A verifier with these keys and an empty cache.
    pub fn new(keys: Arc<KeyRing>, settings: TokenSettings, clock: Clock) -> Self {
        let tokens = settings.cache_tokens.max(1);
        let verified = Cache::with_weighter(tokens, (tokens * TOKEN_BYTES_TYPICAL) as u64, ByLength);
        Self { keys, settings, clock, verified }
    }

    /// Verifies a token, or finds it in the cache. A cached token, too, is refused as soon as it has expired.
    ///
    /// # Errors
    /// Why the token was refused. Refusals are not cached, since the missing key may be added later.
    pub fn verify(&self, raw: &(impl AsRef<[u8]> + ?Sized)) -> Result<Arc<Token>, TokenError> {
        let raw = raw.as_ref();
        if raw.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let now_ms = self.clock.now_ms();
        if let Some(token) = self.find_cached(raw) {
            return check_expiry(token, now_ms);
        }
        let text = std::str::from_utf8(raw).map_err(|_| TokenError::Malformed)?;
        let token = Arc::new(self.verify_uncached(text)?);
        let token = check_expiry(token, now_ms)?;
        self.verified.insert(raw.into(), Arc::clone(&token));
        Ok(token)
    }

    /// A token from the cache. Returns `None` if the token is not cached, has expired, or was verified with keys that
    /// have been replaced.
    pub fn cached(&self, raw: &[u8], now_ms: i64) -> Option<Arc<Token>> {
        check_expiry(self.find_cached(raw)?, now_ms).ok()
    }

    /// A token from the cache, perhaps expired, if the keys have not been replaced since it was verified.
    fn find_cached(&self, raw: &[u8]) -> Option<Arc<Token>> {
        self.verified.get(raw).filter(|token| token.generation == self.keys.generation())
    }

    fn verify_uncached(&self, raw: &str) -> Result<Token, TokenError> {
        let header = jsonwebtoken::decode_header(raw).map_err(|error| match error.kind() {
            // The JSON is valid, but the library does not know the algorithm.
            ErrorKind::Json(error) if error.is_data() => TokenError::Algorithm,
            _ => TokenError::Malformed,
        })?;
        if !matches!(header.alg, Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(TokenError::Algorithm);
        }
        // The header lists critical extensions (RFC 7515, 4.1.11). None are supported.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let (keys, generation) = self.keys.current();
        let mut refusal = TokenError::UnknownKey;
        for key in keys.candidates(header.kid.as_deref(), header.alg).take(CANDIDATES_MAX) {
            match checked_claims(raw, key, header.alg) {
                Ok(claims) => return self.read_claims(&claims, generation),
                Err(error) => refusal = error,
            }
        }
        if refusal == TokenError::UnknownKey {
            self.keys.unknown_key.notify_one();
        }
        Err(refusal)
    }

    fn read_claims(&self, claims: &Map<String, Value>, generation: u64) -> Result<Token, TokenError> {
        let TokenSettings { issuer, audience, .. } = &self.settings;
        if issuer.is_some() && claims.get("iss").and_then(Value::as_str) != issuer.as_deref() {
            return Err(TokenError::Issuer);
        }
        if audience.as_deref().is_some_and(|audience| !names_audience(claims.get("aud"), audience)) {
            return Err(TokenError::Audience);
        }
        let leeway_ms = i64::try_from(self.settings.leeway.as_millis()).unwrap_or(i64::MAX);
        let begins_ms = match claims.get("nbf") {
            Some(begins) => as_ms(begins).ok_or(TokenError::Claim("nbf"))?,
            None => i64::MIN,
        };
        if self.clock.now_ms().saturating_add(leeway_ms) < begins_ms {
            return Err(TokenError::NotYetValid);
        }
        let ends_ms = claims.get("exp").and_then(as_ms).ok_or(TokenError::Claim("exp"))?;
        Ok(Token {
            // A subject that is not a uuid is a server. It can use operations that need no player.
            player: text(claims, &self.settings.player_claim)
                .and_then(|sub| Uuid::parse_str(sub).ok())
                .map(PlayerUuid),
            player_id: claims.get(&self.settings.player_id_claim).and_then(as_player_id),
            platform: text(claims, &self.settings.platform_claim).and_then(|name| name.parse().ok()),
            permissions: read_permissions(claims.get(&self.settings.permissions_claim))?,
            ends_ms: ends_ms.saturating_add(leeway_ms),
            generation,
        })
    }
}

fn check_expiry(token: Arc<Token>, now_ms: i64) -> Result<Arc<Token>, TokenError> {
    if now_ms < token.ends_ms { Ok(token) } else { Err(TokenError::Expired) }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// The claims of a token, if its signature is right. The library checks only the signature here: time, issuer and
/// audience are checked in `read_claims`, with the clock of the server.
fn checked_claims(raw: &str, key: &VerifyingKey, named: Algorithm) -> Result<Map<String, Value>, TokenError> {
    if key.algorithm != named {
        return Err(TokenError::Algorithm);
    }
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let token = jsonwebtoken::decode::<Map<String, Value>>(raw, &key.decoding, &validation);
    token.map(|token| token.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    })
}

/// Converts seconds since the epoch, which may have a fraction, to milliseconds.
fn as_ms(value: &Value) -> Option<i64> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, so that a time out of range becomes the earliest or latest one"
    )]
    Some((seconds * 1000.0) as i64)
}

fn as_player_id(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn names_audience(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(name)) => name == audience,
        Some(Value::Array(names)) => names.iter().any(|name| name == audience),
        _ => false,
    }
}

/// Reads permissions: a list of names, or a text of names separated by spaces. A missing claim grants nothing.
fn read_permissions(claim: Option<&Value>) -> Result<Permissions, TokenError> {
    match claim {
        None => Ok(Permissions::default()),
        Some(Value::String(names)) => Ok(Permissions::from_names(names.split_ascii_whitespace())),
        Some(Value::Array(names)) => {
            let names = names
                .iter()
                .map(|name| name.as_str().ok_or(TokenError::Permissions))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Permissions::from_names(names))
        }
        Some(_) => Err(TokenError::Permissions),
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "claims_tests.rs"]
mod claims_tests;
