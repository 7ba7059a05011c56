//! `rallypoint audit export` against a running server.

use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::session_command::token;
use crate::harness::{Reply, creation};
use crate::support::connection::Connection;
use crate::support::process::{Server, rallypoint, run};

#[tokio::test]
async fn events_are_exported_a_line_each() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let server = Server::start(dir.path()).await;
    let mut player = Connection::open(server.address, Some(&token(dir.path(), &[]).await)).await.unwrap();
    // More changes than one answer of the server has.
    for _ in 0..150 {
        let created = player.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap();
        let session = Reply::from(created).expect(200).body["session_id"].as_str().unwrap().to_owned();
        let path = format!("/v1/session/{session}");
        Reply::from(player.call(&Method::DELETE, &path, None).await.unwrap()).expect(204);
    }
    let export =
        |flags: &[&str]| run(rallypoint(&[&["audit", "export", "--data-dir", data_dir], flags].concat()));
    let lines = export(&[]).await.expect(0).stdout;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let created = events.iter().filter(|event| event["event_name"] == "session.created").count();
    assert_eq!(created, 150);
    assert_eq!(export(&["--to", "2020-01-01"]).await.expect(0).stdout, "");
    assert_eq!(
        export(&["--from", "2020-01-01", "--to", "2099-01-01T00:00:00Z"]).await.expect(0).stdout,
        lines
    );
    let turned = export(&["--from", "2026-11-02", "--to", "2026-11-01"]).await.expect(1).stderr;
    assert!(turned.contains("is not before --to"), "{turned}");
    let refused = export(&["--from", "yesterday"]).await.expect(2).stderr;
    assert!(refused.contains("as in 2026-11-01"), "{refused}");
    server.stop().await.expect(0);
    assert!(export(&[]).await.expect(1).stderr.contains("is the server running on this machine"));
}
