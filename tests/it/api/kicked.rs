//! Kicked players, who need an invite to return.

use std::time::Duration;

use rallypoint::config::FriendsCheck;
use serde_json::{Value, json};

use crate::harness::{
    Client, Reply, Server, XBOX_ID, creation, joining, pairs_of_nodes, platform_path, status_and_team,
};

/// An open game that alice leads and that is linked to a platform session. Bob was kicked from it.
async fn game() -> (Server, [Client; 2], String) {
    let server = Server::with(|config| config.sessions.friends_check = FriendsCheck::Trust);
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    let joinability = json!({"joinability": {"open": true, "friends": true, "platform": true}});
    alice.patch(&format!("/v1/session/{game}"), &joinability).await.expect(200);
    alice.links(&game).await.expect(200);
    bob.joins(&game).await.expect(200);
    alice.kicks(&game, &bob).await.expect(204);
    (server, [alice, bob], game)
}

/// Tries to join by the deprecated update.
async fn by_update(caller: &Client, game: &str, player: &Client) -> Reply {
    caller.updates(game, player, json!({"status": "member"})).await
}

#[tokio::test]
async fn a_kicked_player_needs_an_invite_by_every_way_in() {
    let (server, [alice, bob], game) = game().await;
    let session = format!("/v1/session/{game}");
    let code = alice.post(&format!("{session}:generate-short-code"), &Value::Null).await.expect(200);
    let code = code.body["short_code"].as_str().unwrap();
    let service = server.service(&["session:update-player:any"]);
    let own_party = bob.creates("party").await;
    let xbox = platform_path("XboxLive", XBOX_ID);
    let mut by_friend = joining();
    by_friend["friend_uuid"] = json!(alice.player);
    for refused in [
        bob.joins(&game).await,
        bob.joins(code).await,
        bob.post(&format!("{session}/player/me"), &by_friend).await,
        bob.post(&format!("{xbox}/player/me"), &joining()).await,
        by_update(&bob, &game, &bob).await,
        // A service that joins players does not invite them.
        service.post(&format!("{xbox}/player/{}", bob.player), &joining()).await,
        by_update(&service, &game, &bob).await,
        // An open session can be joined with one's own session, but not after a kick.
        bob.post(&format!("{session}/invited-session/{own_party}:invite"), &json!({})).await,
    ] {
        refused.refused(403, "player_kicked");
    }
    let other = bob.creates("game").await;
    assert_ne!(other, game, "create-or-join passes the session over");
    assert_eq!(alice.sees(&game, &bob).await, Value::Null);
    // Others join as before.
    server.player().joins(&game).await.expect(200);

    alice.invites(&game, &bob).await.expect(200);
    bob.post(&format!("{xbox}/player/me"), &joining()).await.expect(200);
    bob.leaves(&game).await.expect(204);
    bob.joins(&game).await.expect(200);
}

#[tokio::test]
async fn every_kind_of_invite_lets_a_kicked_player_return() {
    let (server, [alice, bob], game) = game().await;
    let party = bob.creates("party").await;
    let service = server.service(&["session:update:any", "session:update-player:any"]);
    for round in 0..4 {
        bob.joins(&game).await.refused(403, "player_kicked");
        let invited = match round {
            0 => alice.updates(&game, &bob, json!({"status": "reserved"})).await,
            1 => alice.updates(&game, &bob, json!({"status": "invited"})).await,
            2 => service.invites(&game, &bob).await,
            _ => {
                let path = format!("/v1/session/{game}/invited-session/{party}:invite");
                service.post(&path, &json!({})).await
            }
        };
        invited.expect(200);
        assert_eq!(bob.joins(&game).await.expect(200).status_and_team(), status_and_team("member", 0));
        match round {
            0 => service.kicks(&game, &bob).await,
            1 => alice.delete(&format!("/v1/session/{game}/player/uuid/{}", bob.player)).await,
            _ => alice.delete(&format!("/v1/session/{game}/kicked-session/{party}")).await,
        }
        .expect(204);
    }
}

#[tokio::test]
async fn a_withdrawn_or_declined_invite_does_not_undo_a_kick() {
    let (server, [alice, bob], game) = game().await;
    alice.invites(&game, &bob).await.expect(200);
    bob.leaves(&game).await.expect(204);
    bob.joins(&game).await.refused(403, "player_kicked");
    alice.invites(&game, &bob).await.expect(200);
    alice.kicks(&game, &bob).await.expect(204);
    bob.joins(&game).await.refused(403, "player_kicked");
    // To withdraw an invite is no kick.
    let carol = server.player();
    alice.invites(&game, &carol).await.expect(200);
    alice.kicks(&game, &carol).await.expect(204);
    carol.joins(&game).await.expect(200);
}

#[tokio::test]
async fn leaving_and_silence_are_no_kicks() {
    let server = Server::with(|config| {
        config.templates.get_mut("game").unwrap().player_culling_timeout = Some(100);
    });
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    let service = server.service(&["session:update-player:any"]);
    alice.links(&game).await.expect(200);
    for gone in 0..4 {
        bob.joins(&game).await.expect(200);
        match gone {
            0 => drop(bob.leaves(&game).await.expect(204)),
            1 => drop(bob.kicks(&game, &bob).await.expect(204)),
            2 => {
                let path = format!("{}/player/{}", platform_path("XboxLive", XBOX_ID), bob.player);
                service.delete(&path).await.expect(204);
            }
            _ => {
                server.advance(Duration::from_secs(60)).await;
                alice.session(&game).await.expect(200);
                server.advance(Duration::from_secs(90)).await;
            }
        }
        assert_eq!(alice.sees(&game, &bob).await, Value::Null);
    }
    bob.joins(&game).await.expect(200);
    // A moderator who goes by the path of a kick leaves, too.
    let moderator = server.player_with(None, &["session:*"]);
    moderator.joins(&game).await.expect(200);
    moderator.kicks(&game, &moderator).await.expect(204);
    moderator.joins(&game).await.expect(200);
}

#[tokio::test]
async fn a_kick_on_one_node_counts_on_every_node() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        let (alice, bob) = (one.player(), one.player());
        let game = alice.creates("game").await;
        bob.joins(&game).await.expect(200);
        alice.kicks(&game, &bob).await.expect(204);
        let there = Client { player: bob.player, ..other.bearer(bob.token.clone().unwrap()) };
        there.joins(&game).await.refused(403, "player_kicked");
        assert_ne!(there.creates("game").await, game);
        alice.invites(&game, &bob).await.expect(200);
        there.joins(&game).await.expect(200);
    }
}

#[tokio::test]
async fn without_the_setting_a_kicked_player_returns_like_everyone_else() {
    let server = Server::with(|config| config.sessions.kicked_need_invite = false);
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    bob.joins(&game).await.expect(200);
    alice.kicks(&game, &bob).await.expect(204);
    let found = bob.post("/v1/session", &creation("game")).await.expect(200);
    assert_eq!(found.body["session_id"], json!(game));
    alice.kicks(&game, &bob).await.expect(204);
    bob.joins(&game).await.expect(200);
}
