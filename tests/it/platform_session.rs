//! The seed operation, rule by rule.

use rallypoint::domain::Platform;
use serde_json::json;

use crate::harness::{Server, XBOX_ID, link_path, platform_path};

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
async fn the_etag_answers_304_and_changes_with_the_body_only() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let etag = alice.links(&session).await.expect(200).etag();
    let path = platform_path("XboxLive", XBOX_ID);
    let same = alice.get_if_none_match(&path, &etag).await.expect(304);
    assert!(same.bytes.is_empty());
    assert_eq!(same.etag(), etag);
    // The session changes, its platform session does not.
    alice.patch(&format!("/v1/session/{session}"), &json!({"custom_data": {"map": "dunes"}})).await.expect(200);
    alice.get_if_none_match(&path, &format!("\"other\", W/{etag}")).await.expect(304);
    alice.opens(&session).await;
    server.player().joins(&session).await.expect(200);
    assert_ne!(alice.get_if_none_match(&path, &etag).await.expect(200).etag(), etag);
}

#[tokio::test]
async fn ids_are_opaque_and_come_back_byte_for_byte() {
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
async fn bad_input_is_422_and_names_every_violation() {
    let server = Server::new();
    let alice = server.player();
    let (platform, id) = (json!(["path", "platform"]), json!(["path", "platform_session_id_base64"]));
    let enumeration = (platform, "type_error.enum");
    let too_long = (id.clone(), "value_error.any_str.max_length");
    alice.get(&platform_path("Xbox", XBOX_ID)).await.invalid(&[enumeration.clone()]);
    alice.get(&platform_path("xboxlive", XBOX_ID)).await.invalid(&[enumeration.clone()]);
    alice.get(&platform_path("Discord", XBOX_ID)).await.invalid(&[enumeration.clone()]);
    alice.get(&platform_path("", XBOX_ID)).await.invalid(&[enumeration.clone()]);
    alice.get(&platform_path("XboxLive", &"x".repeat(4097))).await.invalid(&[too_long.clone()]);
    alice.get(&platform_path("XboxLive", "")).await.invalid(&[(id.clone(), "value_error.any_str.min_length")]);
    alice.get(&platform_path("XboxLive", "%ff")).await.invalid(&[(id, "value_error.unicodedecode")]);
    alice.get(&platform_path("Xbox", &"x".repeat(4097))).await.invalid(&[enumeration, too_long]);
}
