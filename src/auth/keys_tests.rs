//! Which keys of a JWK Set are used, which are skipped, and which make the whole set unusable.

use serde_json::{Value, json};

use super::*;
use crate::auth::test_keys::{TestKey, base64url, jwks};

fn set_of(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

#[track_caller]
fn kids_of(set: &Value, origin: Origin) -> Vec<String> {
    let keys = KeySet::from_jwks(&set.to_string(), origin).unwrap().keys;
    keys.into_iter().map(|key| key.kid.unwrap_or_default()).collect()
}

#[track_caller]
fn unusable(text: &str, origin: Origin) -> String {
    let KeyError::Unusable(why) = KeySet::from_jwks(text, origin).unwrap_err() else { panic!("{text}") };
    why
}

/// A key with some changed members. Null removes a member.
fn changed(key: &TestKey, members: &[(&str, Value)]) -> Value {
    let mut jwk = key.jwk();
    for (name, value) in members {
        match value {
            Value::Null => drop(jwk.as_object_mut().unwrap().remove(*name)),
            value => jwk[*name] = value.clone(),
        }
    }
    jwk
}

/// Checks that a set with this key and a good one is used without this key.
#[track_caller]
fn skipped(jwk: Value) {
    let good = TestKey::ed25519(9);
    assert_eq!(kids_of(&set_of(&[jwk.clone(), good.jwk()]), Origin::File), [good.kid], "{jwk}");
    assert!(unusable(&set_of(&[jwk]).to_string(), Origin::File).contains("no key in it"));
}

/// Checks that a set with this key and a good one is refused.
#[track_caller]
fn refused(jwk: &Value, why: &str) {
    let set = set_of(&[TestKey::ed25519(9).jwk(), jwk.clone()]).to_string();
    let found = unusable(&set, Origin::File);
    assert!(found.contains(why), "{found}");
}

#[test]
fn keys_have_the_algorithm_of_their_type() {
    let keys = TestKey::of_each_algorithm();
    let unnamed: Vec<_> = keys.iter().map(|key| changed(key, &[("alg", Value::Null)])).collect();
    for set in [jwks(&keys.each_ref()), set_of(&unnamed).to_string()] {
        let set = KeySet::from_jwks(&set, Origin::File).unwrap();
        let pinned: Vec<_> = set.keys.iter().map(|key| key.algorithm).collect();
        assert_eq!(pinned, keys.each_ref().map(|key| key.algorithm));
    }
}

#[test]
fn keys_with_another_use_or_type_are_skipped() {
    let key = TestKey::rsa();
    skipped(changed(&key, &[("use", json!("enc"))]));
    skipped(changed(&key, &[("use", json!("tls"))]));
    skipped(changed(&key, &[("key_ops", json!(["sign", "encrypt"]))]));
    for algorithm in ["RS384", "RS512", "PS256", "RSA-OAEP", "ES256", "HS256", "none", ""] {
        skipped(changed(&key, &[("alg", json!(algorithm))]));
    }
    skipped(changed(&TestKey::secret("secret", &[1; 64]), &[("alg", json!("HS512"))]));
    skipped(changed(&TestKey::p256(1), &[("crv", json!("P-384"))]));
    skipped(changed(&TestKey::p256(1), &[("crv", json!("secp256k1"))]));
    skipped(changed(&TestKey::ed25519(1), &[("crv", json!("X25519"))]));
    skipped(json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "post-quantum" }));
    skipped(json!({ "kty": "RSA", "e": "AQAB" }));
    skipped(json!({}));

    for taken in [("use", Value::Null), ("key_ops", json!(["verify"])), ("x5c", json!(["MII"]))] {
        assert_eq!(kids_of(&set_of(&[changed(&key, &[taken])]), Origin::File), [key.kid.as_str()]);
    }
}

#[test]
fn a_shared_secret_is_used_from_a_file_only() {
    let keys = TestKey::of_each_algorithm();
    let set: Value = jwks(&keys.each_ref()).parse().unwrap();
    assert_eq!(kids_of(&set, Origin::File), ["rsa", "p256-1", "ed25519-1", "secret"]);
    assert_eq!(kids_of(&set, Origin::Network), ["rsa", "p256-1", "ed25519-1"]);
    unusable(&jwks(&[&keys[3]]), Origin::Network);
}

#[test]
fn weak_keys_are_refused() {
    let modulus = |bits: usize| {
        let mut bytes = vec![0xFF; bits.div_ceil(8)];
        bytes[0] = 0xFF >> (bytes.len() * 8 - bits);
        base64url(bytes)
    };
    let rsa = |modulus: String| changed(&TestKey::rsa(), &[("n", json!(modulus))]);
    for bits in [1, 512, 1024, 2047] {
        refused(&rsa(modulus(bits)), "needs 2048 bits");
    }
    // Leading zeros do not make an RSA key longer.
    refused(&rsa(base64url([[0; 128], [0xFF; 128]].concat())), "needs 2048 bits");
    refused(&rsa(String::new()), "key \"rsa\": an RSA key needs 2048 bits");
    for bits in [2048, 3072, 4096] {
        assert_eq!(kids_of(&set_of(&[rsa(modulus(bits))]), Origin::File), ["rsa"]);
    }
    skipped(rsa(modulus(4097)));

    for bytes in [0, 1, 16, 31] {
        refused(&TestKey::secret("secret", &vec![1; bytes]).jwk(), "needs 32 bytes");
    }
    // Leading zeros of a secret count: they are as random as other bytes.
    let begins_with_zeros = [&[0; 2][..], &[1; 30]].concat();
    assert_eq!(
        kids_of(&set_of(&[TestKey::secret("secret", &begins_with_zeros).jwk()]), Origin::File),
        ["secret"]
    );
}

#[test]
fn broken_keys_are_refused_before_a_token_names_them() {
    let broken = "it is not a valid";
    let point = TestKey::p256(1);
    refused(&changed(&point, &[("x", json!(base64url([1; 32])))]), broken);
    refused(&changed(&point, &[("y", json!(base64url([1; 31])))]), broken);
    refused(&changed(&point, &[("x", json!("")), ("y", json!(""))]), broken);
    refused(&changed(&point, &[("x", json!("not base64url!"))]), broken);
    let edwards = TestKey::ed25519(1);
    for bytes in [0, 1, 31, 33, 64] {
        refused(&changed(&edwards, &[("x", json!(base64url(vec![1; bytes])))]), broken);
    }
    refused(&changed(&edwards, &[("x", json!(base64url([2; 32])))]), broken);
    refused(&changed(&TestKey::rsa(), &[("e", json!("not base64url!"))]), broken);
}

#[test]
fn two_keys_cannot_have_one_id() {
    refused(&changed(&TestKey::rsa(), &[("kid", json!("ed25519-9"))]), "the id \"ed25519-9\"");
    // This includes a key that would be skipped, since a token could mean either.
    let encrypts = changed(&TestKey::rsa(), &[("kid", json!("ed25519-9")), ("use", json!("enc"))]);
    refused(&encrypts, "the id \"ed25519-9\"");
    let nameless = [1, 2].map(|seed| changed(&TestKey::ed25519(seed), &[("kid", Value::Null)]));
    assert_eq!(kids_of(&set_of(&nameless), Origin::File), ["", ""]);
}

#[test]
fn a_set_holds_a_bounded_number_of_keys() {
    let keys: Vec<_> = (0..=64).map(|seed| TestKey::ed25519(seed).jwk()).collect();
    assert_eq!(kids_of(&set_of(&keys[..64]), Origin::Network).len(), 64);
    assert!(unusable(&set_of(&keys).to_string(), Origin::Network).contains("more than 64 keys"));
}

#[test]
fn an_empty_set_and_a_pem_file_have_their_own_messages() {
    assert_eq!(unusable("{\"keys\":[]}", Origin::File), "it has no keys");
    let pem = "\n-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
    assert_eq!(unusable(pem, Origin::File), "it is a PEM file; a JWK Set is JSON, {\"keys\": [...]}");
}

#[test]
fn an_invalid_set_is_refused_without_showing_its_contents() {
    let secret = "c2VjcmV0LW9mLXNvbWUtbGVuZ3RoLXRoYXQtaXMtbm90LXNob3du";
    let jwk = json!({ "kty": "oct", "k": secret });
    let wrong = [
        String::new(),
        "[]".into(),
        secret.into(),
        json!(secret).to_string(),
        json!([secret]).to_string(),
        json!({ "keys": secret }).to_string(),
        json!({ "keys": [secret] }).to_string(),
        json!({ "keys": { secret: 1 } }).to_string(),
        json!({ "keys": [{ "kty": "oct", "k": secret, "kid": 1 }] }).to_string(),
        json!({ "keys": [{ "kty": "oct", "k": secret, "alg": { secret: 1 } }] }).to_string(),
        json!({ "keys": [{ "kty": "oct", "k": &secret[..20] }] }).to_string(),
        json!({ "keys": [{ "kty": "oct", "k": format!("{secret}!") }] }).to_string(),
        jwk.to_string(),
        format!("{{\"keys\":[{jwk}"),
        format!("{{\"keys\":[{jwk}]}}{secret}"),
    ];
    for text in wrong {
        let shown = KeySet::from_jwks(&text, Origin::File).unwrap_err();
        let shown = format!("{shown} {shown:?}");
        assert!(!shown.contains(&secret[..20]), "{shown}");
    }
    let set = KeySet::from_jwks(&set_of(&[jwk]).to_string(), Origin::File).unwrap();
    let secret = super::decoded(secret);
    let shown = format!("{set:?} {:?}", KeyRing::new(set.clone()));
    assert!(shown.contains("HS256") && !shown.contains(str::from_utf8(&secret).unwrap()), "{shown}");
}
