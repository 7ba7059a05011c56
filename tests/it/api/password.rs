//! Passwords of sessions: guesses are limited for each caller and for each session, by every way to join.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use rallypoint::app::rate_limit::{WINDOW, WRONG_MAX, WRONG_PER_SESSION_MAX};
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, XBOX_ID, creation, joining, platform_path};

const RIGHT: &str = "open sesame";

/// An open game with a password and a platform session, and its leader.
async fn game(server: &Server) -> (Client, String) {
    let alice = server.player();
    let mut body = creation("game");
    body["password"] = json!(RIGHT);
    let created = alice.post("/v1/session", &body).await.expect(200);
    let session = created.body["session_id"].as_str().unwrap().to_owned();
    alice.links(&session).await.expect(200);
    (alice, session)
}

/// An open party with the same password.
async fn party(server: &Server) -> String {
    let leader = server.player();
    let party = leader.creates("party").await;
    let open = json!({"joinable": true, "password": RIGHT});
    leader.patch(&format!("/v1/session/{party}"), &open).await.expect(200);
    party
}

fn with(password: &str) -> Value {
    let mut body = joining();
    body["password"] = json!(password);
    body
}

fn path(session: &str) -> String {
    format!("/v1/session/{session}/player/me")
}

async fn tries(caller: &Client, session: &str, password: &str) -> Reply {
    caller.post(&path(session), &with(password)).await
}

#[tokio::test]
async fn wrong_passwords_are_limited_per_caller() {
    let server = Server::new();
    let (_, session) = game(&server).await;
    let another = party(&server).await;
    let (bob, carol) = (server.player(), server.player());
    for guess in 0..WRONG_MAX {
        // A missing password is no guess, and a rule that refuses before the comparison does not count.
        bob.joins(&session).await.refused(403, "wrong_password");
        let session = if guess % 2 == 0 { &session } else { &another };
        tries(&bob, session, &format!("guess {guess}")).await.refused(403, "wrong_password");
    }
    for password in ["guess", RIGHT] {
        tries(&bob, &session, password).await.refused(403, "too_many_guesses");
        let through = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
        bob.post(&through, &with(password)).await.refused(403, "too_many_guesses");
    }
    bob.joins(&session).await.refused(403, "wrong_password");
    server.clock.advance(WINDOW - Duration::from_millis(1));
    tries(&bob, &session, RIGHT).await.refused(403, "too_many_guesses");
    tries(&carol, &session, RIGHT).await.expect(200);
    server.clock.advance(Duration::from_millis(1));
    tries(&bob, &session, RIGHT).await.expect(200);
}

#[tokio::test]
async fn every_way_to_join_counts() {
    let through = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
    for way in ["by its id", "through its platform session", "create or join"] {
        let server = Server::new();
        let (_, session) = game(&server).await;
        let bob = server.player();
        for guess in 0..WRONG_MAX {
            let password = format!("guess {guess}");
            match way {
                "by its id" => drop(tries(&bob, &session, &password).await.refused(403, "wrong_password")),
                "through its platform session" => {
                    bob.post(&through, &with(&password)).await.refused(403, "wrong_password");
                }
                _ => {
                    let other = creates_or_joins(&bob, &password).await;
                    assert_ne!(other, json!(session));
                    let other = other.as_str().unwrap();
                    bob.delete(&format!("/v1/session/{other}")).await.expect(204);
                }
            }
        }
        tries(&bob, &session, RIGHT).await.refused(403, "too_many_guesses");
        // Create-or-join does not compare either, and goes on without this session.
        assert_ne!(creates_or_joins(&bob, RIGHT).await, json!(session), "{way}");
    }
}

#[tokio::test]
async fn wrong_passwords_are_limited_per_session() {
    let server = Server::new();
    let (alice, session) = game(&server).await;
    let another = party(&server).await;
    for guess in 0..WRONG_PER_SESSION_MAX {
        let guesser = server.player();
        tries(&guesser, &session, &format!("guess {guess}")).await.refused(403, "wrong_password");
    }
    let bob = server.player();
    tries(&bob, &session, RIGHT).await.refused(403, "too_many_guesses");
    tries(&bob, &another, RIGHT).await.expect(200);
    // Those who need no password are not concerned.
    alice.invites(&session, &bob).await.expect(200);
    tries(&bob, &session, "whatever").await.expect(200);
    tries(&alice, &session, "whatever").await.expect(200);
    let carol = server.player();
    server.clock.advance(WINDOW);
    tries(&carol, &session, RIGHT).await.expect(200);
}

/// The body of create-or-join with this password.
fn creation_with(password: &str) -> Value {
    let mut body = creation("game");
    body["password"] = json!(password);
    body
}

async fn creates_or_joins(caller: &Client, password: &str) -> Value {
    caller.post("/v1/session", &creation_with(password)).await.expect(200).body["session_id"].clone()
}

#[tokio::test]
async fn strangers_with_passwords_of_their_own_do_not_lock_a_session() {
    let server = Server::new();
    let (_, session) = game(&server).await;
    for stranger in 0..=WRONG_PER_SESSION_MAX {
        let own = creates_or_joins(&server.player(), &format!("password {stranger}")).await;
        assert_ne!(own, json!(session));
    }
    tries(&server.player(), &session, RIGHT).await.expect(200);
    assert_eq!(creates_or_joins(&server.player(), RIGHT).await, json!(session));
}

#[tokio::test]
async fn create_or_join_costs_a_caller_one_guess_beside_any_number_of_sessions() {
    let server = Server::new();
    for other in 0..WRONG_MAX + 5 {
        creates_or_joins(&server.player(), &format!("password {other}")).await;
    }
    let (_, session) = game(&server).await;
    // The session comes after all others.
    let (bob, carol) = (server.player(), server.player());
    assert_eq!(creates_or_joins(&bob, RIGHT).await, json!(session));
    creates_or_joins(&carol, "another").await;
    for guess in 1..WRONG_MAX {
        tries(&carol, &session, &format!("guess {guess}")).await.refused(403, "wrong_password");
    }
    tries(&carol, &session, RIGHT).await.refused(403, "too_many_guesses");
    // A last guess is enough to find the session and to join it.
    let dave = server.player();
    for guess in 1..WRONG_MAX {
        tries(&dave, &session, &format!("guess {guess}")).await.refused(403, "wrong_password");
    }
    assert_eq!(creates_or_joins(&dave, RIGHT).await, json!(session));
}

#[tokio::test]
async fn a_caller_in_the_session_does_not_lock_others_out() {
    let server = Server::new();
    let (_, session) = game(&server).await;
    for _ in 0..WRONG_PER_SESSION_MAX / WRONG_MAX {
        let mut permissions = crate::harness::player_permissions();
        permissions.push("session:update-player:any");
        let inside = server.player_with(None, &permissions);
        tries(&inside, &session, RIGHT).await.expect(200);
        for guess in 0..WRONG_MAX {
            let other = server.player();
            let through = format!("{}/player/{}", platform_path("XboxLive", XBOX_ID), other.player);
            inside.post(&through, &with(&format!("guess {guess}"))).await.refused(403, "wrong_password");
        }
    }
    tries(&server.player(), &session, RIGHT).await.expect(200);
}

#[tokio::test]
async fn services_are_limited_by_address() {
    let server = Server::new();
    game(&server).await;
    let service = server.service(&["session:update-player:any"]);
    let tries_from = async |address: &str, password: &str| {
        let player = server.player().player;
        let uri = format!("/session{}/player/{player}", platform_path("XboxLive", XBOX_ID));
        let token = service.token.as_deref().unwrap();
        let request = Request::post(uri).header("authorization", format!("Bearer {token}"));
        let request = request.body(Full::from(with(password).to_string())).unwrap();
        service.send_from(Some(address.parse().unwrap()), request).await.body["error_code"].clone()
    };
    for guess in 0..WRONG_MAX {
        let answer = tries_from("192.0.2.1", &format!("guess {guess}")).await;
        assert_eq!(answer, json!("wrong_password"));
    }
    assert_eq!(tries_from("192.0.2.1", RIGHT).await, json!("too_many_guesses"));
    assert_eq!(tries_from("192.0.2.2", RIGHT).await, Value::Null);
}
