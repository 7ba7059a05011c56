//! Changing the players of a session: updating, promoting, moving, swapping and kicking.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Reply, Server, action_path, contents, player_path, status_and_team};

/// Alice leads; bob and carol are members, bob on the second team.
async fn game() -> (Server, [Client; 3], String) {
    let server = Server::new();
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    server.clock.advance(Duration::from_secs(1));
    bob.joins_team(&session, 1).await.expect(200);
    server.clock.advance(Duration::from_secs(1));
    carol.joins(&session).await.expect(200);
    (server, [alice, bob, carol], session)
}

async fn update(caller: &Client, session: &str, player: Uuid, body: Value) -> Reply {
    caller.post(&format!("/v2/session/{session}/player/{player}"), &body).await
}

#[tokio::test]
async fn an_update_replaces_all_of_the_players_data() {
    let (server, [alice, bob, carol], session) = game().await;
    let data = |data: Value| json!({ "custom_data": data });
    let updated = update(&bob, &session, bob.player, data(json!({"a": "1", "b": "2"}))).await.expect(200);
    let expected = json!({
        "player_uuid": bob.player, "status": "member", "team_id": 1, "custom_data": {"a": "1", "b": "2"},
    });
    assert_eq!(updated.body, expected);
    bob.reads_etag_of(&session, &updated).await;
    let before = contents(&server).await;
    let again = update(&bob, &session, bob.player, data(json!({"a": "1", "b": "2"}))).await.expect(200);
    assert_eq!(
        (again.etag(), contents(&server).await),
        (updated.etag(), before),
        "a repeated request changes nothing"
    );

    let updated = update(&alice, &session, bob.player, data(json!({"c": "3"}))).await.expect(200);
    assert_eq!(updated.body["custom_data"], json!({"c": "3"}));
    alice.reads_etag_of(&session, &updated).await;
    let updated = update(&bob, &session, bob.player, json!({})).await.expect(200);
    assert_eq!(updated.body["custom_data"], json!({}));
    assert_eq!(carol.sees(&session, &bob).await["custom_data"], json!({}));
}

#[tokio::test]
async fn only_the_player_the_leader_or_update_player_any_may_update() {
    let (server, [alice, bob, carol], session) = game().await;
    let body = json!({"custom_data": {"a": "b"}});
    update(&carol, &session, bob.player, body.clone()).await.refused(403, "not_session_leader");
    update(&server.player(), &session, bob.player, body.clone()).await.refused(403, "not_active_in_session");
    let stranger = server.player();
    update(&stranger, &session, stranger.player, body.clone()).await.refused(404, "player_not_found");
    update(&alice, &session, stranger.player, body.clone()).await.refused(404, "player_not_found");
    update(&alice, "none", alice.player, body.clone()).await.refused(404, "session_not_found");
    let service = server.service(&["session:update-player:any"]);
    let updated = update(&service, &session, bob.player, body.clone()).await.expect(200);
    // The service has only the public view, and the ETag of the answer is that of its view.
    server.service(&["session:read:self"]).reads_etag_of(&session, &updated).await;
    let own = server.service(&["session:update-player:self"]);
    update(&own, &session, bob.player, body).await.refused(403, "player_required");
    let value = (json!(["body", "custom_data", "a"]), "value_error.any_str.min_length");
    update(&bob, &session, bob.player, json!({"custom_data": {"a": ""}})).await.invalid(&[value]);
}

#[tokio::test]
async fn promoting_makes_the_old_leader_a_member() {
    let (server, [alice, bob, _], session) = game().await;
    let promoted = alice.promotes(&session, &bob).await.expect(200);
    let expected = json!({"player_uuid": bob.player, "status": "leader", "team_id": 1, "custom_data": {}});
    assert_eq!(promoted.body, expected);
    alice.reads_etag_of(&session, &promoted).await;
    assert_eq!(alice.sees_status_and_team(&session, &alice).await, status_and_team("member", 0));
    assert_eq!(alice.sees(&session, &alice).await["session_permissions"], json!([]));
    assert_eq!(alice.sees(&session, &bob).await["session_permissions"], json!(["invite", "kick", "move"]));
    alice.promotes(&session, &alice).await.refused(403, "not_session_leader");
    let before = contents(&server).await;
    let again = bob.promotes(&session, &bob).await.expect(200);
    assert_eq!(again.status_and_team(), status_and_team("leader", 1), "promoting the leader changes nothing");
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn only_the_leader_or_promote_any_may_promote_active_players() {
    let (server, [alice, bob, carol], session) = game().await;
    let (stranger, invited) = (server.player(), server.player());
    bob.promotes(&session, &bob).await.refused(403, "not_session_leader");
    bob.promotes(&session, &carol).await.refused(403, "not_session_leader");
    stranger.promotes(&session, &bob).await.refused(403, "not_active_in_session");
    alice.promotes(&session, &stranger).await.refused(404, "player_not_found");
    alice.promotes("none", &bob).await.refused(404, "session_not_found");
    alice.invites(&session, &invited).await.expect(200);
    alice.promotes(&session, &invited).await.refused(403, "player_not_active");
    invited.promotes(&session, &invited).await.refused(403, "not_active_in_session");
    let service = server.service(&["session:promote:any"]);
    let promoted = service.promotes(&session, &carol).await.expect(200);
    assert_eq!(promoted.status_and_team(), status_and_team("leader", 0));
    let uuid = (json!(["path", "player_uuid"]), "type_error.uuid");
    alice.post(&format!("/v2/session/{session}/player/bob:promote"), &Value::Null).await.invalid(&[uuid]);
}

#[tokio::test]
async fn players_may_move_themselves_if_the_template_allows_it() {
    let (server, [alice, bob, _], session) = game().await;
    let moved = bob.moves(&session, &bob, 0).await.expect(200);
    assert_eq!(moved.status_and_team(), status_and_team("member", 0));
    bob.reads_etag_of(&session, &moved).await;
    let before = contents(&server).await;
    assert_eq!(bob.moves(&session, &bob, 0).await.expect(200).etag(), moved.etag());
    let stays = bob.post(&action_path(&session, bob.player, "move"), &json!({})).await.expect(200);
    assert_eq!((stays.etag(), contents(&server).await), (moved.etag(), before), "no team, no move");
    bob.moves(&session, &bob, 2).await.refused(404, "team_not_found");
    let negative = (json!(["body", "team_id"]), "value_error.number.not_ge");
    bob.post(&action_path(&session, bob.player, "move"), &json!({"team_id": -1})).await.invalid(&[negative]);

    let server = Server::with(|config| config.templates.get_mut("game").unwrap().can_change_own_team = false);
    let (leader, member) = (server.player(), server.player());
    let fixed = leader.creates("game").await;
    member.joins(&fixed).await.expect(200);
    member.moves(&fixed, &member, 1).await.refused(403, "session_right_missing");
    leader.moves(&fixed, &member, 1).await.expect(200);
    leader.moves(&fixed, &leader, 1).await.expect(200);
    leader.gives_right(&fixed, &member, "move").await.expect(200);
    member.moves(&fixed, &member, 0).await.expect(200);
    alice.session(&session).await.expect(200);
}

#[tokio::test]
async fn moving_another_player_needs_the_right_and_a_free_slot() {
    let (server, [alice, bob, carol], session) = game().await;
    carol.moves(&session, &bob, 0).await.refused(403, "session_right_missing");
    server.player().moves(&session, &bob, 0).await.refused(403, "not_active_in_session");
    server.player().moves(&session, &server.player(), 0).await.refused(403, "not_active_in_session");
    alice.moves(&session, &server.player(), 0).await.refused(404, "player_not_found");
    alice.moves("none", &bob, 0).await.refused(404, "session_not_found");
    alice.gives_right(&session, &carol, "move").await.expect(200);
    let moved = carol.moves(&session, &bob, 0).await.expect(200);
    assert_eq!(moved.status_and_team(), status_and_team("member", 0));
    carol.reads_etag_of(&session, &moved).await;
    let service = server.service(&["session:update-player:any"]);
    service.moves(&session, &bob, 1).await.expect(200);

    let team = json!({"max_size": 1});
    alice.patch(&format!("/v1/session/{session}/team/1"), &team).await.expect(200);
    alice.moves(&session, &carol, 1).await.refused(403, "team_full");
    service.moves(&session, &carol, 1).await.refused(403, "team_full");
    bob.moves(&session, &bob, 1).await.expect(200);
    // An invited player holds a slot of the team too.
    bob.moves(&session, &bob, 0).await.expect(200);
    alice.invites_with(&session, &server.player(), json!({"team_id": 1})).await.expect(200);
    bob.moves(&session, &bob, 1).await.refused(403, "team_full");
}

#[tokio::test]
async fn a_swap_exchanges_the_teams_of_two_members() {
    let (server, [alice, bob, carol], session) = game().await;
    // Both teams are full, so neither player could move.
    let sizes = json!({"teams": [{"max_size": 2}, {"max_size": 1}]});
    alice.patch(&format!("/v1/session/{session}"), &sizes).await.expect(200);
    let swapped = alice.swaps(&session, &bob, &carol).await.expect(200);
    let entry = |player: &Client, team_id: u8| json!({"player_uuid": player.player, "status": "member", "team_id": team_id, "custom_data": {}});
    assert_eq!(swapped.body, json!({"players": [entry(&bob, 0), entry(&carol, 1)]}));
    alice.reads_etag_of(&session, &swapped).await;
    assert_eq!(alice.sees_status_and_team(&session, &carol).await, status_and_team("member", 1));
    let service = server.service(&["session:update:any"]);
    service.swaps(&session, &carol, &bob).await.expect(200);
    assert_eq!(alice.sees_status_and_team(&session, &bob).await, status_and_team("member", 1));
}

#[tokio::test]
async fn a_swap_needs_two_active_players_of_different_teams_and_no_leader() {
    let (server, [alice, bob, carol], session) = game().await;
    let (dave, invited) = (server.player(), server.player());
    dave.joins(&session).await.expect(200);
    alice.invites_with(&session, &invited, json!({"team_id": 1})).await.expect(200);
    let before = contents(&server).await;
    alice.swaps(&session, &carol, &dave).await.refused(403, "same_team");
    alice.swaps(&session, &carol, &carol).await.refused(403, "same_team");
    alice.swaps(&session, &alice, &bob).await.refused(403, "leader_not_swappable");
    alice.swaps(&session, &bob, &alice).await.refused(403, "leader_not_swappable");
    alice.swaps(&session, &carol, &invited).await.refused(403, "player_not_active");
    alice.swaps(&session, &carol, &server.player()).await.refused(404, "player_not_found");
    alice.swaps("none", &bob, &carol).await.refused(404, "session_not_found");
    server.player().swaps(&session, &bob, &carol).await.refused(403, "not_active_in_session");
    assert_eq!(contents(&server).await, before, "refusals change nothing");
    alice.gives_right(&session, &carol, "move").await.expect(200);
    let before = contents(&server).await;
    carol.swaps(&session, &bob, &carol).await.refused(403, "not_session_leader");
    assert_eq!(contents(&server).await, before, "refusals change nothing");

    let path = format!("/v1/session/{session}/player:swap");
    let players = json!(["body", "players"]);
    let few = (players.clone(), "value_error.list.min_items");
    alice.post(&path, &json!({"players": [bob.player]})).await.invalid(&[few]);
    let many = (players.clone(), "value_error.list.max_items");
    alice.post(&path, &json!({"players": [bob.player, carol.player, bob.player]})).await.invalid(&[many]);
    let missing = (players, "value_error.missing");
    alice.post(&path, &json!({})).await.invalid(&[missing]);
    let uuid = (json!(["body", "players", 1]), "type_error.uuid");
    alice.post(&path, &json!({"players": [bob.player, "carol"]})).await.invalid(&[uuid]);
}

#[tokio::test]
async fn a_kicked_player_is_removed_from_session_and_list() {
    let (server, [alice, bob, carol], session) = game().await;
    let kicked = alice.kicks(&session, &bob).await.expect(204);
    alice.reads_etag_of(&session, &kicked).await;
    assert_eq!(alice.sees(&session, &bob).await, Value::Null);
    assert_eq!(bob.own_list("game").await, Value::Null);
    assert!(bob.session(&session).await.expect(200).body.get("platform_session").is_none());
    alice.kicks(&session, &bob).await.refused(404, "player_not_found");
    alice.invites(&session, &bob).await.expect(200);
    bob.joins(&session).await.expect(200);

    let path = player_path(&session, bob.player);
    let reason = (json!(["query", "reason"]), "value_error.any_str.max_length");
    alice.delete(&format!("{path}?reason={}", "x".repeat(129))).await.invalid(&[reason]);
    alice.delete(&format!("{path}?reason=idle&refresh_ttl=false")).await.expect(204);
    server.service(&["session:update-player:any"]).kicks(&session, &carol).await.expect(204);
    alice.kicks("none", &carol).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn kicking_cancels_invites_and_reservations() {
    let (server, [alice, ..], session) = game().await;
    let (invited, reserved) = (server.player(), server.player());
    alice.invites(&session, &invited).await.expect(200);
    alice.updates(&session, &reserved, json!({"status": "reserved"})).await.expect(200);
    let before = alice.session(&session).await.etag();
    for gone in [&invited, &reserved] {
        alice.reads_etag_of(&session, &alice.kicks(&session, gone).await.expect(204)).await;
        assert_eq!(gone.own_list("game").await, Value::Null);
    }
    assert_ne!(alice.session(&session).await.etag(), before);
}

#[tokio::test]
async fn kicking_needs_the_right_and_a_given_right_does_not_kick_the_leader() {
    let (server, [alice, bob, carol], session) = game().await;
    carol.kicks(&session, &bob).await.refused(403, "session_right_missing");
    server.player().kicks(&session, &bob).await.refused(403, "not_active_in_session");
    alice.gives_right(&session, &carol, "kick").await.expect(200);
    carol.kicks(&session, &alice).await.refused(403, "leader_not_kickable");
    carol.kicks(&session, &server.player()).await.refused(404, "player_not_found");
    let kicked = carol.kicks(&session, &bob).await.expect(204);
    carol.reads_etag_of(&session, &kicked).await;
    let service = server.service(&["session:update-player:any"]);
    service.kicks(&session, &alice).await.expect(204);
    assert_eq!(carol.sees_status_and_team(&session, &carol).await, status_and_team("leader", 0));
}

#[tokio::test]
async fn a_player_who_kicks_themselves_leaves() {
    let (_, [alice, bob, carol], session) = game().await;
    let gone = alice.kicks(&session, &alice).await.expect(204);
    // A player who left has the public view.
    alice.reads_etag_of(&session, &gone).await;
    assert_eq!(
        bob.sees_status_and_team(&session, &bob).await,
        status_and_team("leader", 1),
        "the longest active player leads"
    );
    alice.kicks(&session, &alice).await.refused(404, "player_not_found");
    carol.kicks(&session, &carol).await.expect(204);
    bob.kicks(&session, &bob).await.expect(204);
    bob.session(&session).await.refused(404, "session_not_found");
}
