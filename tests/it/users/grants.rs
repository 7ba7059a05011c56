use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use rallypoint::app::login::{GrantType, LAUNCH_PERMISSIONS, LoginRefusal, SecretHash};
use rallypoint::config::UserKind;
use rallypoint::domain::Platform;
use serde_json::{Value, json};

use super::*;
use crate::harness::SERVER_SECRET;

/// Fields that the parser of published clients requires.
const REQUIRED: [&str; 6] =
    ["publisher_uuid", "tenant_uuid", "config_elector_uuid", "client_uuid", "client_id", "token_type"];

fn server() -> Server {
    Server::with(|config| {
        add_user(config, "ann", UserKind::Player);
        add_user(config, "machine", UserKind::Service);
    })
}

/// The bodies that published clients and servers send, each with its header.
#[tokio::test]
async fn each_published_body_gets_a_token() {
    let server = server();
    let first = json!({
        "grant_type": "anon", "portal_access_token": "player-1", "portal_display_name": "player-1",
        "include_refresh": true, "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
    });
    let first = login(&server, &first, None).await.expect(200);
    let saved = json!({
        "grant_type": "refresh", "portal_access_token": first.body["refresh_token"], "include_refresh": true,
        "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
    });
    let automatic = json!({
        "grant_type": "refresh", "portal_access_token": first.body["refresh_token"], "include_refresh": true,
    });
    let of_server = json!({
        "grant_type": "client_credentials", "include_refresh": false, "accept_eula": true, "accept_tos": true,
        "accept_privacy_policy": true,
    });
    let of_library = json!({
        "grant_type": "basic", "portal_access_token": format!("game-server:{SERVER_SECRET}"),
        "include_refresh": true, "accept_eula": true, "accept_tos": true, "accept_privacy_policy": true,
    });
    let header = basic("game-server", SERVER_SECRET);
    let answers = [
        first.clone(),
        login(&server, &saved, None).await.expect(200),
        login(&server, &automatic, None).await.expect(200),
        login(&server, &of_server, Some(&header)).await.expect(200),
        login(&server, &of_library, None).await.expect(200),
    ];
    for (index, answer) in answers.iter().enumerate() {
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"));
        assert_eq!(answer.headers["x-rallypoint-login"], "development");
        for field in REQUIRED {
            text(answer, field);
        }
        assert_eq!((text(answer, "token_type"), &answer.body["expires_in"]), ("Bearer", &json!(3600)));
        assert_eq!(
            (answer.body["restrictions"].clone(), text(answer, "access_token").is_empty()),
            (json!([]), false)
        );
        let of_player = [
            "active_player_uuid",
            "person_id",
            "platform",
            "portal_user_id",
            "display_name",
            "refresh_token",
        ];
        for field in of_player {
            assert_eq!(answer.body.get(field).is_some(), index < 3, "{field} of {index}: {}", answer.body);
        }
        assert_eq!(text(answer, "client_id"), if index < 3 { "development" } else { "game-server" });
        assert_eq!(answer.body.get("active_player_id"), None);
    }
    assert_eq!(text(&first, "active_player_uuid"), "fdecedc9-6b5b-5759-817c-3793b86e797a");
    assert_eq!(text(&first, "person_id"), "ede23447-c680-5ee4-a95f-6548cb068dfe");
    assert_eq!((text(&first, "platform"), text(&first, "display_name")), ("Anon", "player-1"));
}

/// A token from a login opens the session API: for a player as a player, and for a server as a service.
#[tokio::test]
async fn the_token_of_a_login_is_taken_by_the_session_api() {
    let server = server();
    let player = anon(&server, "player-1").await;
    let player = server.bearer(text(&player, "access_token"));
    let session = player.creates("game").await;
    assert_eq!(player.session(&session).await.expect(200).body["teams"][0]["players"][0]["status"], "leader");
    let body = json!({ "grant_type": "client_credentials" });
    let service = login(&server, &body, Some(&basic("game-server", SERVER_SECRET))).await.expect(200);
    let service = server.bearer(text(&service, "access_token"));
    service.session(&session).await.expect(200);
    service.get("/v1/player/me/session").await.refused(403, "player_required");
    // The platform of the login wins over that of the request.
    let client = &player.session(&session).await.body["teams"][0]["players"][0];
    assert!(!client.to_string().contains("XboxLive"), "{client}");
}

#[tokio::test]
async fn a_player_is_a_platform_and_an_exact_name() {
    let server = server();
    let id = async |body: Value| {
        text(&login(&server, &body, None).await.expect(200), "active_player_uuid").to_owned()
    };
    let anon = |name: &str| json!({ "grant_type": "anon", "portal_access_token": name });
    let lower = id(anon("player-1")).await;
    assert_eq!(lower, "fdecedc9-6b5b-5759-817c-3793b86e797a");
    assert_eq!(id(anon("Player-1")).await, "f08acf05-0edd-53e7-a013-615633261c45");
    let mut ids = vec![lower.clone(), id(anon("ann")).await];
    ids.push(id(json!({ "grant_type": "basic", "portal_access_token": "ann:secret" })).await);
    for name in [" player-1", "player-1 ", "pl\u{e4}yer-1", "pla\u{308}yer-1", &"x".repeat(256)] {
        ids.push(id(anon(name)).await);
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert_eq!(id(anon("player-1")).await, lower);
}

#[tokio::test]
async fn a_name_that_is_too_long_or_has_control_characters_is_invalid() {
    let server = Server::with(|config| config.login.unverified_platforms = vec![Platform::Steam]);
    for name in ["x".repeat(257), "a\nb".into(), "\u{0}".into(), "a\u{85}".into()] {
        let body = json!({ "grant_type": "anon", "portal_access_token": name });
        let reply = login(&server, &body, None).await;
        assert!(!reply.body.to_string().contains("xxx"), "{}", reply.body);
        reply.invalid(&[(json!(["body", "portal_access_token"]), "value_error.str.regex")]);
        let body = json!({ "grant_type": "steam", "portal_display_name": name });
        let reply = login(&server, &body, None).await;
        reply.invalid(&[(json!(["body", "portal_display_name"]), "value_error.str.regex")]);
    }
}

#[tokio::test]
async fn a_display_name_is_cleaned_and_the_last_login_wins() {
    let server = Server::with(|config| {
        add_user(config, "ann", UserKind::Player);
        add_user(config, "bob", UserKind::Player);
        config.login.users.get_mut("bob").unwrap().display_name = Some("Robert".into());
    });
    for (grant, token, wanted, shown) in [
        ("anon", "p", "One", "One"),
        ("anon", "p", "\u{1}T\nwo\u{7f}", "Two"),
        ("anon", "p", &"\u{e9}".repeat(65), &*"\u{e9}".repeat(64)),
        ("anon", "p", "", "p"),
        ("anon", "p", "\u{1}", "p"),
        ("basic", "ann:secret", "Annie", "Annie"),
        ("basic", "ann:secret", "", "ann"),
        ("basic", "bob:secret", "Bobby", "Robert"),
    ] {
        let body =
            json!({ "grant_type": grant, "portal_access_token": token, "portal_display_name": wanted });
        let reply = login(&server, &body, None).await.expect(200);
        assert_eq!(text(&reply, "display_name"), shown, "{wanted:?}");
    }
    // A refresh names nobody, and keeps the name.
    let first = anon(&server, "Anton").await;
    let again = refresh(&server, text(&first, "refresh_token")).await.expect(200);
    assert_eq!(text(&again, "display_name"), "Anton");
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let server = server();
    let closed = Server::with(|config| config.login.anon = false);
    let body = |grant: &str, token: &str| json!({ "grant_type": grant, "portal_access_token": token });
    for (server, body, code) in [
        (&closed, body("anon", "player-1"), "anon_disabled"),
        (&server, body("anon", ""), "anon_token_empty"),
        (&server, json!({ "grant_type": "anon" }), "anon_token_empty"),
        (&closed, body("basic", "ann:secret"), "basic_disabled"),
        (&server, body("basic", ""), "basic_token_empty"),
        (&server, body("basic", "ann"), "basic_auth_incorrect_format"),
        (&server, body("basic", "ann:wrong"), "basic_auth_credentials_not_found"),
        (&server, body("basic", "Ann:secret"), "basic_auth_credentials_not_found"),
        (&server, body("basic", "game-server:wrong"), "basic_auth_credentials_not_found"),
        (&server, body("client_credentials", ""), "client_credentials_invalid"),
        (&server, body("refresh", ""), "refresh_token_empty"),
        (&server, body("refresh", "x"), "refresh_token_not_found"),
        (&server, body("steam", "ticket"), "steam_disabled"),
        (&server, body("epic", "ticket"), "epic_disabled"),
        (&server, body("xboxlive", "ticket"), "xbox_disabled"),
        (&server, body("ps4_v1", "ticket"), "ps4_v1_disabled"),
        (&server, body("ps4_v3", "ticket"), "ps4_v3_disabled"),
        (&server, body("ps5_v3", "ticket"), "ps5_v3_disabled"),
        (&server, body("nintendo_switch", "ticket"), "nintendo_disabled"),
        (&server, body("google", "ticket"), "google_disabled"),
        (&server, body("apple", "ticket"), "apple_disabled"),
        (&server, body("android_device", "device"), "android_device_disabled"),
        (&server, body("ios_device", "device"), "ios_device_disabled"),
        (&server, body("rallyhere", "developer"), "developer_api_disabled"),
    ] {
        refused(&login(server, &body, None).await, code);
    }
    for header in
        [basic("game-server", "wrong"), basic("nobody", "secret"), "Basic %%%".into(), "Bearer x".into()]
    {
        refused(
            &login(&server, &body("client_credentials", ""), Some(&header)).await,
            "client_credentials_invalid",
        );
    }
}

#[tokio::test]
async fn other_bodies_are_invalid() {
    let server = server();
    let grant = (json!(["body", "grant_type"]), "type_error.enum");
    for body in [
        json!({ "grant_type": "Anon" }),
        json!({ "grant_type": "authorization_code" }),
        json!({ "grant_type": "" }),
    ] {
        login(&server, &body, None).await.invalid(std::slice::from_ref(&grant));
    }
    login(&server, &json!({}), None).await.invalid(&[(json!(["body", "grant_type"]), "value_error.missing")]);
    let empty = anonymous(&server).send(Method::POST, "/v1/login", &[], None).await;
    empty.invalid(&[(json!(["body"]), "value_error.missing")]);
    let secret = "s".repeat(8193);
    let long = login(&server, &json!({ "grant_type": "basic", "portal_access_token": secret }), None).await;
    assert!(!long.body.to_string().contains("ssss"));
    long.invalid(&[(json!(["body", "portal_access_token"]), "value_error.any_str.max_length")]);
    let huge = json!({ "grant_type": "anon", "portal_display_name": "x".repeat(16_384) });
    login(&server, &huge, None).await.refused(413, "body_too_large");
}

#[tokio::test]
async fn a_platform_whose_tickets_cannot_be_verified_can_be_opened() {
    let server = Server::with(|config| {
        config.login.unverified_platforms = vec![Platform::Steam, Platform::PSN, Platform::XboxLive];
    });
    for (grant, platform, code) in [
        ("steam", "Steam", "steam_token_empty"),
        ("ps4_v1", "PSN", "ps4_v1_token_empty"),
        ("ps4_v3", "PSN", "ps4_v3_token_empty"),
        ("ps5_v3", "PSN", "ps5_v3_token_empty"),
        ("xboxlive", "XboxLive", "xbox_xsts_token_empty"),
    ] {
        let body = |ticket: &str| json!({ "grant_type": grant, "portal_access_token": ticket, "portal_display_name": "Ann" });
        let [one, other] = [
            login(&server, &body("1"), None).await.expect(200),
            login(&server, &body("2"), None).await.expect(200),
        ];
        assert_eq!((text(&one, "platform"), text(&one, "portal_user_id")), (platform, "Ann"));
        assert_eq!(one.body["active_player_uuid"], other.body["active_player_uuid"]);
        let nobody = json!({ "grant_type": grant, "portal_access_token": "ticket" });
        refused(&login(&server, &nobody, None).await, code);
    }
    let epic = json!({ "grant_type": "epic", "portal_display_name": "Ann" });
    refused(&login(&server, &epic, None).await, "epic_disabled");
}

#[tokio::test]
async fn a_client_may_spell_its_header_in_several_ways() {
    // The encoded pair has both characters that differ between the alphabets, and needs padding.
    let (id, secret) = ("studio", ":a?>~:\u{ff}");
    let server = Server::with(|config| add_client(config, id, secret));
    let body = json!({ "grant_type": "client_credentials" });
    for end in ["", "\n", "\r\n"] {
        let pair = format!("{id}:{secret}{end}");
        let spellings = [
            STANDARD.encode(&pair),
            STANDARD_NO_PAD.encode(&pair),
            URL_SAFE.encode(&pair),
            URL_SAFE_NO_PAD.encode(&pair),
        ];
        for spelling in spellings {
            let header = format!("Basic {spelling}");
            let reply = login(&server, &body, Some(&header)).await.expect(200);
            assert_eq!(text(&reply, "client_id"), id, "{header}");
        }
        let by_basic = json!({ "grant_type": "basic", "portal_access_token": pair });
        login(&server, &by_basic, None).await.expect(200);
    }
    let twice = basic(id, &format!("{secret}\n\n"));
    refused(&login(&server, &body, Some(&twice)).await, "client_credentials_invalid");
    // With a client in the configuration, the server makes none.
    let made = basic("game-server", SERVER_SECRET);
    refused(&login(&server, &body, Some(&made)).await, "client_credentials_invalid");
}

#[tokio::test]
async fn a_player_may_name_a_client() {
    let server = server();
    let body = json!({ "grant_type": "anon", "portal_access_token": "player-1" });
    for (header, client_id) in [
        (basic("shipped-game", "of another service"), "shipped-game"),
        (basic("game-server", SERVER_SECRET), "game-server"),
        (basic("", ""), "development"),
    ] {
        let reply = login(&server, &body, Some(&header)).await.expect(200);
        assert_eq!(text(&reply, "client_id"), client_id);
        assert!(reply.body.get("active_player_uuid").is_some());
    }
    let wrong = login(&server, &body, Some(&basic("game-server", "wrong"))).await;
    refused(&wrong, "client_credentials_invalid");
}

#[tokio::test]
async fn permissions_come_from_the_configuration() {
    let server = Server::with(|config| {
        add_user(config, "ann", UserKind::Player);
        add_user(config, "bob", UserKind::Player);
        add_user(config, "machine", UserKind::Service);
        add_client(config, "studio", "secret");
        config.login.players.permissions = Some(vec!["session:read:self".into()]);
        config.login.users.get_mut("bob").unwrap().permissions = Some(vec!["session:create".into()]);
        config.login.clients.get_mut("studio").unwrap().permissions = Some(vec!["session:read:any".into()]);
    });
    let services = json!(["session:*", "session-audit:update:all", "notification:player:*"]);
    for (grant, token, permissions) in [
        ("anon", "p", json!(["session:read:self"])),
        ("basic", "ann:secret", json!(["session:read:self"])),
        ("basic", "bob:secret", json!(["session:create"])),
        ("basic", "machine:secret", services),
        ("basic", "studio:secret", json!(["session:read:any"])),
    ] {
        let reply = login(&server, &json!({ "grant_type": grant, "portal_access_token": token }), None).await;
        assert_eq!(reply.expect(200).body["permissions"], permissions, "{token}");
    }
    let default = anon(&Server::new(), "p").await;
    for needed in ["session:instance:health", "session-audit:update:self"] {
        assert!(default.body["permissions"].as_array().unwrap().contains(&json!(needed)), "{needed}");
    }
}

#[tokio::test]
async fn a_launched_server_logs_in_until_its_client_is_removed() {
    let server = server();
    let clients = &server.app.launch_clients;
    let body = json!({ "grant_type": "client_credentials" });
    let header = basic("launch-allocation-1", "secret-1");
    refused(&login(&server, &body, Some(&header)).await, "client_credentials_invalid");
    clients.register("allocation-1", SecretHash::of("secret-1"));
    let reply = login(&server, &body, Some(&header)).await.expect(200);
    let expected: Vec<_> = LAUNCH_PERMISSIONS.iter().map(|permission| permission.name()).collect();
    assert_eq!(reply.body["permissions"], json!(expected));
    assert_eq!(text(&reply, "client_id"), "launch-allocation-1");
    let by_basic = json!({ "grant_type": "basic", "portal_access_token": "launch-allocation-1:secret-1" });
    login(&server, &by_basic, None).await.expect(200);
    clients.remove("allocation-1");
    refused(&login(&server, &body, Some(&header)).await, "client_credentials_invalid");
}

#[tokio::test]
async fn without_a_client_there_are_no_client_credentials() {
    let server = Server::without_server_credentials();
    let body = json!({ "grant_type": "client_credentials" });
    refused(&login(&server, &body, Some(&basic("game-server", "x"))).await, "client_auth_disabled");
    server.app.launch_clients.register("a", SecretHash::of("s"));
    refused(&login(&server, &body, Some(&basic("game-server", "x"))).await, "client_credentials_invalid");
}

#[tokio::test]
async fn with_own_keys_there_is_no_login() {
    let own = Server::with(|config| config.auth.jwks_file = Some("keys.json".into()));
    let off = Server::with(|config| config.login.mode = rallypoint::config::LoginMode::Off);
    for server in [&own, &off] {
        assert!(server.app.login.is_none());
        let caller = anonymous(server);
        let body = json!({ "grant_type": "anon", "portal_access_token": "p" });
        for (method, path) in [
            (Method::POST, "/v1/login"),
            (Method::POST, "/v1/logout"),
            (Method::POST, "/v1/verify"),
            (Method::GET, "/v1/publickeys"),
            (Method::GET, "/v1/player"),
            (Method::GET, "/v2/player/me/links"),
            (Method::GET, "/openapi.json"),
        ] {
            let reply = caller.send(method, path, &[], Some(body.to_string().into())).await;
            reply.refused(404, "path_not_found");
        }
    }
}

#[tokio::test]
async fn logins_are_counted_by_grant_and_outcome() {
    let server = server();
    anon(&server, "a").await;
    anon(&server, "b").await;
    login(&server, &json!({ "grant_type": "anon" }), None).await.expect(403);
    let metrics = server.app.metrics.render();
    for line in [
        "rallypoint_logins_total{grant=\"anon\",outcome=\"ok\"} 2",
        "rallypoint_logins_total{grant=\"anon\",outcome=\"anon_token_empty\"} 1",
        "rallypoint_refresh_tokens 2",
        "rallypoint_development_login{exposed=\"false\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

/// Every code of the contract that this login can answer is explained for its users.
#[test]
fn every_refusal_is_documented() {
    let document = include_str!("../../../docs/API.md");
    for refusal in LoginRefusal::ALL {
        assert!(document.contains(&format!("`{}`", refusal.code())), "{refusal:?}");
    }
    for grant in GrantType::ALL {
        assert!(document.contains(&format!("`{}`", grant.name())), "{grant:?}");
    }
}
