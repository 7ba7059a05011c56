//! Refusals of tokens: their causes, and which of them are remembered.

use serde_json::json;

use super::tests::{Fixture, NOW_S, claims, claims_with, key_set, secret};
use super::*;
use crate::auth::test_keys::TestKey;

#[test]
fn a_header_parameter_of_a_wrong_type_is_named() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let headed = |name: &str, value: Value| {
        let mut header = json!({ "alg": "HS256", "kid": key.kid });
        header[name] = value;
        key.token_headed(&header, &claims())
    };
    for name in ["typ", "cty", "kid", "jku", "x5u", "x5t", "x5t#S256"] {
        for wrong in [json!(1), json!(["x"]), json!({}), json!(true)] {
            fixture.refuses(&headed(name, wrong), TokenError::Header(name));
        }
    }
    for wrong in [json!("MII"), json!([1]), json!({})] {
        fixture.refuses(&headed("x5c", wrong), TokenError::Header("x5c"));
    }
    fixture.refuses(&headed("jwk", json!("x")), TokenError::Header("jwk"));
    for name in ["typ", "cty", "kid", "jku", "x5u", "x5t", "x5t#S256", "x5c", "jwk", "crit", "other"] {
        fixture.accepts(&headed(name, Value::Null));
    }
    assert!(TokenError::Header("kid").to_string().contains("kid"));
    assert!(TokenError::TooLong.to_string().contains("16384 bytes"));
}

#[test]
fn a_refusal_is_remembered_until_the_keys_change() {
    let (old, new) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let fixture = Fixture::new(&[&old]);
    let token = new.token_headed(&json!({ "alg": "EdDSA" }), &claims());
    fixture.refuses(&token, TokenError::Signature);
    // Another reason in its place shows that the refusal is remembered, and found by the whole token.
    let digest: [u8; 32] = Sha256::digest(&token).into();
    let refusal = fixture.verifier.refused.get(&digest).unwrap();
    assert_eq!(refusal.error, TokenError::Signature);
    fixture.verifier.refused.insert(digest, Refusal { error: TokenError::Issuer, ..refusal });
    fixture.refuses(&token, TokenError::Issuer);
    fixture.refuses(&new.token_headed(&json!({ "alg": "EdDSA", "x": 1 }), &claims()), TokenError::Signature);
    assert!(fixture.ring.replace(key_set(&[&old, &new])));
    fixture.accepts(&token);
    assert!(fixture.ring.replace(key_set(&[&old])));
    fixture.refuses(&token, TokenError::Signature);
}

#[test]
fn refusals_that_time_or_new_keys_can_change_are_not_remembered() {
    let (known, unknown) = (secret(), TestKey::ed25519(1));
    let fixture = Fixture::new(&[&known]);
    let early = known.token(&claims_with("nbf", json!(NOW_S + 15)));
    fixture.refuses(&early, TokenError::NotYetValid);
    fixture.refuses(&known.token(&claims_with("exp", json!(NOW_S - 60))), TokenError::Expired);
    fixture.refuses(&unknown.token(&claims()), TokenError::UnknownKey);
    assert_eq!(fixture.verifier.refused.len(), 0);
    fixture.clock.advance(Duration::from_secs(10));
    fixture.accepts(&early);
    fixture.clock.advance(Duration::from_secs(55));
    fixture.refuses(&early, TokenError::Expired);
    assert!(fixture.verifier.cached(early.as_bytes(), fixture.clock.now_ms()).is_none());
}

#[test]
fn a_bounded_number_of_refusals_is_remembered() {
    let fixture = Fixture::new(&[&secret()]);
    let forger = TestKey::secret("secret", &[8; 32]);
    for jti in 0..REFUSALS_MAX + 500 {
        fixture.refuses(&forger.token(&json!({ "jti": jti })), TokenError::Signature);
    }
    let remembered = fixture.verifier.refused.len();
    assert!((REFUSALS_MAX / 2..=REFUSALS_MAX).contains(&remembered), "{remembered}");
}

#[test]
fn a_token_of_another_number_of_parts_is_no_signed_jwt() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let good = key.token(&claims());
    // Five parts are an encrypted token. No signature is checked, so nothing is remembered.
    for token in ["opaque".into(), "two.parts".into(), format!("{good}.x"), format!("{good}.x.y")] {
        fixture.refuses(&token, TokenError::Malformed);
    }
    assert_eq!(fixture.verifier.refused.len(), 0);
}
