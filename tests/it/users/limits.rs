use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rallypoint::config::UserKind;
use rallypoint::domain::Platform;
use rallypoint::records::keys;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use super::*;
use crate::harness::SERVER_SECRET;

/// Logs in from an address.
async fn login_from(server: &Server, address: &str, body: &Value) -> Reply {
    let request = Request::post("/users/v1/login").body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let address: IpAddr = address.parse().unwrap();
    anonymous(server).send_from(Some(address), request).await
}

fn with_users() -> Server {
    Server::with(|config| {
        for name in ["ann", "bob", "cat"] {
            add_user(config, name, UserKind::Player);
        }
    })
}

fn password(name: &str, password: &str) -> Value {
    json!({ "grant_type": "basic", "portal_access_token": format!("{name}:{password}") })
}

#[track_caller]
fn limited(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), text(reply, "error_code")), (503, "authentication_limited"));
    assert_eq!(reply.headers["retry-after"], "5");
    assert_eq!(
        (&reply.headers["x-rallypoint-login"], &reply.body["auth_success"]),
        (&"development".parse().unwrap(), &json!(true))
    );
}

#[tokio::test]
async fn after_five_wrong_passwords_a_user_has_to_wait_and_others_do_not() {
    let server = with_users();
    for number in 0..30 {
        let reply = login(&server, &password("ann", "guess"), None).await;
        if number < 5 { refused(&reply, "basic_auth_credentials_not_found") } else { limited(&reply) }
    }
    assert_eq!(server.app.login.as_ref().unwrap().passwords_compared(), 5);
    limited(&login(&server, &password("ann", "secret"), None).await);
    login(&server, &password("bob", "secret"), None).await.expect(200);
    anon(&server, "ann").await;
    server.clock.advance(Duration::from_secs(60));
    login(&server, &password("ann", "secret"), None).await.expect(200);
}

/// Otherwise the time of the answer would tell who exists.
#[tokio::test]
async fn an_unknown_user_costs_as_much_as_a_wrong_password() {
    let server = with_users();
    let compared = || server.app.login.as_ref().unwrap().passwords_compared();
    for (name, expected) in [("ann", 1), ("nobody", 2)] {
        let reply = login(&server, &password(name, "guess"), None).await;
        refused(&reply, "basic_auth_credentials_not_found");
        assert_eq!(compared(), expected);
    }
    for number in 0..10 {
        let reply = login(&server, &password("nobody", "guess"), None).await;
        if number < 4 { refused(&reply, "basic_auth_credentials_not_found") } else { limited(&reply) }
    }
}

#[tokio::test]
async fn after_ten_wrong_passwords_an_address_has_to_wait_and_others_do_not() {
    let server = with_users();
    for (name, number) in [("ann", 5), ("bob", 5)] {
        for _ in 0..number {
            let reply = login_from(&server, "10.0.0.1", &password(name, "guess")).await;
            refused(&reply, "basic_auth_credentials_not_found");
        }
    }
    limited(&login_from(&server, "10.0.0.1", &password("cat", "secret")).await);
    for address in ["10.0.0.2", "127.0.0.1"] {
        login_from(&server, address, &password("cat", "secret")).await.expect(200);
    }
}

#[tokio::test]
async fn an_address_has_a_limit_of_logins_unless_it_is_this_machine() {
    let server = Server::new();
    let body = json!({ "grant_type": "anon", "portal_access_token": "p" });
    for number in 0..110 {
        login_from(&server, "127.0.0.1", &body).await.expect(200);
        let reply = login_from(&server, "10.0.0.1", &body).await;
        if number < 100 { drop(reply.expect(200)) } else { limited(&reply) }
    }
    server.clock.advance(Duration::from_millis(50));
    login_from(&server, "10.0.0.1", &body).await.expect(200);
    limited(&login_from(&server, "10.0.0.1", &body).await);
}

#[tokio::test]
async fn the_players_who_are_remembered_are_limited() {
    let server = Server::with(|config| {
        config.login.players_remembered_max = 3;
        config.login.unverified_platforms = vec![Platform::Steam];
    });
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "a", "d"] {
        server.clock.advance(Duration::from_secs(3_600));
        ids.push(text(&anon(&server, name).await, "active_player_uuid").to_owned());
    }
    assert_eq!(ids[0], ids[3]);
    let caller = server.player().on(USERS);
    for (id, status) in [(&ids[0], 200), (&ids[1], 404), (&ids[2], 200), (&ids[4], 200)] {
        caller.get(&format!("/v2/player/{id}/links")).await.expect(status);
    }
    let forgotten = caller.get("/v1/player?display_name=b").await.expect(200);
    assert_eq!(forgotten.body["display_names"], json!([]));
    // Who is forgotten logs in again as before.
    assert_eq!(text(&anon(&server, "b").await, "active_player_uuid"), ids[1]);
}

/// Otherwise a wrong secret in one configuration would shut out every game server behind the same address.
#[tokio::test]
async fn wrong_secrets_of_others_do_not_shut_out_a_right_one() {
    let server = Server::new();
    let body = json!({ "grant_type": "client_credentials" });
    let right = basic("game-server", SERVER_SECRET);
    for number in 0..8 {
        let reply = login(&server, &body, Some(&basic("game-server", "guess"))).await;
        if number < 5 {
            refused(&reply, "client_credentials_invalid")
        } else {
            limited(&reply)
        }
        login(&server, &body, Some(&right)).await.expect(200);
        let by_text =
            json!({ "grant_type": "basic", "portal_access_token": format!("game-server:{SERVER_SECRET}") });
        login(&server, &by_text, None).await.expect(200);
    }
    let player = json!({ "grant_type": "anon", "portal_access_token": "p" });
    login(&server, &player, Some(&right)).await.expect(200);
    limited(&login(&server, &player, Some(&basic("game-server", "guess"))).await);
    for number in 0..8 {
        let reply = login(&server, &body, Some(&basic("unknown", "guess"))).await;
        if number < 5 { refused(&reply, "client_credentials_invalid") } else { limited(&reply) }
    }
    // Shipped game clients name clients of other services.
    login(&server, &player, Some(&basic("unknown", "guess"))).await.expect(200);
}

#[tokio::test]
async fn a_player_who_is_forgotten_loses_the_refresh_tokens() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), |config| config.login.players_remembered_max = 2);
    let tokens = || server.app.metrics.render();
    let mut of_players = Vec::new();
    for name in ["a", "a", "b", "c"] {
        server.clock.advance(Duration::from_secs(1));
        of_players.push(text(&anon(&server, name).await, "refresh_token").to_owned());
    }
    for (index, token) in of_players.iter().enumerate() {
        let reply = refresh(&server, token).await;
        if index < 2 { refused(&reply, "refresh_token_not_found") } else { drop(reply.expect(200)) }
    }
    assert!(tokens().contains("\nrallypoint_refresh_tokens 2\n"), "{}", tokens());
    let (from, _) = keys::all_refresh_tokens();
    let left = store.scan(&from, &[from[0] + 1], 10).await.unwrap();
    assert_eq!(left.len(), 4, "two tokens, and their entries among those of their players: {left:?}");
}
