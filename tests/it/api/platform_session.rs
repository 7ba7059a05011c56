//! The operation Get Platform Session Info, and the players of a platform session.

use std::time::Duration;

use http::Method;
use rallypoint::domain::Platform;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Server, XBOX_ID, grant, joining, link_path, platform_path};

#[tokio::test]
async fn a_member_reads_a_linked_platform_session() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player_on(Platform::Steam));
    let session = alice.creates("party").await;
    let linked = alice.links(&session).await.expect(200);
    let info = alice.xbox().await.expect(200);
    assert_eq!(
        info.body,
        json!({
            "platform": "XboxLive",
            "platform_session_type": "party",
            "platform_session_id_base64": XBOX_ID,
            "players": [{ "player_uuid": alice.player, "leader": true }],
            "custom_data": {},
        })
    );
    assert_eq!(info.bytes, linked.bytes);
    assert_eq!(info.etag(), linked.etag());
    assert!(info.etag().starts_with('"') && info.etag().ends_with('"'));

    alice.opens(&session).await;
    bob.joins(&session).await.expect(200);
    let info = bob.xbox().await.expect(200);
    assert_eq!(info.body["players"].as_array().unwrap().len(), 1, "bob plays on Steam: {}", info.body);
    assert_eq!(info.body["players"][0]["leader"], json!(true));
    let seen = alice.session(&session).await.expect(200);
    assert_eq!(seen.body["platform_session"], json!([info.body]));
}

#[tokio::test]
async fn the_etag_matches_until_the_body_changes() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let etag = alice.links(&session).await.expect(200).etag();
    let path = platform_path("XboxLive", XBOX_ID);
    let same = alice.get_if_none_match(&path, &etag).await.expect(304);
    assert!(same.bytes.is_empty());
    assert_eq!(same.etag(), etag);
    // This changes the session, but not its platform session.
    alice
        .patch(&format!("/v1/session/{session}"), &json!({"custom_data": {"map": "dunes"}}))
        .await
        .expect(200);
    alice.get_if_none_match(&path, &format!("\"other\", W/{etag}")).await.expect(304);
    alice.opens(&session).await;
    server.player().joins(&session).await.expect(200);
    assert_ne!(alice.get_if_none_match(&path, &etag).await.expect(200).etag(), etag);
}

#[tokio::test]
async fn ids_are_returned_byte_for_byte() {
    let server = Server::new();
    for (sent, kept) in [
        ("ab%2Bc%2Fd%3D%3D", "ab+c/d=="),
        ("ab-c_d==", "ab-c_d=="),
        ("a+b", "a+b"),
        ("%C3%A9%00%20", "é\0 "),
        (&"x".repeat(4096), &"x".repeat(4096)),
    ] {
        let alice = server.player();
        let session = alice.creates("party").await;
        alice.post(&link_path("XboxLive", sent, &session), &json!(null)).await.expect(200);
        let info = alice.get(&platform_path("XboxLive", sent)).await.expect(200);
        assert_eq!(info.body["platform_session_id_base64"], json!(kept));
    }
}

#[tokio::test]
async fn invalid_input_is_422_and_lists_every_violation() {
    let server = Server::new();
    let alice = server.player();
    let (platform, id) = (json!(["path", "platform"]), json!(["path", "platform_session_id_base64"]));
    let enumeration = (platform, "type_error.enum");
    let too_long = (id.clone(), "value_error.any_str.max_length");
    for platform in ["Xbox", "xboxlive", "Discord", ""] {
        let refused = alice.get(&platform_path(platform, XBOX_ID)).await;
        refused.invalid(std::slice::from_ref(&enumeration));
    }
    let refused = alice.get(&platform_path("XboxLive", &"x".repeat(4097))).await;
    refused.invalid(std::slice::from_ref(&too_long));
    alice
        .get(&platform_path("XboxLive", ""))
        .await
        .invalid(&[(id.clone(), "value_error.any_str.min_length")]);
    alice.get(&platform_path("XboxLive", "%ff")).await.invalid(&[(id, "value_error.unicodedecode")]);
    alice.get(&platform_path("Xbox", &"x".repeat(4097))).await.invalid(&[enumeration, too_long]);
}

#[tokio::test]
async fn checks_run_in_order_token_permission_input_existence_session() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let (linked, unknown, bad) = (
        platform_path("XboxLive", XBOX_ID),
        platform_path("XboxLive", "bm9uZQ=="),
        platform_path("Xbox", ""),
    );

    for path in [&linked, &unknown, &bad] {
        let refused = server.anonymous().get(path).await.expect(403);
        assert_eq!(
            (&refused.body["auth_success"], &refused.body["error_code"]),
            (&json!(false), &json!("token_missing"))
        );
        server.player_with(None, &["session:create"]).get(path).await.refused(403, "permission_denied");
    }
    let stranger = server.player();
    stranger.get(&bad).await.expect(422);
    stranger.get(&unknown).await.refused(404, "platform_session_not_found");
    stranger.get(&linked).await.refused(403, "not_active_in_session");
    server.player_with(None, &["session:read:platform", "session:read:any"]).get(&linked).await.expect(200);
    server.service(&["session:*"]).get(&linked).await.expect(200);
    server.service(&["session:read:*"]).get(&linked).await.expect(200);
    server.service(&["session:read:platform"]).get(&linked).await.refused(403, "not_active_in_session");
}

#[tokio::test]
async fn a_player_who_left_gets_403_and_not_304() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    bob.post(&format!("{}/player/me", platform_path("XboxLive", XBOX_ID)), &joining()).await.expect(200);
    let etag = bob.xbox().await.expect(200).etag();
    bob.leaves(&session).await.expect(204);
    let path = platform_path("XboxLive", XBOX_ID);
    bob.get_if_none_match(&path, &etag).await.refused(403, "not_active_in_session");
    bob.get_if_none_match(&path, "*").await.refused(403, "not_active_in_session");
    alice.get_if_none_match(&path, "*").await.expect(304);
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.links(&session).await.expect(200);
    let path = platform_path("XboxLive", XBOX_ID);
    let got = alice.get(&path).await.expect(200);
    let head = alice.send(Method::HEAD, &path, &[], None).await.expect(200);
    assert!(head.bytes.is_empty());
    assert_eq!(head.etag(), got.etag());
    assert_eq!(head.headers["content-length"], got.bytes.len().to_string());
    let etag = got.etag();
    let unchanged = alice.send(Method::HEAD, &path, &[("if-none-match", &etag)], None).await.expect(304);
    assert!(!unchanged.headers.contains_key("content-length"), "a 304 has no content length");
}

#[tokio::test]
async fn players_of_a_platform_session_linked_it_joined_through_it_or_use_its_platform() {
    let server = Server::new();
    let host = server.player_on(Platform::Steam);
    let session = host.creates("party").await;
    host.opens(&session).await;
    // A player who links the platform session is one of its players, also from another platform.
    host.links(&session).await.expect(200);
    let (xbox, psn, through) =
        (server.player(), server.player_on(Platform::PSN), server.player_on(Platform::Epic));
    for joiner in [&xbox, &psn] {
        server.clock.advance(Duration::from_secs(1));
        joiner.joins(&session).await.expect(200);
    }
    server.clock.advance(Duration::from_secs(1));
    through.post(&format!("{}/player/me", platform_path("XboxLive", XBOX_ID)), &joining()).await.expect(200);
    let players = |body: &Value| -> Vec<(Value, bool)> {
        let players = body["players"].as_array().unwrap();
        players.iter().map(|player| (player["player_uuid"].clone(), player["leader"] == true)).collect()
    };
    let info = host.xbox().await.expect(200);
    // The player on PSN is not in the platform session, so its longest active player leads: the host.
    assert_eq!(
        players(&info.body),
        [(json!(host.player), true), (json!(xbox.player), false), (json!(through.player), false)]
    );
    host.leaves(&session).await.expect(204);
    let info = xbox.xbox().await.expect(200);
    assert_eq!(players(&info.body), [(json!(xbox.player), true), (json!(through.player), false)]);
    // Now all active players are in the platform session, so the session's leader leads it.
    psn.leaves(&session).await.expect(204);
    let leader = xbox.session(&session).await.body["teams"][0]["players"][0].clone();
    assert_eq!((&leader["player_uuid"], &leader["status"]), (&json!(xbox.player), &json!("leader")));
}

#[tokio::test]
async fn a_service_that_links_is_not_a_player() {
    let server = Server::new();
    let host = server.player_on(Platform::Steam);
    let session = host.creates("party").await;
    let service = server.service(&["session:*"]);
    service.links(&session).await.expect(200);
    assert_eq!(service.xbox().await.expect(200).body["players"], json!([]));
    host.links(&session).await.expect(200);
    assert_eq!(
        service.xbox().await.expect(200).body["players"],
        json!([{"player_uuid": host.player, "leader": true}])
    );
}

#[tokio::test]
async fn the_numeric_id_is_shown_if_the_token_carried_one() {
    let server = Server::new();
    let player = Uuid::from_u128(7);
    let mut grant = grant(Some(player), Some(Platform::XboxLive), &["session:*"]);
    grant.player_id = Some(4711);
    let alice = server.bearer(server.token(&grant));
    let session = alice.creates("party").await;
    let linked = alice.links(&session).await.expect(200);
    assert_eq!(linked.body["players"], json!([{"player_id": 4711, "player_uuid": player, "leader": true}]));
    assert_eq!(alice.session(&session).await.body["teams"][0]["players"][0]["player_id"], json!(4711));
}
