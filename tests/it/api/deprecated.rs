//! The deprecated operations that published clients still use: the update whose body decides what it changes, players
//! named by numeric id, and the deprecated paths of a player's session list.

use http::Method;
use rallypoint::domain::client::VersionCheck;
use serde_json::{Value, json};

use crate::harness::{Client, Server, contents, grant, joining, player_path, status_and_team};

const ALICES_ID: i64 = 1001;
const BOBS_ID: i64 = 1002;

/// Alice leads, and bob is a member on the second team. Both tokens name numeric ids.
async fn game() -> (Server, Client, Client, String) {
    let server = Server::new();
    let (alice, bob) = (server.player_numbered(ALICES_ID), server.player_numbered(BOBS_ID));
    let session = alice.creates("game").await;
    bob.joins_team(&session, 1).await.expect(200);
    (server, alice, bob, session)
}

/// The body of a client that sends every field with its default.
fn all_defaults() -> Value {
    json!({"status": "member", "custom_data": {}, "overflow_action": "fail"})
}

fn by_id(session: &str, player_id: i64) -> String {
    format!("/v1/session/{session}/player/id/{player_id}")
}

#[tokio::test]
async fn all_three_player_paths_do_the_same() {
    let (_, alice, bob, session) = game().await;
    let paths = [
        player_path(&session, bob.player),
        format!("/v1/session/{session}/player/uuid/{}", bob.player),
        by_id(&session, BOBS_ID),
    ];
    for (index, path) in paths.iter().enumerate() {
        let data = json!({"custom_data": {"index": index.to_string()}, "team_id": index % 2});
        let updated = alice.post(path, &data).await.expect(200);
        let expected = json!({
            "player_uuid": bob.player, "status": "member", "team_id": index % 2,
            "custom_data": {"index": index.to_string()},
        });
        assert_eq!(updated.body, expected, "{path}");
        if !path.contains("/id/") {
            alice.reads_etag_of(&session, &updated).await;
        }
        alice.delete(path).await.expect(204);
        assert_eq!(alice.sees(&session, &bob).await, Value::Null);
        alice.delete(path).await.refused(404, "player_not_found");
        alice.invites(&session, &bob).await.expect(200);
        bob.joins(&session).await.expect(200);
    }
}

#[tokio::test]
async fn status_leader_promotes_the_player() {
    let (_, alice, bob, session) = game().await;
    let promoted = alice.updates(&session, &bob, json!({"status": "leader"})).await.expect(200);
    assert_eq!(promoted.status_and_team(), status_and_team("leader", 1));
    alice.reads_etag_of(&session, &promoted).await;
    assert_eq!(alice.sees_status_and_team(&session, &alice).await, status_and_team("member", 0));
    alice.updates(&session, &alice, json!({"status": "leader"})).await.refused(403, "not_session_leader");
}

#[tokio::test]
async fn a_promotion_may_change_team_and_data_in_the_same_request() {
    let (_, alice, bob, session) = game().await;
    let body = json!({"status": "leader", "team_id": 0, "custom_data": {"a": "b"}});
    let promoted = alice.updates(&session, &bob, body).await.expect(200);
    assert_eq!(
        (promoted.status_and_team(), &promoted.body["custom_data"]),
        (status_and_team("leader", 0), &json!({"a": "b"}))
    );
    assert_eq!(alice.sees_status_and_team(&session, &alice).await, status_and_team("member", 0));
}

#[tokio::test]
async fn only_active_players_are_promoted() {
    let (server, alice, _, session) = game().await;
    let (invited, stranger) = (server.player(), server.player());
    alice.invites(&session, &invited).await.expect(200);
    let leader = json!({"status": "leader"});
    alice.updates(&session, &invited, leader.clone()).await.refused(403, "player_not_active");
    alice.updates(&session, &stranger, leader.clone()).await.refused(404, "player_not_found");
    stranger.updates(&session, &stranger, leader.clone()).await.refused(403, "not_active_in_session");
    alice.updates("none", &invited, leader).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn status_invited_or_reserved_holds_a_slot() {
    let (server, alice, bob, session) = game().await;
    let (carol, dave) = (server.player(), server.player());
    let body =
        json!({"status": "invited", "team_id": 1, "custom_data": {"a": "b"}, "overflow_action": "fail"});
    let invited = alice.updates(&session, &carol, body).await.expect(200);
    assert_eq!(
        (invited.status_and_team(), &invited.body["custom_data"]),
        (status_and_team("invited", 1), &json!({"a": "b"}))
    );
    alice.reads_etag_of(&session, &invited).await;
    let invite = json!({&session: {"session_id": session, "inviting_player_uuid": alice.player}});
    assert_eq!(carol.own_list("game").await["pending_invites"], invite);

    let reserved = alice.updates(&session, &dave, json!({"status": "reserved"})).await.expect(200);
    assert_eq!(reserved.status_and_team(), status_and_team("reserved", 0));
    let list = json!({
        "type": "game", "session_ids": [], "pending_invites": {}, "reserved_sessions": [session],
    });
    assert_eq!(dave.own_list("game").await, list);
    // A reservation becomes an invite, and the invited player joins.
    alice.updates(&session, &dave, json!({"status": "invited"})).await.expect(200);
    let list = dave.own_list("game").await;
    assert_eq!((&list["reserved_sessions"], &list["pending_invites"]), (&json!([]), &invite));
    assert_eq!(dave.joins(&session).await.expect(200).status_and_team(), status_and_team("member", 0));
    for status in ["invited", "reserved"] {
        let active = alice.updates(&session, &bob, json!({ "status": status })).await;
        active.refused(403, "already_in_session");
    }
}

#[tokio::test]
async fn a_reserved_player_joins_without_an_invite() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.updates(&session, &bob, json!({"status": "reserved"})).await.expect(200);
    assert_eq!(bob.joins(&session).await.expect(200).status_and_team(), status_and_team("member", 0));
}

#[tokio::test]
async fn a_template_can_hide_reservations() {
    let server =
        Server::with(|config| config.templates.get_mut("game").unwrap().notify_on_reservation = false);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let before = bob.get("/v1/player/me/session").await.expect(200);
    alice.updates(&session, &bob, json!({"status": "reserved"})).await.expect(200);
    let after = bob.get_if_none_match("/v1/player/me/session", &before.etag()).await;
    after.expect(304);
    alice.updates(&session, &bob, json!({"status": "invited"})).await.expect(200);
    assert_eq!(bob.own_list("game").await["pending_invites"][&session]["session_id"], json!(session));
}

#[tokio::test]
async fn status_member_keeps_the_role_of_active_players() {
    let (server, alice, bob, session) = game().await;
    let before = contents(&server).await;
    for (caller, player, role) in [
        (&alice, &alice, "leader"),
        (&alice, &bob, "member"),
        (&bob, &alice, "leader"),
        (&bob, &bob, "member"),
    ] {
        let updated = caller.updates(&session, player, all_defaults()).await.expect(200);
        assert_eq!(updated.body["status"], json!(role));
        caller.reads_etag_of(&session, &updated).await;
    }
    assert_eq!(contents(&server).await, before, "the bodies ask for no change");
    let stranger = server.player();
    stranger.updates(&session, &bob, all_defaults()).await.refused(403, "not_active_in_session");
}

#[tokio::test]
async fn a_repeated_join_with_team_0_requests_no_team() {
    let (server, _, bob, session) = game().await;
    let before = contents(&server).await;
    let join = json!({"status": "member", "team_id": 0});
    let again = bob.updates(&session, &bob, join).await.expect(200);
    assert_eq!(again.status_and_team(), status_and_team("member", 1));
    assert_eq!(contents(&server).await, before, "like a join that is repeated by `…/player/me`");
    // Without a status, 0 is the first team.
    let moved = bob.updates(&session, &bob, json!({"team_id": 0})).await.expect(200);
    assert_eq!(moved.status_and_team(), status_and_team("member", 0));
    let moved = bob.updates(&session, &bob, json!({"status": "member", "team_id": 1})).await.expect(200);
    assert_eq!(moved.status_and_team(), status_and_team("member", 1));
}

#[tokio::test]
async fn status_member_does_not_accept_an_invite_for_another_player() {
    let (server, alice, bob, session) = game().await;
    let carol = server.player();
    alice.invites(&session, &carol).await.expect(200);
    for caller in [&alice, &bob] {
        caller.updates(&session, &carol, all_defaults()).await.refused(403, "join_for_others");
    }
    assert_eq!(alice.sees_status_and_team(&session, &carol).await, status_and_team("invited", 0));
    // Without a status, team and data change and the invite stays.
    let body = json!({"team_id": 1, "custom_data": {"a": "b"}});
    let moved = alice.updates(&session, &carol, body).await.expect(200);
    assert_eq!(
        (moved.status_and_team(), &moved.body["custom_data"]),
        (status_and_team("invited", 1), &json!({"a": "b"}))
    );
    let accepted = carol.updates(&session, &carol, all_defaults()).await.expect(200);
    assert_eq!(
        (accepted.status_and_team(), &accepted.body["custom_data"]),
        (status_and_team("member", 1), &json!({"a": "b"}))
    );
    carol.reads_etag_of(&session, &accepted).await;
}

#[tokio::test]
async fn status_member_joins_the_caller_or_with_permission_another_player() {
    let (server, alice, _, session) = game().await;
    let (carol, dave) = (server.player(), server.player());
    alice.updates(&session, &carol, all_defaults()).await.refused(403, "join_for_others");
    let joined = carol.updates(&session, &carol, all_defaults()).await.expect(200);
    assert_eq!(joined.status_and_team(), status_and_team("member", 0));
    let service = server.service(&["session:update-player:any"]);
    let body = json!({"status": "member", "team_id": 1, "custom_data": {"a": "b"}});
    let joined = service.updates(&session, &dave, body).await.expect(200);
    assert_eq!(
        (joined.status_and_team(), &joined.body["custom_data"]),
        (status_and_team("member", 1), &json!({"a": "b"}))
    );
    let entry = alice.sees(&session, &dave).await;
    assert!(
        entry["joined"].is_string()
            && entry.get("client_settings").is_none()
            && entry.get("version").is_none()
    );
    assert_eq!(dave.own_list("game").await["session_ids"], json!([session]));
}

#[tokio::test]
async fn status_member_follows_the_join_rules() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    bob.updates(&session, &bob, all_defaults()).await.refused(403, "session_not_joinable");
    server
        .service(&["session:update-player:any"])
        .updates(&session, &bob, all_defaults())
        .await
        .refused(403, "session_not_joinable");
    let open = json!({"joinable": true, "password": "swordfish"});
    alice.patch(&format!("/v1/session/{session}"), &open).await.expect(200);
    bob.updates(&session, &bob, all_defaults()).await.refused(403, "wrong_password");
    bob.updates("none", &bob, all_defaults()).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn status_member_joins_without_client_data_if_no_check_needs_it() {
    let server = Server::with(|config| config.sessions.version_check = VersionCheck::Exact);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.updates(&session, &bob, all_defaults()).await.refused(403, "version_mismatch");
    alice.invites(&session, &bob).await.expect(200);
    bob.updates(&session, &bob, all_defaults()).await.expect(200);

    let server = Server::new();
    let picky = server.player();
    let mut body = joining();
    for (platform, input, fits) in
        [("any", "any", true), ("any", "gamepad", false), ("xboxlike", "any", false)]
    {
        let session = picky.creates("party").await;
        picky.opens(&session).await;
        body["crossplay_preferences"] = json!({
            "permitted_platform": format!("desired_platforms_{platform}"),
            "permitted_input": format!("desired_inputs_{input}"),
        });
        picky.post(&format!("/v1/session/{session}/player/me"), &body).await.expect(200);
        let without_client_data = server.player();
        let joined = without_client_data.updates(&session, &without_client_data, all_defaults()).await;
        if fits {
            joined.expect(200)
        } else {
            joined.refused(403, "crossplay_mismatch")
        };
    }
}

#[tokio::test]
async fn without_a_status_only_team_and_data_change() {
    let (server, alice, bob, session) = game().await;
    // The body that published clients send to change a team.
    let moved = alice.updates(&session, &alice, json!({"team_id": 1})).await.expect(200);
    assert_eq!(moved.status_and_team(), status_and_team("leader", 1), "the leader is not demoted");
    alice.reads_etag_of(&session, &moved).await;
    let data = bob.updates(&session, &bob, json!({"custom_data": {"a": "b"}})).await.expect(200);
    assert_eq!(
        (data.status_and_team(), &data.body["custom_data"]),
        (status_and_team("member", 1), &json!({"a": "b"}))
    );
    let kept = bob.updates(&session, &bob, json!({"team_id": 0})).await.expect(200);
    assert_eq!(kept.body["custom_data"], json!({"a": "b"}), "data that is not sent stays");
    let stranger = server.player();
    alice.updates(&session, &stranger, json!({})).await.refused(404, "player_not_found");
    stranger.updates(&session, &bob, json!({})).await.refused(403, "not_active_in_session");
    alice.updates(&session, &bob, json!({"team_id": 2})).await.refused(404, "team_not_found");
}

#[tokio::test]
async fn changing_another_player_needs_the_right_for_that_change() {
    let (server, alice, bob, session) = game().await;
    let carol = server.player();
    carol.joins(&session).await.expect(200);
    let before = contents(&server).await;
    let refusals = [
        (json!({"status": "leader"}), "not_session_leader"),
        (json!({"team_id": 0}), "session_right_missing"),
        (json!({"custom_data": {"a": "b"}}), "not_session_leader"),
        (json!({"team_id": 0, "custom_data": {"a": "b"}}), "session_right_missing"),
    ];
    for (body, code) in refusals {
        carol.updates(&session, &bob, body).await.refused(403, code);
    }
    let dave = server.player();
    carol.updates(&session, &dave, json!({"status": "invited"})).await.refused(403, "session_right_missing");
    carol.updates(&session, &dave, json!({"status": "reserved"})).await.refused(403, "session_right_missing");
    assert_eq!(contents(&server).await, before);
    for right in ["invite", "move"] {
        alice.gives_right(&session, &carol, right).await.expect(200);
    }
    carol.updates(&session, &bob, json!({"team_id": 0})).await.expect(200);
    carol.updates(&session, &dave, json!({"status": "invited"})).await.expect(200);
    let both = json!({"team_id": 1, "custom_data": {"a": "b"}});
    carol.updates(&session, &bob, both).await.refused(403, "not_session_leader");
    assert_eq!(
        alice.sees_status_and_team(&session, &bob).await,
        status_and_team("member", 0),
        "a change is made completely or not at all"
    );
}

#[tokio::test]
async fn by_uuid_each_change_needs_its_own_permission() {
    let (server, alice, bob, session) = game().await;
    let (promoting, updating) = (
        with_permission(&server, &alice, "session:promote:self"),
        with_permission(&server, &alice, "session:update-player:self"),
    );
    updating.updates(&session, &bob, json!({"status": "leader"})).await.refused(403, "permission_denied");
    for body in [json!({"team_id": 0}), json!({}), json!({"status": "invited"}), all_defaults()] {
        promoting.updates(&session, &bob, body).await.refused(403, "permission_denied");
    }
    let both = json!({"status": "leader", "team_id": 0});
    for caller in [&promoting, &updating, &server.service(&["session:promote:any"])] {
        caller.updates(&session, &bob, both.clone()).await.refused(403, "permission_denied");
    }
    updating.updates(&session, &bob, json!({"team_id": 0})).await.expect(200);
    promoting.updates(&session, &bob, json!({"status": "leader"})).await.expect(200);
    // The other two paths need only the permission to promote.
    for path in [player_path(&session, alice.player), by_id(&session, ALICES_ID)] {
        updating.post(&path, &json!({})).await.refused(403, "permission_denied");
        promoting.post(&path, &json!({})).await.expect(200);
    }
}

#[tokio::test]
async fn by_uuid_two_changes_need_both_permissions_for_that_player() {
    let (server, alice, bob, session) = game().await;
    let both = json!({"status": "leader", "custom_data": {"a": "b"}});
    for permissions in [
        ["session:promote:any", "session:update-player:self"],
        ["session:promote:self", "session:update-player:any"],
    ] {
        let stranger = server.player_with(None, &permissions);
        stranger.updates(&session, &bob, both.clone()).await.refused(403, "not_active_in_session");
    }
    let service = server.service(&["session:promote:any", "session:update-player:any"]);
    let promoted = service.updates(&session, &bob, both).await.expect(200);
    assert_eq!(promoted.status_and_team(), status_and_team("leader", 1));
    assert_eq!(alice.sees(&session, &bob).await["custom_data"], json!({"a": "b"}));
}

/// The same player with a token that has only this permission.
fn with_permission(server: &Server, player: &Client, permission: &str) -> Client {
    let token = server.token(&grant(Some(player.player), None, &[permission]));
    Client { player: player.player, ..server.bearer(token) }
}

#[tokio::test]
async fn numeric_ids_are_known_from_tokens_seen_in_sessions() {
    let (server, alice, bob, session) = game().await;
    let body = json!({"status": "invited"});
    alice.post(&by_id(&session, 9), &body).await.refused(404, "player_not_found");
    alice.delete(&by_id(&session, 9)).await.refused(404, "player_not_found");
    let carol = server.player_numbered(9);
    carol.creates("party").await;
    let invited = alice.post(&by_id(&session, 9), &body).await.expect(200);
    assert_eq!(invited.body["player_uuid"], json!(carol.player));
    // For an unknown session, the answer does not reveal whether the id is known.
    for id in [9, 10] {
        alice.post(&by_id("none", id), &body).await.refused(404, "session_not_found");
        alice.delete(&by_id("none", id)).await.refused(404, "session_not_found");
    }
    // An id stays known after the player has left.
    bob.leaves(&session).await.expect(204);
    alice.post(&by_id(&session, BOBS_ID), &body).await.expect(200);
    bob.delete(&by_id(&session, BOBS_ID)).await.expect(204);
    let integer = (json!(["path", "player_id"]), "type_error.integer");
    for method in [Method::POST, Method::DELETE] {
        let path = format!("/v1/session/{session}/player/id/bob");
        let refused = alice.send(method, &path, &[], Some("{}".into())).await;
        refused.invalid(std::slice::from_ref(&integer));
    }
}

#[tokio::test]
async fn a_callers_numeric_id_is_known_from_the_callers_token() {
    let (server, alice, _, session) = game().await;
    let carol = server.player_numbered(9);
    alice.invites(&session, &carol).await.expect(200);
    // Other callers cannot name carol by her id, because she was never in a session.
    alice.delete(&by_id(&session, 9)).await.refused(404, "player_not_found");
    carol.delete(&by_id(&session, 9)).await.expect(204);
    assert!(alice.sees(&session, &carol).await.is_null());
}

#[tokio::test]
async fn the_deprecated_paths_of_a_players_session_list_answer_the_same() {
    let (server, alice, bob, session) = game().await;
    let own = alice.get("/v1/player/me/session").await.expect(200);
    assert_eq!(own.body["sessions"]["game"]["session_ids"], json!([session]));
    let by_uuid = format!("/v1/player/uuid/{}/session", alice.player);
    let read = alice.get(&by_uuid).await.expect(200);
    assert_eq!((read.bytes.clone(), read.etag()), (own.bytes.clone(), own.etag()));
    alice.get_if_none_match(&by_uuid, &own.etag()).await.expect(304);
    let by_id = format!("/v1/player/id/{ALICES_ID}/session");
    assert_eq!(alice.get(&by_id).await.expect(200).bytes, own.bytes);

    for path in [&by_uuid, &by_id] {
        bob.get(path).await.refused(403, "permission_denied");
        let service = server.service(&["session:read-player:any"]);
        assert_eq!(service.get(path).await.expect(200).bytes, own.bytes);
    }
    let service = server.service(&["session:read-player:any"]);
    service.get("/v1/player/id/9/session").await.refused(404, "player_not_found");
    alice.get("/v1/player/id/9/session").await.refused(403, "permission_denied");
    let unknown = service.get(&format!("/v1/player/uuid/{}/session", uuid::Uuid::from_u128(9))).await;
    assert_eq!(unknown.expect(200).body, json!({"sessions": {}}));
    service
        .get("/v1/player/id/x/session")
        .await
        .invalid(&[(json!(["path", "player_id"]), "type_error.integer")]);
    service
        .get("/v1/player/uuid/x/session")
        .await
        .invalid(&[(json!(["path", "player_uuid"]), "type_error.uuid")]);
}

#[tokio::test]
async fn a_deprecated_body_is_validated() {
    let (_, alice, bob, session) = game().await;
    let wrong = json!({"status": "boss", "team_id": -1, "custom_data": [], "overflow_action": null});
    alice.updates(&session, &bob, wrong).await.invalid(&[
        (json!(["body", "status"]), "type_error.enum"),
        (json!(["body", "team_id"]), "value_error.number.not_ge"),
        (json!(["body", "custom_data"]), "type_error.dict"),
        (json!(["body", "overflow_action"]), "type_error.none.not_allowed"),
    ]);
    // A field with a default takes no null; an optional one does.
    let null = (json!(["body", "status"]), "type_error.none.not_allowed");
    alice.updates(&session, &bob, json!({"status": null})).await.invalid(&[null]);
    alice.updates(&session, &bob, json!({"team_id": null})).await.expect(200);
}
