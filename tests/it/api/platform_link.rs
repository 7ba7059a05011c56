//! Linking and unlinking platform sessions; joining and leaving through them.

use rallypoint::domain::Platform;
use serde_json::{Value, json};

use crate::harness::{Server, XBOX_ID, contents, joining, link_path, platform_path};

const OTHER_ID: &str = "b3RoZXI=";

#[tokio::test]
async fn linking_the_same_pair_again_changes_nothing() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let first = alice.links(&session).await.expect(200);
    let before = contents(&server).await;
    let again = alice.links(&session).await.expect(200);
    assert_eq!((first.bytes.clone(), first.etag()), (again.bytes.clone(), again.etag()));
    assert_eq!(before, contents(&server).await);
}

#[tokio::test]
async fn linking_a_platform_session_of_another_session_is_refused_and_changes_nothing() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let hers = alice.creates("party").await;
    let his = bob.creates("party").await;
    alice.links(&hers).await.expect(200);
    let before = contents(&server).await;
    bob.links(&his).await.refused(403, "platform_session_in_use");
    assert_eq!(before, contents(&server).await);
    // The platform session is free as soon as the session has ended.
    alice.delete(&format!("/v1/session/{hers}")).await.expect(204);
    alice.xbox().await.refused(404, "platform_session_not_found");
    bob.links(&his).await.expect(200);
}

#[tokio::test]
async fn the_platform_session_is_free_after_the_last_player_leaves() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    alice.leaves(&session).await.expect(204);
    let his = bob.creates("party").await;
    bob.links(&his).await.expect(200);
}

#[tokio::test]
async fn a_session_links_one_platform_session_per_platform() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let other = link_path("XboxLive", OTHER_ID, &session);
    alice.post(&other, &Value::Null).await.refused(403, "platform_already_linked");
    alice.delete(&link_path("XboxLive", OTHER_ID, &session)).await.refused(404, "platform_session_not_found");
    alice.delete(&link_path("XboxLive", XBOX_ID, &session)).await.expect(204);
    alice.xbox().await.refused(404, "platform_session_not_found");
    alice.post(&other, &Value::Null).await.expect(200);
    let psn = link_path("PSN", XBOX_ID, &session);
    alice.post(&psn, &Value::Null).await.expect(200);
    let seen = alice.session(&session).await.expect(200);
    assert_eq!(seen.body["platform_session"].as_array().unwrap().len(), 2);
    assert_eq!(seen.body["teams"][0]["players"].as_array().unwrap().len(), 1, "unlinking keeps the players");
}

#[tokio::test]
async fn linking_needs_the_template_to_map_the_platform() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let google = link_path("Google", XBOX_ID, &session);
    alice.post(&google, &Value::Null).await.refused(404, "platform_not_in_template");
    alice
        .post(&link_path("XboxLive", XBOX_ID, "no-such-session"), &Value::Null)
        .await
        .refused(404, "session_not_found");
}

#[tokio::test]
async fn only_active_players_or_update_any_may_link_and_unlink() {
    let server = Server::new();
    let (alice, stranger) = (server.player(), server.player());
    let session = alice.creates("party").await;
    stranger.links(&session).await.refused(403, "not_active_in_session");
    alice.links(&session).await.expect(200);
    stranger.delete(&link_path("XboxLive", XBOX_ID, &session)).await.refused(403, "not_active_in_session");
    let service = server.service(&["session:update:platform", "session:update:any"]);
    service.delete(&link_path("XboxLive", XBOX_ID, &session)).await.expect(204);
    service.links(&session).await.expect(200);
    server.service(&["session:update:platform"]).links(&session).await.refused(403, "not_active_in_session");
}

#[tokio::test]
async fn a_linked_platform_session_takes_type_and_data_from_the_template() {
    let server = Server::with(|config| {
        let party = config.templates.get_mut("party").unwrap();
        let xbox = party.platform_templates.get_mut(&Platform::XboxLive).unwrap();
        xbox.platform_session_type = "GameLobby".into();
        xbox.custom_data.insert("scid".into(), "0000".into());
    });
    let alice = server.player();
    let session = alice.creates("party").await;
    let linked = alice.links(&session).await.expect(200);
    assert_eq!(linked.body["platform_session_type"], json!("GameLobby"));
    assert_eq!(linked.body["custom_data"], json!({"scid": "0000"}));
}

#[tokio::test]
async fn joining_through_a_platform_session_joins_the_session_and_returns_it() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let join_path = format!("{}/player/me", platform_path("XboxLive", XBOX_ID));
    bob.joins(&session).await.refused(403, "session_not_joinable");
    let joined = bob.post(&join_path, &joining()).await.expect(200);
    let seen = bob.session(&session).await.expect(200);
    assert_eq!((joined.bytes.clone(), joined.etag()), (seen.bytes.clone(), seen.etag()));
    // A second join changes nothing.
    assert_eq!(bob.post(&join_path, &joining()).await.expect(200).etag(), seen.etag());
    bob.delete(&join_path).await.expect(204);
    bob.delete(&join_path).await.refused(404, "player_not_found");
    assert_eq!(alice.session(&session).await.body["teams"][0]["players"].as_array().unwrap().len(), 1);

    let closed = json!({"joinability": {"open": false, "platform": false}});
    alice.patch(&format!("/v1/session/{session}"), &closed).await.expect(200);
    bob.post(&join_path, &joining()).await.refused(403, "session_not_joinable");
    bob.post(&format!("{}/player/me", platform_path("PSN", XBOX_ID)), &joining())
        .await
        .refused(404, "platform_session_not_found");
}

#[tokio::test]
async fn joining_and_leaving_for_another_player_needs_a_permission() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let bobs = format!("{}/player/{}", platform_path("XboxLive", XBOX_ID), bob.player);
    alice.post(&bobs, &joining()).await.refused(403, "permission_denied");
    bob.post(&bobs, &joining()).await.expect(200);
    alice.delete(&bobs).await.refused(403, "permission_denied");
    bob.delete(&bobs).await.expect(204);

    let service = server.service(&["session:update-player:any"]);
    let joined = service.post(&bobs, &joining()).await.expect(200);
    assert_eq!(joined.body["session_id"], json!(session));
    service.delete(&bobs).await.expect(204);
    service.delete(&bobs).await.refused(404, "player_not_found");
    let no_uuid = format!("{}/player/bob", platform_path("XboxLive", XBOX_ID));
    bob.post(&no_uuid, &joining()).await.invalid(&[(json!(["path", "player_uuid"]), "type_error.uuid")]);
}

#[tokio::test]
async fn a_422_lists_every_violation_of_path_and_body() {
    let server = Server::new();
    let join_path = format!("{}/player/me", platform_path("Xbox", &"x".repeat(4097)));
    let body = json!({"client_settings": {"input": "wheel"}, "team_id": -1, "password": ""});
    server.player().post(&join_path, &body).await.invalid(&[
        (json!(["path", "platform"]), "type_error.enum"),
        (json!(["path", "platform_session_id_base64"]), "value_error.any_str.max_length"),
        (json!(["body", "client_version"]), "value_error.missing"),
        (json!(["body", "client_settings", "input"]), "type_error.enum"),
        (json!(["body", "team_id"]), "value_error.number.not_ge"),
        (json!(["body", "password"]), "value_error.any_str.min_length"),
    ]);
}

#[tokio::test]
async fn token_claims_apply_only_to_the_tokens_own_player() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player_on(Platform::Steam));
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let mut grant = crate::harness::grant(Some(alice.player), Some(Platform::PSN), &["session:*"]);
    grant.player_id = Some(1);
    let helper = server.bearer(server.token(&grant));
    let bobs = format!("{}/player/{}", platform_path("XboxLive", XBOX_ID), bob.player);
    helper.post(&bobs, &joining()).await.expect(200);
    let seen = alice.session(&session).await.expect(200).body["teams"][0]["players"][1].clone();
    assert_eq!(seen["player_uuid"], json!(bob.player));
    assert_eq!(
        seen["client_settings"]["platform"],
        json!("XboxLive"),
        "the platform of the body, not of the helper's token"
    );
    assert!(seen.get("player_id").is_none());
}
