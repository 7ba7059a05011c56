//! Health reports of instances.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server};

fn path(session: &str) -> String {
    format!("/v1/session/{session}/instance/health")
}

async fn report(host: &Client, session: &str, health: &str) -> Reply {
    host.post(&path(session), &json!({"instance_health": health, "instance_id": "i"})).await
}

/// A party with the instance `i`, and a service that may report.
async fn hosted() -> (Server, Client, Client, String) {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.post(&format!("/v1/session/{session}/instance"), &json!({"instance_id": "i"})).await.expect(200);
    let host = server.service(&["session:instance:health"]);
    (server, alice, host, session)
}

#[tokio::test]
async fn a_health_report_sets_the_health_of_the_instance() {
    let (_, alice, host, session) = hosted().await;
    for health in ["healthy", "degraded", "unhealthy", "unknown", "healthy"] {
        let reported = report(&host, &session, health).await.expect(200);
        assert_eq!(reported.body, json!({ "updated_instance_health": health }));
        let seen = alice.session(&session).await.expect(200);
        assert_eq!(seen.body["instance"]["instance_health"], json!(health));
    }
}

#[tokio::test]
async fn a_repeated_health_report_keeps_the_etag() {
    let (server, alice, host, session) = hosted().await;
    report(&host, &session, "healthy").await.expect(200);
    let etag = alice.session(&session).await.expect(200).etag();
    for _ in 0..20 {
        server.advance(Duration::from_secs(10)).await;
        report(&host, &session, "healthy").await.expect(200);
        alice.get_if_none_match(&format!("/v1/session/{session}"), &etag).await.expect(304);
    }
    report(&host, &session, "degraded").await.expect(200);
    assert_ne!(alice.session(&session).await.expect(200).etag(), etag);
}

#[tokio::test]
async fn a_health_report_for_another_instance_is_refused() {
    let (_, alice, host, session) = hosted().await;
    let other = json!({"instance_health": "healthy", "instance_id": "j"});
    host.post(&path(&session), &other).await.refused(404, "instance_not_found");
    report(&host, "none", "healthy").await.refused(404, "session_not_found");
    report(&host, &session, "degraded").await.expect(200);
    let instance = format!("/v1/session/{session}/instance");
    alice.delete(&instance).await.expect(204);
    report(&host, &session, "healthy").await.refused(404, "instance_not_found");
    alice.post(&instance, &json!({"instance_id": "j"})).await.expect(200);
    report(&host, &session, "healthy").await.refused(404, "instance_not_found");
    // The next instance starts without a health.
    assert!(alice.session(&session).await.expect(200).body["instance"].get("instance_health").is_none());
    host.post(&path(&session), &other).await.expect(200);
}

#[tokio::test]
async fn a_health_report_needs_a_permission_and_a_body() {
    let (server, _, host, session) = hosted().await;
    let without_permission = server.player_with(None, &["session:update:any"]);
    report(&without_permission, &session, "healthy").await.refused(403, "permission_denied");
    host.post(&path(&session), &json!({"instance_health": "well", "instance_id": ""})).await.invalid(&[
        (json!(["body", "instance_health"]), "type_error.enum"),
        (json!(["body", "instance_id"]), "value_error.any_str.min_length"),
    ]);
    host.post(&path(&session), &json!({})).await.invalid(&[
        (json!(["body", "instance_health"]), "value_error.missing"),
        (json!(["body", "instance_id"]), "value_error.missing"),
    ]);
    let missing = (json!(["body"]), "value_error.missing");
    host.post(&path(&session), &Value::Null).await.invalid(&[missing]);
    server
        .service(&["session:*"])
        .post(&path(&session), &json!({"instance_health": "healthy", "instance_id": "i"}))
        .await
        .expect(200);
}

#[tokio::test]
async fn only_the_host_among_players_may_report_health() {
    let server = Server::new();
    let [alice, bob, carol, stranger] = [(); 4].map(|()| server.player());
    let session = alice.creates("game").await;
    let players = [&bob, &carol];
    for player in players {
        player.joins(&session).await.expect(200);
    }
    let body = json!({"instance_id": "i", "host_type": "player", "host_player_uuid": bob.player});
    alice.post(&format!("/v1/session/{session}/instance"), &body).await.expect(200);
    report(&bob, &session, "healthy").await.expect(200);
    report(&alice, &session, "degraded").await.expect(200);
    for other in [&carol, &stranger] {
        report(other, &session, "unhealthy").await.refused(403, "not_session_host");
    }
    assert_eq!(alice.session(&session).await.body["instance"]["instance_health"], json!("degraded"));
    let operator = server.player_with(None, &["session:update:any", "session:instance:health"]);
    report(&operator, &session, "healthy").await.expect(200);
    // The instance ended with its host. The former host learns that the instance does not exist.
    alice.kicks(&session, &bob).await.expect(204);
    report(&bob, &session, "healthy").await.refused(404, "instance_not_found");
}

#[tokio::test]
async fn hosts_can_read_the_reporting_interval() {
    let server = Server::with(|config| {
        config.health.cadence_s = 15;
        config.health.unhealthy_missed_percent = 12.5;
        config.health.missed_before_unknown = 8;
    });
    let read = server.player().get("/v1/instance/health/config").await.expect(200);
    let expected = json!({
        "cadence_seconds": 15, "unhealthy_health_check_percentage": 12.5, "missed_checks_before_unknown": 8,
    });
    assert_eq!(read.body, expected);
}
