//! Tokens: strict verification, and a cache of verified tokens. The check of a signature takes about ten times as long
//! as the rest of a request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::jws::Jws;
use super::keys::KeyRing;
use super::permission::Permissions;
use crate::domain::matchmaking::Claims;
use crate::domain::matchmaking::rank::Finite;
use crate::domain::{Platform, PlayerUuid};
use crate::env::Clock;

/// Maximum size of a token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Assumed size of a token, in bytes: the cache holds at most this many bytes for each token in `cache_tokens`.
const TOKEN_BYTES_TYPICAL: usize = 1024;
/// Maximum number of keys that are tried for a token, if it has no key id or keys share its id. It bounds the cost of
/// a forged token. A token service seldom has more keys of one algorithm: the old, the current and the next one.
pub(super) const CANDIDATES_MAX: usize = 4;
/// Maximum number of refusals that are remembered. Each takes about 100 bytes.
const REFUSALS_MAX: usize = 10_000;
/// Later expiry times, in seconds since the epoch, seem to be in milliseconds. This is the year 5138; in milliseconds
/// it is the year 1973.
const EXP_PLAUSIBLE_MAX_S: f64 = 1e11;
/// The claim with the player's name (OpenID Connect).
const NAME_CLAIM: &str = "name";
/// Longest name of a player that is kept, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest ProductUserId of Epic, in characters. Those of today have 32.
pub const PRODUCT_USER_ID_CHARS_MAX: usize = 64;
/// Minimum time between two warnings of implausible expiry times, in milliseconds.
const WARNING_PAUSE_MS: i64 = 60_000;

/// A token with a right signature: the caller, its permissions, and when the token is valid.
#[derive(Debug)]
pub struct Token {
    /// The player. A token without a player can be used for operations that need none.
    pub player: Option<PlayerUuid>,
    /// The player's older, numeric id.
    pub player_id: Option<i64>,
    /// The platform of the player.
    pub platform: Option<Platform>,
    /// The player's name, from the claim `name`, cut to 64 characters.
    pub name: Option<Box<str>>,
    /// The player's ProductUserId at Epic, if the configured claim has it.
    pub product_user_id: Option<Box<str>>,
    /// The service, if the token names one and no player.
    pub service: Option<Box<Service>>,
    /// The numbers of the token that [`TokenSettings::number_claims`] name.
    pub claims: Claims,
    /// The permissions that the token grants.
    pub permissions: Permissions,
    /// When the token becomes valid, in ms since the epoch. Includes the leeway.
    begins_ms: i64,
    /// When the token expires, in ms since the epoch. Includes the leeway.
    pub ends_ms: i64,
    /// The generation of the keys with which the token was verified.
    generation: u64,
    raw: RawToken,
}

/// A service: a caller that is no player.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// Who issued its token (`iss`); empty if the token does not say.
    pub issuer: Box<str>,
    /// Its name at the issuer: `sub`, or `client_id` if there is none.
    pub subject: Box<str>,
}

/// The text of a token. The cache of verified tokens shares it.
#[derive(Clone, Default)]
struct RawToken(Arc<[u8]>);

impl fmt::Debug for RawToken {
    /// Shows nothing of the token: whoever reads it in a log could use it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(…)")
    }
}

impl Token {
    /// The token of a caller who needs none: it grants nothing and names nobody.
    pub(super) fn nobody() -> Self {
        Self {
            player: None,
            player_id: None,
            platform: None,
            name: None,
            product_user_id: None,
            service: None,
            claims: Claims::new(),
            permissions: Permissions::default(),
            begins_ms: i64::MIN,
            ends_ms: i64::MAX,
            generation: 0,
            raw: RawToken::default(),
        }
    }
}

/// Why a token was refused. The caller may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The token is longer than the server reads.
    TooLong,
    /// The token is not a signed JWT.
    Malformed,
    /// This header parameter is missing or has the wrong type.
    Header(&'static str),
    /// The header lists critical extensions.
    Critical,
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
    /// The configured player claim has the wrong type.
    Player,
    /// The configured permissions claim has the wrong type.
    Permissions,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {TOKEN_BYTES_MAX} bytes"),
            Self::Malformed => f.write_str("it is not a signed JWT"),
            Self::Header(name) => write!(f, "the {name} in its header is missing or has the wrong type"),
            Self::Critical => {
                f.write_str("its header names critical extensions, and the server supports none")
            }
            Self::Algorithm => f.write_str("its algorithm is not allowed or not that of its key"),
            Self::UnknownKey => f.write_str("there is no key for it"),
            Self::Signature => f.write_str("its signature is wrong"),
            Self::Expired => f.write_str("it has expired"),
            Self::NotYetValid => f.write_str("it is not valid yet"),
            Self::Issuer => f.write_str("it has another issuer"),
            Self::Audience => f.write_str("it has another audience"),
            Self::Claim(claim) => write!(f, "its {claim} claim is missing or has the wrong type"),
            Self::Player => f.write_str("its player claim is a list or an object, not a text"),
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
    /// The name of the claim with the player's ProductUserId at Epic; `None`: no claim has it.
    pub product_user_id_claim: Option<String>,
    /// The names of claims with numbers that the session rules read.
    pub number_claims: Vec<String>,
    /// Maximum number of verified tokens in the cache.
    pub cache_tokens: usize,
}

/// Weighs cached tokens by their size, so that long tokens cannot exceed the intended memory.
#[derive(Clone)]
struct ByLength;

impl Weighter<Arc<[u8]>, Arc<Token>> for ByLength {
    fn weight(&self, raw: &Arc<[u8]>, _: &Arc<Token>) -> u64 {
        (raw.len() + size_of::<Token>()) as u64
    }
}

/// A refusal that is remembered, and the generation of the keys that it was found with.
#[derive(Clone, Copy)]
struct Refusal {
    error: TokenError,
    generation: u64,
}

/// Verifies tokens. Caches those with a right signature, and remembers refusals.
pub struct Verifier {
    keys: Arc<KeyRing>,
    settings: TokenSettings,
    clock: Clock,
    verified: Cache<Arc<[u8]>, Arc<Token>, ByLength>,
    /// Refusals by the SHA-256 of the token, so that a client that repeats its request costs no further signature
    /// check.
    refused: Cache<[u8; 32], Refusal>,
    /// When the last warning of an implausible expiry time was logged, in ms since the epoch.
    warned_ms: AtomicI64,
}

impl Verifier {
    /// A verifier with these keys and an empty cache.
    pub fn new(keys: Arc<KeyRing>, settings: TokenSettings, clock: Clock) -> Self {
        let tokens = settings.cache_tokens.max(1);
        let verified = Cache::with_weighter(tokens, (tokens * TOKEN_BYTES_TYPICAL) as u64, ByLength);
        let refused = Cache::new(REFUSALS_MAX);
        Self { keys, settings, clock, verified, refused, warned_ms: AtomicI64::new(i64::MIN) }
    }

    /// Verifies a token, or finds it in the cache. A cached token, too, is refused as soon as it has expired.
    ///
    /// # Errors
    /// Why the token was refused.
    pub fn verify(&self, raw: &(impl AsRef<[u8]> + ?Sized)) -> Result<Arc<Token>, TokenError> {
        let raw = raw.as_ref();
        if raw.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let now_ms = self.clock.now_ms();
        if let Some(token) = self.find_cached(raw) {
            return check_times(token, now_ms);
        }
        let text = std::str::from_utf8(raw).map_err(|_| TokenError::Malformed)?;
        let token = self.verify_uncached(text)?;
        let raw = Arc::<[u8]>::from(raw);
        let token = Arc::new(Token { raw: RawToken(Arc::clone(&raw)), ..token });
        self.verified.insert(raw, Arc::clone(&token));
        check_times(token, now_ms)
    }

    /// Verifies a token again that was verified before: it may have expired, or its key may have been withdrawn.
    ///
    /// # Errors
    /// Why the token is refused now.
    pub fn verify_again(&self, token: &Arc<Token>) -> Result<Arc<Token>, TokenError> {
        if token.generation == self.keys.generation() {
            return check_times(Arc::clone(token), self.clock.now_ms());
        }
        self.verify(&*token.raw.0)
    }

    /// A token from the cache. Returns `None` if the token is not cached, is not valid yet, has expired, or was
    /// verified with keys that have been replaced.
    pub fn cached(&self, raw: &[u8], now_ms: i64) -> Option<Arc<Token>> {
        check_times(self.find_cached(raw)?, now_ms).ok()
    }

    /// A token from the cache, perhaps not valid at this time, if the keys have not been replaced since it was
    /// verified.
    fn find_cached(&self, raw: &[u8]) -> Option<Arc<Token>> {
        self.verified.get(raw).filter(|token| token.generation == self.keys.generation())
    }

    fn verify_uncached(&self, raw: &str) -> Result<Token, TokenError> {
        let jws = Jws::parse(raw)?;
        let kid = jws.kid.as_deref();
        let (keys, generation) = self.keys.current();
        let mut candidates = keys.candidates(kid, jws.algorithm).take(CANDIDATES_MAX).peekable();
        if candidates.peek().is_none() {
            // Not remembered: it costs little, and each such token asks for the keys to be read again.
            self.keys.unknown_key.notify_one();
            let is_known = kid.is_some_and(|kid| keys.has_kid(kid));
            return Err(if is_known { TokenError::Algorithm } else { TokenError::UnknownKey });
        }
        let digest = Sha256::digest(raw).into();
        if let Some(refusal) = self.refused.get(&digest).filter(|refusal| refusal.generation == generation) {
            return Err(refusal.error);
        }
        let claims = candidates.find_map(|key| jws.claims(key)).unwrap_or(Err(TokenError::Signature));
        claims.and_then(|claims| self.read_claims(&claims, generation)).inspect_err(|error| {
            self.refused.insert(digest, Refusal { error: *error, generation });
        })
    }

    /// Reads the claims of a token. The result depends on nothing but the claims and the settings, so that it can be
    /// remembered: the times are compared with the clock at each use.
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
        let ends_ms = claims.get("exp").and_then(as_ms).ok_or(TokenError::Claim("exp"))?;
        self.warn_of_implausible_expiry(claims);
        let player = read_player(claims.get(&self.settings.player_claim))?;
        let product_user_id =
            self.settings.product_user_id_claim.as_deref().and_then(|name| text(claims, name));
        // A longer text is none, and must not fill the cache of tokens.
        let product_user_id = product_user_id.filter(|id| id.len() <= PRODUCT_USER_ID_CHARS_MAX);
        Ok(Token {
            player,
            player_id: claims.get(&self.settings.player_id_claim).and_then(as_player_id),
            platform: text(claims, &self.settings.platform_claim).and_then(|name| name.parse().ok()),
            name: text(claims, NAME_CLAIM).and_then(read_name),
            product_user_id: product_user_id.map(Into::into),
            service: if player.is_none() { read_service(claims) } else { None },
            claims: read_numbers(claims, &self.settings.number_claims),
            permissions: read_permissions(claims.get(&self.settings.permissions_claim))?,
            begins_ms: begins_ms.saturating_sub(leeway_ms),
            ends_ms: ends_ms.saturating_add(leeway_ms),
            generation,
            raw: RawToken::default(),
        })
    }

    /// Warns if `exp` seems to be in milliseconds: such a token would be valid for thousands of years.
    fn warn_of_implausible_expiry(&self, claims: &Map<String, Value>) {
        let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
        if exp > EXP_PLAUSIBLE_MAX_S && self.may_warn(self.clock.now_ms()) {
            tracing::warn!(
                exp,
                "tokens are valid for thousands of years: their exp seems to be in milliseconds, and must be in seconds"
            );
        }
    }

    /// Whether a warning may be logged now: at most one in [`WARNING_PAUSE_MS`].
    fn may_warn(&self, now_ms: i64) -> bool {
        let is_due = |last_ms: i64| (now_ms >= last_ms.saturating_add(WARNING_PAUSE_MS)).then_some(now_ms);
        self.warned_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok()
    }
}

fn check_times(token: Arc<Token>, now_ms: i64) -> Result<Arc<Token>, TokenError> {
    if now_ms < token.begins_ms {
        Err(TokenError::NotYetValid)
    } else if now_ms >= token.ends_ms {
        Err(TokenError::Expired)
    } else {
        Ok(token)
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// Converts seconds since the epoch, which may have a fraction, to milliseconds.
pub(super) fn as_ms(value: &Value) -> Option<i64> {
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

/// Reads the player's uuid. A text that is not a uuid is a service. It can use operations that need no player.
fn read_player(claim: Option<&Value>) -> Result<Option<PlayerUuid>, TokenError> {
    match claim {
        Some(Value::Array(_) | Value::Object(_)) => Err(TokenError::Player),
        claim => Ok(claim.and_then(Value::as_str).and_then(|sub| Uuid::parse_str(sub).ok()).map(PlayerUuid)),
    }
}

/// Reads the service that a token without a player names.
fn read_service(claims: &Map<String, Value>) -> Option<Box<Service>> {
    let subject = ["sub", "client_id"].into_iter().find_map(|claim| text(claims, claim));
    let subject = subject.filter(|subject| !subject.is_empty())?.into();
    Some(Box::new(Service { issuer: text(claims, "iss").unwrap_or_default().into(), subject }))
}

/// Reads a player's name, without control characters.
fn read_name(name: &str) -> Option<Box<str>> {
    let name: String = name.chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect();
    Some(name.into_boxed_str()).filter(|name| !name.is_empty())
}

/// Reads claims with numbers. Another value counts as absent.
fn read_numbers(claims: &Map<String, Value>, names: &[String]) -> Claims {
    let number = |name: &String| Finite::new(claims.get(name)?.as_f64()?);
    names.iter().filter_map(|name| Some((name.clone(), number(name)?))).collect()
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

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod refusal_tests;
