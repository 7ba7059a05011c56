//! Which tokens are accepted: signatures, keys, and the cache of verified tokens.

use futures_util::future::FutureExt as _;
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::keys::{KeySet, Origin};
use crate::auth::permission::Permission;
use crate::auth::test_keys::{TestKey, base64url, from_base64url, jwks};
use crate::auth::{DevelopmentKey, Grant};
use crate::env::Entropy;

/// 2026-11-23T12:00:00Z.
pub(super) const NOW_S: i64 = 1_795_435_200;
pub(super) const PLAYER: &str = "6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31";

/// A verifier with its keys and its clock.
pub(super) struct Fixture {
    pub(super) ring: Arc<KeyRing>,
    pub(super) clock: Clock,
    pub(super) verifier: Verifier,
}

fn settings() -> TokenSettings {
    TokenSettings {
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(5),
        player_claim: "sub".into(),
        permissions_claim: "permissions".into(),
        player_id_claim: "player_id".into(),
        platform_claim: "platform".into(),
        product_user_id_claim: None,
        number_claims: Vec::new(),
        cache_tokens: 100,
    }
}

pub(super) fn key_set(keys: &[&TestKey]) -> KeySet {
    KeySet::from_jwks(&jwks(keys), Origin::File).unwrap()
}

impl Fixture {
    pub(super) fn new(keys: &[&TestKey]) -> Self {
        Self::with(keys, |_| {})
    }

    pub(super) fn with(keys: &[&TestKey], change: impl FnOnce(&mut TokenSettings)) -> Self {
        Self::over(key_set(keys), change)
    }

    fn over(keys: KeySet, change: impl FnOnce(&mut TokenSettings)) -> Self {
        let (ring, mut settings) = (Arc::new(KeyRing::new(keys)), settings());
        change(&mut settings);
        let clock = Clock::manual(jiff::Timestamp::from_second(NOW_S).unwrap());
        Self { verifier: Verifier::new(Arc::clone(&ring), settings, clock.clone()), ring, clock }
    }

    #[track_caller]
    pub(super) fn accepts(&self, token: &str) -> Arc<Token> {
        self.verifier.verify(token).unwrap_or_else(|error| panic!("{error:?}: {token}"))
    }

    #[track_caller]
    pub(super) fn refuses(&self, token: &str, error: TokenError) {
        assert_eq!(self.verifier.verify(token).unwrap_err(), error, "{token}");
    }

    /// Whether a token has named an unknown key since the last call.
    fn asked_for_keys(&self) -> bool {
        self.ring.unknown_key.notified().now_or_never().is_some()
    }
}

/// A shared secret, for tests that work with any algorithm: HS256 is the fastest.
pub(super) fn secret() -> TestKey {
    TestKey::secret("secret", &[7; 32])
}

/// The claims of a player's token that is valid for a minute.
pub(super) fn claims() -> Value {
    json!({ "sub": PLAYER, "exp": NOW_S + 60, "permissions": ["session:read:self"] })
}

/// These claims with one changed. Null removes the claim.
pub(super) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[test]
fn tokens_of_every_allowed_algorithm_are_accepted() {
    let keys = TestKey::of_each_algorithm();
    let fixture = Fixture::new(&keys.each_ref());
    for key in &keys {
        let token = fixture.accepts(&key.token(&claims()));
        assert_eq!(token.player.unwrap().to_string(), PLAYER);
        assert!(token.permissions.contains(Permission::ReadSelf));
        assert!(!token.permissions.contains(Permission::ReadAny));
        // Without a key id, the key is found by its algorithm.
        fixture.accepts(&key.token_headed(&json!({ "alg": key.algorithm }), &claims()));
    }
}

#[test]
fn development_tokens_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let key = DevelopmentKey::load_or_create(dir.path(), &Entropy::System).unwrap();
    let fixture = Fixture::over(key.key_set(), |_| {});
    let player = PlayerUuid(PLAYER.parse().unwrap());
    let grant = Grant {
        player: Some(player),
        permissions: vec!["session:*".into()],
        platform: Some(Platform::Steam),
        player_id: Some(17),
        ttl: Duration::from_secs(60),
    };
    let token = fixture.accepts(&key.sign(&grant, fixture.clock.now()));
    assert_eq!((token.player, token.player_id), (Some(player), Some(17)));
    assert_eq!(token.platform, Some(Platform::Steam));
    assert!(token.permissions.contains(Permission::SessionAll));
    fixture.clock.advance(Duration::from_secs(65));
    fixture.refuses(&key.sign(&grant, fixture.clock.now() - grant.ttl * 2), TokenError::Expired);
}

#[test]
fn other_algorithms_are_refused_even_with_the_right_key() {
    let keys = TestKey::of_each_algorithm();
    let [rsa, _, _, secret] = &keys;
    let fixture = Fixture::new(&keys.each_ref());
    let signed = [
        (secret, Algorithm::HS384),
        (secret, Algorithm::HS512),
        (rsa, Algorithm::RS384),
        (rsa, Algorithm::RS512),
        (rsa, Algorithm::PS256),
        (rsa, Algorithm::PS384),
        (rsa, Algorithm::PS512),
    ];
    for (key, algorithm) in signed {
        for header in [json!({ "alg": algorithm }), json!({ "alg": algorithm, "kid": key.kid })] {
            let token = key.token_of(algorithm, &header.to_string(), &claims().to_string());
            fixture.refuses(&token, TokenError::Algorithm);
        }
    }
    for algorithm in ["ES384", "ES256K", "Ed448", "ed25519", "hs256", "HS256 ", ""] {
        fixture.refuses(&secret.token_headed(&json!({ "alg": algorithm }), &claims()), TokenError::Algorithm);
    }
    for header in [json!({}), json!({ "alg": null }), json!({ "alg": ["HS256"] }), json!({ "alg": 1 })] {
        fixture.refuses(&secret.token_headed(&header, &claims()), TokenError::Header("alg"));
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let keys = TestKey::of_each_algorithm();
    let fixture = Fixture::new(&keys.each_ref());
    for key in &keys {
        for algorithm in ["none", "None", "NONE", "nOnE"] {
            for header in [json!({ "alg": algorithm }), json!({ "alg": algorithm, "kid": key.kid })] {
                let signed = key.token_headed(&header, &claims());
                let unsigned = &signed[..=signed.rfind('.').unwrap()];
                fixture.refuses(&signed, TokenError::Algorithm);
                fixture.refuses(unsigned, TokenError::Algorithm);
            }
        }
        let signed = key.token(&claims());
        fixture.refuses(&signed[..=signed.rfind('.').unwrap()], TokenError::Signature);
        fixture.refuses(&signed[..signed.rfind('.').unwrap()], TokenError::Malformed);
    }
}

#[test]
fn a_token_is_good_for_as_long_as_it_and_its_key_are() {
    let key = TestKey::p256(1);
    let fixture = Fixture::new(&[&key]);
    let token = fixture.accepts(&key.token(&claims()));
    let again = || fixture.verifier.verify_again(&token).map(|_| ());
    assert_eq!(again(), Ok(()));
    fixture.ring.replace(key_set(&[&key, &TestKey::p256(2)]));
    assert_eq!(again(), Ok(()), "its key is still there");
    fixture.ring.replace(key_set(&[&TestKey::p256(2)]));
    assert_eq!(again(), Err(TokenError::UnknownKey));
    fixture.ring.replace(key_set(&[&key]));
    fixture.clock.advance(Duration::from_secs(100_000));
    assert_eq!(again(), Err(TokenError::Expired));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let public = [TestKey::rsa(), TestKey::p256(1), TestKey::ed25519(1)];
    let fixture = Fixture::new(&public.each_ref());
    for key in &public {
        let jwk = key.jwk();
        let decoded = |name: &str| from_base64url(jwk[name].as_str().unwrap_or_default());
        // All that an attacker can know of the key, in the forms that a wrong verifier could use as a shared secret.
        let known = [
            jwk.to_string().into_bytes(),
            jwk["n"].as_str().or(jwk["x"].as_str()).unwrap().as_bytes().to_vec(),
            decoded("n"),
            decoded("x"),
            [decoded("x"), decoded("y")].concat(),
            [vec![4], decoded("x"), decoded("y")].concat(),
        ];
        for secret in known {
            let forger = TestKey::secret(&key.kid, &secret);
            fixture.refuses(&forger.token(&claims()), TokenError::Algorithm);
            fixture
                .refuses(&forger.token_headed(&json!({ "alg": "HS256" }), &claims()), TokenError::UnknownKey);
            let header = json!({ "alg": key.algorithm, "kid": key.kid });
            fixture.refuses(&forger.token_headed(&header, &claims()), TokenError::Signature);
        }
    }
}

#[test]
fn a_token_cannot_choose_the_algorithm_of_its_key() {
    let keys = TestKey::of_each_algorithm();
    let fixture = Fixture::new(&keys.each_ref());
    for signer in &keys {
        for named in keys.iter().filter(|named| named.algorithm != signer.algorithm) {
            let header = json!({ "alg": signer.algorithm, "kid": named.kid });
            fixture.refuses(&signer.token_headed(&header, &claims()), TokenError::Algorithm);
        }
    }
}

#[test]
fn keys_in_the_header_of_a_token_are_not_used() {
    let (ours, theirs) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let fixture = Fixture::new(&[&ours]);
    let mut header = json!({
        "alg": "EdDSA", "jwk": theirs.jwk(), "jku": "https://attacker.example/jwks", "x5u": "https://attacker.example",
    });
    fixture.refuses(&theirs.token_headed(&header, &claims()), TokenError::Signature);
    header["kid"] = json!(ours.kid);
    fixture.refuses(&theirs.token_headed(&header, &claims()), TokenError::Signature);
    header["kid"] = json!(theirs.kid);
    fixture.refuses(&theirs.token_headed(&header, &claims()), TokenError::UnknownKey);
}

#[test]
fn critical_extensions_are_refused() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    for crit in [json!(["exp"]), json!(["b64"]), json!(["x"]), json!([])] {
        let header = json!({ "alg": "HS256", "kid": key.kid, "crit": crit, "b64": false, "x": 1 });
        fixture.refuses(&key.token_headed(&header, &claims()), TokenError::Critical);
    }
    let header = json!({ "alg": "HS256", "kid": key.kid, "crit": "exp" });
    fixture.refuses(&key.token_headed(&header, &claims()), TokenError::Critical);
    // Extensions that are not critical are ignored.
    fixture.accepts(&key.token_headed(&json!({ "alg": "HS256", "typ": "at+jwt", "x": 1 }), &claims()));
}

#[test]
fn eddsa_has_two_names() {
    let key = TestKey::ed25519(1);
    let fixture = Fixture::new(&[&key]);
    for header in [json!({ "alg": "Ed25519", "kid": key.kid }), json!({ "alg": "Ed25519" })] {
        fixture.accepts(&key.token_headed(&header, &claims()));
    }
}

#[test]
fn keys_with_one_id_are_told_apart_by_the_algorithm() {
    let mut keys = TestKey::of_each_algorithm();
    keys.iter_mut().for_each(|key| key.kid = "shared".into());
    let fixture = Fixture::new(&keys.each_ref());
    for key in &keys {
        fixture.accepts(&key.token(&claims()));
        for other in keys.iter().filter(|other| other.algorithm != key.algorithm) {
            let header = json!({ "alg": other.algorithm, "kid": "shared" });
            fixture.refuses(&key.token_headed(&header, &claims()), TokenError::Signature);
        }
    }
    // A rotation that keeps the id: both keys are tried.
    let mut rotated = [TestKey::ed25519(1), TestKey::ed25519(2)];
    rotated.iter_mut().for_each(|key| key.kid = "current".into());
    let fixture = Fixture::new(&rotated.each_ref());
    rotated.iter().for_each(|key| drop(fixture.accepts(&key.token(&claims()))));
    let mut forger = TestKey::ed25519(3);
    forger.kid = "current".into();
    fixture.refuses(&forger.token(&claims()), TokenError::Signature);
}

#[test]
fn an_unknown_key_is_refused_and_triggers_a_reload() {
    let (known, unknown) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let fixture = Fixture::new(&[&known]);
    for kid in [json!(unknown.kid), json!(""), json!("ED25519-1"), json!("ed25519-1 ")] {
        let header = json!({ "alg": "EdDSA", "kid": kid });
        fixture.refuses(&known.token_headed(&header, &claims()), TokenError::UnknownKey);
        assert!(fixture.asked_for_keys(), "{kid}");
    }
    // The set has no key of this algorithm.
    fixture.refuses(&secret().token_headed(&json!({ "alg": "HS256" }), &claims()), TokenError::UnknownKey);
    assert!(fixture.asked_for_keys());
    let header = json!({ "alg": "EdDSA", "kid": known.kid });
    fixture.refuses(&unknown.token_headed(&header, &claims()), TokenError::Signature);
    assert!(!fixture.asked_for_keys(), "a wrong signature with a known key id triggers no reload");
}

#[test]
fn a_token_without_a_key_id_is_tried_with_a_few_keys_of_its_algorithm() {
    let others: Vec<_> = (1..=10).map(TestKey::p256).collect();
    let keys: Vec<_> = (1..=5).map(TestKey::ed25519).collect();
    let fixture = Fixture::new(&others.iter().chain(&keys).collect::<Vec<_>>());
    let anonymous = json!({ "alg": "EdDSA" });
    for key in &keys[..CANDIDATES_MAX] {
        fixture.accepts(&key.token_headed(&anonymous, &claims()));
    }
    let beyond = &keys[CANDIDATES_MAX];
    fixture.refuses(&beyond.token_headed(&anonymous, &claims()), TokenError::Signature);
    fixture.accepts(&beyond.token(&claims()));
}

#[test]
fn a_token_is_verified_once() {
    let (old, new) = (TestKey::ed25519(1), TestKey::ed25519(2));
    let fixture = Fixture::new(&[&old]);
    let token = old.token(&claims());
    let first = fixture.accepts(&token);
    // A second verification would create another value.
    assert!(Arc::ptr_eq(&first, &fixture.accepts(&token)));

    // The same keys change nothing.
    assert!(!fixture.ring.replace(key_set(&[&old])));
    assert!(Arc::ptr_eq(&first, &fixture.accepts(&token)));
    // After a change of the keys, the token is verified again. Its key is still in the set.
    assert!(fixture.ring.replace(key_set(&[&old, &new])));
    let again = fixture.accepts(&token);
    assert!(!Arc::ptr_eq(&first, &again));
    assert!(Arc::ptr_eq(&again, &fixture.accepts(&token)));
    // A token whose key was removed is refused.
    assert!(fixture.ring.replace(key_set(&[&new])));
    fixture.refuses(&token, TokenError::UnknownKey);
    fixture.accepts(&new.token(&claims()));
}

#[test]
fn a_cached_token_expires() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let token = key.token(&claims());
    fixture.accepts(&token);
    fixture.clock.advance(Duration::from_millis(64_999));
    fixture.accepts(&token);
    fixture.clock.advance(Duration::from_millis(1));
    fixture.refuses(&token, TokenError::Expired);
}

#[test]
fn the_cache_has_a_maximum_size() {
    let key = secret();
    for padding_bytes in [0, 8 * 1024] {
        let fixture = Fixture::with(&[&key], |settings| settings.cache_tokens = 64);
        for jti in 0..300 {
            let mut claims = claims_with("jti", json!(jti));
            claims["padding"] = json!("x".repeat(padding_bytes));
            fixture.accepts(&key.token(&claims));
        }
        let (tokens, bytes) = (fixture.verifier.verified.len(), fixture.verifier.verified.weight());
        assert!(bytes <= 64 * TOKEN_BYTES_TYPICAL as u64, "{tokens} tokens take {bytes} bytes");
    }
}

#[test]
fn a_token_that_is_too_long_is_refused_unread() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let of_length = |bytes: usize| {
        // Base64 turns three bytes into four, so only header and claims together can have every length.
        let long = (bytes - key.token(&claims()).len()) * 3 / 4;
        let paddings =
            (0..4).flat_map(|short| (long.saturating_sub(30)..=long).map(move |long| (short, long)));
        let mut tokens = paddings.map(|(short, long)| {
            let header = json!({ "alg": "HS256", "x": "x".repeat(short) });
            key.token_headed(&header, &claims_with("x", json!("x".repeat(long))))
        });
        tokens.find(|token| token.len() == bytes).unwrap()
    };
    fixture.accepts(&of_length(TOKEN_BYTES_MAX));
    fixture.refuses(&of_length(TOKEN_BYTES_MAX + 1), TokenError::TooLong);
    let header = json!({ "alg": "HS256", "kid": "unknown", "padding": "x".repeat(TOKEN_BYTES_MAX) });
    fixture.refuses(&key.token_headed(&header, &claims()), TokenError::TooLong);
    assert!(!fixture.asked_for_keys());
}

#[test]
fn a_text_that_is_not_a_signed_jwt_is_refused() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let good = key.token(&claims());
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let broken = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}=.{signature}"),
        format!("{claims}.{header}.{signature}"),
        good.replace('.', " "),
        format!("{}.{claims}.{signature}", base64url("no JSON")),
        format!("{}.{claims}.{signature}", base64url([0xFF, 0xFE])),
        format!("{}.{claims}.{signature}", base64url("[".repeat(4000))),
    ];
    for token in broken {
        assert!(fixture.verifier.verify(&token).is_err(), "{token}");
    }
    for claims in ["[]", "1", "null", "\"x\"", "", "{", "{}{}", "{\"exp\":1}x"] {
        fixture.refuses(&key.token_of(Algorithm::HS256, r#"{"alg":"HS256"}"#, claims), TokenError::Malformed);
    }
}

#[test]
fn neither_secrets_nor_tokens_are_shown() {
    let key = TestKey::secret("secret", b"an open secret of thirty-two byt");
    let fixture = Fixture::new(&[&key]);
    let raw = key.token(&claims());
    let shown = format!("{:?} {:?}", fixture.ring, fixture.accepts(&raw));
    let parts = raw.split('.').map(str::to_owned);
    for hidden in parts.chain([base64url("an open secret of thirty-two byt"), "an open secret".into()]) {
        assert!(!shown.contains(&hidden), "{shown} shows {hidden}");
    }
}

/// A change of one character of a token: its position, the new character, and the type of change.
fn any_mutation() -> impl Strategy<Value = (usize, char, u8)> {
    (any::<prop::sample::Index>(), any::<char>(), 0..4_u8)
        .prop_map(|(at, with, how)| (at.index(1 << 20), with, how))
}

proptest! {
    #[test]
    fn random_text_is_refused(noise in prop_oneof![".*", "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,4}"]) {
        let fixture = Fixture::new(&[&secret()]);
        prop_assert!(fixture.verifier.verify(&noise).is_err());
    }

    #[test]
    fn random_text_with_a_valid_signature_is_refused(header in ".*", claims in ".*") {
        let key = secret();
        let fixture = Fixture::new(&[&key]);
        prop_assert!(fixture.verifier.verify(&key.token_of(Algorithm::HS256, &header, &claims)).is_err());
        let token = key.token_of(Algorithm::HS256, r#"{"alg":"HS256"}"#, &claims);
        prop_assert!(fixture.verifier.verify(&token).is_err());
    }

    #[test]
    fn a_changed_token_is_refused(mutations in prop::collection::vec(any_mutation(), 1..4)) {
        let keys = [TestKey::ed25519(1), secret()];
        let fixture = Fixture::new(&keys.each_ref());
        for key in &keys {
            let good = key.token(&claims());
            let mut chars: Vec<char> = good.chars().collect();
            for (at, with, how) in &mutations {
                let at = at % chars.len().max(1);
                match how {
                    0 => chars[at] = *with,
                    1 => chars.insert(at, *with),
                    2 => drop(chars.remove(at)),
                    _ => chars[at] = char::from(b'A' + (*with as u8 % 26)),
                }
            }
            let changed: String = chars.into_iter().collect();
            prop_assert_eq!(fixture.verifier.verify(&changed).is_ok(), changed == good, "{}", changed);
        }
    }
}
