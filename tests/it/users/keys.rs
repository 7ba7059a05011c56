use std::time::Duration;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::*;
use crate::harness::LOGIN_KEY;

async fn public_key(server: &Server) -> Value {
    let list = anonymous(server).get("/v1/publickeys").await.expect(200);
    assert_eq!(list.body["keys"].as_array().unwrap().len(), 1, "{}", list.body);
    list.body["keys"][0].clone()
}

#[tokio::test]
async fn another_library_verifies_tokens_with_the_public_key() {
    let server = Server::new();
    let key = public_key(&server).await;
    let text = |name: &str| key[name].as_str().unwrap();
    assert_eq!(text("kty"), "RSA");
    let decoding = DecodingKey::from_rsa_components(text("n"), text("e")).unwrap();
    let token = anon(&server, "player-1").await.body["access_token"].as_str().unwrap().to_owned();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["rallypoint"]);
    validation.set_issuer(&["rallypoint-development"]);
    // The clock of the test stands in the past or in the future.
    validation.validate_exp = false;
    let decoded = jsonwebtoken::decode::<Value>(&token, &decoding, &validation).unwrap();
    assert_eq!(decoded.header.kid.as_deref(), Some(text("kid")));
    let claims = decoded.claims;
    assert_eq!(claims["sub"], "fdecedc9-6b5b-5759-817c-3793b86e797a");
    assert_eq!((&claims["platform"], &claims["name"]), (&json!("Anon"), &json!("player-1")));
    assert_eq!(claims["client_id"], "development");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);
    let other = anon(&server, "player-1").await;
    let other = jsonwebtoken::decode::<Value>(super::text(&other, "access_token"), &decoding, &validation);
    assert_ne!(other.unwrap().claims["jti"], claims["jti"]);
}

#[tokio::test]
async fn a_key_is_found_by_its_id_only() {
    let server = Server::new();
    let key = public_key(&server).await;
    let path = format!("/v1/publickeys/{}", key["kid"].as_str().unwrap());
    assert_eq!(anonymous(&server).get(&path).await.expect(200).body, key);
    for other in ["x", "development"] {
        let path = format!("/v1/publickeys/{other}");
        anonymous(&server).get(&path).await.refused(404, "key_not_found");
    }
    let again = Server::new();
    assert_eq!(public_key(&again).await, key, "the id follows from the key");
}

/// The public key is no secret. A token that uses it as a shared secret must be refused.
#[tokio::test]
async fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    let server = Server::new();
    let key = public_key(&server).await;
    let modulus = key["n"].as_str().unwrap();
    let claims =
        json!({ "sub": "fdecedc9-6b5b-5759-817c-3793b86e797a", "exp": 4e9, "permissions": ["session:*"] });
    for kid in [None, Some(key["kid"].as_str().unwrap().to_owned()), Some("development".into())] {
        let header = Header { kid, ..Header::new(Algorithm::HS256) };
        let encoding = EncodingKey::from_secret(modulus.as_bytes());
        let forged = jsonwebtoken::encode(&header, &claims, &encoding).unwrap();
        let refused = server.bearer(forged).get("/v1/player/me/session").await.expect(403);
        assert_eq!(refused.body["error_code"], "token_invalid", "{}", refused.body);
    }
}

#[tokio::test]
async fn verify_answers_for_any_valid_token_and_names_what_is_wrong() {
    let server = Server::new();
    let valid = anon(&server, "player-1").await;
    let verify = async |token: &str| server.bearer(token).on(USERS).post("/v1/verify", &json!({})).await;
    let access = text(&valid, "access_token");
    assert_eq!(verify(access).await.expect(200).body, json!({}));
    let development = server.service(&[]).token.unwrap();
    verify(&development).await.expect(200);
    let other_key = Header { kid: Some("other".into()), ..Header::new(Algorithm::HS256) };
    let encoding = EncodingKey::from_secret(b"secret");
    let of_other_key = jsonwebtoken::encode(&other_key, &json!({ "exp": 4e9 }), &encoding).unwrap();
    for (token, code) in [
        ("x", "auth_not_jwt"),
        ("a.b.c", "auth_not_jwt"),
        (&*of_other_key, "auth_invalid_key_id"),
        (&format!("{}AA", &access[..access.len() - 2]), "auth_token_sig_invalid"),
    ] {
        let reply = verify(token).await.expect(403);
        assert_eq!(
            (text(&reply, "error_code"), &reply.body["auth_success"]),
            (code, &json!(false)),
            "{token}"
        );
    }
    let missing = anonymous(&server).post("/v1/verify", &json!({})).await.expect(403);
    assert_eq!(
        (text(&missing, "error_code"), &missing.body["auth_success"]),
        ("auth_not_jwt", &json!(false))
    );
    server.clock.advance(Duration::from_secs(3_606));
    let ended = verify(access).await.expect(403);
    assert_eq!(
        (text(&ended, "error_code"), &ended.body["auth_success"]),
        ("auth_token_expired", &json!(false))
    );
}

/// A token with this header, signed with the login key.
fn signed(header: &Value, claims: &Value) -> String {
    let der = PrivatePkcs8KeyDer::from_pem_slice(LOGIN_KEY.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Only the holder of the key can make such tokens.
#[tokio::test]
async fn a_token_that_is_signed_and_says_nonsense_is_refused_with_the_codes_for_that() {
    const ENDS: i64 = 4_000_000_000;
    let server = Server::new();
    let kid = public_key(&server).await["kid"].clone();
    let verify = async |algorithm: &str, claims: &Value| {
        let token = signed(&json!({ "alg": algorithm, "kid": kid }), claims);
        server.bearer(token).on(USERS).post("/v1/verify", &json!({})).await
    };
    verify("RS256", &json!({ "exp": ENDS })).await.expect(200);
    for (algorithm, claims, code) in [
        ("RS256", json!({}), "auth_token_invalid_claim"),
        ("RS256", json!({ "exp": "never" }), "auth_token_invalid_claim"),
        ("RS256", json!({ "exp": ENDS, "nbf": "never" }), "auth_token_invalid_claim"),
        ("RS256", json!({ "exp": ENDS, "sub": [] }), "auth_token_invalid_claim"),
        ("RS256", json!({ "exp": ENDS, "permissions": 7 }), "auth_token_invalid_claim"),
        ("RS256", json!({ "exp": ENDS, "nbf": ENDS }), "auth_token_unknown"),
        // The key with this id is for another algorithm.
        ("ES256", json!({ "exp": ENDS }), "auth_token_unknown"),
    ] {
        let reply = verify(algorithm, &claims).await.expect(403);
        let seen = (text(&reply, "error_code"), &reply.body["auth_success"]);
        assert_eq!(seen, (code, &json!(false)), "{algorithm} {claims}");
    }
}
