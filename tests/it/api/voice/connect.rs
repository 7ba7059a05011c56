//! Who a player is at Epic by an ID token of its Connect service, and the keys that verify such tokens.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::select;
use tokio::sync::Notify;

use super::{PUID, game, room, with_epic};
use crate::harness::{Client, Reply, Server};
use crate::support::stand_in::epic::EpicService;

/// The claims of an ID token of Connect.
fn id_claims(server: &Server) -> Value {
    let now = server.clock.now().as_second();
    json!({
        "iss": "https://api.epicgames.dev", "pfdid": "deployment", "sub": PUID, "iat": now, "exp": now + 60,
    })
}

/// A key that signs ID tokens, one for each seed.
fn id_key(seed: u8) -> EncodingKey {
    const PREFIX: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    EncodingKey::from_ed_der(&[PREFIX, &[seed; 32]].concat())
}

fn id_token(key: &EncodingKey, claims: &Value) -> String {
    id_token_of("epic", key, claims)
}

/// An ID token that names this key.
fn id_token_of(kid: &str, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// The JWK Set with this key.
fn published(kid: &str, key: &EncodingKey) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, Algorithm::EdDSA).unwrap()).unwrap();
    (jwk["kid"], jwk["use"]) = (json!(kid), json!("sig"));
    json!({ "keys": [jwk] })
}

/// A service with the key of [`id_key`] 1, and a server that asks it.
async fn with_keys() -> (EpicService, Server) {
    let service = EpicService::start().await;
    service.state.lock().unwrap().keys = published("epic", &id_key(1));
    let url = format!("http://{}/jwks", service.address);
    let server = with_epic(&service, |epic| epic.connect_jwks_url = Some(url));
    (service, server)
}

/// A request to join a room with an ID token.
async fn joins(player: &Client, game: &str, token: &str) -> Reply {
    player.get(&room(game, &format!("&connect_id_token={token}"))).await
}

#[tokio::test]
async fn an_id_token_of_connect_counts_if_epic_has_signed_it() {
    let (service, server) = with_keys().await;
    let (alice, _, game) = game(&server).await;
    let joins = async |token: &str| joins(&alice, &game, token).await;
    let good = id_token(&id_key(1), &id_claims(&server));
    service.state.lock().unwrap().keys = json!({});
    joins(&good).await.refused(503, "voice_unavailable");
    service.state.lock().unwrap().keys = published("epic", &id_key(1));
    // The keys are not asked for again at once.
    joins(&good).await.refused(503, "voice_unavailable");
    assert_eq!(service.asked("/jwks").len(), 1);
    server.clock.advance(Duration::from_secs(10));
    let good = id_token(&id_key(1), &id_claims(&server));
    assert_eq!(joins(&good).await.expect(200).body["product_user_id"], json!(PUID));
    let forged = id_token(&id_key(2), &id_claims(&server));
    joins(&forged).await.refused(403, "epic_identity_unknown");
    for (claim, value) in
        [("iss", json!("https://other")), ("pfdid", json!("other")), ("exp", json!(1)), ("sub", json!("a b"))]
    {
        let mut claims = id_claims(&server);
        claims[claim] = value;
        joins(&id_token(&id_key(1), &claims)).await.refused(403, "epic_identity_unknown");
    }
    joins("x").await.refused(403, "epic_identity_unknown");
    assert_eq!(service.asked("/jwks").len(), 2);
    assert_eq!(service.asked("/rtc/").len(), 1, "a refused token asks nothing of Epic");
}

#[tokio::test]
async fn a_withdrawn_key_stops_to_count() {
    let (service, server) = with_keys().await;
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    let good = || id_token(&id_key(1), &id_claims(&server));
    joins(&alice, &game, &good()).await.expect(200);
    service.state.lock().unwrap().keys = published("next", &id_key(2));
    server.clock.advance(Duration::from_secs(599));
    joins(&alice, &game, &good()).await.expect(200);
    assert_eq!(service.asked("/jwks").len(), 1);
    server.clock.advance(Duration::from_secs(1));
    joins(&alice, &game, &good()).await.refused(403, "epic_identity_unknown");
    assert_eq!(service.asked("/jwks").len(), 2);
    let next = id_token_of("next", &id_key(2), &id_claims(&server));
    joins(&alice, &game, &next).await.expect(200);
}

#[tokio::test]
async fn keys_that_cannot_be_renewed_count_for_an_hour() {
    let (service, server) = with_keys().await;
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    let good = || id_token(&id_key(1), &id_claims(&server));
    joins(&alice, &game, &good()).await.expect(200);
    service.state.lock().unwrap().keys = json!({});
    for seconds in [600, 2_999] {
        server.clock.advance(Duration::from_secs(seconds));
        joins(&alice, &game, &good()).await.expect(200);
    }
    assert_eq!(service.asked("/jwks").len(), 3);
    server.clock.advance(Duration::from_secs(1));
    joins(&alice, &game, &good()).await.refused(503, "voice_unavailable");
}

#[tokio::test]
async fn a_token_with_an_unknown_key_delays_no_other() {
    let (service, server) = with_keys().await;
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    joins(&alice, &game, &id_token(&id_key(1), &id_claims(&server))).await.expect(200);
    server.clock.advance(Duration::from_secs(10));
    let gate = Arc::new(Notify::new());
    service.state.lock().unwrap().keys_gate = Some(Arc::clone(&gate));
    let unknown = id_token_of("other", &id_key(2), &id_claims(&server));
    let mut waiting = pin!(joins(&alice, &game, &unknown));
    let others = async {
        while service.asked("/jwks").len() < 2 {
            tokio::task::yield_now().await;
        }
        joins(&alice, &game, &id_token(&id_key(1), &id_claims(&server))).await.expect(200);
    };
    select! {
        biased;
        _ = &mut waiting => panic!("the token with the known key has waited"),
        () = others => {}
    }
    gate.notify_one();
    waiting.await.refused(403, "epic_identity_unknown");
}

#[tokio::test]
async fn keys_that_come_after_their_caller_has_left_serve_the_next_one() {
    let (service, server) = with_keys().await;
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    let gate = Arc::new(Notify::new());
    service.state.lock().unwrap().keys_gate = Some(Arc::clone(&gate));
    let good = id_token(&id_key(1), &id_claims(&server));
    let asked = async {
        while service.asked("/jwks").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    select! {
        biased;
        _ = joins(&alice, &game, &good) => panic!("there are no keys yet"),
        () = asked => {}
    }
    // The first caller is gone. The fetch goes on.
    gate.notify_one();
    joins(&alice, &game, &good).await.expect(200);
    assert_eq!(service.asked("/jwks").len(), 1);
}
