//! Inviting the players of one session to another, and kicking them from it.

use std::collections::BTreeMap;

use rallypoint::domain::client::VersionCheck;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, contents, joining, status_and_team};

/// Invites `invited` to `target`.
async fn invite(caller: &Client, target: &str, invited: &str, body: Value) -> Reply {
    caller.post(&format!("/v1/session/{target}/invited-session/{invited}:invite"), &body).await
}

/// Kicks the players of `kicked` from `target`.
async fn kick(caller: &Client, target: &str, kicked: &str) -> Reply {
    caller.delete(&format!("/v1/session/{target}/kicked-session/{kicked}")).await
}

/// A party with this many players, its leader first.
async fn party(server: &Server, size: usize) -> (Vec<Client>, String) {
    let leader = server.player();
    let party = leader.creates("party").await;
    leader.opens(&party).await;
    let mut members = vec![leader];
    while members.len() < size {
        let member = server.player();
        member.joins(&party).await.expect(200);
        members.push(member);
    }
    (members, party)
}

/// A closed game with these team sizes, and its leader on the first team.
async fn game(server: &Server, sizes: &[u8]) -> (Client, String) {
    let leader = server.player();
    let game = leader.creates("game").await;
    let teams: Vec<_> = sizes.iter().map(|size| json!({"max_size": size})).collect();
    let change = json!({"teams": teams, "joinable": false});
    leader.patch(&format!("/v1/session/{game}"), &change).await.expect(200);
    (leader, game)
}

/// The number of invited players per team.
fn by_team(invited: &Reply) -> BTreeMap<u64, usize> {
    let mut teams = BTreeMap::new();
    for player in invited.body["players"].as_array().unwrap() {
        assert_eq!(player["status"], json!("invited"));
        *teams.entry(player["team_id"].as_u64().unwrap()).or_default() += 1;
    }
    teams
}

#[tokio::test]
async fn every_active_player_of_the_session_is_invited() {
    let server = Server::new();
    let (members, party) = party(&server, 3).await;
    let (leader, game) = game(&server, &[8, 8]).await;
    members[0].invites(&party, &server.player()).await.expect(200);
    // The leader of the game joins the party and invites it to the game.
    leader.joins(&party).await.refused(403, "session_full");
    members[2].leaves(&party).await.expect(204);
    leader.joins(&party).await.expect(200);
    let body = json!({"team_id": 1, "custom_data": {"from": "party"}});
    let invited = invite(&leader, &game, &party, body).await.expect(200);
    leader.reads_etag_of(&game, &invited).await;
    let expected = |member: &Client| {
        let data = json!({"from": "party"});
        json!({"player_uuid": member.player, "status": "invited", "team_id": 1, "custom_data": data})
    };
    let players = invited.body["players"].as_array().unwrap();
    assert_eq!(
        players.len(),
        2,
        "only active players of the party who are not in the game: {}",
        invited.body
    );
    for member in &members[..2] {
        assert!(players.contains(&expected(member)));
        let entry = leader.sees(&game, member).await;
        assert_eq!(
            (&entry["source_session_id"], &entry["inviting_player_uuid"]),
            (&json!(party), &json!(leader.player))
        );
        assert_eq!(member.own_list("game").await["pending_invites"][&game]["session_id"], json!(game));
        assert_eq!(
            member.joins_team(&game, 1).await.expect(200).status_and_team(),
            status_and_team("member", 1)
        );
    }
}

#[tokio::test]
async fn members_invite_their_own_session_to_an_open_session() {
    let server = Server::new();
    let (members, party) = party(&server, 2).await;
    let (leader, game) = game(&server, &[8]).await;
    invite(&members[1], &game, &party, json!({})).await.refused(403, "not_active_in_session");
    leader.opens(&game).await;
    // Every active player of the party may invite it, not only its leader.
    let invited = invite(&members[1], &game, &party, json!({})).await.expect(200);
    assert_eq!(by_team(&invited), BTreeMap::from([(0, 2)]));
    members[1].reads_etag_of(&game, &invited).await;
}

#[tokio::test]
async fn an_open_session_accepts_a_party_only_as_it_accepts_each_player() {
    let server = Server::new();
    let (members, party) = party(&server, 2).await;
    let (leader, game) = game(&server, &[1]).await;
    leader.opens(&game).await;
    let overfill = json!({"overflow_action": "overfill"});
    invite(&members[0], &game, &party, overfill.clone()).await.refused(403, "not_active_in_session");
    leader.patch(&format!("/v1/session/{game}/team/0"), &json!({"max_size": 8})).await.expect(200);
    let password = json!({"password": "swordfish"});
    leader.patch(&format!("/v1/session/{game}"), &password).await.expect(200);
    invite(&members[0], &game, &party, json!({})).await.refused(403, "not_active_in_session");
    // The right to invite allows overfilling, and invites despite the password.
    server
        .service(&["session:update-player:any"])
        .updates(&game, &members[0], json!({"status": "invited"}))
        .await
        .expect(200);
    members[0].joins(&game).await.expect(200);
    invite(&members[0], &game, &party, overfill.clone()).await.refused(403, "session_right_missing");
    leader.gives_right(&game, &members[0], "invite").await.expect(200);
    invite(&members[0], &game, &party, overfill).await.expect(200);
}

#[tokio::test]
async fn the_caller_must_be_in_the_invited_session_and_may_invite_in_the_target() {
    let server = Server::new();
    let (members, party) = party(&server, 2).await;
    let (leader, game) = game(&server, &[8]).await;
    let before = contents(&server).await;
    // May invite to the game, but is not in the party.
    invite(&leader, &game, &party, json!({})).await.refused(403, "not_active_in_session");
    // Is in neither session.
    invite(&server.player(), &game, &party, json!({})).await.refused(403, "not_active_in_session");
    assert_eq!(contents(&server).await, before);
    // Is in both sessions, but may not invite.
    leader.invites(&game, &members[0]).await.expect(200);
    invite(&members[0], &game, &party, json!({})).await.refused(403, "not_active_in_session");
    members[0].joins(&game).await.expect(200);
    invite(&members[0], &game, &party, json!({})).await.refused(403, "session_right_missing");
    leader.gives_right(&game, &members[0], "invite").await.expect(200);
    invite(&members[0], &game, &party, json!({})).await.expect(200);

    let service = server.service(&["session:update-player:any"]);
    invite(&service, &game, &party, json!({})).await.expect(200);
    assert!(leader.sees(&game, &members[1]).await.get("inviting_player_uuid").is_none());
    invite(&service, "none", &party, json!({})).await.refused(404, "session_not_found");
    invite(&service, &game, "none", json!({})).await.refused(404, "session_not_found");
    let service = server.service(&["session:update-player:self"]);
    invite(&service, &game, &party, json!({})).await.refused(403, "player_required");
}

#[tokio::test]
async fn inviting_ones_own_session_checks_versions_like_a_join() {
    let server = Server::with(|config| config.sessions.version_check = VersionCheck::Exact);
    let (members, party) = party(&server, 2).await;
    let mut newer = joining();
    newer["client_version"] = json!("2.0.0");
    members[1].post(&format!("/v1/session/{party}/player/me"), &newer).await.expect(200);
    let (leader, game) = game(&server, &[8]).await;
    leader.opens(&game).await;
    let before = contents(&server).await;
    invite(&members[0], &game, &party, json!({})).await.refused(403, "version_mismatch");
    assert_eq!(contents(&server).await, before, "nobody was invited");
    // A player without client data fails the check too.
    members[1].leaves(&party).await.expect(204);
    let without_client_data = server.player();
    leader.joins(&party).await.expect(200);
    leader.invites(&party, &without_client_data).await.refused(403, "session_right_missing");
    members[0].invites(&party, &without_client_data).await.expect(200);
    without_client_data.updates(&party, &without_client_data, json!({"status": "member"})).await.expect(200);
    invite(&members[0], &game, &party, json!({})).await.refused(403, "version_mismatch");
    // A caller with the right to invite skips the version check.
    invite(&leader, &game, &party, json!({})).await.expect(200);
    without_client_data.leaves(&party).await.expect(204);
    invite(&members[0], &game, &party, json!({})).await.expect(200);
}

#[tokio::test]
async fn the_overflow_action_decides_when_not_all_players_fit() {
    let server = Server::new();
    let (_, party) = party(&server, 4).await;
    // Free slots: two on the first team, one on the second.
    let cases = [
        (json!({"team_id": 0}), Err("team_full")),
        (json!({"team_id": 0, "overflow_action": "fail"}), Err("team_full")),
        (json!({"team_id": 0, "overflow_action": "allow_overflow"}), Err("team_full")),
        (json!({"team_id": 0, "overflow_action": "partial_with_overflow"}), Ok(vec![(0, 2), (1, 1)])),
        (json!({"team_id": 1, "overflow_action": "partial_with_overflow"}), Ok(vec![(0, 2), (1, 1)])),
        (json!({"team_id": 0, "overflow_action": "partial_without_overflow"}), Ok(vec![(0, 2)])),
        (json!({"team_id": 1, "overflow_action": "partial_without_overflow"}), Ok(vec![(1, 1)])),
        (json!({"team_id": 1, "overflow_action": "overfill"}), Ok(vec![(1, 4)])),
        (json!({"team_id": 2, "overflow_action": "overfill"}), Err("team_not_found")),
    ];
    let service = server.service(&["session:update-player:any"]);
    for (body, expected) in cases {
        let (leader, game) = game(&server, &[3, 1]).await;
        let before = leader.session(&game).await.etag();
        let invited = invite(&service, &game, &party, body.clone()).await;
        match expected {
            Ok(teams) => assert_eq!(by_team(&invited.expect(200)), teams.into_iter().collect(), "{body}"),
            Err(code) => {
                invited.refused(if code == "team_not_found" { 404 } else { 403 }, code);
                assert_eq!(leader.session(&game).await.etag(), before, "{body}: nobody was invited");
            }
        }
    }
    let (_, roomy) = game(&server, &[3, 2]).await;
    let spill = json!({"team_id": 0, "overflow_action": "allow_overflow"});
    let invited = invite(&service, &roomy, &party, spill).await.expect(200);
    assert_eq!(by_team(&invited), BTreeMap::from([(0, 2), (1, 2)]));
    // Players may reuse the slots that they hold, so the same request succeeds again.
    invite(&service, &roomy, &party, json!({"team_id": 0, "overflow_action": "allow_overflow"}))
        .await
        .expect(200);
    let (_, apart) = game(&server, &[2, 4]).await;
    let invited = invite(&service, &apart, &party, json!({})).await.expect(200);
    assert_eq!(by_team(&invited), BTreeMap::from([(1, 4)]), "the first team with room for all");
    let (_, full) = game(&server, &[1]).await;
    invite(&service, &full, &party, json!({})).await.refused(403, "session_full");
}

#[tokio::test]
async fn inviting_a_session_without_new_players_invites_nobody() {
    let server = Server::new();
    let (members, party) = party(&server, 2).await;
    let before = contents(&server).await;
    let invited = invite(&members[0], &party, &party, json!({})).await.expect(200);
    assert_eq!(invited.body, json!({"players": []}));
    members[0].reads_etag_of(&party, &invited).await;
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn kicking_a_session_removes_its_active_players() {
    let server = Server::new();
    let (members, party) = party(&server, 3).await;
    let (leader, game) = game(&server, &[8]).await;
    leader.opens(&game).await;
    let other = server.player();
    for joiner in [&members[0], &other] {
        joiner.joins(&game).await.expect(200);
    }
    leader.invites(&game, &members[1]).await.expect(200);
    let kicked = kick(&leader, &game, &party).await.expect(204);
    leader.reads_etag_of(&game, &kicked).await;
    for member in &members {
        assert_eq!(leader.sees(&game, member).await, Value::Null);
        assert_eq!(member.own_list("game").await, Value::Null);
        assert_eq!(
            member.own_list("party").await["session_ids"],
            json!([party]),
            "the players stay in the party"
        );
    }
    assert_eq!(leader.sees_status_and_team(&game, &other).await, status_and_team("member", 0));
    let again = kick(&leader, &game, &party).await.expect(204);
    assert_eq!(again.etag(), kicked.etag(), "no player of the party is left in the game");
}

#[tokio::test]
async fn only_the_leader_or_any_may_kick_a_session() {
    let server = Server::new();
    let (members, party) = party(&server, 2).await;
    let (leader, game) = game(&server, &[8]).await;
    leader.opens(&game).await;
    members[0].joins(&game).await.expect(200);
    leader.gives_right(&game, &members[0], "kick").await.expect(200);
    kick(&members[0], &game, &party).await.refused(403, "not_session_leader");
    kick(&members[1], &game, &party).await.refused(403, "not_active_in_session");
    kick(&leader, "none", &party).await.refused(404, "session_not_found");
    kick(&leader, &game, "none").await.refused(404, "session_not_found");
    let own = server.player_with(None, &["session:update-player:self"]);
    kick(&own, &game, &party).await.refused(403, "permission_denied");
    kick(&server.service(&["session:update-player:any"]), &game, &party).await.expect(204);
    assert_eq!(leader.sees(&game, &members[0]).await, Value::Null);
}

#[tokio::test]
async fn a_caller_who_kicks_a_session_stays() {
    let server = Server::new();
    let (members, party) = party(&server, 3).await;
    let game = members[0].creates("game").await;
    members[1].joins(&game).await.expect(200);
    members[0].invites(&game, &members[2]).await.expect(200);
    let kicked = kick(&members[0], &game, &party).await.expect(204);
    members[0].reads_etag_of(&game, &kicked).await;
    assert_eq!(members[0].sees_status_and_team(&game, &members[0]).await, status_and_team("leader", 0));
    for gone in &members[1..] {
        assert_eq!(members[0].sees(&game, gone).await, Value::Null);
    }
    // A moderator who is in both sessions stays, too; the leader does not.
    members[1].leaves(&party).await.expect(204);
    let moderator = server.player_with(None, &["session:*"]);
    moderator.joins(&party).await.expect(200);
    moderator.joins(&game).await.expect(200);
    kick(&moderator, &game, &party).await.expect(204);
    assert_eq!(moderator.sees_status_and_team(&game, &moderator).await, status_and_team("leader", 0));
    assert_eq!(moderator.sees(&game, &members[0]).await, Value::Null);
}

#[tokio::test]
async fn a_server_that_kicks_everyone_ends_the_session() {
    let server = Server::new();
    let (members, party) = party(&server, 2).await;
    let game = members[0].creates("game").await;
    members[1].joins(&game).await.expect(200);
    let invited = server.player();
    members[0].invites(&game, &invited).await.expect(200);
    kick(&server.service(&["session:update-player:any"]), &game, &party).await.expect(204);
    members[0].session(&game).await.refused(404, "session_not_found");
    assert_eq!(invited.own_list("game").await, Value::Null);
}

#[tokio::test]
async fn a_session_may_be_invited_to_itself_and_kicked_from_itself() {
    let server = Server::new();
    let (members, party) = party(&server, 3).await;
    let invited = invite(&members[0], &party, &party, json!({})).await.expect(200);
    assert_eq!(invited.body["players"], json!([]), "all players are in the session already");
    kick(&members[0], &party, &party).await.expect(204);
    let left = members[0].session(&party).await.expect(200).body;
    assert_eq!(left["teams"][0]["players"].as_array().unwrap().len(), 1, "only the caller is left: {left}");
}
