//! Session templates, as clients read them.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn templates_are_listed_and_read_one_by_one() {
    let server = Server::new();
    let alice = server.player();
    let all = alice.get("/v1/template").await.expect(200);
    let party = alice.get("/v1/template/party").await.expect(200);
    assert_eq!(all.body["templates"]["party"], party.body);
    assert_eq!(all.body["templates"].as_object().unwrap().len(), 2);
    let xbox = &party.body["platform_templates"]["XboxLive"];
    let expected = json!({
        "platform_id": 10, "platform": "XboxLive", "platform_session_type": "party", "max_players": 4, "custom_data": {},
    });
    assert_eq!(*xbox, expected);
    alice.get_if_none_match("/v1/template", &all.etag()).await.expect(304);
    alice.get_if_none_match("/v1/template/party", &party.etag()).await.expect(304);
    alice.get("/v1/template/raid").await.refused(404, "template_not_found");
    server.service(&["session:read:config"]).get("/v1/template").await.expect(200);
    server.service(&["session:create"]).get("/v1/template").await.refused(403, "permission_denied");
}
