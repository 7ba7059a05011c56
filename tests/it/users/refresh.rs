use std::time::Duration;

use rallypoint::config::UserKind;
use rallypoint::records::keys;
use rallypoint::store::{Memory, Store};
use serde_json::json;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn logout(server: &Server, token: &str) -> Reply {
    anonymous(server).post("/v1/logout", &json!({ "refresh_token": token })).await
}

/// Whether the session API takes the access token of a login.
async fn is_taken(server: &Server, login: &Reply) -> bool {
    server.bearer(text(login, "access_token")).get("/v1/player/me/session").await.status == 200
}

/// Published clients save the token of their first login, and present it at each start.
#[tokio::test]
async fn a_refresh_token_stays_the_same_when_it_is_used() {
    let server = Server::new();
    let first = anon(&server, "player-1").await;
    let token = text(&first, "refresh_token");
    server.clock.advance(Duration::from_secs(60));
    let second = refresh(&server, token).await.expect(200);
    assert_eq!(text(&second, "refresh_token"), token);
    assert_ne!(text(&second, "access_token"), text(&first, "access_token"));
    assert_eq!(second.body["active_player_uuid"], first.body["active_player_uuid"]);
    assert!(is_taken(&server, &first).await && is_taken(&server, &second).await);
    let at_next_start = refresh(&server, token).await.expect(200);
    assert_eq!(text(&at_next_start, "refresh_token"), token);
}

#[tokio::test]
async fn a_login_without_the_wish_gets_no_refresh_token() {
    let server = Server::new();
    for body in [
        json!({ "grant_type": "anon", "portal_access_token": "p" }),
        json!({ "grant_type": "anon", "portal_access_token": "p", "include_refresh": false }),
    ] {
        assert_eq!(login(&server, &body, None).await.expect(200).body.get("refresh_token"), None);
    }
}

#[tokio::test]
async fn after_a_logout_the_refresh_token_is_unknown() {
    let server = Server::new();
    let first = anon(&server, "player-1").await;
    let other = anon(&server, "player-1").await;
    let token = text(&first, "refresh_token");
    assert_eq!(logout(&server, token).await.expect(200).body, json!({}));
    refused(&refresh(&server, token).await, "refresh_token_not_found");
    // The answer does not tell which tokens exist.
    for unknown in [token, "x", &"y".repeat(10_000)] {
        assert_eq!(logout(&server, unknown).await.expect(200).body, json!({}));
    }
    refresh(&server, text(&other, "refresh_token")).await.expect(200);
    assert!(is_taken(&server, &first).await, "an access token cannot be revoked");
    let empty = logout(&server, "").await;
    empty.invalid(&[(json!(["body", "refresh_token"]), "value_error.any_str.min_length")]);
}

#[tokio::test]
async fn a_refresh_token_belongs_to_the_client_that_got_it() {
    let server = Server::new();
    let body = json!({ "grant_type": "anon", "portal_access_token": "p", "include_refresh": true });
    let [game, tool] = [basic("game", "1"), basic("tool", "2")];
    let of_game = login(&server, &body, Some(&game)).await.expect(200);
    let of_none = login(&server, &body, None).await.expect(200);
    let again = |login: &Reply| json!({ "grant_type": "refresh", "portal_access_token": login.body["refresh_token"] });
    let mismatch = login(&server, &again(&of_game), Some(&tool)).await;
    refused(&mismatch, "refresh_token_client_id_mismatch");
    for (body, header, client_id) in [
        (again(&of_game), Some(&*game), "game"),
        (again(&of_game), None, "game"),
        (again(&of_none), Some(&*tool), "tool"),
    ] {
        assert_eq!(text(&login(&server, &body, header).await.expect(200), "client_id"), client_id);
    }
}

#[tokio::test]
async fn a_refresh_token_ends_some_time_after_its_last_use() {
    let server = Server::with(|config| config.login.refresh_ttl_s = 3_600);
    let first = anon(&server, "player-1").await;
    let token = text(&first, "refresh_token");
    for _ in 0..3 {
        server.clock.advance(Duration::from_secs(3_599));
        refresh(&server, token).await.expect(200);
    }
    server.clock.advance(Duration::from_secs(3_600));
    refused(&refresh(&server, token).await, "refresh_token_not_found");
}

#[tokio::test]
async fn a_refresh_token_ends_after_180_days_however_often_it_is_used() {
    let server = Server::new();
    let first = anon(&server, "player-1").await;
    let token = text(&first, "refresh_token");
    for _ in 0..17 {
        server.clock.advance(DAY * 10);
        refresh(&server, token).await.expect(200);
    }
    server.clock.advance(DAY * 10 - Duration::from_secs(1));
    refresh(&server, token).await.expect(200);
    server.clock.advance(Duration::from_secs(1));
    refused(&refresh(&server, token).await, "refresh_token_not_found");
}

#[tokio::test]
async fn of_more_than_twenty_refresh_tokens_the_oldest_end() {
    let server = Server::new();
    let mut tokens = Vec::new();
    for _ in 0..22 {
        server.clock.advance(Duration::from_secs(1));
        tokens.push(text(&anon(&server, "player-1").await, "refresh_token").to_owned());
    }
    let other = anon(&server, "player-2").await;
    for (index, token) in tokens.iter().enumerate() {
        let reply = refresh(&server, token).await;
        if index < 2 { refused(&reply, "refresh_token_not_found") } else { drop(reply.expect(200)) }
    }
    refresh(&server, text(&other, "refresh_token")).await.expect(200);
}

#[tokio::test]
async fn a_user_whom_the_configuration_lacks_cannot_refresh() {
    let store = Store::Memory(Memory::default());
    let before = Server::over(store.clone(), |config| {
        add_user(config, "ann", UserKind::Player);
        add_user(config, "bob", UserKind::Player);
    });
    let mut tokens = vec![text(&anon(&before, "player-1").await, "refresh_token").to_owned()];
    for name in ["ann", "bob"] {
        let token = format!("{name}:secret");
        let body = json!({ "grant_type": "basic", "portal_access_token": token, "include_refresh": true });
        tokens.push(text(&login(&before, &body, None).await.expect(200), "refresh_token").to_owned());
    }
    let after = Server::over(store, |config| {
        config.login.anon = false;
        add_user(config, "ann", UserKind::Player);
        add_user(config, "bob", UserKind::Service);
    });
    refused(&refresh(&after, &tokens[0]).await, "refresh_token_invalid_user");
    refresh(&after, &tokens[1]).await.expect(200);
    refused(&refresh(&after, &tokens[2]).await, "refresh_token_invalid_user");
}

#[tokio::test]
async fn ended_refresh_tokens_are_deleted() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), |config| config.login.refresh_ttl_s = 3_600);
    for number in 0..600 {
        anon(&server, &format!("player-{number}")).await;
    }
    let kept = anon(&server, "player-1").await;
    server.advance(Duration::from_secs(3_000)).await;
    refresh(&server, text(&kept, "refresh_token")).await.expect(200);
    server.advance(Duration::from_secs(700)).await;
    // The first sweep has ended now; the next one finds the others.
    server.advance(Duration::from_secs(1)).await;
    let (from, _) = keys::all_refresh_tokens();
    let left = store.scan(&from, &[from[0] + 1], 10).await.unwrap();
    assert_eq!(left.len(), 2, "the token, and its entry among those of its player: {left:?}");
    assert!(server.app.metrics.render().contains("\nrallypoint_refresh_tokens 1\n"));
    refresh(&server, text(&kept, "refresh_token")).await.expect(200);
}

/// The text of a token must not be found in the store: its reader could log in.
#[tokio::test]
async fn only_the_hash_of_a_refresh_token_is_stored() {
    let store = Store::Memory(Memory::default());
    let server = Server::over(store.clone(), |_| {});
    let first = anon(&server, "player-1").await;
    let token = text(&first, "refresh_token").as_bytes();
    assert_eq!(token.len(), 43);
    let found = store.scan(&[], &[], 100).await.unwrap();
    assert!(found.len() >= 5, "{found:?}");
    for (key, entry) in found {
        for stored in [&key[..], &entry.value] {
            assert!(!stored.windows(token.len()).any(|part| part == token), "{key:?}");
        }
    }
}

/// The published client logs in again after a 403 whose `auth_success` is false, and repeats its request.
#[tokio::test]
async fn a_client_goes_on_after_its_access_token_has_expired() {
    let server = Server::new();
    let first = anon(&server, "player-1").await;
    let client = server.bearer(text(&first, "access_token"));
    let session = client.creates("party").await;
    server.clock.advance(Duration::from_secs(3_606));
    let refusal = client.session(&session).await.expect(403);
    assert_eq!(refusal.body["auth_success"], false);
    let again = refresh(&server, text(&first, "refresh_token")).await.expect(200);
    let client = server.bearer(text(&again, "access_token"));
    client.session(&session).await.expect(200);
}

#[tokio::test]
async fn a_clock_that_is_set_forward_for_a_moment_ends_no_login() {
    let server = Server::new();
    let token = text(&anon(&server, "player-1").await, "refresh_token").to_owned();
    let year_ms = 365 * 86_400_000;
    server.clock.step(year_ms);
    server.advance(Duration::from_secs(1)).await;
    server.clock.step(-year_ms);
    refresh(&server, &token).await.expect(200);
}
