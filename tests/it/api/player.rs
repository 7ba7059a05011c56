//! Joining and leaving; the list of a player's sessions.

use std::time::Duration;

use rallypoint::config::FriendsCheck;
use rallypoint::domain::Platform;
use rallypoint::domain::client::VersionCheck;
use serde_json::{Value, json};

use crate::harness::{Client, Server, grant, joining, player_permissions};

async fn join_with(client: &Client, session: &str, change: &Value) -> crate::harness::Reply {
    let mut body = joining();
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    client.post(&format!("/v1/session/{session}/player/me"), &body).await
}

#[tokio::test]
async fn joining_returns_the_players_entry_and_the_sessions_etag() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let joined =
        join_with(&bob, &session, &json!({"team_id": 1, "status": "leader", "custom_data": {"a": "b"}}))
            .await;
    let joined = joined.expect(200);
    let expected =
        json!({"player_uuid": bob.player, "status": "member", "team_id": 1, "custom_data": {"a": "b"}});
    assert_eq!(joined.body, expected);
    assert_eq!(joined.etag(), bob.session(&session).await.expect(200).etag());
}

#[tokio::test]
async fn joining_again_updates_only_the_client() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let first = bob.joins(&session).await.expect(200);
    assert_eq!(bob.joins(&session).await.expect(200).etag(), first.etag());
    let again = json!({"client_version": "2.0.0", "team_id": 1, "custom_data": {"a": "b"}});
    let again = join_with(&bob, &session, &again).await.expect(200);
    assert_eq!((&again.body["team_id"], &again.body["custom_data"]), (&json!(0), &json!({})));
    let seen = bob.session(&session).await.expect(200).body;
    assert_eq!(seen["teams"][0]["players"][1]["version"], json!("2.0.0"));
}

#[tokio::test]
async fn a_closed_session_accepts_no_join_until_it_is_opened() {
    let server = Server::with(|config| config.sessions.friends_check = FriendsCheck::Trust);
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let session = alice.creates("party").await;
    bob.joins(&session).await.refused(403, "session_not_joinable");
    let path = format!("/v1/session/{session}");
    alice.patch(&path, &json!({"joinability": {"friends": true}})).await.expect(200);
    bob.joins(&session).await.refused(403, "session_not_joinable");
    let stranger = json!({"friend_uuid": carol.player});
    join_with(&bob, &session, &stranger).await.refused(403, "session_not_joinable");
    join_with(&bob, &session, &json!({"friend_uuid": alice.player})).await.expect(200);
    alice.opens(&session).await;
    carol.joins(&session).await.expect(200);
}

#[tokio::test]
async fn claimed_friends_are_not_trusted_by_default() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice
        .patch(&format!("/v1/session/{session}"), &json!({"joinability": {"friends": true}}))
        .await
        .expect(200);
    join_with(&bob, &session, &json!({"friend_uuid": alice.player}))
        .await
        .refused(403, "session_not_joinable");
}

#[tokio::test]
async fn a_password_is_required_and_never_shown() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let path = format!("/v1/session/{session}");
    let changed = alice.patch(&path, &json!({"password": "open sesame"})).await.expect(200);
    assert!(!changed.body.to_string().contains("sesame"));
    bob.joins(&session).await.refused(403, "wrong_password");
    join_with(&bob, &session, &json!({"password": "open Sesame"})).await.refused(403, "wrong_password");
    join_with(&bob, &session, &json!({"password": "open sesame"})).await.expect(200);
    let stored = crate::harness::contents(&server).await;
    assert!(!stored.values().any(|value| String::from_utf8_lossy(value).contains("open sesame")));
}

#[tokio::test]
async fn a_join_needs_a_free_slot_on_an_existing_team() {
    let server = Server::with(|config| config.templates.get_mut("game").unwrap().players_per_team = 1);
    let alice = server.player();
    let session = alice.creates("game").await;
    let second_team = json!({"team_id": 1});
    join_with(&server.player(), &session, &json!({"team_id": 2})).await.refused(404, "team_not_found");
    join_with(&server.player(), &session, &second_team).await.expect(200);
    join_with(&server.player(), &session, &second_team).await.refused(403, "session_full");
    server.player().joins(&session).await.refused(403, "session_full");
    alice.patch(&format!("/v1/session/{session}/team/0"), &json!({"max_size": 2})).await.expect(200);
    join_with(&server.player(), &session, &second_team).await.refused(403, "team_full");
}

#[tokio::test]
async fn crossplay_preferences_must_match_on_both_sides() {
    let server = Server::new();
    let (alice, steam) = (server.player(), server.player_on(Platform::Steam));
    let session = alice.creates("game").await;
    let only = |platform: &str, input: &str| {
        let preferences = json!({"permitted_platform": platform, "permitted_input": input});
        json!({"crossplay_preferences": preferences})
    };
    let xbox_only = only("desired_platforms_xboxlike", "desired_inputs_any");
    let psn_only = only("desired_platforms_playstationlike", "desired_inputs_any");
    let touch_only = only("desired_platforms_any", "desired_inputs_touch");
    join_with(&steam, &session, &psn_only).await.refused(403, "crossplay_mismatch");
    join_with(&steam, &session, &touch_only).await.refused(403, "crossplay_mismatch");
    join_with(&server.player(), &session, &xbox_only).await.expect(200);
    // Now an active player accepts only players on Xbox.
    steam.joins(&session).await.refused(403, "crossplay_mismatch");
}

#[tokio::test]
async fn client_versions_are_compared_if_configured() {
    let server = Server::with(|config| config.sessions.version_check = VersionCheck::MajorMinor);
    let alice = server.player();
    let session = alice.creates("game").await;
    let version = |version: &str| json!({"client_version": version});
    join_with(&server.player(), &session, &version("1.1.0")).await.refused(403, "version_mismatch");
    join_with(&server.player(), &session, &version("1.0.9-beta+7")).await.expect(200);
}

#[tokio::test]
async fn the_longest_active_player_leads_after_the_leader_leaves() {
    let server = Server::new();
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    for joiner in [&carol, &bob] {
        server.clock.advance(Duration::from_secs(1));
        joiner.joins(&session).await.expect(200);
    }
    alice.leaves(&session).await.expect(204);
    let seen = bob.session(&session).await.expect(200).body;
    let players = seen["teams"][0]["players"].as_array().unwrap();
    assert_eq!((&players[0]["player_uuid"], &players[0]["status"]), (&json!(carol.player), &json!("leader")));
    assert_eq!((&players[1]["player_uuid"], &players[1]["status"]), (&json!(bob.player), &json!("member")));
    assert!(
        alice.session(&session).await.expect(200).body.get("platform_scouts").is_none(),
        "alice is an outsider now"
    );
}

#[tokio::test]
async fn a_session_ends_with_its_last_player_unless_the_template_keeps_it() {
    let server = Server::with(|config| config.templates.get_mut("game").unwrap().keep_alive_on_empty = true);
    let alice = server.player();
    let party = alice.creates("party").await;
    let game = alice.creates("game").await;
    alice.leaves(&party).await.expect(204);
    alice.session(&party).await.refused(404, "session_not_found");
    alice.leaves(&game).await.expect(204);
    alice.session(&game).await.expect(200);
    let bob = server.player();
    assert_eq!(bob.joins(&game).await.expect(200).body["status"], json!("leader"));
}

#[tokio::test]
async fn leaving_an_ended_or_never_joined_session_is_a_404() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    bob.leaves(&session).await.refused(404, "player_not_found");
    bob.leaves("gone").await.refused(404, "session_not_found");
    let path = format!("/v1/session/{session}/player/me");
    let reason = (json!(["query", "reason"]), "value_error.any_str.min_length");
    alice.delete(&format!("{path}?reason=")).await.invalid(&[reason]);
    let reason = (json!(["query", "reason"]), "value_error.any_str.max_length");
    alice.delete(&format!("{path}?reason={}", "x".repeat(129))).await.invalid(&[reason]);
    alice.delete(&format!("{path}?reason=dinner%20time")).await.expect(204);
}

#[tokio::test]
async fn a_dangling_list_entry_is_removed_on_read_or_leave() {
    use rallypoint::domain::{PlayerUuid, SessionId};
    use rallypoint::records::keys;
    use rallypoint::store::Batch;
    let server = Server::new();
    let bob = server.player();
    let id = SessionId::parse("gone").unwrap();
    let key = keys::membership(PlayerUuid(bob.player), &id);
    let entry = json!({"type": "party", "status": "member"}).to_string();
    for reads in [true, false] {
        let dangling = Batch::default().put(key.clone(), entry.clone());
        server.app.sessions.store().commit(dangling).await.unwrap();
        if reads {
            let list = bob.get("/v1/player/me/session").await.expect(200);
            assert_eq!(list.body, json!({"sessions": {}}));
        } else {
            bob.leaves("gone").await.refused(404, "session_not_found");
        }
        assert!(crate::harness::leftovers(&server).await.is_empty());
    }
}

#[tokio::test]
async fn the_session_list_of_a_player_is_current() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let empty = alice.get("/v1/player/me/session").await.expect(200);
    assert_eq!(empty.body, json!({"sessions": {}}));
    let session = alice.creates("party").await;
    let listed = alice.get_if_none_match("/v1/player/me/session", &empty.etag()).await.expect(200);
    assert_eq!(
        listed.body["sessions"],
        json!({"party": {
            "type": "party", "session_ids": [session], "pending_invites": {}, "reserved_sessions": [],
        }})
    );
    alice.get_if_none_match("/v1/player/me/session", &listed.etag()).await.expect(304);

    let hers = format!("/v1/player/{}/session", alice.player);
    assert_eq!(alice.get(&hers).await.expect(200).bytes, listed.bytes);
    bob.get(&hers).await.refused(403, "permission_denied");
    server.service(&["session:read-player:any"]).get(&hers).await.expect(200);
    server.service(&["session:read-player:self"]).get(&hers).await.refused(403, "player_required");
    server.service(&["session:*"]).get("/v1/player/me/session").await.refused(403, "player_required");
    let uuid = (json!(["path", "player_uuid"]), "type_error.uuid");
    alice.get("/v1/player/alice/session").await.invalid(&[uuid]);
}

#[tokio::test]
async fn a_swap_names_exactly_two_players() {
    let server = Server::new();
    let alice = server.player();
    let id = alice.creates("party").await;
    let path = format!("/v1/session/{id}/player:swap");
    let one = json!([alice.player]);
    let players = json!(["body", "players"]);
    for (few_or_many, kind) in [
        (json!([]), "value_error.list.min_items"),
        (one, "value_error.list.min_items"),
        (json!([alice.player, alice.player, alice.player]), "value_error.list.max_items"),
    ] {
        alice.post(&path, &json!({ "players": few_or_many })).await.invalid(&[(players.clone(), kind)]);
    }
    alice.post(&path, &json!({ "players": [alice.player, alice.player] })).await.expect(403);
}

#[tokio::test]
async fn a_player_who_goes_on_from_another_platform_is_noted_there_with_the_next_change() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    bob.joins(&game).await.expect(200);
    let token = |platform| server.token(&grant(Some(alice.player), platform, &player_permissions()));
    let on_psn = Client { player: alice.player, ..server.bearer(token(Some(Platform::PSN))) };
    let platforms = async || {
        let seen = bob.session(&game).await.expect(200).body;
        let platform = bob.sees(&game, &alice).await["client_settings"]["platform"].clone();
        (platform, seen["platform_scouts"].as_object().unwrap().keys().cloned().collect::<Vec<_>>())
    };
    // A read notes nothing.
    on_psn.session(&game).await.expect(200);
    assert_eq!(platforms().await, (json!("XboxLive"), vec!["XboxLive".to_owned()]));
    let before = bob.session(&game).await.etag();
    // Neither does a refused change, nor one by a token without a platform.
    on_psn.moves(&game, &alice, 7).await.refused(404, "team_not_found");
    server.bearer(token(None)).promotes(&game, &alice).await.expect(200);
    assert_eq!(bob.session(&game).await.etag(), before);

    // A change that changes nothing else is enough.
    let changed = on_psn.promotes(&game, &alice).await.expect(200);
    on_psn.reads_etag_of(&game, &changed).await;
    let scouts = vec!["PSN".to_owned(), "XboxLive".to_owned()];
    assert_eq!(platforms().await, (json!("PSN"), scouts.clone()));
    let party = alice.creates("party").await;
    let invite = format!("/v1/session/{game}/invited-session/{party}:invite");
    alice.post(&invite, &json!({})).await.expect(200);
    assert_eq!(platforms().await, (json!("XboxLive"), vec!["XboxLive".to_owned()]));
    on_psn.delete(&format!("/v1/session/{game}/kicked-session/{party}")).await.expect(204);
    assert_eq!(platforms().await, (json!("PSN"), scouts));
}
