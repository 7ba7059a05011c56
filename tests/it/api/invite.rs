//! Inviting a player: who may invite, free slots and overflow, and accepting or declining the invite.

use std::time::Duration;

use rallypoint::domain::Platform;
use rallypoint::domain::client::VersionCheck;
use serde_json::{Value, json};

use crate::harness::{Client, Server, action_path, contents, joining, leftovers, status_and_team};

/// A game with these team sizes. Alice leads it and is on the first team.
async fn game(sizes: &[u8]) -> (Server, Client, String) {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let teams: Vec<_> = sizes.iter().map(|size| json!({"max_size": size})).collect();
    alice.patch(&format!("/v1/session/{session}"), &json!({ "teams": teams })).await.expect(200);
    (server, alice, session)
}

#[tokio::test]
async fn an_invite_holds_a_slot_and_is_in_the_players_list() {
    let (server, alice, session) = game(&[8, 8]).await;
    let bob = server.player();
    server.clock.advance(Duration::from_secs(1));
    let body = json!({"team_id": 1, "custom_data": {"role": "healer"}});
    let invited = alice.invites_with(&session, &bob, body).await.expect(200);
    let expected = json!({
        "player_uuid": bob.player, "status": "invited", "team_id": 1, "custom_data": {"role": "healer"},
    });
    assert_eq!(invited.body, expected);
    alice.reads_etag_of(&session, &invited).await;
    // Unknown fields are absent, never null.
    let entry = json!({
        "player_uuid": bob.player, "status": "invited", "team_id": 1, "custom_data": {"role": "healer"},
        "inviting_player_uuid": alice.player, "invited": "2026-11-23T12:00:01Z", "session_permissions": [],
    });
    assert_eq!(alice.sees(&session, &bob).await, entry);
    let invite = json!({"session_id": session, "inviting_player_uuid": alice.player});
    let list = json!({
        "type": "game", "session_ids": [], "pending_invites": {&session: invite}, "reserved_sessions": [],
    });
    assert_eq!(bob.own_list("game").await, list);
    assert!(
        bob.session(&session).await.expect(200).body.get("platform_session").is_none(),
        "an invited player has the public view"
    );
}

#[tokio::test]
async fn an_invite_by_a_service_names_no_inviting_player() {
    let (server, alice, session) = game(&[8]).await;
    let bob = server.player();
    server.service(&["session:update:any"]).invites(&session, &bob).await.expect(200);
    assert!(alice.sees(&session, &bob).await.get("inviting_player_uuid").is_none());
    let list = bob.own_list("game").await;
    assert_eq!(list["pending_invites"], json!({&session: {"session_id": session}}));
}

#[tokio::test]
async fn an_invite_skips_joinability_password_and_version_but_not_crossplay_and_capacity() {
    let server = Server::with(|config| config.sessions.version_check = VersionCheck::Exact);
    let (alice, bob, steam) = (server.player(), server.player(), server.player_on(Platform::Steam));
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    alice.patch(&path, &json!({"password": "swordfish"})).await.expect(200);
    for invited in [&bob, &steam] {
        alice.invites(&session, invited).await.expect(200);
    }
    let me = format!("{path}/player/me");
    let mut older = joining();
    older["client_version"] = json!("0.9.0");
    older["custom_data"] = json!({"skin": "red"});
    server.clock.advance(Duration::from_secs(1));
    let joined = bob.post(&me, &older).await.expect(200);
    assert_eq!(joined.status_and_team(), status_and_team("member", 0));
    bob.reads_etag_of(&session, &joined).await;
    let entry = alice.sees(&session, &bob).await;
    assert_eq!(
        (&entry["joined"], &entry["custom_data"]),
        (&json!("2026-11-23T12:00:01Z"), &json!({"skin": "red"}))
    );
    let list = bob.own_list("party").await;
    assert_eq!((&list["session_ids"], &list["pending_invites"]), (&json!([session]), &json!({})));

    let mut picky = joining();
    picky["crossplay_preferences"] = json!({"permitted_platform": "desired_platforms_playstationlike", "permitted_input": "desired_inputs_any"});
    steam.post(&me, &picky).await.refused(403, "crossplay_mismatch");
    steam.joins_team(&session, 1).await.refused(404, "team_not_found");
    assert_eq!(
        alice.sees_status_and_team(&session, &steam).await,
        status_and_team("invited", 0),
        "a refusal leaves the invite"
    );
    steam.joins(&session).await.expect(200);
}

#[tokio::test]
async fn an_invited_player_may_join_another_team_with_a_free_slot() {
    let (server, alice, session) = game(&[2, 1]).await;
    let (bob, carol) = (server.player(), server.player());
    carol.joins_team(&session, 1).await.expect(200);
    alice.invites(&session, &bob).await.expect(200);
    server.player().joins(&session).await.refused(403, "session_full");
    bob.joins_team(&session, 1).await.refused(403, "team_full");
    carol.leaves(&session).await.expect(204);
    assert_eq!(bob.joins_team(&session, 1).await.expect(200).status_and_team(), status_and_team("member", 1));
}

#[tokio::test]
async fn a_player_declines_an_invite_by_leaving() {
    let (server, alice, session) = game(&[8]).await;
    let bob = server.player();
    alice.invites(&session, &bob).await.expect(200);
    bob.leaves(&session).await.expect(204);
    assert_eq!((alice.sees(&session, &bob).await, bob.own_list("game").await), (Value::Null, Value::Null));
    bob.leaves(&session).await.refused(404, "player_not_found");
    // The same by the path with the player's uuid.
    alice.invites(&session, &bob).await.expect(200);
    bob.kicks(&session, &bob).await.expect(204);
    assert_eq!(alice.sees(&session, &bob).await, Value::Null);
}

#[tokio::test]
async fn only_the_leader_holders_of_the_right_and_update_any_may_invite() {
    let (server, alice, session) = game(&[8]).await;
    let (bob, carol, stranger) = (server.player(), server.player(), server.player());
    bob.joins(&session).await.expect(200);
    bob.invites(&session, &carol).await.refused(403, "session_right_missing");
    stranger.invites(&session, &carol).await.refused(403, "not_active_in_session");
    stranger.invites(&session, &stranger).await.refused(403, "not_active_in_session");
    alice.invites(&session, &stranger).await.expect(200);
    stranger.invites(&session, &carol).await.refused(403, "not_active_in_session");
    alice.gives_right(&session, &bob, "invite").await.expect(200);
    let invited = bob.invites(&session, &carol).await.expect(200);
    bob.reads_etag_of(&session, &invited).await;
    assert_eq!(alice.sees(&session, &carol).await["inviting_player_uuid"], json!(bob.player));
    server.service(&["session:update:self"]).invites(&session, &carol).await.refused(403, "player_required");
    server.service(&["session:update:any"]).invites(&session, &carol).await.expect(200);
    alice.invites("none", &carol).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn members_are_not_invited_and_a_second_invite_replaces_the_first() {
    let (server, alice, session) = game(&[2, 1]).await;
    let (bob, carol) = (server.player(), server.player());
    carol.joins_team(&session, 1).await.expect(200);
    alice.invites(&session, &carol).await.refused(403, "already_in_session");
    alice.invites(&session, &alice).await.refused(403, "already_in_session");
    alice.invites_with(&session, &bob, json!({"custom_data": {"a": "1"}})).await.expect(200);
    // The session is full now, and bob holds one of its slots.
    let again = alice.invites_with(&session, &bob, json!({"custom_data": {"b": "2"}})).await.expect(200);
    assert_eq!(
        (again.status_and_team(), &again.body["custom_data"]),
        (status_and_team("invited", 0), &json!({"b": "2"}))
    );
    carol.leaves(&session).await.expect(204);
    let moved = alice.invites_with(&session, &bob, json!({"team_id": 1})).await.expect(200);
    assert_eq!(
        (moved.status_and_team(), &moved.body["custom_data"]),
        (status_and_team("invited", 1), &json!({}))
    );
    assert_eq!(bob.own_list("game").await["pending_invites"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn the_overflow_action_decides_when_the_team_is_full() {
    let (server, alice, session) = game(&[1, 1]).await;
    let on_first = |action: &str| json!({"team_id": 0, "overflow_action": action});
    let before = contents(&server).await;
    for action in ["fail", "partial_without_overflow"] {
        let refused = alice.invites_with(&session, &server.player(), on_first(action)).await;
        refused.refused(403, "team_full");
    }
    alice.invites_with(&session, &server.player(), json!({"team_id": 0})).await.refused(403, "team_full");
    assert_eq!(contents(&server).await, before, "refusals change nothing");
    for action in ["allow_overflow", "partial_with_overflow"] {
        let bob = server.player();
        let spilled = alice.invites_with(&session, &bob, on_first(action)).await.expect(200);
        assert_eq!(spilled.status_and_team(), status_and_team("invited", 1), "{action}");
        alice.invites_with(&session, &server.player(), on_first(action)).await.refused(403, "session_full");
        alice.kicks(&session, &bob).await.expect(204);
    }
    let bob = server.player();
    let overfilled = alice.invites_with(&session, &bob, on_first("overfill")).await.expect(200);
    assert_eq!(overfilled.status_and_team(), status_and_team("invited", 0));
    assert_eq!(
        bob.joins(&session).await.expect(200).status_and_team(),
        status_and_team("member", 0),
        "the slot is reserved for bob"
    );
    let carol = server.player();
    assert_eq!(carol.joins(&session).await.expect(200).status_and_team(), status_and_team("member", 1));
    server.player().joins(&session).await.refused(403, "session_full");
}

#[tokio::test]
async fn without_a_team_an_invite_takes_the_first_team_with_a_free_slot() {
    let (server, alice, session) = game(&[1, 1, 1]).await;
    for team_id in [1, 2] {
        let invited = alice.invites(&session, &server.player()).await.expect(200);
        assert_eq!(invited.status_and_team(), status_and_team("invited", team_id));
    }
    alice.invites(&session, &server.player()).await.refused(403, "session_full");
}

#[tokio::test]
async fn an_invite_body_is_validated() {
    let (server, alice, session) = game(&[8]).await;
    let bob = server.player();
    alice.invites_with(&session, &bob, json!({"team_id": 1})).await.refused(404, "team_not_found");
    let wrong = json!({"team_id": -1, "overflow_action": "spill", "custom_data": {"a": ""}});
    alice.invites_with(&session, &bob, wrong).await.invalid(&[
        (json!(["body", "team_id"]), "value_error.number.not_ge"),
        (json!(["body", "overflow_action"]), "type_error.enum"),
        (json!(["body", "custom_data", "a"]), "value_error.any_str.min_length"),
    ]);
    let missing = (json!(["body"]), "value_error.missing");
    alice.post(&action_path(&session, bob.player, "invite"), &Value::Null).await.invalid(&[missing]);
}

#[tokio::test]
async fn invites_and_reservations_end_with_the_session() {
    let (server, alice, session) = game(&[8]).await;
    let (bob, carol) = (server.player(), server.player());
    alice.invites(&session, &bob).await.expect(200);
    alice.updates(&session, &carol, json!({"status": "reserved"})).await.expect(200);
    alice.leaves(&session).await.expect(204);
    bob.session(&session).await.refused(404, "session_not_found");
    assert_eq!((bob.own_list("game").await, carol.own_list("game").await), (Value::Null, Value::Null));
    assert!(leftovers(&server).await.is_empty());
}
