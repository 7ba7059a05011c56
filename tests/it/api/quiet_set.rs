//! The answers in place of other services that published clients call.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use rallypoint::domain::Platform;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Server};

const KV: &str = "/v2/kv";

fn with_key_values() -> Server {
    Server::with(|config| {
        let pairs = [("LoginRetries", "3"), ("LoginTimeout", "5"), ("Empty", "")];
        config.config.kvs = pairs.map(|(name, value)| (name.into(), value.into())).into();
    })
}

fn presence_of(player: Uuid) -> String {
    format!("/v1/player/uuid/{player}/presence")
}

const OWN_PRESENCE: &str = "/v1/player/me/presence";

#[tokio::test]
async fn key_values_need_no_token_and_have_an_etag() {
    let anyone = with_key_values().anonymous().on("/config");
    let all = anyone.get(KV).await.expect(200);
    assert_eq!(all.body, json!({ "kvs": { "Empty": "", "LoginRetries": "3", "LoginTimeout": "5" } }));
    anyone.get_if_none_match(KV, &all.etag()).await.expect(304);
    // The client sends an empty query.
    assert_eq!(anyone.get("/v2/kv?").await.expect(200).etag(), all.etag());
    let some = anyone.get("/v2/kv?keys_to_include=LoginTimeout&keys_to_include=Nothing").await.expect(200);
    assert_eq!(some.body, json!({ "kvs": { "LoginTimeout": "5" } }));
    assert_ne!(some.etag(), all.etag());
}

#[tokio::test]
async fn key_values_have_no_time_before_which_players_are_logged_out() {
    for server in [Server::new(), with_key_values()] {
        let body = server.anonymous().on("/config").get(KV).await.expect(200).body;
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["kvs"]);
    }
}

#[tokio::test]
async fn the_time_is_a_text_that_published_clients_parse() {
    let server = Server::new();
    let time = async || {
        let reply = server.anonymous().on("/config").get("/v1/time/utc").await.expect(200);
        assert_eq!(reply.headers["content-type"], "application/json");
        reply.body.as_str().unwrap().to_owned()
    };
    assert_eq!(time().await, "2026-11-23T12:00:00.000Z");
    server.clock.advance(Duration::from_millis(90_007));
    assert_eq!(time().await, "2026-11-23T12:01:30.007Z");
}

#[tokio::test]
async fn nobody_has_friends_and_nobody_is_blocked() {
    let server = Server::new();
    let alice = server.player().on("/friends");
    for (what, list) in [("friend", "friends"), ("block", "blocked")] {
        let path = format!("/v2/player/{}/{what}?page=0&limit=10000", alice.player);
        let found = alice.get(&path).await.expect(200);
        let page = json!({ "page": 0, "limit": 10_000, "total": 0 });
        assert_eq!(found.body, json!({ "player_uuid": alice.player, list: [], "page": page }));
        alice.get_if_none_match(&path, &found.etag()).await.expect(304);
        let too_many = alice.get(&format!("/v2/player/{}/{what}?limit=10001", alice.player)).await;
        too_many.invalid(&[(json!(["query", "limit"]), "value_error.number.not_le")]);
        server.anonymous().on("/friends").get(&path).await.expect(403);
    }
}

#[tokio::test]
async fn a_player_who_reports_is_online_for_90_seconds() {
    let server = Server::new();
    let (alice, bob) = (server.player_on(Platform::Steam).on("/presence"), server.player().on("/presence"));
    let status = async |client: &Client| {
        client.get(&presence_of(alice.player)).await.expect(200).body["status"].as_str().unwrap().to_owned()
    };
    let unknown = bob.get(&presence_of(alice.player)).await.expect(200);
    let nothing = json!({ "status": "offline", "message": "", "platform": "Anon", "display_name": "", "custom_data": {} });
    let with_id = |mut body: Value| {
        body["player_uuid"] = json!(alice.player);
        body
    };
    assert_eq!(unknown.body, with_id(nothing));
    let report = json!({ "status": "online", "message": "In the lobby", "custom_data": { "map": "Dunes" } });
    assert_eq!(alice.patch(OWN_PRESENCE, &report).await.expect(200).body, json!({}));
    let online = bob.get(&presence_of(alice.player)).await.expect(200);
    let mut expected = with_id(report.clone());
    (expected["platform"], expected["display_name"]) = (json!("Steam"), json!(""));
    assert_eq!(online.body, expected);
    bob.get_if_none_match(&presence_of(alice.player), &online.etag()).await.expect(304);
    server.clock.advance(Duration::from_secs(89));
    assert_eq!(status(&bob).await, "online");
    alice.patch(OWN_PRESENCE, &json!({})).await.expect(200);
    server.clock.advance(Duration::from_secs(89));
    assert_eq!(bob.get(&presence_of(alice.player)).await.expect(200).body, expected, "absent fields stay");
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(status(&bob).await, "offline");
}

#[tokio::test]
async fn only_the_player_sees_that_they_are_invisible() {
    let server = Server::new();
    let (alice, bob) = (server.player().on("/presence"), server.player().on("/presence"));
    let unknown = bob.get(&presence_of(alice.player)).await.expect(200);
    let details = json!({ "message": "soon", "custom_data": { "map": "Dunes" }, "do_not_disturb": true });
    for status in ["online", "offline", "invisible"] {
        let mut report = details.clone();
        report["status"] = json!(status);
        alice.patch(OWN_PRESENCE, &report).await.expect(200);
        let seen = bob.get(&presence_of(alice.player)).await.expect(200);
        assert_eq!(seen.bytes == unknown.bytes && seen.headers == unknown.headers, status != "online");
    }
    let own = alice.get(OWN_PRESENCE).await.expect(200).body;
    assert_eq!((&own["status"], &own["do_not_disturb"]), (&json!("invisible"), &json!(true)));
    let seen = bob.get(&presence_of(alice.player)).await.expect(200).body;
    assert_eq!((&seen["status"], seen.get("do_not_disturb")), (&json!("offline"), None));
    alice.patch(OWN_PRESENCE, &json!({ "status": "away", "message": "soon" })).await.expect(200);
    for removal in [json!(""), Value::Null] {
        alice.patch(OWN_PRESENCE, &json!({ "message": "soon" })).await.expect(200);
        let nothing = json!({ "status": null, "do_not_disturb": null, "custom_data": null });
        alice.patch(OWN_PRESENCE, &nothing).await.expect(200);
        let seen = bob.get(&presence_of(alice.player)).await.expect(200).body;
        assert_eq!((&seen["status"], &seen["message"]), (&json!("away"), &json!("soon")));
        alice.patch(OWN_PRESENCE, &json!({ "message": removal })).await.expect(200);
        let seen = bob.get(&presence_of(alice.player)).await.expect(200).body;
        assert_eq!((&seen["status"], &seen["message"]), (&json!("away"), &json!("")));
    }
}

#[tokio::test]
async fn a_report_of_presence_is_checked() {
    let server = Server::new();
    let alice = server.player().on("/presence");
    let long = json!({ "message": "x".repeat(257), "status": "busy", "custom_data": { "a": 1.5 } });
    alice.patch(OWN_PRESENCE, &long).await.invalid(&[
        (json!(["body", "status"]), "type_error.enum"),
        (json!(["body", "message"]), "value_error.any_str.max_length"),
    ]);
    let large = json!({ "custom_data": { "a": "x".repeat(4_096), "b": "x".repeat(4_096), "c": "x".repeat(4_096), "d": "x".repeat(4_096) } });
    alice.patch(OWN_PRESENCE, &large).await.refused(413, "body_too_large");
    let service = server.service(&["session:*"]).on("/presence");
    service.patch(OWN_PRESENCE, &json!({ "status": "online" })).await.refused(403, "player_required");
    service.get(&presence_of(alice.player)).await.expect(200);
}

#[tokio::test]
async fn an_inventory_session_is_a_random_id() {
    let server = Server::with_every_surface();
    let alice = server.player().on("/inventory");
    let path = format!("/v2/player/{}/session", alice.player);
    let ids =
        [alice.post(&path, &json!({})).await.expect(202), alice.post(&path, &json!({})).await.expect(202)];
    let ids = ids.map(|reply| reply.body["session_id"].as_str().unwrap().parse::<Uuid>().unwrap());
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_report_of_a_match_is_answered_with_what_was_sent() {
    let server = Server::with_every_surface();
    let host = server.service(&["session:*"]).on("/match");
    let report = json!({ "state": "closed", "type": null, "segments": [null, { "a": null, "b": [1.5] }] });
    let reply = host.patch("/v1/match/m-1", &report).await.expect(200);
    let expected = json!({ "state": "closed", "segments": [{ "b": [1.5] }], "match_id": "m-1" });
    assert_eq!(reply.body, expected);
    let player = Uuid::from_u128(7);
    let reply =
        host.patch(&format!("/v1/match/m-1/player/{player}"), &json!({ "team": 1 })).await.expect(200);
    assert_eq!(reply.body, json!({ "team": 1, "match_id": "m-1", "player_uuid": player }));
    host.patch("/v1/match/m-1", &json!([])).await.invalid(&[(json!(["body"]), "type_error.dict")]);
}

/// Sends a request without a body to any path.
async fn status_of(client: &Client, method: Method, path: &str) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = &client.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let reply = client.send_checked(request.body(Full::default()).unwrap()).await;
    if reply.status.as_u16() == 404 {
        assert_eq!(reply.headers["content-type"], "application/json", "{path}");
    }
    (reply.status.as_u16(), reply.body["error_code"].clone())
}

/// Published clients repeat a request that is answered 429 or 503, and one that is answered 501 too. They take a 404 for
/// a service that is not there.
#[tokio::test]
async fn every_service_that_is_not_there_is_404() {
    let server = Server::new();
    let player = server.player();
    for (method, path) in [
        (Method::GET, "/notification/v1/nothing"),
        (Method::POST, "/inventory/v2/player/6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31/session"),
        (Method::POST, "/inventory/v2/player/me/entitlement"),
        (Method::GET, "/inventory/v1/catalog"),
        (Method::PATCH, "/match/v1/match/m-1"),
        (Method::POST, "/match/v1/pex/host"),
        (Method::POST, "/events/v1/events"),
        (Method::GET, "/rank/v1/rank"),
        (Method::GET, "/settings/v2/player/me/setting_type/game"),
        (Method::GET, "/guide/v1/guide"),
        (Method::GET, "/leaderboard/v1/leaderboard"),
        (Method::GET, "/sanctions/v1/sanction"),
        (Method::GET, "/ad/v1/ad"),
        (Method::GET, "/file/v1/file"),
        (Method::GET, "/custom/v1/custom"),
        (Method::PUT, "/stage/v1/stage"),
        (Method::GET, "/config/v1/nothing"),
        (Method::GET, "/presence"),
        (Method::GET, "/friends/"),
    ] {
        for client in [&player, &server.anonymous()] {
            assert_eq!(
                status_of(client, method.clone(), path).await,
                (404, json!("path_not_found")),
                "{path}"
            );
        }
    }
}

/// With keys of one's own the studio has these services itself, and the settings decide where they do not say otherwise.
#[tokio::test]
async fn settings_and_own_keys_decide_which_services_are_answered_for() {
    let on = async |change: fn(&mut rallypoint::config::Config)| {
        let server = Server::with(change);
        let player = server.player();
        let mut on = Vec::new();
        for (method, path) in [
            (Method::GET, "/config/v2/kv"),
            (Method::GET, "/presence/v1/player/me/presence"),
            (Method::GET, "/friends/v2/player/6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31/friend"),
            (Method::POST, "/inventory/v2/player/6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31/session"),
            (Method::PATCH, "/match/v1/match/m-1"),
        ] {
            let prefix = path.split('/').nth(1).unwrap();
            let (document, _) = status_of(&player, Method::GET, &format!("/{prefix}/openapi.json")).await;
            let (status, _) = status_of(&player, method, path).await;
            assert_eq!(document == 404, status == 404, "{path}");
            if status != 404 {
                on.push(prefix);
            }
        }
        on
    };
    assert_eq!(on(|_| {}).await, ["config", "presence", "friends"]);
    assert_eq!(on(|config| config.stubs.presence = Some(false)).await, ["config", "friends"]);
    assert_eq!(on(|config| config.auth.jwks_file = Some("keys".into())).await, [""; 0]);
    let own_keys_and = |config: &mut rallypoint::config::Config| {
        config.auth.jwks_file = Some("keys".into());
        config.stubs.friends = Some(true);
        config.stubs.matches = true;
    };
    assert_eq!(on(own_keys_and).await, ["friends", "match"]);
    let all = ["config", "presence", "friends", "inventory", "match"];
    let every = |config: &mut rallypoint::config::Config| {
        (config.stubs.inventory_session, config.stubs.matches) = (true, true);
    };
    assert_eq!(on(every).await, all);
}
