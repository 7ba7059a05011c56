//! Sessions that hold much: more than the cache has room for, and as much as a store may be asked to take.

use rallypoint::config::Config;
use rallypoint::store::{Batch, Embedded, Memory, Store};
use serde_json::{Value, json};

use crate::harness::{Server, joining};

/// As much data as a player may have.
fn full_data() -> Value {
    Value::Object((0..128).map(|entry| (entry.to_string(), json!("x".repeat(4096)))).collect())
}

/// A cache that has room for sessions with little data.
fn small_cache(config: &mut Config) {
    config.store.cache_bytes = 1 << 20;
}

#[tokio::test]
async fn a_session_that_outgrows_the_cache_goes_on_and_comes_back_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Store::Embedded(Embedded::open(dir.path()).unwrap());
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
        assert!(large.bytes.len() > 1 << 20);
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
async fn the_embedded_store_takes_the_largest_sessions_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = Config::default().sessions.session_bytes_max;
    let value = |fill: u8| bytes::Bytes::from(vec![fill; bytes]);
    let store = Store::Embedded(Embedded::open(dir.path()).unwrap());
    for fill in 1..=3 {
        store.commit(Batch::default().put("key", value(fill))).await.unwrap();
    }
    store.close().await.unwrap();
    let store = Store::Embedded(Embedded::open(dir.path()).unwrap());
    assert!(store.get(b"key").await.unwrap().unwrap().value == value(3));
}
