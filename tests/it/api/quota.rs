//! Quotas: how many sessions a player may be in, and how many pending invites a player may have.

use rallypoint::document::Document;
use rallypoint::domain::session::Status;
use rallypoint::domain::{PlayerUuid, SessionId};
use rallypoint::records::Membership;
use rallypoint::records::keys;
use rallypoint::store::Batch;
use serde_json::{Value, json};

use crate::harness::{
    Client, Server, XBOX_ID, contents, creation, joining, leftovers, platform_path, status_and_team,
};

/// A server with a quota of two sessions and two invites per player, and N leaders with a party each.
async fn parties<const N: usize>() -> (Server, [(Client, String); N]) {
    let server = Server::with(|config| {
        config.sessions.sessions_per_player_max = 2;
        config.sessions.invites_per_player_max = 2;
    });
    let mut parties = Vec::new();
    for _ in 0..N {
        let leader = server.player();
        let session = leader.creates("party").await;
        parties.push((leader, session));
    }
    (server, parties.try_into().ok().unwrap())
}

#[tokio::test]
async fn the_number_of_pending_invites_is_limited() {
    let (server, [(alice, hers), (bob, his), (carol, third)]) = parties().await;
    let dave = server.player();
    alice.invites(&hers, &dave).await.expect(200);
    bob.updates(&his, &dave, json!({"status": "reserved"})).await.expect(200);
    let before = contents(&server).await;
    carol.invites(&third, &dave).await.refused(403, "too_many_invites");
    for status in ["invited", "reserved"] {
        carol.updates(&third, &dave, json!({ "status": status })).await.refused(403, "too_many_invites");
    }
    server.service(&["session:update:any"]).invites(&third, &dave).await.refused(403, "too_many_invites");
    assert_eq!(contents(&server).await, before);
    // A repeated invite counts once.
    alice.invites(&hers, &dave).await.expect(200);
    // Answered invites do not count, accepted or declined.
    dave.leaves(&his).await.expect(204);
    carol.invites(&third, &dave).await.expect(200);
    dave.joins(&hers).await.expect(200);
    bob.invites(&his, &dave).await.expect(200);
}

#[tokio::test]
async fn the_number_of_pending_invites_from_one_player_is_limited() {
    let server = Server::with(|config| config.sessions.invites_per_inviter_max = 2);
    let (alice, bob, dave) = (server.player(), server.player(), server.player());
    let mut parties = Vec::new();
    for _ in 0..4 {
        parties.push(alice.creates("party").await);
    }
    alice.invites(&parties[0], &dave).await.expect(200);
    alice.updates(&parties[1], &dave, json!({"status": "reserved"})).await.expect(200);
    let before = leftovers(&server).await;
    alice.invites(&parties[2], &dave).await.refused(403, "too_many_invites");
    for status in ["invited", "reserved"] {
        alice.updates(&parties[2], &dave, json!({ "status": status })).await.refused(403, "too_many_invites");
    }
    // Also together with other players of a session.
    let daves = dave.creates("party").await;
    dave.opens(&daves).await;
    alice.joins(&daves).await.expect(200);
    let path = format!("/v1/session/{}/invited-session/{daves}:invite", parties[2]);
    alice.post(&path, &json!({})).await.refused(403, "too_many_invites");
    alice.leaves(&daves).await.expect(204);
    dave.leaves(&daves).await.expect(204);
    assert_eq!(leftovers(&server).await, before);
    // A repeated invite counts once. Others may invite the player, and services are not limited.
    alice.invites(&parties[0], &dave).await.expect(200);
    bob.invites(&bob.creates("party").await, &dave).await.expect(200);
    server.service(&["session:update:any"]).invites(&parties[3], &dave).await.expect(200);
    // An invite that replaces that of a service is one from the player.
    alice.invites(&parties[3], &dave).await.refused(403, "too_many_invites");
    // Answered invites do not count.
    dave.leaves(&parties[0]).await.expect(204);
    alice.invites(&parties[3], &dave).await.expect(200);
    dave.joins(&parties[1]).await.expect(200);
    alice.invites(&parties[2], &dave).await.expect(200);
}

#[tokio::test]
async fn other_invite_errors_come_before_the_invite_limit() {
    let (server, [(alice, hers), (bob, his), (carol, third)]) = parties().await;
    let dave = server.player();
    alice.invites(&hers, &dave).await.expect(200);
    bob.invites(&his, &dave).await.expect(200);
    carol.invites("none", &dave).await.refused(404, "session_not_found");
    server.player().invites(&third, &dave).await.refused(403, "not_active_in_session");
    carol.invites_with(&third, &dave, json!({"team_id": 1})).await.refused(404, "team_not_found");
    carol.opens(&third).await;
    dave.joins(&third).await.expect(200);
    carol.invites(&third, &dave).await.refused(403, "already_in_session");
}

#[tokio::test]
async fn inviting_a_session_fails_as_a_whole_if_one_player_has_too_many_invites() {
    let (server, [(alice, hers), (bob, his), (carol, third), (dave, party)]) = parties().await;
    let eve = server.player();
    dave.opens(&party).await;
    eve.joins(&party).await.expect(200);
    alice.invites(&hers, &eve).await.expect(200);
    bob.invites(&his, &eve).await.expect(200);
    carol.opens(&third).await;
    let path = format!("/v1/session/{third}/invited-session/{party}:invite");
    let before = contents(&server).await;
    dave.post(&path, &json!({})).await.refused(403, "too_many_invites");
    assert_eq!(contents(&server).await, before);
    // A player who is in the session already needs no invite.
    eve.joins(&third).await.expect(200);
    let invited = dave.post(&path, &json!({})).await.expect(200);
    assert_eq!(invited.body["players"].as_array().unwrap().len(), 1, "{}", invited.body);
}

#[tokio::test]
async fn the_number_of_sessions_of_a_player_is_limited() {
    let (server, [(alice, hers), (bob, his), (carol, third)]) = parties().await;
    let dave = server.player();
    for (leader, session) in [(&alice, &hers), (&bob, &his), (&carol, &third)] {
        leader.opens(session).await;
    }
    dave.joins(&hers).await.expect(200);
    dave.joins(&his).await.expect(200);
    let before = contents(&server).await;
    dave.joins(&third).await.refused(403, "too_many_sessions");
    for session_type in ["party", "game"] {
        dave.post("/v1/session", &creation(session_type)).await.refused(403, "too_many_sessions");
    }
    let member = json!({"status": "member"});
    dave.updates(&third, &dave, member.clone()).await.refused(403, "too_many_sessions");
    server
        .service(&["session:update-player:any"])
        .updates(&third, &dave, member.clone())
        .await
        .refused(403, "too_many_sessions");
    assert_eq!(contents(&server).await, before);
    // A player may join again and update the sessions they are in.
    dave.joins(&his).await.expect(200);
    dave.updates(&his, &dave, member).await.expect(200);
    dave.leaves(&hers).await.expect(204);
    dave.joins(&third).await.expect(200);
}

#[tokio::test]
async fn sessions_are_counted_correctly_after_1000_invites() {
    let server = Server::with(|config| {
        config.sessions.sessions_per_player_max = 1;
        config.sessions.invites_per_player_max = 1_000;
    });
    let dave = server.player();
    let invited = Membership { session_type: "game".into(), status: Status::Invited, inviting_player: None };
    let invited = Document::render(&invited);
    let batch = (0..1_000).fold(Batch::default(), |batch, index| {
        // Sorts before every id that the server generates.
        let id = SessionId::parse(&format!("!{index}")).unwrap();
        batch.put(keys::membership(PlayerUuid(dave.player), &id), invited.clone())
    });
    server.app.sessions.store().commit(batch).await.unwrap();
    dave.creates("party").await;
    dave.post("/v1/session", &creation("party")).await.refused(403, "too_many_sessions");
}

#[tokio::test]
async fn invites_count_as_sessions_only_once_accepted() {
    let (server, [(alice, hers), (bob, his), (carol, third)]) = parties().await;
    let dave = server.player();
    alice.invites(&hers, &dave).await.expect(200);
    bob.invites(&his, &dave).await.expect(200);
    dave.joins(&hers).await.expect(200);
    dave.joins(&his).await.expect(200);
    assert_eq!(
        carol.invites(&third, &dave).await.expect(200).status_and_team(),
        status_and_team("invited", 0)
    );
    dave.joins(&third).await.refused(403, "too_many_sessions");
    assert_eq!(dave.own_list("party").await["pending_invites"][&third]["session_id"], json!(third));
    dave.leaves(&his).await.expect(204);
    dave.joins(&third).await.expect(200);
}

#[tokio::test]
async fn other_join_errors_come_before_the_session_limit() {
    let (server, [(alice, hers), (bob, his), (carol, third)]) = parties().await;
    let dave = server.player();
    for (leader, session) in [(&alice, &hers), (&bob, &his)] {
        leader.opens(session).await;
        dave.joins(session).await.expect(200);
    }
    let mut other_team = creation("party");
    other_team["player"] = joining();
    other_team["player"]["team_id"] = json!(9);
    dave.post("/v1/session", &other_team).await.refused(404, "team_not_found");
    dave.joins("none").await.refused(404, "session_not_found");
    dave.joins(&third).await.refused(403, "session_not_joinable");
    let join_path = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
    dave.post(&join_path, &joining()).await.refused(404, "platform_session_not_found");
    carol.links(&third).await.expect(200);
    dave.post(&join_path, &joining()).await.refused(403, "too_many_sessions");
    assert_eq!(carol.sees(&third, &dave).await, Value::Null);
    bob.delete(&format!("/v1/session/{his}")).await.expect(204);
    dave.post(&join_path, &joining()).await.expect(200);
}
