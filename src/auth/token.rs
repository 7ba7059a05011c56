//! Tokens: verified strictly, and remembered, since a signature costs ten times what the rest of a request does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::keys::{Key, KeyRing};
use super::permission::Permissions;
use crate::domain::{Platform, PlayerUuid};
use crate::env::Clock;

/// Longest token, bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a token that the bound on cached tokens counts with.
const TOKEN_BYTES_TYPICAL: usize = 1024;
/// Keys that a token without a key id is tried with, so that it cannot buy a signature check per key.
const CANDIDATES_MAX: usize = 8;

/// A verified token: who is calling, with which permissions, until when.
#[derive(Debug)]
pub struct Token {
    /// The player; a token without one may do what needs no player.
    pub player: Option<PlayerUuid>,
    /// The player's older, numeric id.
    pub player_id: Option<i64>,
    /// The platform the player is on.
    pub platform: Option<Platform>,
    /// What the token grants.
    pub permissions: Permissions,
    /// When it ends, ms since the epoch, leeway included.
    pub ends_ms: i64,
    /// The generation of keys it was verified with.
    generation: u64,
}

/// Why a token was refused; safe to tell the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is no signed JWT, or longer than allowed.
    Malformed,
    /// Its algorithm is not allowed, or is not that of its key.
    Algorithm,
    /// No key has the id that it names.
    UnknownKey,
    /// Its signature is wrong.
    Signature,
    /// It has ended.
    Expired,
    /// It has not begun.
    NotYetValid,
    /// It comes from somebody else than the configured issuer.
    Issuer,
    /// It is meant for somebody else than the configured audience.
    Audience,
    /// A claim is missing or not of its type.
    Claim(&'static str),
    /// The claim of permissions, whatever its name, is not of its type.
    Permissions,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is no signed JWT"),
            Self::Algorithm => f.write_str("its algorithm is not that of its key"),
            Self::UnknownKey => f.write_str("no key verifies it"),
            Self::Signature => f.write_str("its signature is wrong"),
            Self::Expired => f.write_str("it has expired"),
            Self::NotYetValid => f.write_str("it is not valid yet"),
            Self::Issuer => f.write_str("it comes from another issuer"),
            Self::Audience => f.write_str("it is meant for another audience"),
            Self::Claim(claim) => write!(f, "its {claim} claim is missing or not of its type"),
            Self::Permissions => {
                f.write_str("its permissions are neither a list of names nor a text of them")
            }
        }
    }
}

/// How tokens are read.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Who must have issued them, if it matters.
    pub issuer: Option<String>,
    /// Whom they must be meant for, if it matters.
    pub audience: Option<String>,
    /// Tolerance for clocks that differ.
    pub leeway: Duration,
    /// The claim with the player's uuid.
    pub player_claim: String,
    /// The claim with the permissions: a list, or a text separated by spaces.
    pub permissions_claim: String,
    /// The claim with the player's older, numeric id.
    pub player_id_claim: String,
    /// The claim with the platform.
    pub platform_claim: String,
    /// Verified tokens to remember.
    pub cache_tokens: usize,
}

/// Weighs remembered tokens by their length, so that long ones cannot take more memory than was meant.
#[derive(Clone)]
struct ByLength;

impl Weighter<Box<[u8]>, Arc<Token>> for ByLength {
    fn weight(&self, raw: &Box<[u8]>, _: &Arc<Token>) -> u64 {
        (raw.len() + size_of::<Token>()) as u64
    }
}

/// Verifies tokens.
pub struct Verifier {
    keys: Arc<KeyRing>,
    settings: TokenSettings,
    clock: Clock,
    verified: Cache<Box<[u8]>, Arc<Token>, ByLength>,
}

impl Verifier {
    /// Verifies with these keys.
    pub fn new(keys: Arc<KeyRing>, settings: TokenSettings, clock: Clock) -> Self {
        let tokens = settings.cache_tokens.max(1);
        let verified = Cache::with_weighter(tokens, (tokens * TOKEN_BYTES_TYPICAL) as u64, ByLength);
        Self { keys, settings, clock, verified }
    }

    /// Verifies a token, or finds that it was verified before with the keys that are still in force. It is never
    /// good beyond its end, remembered or not.
    ///
    /// # Errors
    /// Why it was refused. Refusals are not remembered: keys may come.
    pub fn verify(&self, raw: &(impl AsRef<[u8]> + ?Sized)) -> Result<Arc<Token>, TokenError> {
        let raw = raw.as_ref();
        if raw.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let now_ms = self.clock.now_ms();
        if let Some(known) = self.known(raw, now_ms) {
            return known;
        }
        let text = std::str::from_utf8(raw).map_err(|_| TokenError::Malformed)?;
        let token = Arc::new(self.verify_anew(text)?);
        let token = still_good(token, now_ms)?;
        self.verified.insert(raw.into(), Arc::clone(&token));
        Ok(token)
    }

    /// A token that was verified before with the keys that are still in force, and is still good now.
    pub fn remembered(&self, raw: &[u8], now_ms: i64) -> Option<Arc<Token>> {
        self.known(raw, now_ms)?.ok()
    }

    /// What has become of a token that was verified before, where the keys are still in force.
    fn known(&self, raw: &[u8], now_ms: i64) -> Option<Result<Arc<Token>, TokenError>> {
        let token = self.verified.get(raw).filter(|token| token.generation == self.keys.generation())?;
        Some(still_good(token, now_ms))
    }

    fn verify_anew(&self, raw: &str) -> Result<Token, TokenError> {
        let header = jsonwebtoken::decode_header(raw).map_err(|error| match error.kind() {
            // A text in place of an algorithm that we know.
            ErrorKind::Json(error) if error.is_data() => TokenError::Algorithm,
            _ => TokenError::Malformed,
        })?;
        if !matches!(header.alg, Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(TokenError::Algorithm);
        }
        // Extensions that must be understood (RFC 7515, 4.1.11): we understand none.
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
            // A subject that is no uuid is a server: it may do what needs no player.
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

fn still_good(token: Arc<Token>, now_ms: i64) -> Result<Arc<Token>, TokenError> {
    if now_ms < token.ends_ms { Ok(token) } else { Err(TokenError::Expired) }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// The claims of a token whose signature is right. Time and parties are judged by us, with our clock.
fn checked_claims(raw: &str, key: &Key, named: Algorithm) -> Result<Map<String, Value>, TokenError> {
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

/// Seconds since the epoch, perhaps with a fraction, in milliseconds.
fn as_ms(value: &Value) -> Option<i64> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, which is right for far-off times"
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

/// Permissions: a list of texts, a text separated by spaces, or none.
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
