//! Short codes: making one, naming a session by it, and the limit of wrong codes.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use rallypoint::app::rate_limit::{WINDOW, WRONG_MAX};
use rallypoint::domain::ShortCode;
use rallypoint::env::Entropy;
use rallypoint::http::operation::Operation;
use rallypoint::records::keys;
use rallypoint::store::Batch;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, XBOX_ID, contents, joining, leftovers};

async fn generate(caller: &Client, session: &str) -> Reply {
    caller.send(Method::POST, &format!("/v1/session/{session}:generate-short-code"), &[], None).await
}

/// A new player's party and its code.
async fn party(server: &Server) -> (Client, String, String) {
    let leader = server.player();
    let session = leader.creates("party").await;
    let code = generate(&leader, &session).await.expect(200).body["short_code"].clone();
    (leader, session, code.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_code_is_short_unambiguous_and_shown_to_members_only() {
    let server = Server::new();
    let (alice, session, code) = party(&server).await;
    assert!((5..=12).contains(&code.len()), "{code}");
    assert!(code.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit()), "{code}");
    assert!(!code.contains(['0', 'O', '1', 'I']), "{code}");
    assert_eq!(alice.session(&session).await.expect(200).body["short_code"], json!(code));
    let stranger = server.player();
    assert!(stranger.session(&session).await.expect(200).body.get("short_code").is_none());
    assert!(stranger.session(&code).await.expect(200).body.get("short_code").is_none());
    let reader = server.service(&["session:read:any"]);
    assert_eq!(reader.session(&session).await.body["short_code"], json!(code));
}

#[tokio::test]
async fn a_session_has_one_code() {
    let server = Server::new();
    let (alice, session, code) = party(&server).await;
    let before = contents(&server).await;
    generate(&alice, &session).await.refused(409, "short_code_exists");
    generate(&alice, &code).await.refused(409, "short_code_exists");
    generate(&server.service(&["session:shortcode:any"]), &session).await.refused(409, "short_code_exists");
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn only_active_players_or_any_may_make_a_code() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player(), server.player(), server.player());
    let session = alice.creates("game").await;
    generate(&stranger, &session).await.refused(403, "not_active_in_session");
    alice.invites(&session, &stranger).await.expect(200);
    generate(&stranger, &session).await.refused(403, "not_active_in_session");
    generate(&alice, "none").await.refused(404, "session_not_found");
    bob.joins(&session).await.expect(200);
    generate(&bob, &session).await.expect(200);
    let other = alice.creates("party").await;
    generate(&server.service(&["session:shortcode:any"]), &other).await.expect(200);
}

#[tokio::test]
async fn a_code_is_case_insensitive() {
    let server = Server::new();
    let (alice, session, code) = party(&server).await;
    let mixed: String = code
        .char_indices()
        .map(|(index, char)| if index % 2 == 0 { char.to_ascii_lowercase() } else { char })
        .collect();
    for spelled in [code.clone(), code.to_lowercase(), mixed] {
        let seen = alice.session(&spelled).await.expect(200);
        assert_eq!(seen.body["session_id"], json!(session), "{spelled}");
        assert_eq!(seen.etag(), alice.session(&session).await.etag());
    }
}

/// The path of an operation with this name for every session in it; `None` if the path has no session.
fn path_naming(operation: &Operation, named: &str, player: &Client) -> Option<String> {
    let sessions = ["{session_id}", "{invited_session_id}", "{kicked_session_id}"];
    if !sessions.iter().any(|session| operation.path.contains(session)) {
        return None;
    }
    let path = sessions.iter().fold(operation.path.to_owned(), |path, session| path.replace(session, named));
    let path = path.replace("{platform}", "XboxLive").replace("{platform_session_id_base64}", XBOX_ID);
    let path = path.replace("{player_uuid}", &player.player.to_string()).replace("{player_id}", "7");
    let path =
        path.replace("{permission}", "kick").replace("{team_id}", "0").replace("{vivox_action}", "kick");
    Some(if path.contains("/voip/") { path + "?voip_session_type=session" } else { path })
}

/// A body that is valid for every operation.
fn body_for_all(player: &Client) -> Value {
    json!({
        "client_version": "1.0.0", "client_settings": {"platform": "XboxLive", "input": "gamepad"}, "team_id": 0,
        "players": [player.player, player.player], "instance_health": "healthy", "instance_id": "1",
        "queue_id": "casual",
    })
}

#[tokio::test]
async fn every_path_accepts_a_code_for_a_session() {
    let server = Server::new();
    let mut tried = 0;
    for operation in server.pipeline.operations() {
        let (alice, _, code) = party(&server).await;
        let Some(path) = path_naming(operation, &code.to_lowercase(), &alice) else { continue };
        let admin = server.player_with(None, &["session:*"]);
        let send = async |path: &str| {
            let body = Some(body_for_all(&alice).to_string().into());
            admin.send(operation.method.clone(), path, &[], body).await
        };
        // An unknown code is an unknown session, unless the operation looks for the player first.
        let unknown = send(&path_naming(operation, "zzzzzz", &alice).unwrap()).await.expect(404);
        if !path.contains("/player/id/") {
            unknown.refused(404, "session_not_found");
        }
        let reply = send(&path).await;
        assert_ne!(reply.body["error_code"], json!("session_not_found"), "{}", operation.id);
        assert_ne!(reply.status.as_u16(), 422, "{} {}", operation.id, reply.body);
        tried += 1;
    }
    assert!(tried > 25, "{tried} operations take a session");
}

#[tokio::test]
async fn a_code_ends_with_its_session() {
    let server = Server::new();
    let (alice, session, code) = party(&server).await;
    alice.leaves(&code).await.expect(204);
    alice.session(&code).await.refused(404, "session_not_found");
    alice.session(&session).await.refused(404, "session_not_found");
    assert!(leftovers(&server).await.is_empty(), "the code can be used again");
}

#[tokio::test]
async fn a_code_in_use_is_drawn_again() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let Entropy::Seeded(state) = &server.app.entropy else { panic!("tests use seeded randomness") };
    let predicted = Entropy::seeded(*state.lock().unwrap());
    let draw = || ShortCode::from_random(predicted.bytes());
    let store = server.app.sessions.store();
    for _ in 0..8 {
        store.commit(Batch::default().put(keys::short_code(&draw()), "another")).await.unwrap();
    }
    let refused = generate(&alice, &session).await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.refused(503, "short_code_taken");
    store.commit(Batch::default().put(keys::short_code(&draw()), "another")).await.unwrap();
    let code = generate(&alice, &session).await.expect(200).body["short_code"].clone();
    assert_eq!(code, json!(draw().as_str()));
    assert_eq!(alice.session(code.as_str().unwrap()).await.expect(200).body["session_id"], json!(session));
}

#[tokio::test]
async fn wrong_codes_are_limited_per_caller() {
    let server = Server::new();
    let (alice, session, code) = party(&server).await;
    let (caller, other) = (server.player(), server.player());
    for _ in 0..WRONG_MAX {
        // Names that cannot be codes do not count, and right codes do not count.
        caller.session("ZZZZ").await.refused(404, "session_not_found");
        caller.session("OOOOOO").await.refused(404, "session_not_found");
        caller.session(&code).await.expect(200);
        caller.session("ZZZZZZ").await.refused(404, "session_not_found");
    }
    caller.session("ZZZZZZ").await.refused(403, "too_many_guesses");
    caller.session(&code).await.refused(403, "too_many_guesses");
    caller.leaves("zzzzzz").await.refused(403, "too_many_guesses");
    caller.session(&session).await.expect(200);
    other.session("ZZZZZZ").await.refused(404, "session_not_found");
    alice.session(&code).await.expect(200);
    server.clock.advance(WINDOW - Duration::from_millis(1));
    caller.session(&code).await.refused(403, "too_many_guesses");
    server.clock.advance(Duration::from_millis(1));
    caller.session(&code).await.expect(200);
    caller.session("ZZZZZZ").await.refused(404, "session_not_found");
}

/// The error code when a service reads a session from this address; null for a success.
async fn read_from(service: &Client, address: &str, named: &str) -> Value {
    let token = service.token.as_deref().unwrap();
    let request = Request::get(format!("/session/v1/session/{named}"));
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.body(Full::default()).unwrap();
    service.send_from(Some(address.parse().unwrap()), request).await.body["error_code"].clone()
}

#[tokio::test]
async fn the_colon_before_a_verb_may_be_encoded() {
    let server = Server::new();
    let alice = server.player();
    for colon in ["%3A", "%3a"] {
        let session = alice.creates("party").await;
        let path = format!("/v1/session/{session}{colon}generate-short-code");
        alice.send(Method::POST, &path, &[], None).await.expect(200);
    }
}

#[tokio::test]
async fn a_code_may_be_encoded() {
    let server = Server::new();
    let (alice, session, code) = party(&server).await;
    let encoded: String = code.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let partly = format!("%{:02x}{}", code.as_bytes()[0], &code[1..]);
    for named in [&encoded, &partly] {
        assert_eq!(alice.session(named).await.expect(200).body["session_id"], json!(session));
        let path = format!("/v1/session/{named}/invited-session/{named}:invite");
        alice.post(&path, &json!({})).await.expect(200);
    }
    // A wrong code counts in every form.
    for _ in 0..WRONG_MAX {
        alice.session("%5A%5A%5AZZZ").await.refused(404, "session_not_found");
    }
    alice.session(&encoded).await.refused(403, "too_many_guesses");
}

#[tokio::test]
async fn services_are_rate_limited_by_address() {
    let server = Server::new();
    let service = server.service(&["session:read:any"]);
    let (_, _, code) = party(&server).await;
    for _ in 0..WRONG_MAX {
        assert_eq!(read_from(&service, "192.0.2.1", "ZZZZZZ").await, json!("session_not_found"));
    }
    assert_eq!(read_from(&service, "192.0.2.1", &code).await, json!("too_many_guesses"));
    let another = server.service(&["session:*"]);
    assert_eq!(read_from(&another, "192.0.2.1", "ZZZZZZ").await, json!("too_many_guesses"));
    assert_eq!(read_from(&service, "192.0.2.2", "ZZZZZZ").await, json!("session_not_found"));
    assert_eq!(read_from(&service, "192.0.2.2", &code).await, Value::Null);
    // A player is one caller, from every address.
    let player = server.player();
    for attempt in 0..WRONG_MAX {
        read_from(&player, &format!("192.0.2.{}", attempt + 1), "ZZZZZZ").await;
    }
    assert_eq!(read_from(&player, "198.51.100.1", &code).await, json!("too_many_guesses"));
}

#[tokio::test]
async fn invalid_input_is_reported_before_codes_are_looked_up() {
    let server = Server::new();
    let (alice, _, code) = party(&server).await;
    let join = |code: &str| format!("/v1/session/{code}/player/me");
    let missing = || [(json!(["body"]), "value_error.missing")];
    for _ in 0..=WRONG_MAX {
        // The answer does not reveal whether the code exists, so the request does not count.
        for named in ["ZZZZZZ", &code] {
            alice.post(&join(named), &Value::Null).await.invalid(&missing());
        }
    }
    alice.session(&code).await.expect(200);
    for _ in 0..WRONG_MAX {
        alice.session("ZZZZZZ").await.refused(404, "session_not_found");
    }
    alice.post(&join("ZZZZZZ"), &joining()).await.refused(403, "too_many_guesses");
    alice.post(&join("ZZZZZZ"), &Value::Null).await.invalid(&missing());
}

#[tokio::test]
async fn each_wrong_code_in_a_path_counts() {
    let server = Server::new();
    let alice = server.player();
    for _ in 0..WRONG_MAX / 2 {
        alice.delete("/v1/session/ZZZZZZ/kicked-session/YYYYYY").await.refused(404, "session_not_found");
    }
    alice.session("ZZZZZZ").await.refused(403, "too_many_guesses");
}
