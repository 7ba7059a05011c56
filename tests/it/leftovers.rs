//! What has gone leaves nothing behind in memory.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Server, contents};

#[tokio::test]
async fn a_session_that_ended_for_being_idle_is_forgotten() {
    let server = Server::new();
    let session = server.player().creates("game").await;
    let host = server.service(&["session:update:any", "session:instance:health"]);
    let instance = format!("/v1/session/{session}/instance");
    host.post(&instance, &json!({ "instance_id": "one" })).await.expect(200);
    let report = json!({ "instance_id": "one", "instance_health": "healthy" });
    host.post(&format!("{instance}/health"), &report).await.expect(200);
    assert_eq!(server.app.attendance.remembered(), 1);
    server.advance(Duration::from_secs(2 * 3600)).await;
    assert!(contents(&server).await.is_empty());
    assert_eq!(server.app.attendance.remembered(), 0);
}
