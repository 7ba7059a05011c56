//! The team of a player who joins with `team_id` 0, as published clients do: that of the player's invite, else the
//! first team with a free slot. This holds for every way to join.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Server, XBOX_ID, creation, joining, platform_path, status_and_team};

/// The body of a join with every field that published clients send: [`joining`] has a `team_id` of 0.
fn joining_as(status: &str) -> Value {
    let mut body = joining();
    body["status"] = json!(status);
    body
}

/// A create-or-join of a game by a published client.
fn create_or_join() -> Value {
    let mut body = creation("game");
    body["player"] = joining_as("leader");
    body
}

/// A game of two teams whose first team is full: alice leads it, and every slot of team 0 is taken.
async fn game_with_a_full_first_team(server: &Server) -> (Client, String) {
    let alice = server.player();
    let session = alice.creates("game").await;
    let teams = json!({"teams": [{"max_size": 1}, {}]});
    alice.patch(&format!("/v1/session/{session}"), &teams).await.expect(200);
    alice.links(&session).await.expect(200);
    (alice, session)
}

/// Every way for a player to join a session with `team_id` 0, with a name for failures.
async fn ways_to_join(alice: &Client, session: &str, joiner: &Client) -> Vec<(&'static str, String, Value)> {
    let code =
        alice.send(Method::POST, &format!("/v1/session/{session}:generate-short-code"), &[], None).await;
    let code = match code.status.as_u16() {
        200 => code.body["short_code"].as_str().unwrap().to_owned(),
        _ => alice.session(session).await.body["short_code"].as_str().unwrap().to_owned(),
    };
    let platform = platform_path("XboxLive", XBOX_ID);
    let member = json!({"status": "member", "team_id": 0, "custom_data": {}, "overflow_action": "fail"});
    vec![
        ("by id", format!("/v1/session/{session}/player/me"), joining_as("member")),
        ("by short code", format!("/v1/session/{code}/player/me"), joining_as("member")),
        ("through the platform session", format!("{platform}/player/me"), joining_as("member")),
        ("by uuid there", format!("{platform}/player/{}", joiner.player), joining_as("member")),
        ("deprecated", format!("/v1/session/{session}/player/uuid/{}", joiner.player), member.clone()),
        ("deprecated, older", format!("/v1/session/{session}/player/{}", joiner.player), member),
    ]
}

#[tokio::test]
async fn an_invited_or_reserved_player_joins_the_team_of_the_invite() {
    let server = Server::new();
    let (alice, session) = game_with_a_full_first_team(&server).await;
    let ways = ways_to_join(&alice, &session, &alice).await.len();
    for way in 0..ways {
        for status in ["invited", "reserved"] {
            let joiner = server.player();
            let invite = json!({"status": status, "team_id": 1});
            alice.updates(&session, &joiner, invite).await.expect(200);
            let (name, path, body) = ways_to_join(&alice, &session, &joiner).await.swap_remove(way);
            let joined = joiner.post(&path, &body).await;
            assert_eq!(joined.status, 200, "{name}, {status}: {}", joined.body);
            let seen = alice.sees_status_and_team(&session, &joiner).await;
            assert_eq!(seen, status_and_team("member", 1), "{name}, {status}");
            joiner.leaves(&session).await.expect(204);
        }
    }
}

#[tokio::test]
async fn an_invited_player_keeps_the_team_of_the_invite_also_if_the_first_team_has_room() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    alice.updates(&session, &bob, json!({"status": "invited", "team_id": 1})).await.expect(200);
    assert_eq!(bob.joins(&session).await.expect(200).status_and_team(), status_and_team("member", 1));
}

#[tokio::test]
async fn a_player_without_an_invite_joins_the_first_team_with_a_free_slot() {
    let server = Server::new();
    let (alice, session) = game_with_a_full_first_team(&server).await;
    let ways = ways_to_join(&alice, &session, &alice).await.len();
    for way in 0..ways {
        let joiner = server.player();
        let (name, path, body) = ways_to_join(&alice, &session, &joiner).await.swap_remove(way);
        let joined = joiner.post(&path, &body).await;
        assert_eq!(joined.status, 200, "{name}: {}", joined.body);
        assert_eq!(
            alice.sees_status_and_team(&session, &joiner).await,
            status_and_team("member", 1),
            "{name}"
        );
        joiner.leaves(&session).await.expect(204);
    }
}

#[tokio::test]
async fn a_full_first_team_fails_a_wish_for_another_full_team_only() {
    let server = Server::new();
    let (alice, session) = game_with_a_full_first_team(&server).await;
    alice.patch(&format!("/v1/session/{session}/team/1"), &json!({"max_size": 1})).await.expect(200);
    server.player().joins(&session).await.expect(200);
    server.player().joins(&session).await.refused(403, "session_full");
    alice.patch(&format!("/v1/session/{session}/team/0"), &json!({"max_size": 2})).await.expect(200);
    let joiner = server.player();
    joiner.joins_team(&session, 1).await.refused(403, "team_full");
    assert_eq!(joiner.joins(&session).await.expect(200).status_and_team(), status_and_team("member", 0));
}

#[tokio::test]
async fn create_or_join_fills_every_team_of_a_session_before_it_creates_another() {
    for body in [creation("game"), create_or_join()] {
        let server = Server::with(|config| {
            let game = config.templates.get_mut("game").unwrap();
            (game.num_teams, game.players_per_team) = (2, 8);
        });
        let mut sessions = Vec::new();
        for _ in 0..17 {
            let joined = server.player().post("/v1/session", &body).await.expect(200);
            sessions.push(joined.body["session_id"].as_str().unwrap().to_owned());
        }
        let (last, first) = sessions.split_last().unwrap();
        assert!(first.iter().all(|id| id == &first[0]), "16 players share a session: {sessions:?}");
        assert_ne!(last, &first[0], "the 17th player gets another session");
    }
}
