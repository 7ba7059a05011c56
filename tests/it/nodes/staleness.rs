//! Bounded staleness: with `read_consistency` set to a bound, reads may be that far behind. Changes never are.

use std::time::Duration;

use rallypoint::config::ReadConsistency;
use serde_json::json;

use crate::harness::{Client, Server, XBOX_ID, joining, link_path, pairs_of_nodes, platform_path};

const MILLISECOND: Duration = Duration::from_millis(1);
/// How far reads may be behind, in milliseconds.
const BOUND_MS: u32 = 500;

async fn nodes() -> [[Server; 2]; 2] {
    pairs_of_nodes(|config| {
        config.postgres.read_consistency = ReadConsistency::BoundedMs(BOUND_MS.into());
        config.templates.get_mut("game").unwrap().attempt_auto_join = false;
    })
    .await
}

/// The same caller at another node.
fn at(node: &Server, client: &Client) -> Client {
    Client { server: node.clone(), ..client.clone() }
}

#[tokio::test]
async fn a_read_misses_only_changes_younger_than_the_bound() {
    for [one, other] in nodes().await {
        let alice = one.player();
        let session = alice.creates("game").await;
        let there = at(&other, &alice);
        alice.links(&session).await.expect(200);
        let before = [there.session(&session).await.etag(), there.xbox().await.etag()];
        one.clock.advance((BOUND_MS - 1) * MILLISECOND);
        let path = format!("/v1/session/{session}");
        let changed = alice.patch(&path, &json!({"region_id": "eu"})).await.expect(200).etag();
        one.player().joins(&session).await.expect(200);
        assert_ne!(alice.session(&session).await.etag(), changed, "a node sees its own changes at once");
        assert_eq!([there.session(&session).await.etag(), there.xbox().await.etag()], before);
        one.clock.advance(MILLISECOND);
        assert_eq!(there.session(&session).await.etag(), alice.session(&session).await.etag());
        assert_eq!(there.xbox().await.etag(), alice.xbox().await.etag());
    }
}

#[tokio::test]
async fn changes_use_the_current_state() {
    for [one, other] in nodes().await {
        let [alice, bob] = [one.player(), one.player()];
        let session = alice.creates("game").await;
        bob.joins(&session).await.expect(200);
        let there = at(&other, &bob);
        there.session(&session).await.expect(200);
        bob.leaves(&session).await.expect(204);
        // The other node still shows bob as a member, but its changes use the current state.
        assert_eq!(there.sees_status_and_team(&session, &bob).await.0, json!("member"));
        there.leaves(&session).await.refused(404, "player_not_found");
        there.joins(&session).await.expect(200);
        assert_eq!(there.sees_status_and_team(&session, &bob).await.0, json!("member"));
    }
}

#[tokio::test]
async fn checks_before_a_change_use_the_current_state() {
    for [one, other] in nodes().await {
        let [alice, bob] = [one.player(), one.player()];
        let [game, party] = [alice.creates("game").await, alice.creates("party").await];
        alice.opens(&party).await;
        let there = at(&other, &bob);
        for session in [&game, &party] {
            there.session(session).await.expect(200);
        }
        // The other node still shows both sessions without bob.
        bob.joins(&party).await.expect(200);
        bob.joins(&game).await.expect(200);
        alice.updates(&game, &bob, json!({"status": "leader"})).await.expect(200);
        let invites = format!("/v1/session/{game}/invited-session/{party}:invite");
        there.post(&invites, &json!({})).await.expect(200);
        let lists = format!("/v1/session/{game}/browser");
        there.post(&lists, &json!({"custom_data": {}})).await.expect(200);
    }
}

#[tokio::test]
async fn a_join_through_a_platform_session_uses_the_current_link() {
    for [one, other] in nodes().await {
        let [alice, bob] = [one.player(), one.player()];
        let [first, second] = [alice.creates("game").await, alice.creates("game").await];
        alice.links(&first).await.expect(200);
        let there = at(&other, &bob);
        at(&other, &alice).xbox().await.expect(200);
        alice.delete(&link_path("XboxLive", XBOX_ID, &first)).await.expect(204);
        alice.links(&second).await.expect(200);
        there
            .post(&format!("{}/player/me", platform_path("XboxLive", XBOX_ID)), &joining())
            .await
            .expect(200);
        assert_eq!(there.sees_status_and_team(&second, &bob).await.0, json!("member"));
    }
}

#[tokio::test]
async fn a_clock_set_back_does_not_extend_the_bound() {
    for [one, other] in nodes().await {
        let alice = one.player();
        one.clock.advance(Duration::from_secs(60));
        let session = alice.creates("game").await;
        let there = at(&other, &alice);
        there.session(&session).await.expect(200);
        one.clock.step(-30_000);
        let path = format!("/v1/session/{session}");
        alice.patch(&path, &json!({"region_id": "eu"})).await.expect(200);
        assert_eq!(there.session(&session).await.etag(), alice.session(&session).await.etag());
    }
}
