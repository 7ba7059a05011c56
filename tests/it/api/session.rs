//! Creating, reading, changing and ending sessions.

use rallypoint::domain::Platform;
use serde_json::{Value, json};

use crate::harness::{Server, creation, joining};

#[tokio::test]
async fn the_creator_leads_a_session_created_from_its_template() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let seen = alice.session(&session).await.expect(200);
    let team = |players: Value, team_id: u8| json!({"players": players, "max_size": 8, "team_id": team_id});
    let leader = json!({
        "player_uuid": alice.player, "status": "leader", "custom_data": {}, "version": "1.0.0",
        "client_settings": {"platform": "XboxLive", "input": "gamepad"}, "joined": "2026-11-23T12:00:00Z",
        "session_permissions": ["invite", "kick", "move"],
    });
    assert_eq!(
        seen.body,
        json!({
            "type": "game", "session_id": session, "joinable": true,
            "joinability": {"open": true, "friends": false, "platform": true},
            "teams": [team(json!([leader]), 0), team(json!([]), 1)], "teams_suppressed": false,
            "platform_session": [],
            "platform_scouts": {"XboxLive": {"player_uuid": alice.player, "platform": "XboxLive"}},
            "custom_data": {}, "created": "2026-11-23T12:00:00Z", "created_by_matchmaking": false,
        })
    );
}

#[tokio::test]
async fn outsiders_see_a_public_view_with_its_own_etag() {
    let server = Server::new();
    let (alice, stranger) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let (full, limited) =
        (alice.session(&session).await.expect(200), stranger.session(&session).await.expect(200));
    assert_ne!(full.etag(), limited.etag());
    assert!(limited.body.get("platform_session").is_none() && limited.body.get("platform_scouts").is_none());
    assert_eq!(
        limited.body["teams"][0]["players"],
        json!([{"player_uuid": alice.player, "status": "leader"}])
    );
    let path = format!("/v1/session/{session}");
    stranger.get_if_none_match(&path, &full.etag()).await.expect(200);
    stranger.get_if_none_match(&path, &limited.etag()).await.expect(304);
    let admin = server.service(&["session:read:any"]).session(&session).await.expect(200);
    assert_eq!(admin.bytes, full.bytes);
}

#[tokio::test]
async fn the_template_decides_whether_players_may_create() {
    let server = Server::with(|config| {
        config.templates.get_mut("party").unwrap().can_be_created_by_players_directly = false;
    });
    let alice = server.player();
    alice.post("/v1/session", &creation("party")).await.refused(400, "session_type_not_creatable");
    alice.post("/v1/session", &creation("raid")).await.refused(404, "template_not_found");
}

#[tokio::test]
async fn create_or_join_joins_the_oldest_open_session_with_a_free_slot() {
    let server = Server::with(|config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.num_teams, game.players_per_team) = (1, 1);
    });
    let (alice, bob, carol) = (server.player(), server.player(), server.player());
    let first = alice.creates("game").await;
    // The session is full, so a new session is created.
    let second = bob.creates("game").await;
    assert_ne!(first, second);
    alice.leaves(&first).await.expect(204);
    let mut grown = json!({"teams": [{"max_size": 2}]});
    bob.patch(&format!("/v1/session/{second}"), &grown).await.expect(200);
    assert_eq!(carol.creates("game").await, second);
    grown["joinable"] = json!(false);
    bob.patch(&format!("/v1/session/{second}"), &grown).await.expect(200);
    assert_ne!(server.player().creates("game").await, second);
}

#[tokio::test]
async fn create_or_join_skips_sessions_with_a_password_or_another_region() {
    let server = Server::new();
    let creates = async |more: Value| {
        let mut body = creation("game");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let created = server.player().post("/v1/session", &body).await.expect(200);
        created.body["session_id"].as_str().unwrap().to_owned()
    };
    // More sessions of both kinds than create-or-join tries, or scans at once.
    let mut others = Vec::new();
    for turn in 0..40 {
        others.push(creates(json!({ "password": format!("{turn}") })).await);
        others.push(creates(json!({ "password": format!("{turn}"), "region_id": "eu" })).await);
    }
    let first = creates(json!({})).await;
    assert!(!others.contains(&first));
    assert_eq!(creates(json!({})).await, first);
    let elsewhere = creates(json!({ "region_id": "us" })).await;
    assert_ne!(elsewhere, first);
    assert_eq!(creates(json!({ "region_id": "us" })).await, elsewhere);
}

#[tokio::test]
async fn create_or_join_returns_members_to_their_session_with_a_password() {
    let server = Server::new();
    let alice = server.player();
    let mut body = creation("game");
    body["password"] = json!("open sesame");
    let first = alice.post("/v1/session", &body).await.expect(200).body["session_id"].clone();
    assert_eq!(json!(alice.creates("game").await), first);
}

#[tokio::test]
async fn a_private_type_always_creates_a_new_session() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let hers = alice.creates("party").await;
    alice.opens(&hers).await;
    assert_ne!(bob.creates("party").await, hers);
}

#[tokio::test]
async fn the_platform_of_the_token_overrides_the_body() {
    let server = Server::new();
    let alice = server.player_on(Platform::PSN);
    let session = alice.creates("party").await;
    assert_eq!(
        alice.session(&session).await.body["platform_scouts"]["PSN"]["player_uuid"],
        json!(alice.player)
    );

    let nowhere = server.player_with(None, &["session:*"]);
    let mut body = creation("party");
    body["client_settings"] = json!({"input": "touch"});
    let missing = (json!(["body", "client_settings", "platform"]), "value_error.missing");
    nowhere.post("/v1/session", &body).await.invalid(&[missing]);
    body["client_settings"]["platform_id"] = json!(5);
    let created = nowhere.post("/v1/session", &body).await.expect(200);
    let session = created.body["session_id"].as_str().unwrap();
    assert!(nowhere.session(session).await.body["platform_scouts"]["Steam"].is_object());
    body["client_settings"]["platform_id"] = json!(25);
    let not_one_of_ours = (json!(["body", "client_settings", "platform_id"]), "type_error.enum");
    nowhere.post("/v1/session", &body).await.invalid(&[not_one_of_ours]);
}

#[tokio::test]
async fn the_player_of_a_creation_is_validated_like_a_join() {
    let server = Server::new();
    let alice = server.player();
    let mut body = creation("game");
    body["player"] = json!({
        "status": "leader", "client_version": "2.0.0", "client_settings": {"input": "touch"}, "team_id": "1",
        "custom_data": {"skin": "red"}, "crossplay_preferences":
            {"permitted_platform": "desired_platforms_xboxlike", "permitted_input": "desired_inputs_any"},
    });
    let session = alice.post("/v1/session", &body).await.expect(200).body["session_id"].clone();
    let seen = alice.session(session.as_str().unwrap()).await.expect(200).body;
    let player = &seen["teams"][1]["players"][0];
    assert_eq!((&player["version"], &player["custom_data"]["skin"]), (&json!("2.0.0"), &json!("red")));
    assert_eq!(player["crossplay_preferences"]["permitted_platform"], json!("desired_platforms_xboxlike"));
    body["player"]["team_id"] = json!(2);
    body["player"]["friend_uuid"] = json!("nobody");
    let uuid = (json!(["body", "player", "friend_uuid"]), "type_error.uuid");
    alice.post("/v1/session", &body).await.invalid(&[uuid]);
    body["player"].as_object_mut().unwrap().remove("friend_uuid");
    server.player_on(Platform::Steam).post("/v1/session", &body).await.refused(404, "team_not_found");
}

#[tokio::test]
async fn a_change_affects_only_the_given_fields() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    let before = alice.session(&session).await.expect(200);
    let nothing = alice.patch(&path, &json!({})).await.expect(200);
    assert_eq!((nothing.bytes.clone(), nothing.etag()), (before.bytes.clone(), before.etag()));

    let change = json!({
        "region_id": "eu", "custom_data": {"map": "dunes"}, "joinability": {"friends": true},
        "teams": [{"max_size": 2}, {"custom_data": {"color": "red"}}],
    });
    let changed = alice.patch(&path, &change).await.expect(200);
    let seen = alice.session(&session).await.expect(200);
    assert_eq!((changed.bytes.clone(), changed.etag()), (seen.bytes.clone(), seen.etag()));
    let body = &seen.body;
    assert_eq!((&body["region_id"], &body["custom_data"]), (&json!("eu"), &json!({"map": "dunes"})));
    assert_eq!(body["joinability"], json!({"open": false, "friends": true, "platform": true}));
    assert_eq!((&body["teams"][0]["max_size"], &body["teams"][1]["max_size"]), (&json!(2), &json!(4)));
    assert_eq!(body["teams"][1]["custom_data"], json!({"color": "red"}));

    alice.patch(&path, &json!({"joinable": true})).await.expect(200);
    let body = alice.session(&session).await.expect(200).body;
    assert_eq!((&body["joinable"], &body["joinability"]["open"]), (&json!(true), &json!(true)));
    assert_eq!(body["custom_data"], json!({"map": "dunes"}));
}

#[tokio::test]
async fn teams_with_players_are_not_removed() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let mut second_team = joining();
    second_team["team_id"] = json!(1);
    bob.post(&format!("/v1/session/{session}/player/me"), &second_team).await.expect(200);
    let path = format!("/v1/session/{session}");
    let before = alice.session(&session).await.etag();
    alice.patch(&path, &json!({"teams": [{}], "region_id": "eu"})).await.refused(403, "team_not_empty");
    alice.patch(&path, &json!({"teams": []})).await.refused(403, "team_not_empty");
    let carol = server.player();
    carol.joins(&session).await.expect(200);
    alice.patch(&path, &json!({"teams": [{"max_size": 1}, {}]})).await.refused(403, "team_too_full");
    carol.leaves(&session).await.expect(204);
    assert_eq!(alice.session(&session).await.etag(), before, "a refused change changes nothing");
}

#[tokio::test]
async fn only_the_leader_or_update_any_may_change_a_session() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    let (path, change) = (format!("/v1/session/{session}"), json!({"region_id": "eu"}));
    bob.patch(&path, &change).await.refused(403, "not_active_in_session");
    bob.joins(&session).await.expect(200);
    bob.patch(&path, &change).await.refused(403, "not_session_leader");
    bob.delete(&path).await.refused(403, "not_session_leader");
    server.service(&["session:update:any"]).patch(&path, &change).await.expect(200);
    server.service(&["session:update:self"]).patch(&path, &change).await.refused(403, "player_required");
    alice.patch("/v1/session/none", &change).await.refused(404, "session_not_found");
    let wrong = json!({"region_id": "", "teams": [{"max_size": 101}], "custom_data": {"k": ""}});
    alice.patch(&path, &wrong).await.invalid(&[
        (json!(["body", "region_id"]), "value_error.any_str.min_length"),
        (json!(["body", "custom_data", "k"]), "value_error.any_str.min_length"),
        (json!(["body", "teams", 0, "max_size"]), "value_error.number.not_le"),
    ]);
}

#[tokio::test]
async fn only_configured_regions_are_accepted() {
    let server = Server::with(|config| drop(config.regions.insert("eu".into(), Default::default())));
    let (alice, bob) = (server.player(), server.player());
    let mut body = creation("party");
    body["region_id"] = json!("us");
    alice.post("/v1/session", &body).await.refused(404, "region_not_found");
    body["region_id"] = json!("eu");
    let session = alice.post("/v1/session", &body).await.expect(200).body["session_id"].clone();
    let path = format!("/v1/session/{}", session.as_str().unwrap());
    alice.patch(&path, &json!({"region_id": "us"})).await.refused(404, "region_not_found");
    bob.patch(&path, &json!({"region_id": "us"})).await.refused(403, "not_active_in_session");
}

#[tokio::test]
async fn an_ended_session_is_gone_everywhere() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    alice.links(&session).await.expect(200);
    alice.delete(&format!("/v1/session/{session}")).await.expect(204);
    alice.session(&session).await.refused(404, "session_not_found");
    alice.xbox().await.refused(404, "platform_session_not_found");
    assert_eq!(bob.get("/v1/player/me/session").await.expect(200).body["sessions"], json!({}));
    alice.delete(&format!("/v1/session/{session}")).await.refused(404, "session_not_found");
    bob.joins(&session).await.refused(404, "session_not_found");
    assert!(crate::harness::leftovers(&server).await.is_empty(), "the store is empty");
}

#[tokio::test]
async fn session_ids_are_validated() {
    let server = Server::new();
    let alice = server.player();
    let id = json!(["path", "session_id"]);
    alice.session(&"x".repeat(129)).await.invalid(&[(id.clone(), "value_error.any_str.max_length")]);
    alice.session("").await.invalid(&[(id, "value_error.any_str.min_length")]);
    let refresh = (json!(["query", "refresh_ttl"]), "type_error.bool");
    alice.get("/v1/session/x?refresh_ttl=perhaps").await.invalid(&[refresh]);
    alice.get("/v1/session/x?refresh_ttl=No").await.refused(404, "session_not_found");
}

#[tokio::test]
async fn the_data_of_a_session_is_limited() {
    let server = Server::with(|config| {
        config.sessions.session_bytes_max = 200 << 10;
    });
    let alice = server.player();
    let session = alice.creates("party").await;
    let data = |entries: usize, chars: usize| {
        let entries = (0..entries).map(|index| (index.to_string(), json!("x".repeat(chars))));
        Value::Object(entries.collect())
    };
    let path = format!("/v1/session/{session}");
    let entries = (json!(["body", "custom_data"]), "value_error.dict.max_items");
    alice.patch(&path, &json!({"custom_data": data(129, 1)})).await.invalid(&[entries]);
    let teams: Vec<_> = (0..3).map(|_| json!({"custom_data": data(31, 4096)})).collect();
    let before = alice.session(&session).await.etag();
    alice.patch(&path, &json!({ "teams": teams })).await.refused(403, "session_too_large");
    assert_eq!(alice.session(&session).await.etag(), before);
    alice.patch(&path, &json!({ "teams": teams[..1] })).await.expect(200);
    // The limit counts all data of the session together.
    let own = format!("/v2/session/{session}/player/{}", alice.player);
    alice.post(&own, &json!({"custom_data": data(31, 4096)})).await.refused(403, "session_too_large");
    alice.post(&own, &json!({"custom_data": data(15, 4096)})).await.expect(200);
}
