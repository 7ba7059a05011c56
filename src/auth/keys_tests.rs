//! Which keys of a JWK Set are used, which are skipped, and what makes the whole set unusable.

use serde_json::{Value, json};

use super::*;
use crate::auth::test_keys::{TestKey, base64url, from_base64url, jwks};
use crate::auth::test_log::logged;

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

/// Checks that a set with this key and a good one is used without this key. Returns the reason.
#[track_caller]
fn skipped(jwk: Value) -> String {
    let good = TestKey::ed25519(9);
    let set = set_of(&[jwk.clone(), good.jwk()]);
    assert_eq!(kids_of(&set, Origin::File), [good.kid], "{jwk}");
    assert!(unusable(&set_of(&[jwk]).to_string(), Origin::File).contains("no key in it"));
    let [skipped] = &KeySet::from_jwks(&set.to_string(), Origin::File).unwrap().skipped[..] else {
        panic!("{set}")
    };
    assert_eq!(skipped.index, 0);
    skipped.reason.clone()
}

/// Checks that a set with this key and a good one is used without this key, and that the reason contains a text.
#[track_caller]
fn skipped_for(jwk: Value, reason: &str) {
    let found = skipped(jwk);
    assert!(found.contains(reason), "{found}");
}

#[test]
fn keys_have_the_algorithm_of_their_type() {
    let keys = TestKey::of_each_algorithm();
    let unnamed: Vec<_> = keys.iter().map(|key| changed(key, &[("alg", Value::Null)])).collect();
    for set in [jwks(&keys.each_ref()), set_of(&unnamed).to_string()] {
        let set = KeySet::from_jwks(&set, Origin::File).unwrap();
        let pinned: Vec<_> = set.keys.iter().map(|key| key.check.algorithm()).collect();
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
fn weak_keys_are_skipped() {
    let modulus = |bits: usize| {
        let mut bytes = vec![0xFF; bits.div_ceil(8)];
        bytes[0] = 0xFF >> (bytes.len() * 8 - bits);
        base64url(bytes)
    };
    let rsa = |modulus: String| changed(&TestKey::rsa(), &[("n", json!(modulus))]);
    for bits in [1, 512, 1024, 2047] {
        skipped_for(rsa(modulus(bits)), "needs 2048 bits");
    }
    // Leading zeros do not make an RSA key longer.
    skipped_for(rsa(base64url([[0; 128], [0xFF; 128]].concat())), "needs 2048 bits");
    skipped_for(rsa(String::new()), "an RSA key needs 2048 bits");
    for bits in [2048, 3072, 4096] {
        assert_eq!(kids_of(&set_of(&[rsa(modulus(bits))]), Origin::File), ["rsa"]);
    }
    skipped_for(rsa(modulus(4097)), "longer than 4096 bits");
    let exponent = |bytes: &[u8]| changed(&TestKey::rsa(), &[("e", json!(base64url(bytes)))]);
    skipped_for(exponent(&[2, 0, 0, 0, 1]), "exponent is longer than 33 bits");
    assert_eq!(kids_of(&set_of(&[exponent(&[1, 0, 0, 0, 1])]), Origin::File), ["rsa"]);

    for bytes in [0, 1, 16, 31] {
        skipped_for(TestKey::secret("secret", &vec![1; bytes]).jwk(), "needs 32 bytes");
    }
    // Leading zeros of a secret count: they are as random as other bytes.
    let begins_with_zeros = [&[0; 2][..], &[1; 30]].concat();
    assert_eq!(
        kids_of(&set_of(&[TestKey::secret("secret", &begins_with_zeros).jwk()]), Origin::File),
        ["secret"]
    );
}

#[test]
fn broken_keys_are_skipped_before_a_token_names_them() {
    let broken = "it is not a valid";
    let point = TestKey::p256(1);
    skipped_for(changed(&point, &[("x", json!(base64url([1; 32])))]), broken);
    skipped_for(changed(&point, &[("y", json!(base64url([1; 31])))]), broken);
    skipped_for(changed(&point, &[("x", json!("")), ("y", json!(""))]), broken);
    skipped_for(changed(&point, &[("x", json!("not base64url!"))]), "its x is not base64url");
    let edwards = TestKey::ed25519(1);
    for bytes in [0, 1, 31, 33, 64] {
        skipped_for(changed(&edwards, &[("x", json!(base64url(vec![1; bytes])))]), broken);
    }
    skipped_for(changed(&edwards, &[("x", json!(base64url([2; 32])))]), broken);
    skipped_for(changed(&TestKey::rsa(), &[("e", json!("not base64url!"))]), "its e is not base64url");
    for exponent in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 0]] {
        skipped_for(changed(&TestKey::rsa(), &[("e", json!(base64url(exponent)))]), broken);
    }
}

#[test]
fn entries_of_a_wrong_type_are_skipped() {
    for entry in [json!(null), json!("key"), json!(1), json!([]), json!([TestKey::rsa().jwk()])] {
        skipped_for(entry, "it is not an object");
    }
    let keys = TestKey::of_each_algorithm();
    for name in ["kty", "kid", "use", "alg"] {
        for wrong in [json!(1), json!(["sig"]), json!({ "sig": 1 }), json!(true)] {
            skipped_for(changed(&keys[0], &[(name, wrong)]), &format!("its {name} is not a text"));
        }
    }
    for wrong in [json!("verify"), json!(1), json!({ "verify": true })] {
        skipped_for(changed(&keys[0], &[("key_ops", wrong)]), "its key_ops is not a list");
    }
    for (key, members) in keys.iter().zip([&["n", "e"][..], &["x", "y"], &["x"], &["k"]]) {
        for name in members {
            skipped_for(changed(key, &[(name, Value::Null)]), &format!("it has no {name}"));
            skipped_for(changed(key, &[(name, json!(1))]), &format!("its {name} is not a text"));
        }
    }
    // A null member counts as absent, and members that are not needed are not read.
    for name in ["kid", "use", "key_ops", "alg"] {
        let mut jwk = keys[0].jwk();
        jwk[name] = Value::Null;
        assert_eq!(kids_of(&set_of(&[jwk]), Origin::File).len(), 1, "{name}");
    }
    for (name, value) in [("x5c", json!("MII")), ("x5t", json!(1)), ("x5u", json!([])), ("other", json!({}))]
    {
        assert_eq!(kids_of(&set_of(&[changed(&keys[0], &[(name, value)])]), Origin::File), ["rsa"]);
    }
}

#[test]
fn each_skipped_key_has_a_line_in_the_log_without_its_contents() {
    let good = TestKey::ed25519(9);
    let weak = TestKey::secret("weak", b"a secret that is short").jwk();
    let set = set_of(&[json!(null), weak, good.jwk(), changed(&TestKey::rsa(), &[("kid", json!(1))])]);
    let mut ring = None;
    let lines = logged(|| {
        let set = KeySet::from_jwks(&set.to_string(), Origin::File).unwrap();
        ring = Some(KeyRing::new(set.clone()));
        assert!(!ring.as_ref().unwrap().replace(set), "the same keys");
    });
    let [first, second, third] = &lines[..] else { panic!("{lines:?}") };
    assert!(first.contains("index=0") && first.contains("it is not an object"), "{first}");
    assert!(second.contains("kid=\"weak\"") && second.contains("needs 32 bytes"), "{second}");
    assert!(third.contains("index=3") && third.contains("its kid is not a text"), "{third}");
    let (secret, modulus) = (base64url("a secret that is short"), TestKey::rsa().jwk()["n"].to_string());
    assert!(lines.iter().all(|line| !line.contains(&secret) && !line.contains(&modulus[1..20])), "{lines:?}");
}

#[test]
fn keys_in_another_base64_are_used() {
    for key in TestKey::of_each_algorithm() {
        let mut jwk = key.jwk();
        for name in ["n", "e", "x", "y", "k"] {
            if let Some(text) = jwk[name].as_str() {
                let standard = text.replace('-', "+").replace('_', "/");
                let padding = "=".repeat((4 - standard.len() % 4) % 4);
                jwk[name] = json!(standard + &padding);
            }
        }
        let set = KeySet::from_jwks(&set_of(&[jwk]).to_string(), Origin::File).unwrap();
        let usual = KeySet::from_jwks(&jwks(&[&key]), Origin::File).unwrap();
        let signature = key.token(&json!({}));
        let (message, signature) = signature.rsplit_once('.').unwrap();
        let signature = from_base64url(signature);
        for set in [&set, &usual] {
            assert!(set.keys[0].check.is_valid(message.as_bytes(), &signature), "{}", key.kid);
            assert!(!set.keys[0].check.is_valid(b"another message", &signature), "{}", key.kid);
        }
    }
}

#[test]
fn a_set_may_begin_with_a_byte_order_mark() {
    let set = format!("\u{feff}{}", jwks(&[&TestKey::rsa()]));
    assert_eq!(KeySet::from_jwks(&set, Origin::File).unwrap().keys.len(), 1);
}

#[test]
fn both_names_of_eddsa_are_known() {
    for name in ["EdDSA", "Ed25519"] {
        let set = set_of(&[changed(&TestKey::ed25519(1), &[("alg", json!(name))])]);
        assert_eq!(kids_of(&set, Origin::File), ["ed25519-1"]);
    }
    skipped_for(changed(&TestKey::rsa(), &[("alg", json!("Ed25519"))]), "its alg is not the supported one");
}

#[test]
fn keys_may_share_an_id() {
    let shared = |key: &TestKey| changed(key, &[("kid", json!("shared"))]);
    let [rsa, point, edwards, _] = TestKey::of_each_algorithm();
    // Keys that are not for signatures do not count.
    for other in [("use", json!("enc")), ("key_ops", json!(["wrapKey"])), ("alg", json!("RSA-OAEP-256"))] {
        let mut encrypts = shared(&rsa);
        encrypts[other.0] = other.1;
        for set in [[encrypts.clone(), shared(&rsa)], [shared(&rsa), encrypts]] {
            assert_eq!(kids_of(&set_of(&set), Origin::Network), ["shared"]);
        }
    }
    // The algorithm of the token tells usable keys apart.
    let set = set_of(&[shared(&rsa), shared(&point), shared(&edwards)]).to_string();
    let set = KeySet::from_jwks(&set, Origin::File).unwrap();
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let found: Vec<_> =
            set.candidates(Some("shared"), algorithm).map(|key| key.check.algorithm()).collect();
        assert_eq!(found, [algorithm]);
    }
    assert_eq!(set.candidates(Some("shared"), Algorithm::HS256).count(), 0);
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
        json!({ "keys": [{ "kty": "oct", "k": [secret] }] }).to_string(),
        json!({ "keys": [{ "kty": secret, "k": secret, "use": secret, "alg": secret }] }).to_string(),
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
    let secret = from_base64url(secret);
    let shown = format!("{set:?} {:?}", KeyRing::new(set.clone()));
    assert!(shown.contains("HS256") && !shown.contains(str::from_utf8(&secret).unwrap()), "{shown}");
}
