//! Templates over restarts of the real binary.

use http::Method;
use tempfile::TempDir;

use super::serve::{call, creates, token};
use crate::support::connection::Connection;
use crate::support::process::{Server, serve};

#[tokio::test]
async fn a_server_that_starts_without_a_template_serves_it_while_sessions_use_it() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("mine.toml");
    let start = async || Server::spawn(serve(dir.path(), &["--config", config.to_str().unwrap()])).await;
    std::fs::write(&config, "[templates.party]\ncan_be_created_by_players_directly = true\n").unwrap();
    let server = start().await;
    let token = token(dir.path(), &[]).await;
    let mut player = Connection::open(server.address, Some(&token)).await.unwrap();
    let session = creates(&mut player).await;
    server.stop().await.expect(0);

    std::fs::write(&config, "[templates.game]\n").unwrap();
    let server = start().await;
    let mut player = Connection::open(server.address, Some(&token)).await.unwrap();
    let templates = call(&mut player, Method::GET, "/v1/template", None).await.expect(200).body;
    let names: Vec<_> = templates["templates"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["game", "party"]);
    call(&mut player, Method::GET, "/v1/template/party", None).await.expect(200);
    call(&mut player, Method::DELETE, &format!("/v1/session/{session}/player/me"), None).await.expect(204);
    server.stop().await.expect(0);
}
