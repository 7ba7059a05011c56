//! Reporting events of a session, and reading how often a backfill must be confirmed.

use serde_json::json;

use crate::harness::{Server, player_permissions};

#[tokio::test]
async fn a_player_and_a_host_report_events() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let etag = alice.session(&session).await.etag();
    let event = json!({
        "event_name": "join_instance", "session_id": session, "player_uuid": alice.player, "reason": "accepted",
        "custom_data": { "map": "Dunes" }, "instance_id": "not read yet",
    });
    assert_eq!(alice.post("/v1/audit", &event).await.expect(200).body, json!({}));
    let host = server.service(&["session-audit:update:all"]);
    assert_eq!(host.post("/v1/audit", &event).await.expect(200).body, json!({}));
    assert_eq!(alice.session(&session).await.etag(), etag, "an event changes nothing");
    assert!(player_permissions().contains(&"session-audit:update:self"));
}

#[tokio::test]
async fn an_event_is_checked_in_order() {
    let server = Server::new();
    let alice = server.player();
    let post = async |body| alice.post("/v1/audit", &body).await;
    server
        .service(&["session:read:any"])
        .post("/v1/audit", &json!({}))
        .await
        .refused(403, "permission_denied");
    let own = server.service(&["session-audit:update:self"]);
    own.post("/v1/audit", &json!({})).await.refused(403, "player_required");
    post(json!({})).await.invalid(&[
        (json!(["body", "event_name"]), "value_error.missing"),
        (json!(["body", "session_id"]), "value_error.missing"),
    ]);
    post(json!({ "event_name": "x".repeat(129), "session_id": "" })).await.invalid(&[
        (json!(["body", "event_name"]), "value_error.any_str.max_length"),
        (json!(["body", "session_id"]), "value_error.any_str.min_length"),
    ]);
    let unknown = json!({ "event_name": "x".repeat(128), "session_id": "none" });
    post(unknown).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_backfill_is_to_be_confirmed_every_20_seconds() {
    let server = Server::new();
    let config = server.player().get("/v1/backfill/config").await.expect(200);
    assert_eq!(config.body, json!({ "timeout": 20.0 }));
}
