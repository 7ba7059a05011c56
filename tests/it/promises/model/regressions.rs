//! Regression tests for faults that random sequences have found.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, contents, joining};

fn player_path(session: &str, of: &Client) -> String {
    format!("/v2/session/{session}/player/{}", of.player)
}

async fn invites(by: &Client, session: &str, invited: &Client) -> Reply {
    by.post(&(player_path(session, invited) + ":invite"), &json!({})).await
}

#[tokio::test]
async fn a_move_checks_the_caller_before_the_named_player() {
    let server = Server::new();
    let (alice, stranger) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let path = player_path(&session, &server.player()) + ":move";
    for body in [json!({"team_id": 1}), json!({})] {
        stranger.post(&path, &body).await.refused(403, "not_active_in_session");
        alice.post(&path, &body).await.refused(404, "player_not_found");
    }
    let own = player_path(&session, &alice) + ":move";
    assert_eq!(alice.post(&own, &json!({})).await.expect(200).body["team_id"], json!(0));
}

#[tokio::test]
async fn quota_errors_are_shown_only_to_callers_who_may_invite() {
    let server = Server::with(|config| {
        config.sessions.invites_per_player_max = 1;
        config.sessions.sessions_per_player_max = 1;
    });
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let hers = alice.creates("party").await;
    let his = bob.creates("party").await;
    invites(&alice, &hers, &carol).await.expect(200);
    invites(&bob, &his, &carol).await.refused(403, "too_many_invites");
    invites(&alice, &his, &carol).await.refused(403, "not_active_in_session");
    invites(&bob, "none", &carol).await.refused(404, "session_not_found");
    // The quota of another player is not revealed either.
    let older = format!("/v1/session/{hers}/player/{}", bob.player);
    alice.post(&older, &json!({"status": "member"})).await.refused(403, "join_for_others");
    bob.joins("none").await.refused(404, "session_not_found");
    bob.joins(&hers).await.refused(403, "session_not_joinable");
    alice.opens(&hers).await;
    bob.joins(&hers).await.refused(403, "too_many_sessions");
}

#[tokio::test]
async fn inviting_a_session_does_not_count_players_who_are_members_already() {
    let server = Server::with(|config| config.sessions.invites_per_player_max = 1);
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let hers = alice.creates("party").await;
    let his = bob.creates("party").await;
    alice.opens(&hers).await;
    bob.joins(&hers).await.expect(200);
    let third = carol.creates("party").await;
    invites(&carol, &third, &bob).await.expect(200);
    // Bob's invite quota is used up, but these requests are not invites of bob.
    let path = format!("/v1/session/{hers}/invited-session/{his}:invite");
    assert_eq!(bob.post(&path, &json!({})).await.expect(200).body, json!({"players": []}));
    invites(&alice, &hers, &bob).await.refused(403, "already_in_session");
}

#[tokio::test]
async fn a_hidden_reservation_does_not_show_its_session_type() {
    let server =
        Server::with(|config| config.templates.get_mut("party").unwrap().notify_on_reservation = false);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}/player/{}", bob.player);
    alice.post(&path, &json!({"status": "reserved"})).await.expect(200);
    assert_eq!(bob.get("/v1/player/me/session").await.expect(200).body, json!({"sessions": {}}));
}

#[tokio::test]
async fn a_leader_who_promotes_another_may_also_change_team_and_data() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    let path = format!("/v1/session/{session}/player/uuid/{}", bob.player);
    let body = json!({"status": "leader", "team_id": 1, "custom_data": {"a": "b"}});
    let promoted = alice.post(&path, &body).await.expect(200);
    let expected =
        json!({"player_uuid": bob.player, "status": "leader", "team_id": 1, "custom_data": {"a": "b"}});
    assert_eq!(promoted.body, expected);
    alice.post(&path, &body).await.refused(403, "not_session_leader");
}

/// The number of players on each team of a session.
async fn players_by_team(reader: &Client, session: &str) -> Vec<usize> {
    let teams = reader.session(session).await.expect(200).body["teams"].clone();
    let player_count = |team: &Value| team["players"].as_array().unwrap().len();
    teams.as_array().unwrap().iter().map(player_count).collect()
}

#[tokio::test]
async fn a_repeated_invite_needs_no_second_slot() {
    let server = Server::with(|config| config.templates.get_mut("game").unwrap().players_per_team = 1);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let path = player_path(&session, &bob) + ":invite";
    alice.post(&path, &json!({"team_id": 0, "overflow_action": "overfill"})).await.expect(200);
    let again = json!({"team_id": 0, "custom_data": {"a": "b"}});
    assert_eq!(alice.post(&path, &again).await.expect(200).body["custom_data"], json!({"a": "b"}));
    alice.post(&path, &json!({"team_id": 2})).await.refused(404, "team_not_found");
    assert_eq!(players_by_team(&alice, &session).await, [2, 0]);
}

#[tokio::test]
async fn slots_of_invited_players_are_not_given_to_others() {
    let server = Server::with(|config| config.templates.get_mut("party").unwrap().players_per_team = 2);
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let target = alice.creates("party").await;
    invites(&alice, &target, &carol).await.expect(200);
    // Bob has been active longer than Carol, so without her slot he would be first.
    let invited = bob.creates("party").await;
    bob.opens(&invited).await;
    server.clock.advance(Duration::from_secs(1));
    carol.post(&format!("/v1/session/{invited}/player/me"), &joining()).await.expect(200);
    alice.opens(&target).await;
    for action in ["partial_without_overflow", "partial_with_overflow"] {
        let path = format!("/v1/session/{target}/invited-session/{invited}:invite");
        let answer = bob.post(&path, &json!({"overflow_action": action})).await.expect(200);
        let players = answer.body["players"].as_array().unwrap().clone();
        assert_eq!(players.len(), 1, "{action}");
        assert_eq!(players[0]["player_uuid"], json!(carol.player), "{action}");
        assert_eq!(players_by_team(&alice, &target).await, [2], "{action}");
    }
}

#[tokio::test]
async fn a_refused_listing_uses_no_number() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let before = contents(&server).await;
    alice.post(&format!("/v1/session/{session}/browser"), &json!({})).await.refused(403, "not_for_browser");
    assert_eq!(before, contents(&server).await);
}

#[tokio::test]
async fn a_refused_change_does_not_keep_a_session_alive() {
    let server = Server::new();
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let hers = alice.creates("party").await;
    let his = bob.creates("party").await;
    bob.links(&his).await.expect(200);
    server.advance(Duration::from_secs(600)).await;
    // Only the store knows that the other session has linked it.
    alice.links(&hers).await.refused(403, "platform_session_in_use");
    server.advance(Duration::from_secs(3450)).await;
    alice.session(&hers).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn an_invite_of_a_session_names_the_longest_active_players_first() {
    for action in ["fail", "overfill"] {
        let server = Server::new();
        let (alice, bob, carol) = (server.player(), server.player(), server.player());
        let target = alice.creates("party").await;
        // Carol holds a slot already, and Bob has been active longer than her.
        invites(&alice, &target, &carol).await.expect(200);
        let invited = bob.creates("party").await;
        bob.opens(&invited).await;
        server.clock.advance(Duration::from_secs(1));
        carol.joins(&invited).await.expect(200);
        alice.opens(&target).await;
        let path = format!("/v1/session/{target}/invited-session/{invited}:invite");
        let by = server.player_with(None, &["session:*"]);
        let answer = by.post(&path, &json!({"overflow_action": action})).await.expect(200);
        let players = answer.body["players"].as_array().unwrap().iter();
        let named: Vec<_> = players.map(|player| player["player_uuid"].clone()).collect();
        assert_eq!(named, [json!(bob.player), json!(carol.player)], "{action}");
    }
}

#[tokio::test]
async fn a_changed_team_shows_ones_own_entry_also_in_a_session_with_too_many_players() {
    let server = Server::with(|config| config.sessions.players_shown_max = 1);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    for (team, expected) in [(0, json!([alice.player])), (1, json!([]))] {
        let path = format!("/v1/session/{session}/team/{team}");
        let changed = alice.patch(&path, &json!({})).await.expect(200);
        let players = changed.body["players"].as_array().unwrap();
        let named: Vec<_> = players.iter().map(|player| player["player_uuid"].clone()).collect();
        assert_eq!(json!(named), expected);
    }
}
