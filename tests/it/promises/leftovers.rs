//! Ended sessions and departed players leave nothing in memory, and each departure is counted once.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Server, XBOX_ID, leftovers, platform_path};

#[tokio::test]
async fn an_idle_session_leaves_nothing_in_memory() {
    let server = Server::new();
    let session = server.player().creates("game").await;
    let host = server.service(&["session:update:any", "session:instance:health"]);
    let instance = format!("/v1/session/{session}/instance");
    host.post(&instance, &json!({ "instance_id": "one" })).await.expect(200);
    let report = json!({ "instance_id": "one", "instance_health": "healthy" });
    host.post(&format!("{instance}/health"), &report).await.expect(200);
    assert_eq!(server.app.presence.watched_count(), 1);
    server.advance(Duration::from_secs(2 * 3600)).await;
    assert!(leftovers(&server).await.is_empty());
    assert_eq!(server.app.presence.watched_count(), 0);
}

#[tokio::test]
async fn departures_are_counted_by_cause() {
    let server = Server::with(|config| {
        let game = config.templates.get_mut("game").unwrap();
        game.player_culling_timeout = Some(600);
        config.sessions.invite_expiry_s = 60;
    });
    let [alice, bob, carol, dave] = [(); 4].map(|()| server.player());
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    bob.joins(&session).await.expect(200);
    bob.leaves(&session).await.expect(204);
    carol.joins(&session).await.expect(200);
    carol.delete(&format!("{}/player/me", platform_path("XboxLive", XBOX_ID))).await.expect(204);
    // A player who removes themselves counts as left, by every path and with every permission.
    for oneself in [&dave, &server.player_with(None, &["session:*"])] {
        oneself.joins(&session).await.expect(200);
        oneself.delete(&format!("/v1/session/{session}/player/{}", oneself.player)).await.expect(204);
    }
    dave.joins(&session).await.expect(200);
    alice.delete(&format!("/v1/session/{session}/player/{}", dave.player)).await.expect(204);
    alice.post(&format!("/v2/session/{session}/player/{}:invite", dave.player), &json!({})).await.expect(200);
    for (after_s, how, expected) in
        [(0, "left", "4"), (0, "kicked", "1"), (60, "expired", "1"), (600, "absent", "1")]
    {
        server.advance(Duration::from_secs(after_s)).await;
        let metrics = server.app.metrics.render();
        let line = format!("rallypoint_departures_total{{how=\"{how}\"}} {expected}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(leftovers(&server).await.is_empty());
}
