//! Requests that are held while the server is killed.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::serve::{call, creates, get, token};
use crate::harness::{Reply, action_path, until};
use crate::support::connection::Connection;
use crate::support::process::{Server, rallypoint, run, serve};

const BOB: Uuid = Uuid::from_u128(2);
const LIST: &str = "/session/v1/player/me/session";

fn list(etag: &str) -> Request<Full<Bytes>> {
    let request = Request::get(LIST).header(header::IF_NONE_MATCH, etag).header("prefer", "wait=30");
    request.body(Full::default()).unwrap()
}

fn long_poll(cursor: &str, deadline_s: u32) -> Request<Full<Bytes>> {
    let path = "/notification/v1/player/me/stream/notification/lp";
    let query = format!("offset_reset_strategy=earliest&exclude_before={cursor}&deadline={deadline_s}");
    Request::get(format!("{path}?{query}")).body(Full::default()).unwrap()
}

/// What an answer of a long poll tells, and its cursor.
fn told(reply: &Reply) -> (Vec<&str>, &str) {
    let notifications = reply.body["notifications"].as_array().unwrap().iter();
    (
        notifications.map(|told| told["message"].as_str().unwrap()).collect(),
        reply.body["cursor"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn players_whose_server_is_killed_while_they_wait_come_back_and_miss_nothing() {
    let dir = TempDir::new().unwrap();
    let start = async || {
        let mut server = Server::spawn(serve(dir.path(), &["--admin-listen", "127.0.0.1:0"])).await;
        let admin = server.admin_address().await;
        (server, admin)
    };
    let (server, admin) = start().await;
    let data_dir = dir.path().to_str().unwrap();
    let of_bob = rallypoint(&["token", "--player", &BOB.to_string(), "--data-dir", data_dir]);
    let (of_alice, of_bob) = (token(dir.path(), &[]).await, run(of_bob).await.expect(0).stdout);
    let of_bob = of_bob.trim_end();
    let open =
        async |server: &Server, token: &str| Connection::open(server.address, Some(token)).await.unwrap();
    let mut alice = open(&server, &of_alice).await;
    let party = creates(&mut alice).await;
    let invite = action_path(&party, BOB, "invite");
    call(&mut alice, Method::POST, &invite, Some(json!({}))).await.expect(200);

    let (mut on_list, mut listens) = (open(&server, of_bob).await, open(&server, of_bob).await);
    let known: Reply = on_list.send(list("\"none\"")).await.unwrap().into();
    let known = known.expect(200).etag();
    let all: Reply = listens.send(long_poll("", 0)).await.unwrap().into();
    let (added, cursor) = told(&all);
    assert_eq!(added, ["session_added"]);
    let held = tokio::spawn({
        let (list, long_poll) = (list(&known), long_poll(cursor, 25));
        async move { tokio::join!(on_list.send(list), listens.send(long_poll)) }
    });
    until(async || {
        let metrics = get(admin, "/metrics").await.bytes;
        let metrics = std::str::from_utf8(&metrics).unwrap();
        ["list", "long_poll"].iter().all(|kind| metrics.contains(&format!("waiters{{kind=\"{kind}\"}} 1\n")))
    })
    .await;
    server.kill().await;
    let (broken_list, broken_poll) = held.await.unwrap();
    assert!(broken_list.is_err() && broken_poll.is_err());

    let (server, _) = start().await;
    // Before they are back.
    let mut alice = open(&server, &of_alice).await;
    call(&mut alice, Method::DELETE, &format!("/v1/session/{party}/player/{BOB}"), None).await.expect(204);
    let (mut on_list, mut listens) = (open(&server, of_bob).await, open(&server, of_bob).await);
    let now: Reply = on_list.send(list(&known)).await.unwrap().into();
    assert_eq!(now.expect(200).body["sessions"], json!({}));
    let news: Reply = listens.send(long_poll(cursor, 25)).await.unwrap().into();
    let (removed, cursor) = told(&news);
    assert_eq!(removed, ["session_removed"]);
    // And they wait again.
    let (news, _) = tokio::join!(
        listens.send(long_poll(cursor, 25)),
        call(&mut alice, Method::POST, &invite, Some(json!({})))
    );
    let news: Reply = news.unwrap().into();
    assert_eq!(told(&news).0, ["session_added"]);
    server.stop().await.expect(0);
}
