use std::time::Duration;

use super::*;
use crate::harness::log::Log;

const LISTED: &str = "https://tools.example.com";

fn server() -> Server {
    Server::with(|config| config.http.cors_origins = vec!["*".into(), LISTED.into()])
}

/// Logs in with these headers.
async fn login_with(server: &Server, headers: &[(&str, &str)]) -> Reply {
    let body = json!({ "grant_type": "anon", "portal_access_token": "p" }).to_string();
    anonymous(server).send(Method::POST, "/v1/login", headers, Some(body.into())).await
}

#[tokio::test]
async fn a_login_comes_from_this_machine_or_a_listed_origin() {
    let server = server();
    let local = ("host", "127.0.0.1:7700");
    for (accepted, headers) in [
        (true, &[][..]),
        (true, &[local]),
        (true, &[("host", "localhost")]),
        (true, &[("host", "LocalHost:7700")]),
        (true, &[("host", "game.localhost:7700")]),
        (true, &[("host", "[::1]:7700")]),
        (true, &[("host", "192.168.1.20:7700")]),
        // A page whose owner lets its name mean 127.0.0.1.
        (false, &[("host", "evil.example")]),
        (false, &[("host", "evil.example:7700")]),
        (false, &[("host", "localhost.evil.example:7700")]),
        (false, &[("host", "127.0.0.1.evil.example")]),
        (false, &[("host", "evillocalhost")]),
        (false, &[("host", "")]),
        (false, &[("host", "evil.example"), ("origin", "http://evil.example")]),
        (false, &[("host", "evil.example"), ("origin", LISTED)]),
        // A page that posts to another site.
        (true, &[local, ("origin", "http://localhost:3000")]),
        (true, &[local, ("origin", "http://game.localhost")]),
        (true, &[local, ("origin", "http://127.0.0.1:3000")]),
        (true, &[local, ("origin", "http://[::1]:3000")]),
        (true, &[("host", "192.168.1.20:7700"), ("origin", "http://192.168.1.20:3000")]),
        (true, &[local, ("origin", LISTED)]),
        (false, &[local, ("origin", "https://evil.example")]),
        (false, &[local, ("origin", "http://203.0.113.7")]),
        (false, &[local, ("origin", "http://localhost.evil.example")]),
        (false, &[local, ("origin", "https://tools.example.com.evil.example")]),
        (false, &[local, ("origin", "null")]),
        (false, &[local, ("origin", "")]),
        (false, &[local, ("origin", "*")]),
        (false, &[local, ("origin", LISTED), ("origin", "https://evil.example")]),
        // A proxy.
        (false, &[local, ("x-forwarded-for", "127.0.0.1")]),
        (false, &[local, ("forwarded", "for=192.0.2.1")]),
        (false, &[local, ("x-real-ip", "192.0.2.1")]),
    ] {
        let reply = login_with(&server, headers).await;
        if accepted {
            assert_eq!(reply.status, 200, "{headers:?} {}", reply.body);
        } else {
            let desc = text(&reply, "desc").to_owned();
            assert!(desc.contains("--insecure-expose-development-key"), "{headers:?} {desc}");
            refused(&reply, "not_this_machine");
        }
    }
}

#[tokio::test]
async fn every_operation_without_a_token_is_for_this_machine() {
    let server = server();
    let logout = json!({ "refresh_token": "x" }).to_string();
    let host = ("host", "evil.example");
    for operation in server.pipeline.operations() {
        let is_checked = operation.policy.is_public() && operation.policy.is_for_this_machine();
        assert_eq!(
            is_checked,
            ["login", "logout", "get_all_public_keys", "get_public_key_by_id"].contains(&operation.id)
        );
    }
    for (method, path, body) in [
        (Method::POST, "/v1/logout", logout.as_str()),
        (Method::GET, "/v1/publickeys", ""),
        (Method::GET, "/v1/publickeys/x", ""),
    ] {
        let reply = anonymous(&server).send(method, path, &[host], Some(body.to_owned().into())).await;
        refused(&reply, "not_this_machine");
    }
    // What others do in the name of their token is up to them.
    let player = server.player();
    player
        .send(
            Method::POST,
            "/v1/session",
            &[host],
            Some(crate::harness::creation("party").to_string().into()),
        )
        .await
        .expect(200);
}

#[tokio::test]
async fn the_flag_lets_others_log_in() {
    let server = Server::new().exposed();
    for header in
        [("host", "evil.example"), ("origin", "https://evil.example"), ("x-forwarded-for", "192.0.2.1")]
    {
        login_with(&server, &[header]).await.expect(200);
    }
}

#[tokio::test]
async fn a_proxy_is_logged_once_a_minute() {
    let server = Server::new();
    let (log, _guard) = Log::start();
    for (expected, seconds) in [(1, 0), (1, 59), (2, 1), (2, 0)] {
        server.clock.advance(Duration::from_secs(seconds));
        login_with(&server, &[("x-real-ip", "192.0.2.1")]).await.expect(403);
        assert_eq!(log.count("a proxy has passed on"), expected);
    }
}

#[tokio::test]
async fn logins_beyond_the_limit_do_not_fill_the_log() {
    let server = Server::new();
    let (log, _guard) = Log::start();
    let body = json!({ "grant_type": "client_credentials" });
    for _ in 0..20 {
        login(&server, &body, Some(&basic("game-server", "guess"))).await;
    }
    assert_eq!((log.count("client_credentials_invalid"), log.count("authentication_limited")), (5, 0));
}
