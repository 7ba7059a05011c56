//! The login key: its file, its tokens, and what is refused.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;
use crate::auth::test_keys::{TestKey, from_base64url};
use crate::auth::{DevelopmentKey, KeyRing, TokenError, TokenSettings, Verifier};
use crate::domain::{Platform, PlayerUuid};
use crate::env::Clock;

/// A key for tests only: it is public.
const PEM: &str = include_str!("../../tests/support/login-key.pem");

fn load(dir: &Path) -> Result<LoginKey, String> {
    LoginKey::load_or_create(dir, &Entropy::System).map_err(|error| error.to_string())
}

fn access() -> AccessGrant {
    let grant = Grant {
        player: Some(PlayerUuid(Uuid::from_u128(1))),
        permissions: vec!["session:create".into()],
        platform: Some(Platform::Anon),
        player_id: None,
        ttl: Duration::from_secs(3600),
    };
    AccessGrant { grant, client_id: "development".into(), name: Some("Ann".into()), token_id: Uuid::nil() }
}

/// A verifier that accepts the tokens of a login key and a development key, as a server with login does.
fn verifier(login: &LoginKey, development: &DevelopmentKey, clock: &Clock) -> Verifier {
    let settings = TokenSettings {
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
        player_claim: "sub".into(),
        permissions_claim: "permissions".into(),
        player_id_claim: "player_id".into(),
        platform_claim: "platform".into(),
        product_user_id_claim: None,
        number_claims: Vec::new(),
        cache_tokens: 10,
    };
    let keys = development.key_set().and(login.key_set());
    Verifier::new(Arc::new(KeyRing::new(keys)), settings, clock.clone())
}

#[test]
fn starts_at_the_same_time_make_one_key_which_stays() {
    let dir = tempfile::tempdir().unwrap();
    let keys = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| load(dir.path()).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(keys[0].public(), keys[1].public());
    assert_eq!(load(dir.path()).unwrap().public(), keys[0].public());
    assert_eq!(keys[0].public().kid.len(), KID_CHARS);
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_unsafe_or_broken_key_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = LoginKey::path(dir.path());
    let short = RsaPrivateKey::new(&mut Randomness(&Entropy::System), 1024).unwrap();
    let short = short.to_pkcs8_pem(LineEnding::LF).unwrap();
    for broken in ["", "none", &PEM[1..], &PEM.replace("PRIVATE", "PUBLIC"), &short] {
        std::fs::write(&path, broken).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let refused = load(dir.path()).err().unwrap();
        assert!(refused.contains("login-key.pem") && refused.contains("delete it"), "{refused}");
    }
    std::fs::write(&path, PEM).unwrap();
    load(dir.path()).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let refused = load(dir.path()).err().unwrap();
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn another_library_verifies_a_token_with_the_public_key() {
    let key = LoginKey::from_pem(PEM).unwrap();
    let PublicKey { kid, n, e } = key.public();
    // Made with OpenSSL and Python from the same file.
    assert_eq!(kid, "uj-0JR9CGw6cVLmK");
    let now = Clock::System.now();
    let decoding = DecodingKey::from_rsa_components(n, e).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let token = key.sign(&access(), now);
    let decoded = jsonwebtoken::decode::<Value>(&token, &decoding, &validation).unwrap();
    assert_eq!(decoded.header.kid.as_ref(), Some(kid));
    let expected = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": Uuid::from_u128(1), "permissions": ["session:create"],
        "platform": "Anon", "iat": now.as_second(), "exp": now.as_second() + 3600, "jti": Uuid::nil(),
        "client_id": "development", "name": "Ann",
    });
    assert_eq!(decoded.claims, expected);
}

#[test]
fn a_server_with_login_accepts_the_tokens_of_both_keys() {
    let (entropy, clock) = (Entropy::seeded(1), Clock::manual(Timestamp::UNIX_EPOCH));
    let dir = tempfile::tempdir().unwrap();
    let development = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
    let login = LoginKey::from_pem(PEM).unwrap();
    let verifier = verifier(&login, &development, &clock);
    let access = access();
    for token in [login.sign(&access, clock.now()), development.sign(&access.grant, clock.now())] {
        let verified = verifier.verify(&token).unwrap();
        assert_eq!((verified.player, verified.platform), (access.grant.player, access.grant.platform));
    }
}

/// The public key is no secret, so a token that is "signed" with it as a shared secret must not count.
#[test]
fn the_key_and_not_the_token_chooses_the_algorithm() {
    let (entropy, clock) = (Entropy::seeded(1), Clock::manual(Timestamp::UNIX_EPOCH));
    let dir = tempfile::tempdir().unwrap();
    let development = DevelopmentKey::load_or_create(dir.path(), &entropy).unwrap();
    let login = LoginKey::from_pem(PEM).unwrap();
    let verifier = verifier(&login, &development, &clock);
    let PublicKey { kid, n, .. } = login.public();
    let claims = access().grant.claims(clock.now());
    for secret in [n.as_bytes(), &from_base64url(n)] {
        let forger = TestKey::secret(kid, secret);
        let named = forger.token(&claims);
        assert_eq!(verifier.verify(&named).unwrap_err(), TokenError::Algorithm);
        let unnamed = forger.token_headed(&json!({ "alg": "HS256" }), &claims);
        assert_eq!(verifier.verify(&unnamed).unwrap_err(), TokenError::Signature);
        let of_development = forger.token_headed(&json!({ "alg": "HS256", "kid": "development" }), &claims);
        assert_eq!(verifier.verify(&of_development).unwrap_err(), TokenError::Signature);
    }
}
