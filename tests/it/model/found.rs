//! Mistakes that random sequences have found, each told by itself.

use serde_json::json;

use crate::harness::{Client, Server};

fn player_path(session: &str, of: &Client) -> String {
    format!("/v2/session/{session}/player/{}", of.player)
}

#[tokio::test]
async fn standing_comes_before_whom_a_move_names() {
    let server = Server::new();
    let (alice, stranger) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let path = player_path(&session, &server.player()) + ":move";
    for body in [json!({"team_id": 1}), json!({})] {
        stranger.post(&path, &body).await.refused(403, "not_active_in_session");
        alice.post(&path, &body).await.refused(404, "player_not_found");
    }
    let own = player_path(&session, &alice) + ":move";
    assert_eq!(alice.post(&own, &json!({})).await.expect(200).body["team_id"], json!(0));
}
