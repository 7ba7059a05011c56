//! `refresh_ttl`: by default every operation on a session keeps it alive. That does not change its ETag.

use std::time::Duration;

use http::Method;
use rallypoint::api;
use rallypoint::domain::SessionId;
use rallypoint::http::operation::Operation;
use serde_json::{Value, json};

use super::queue::open_queues;
use crate::harness::{Client, Server, XBOX_ID, document, grant};

/// A game on which every operation can succeed: alice leads, and bob and carol are on different teams.
async fn game(server: &Server) -> ([Client; 3], String) {
    let [alice, bob, carol] = [server.lasting_player(), server.lasting_player(), server.lasting_player()];
    let session = alice.creates("game").await;
    bob.joins_team(&session, 1).await.expect(200);
    carol.joins(&session).await.expect(200);
    let path = format!("/v1/session/{session}");
    alice.post(&format!("{path}/browser"), &json!({})).await.expect(200);
    alice.links(&session).await.expect(200);
    ([alice, bob, carol], session)
}

/// Calls an operation on that game; returns the status. Returns `None` for operations that cannot be tried here.
async fn call(operation: &Operation, players: &[Client; 3], session: &str, query: &str) -> Option<u16> {
    let [alice, bob, carol] = players;
    let (mut caller, mut player) = (alice.clone(), bob.player);
    let instance = async |body: Value| {
        alice.post(&format!("/v1/session/{session}/instance?refresh_ttl=false"), &body).await.expect(200);
    };
    let body = match operation.id {
        // These end the session or need a numeric player id, which these players do not have.
        "delete_session" | "update_session_player_by_id" | "kick_player_from_session_by_id" => return None,
        // These need a match, or a service for voice; their own tests try them.
        "acknowledge_backfill_request" | "update_backfill_request" | "delete_backfill_request" => {
            return None;
        }
        "get_vivox_action_token" | "get_vivox_action_token_me" | "get_epic_voice_join_token_me" => {
            return None;
        }
        "swap_players_in_session" => json!({"players": [bob.player, carol.player]}),
        "move_player_by_uuid_v2" => json!({"team_id": 0}),
        "join_session_by_id_self" => crate::harness::joining(),
        "instance_health_check" => {
            instance(json!({"instance_id": "i"})).await;
            let mut grant = grant(None, None, &["session:instance:health"]);
            grant.ttl = Duration::from_secs(1_000_000);
            caller = alice.server.bearer(alice.server.token(&grant));
            json!({"instance_id": "i", "instance_health": "healthy"})
        }
        "update_instance_info" | "end_instance" => {
            instance(json!({})).await;
            json!({})
        }
        "join_queue" => {
            open_queues(&alice.server);
            json!({"queue_id": "casual"})
        }
        "leave_queue" => {
            open_queues(&alice.server);
            let queue = format!("/v1/session/{session}/queue?refresh_ttl=false");
            alice.post(&queue, &json!({"queue_id": "casual"})).await.expect(200);
            json!({})
        }
        "invite_player_by_uuid_v2" => {
            player = alice.server.player().player;
            json!({})
        }
        "leave_session_by_id_self" => {
            caller = bob.clone();
            json!({})
        }
        _ => json!({}),
    };
    let path = operation.path.replace("{session_id}", session).replace("{team_id}", "0");
    let path = path.replace("{platform}", "XboxLive").replace("{platform_session_id_base64}", XBOX_ID);
    let path = path.replace("{player_uuid}", &player.to_string()).replace("{permission}", "kick");
    let reply =
        caller.send(operation.method.clone(), &(path + query), &[], Some(body.to_string().into())).await;
    Some(reply.status.as_u16())
}

/// The deadline of a session in this node's memory.
pub async fn deadline_ms(server: &Server, session: &str) -> i64 {
    let id = SessionId::parse(session).unwrap();
    let mut latest = i64::MIN;
    // A node keeps a moved deadline in its memory for a while.
    for node in server.nodes() {
        latest = latest.max(node.app.sessions.find(&id).await.unwrap().unwrap().deadline_ms());
    }
    latest
}

#[tokio::test]
async fn every_operation_with_refresh_ttl_keeps_a_session_alive_by_default() {
    let mut tried = 0;
    let operations = api::surface().operations;
    let document = document(&api::surface());
    for operation in operations {
        let method = operation.method.as_str().to_lowercase();
        let mut parameters =
            document["paths"][operation.path][method]["parameters"].as_array().unwrap().iter();
        if !parameters.any(|parameter| parameter["name"] == json!("refresh_ttl")) {
            continue;
        }
        let mut moved = Vec::new();
        for query in ["?refresh_ttl=false", "?refresh_ttl=true", ""] {
            let server = Server::new();
            let (players, session) = game(&server).await;
            let before = deadline_ms(&server, &session).await;
            server.clock.advance(Duration::from_secs(1800));
            let Some(status) = call(&operation, &players, &session, query).await else { break };
            assert!([200, 204].contains(&status), "{}: {status}", operation.id);
            moved.push(deadline_ms(&server, &session).await > before);
        }
        if !moved.is_empty() {
            assert_eq!(moved, [false, true, true], "{}: without, with, and by default", operation.id);
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried} operations keep a session alive");
}

#[tokio::test]
async fn keeping_a_session_alive_keeps_its_etag() {
    let server = Server::new();
    let ([alice, bob, _], session) = game(&server).await;
    let path = format!("/v1/session/{session}");
    let etag = alice.session(&session).await.expect(200).etag();
    for _ in 0..8 {
        server.advance(Duration::from_secs(1800)).await;
        alice.get_if_none_match(&path, &etag).await.expect(304);
        bob.send(Method::GET, &format!("{path}/player"), &[], None).await.expect(200);
    }
    alice.get_if_none_match(&path, &etag).await.expect(304);
}
