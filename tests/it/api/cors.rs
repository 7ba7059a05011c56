//! CORS: web pages of other origins may call only if the operator allows their origin.

use http::{HeaderMap, Method};
use tempfile::TempDir;

use crate::harness::Reply;
use crate::harness::wire::send;
use crate::support::connection::Connection;
use crate::support::process::{Server, rallypoint, run, serve};

const PAGE: &str = "https://tools.example.com";
const SESSIONS: &str = "/session/v1/session";

/// A server with these allowed origins, and a player's connection to it.
async fn server(origins: Option<&str>) -> (TempDir, Server, Connection) {
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path(), &[]);
    if let Some(origins) = origins {
        command.env("RALLYPOINT_HTTP__CORS_ORIGINS", origins);
    }
    let server = Server::spawn(command).await;
    let player = ["token", "--player", "11111111-1111-4111-8111-111111111111"];
    let data_dir = ["--data-dir", dir.path().to_str().unwrap()];
    let token = run(rallypoint(&[&player[..], &data_dir].concat())).await.expect(0).stdout;
    let connection = Connection::open(server.address, Some(token.trim_end())).await.unwrap();
    (dir, server, connection)
}

/// The preflight request of a browser, before a page of this origin creates a session.
async fn preflight(connection: &mut Connection, origin: &str) -> Reply {
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    send(connection, Method::OPTIONS, SESSIONS, &asked).await
}

fn allows(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|origin| origin.to_str().unwrap())
}

#[tokio::test]
async fn only_configured_origins_may_call_and_read() {
    let (_dir, server, mut player) = server(Some(&format!("[{PAGE:?}]"))).await;
    let allowed = preflight(&mut player, PAGE).await.expect(204);
    assert_eq!(allows(&allowed.headers), Some(PAGE));
    assert_eq!(allowed.headers["access-control-allow-methods"], "GET, HEAD, POST, PUT, PATCH, DELETE");
    assert_eq!(
        allowed.headers["access-control-allow-headers"],
        "authorization, content-type, idempotency-key, if-match, if-none-match, prefer"
    );
    assert_eq!((&allowed.headers["vary"], allowed.bytes.len()), (&"origin".parse().unwrap(), 0));

    let created = send(&mut player, Method::POST, SESSIONS, &[("origin", PAGE)]).await.expect(200);
    let session = format!("{SESSIONS}/{}", created.body["session_id"].as_str().unwrap());
    let read = send(&mut player, Method::GET, &session, &[("origin", PAGE)]).await.expect(200);
    assert_eq!(allows(&read.headers), Some(PAGE));
    assert_eq!(
        read.headers["access-control-expose-headers"],
        "etag, idempotency-replayed, preference-applied, retry-after"
    );
    let etag = read.etag();
    let known = [("origin", PAGE), ("if-none-match", &etag)];
    assert_eq!(
        allows(&send(&mut player, Method::GET, &session, &known).await.expect(304).headers),
        Some(PAGE)
    );
    // Errors can be read too.
    let missing = format!("{SESSIONS}/none");
    let missing = send(&mut player, Method::GET, &missing, &[("origin", PAGE)]).await;
    assert_eq!(allows(&missing.refused(404, "session_not_found").headers), Some(PAGE));

    for other in ["https://elsewhere.example.com", "http://tools.example.com", "null"] {
        let refused = preflight(&mut player, other).await.refused(405, "method_not_allowed");
        assert_eq!((allows(&refused.headers), refused.headers["vary"].to_str().unwrap()), (None, "origin"));
        let read = send(&mut player, Method::GET, &session, &[("origin", other)]).await.expect(200);
        assert_eq!(allows(&read.headers), None);
    }
    // An OPTIONS request that is not a preflight is an unsupported method.
    let plain = send(&mut player, Method::OPTIONS, SESSIONS, &[("origin", PAGE)]).await;
    plain.refused(405, "method_not_allowed");
    server.stop().await.expect(0);
}

#[tokio::test]
async fn a_wildcard_allows_every_origin_and_the_default_allows_none() {
    let (_dir, open, mut player) = server(Some("[\"*\"]")).await;
    assert_eq!(allows(&preflight(&mut player, PAGE).await.expect(204).headers), Some("*"));
    open.stop().await.expect(0);

    let (_dir, closed, mut player) = server(None).await;
    preflight(&mut player, PAGE).await.refused(405, "method_not_allowed");
    let created = send(&mut player, Method::POST, SESSIONS, &[("origin", PAGE)]).await.expect(200);
    assert!(allows(&created.headers).is_none() && !created.headers.contains_key("vary"));
    closed.stop().await.expect(0);
}

#[tokio::test]
async fn an_invalid_origin_is_refused() {
    let mut command = rallypoint(&["config"]);
    command.env("RALLYPOINT_HTTP__CORS_ORIGINS", "[\"https://tools.example.com/\"]");
    let refused = run(command).await.expect(1).stderr;
    assert!(refused.starts_with("error: RALLYPOINT_HTTP__CORS_ORIGINS: "), "{refused}");
    assert!(refused.contains("\"https://tools.example.com/\" is no origin, as in https://"), "{refused}");
}
