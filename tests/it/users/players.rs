use rallypoint::config::UserKind;
use serde_json::json;

use super::*;

#[tokio::test]
async fn links_show_account_and_display_name_of_who_has_logged_in() {
    let server = Server::with(|config| add_user(config, "ann", UserKind::Player));
    let one = anon(&server, "player-1").await;
    let body =
        json!({ "grant_type": "basic", "portal_access_token": "ann:secret", "portal_display_name": "Ann" });
    let ann = login(&server, &body, None).await.expect(200);
    let caller = server.bearer(text(&one, "access_token")).on(USERS);
    let links =
        caller.get(&format!("/v2/player/{}/links", text(&ann, "active_player_uuid"))).await.expect(200);
    let uuid = &ann.body["active_player_uuid"];
    let expected = json!({
        "player": { "player_id": 0, "player_uuid": uuid, "person_id": ann.body["person_id"] },
        "linked_portals": [{
            "portal_id": 11, "platform": "Basic", "portal_user_id": "ann", "display_name": "Ann", "player_id": 0,
            "player_uuid": uuid,
        }],
    });
    assert_eq!(links.body, expected);
    let own = caller.get("/v2/player/me/links").await.expect(200);
    assert_eq!(own.body["player"]["player_uuid"], one.body["active_player_uuid"]);
    assert_eq!(own.body["linked_portals"][0]["portal_id"], 2);
    let stranger = server.player();
    caller.get(&format!("/v2/player/{}/links", stranger.player)).await.refused(404, "player_not_found");
    stranger.on(USERS).get("/v2/player/me/links").await.refused(404, "player_not_found");
    server.service(&[]).on(USERS).get("/v2/player/me/links").await.refused(400, "token_without_player");
    let missing = anonymous(&server).get("/v2/player/me/links").await.expect(403);
    assert_eq!(text(&missing, "error_code"), "auth_not_jwt");
}

#[tokio::test]
async fn players_are_found_by_their_exact_name_or_account() {
    let server = Server::new();
    let mut ids = Vec::new();
    for (token, name) in [("1", "Ann"), ("2", "Ann"), ("3", "ann"), ("4", "A b&c")] {
        let body = json!({ "grant_type": "anon", "portal_access_token": token, "portal_display_name": name });
        ids.push(login(&server, &body, None).await.expect(200).body["active_player_uuid"].clone());
    }
    let caller = server.player().on(USERS);
    let found = async |query: &str| caller.get(&format!("/v1/player{query}")).await.expect(200).body;
    let hit = |index: usize| json!({ "player_id": 0, "player_uuid": ids[index] });
    let nothing =
        json!({ "display_names": [], "identity_platforms": {}, "identity_platforms_by_platform": {} });
    for query in [
        "",
        "?display_name=An",
        "?display_name=",
        "?identities=1",
        "?platform=Steam&identities=1",
        "?platform=Anon",
    ] {
        assert_eq!(found(query).await, nothing, "{query}");
    }
    let ann = found("?display_name=Ann&display_name=nobody&display_name=A%20b%26c").await;
    let both = ann["display_names"][0]["Ann"].as_array().unwrap();
    assert!(both.len() == 2 && both.contains(&hit(0)) && both.contains(&hit(1)), "{ann}");
    assert_eq!(ann["display_names"][1], json!({ "A b&c": [hit(3)] }));
    for platform in ["platform=Anon", "identity_platform=2", "platform=Anon&identity_platform=5"] {
        let by_id = found(&format!("?{platform}&identities=3&identities=5&identities=1")).await;
        let expected = json!({ "Anon": [{ "identity": { "1": hit(0), "3": hit(2) } }] });
        assert_eq!(by_id["identity_platforms_by_platform"], expected, "{platform}");
    }
    // A new name replaces the old one.
    let body = json!({ "grant_type": "anon", "portal_access_token": "3", "portal_display_name": "Tom" });
    login(&server, &body, None).await.expect(200);
    assert_eq!(found("?display_name=ann").await, nothing);
    assert_eq!(found("?display_name=Tom").await["display_names"], json!([{ "Tom": [hit(2)] }]));
}

#[tokio::test]
async fn a_look_up_has_limits() {
    let server = Server::new();
    for number in 0..60 {
        let body = json!({ "grant_type": "anon", "portal_access_token": number.to_string(), "portal_display_name": "Ann" });
        login(&server, &body, None).await.expect(200);
    }
    let caller = server.player().on(USERS);
    let names = caller
        .get("/v1/player?display_name=Ann&display_name=Ann&platform=Anon&identities=1")
        .await
        .expect(200);
    assert_eq!(names.body["display_names"], json!([{ "Ann": names.body["display_names"][0]["Ann"] }]));
    assert_eq!(names.body["display_names"][0]["Ann"].as_array().unwrap().len(), 50);
    assert_eq!(names.body["identity_platforms_by_platform"], json!({}));
    for (name, chars_max) in [("display_name", 256), ("identities", 2048)] {
        let query = |count: usize| vec![format!("{name}=x"); count].join("&");
        caller.get(&format!("/v1/player?{}", query(20))).await.expect(200);
        let many = caller.get(&format!("/v1/player?{}", query(21))).await;
        many.invalid(&[(json!(["query", name]), "value_error.list.max_items")]);
        caller.get(&format!("/v1/player?{name}={}", "x".repeat(chars_max))).await.expect(200);
        let long = caller.get(&format!("/v1/player?{name}={}", "x".repeat(chars_max + 1))).await;
        long.invalid(&[(json!(["query", name]), "value_error.any_str.max_length")]);
    }
    let unknown = caller.get("/v1/player?platform=steam&identity_platform=x").await;
    unknown.invalid(&[
        (json!(["query", "platform"]), "type_error.enum"),
        (json!(["query", "identity_platform"]), "type_error.integer"),
    ]);
}

#[tokio::test]
async fn players_of_this_login_have_no_older_ids() {
    let server = Server::new();
    let one = anon(&server, "player-1").await;
    let player = server.bearer(text(&one, "access_token")).on(USERS);
    let own = format!("/v2/player/{}/id", text(&one, "active_player_uuid"));
    for path in ["/v2/player/me/id", &own, "/v2/player/1000/uuid"] {
        player.get(path).await.refused(404, "player_not_found");
    }
    server.service(&[]).on(USERS).get("/v2/player/me/id").await.refused(400, "token_without_player");
    // The tokens of `rallypoint token` may name one.
    let numbered = server.player_numbered(7);
    let users = numbered.on(USERS);
    assert_eq!(users.get("/v2/player/me/id").await.expect(200).body, json!({ "player_id": 7 }));
    let own = format!("/v2/player/{}/id", numbered.player);
    assert_eq!(users.get(&own).await.expect(200).body, json!({ "player_id": 7 }));
    player.get(&own).await.refused(404, "player_not_found");
    numbered.creates("party").await;
    assert_eq!(player.get("/v2/player/7/uuid").await.expect(200).body, json!({ "uuid": numbered.player }));
}
