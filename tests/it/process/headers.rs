//! Headers for browsers and caches, on every kind of answer of both listeners.

use std::net::SocketAddr;

use http::Method;
use tempfile::TempDir;

use crate::harness::Reply;
use crate::harness::wire::send;
use crate::support::connection::Connection;
use crate::support::process::{Server, rallypoint, run, serve};

const PLAYER: &str = "11111111-1111-4111-8111-111111111111";
const SESSIONS: &str = "/session/v1/session";

async fn get(address: SocketAddr, method: Method, path: &str) -> Reply {
    let mut connection = Connection::open(address, None).await.unwrap();
    send(&mut connection, method, path, &[]).await
}

#[track_caller]
fn check_header(reply: &Reply, name: &str, expected: &str) {
    let values: Vec<_> = reply.headers.get_all(name).iter().collect();
    assert_eq!(values, [expected], "{name}: {} {:?}", reply.status, reply.headers);
}

#[track_caller]
fn check(reply: &Reply) {
    check_header(reply, "x-content-type-options", "nosniff");
    check_header(reply, "cache-control", "private, no-cache");
}

/// A server, and a player's connection to it.
async fn server(fast_path: &str) -> (TempDir, Server, Connection) {
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("RALLYPOINT_HTTP__FAST_PATH", fast_path);
    let server = Server::spawn(command).await;
    let data_dir = dir.path().to_str().unwrap();
    let token =
        run(rallypoint(&["token", "--player", PLAYER, "--data-dir", data_dir])).await.expect(0).stdout;
    let connection = Connection::open(server.address, Some(token.trim_end())).await.unwrap();
    (dir, server, connection)
}

#[tokio::test]
async fn every_answer_of_the_api_is_private_and_of_its_own_type() {
    for fast_path in ["true", "false"] {
        let (_dir, server, mut player) = server(fast_path).await;
        let created = send(&mut player, Method::POST, SESSIONS, &[]).await.expect(200);
        check(&created);
        let session = format!("{SESSIONS}/{}", created.body["session_id"].as_str().unwrap());
        // The first read takes the normal path, the others the fast path.
        let etag = send(&mut player, Method::GET, &format!("{session}?"), &[]).await.expect(200).etag();
        for (query, known, status) in
            [("?", "\"none\"", 200), ("", "\"none\"", 200), ("?", &*etag, 304), ("", &*etag, 304)]
        {
            let path = format!("{session}{query}");
            let reply =
                send(&mut player, Method::GET, &path, &[("if-none-match", known)]).await.expect(status);
            check(&reply);
            assert_eq!(reply.etag(), etag);
        }
        for (method, path, status) in [
            (Method::HEAD, &*session, 200),
            (Method::GET, &format!("{SESSIONS}/none"), 404),
            (Method::PUT, &session, 405),
            (Method::POST, &format!("{session}/player/me"), 422),
            (Method::DELETE, &format!("{session}/player/me"), 204),
        ] {
            check(&send(&mut player, method, path, &[]).await.expect(status));
        }
        for (path, status) in
            [(&*session, 403), ("/session/nothing", 404), ("/openapi.json", 200), ("/", 307), ("/docs/", 200)]
        {
            check(&get(server.address, Method::GET, path).await.expect(status));
        }
        server.stop().await.expect(0);
    }
}

#[tokio::test]
async fn every_answer_of_the_admin_listener_is_too() {
    let (_dir, mut server, _) = server("true").await;
    let admin = server.admin_address().await;
    for (method, path, status) in [
        (Method::GET, "/live", 200),
        (Method::GET, "/ready", 200),
        (Method::HEAD, "/metrics", 200),
        (Method::GET, "/none", 404),
        (Method::POST, "/live", 405),
    ] {
        check(&get(admin, method, path).await.expect(status));
    }
    server.stop().await.expect(0);
}
