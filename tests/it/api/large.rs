//! Large sessions: larger than the cache, and as large as the limit of the store.

use std::sync::Arc;

use rallypoint::config::Config;
use rallypoint::domain::SessionId;
use rallypoint::domain::limits::CUSTOM_DATA_BYTES_MAX;
use rallypoint::records::keys::KEY_UPGRADE;
use rallypoint::store::{Batch, Embedded, Memory, Store};
use serde_json::{Value, json};

use crate::harness::{Server, joining};

/// The largest data that a player may have.
fn full_data() -> Value {
    Value::Object((10..42).map(|entry| (entry.to_string(), json!("x".repeat(4094)))).collect())
}

/// A cache of 1 MiB: too small for sessions with full data.
fn small_cache(config: &mut Config) {
    config.store.cache_bytes = 1 << 20;
}

#[tokio::test]
async fn a_session_with_100_players_and_full_data_is_rendered_once_for_all_readers() {
    let server = Server::with(|config| {
        config.templates.get_mut("game").unwrap().players_per_team = 100;
    });
    let (alice, data) = (server.player(), full_data());
    let session = alice.creates("game").await;
    for _ in 1..100 {
        let invite = json!({"team_id": 0, "custom_data": data});
        let path = format!("/v2/session/{session}/player/{}:invite", server.player().player);
        alice.post(&path, &invite).await.expect(200);
    }
    let id = SessionId::parse(&session).unwrap();
    let read = async || {
        let reply = alice.session(&session).await.expect(200);
        (reply.bytes, server.app.sessions.get(&id).await.unwrap())
    };
    let ((first, live), (second, kept)) = (read().await, read().await);
    assert!(first.len() > 99 * CUSTOM_DATA_BYTES_MAX && first == second);
    assert!(Arc::ptr_eq(&live, &kept), "the session and its rendered documents stay cached");
}

#[tokio::test]
async fn player_data_over_the_limit_is_refused() {
    let server = Server::new();
    let (alice, mut body) = (server.player(), joining());
    let session = alice.creates("game").await;
    body["custom_data"] = full_data();
    let path = format!("/v1/session/{session}/player/me");
    alice.post(&path, &body).await.expect(200);
    body["custom_data"]["y"] = json!("y");
    alice.post(&path, &body).await.invalid(&[(json!(["body", "custom_data"]), "value_error.dict.max_bytes")]);
}

#[tokio::test]
async fn a_session_larger_than_the_cache_is_served_correctly() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    for store in [Store::Memory(Memory::default()), embedded] {
        let server = Server::over(store, small_cache);
        let (alice, bob, carol) = (server.player(), server.player(), server.player());
        let session = alice.creates("game").await;
        alice.links(&session).await.expect(200);
        let small = alice.session(&session).await.expect(200);
        alice.xbox().await.expect(200);

        let mut body = joining();
        body["custom_data"] = full_data();
        for joiner in [&bob, &carol] {
            joiner.post(&format!("/v1/session/{session}/player/me"), &body).await.expect(200);
        }
        let large = alice.session(&session).await.expect(200);
        assert!(large.bytes.len() > 2 * CUSTOM_DATA_BYTES_MAX);
        assert_eq!(bob.session(&session).await.etag(), large.etag());
        alice.get_if_none_match(&format!("/v1/session/{session}"), &large.etag()).await.expect(304);
        assert_eq!(alice.sees(&session, &bob).await["custom_data"], body["custom_data"]);
        alice.xbox().await.expect(200);

        for leaver in [&bob, &carol] {
            leaver.leaves(&session).await.expect(204);
        }
        assert_eq!(alice.session(&session).await.expect(200).etag(), small.etag());
        server.app.sessions.store().close().await.unwrap();
    }
}

#[tokio::test]
async fn the_embedded_store_accepts_several_values_of_the_largest_size() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = Config::default().sessions.session_bytes_max;
    let value = |fill: u8| bytes::Bytes::from(vec![fill; bytes]);
    let store = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    for fill in 1..=3 {
        store.commit(Batch::default().put("key", value(fill))).await.unwrap();
    }
    store.close().await.unwrap();
    let store = Store::Embedded(Embedded::open(dir.path(), KEY_UPGRADE).unwrap());
    assert!(store.get(b"key").await.unwrap().unwrap().value == value(3));
}
