//! ID tokens of other services: they say who a player is there, and grant nothing here.

use serde_json::Value;

use super::jws::Jws;
use super::keys::KeySet;
use super::token::{CANDIDATES_MAX, TOKEN_BYTES_MAX, TokenError, as_ms};

/// Tolerance for differences between clocks, in milliseconds.
const LEEWAY_MS: i64 = 30_000;

/// What an ID token must say, beside its times.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenRules<'a> {
    /// Its issuer is this one, or begins with this one and a slash.
    pub issuer: &'a str,
    /// A claim, and the text that it must have.
    pub claim: (&'static str, &'a str),
}

/// Verifies an ID token, and returns its subject.
///
/// # Errors
/// Why the token was refused.
pub fn verify_id_token(
    raw: &str,
    keys: &KeySet,
    rules: &IdTokenRules<'_>,
    now_ms: i64,
) -> Result<String, TokenError> {
    if raw.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let jws = Jws::parse(raw)?;
    let kid = jws.kid.as_deref();
    let mut candidates = keys.candidates(kid, jws.algorithm).take(CANDIDATES_MAX).peekable();
    if candidates.peek().is_none() {
        let is_known = kid.is_some_and(|kid| keys.has_kid(kid));
        return Err(if is_known { TokenError::Algorithm } else { TokenError::UnknownKey });
    }
    let claims = candidates.find_map(|key| jws.claims(key)).unwrap_or(Err(TokenError::Signature))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let is_issuer = |issuer: &str| {
        issuer.strip_prefix(rules.issuer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !text("iss").is_some_and(is_issuer) {
        return Err(TokenError::Issuer);
    }
    let (claim, expected) = rules.claim;
    if text(claim) != Some(expected) {
        return Err(TokenError::Claim(claim));
    }
    let ends_ms = claims.get("exp").and_then(as_ms).ok_or(TokenError::Claim("exp"))?;
    if now_ms >= ends_ms.saturating_add(LEEWAY_MS) {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        let begins_ms = claims.get(name).map(|begins| as_ms(begins).ok_or(TokenError::Claim(name)));
        if begins_ms.transpose()?.is_some_and(|begins_ms| now_ms < begins_ms.saturating_sub(LEEWAY_MS)) {
            return Err(TokenError::NotYetValid);
        }
    }
    text("sub").filter(|subject| !subject.is_empty()).map(str::to_owned).ok_or(TokenError::Claim("sub"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::Origin;
    use crate::auth::test_keys::{TestKey, jwks};

    const RULES: IdTokenRules<'_> = IdTokenRules { issuer: "https://a", claim: ("pfdid", "d") };
    const NOW_MS: i64 = 1_000_000;

    fn claims() -> Value {
        json!({ "iss": "https://a", "pfdid": "d", "exp": 1_001, "iat": 999, "sub": "0002" })
    }

    #[test]
    fn only_a_token_that_says_all_of_it_names_a_subject() {
        let keys = [TestKey::rsa(), TestKey::p256(1)];
        let set = KeySet::from_jwks(&jwks(&keys.iter().collect::<Vec<_>>()), Origin::Network).unwrap();
        let verify = |raw: &str| verify_id_token(raw, &set, &RULES, NOW_MS);
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            verify(&keys[0].token(&claims))
        };
        for key in &keys {
            assert_eq!(verify(&key.token(&claims())).as_deref(), Ok("0002"));
        }
        assert_eq!(with("iss", json!("https://a/auth/v1")).as_deref(), Ok("0002"));
        assert_eq!(with("exp", json!(971)).as_deref(), Ok("0002"), "the clocks differ a little");
        for (name, value, error) in [
            ("iss", json!("https://a.example"), TokenError::Issuer),
            ("iss", json!(null), TokenError::Issuer),
            ("pfdid", json!("other"), TokenError::Claim("pfdid")),
            ("pfdid", json!(null), TokenError::Claim("pfdid")),
            ("exp", json!(970), TokenError::Expired),
            ("exp", json!(null), TokenError::Claim("exp")),
            ("iat", json!(1_031), TokenError::NotYetValid),
            ("nbf", json!(1_031), TokenError::NotYetValid),
            ("sub", json!(""), TokenError::Claim("sub")),
            ("sub", json!(7), TokenError::Claim("sub")),
        ] {
            assert_eq!(with(name, value.clone()), Err(error), "{name} {value}");
        }
    }

    #[test]
    fn a_forged_token_names_nobody() {
        let key = TestKey::p256(1);
        let set = KeySet::from_jwks(&jwks(&[&key]), Origin::Network).unwrap();
        let verify = |raw: &str| verify_id_token(raw, &set, &RULES, NOW_MS);
        let good = key.token(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let other = key.token(&json!({ "sub": "0003" }));
        let body = other.split('.').nth(1).unwrap();
        assert_eq!(verify(&format!("{header}.{body}.{signature}")), Err(TokenError::Signature));
        assert_eq!(verify(&format!("{message}.AAAA")), Err(TokenError::Signature));
        assert_eq!(verify(message), Err(TokenError::Malformed));
        assert_eq!(verify(&TestKey::p256(2).token(&claims())), Err(TokenError::UnknownKey));
        let none = "eyJhbGciOiJub25lIn0.e30.";
        assert_eq!(verify(none), Err(TokenError::Algorithm));
        assert_eq!(verify(&"x".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
        // The key of the set, as a shared secret.
        let secret = TestKey::secret("p256-1", key.jwk().to_string().as_bytes());
        assert_eq!(verify(&secret.token(&claims())), Err(TokenError::Algorithm));
    }
}
