//! Rights that the leader gives to members: reading, giving, removing, and when they end.

use serde_json::{Value, json};

use crate::harness::{Client, Server, contents, player_path, right_path};

async fn game() -> (Server, [Client; 3], String) {
    let server = Server::new();
    let players = [server.player(), server.player(), server.player()];
    let session = players[0].creates("game").await;
    for joiner in &players[1..] {
        joiner.joins(&session).await.expect(200);
    }
    (server, players, session)
}

fn rights_path(session: &str, player: &Client) -> String {
    format!("{}/permission", player_path(session, player.player))
}

fn rights(player: &Client, rights: &[&str]) -> Value {
    json!({"player_uuid": player.player, "permissions": rights})
}

#[tokio::test]
async fn the_leader_has_every_right_and_members_have_given_rights() {
    let (_, [alice, bob, carol], session) = game().await;
    let all = ["invite", "kick", "move"];
    let read = carol.get(&rights_path(&session, &alice)).await.expect(200);
    assert_eq!(read.body, rights(&alice, &all));
    carol.get_if_none_match(&rights_path(&session, &alice), &read.etag()).await.expect(304);
    assert_eq!(carol.get(&rights_path(&session, &bob)).await.expect(200).body, rights(&bob, &[]));

    let given = alice.gives_right(&session, &bob, "move").await.expect(200);
    assert_eq!(given.body, rights(&bob, &["move"]));
    alice.reads_etag_of(&session, &given).await;
    let given = alice.gives_right(&session, &bob, "invite").await.expect(200);
    assert_eq!(given.body, rights(&bob, &["invite", "move"]));
    assert_eq!(carol.get(&rights_path(&session, &bob)).await.expect(200).body, given.body);
    assert_eq!(carol.sees(&session, &bob).await["session_permissions"], json!(["invite", "move"]));
}

#[tokio::test]
async fn giving_or_removing_a_right_twice_changes_nothing() {
    let (server, [alice, bob, _], session) = game().await;
    let path = right_path(&session, bob.player, "kick");
    let untouched = contents(&server).await;
    let taken = alice.delete(&path).await.expect(204);
    assert_eq!(contents(&server).await, untouched, "removing a right that was not given changes nothing");
    alice.reads_etag_of(&session, &taken).await;
    let given = alice.gives_right(&session, &bob, "kick").await.expect(200);
    let before = contents(&server).await;
    let again = alice.gives_right(&session, &bob, "kick").await.expect(200);
    assert_eq!((again.bytes.clone(), again.etag()), (given.bytes.clone(), given.etag()));
    assert_eq!(contents(&server).await, before);
    let taken = alice.delete(&path).await.expect(204);
    alice.reads_etag_of(&session, &taken).await;
    assert_eq!(alice.delete(&path).await.expect(204).etag(), taken.etag());
}

#[tokio::test]
async fn a_right_allows_only_its_own_operation_until_it_is_removed() {
    let (server, [alice, bob, carol], session) = game().await;
    let dave = server.player();
    alice.gives_right(&session, &bob, "invite").await.expect(200);
    bob.invites(&session, &dave).await.expect(200);
    bob.kicks(&session, &carol).await.refused(403, "session_right_missing");
    bob.moves(&session, &carol, 1).await.refused(403, "session_right_missing");
    alice.gives_right(&session, &bob, "move").await.expect(200);
    bob.moves(&session, &carol, 1).await.expect(200);
    alice.gives_right(&session, &bob, "kick").await.expect(200);
    bob.kicks(&session, &dave).await.expect(204);
    // Only the leader may do the rest.
    bob.promotes(&session, &bob).await.refused(403, "not_session_leader");
    bob.gives_right(&session, &carol, "kick").await.refused(403, "not_session_leader");
    bob.patch(&format!("/v1/session/{session}"), &json!({"region_id": "eu"}))
        .await
        .refused(403, "not_session_leader");
    for right in ["invite", "kick", "move"] {
        alice.delete(&right_path(&session, bob.player, right)).await.expect(204);
    }
    bob.invites(&session, &dave).await.refused(403, "session_right_missing");
    bob.kicks(&session, &carol).await.refused(403, "session_right_missing");
    bob.moves(&session, &carol, 0).await.refused(403, "session_right_missing");
}

#[tokio::test]
async fn a_member_who_leaves_loses_given_rights_and_a_promotion_keeps_them() {
    let (_, [alice, bob, carol], session) = game().await;
    alice.gives_right(&session, &bob, "kick").await.expect(200);
    bob.leaves(&session).await.expect(204);
    bob.joins(&session).await.expect(200);
    assert_eq!(bob.get(&rights_path(&session, &bob)).await.expect(200).body, rights(&bob, &[]));
    bob.kicks(&session, &carol).await.refused(403, "session_right_missing");

    alice.gives_right(&session, &carol, "kick").await.expect(200);
    alice.promotes(&session, &bob).await.expect(200);
    assert_eq!(alice.get(&rights_path(&session, &alice)).await.expect(200).body, rights(&alice, &[]));
    assert_eq!(alice.get(&rights_path(&session, &carol)).await.expect(200).body, rights(&carol, &["kick"]));
    carol.kicks(&session, &alice).await.expect(204);
}

#[tokio::test]
async fn only_active_players_or_any_may_read_rights() {
    let (server, [alice, bob, _], session) = game().await;
    let stranger = server.player();
    let path = rights_path(&session, &bob);
    stranger.get(&path).await.refused(403, "not_active_in_session");
    alice.invites(&session, &stranger).await.expect(200);
    stranger.get(&path).await.refused(403, "not_active_in_session");
    assert_eq!(bob.get(&rights_path(&session, &stranger)).await.expect(200).body, rights(&stranger, &[]));
    server.service(&["session:read:permission:any"]).get(&path).await.expect(200);
    alice.get(&rights_path(&session, &server.player())).await.refused(404, "player_not_found");
    alice.get(&rights_path("none", &bob)).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn only_the_leader_or_any_may_give_and_remove_rights() {
    let (server, [alice, bob, carol], session) = game().await;
    let (invited, stranger) = (server.player(), server.player());
    alice.invites(&session, &invited).await.expect(200);
    bob.gives_right(&session, &bob, "kick").await.refused(403, "not_session_leader");
    stranger.gives_right(&session, &bob, "kick").await.refused(403, "not_active_in_session");
    alice.gives_right(&session, &invited, "kick").await.refused(403, "player_not_active");
    alice.gives_right(&session, &stranger, "kick").await.refused(404, "player_not_found");
    alice.gives_right("none", &bob, "kick").await.refused(404, "session_not_found");
    let given = server.service(&["session:give:permission:any"]).gives_right(&session, &bob, "kick").await;
    assert_eq!(given.expect(200).body, rights(&bob, &["kick"]));

    let path = |player: &Client| right_path(&session, player.player, "kick");
    carol.delete(&path(&bob)).await.refused(403, "not_session_leader");
    stranger.delete(&path(&bob)).await.refused(403, "not_active_in_session");
    alice.delete(&path(&invited)).await.refused(403, "player_not_active");
    alice.delete(&path(&stranger)).await.refused(404, "player_not_found");
    alice.delete(&right_path("none", bob.player, "kick")).await.refused(404, "session_not_found");
    // Members may give up their own rights.
    let given_up = bob.delete(&path(&bob)).await.expect(204);
    bob.reads_etag_of(&session, &given_up).await;
    alice.gives_right(&session, &bob, "kick").await.expect(200);
    server.service(&["session:remove:permission:any"]).delete(&path(&bob)).await.expect(204);
    assert_eq!(bob.get(&rights_path(&session, &bob)).await.expect(200).body, rights(&bob, &[]));
}

#[tokio::test]
async fn only_the_three_known_rights_are_accepted() {
    let (_, [alice, bob, _], session) = game().await;
    let found = [(json!(["path", "permission"]), "type_error.enum")];
    alice.gives_right(&session, &bob, "promote").await.invalid(&found);
    alice.delete(&right_path(&session, bob.player, "KICK")).await.invalid(&found);
    let both = [(json!(["path", "player_uuid"]), "type_error.uuid"), found[0].clone()];
    let path = format!("/v1/session/{session}/player/bob/permission/promote");
    alice.patch(&path, &Value::Null).await.invalid(&both);
}
