//! Repeating a write with `Idempotency-Key`.

/// Each operation that takes a key, with a request that changes something.
mod rows;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rallypoint::api::policies;
use rallypoint::app::idempotency::Begun;
use rallypoint::auth::{AccessGrant, LoginKey};
use rallypoint::config::Config;
use rallypoint::http::input::idempotency_key;
use rallypoint::records::keys;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, LOGIN_KEY, Reply, Server, creation, grant, joining};

const LOC: &str = "idempotency-key";

/// Sends a request with a key.
pub async fn keyed(
    caller: &Client,
    key: &str,
    (method, path): (Method, &str),
    body: Option<&Value>,
) -> Reply {
    caller.send(method, path, &[(LOC, key)], body.map(|body| body.to_string().into())).await
}

/// Creates a session with a key.
async fn creates(caller: &Client, key: &str) -> Reply {
    keyed(caller, key, (Method::POST, "/v1/session"), Some(&creation("party"))).await
}

/// How an answer was repeated; `None` if it was not.
pub fn replayed(reply: &Reply) -> Option<&str> {
    reply.headers.get("idempotency-replayed").map(|value| value.to_str().unwrap())
}

/// Asserts that a reply is the repeat of another one.
#[track_caller]
pub fn is_repeat_of(first: &Reply, repeat: &Reply) {
    assert_eq!(replayed(first), None);
    assert_eq!(replayed(repeat), Some("true"), "{}", repeat.body);
    let parts = |reply: &Reply| (reply.status, reply.bytes.clone(), reply.headers.get("etag").cloned());
    assert_eq!(parts(first), parts(repeat));
}

fn me(session: &str) -> String {
    format!("/v1/session/{session}/player/me")
}

/// A service that logs in as this client.
fn service(server: &Server, client_id: &str) -> Client {
    let access = AccessGrant {
        grant: grant(None, None, &["session:*"]),
        client_id: client_id.to_owned(),
        name: None,
        token_id: Uuid::nil(),
    };
    let key = LoginKey::from_pem(LOGIN_KEY).unwrap();
    server.bearer(key.sign(&access, server.clock.now()))
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_caller() {
    let server = Server::new();
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let first = creates(&alice, "\"k1\"").await.expect(200);
    is_repeat_of(&first, &creates(&alice, "\"k1\"").await);
    // Quotes are optional, and the order of names does not matter.
    let reordered = r#"{"client_settings":{"input":"gamepad","platform":"XboxLive"}, "client_version":"1.0.0",
        "session_type":"party"}"#;
    let headers = [(LOC, "k1")];
    let repeat = alice.send(Method::POST, "/v1/session", &headers, Some(reordered.into())).await;
    is_repeat_of(&first, &repeat);

    let mut other_body = creation("party");
    other_body["client_version"] = json!("1.0.1");
    let refused = keyed(&alice, "k1", (Method::POST, "/v1/session"), Some(&other_body)).await;
    refused.invalid(&[(json!(["header", LOC]), "value_error.idempotency_key_reused")]);
    let other_query = keyed(&alice, "k1", (Method::POST, "/v1/session?a=b"), Some(&creation("party"))).await;
    other_query.invalid(&[(json!(["header", LOC]), "value_error.idempotency_key_reused")]);
    let by_bob = creates(&bob, "k1").await.expect(200);
    assert_ne!(by_bob.body, first.body);
    let session = first.body["session_id"].as_str().unwrap();
    let other_path = keyed(&alice, "k1", (Method::DELETE, &me(session)), None).await.expect(204);
    assert_eq!(replayed(&other_path), None);

    // The answer outlives the session, until its time is over.
    server.advance(Duration::from_secs(3_599)).await;
    is_repeat_of(&first, &creates(&alice, "k1").await);
    server.clock.advance(Duration::from_secs(1));
    let again = creates(&alice, "k1").await.expect(200);
    assert_ne!(again.body, first.body);
    is_repeat_of(&again, &creates(&alice, "k1").await);
}

#[tokio::test]
async fn the_key_must_be_one_and_the_caller_somebody() {
    let server = Server::new();
    let alice = server.player();
    let path = (Method::POST, "/v1/session");
    for key in ["", "a b", "\"a", "a,b", &"k".repeat(256)] {
        let refused = keyed(&alice, key, path.clone(), Some(&creation("party"))).await;
        refused.invalid(&[(json!(["header", LOC]), "value_error.idempotency_key")]);
    }
    let body = Some(creation("party").to_string().into());
    let twice = alice.send(Method::POST, path.1, &[(LOC, "a"), (LOC, "a")], body).await;
    twice.invalid(&[(json!(["header", LOC]), "value_error.idempotency_key")]);
    assert_eq!(alice.own_list("party").await, Value::Null, "nothing was done");

    let nobody = server.service(&["session:*"]);
    creates(&nobody, "a").await.refused(400, "idempotency_key_unusable");
    let (one, other) = (service(&server, "one"), service(&server, "other"));
    let first = creates(&one, "a").await.expect(200);
    is_repeat_of(&first, &creates(&service(&server, "one"), "a").await);
    assert_ne!(creates(&other, "a").await.expect(200).body, first.body);
}

#[tokio::test]
async fn a_repeated_leave_is_answered_as_the_first_though_nothing_is_left() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let code =
        alice.post(&format!("/v1/session/{session}:generate-short-code"), &Value::Null).await.expect(200);
    let by_code = me(code.body["short_code"].as_str().unwrap());
    let first = keyed(&alice, "k", (Method::DELETE, &by_code), None).await.expect(204);
    alice.session(&session).await.refused(404, "session_not_found");
    is_repeat_of(&first, &keyed(&alice, "k", (Method::DELETE, &by_code), None).await);
    keyed(&alice, "other", (Method::DELETE, &by_code), None).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let joins = async || keyed(&bob, "k", (Method::POST, &me(&session)), Some(&joining())).await;
    joins().await.refused(403, "session_not_joinable");
    alice.opens(&session).await;
    let joined = joins().await.expect(200);
    assert_eq!(replayed(&joined), None);
    // Then the answer is kept, whatever happens to the player.
    alice.kicks(&session, &bob).await.expect(204);
    is_repeat_of(&joined, &joins().await);
    assert_eq!(alice.sees(&session, &bob).await, Value::Null, "the player stays out");
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_kept_too() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let (path, body) = (format!("/v1/session/{session}"), json!({"joinability": {"open": true}}));
    alice.opens(&session).await;
    let first = keyed(&alice, "k", (Method::PATCH, &path), Some(&body)).await.expect(200);
    alice.patch(&path, &json!({"joinability": {"open": false}})).await.expect(200);
    is_repeat_of(&first, &keyed(&alice, "k", (Method::PATCH, &path), Some(&body)).await);
    assert_eq!(alice.session(&session).await.body["joinability"]["open"], json!(false));
}

#[tokio::test]
async fn a_clock_that_is_set_makes_no_write_twice() {
    let server = Server::new();
    let alice = server.lasting_player();
    let first = creates(&alice, "k").await.expect(200);
    for step_ms in [3_700_000, -7_400_000] {
        server.clock.step(step_ms);
        server.advance(Duration::from_secs(1)).await;
        is_repeat_of(&first, &creates(&alice, "k").await);
    }
}

#[tokio::test]
async fn a_write_whose_answer_cannot_be_read_is_not_made_again() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let alice = server.lasting_player();
    creates(&alice, "k").await.expect(200);
    let store = server.app.sessions.store();
    let (start, end) = keys::all_answers();
    let (stored, _) = store.scan(&start, &end, 1).await.unwrap().pop().unwrap();
    store.commit(Batch::default().put(stored, "damaged")).await.unwrap();
    let refused = creates(&alice, "k").await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.refused(503, "idempotency_answer_unreadable");
    assert_eq!(alice.own_list("party").await["session_ids"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_key_comes_before_if_match() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    let body = json!({"custom_data": {"a": "b"}});
    let etag = alice.session(&session).await.etag();
    let patches = async |if_match: &str| {
        let headers = [(LOC, "k"), ("if-match", if_match)];
        alice.send(Method::PATCH, &path, &headers, Some(body.to_string().into())).await
    };
    patches("\"other\"").await.refused(412, "precondition_failed");
    let first = patches(&etag).await.expect(200);
    is_repeat_of(&first, &patches(&etag).await);
    is_repeat_of(&first, &patches("\"other\"").await);
}

#[tokio::test]
async fn a_repeat_needs_the_token_and_the_permission() {
    let server = Server::new();
    let alice = server.player();
    let first = creates(&alice, "k").await.expect(200);
    let without = grant(Some(alice.player), None, &["session:read:any"]);
    let without = Client { token: Some(server.token(&without)), ..alice.clone() };
    creates(&without, "k").await.refused(403, "permission_denied");
    let anonymous = Client { token: None, ..alice.clone() };
    creates(&anonymous, "k").await.expect(403);
    is_repeat_of(&first, &creates(&alice, "k").await);
}

#[tokio::test]
async fn reads_and_health_reports_take_no_key() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    let host = service(&server, "host");
    host.post(&format!("{path}/instance"), &json!({"instance_id": "i"})).await.expect(200);
    let report = json!({"instance_health": "healthy", "instance_id": "i"});
    let health = format!("{path}/instance/health");
    for _ in 0..2 {
        for method in [Method::GET, Method::HEAD] {
            let read = alice.send(method, &path, &[(LOC, "not one key,")], None).await.expect(200);
            assert_eq!(replayed(&read), None);
        }
        let reported = keyed(&host, "k", (Method::POST, &health), Some(&report)).await.expect(200);
        assert_eq!(replayed(&reported), None);
    }
}

#[tokio::test]
async fn the_keys_of_a_caller_are_limited() {
    let limited = |config: &mut Config| config.idempotency.keys_per_caller_max = 2;
    let server = Server::over(Store::Memory(Memory::default()), limited);
    let (alice, bob) = (server.lasting_player(), server.player());
    let first = creates(&alice, "1").await.expect(200);
    creates(&alice, "2").await.expect(200);
    let refused = creates(&alice, "3").await;
    assert_eq!(refused.headers["retry-after"], "3600", "the rest of the hour");
    refused.refused(503, "too_many_idempotency_keys");
    assert_eq!(alice.own_list("party").await["session_ids"].as_array().unwrap().len(), 2);
    is_repeat_of(&first, &creates(&alice, "1").await);
    creates(&bob, "1").await.expect(200);
    alice.creates("party").await;
    server.advance(Duration::from_secs(3_600)).await;
    creates(&alice, "3").await.expect(200);
}

/// Time passes only while every task waits.
#[tokio::test(start_paused = true)]
async fn an_equal_request_that_is_under_way_for_long_makes_the_next_one_come_again() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let alice = server.player();
    let token = server.app.verifier.verify(alice.token.as_ref().unwrap()).unwrap();
    let caller = policies::CREATE.admit(token).unwrap();
    let (parts, ()) = Request::post("/session/v1/session").header(LOC, "k").body(()).unwrap().into_parts();
    let body = creation("party");
    let key = idempotency_key::read(&caller, &parts, &Bytes::new(), Some(&body)).unwrap();
    let Ok(Begun::First(under_way)) = server.app.idempotency.begin(&key).await else {
        panic!("it has not run before")
    };
    let refused = creates(&alice, "k").await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.refused(409, "idempotency_key_in_use");
    drop(under_way);
    creates(&alice, "k").await.expect(200);
    let metrics = server.app.metrics.render();
    for (outcome, count) in [("stored", 1), ("replayed", 0), ("reused", 0), ("in_use", 1)] {
        let line = format!("rallypoint_idempotency_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn a_large_answer_is_read_again() {
    let server = Server::with(|config| config.idempotency.body_bytes_max = 64);
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    let body = json!({"custom_data": {"a": "b"}});
    let first = keyed(&alice, "k", (Method::PATCH, &path), Some(&body)).await.expect(200);
    alice.patch(&path, &json!({"custom_data": {"a": "c"}})).await.expect(200);
    let now = alice.session(&session).await;
    let repeat = keyed(&alice, "k", (Method::PATCH, &path), Some(&body)).await.expect(200);
    assert_eq!(replayed(&repeat), Some("refreshed"));
    assert_eq!((&repeat.bytes, repeat.etag()), (&now.bytes, now.etag()));
    assert_ne!(repeat.etag(), first.etag());

    // Links answer with the platform session, which only active players may read.
    let linked = link(&alice, &session).await.expect(200);
    let again = link(&alice, &session).await.expect(200);
    assert_eq!((replayed(&again), &again.bytes), (Some("refreshed"), &linked.bytes));
    alice.leaves(&session).await.expect(204);
    let gone = link(&alice, &session).await.expect(200);
    assert_eq!((replayed(&gone), &gone.body, gone.etag()), (Some("refreshed"), &json!({}), linked.etag()));
}

/// Links a platform session with a key. The reply is not compared with the API document: it may be `{}`.
async fn link(caller: &Client, session: &str) -> Reply {
    let path = crate::harness::link_path("XboxLive", crate::harness::XBOX_ID, session);
    let request = Request::post(format!("{}{path}", caller.prefix))
        .header("authorization", format!("Bearer {}", caller.token.as_ref().unwrap()))
        .header(LOC, "k");
    caller.send_raw(request.body(Full::default()).unwrap()).await
}
