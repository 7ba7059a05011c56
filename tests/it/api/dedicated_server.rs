//! What a dedicated server with the published plugin needs from its session. The plugin cannot be changed any more, so
//! each test is named after what it does.

use std::time::Duration;

use rallypoint::config::Config;
use rallypoint::domain::template::AutoStartup;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, creation, grant, joining};

/// What a launched server may do at least.
const BY_ALLOCATION_ONLY: &[&str] = &["session:read:allocation", "session:read:self"];
/// What a server needs that makes its own session.
const HOST: &[&str] = &[
    "session:create",
    "session:read:any",
    "session:read:config",
    "session:update:any",
    "session:instance:health",
];

/// A service whose token outlives the test's clock.
fn service(server: &Server, permissions: &[&str]) -> Client {
    let mut grant = grant(None, None, permissions);
    grant.ttl = Duration::from_secs(1_000_000);
    server.bearer(server.token(&grant))
}

/// What a server in the reserved mode sends to make its session.
fn reservation(session_type: &str) -> Value {
    json!({
        "session_type": session_type, "client_version": "1.0.0",
        "client_settings": { "platform": "Basic", "input": "keyboardandmouse" },
    })
}

async fn reserves(host: &Client, session_type: &str) -> String {
    let made = host.post("/v1/session", &reservation(session_type)).await.expect(200);
    made.body["session_id"].as_str().unwrap().to_owned()
}

fn instance_path(session: &str) -> String {
    format!("/v1/session/{session}/instance")
}

/// Asks for the instance that the caller hosts, as a server in the reserved mode.
async fn hosts(host: &Client, session: &str) -> Reply {
    let startup = json!({"map": "Dunes", "misc_params": ""});
    let body = json!({"instance_startup_params": startup, "host_type": "preallocated"});
    host.post(&instance_path(session), &body).await
}

async fn sets(host: &Client, session: &str, join_status: &str) -> Reply {
    host.patch(&instance_path(session), &json!({ "join_status": join_status })).await
}

/// An instance with every field that it can have, and its session.
async fn allocated(server: &Server) -> String {
    let alice = server.player_numbered(7);
    let session = alice.creates("game").await;
    let startup =
        json!({"map": "Dunes", "mode": "arena", "misc_params": "?listen", "custom_data": {"a": "b"}});
    let body = json!({"host_type": "player", "instance_startup_params": startup, "custom_data": {"c": "d"}});
    alice.post(&instance_path(&session), &body).await.expect(200);
    let join_params = json!({"public_conn_str": "unreal://192.0.2.1:7777", "private_conn_str": ""});
    let change = json!({
        "allocation_id": "a1", "join_status": "joinable", "join_params": join_params, "version": "1.0.0",
        "match_id": "m",
    });
    alice.patch(&instance_path(&session), &change).await.expect(200);
    let report = json!({"instance_id": instance_id(&alice, &session).await, "instance_health": "healthy"});
    let reporter = service(server, &["session:instance:health"]);
    reporter.post(&format!("{}/health", instance_path(&session)), &report).await.expect(200);
    session
}

async fn instance_id(caller: &Client, session: &str) -> Value {
    caller.session(session).await.expect(200).body["instance"]["instance_id"].clone()
}

#[tokio::test]
async fn a_server_exits_unless_its_session_shows_its_allocation_and_its_map() {
    let server = Server::new();
    let session = allocated(&server).await;
    let host = service(&server, BY_ALLOCATION_ONLY);
    let found = host.get("/v1/session/allocation/a1").await.expect(200);
    let polled = host.session(&session).await.expect(200);
    let whole = service(&server, &["session:read:any"]).session(&session).await.expect(200);
    for seen in [&found, &polled] {
        let mut expected = whole.body["instance"].clone();
        // How to connect, and who the host is by an older id, is all that outsiders do not see.
        assert!(expected["join_params"].is_object() && expected["host_player_id"] == json!(7));
        expected.as_object_mut().unwrap().retain(|name, _| name != "join_params" && name != "host_player_id");
        assert_eq!(seen.body["instance"], expected);
        assert_eq!(expected["allocation_id"], json!("a1"));
        assert_eq!(expected["instance_startup_params"]["misc_params"], json!("?listen"));
    }
}

#[tokio::test]
async fn a_server_polls_its_session_with_the_etag_of_the_answer_by_allocation() {
    let server = Server::new();
    let session = allocated(&server).await;
    let by_allocation = "/v1/session/allocation/a1";
    let path = format!("/v1/session/{session}");
    // Both answers are the caller's view, so their bodies and ETags are equal.
    let host = service(&server, BY_ALLOCATION_ONLY);
    let found = host.get(by_allocation).await.expect(200);
    host.get_if_none_match(&path, &found.etag()).await.expect(304);
    // A token that sees more has another body, and another ETag.
    let reader = service(&server, &["session:read:allocation", "session:read:any"]);
    let whole = reader.get_if_none_match(by_allocation, &found.etag()).await.expect(200);
    assert!(whole.body["instance"]["join_params"].is_object());
    reader.get_if_none_match(&path, &whole.etag()).await.expect(304);
    reader.get_if_none_match(by_allocation, &whole.etag()).await.expect(304);
    host.get_if_none_match(&path, &whole.etag()).await.expect(200);
}

#[tokio::test]
async fn a_server_that_waits_for_its_allocation_keeps_the_session_alive_as_a_read_does() {
    let half = Duration::from_secs(3600 / 2);
    for (permissions, is_alive) in
        [(&["session:read:allocation", "session:read:any"][..], true), (BY_ALLOCATION_ONLY, false)]
    {
        for is_conditional in [false, true] {
            let server = Server::new();
            allocated(&server).await;
            let (host, path) = (service(&server, permissions), "/v1/session/allocation/a1");
            let etag = host.get(path).await.expect(200).etag();
            for _ in 0..4 {
                server.advance(half).await;
                if is_conditional {
                    host.get_if_none_match(path, &etag).await;
                } else {
                    host.get(path).await;
                }
            }
            let status = host.get(path).await.status.as_u16();
            assert_eq!(status, if is_alive { 200 } else { 404 }, "{permissions:?}");
        }
    }
}

#[tokio::test]
async fn a_server_in_the_reserved_mode_makes_its_session_without_a_player() {
    let server = Server::with(|config| {
        config.templates.get_mut("party").unwrap().can_be_created_by_players_directly = false;
    });
    let alice = server.player();
    let open = alice.creates("game").await;
    let host = service(&server, HOST);
    // It joins no session, so each request makes one.
    let (first, second) = (reserves(&host, "game").await, reserves(&host, "game").await);
    assert!(first != open && second != open && first != second);
    let made = host.session(&first).await.expect(200).body;
    assert!(made["teams"].as_array().unwrap().iter().all(|team| team["players"] == json!([])), "{made}");
    assert_eq!(made["platform_scouts"], json!({}));
    // `can_be_created_by_players_directly` speaks of players.
    alice.post("/v1/session", &creation("party")).await.refused(400, "session_type_not_creatable");
    reserves(&host, "party").await;
    host.post("/v1/session", &reservation("raid")).await.refused(404, "template_not_found");
    let as_player = json!({"session_type": "game", "client_version": "1.0.0", "player": joining(),
        "client_settings": {"platform": "Basic", "input": "keyboardandmouse"}});
    host.post("/v1/session", &as_player).await.refused(403, "player_required");
    let others = service(&server, &["session:update:any", "session:read:any"]);
    others.post("/v1/session", &reservation("game")).await.refused(403, "permission_denied");
}

#[tokio::test]
async fn a_session_of_a_server_has_the_password_and_region_of_the_request() {
    let server = Server::with(|config| {
        config.regions.insert("eu".into(), Default::default());
    });
    let host = service(&server, HOST);
    let mut body = reservation("game");
    body["region_id"] = json!("us");
    host.post("/v1/session", &body).await.refused(404, "region_not_found");
    body["region_id"] = json!("eu");
    body["password"] = json!("open sesame");
    let made = host.post("/v1/session", &body).await.expect(200);
    let session = made.body["session_id"].as_str().unwrap();
    assert_eq!(host.session(session).await.expect(200).body["region_id"], json!("eu"));
    let alice = server.player();
    alice.joins(session).await.refused(403, "wrong_password");
    let mut join = joining();
    join["password"] = json!("open sesame");
    alice.post(&format!("/v1/session/{session}/player/me"), &join).await.expect(200);
}

#[tokio::test]
async fn the_first_player_who_joins_the_session_of_a_server_leads_it() {
    let server = Server::new();
    let host = service(&server, HOST);
    let session = reserves(&host, "game").await;
    let (alice, bob) = (server.player(), server.player());
    // Create-or-join finds it, as it finds every open session.
    assert_eq!(alice.creates("game").await, session);
    bob.joins(&session).await.expect(200);
    assert_eq!(host.sees(&session, &alice).await["status"], json!("leader"));
    assert_eq!(host.sees(&session, &bob).await["status"], json!("member"));
}

fn with_auto_startup(config: &mut Config) {
    let startup = AutoStartup {
        map: "Hills".into(),
        mode: None,
        misc_params: String::new(),
        custom_data: Default::default(),
    };
    config.templates.get_mut("game").unwrap().auto_startup_params = Some(startup);
}

#[tokio::test]
async fn a_server_would_be_refused_if_its_session_came_with_an_instance() {
    let server = Server::with(with_auto_startup);
    let alice = server.player();
    let of_player = alice.creates("game").await;
    assert!(alice.session(&of_player).await.expect(200).body["instance"].is_object());
    let host = service(&server, HOST);
    let session = reserves(&host, "game").await;
    assert!(host.session(&session).await.expect(200).body.get("instance").is_none());
    hosts(&host, &session).await.expect(200);
}

#[tokio::test]
async fn a_reserved_server_hosts_a_match_and_its_session_ends_as_it_closes() {
    let server = Server::new();
    let host = service(&server, HOST);
    let session = reserves(&host, "game").await;
    let path = format!("/v1/session/{session}");
    assert_eq!(host.get("/v1/template/game").await.expect(200).body["session_type"], json!("game"));
    let requested = hosts(&host, &session).await.expect(200).body;
    assert_eq!(
        (&requested["host_type"], &requested["join_status"]),
        (&json!("preallocated"), &json!("pending"))
    );
    assert_eq!(host.session(&session).await.expect(200).body["instance"], requested);
    let report = json!({"instance_id": requested["instance_id"], "instance_health": "healthy"});
    let health = format!("{path}/instance/health");
    host.post(&health, &report).await.expect(200);
    let join_params = json!({
        "public_conn_str": "", "private_conn_str": "unreal://10.0.0.1:7777", "custom_data": {"token": "t"},
    });
    let joinable = json!({"join_status": "joinable", "version": "1.0.0", "join_params": join_params});
    host.patch(&instance_path(&session), &joinable).await.expect(200);

    let (alice, bob) = (server.player(), server.player());
    assert_eq!(alice.creates("game").await, session);
    bob.joins(&session).await.expect(200);
    let seen = bob.session(&session).await.expect(200).body;
    assert_eq!(seen["instance"]["join_params"], join_params, "an empty connect string stays empty");
    for player in [&alice, &bob] {
        player.leaves(&session).await.expect(204);
    }
    host.post(&health, &report).await.expect(200);
    // The answer still shows the instance; the session is gone in the same commit.
    let closed = sets(&host, &session, "closed").await.expect(200).body;
    assert_eq!(closed["join_status"], json!("closed"));
    host.session(&session).await.refused(404, "session_not_found");
    host.post(&health, &report).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_server_waits_for_players_and_never_loses_its_session_to_their_leaving() {
    let server = Server::new();
    let host = service(&server, HOST);
    let session = reserves(&host, "game").await;
    hosts(&host, &session).await.expect(200);
    for _ in 0..3 {
        let alice = server.player();
        alice.joins(&session).await.expect(200);
        assert_eq!(host.sees(&session, &alice).await["status"], json!("leader"));
        alice.leaves(&session).await.expect(204);
        // Its polls keep it alive, as long as it likes.
        for _ in 0..3 {
            server.advance(Duration::from_secs(3600 - 1)).await;
            host.session(&session).await.expect(200);
        }
    }
    let alice = server.player();
    alice.joins(&session).await.expect(200);
    sets(&host, &session, "closed").await.expect(200);
    // A player was active as it closed, and players who leave never end it. It ends once it is idle.
    alice.leaves(&session).await.expect(204);
    host.session(&session).await.expect(200);
    sets(&host, &session, "closed").await.expect(200);
    server.advance(Duration::from_secs(3600 * 9 / 8)).await;
    host.session(&session).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_session_of_a_server_ends_with_its_instance_unless_it_is_kept_alive() {
    for keep_alive in [false, true] {
        let server = Server::with(|config| {
            config.templates.get_mut("game").unwrap().keep_alive_on_empty = keep_alive;
        });
        let host = service(&server, HOST);
        for by_delete in [false, true] {
            let session = reserves(&host, "game").await;
            hosts(&host, &session).await.expect(200);
            if by_delete {
                host.delete(&instance_path(&session)).await.expect(204);
            } else {
                sets(&host, &session, "closed").await.expect(200);
            }
            let status = host.session(&session).await.status.as_u16();
            assert_eq!(status, if keep_alive { 200 } else { 404 }, "by_delete: {by_delete}");
        }
        // A session that players made goes on without its instance.
        let session = server.player().creates("party").await;
        hosts(&host, &session).await.expect(200);
        sets(&host, &session, "closed").await.expect(200);
        host.session(&session).await.expect(200);
    }
}

#[tokio::test]
async fn a_server_closes_its_instance_and_never_deletes_it_so_the_next_request_replaces_it() {
    let server = Server::new();
    let (alice, host) = (server.player(), service(&server, &["session:*"]));
    let session = alice.creates("game").await;
    let (path, by_allocation) = (instance_path(&session), "/v1/session/allocation/a1");
    let first = alice.post(&path, &json!({})).await.expect(200).body;
    let report = json!({"instance_id": first["instance_id"], "instance_health": "healthy"});
    host.patch(&path, &json!({"allocation_id": "a1", "join_status": "joinable"})).await.expect(200);
    host.post(&format!("{path}/health"), &report).await.expect(200);
    host.get(by_allocation).await.expect(200);
    alice.post(&path, &json!({})).await.refused(403, "instance_exists");

    let close = json!({"allocation_id": "a1", "join_status": "closed"});
    let closed = host.patch(&path, &close).await.expect(200).body;
    assert_eq!(alice.session(&session).await.expect(200).body["instance"], closed);
    host.get(by_allocation).await.refused(404, "session_not_found");
    // A repeated request to close, as after a lost answer, is no failure. Nothing else reopens it.
    assert_eq!(host.patch(&path, &close).await.expect(200).body, closed);
    for join_status in ["requested", "allocated", "pending", "joinable", "unjoinable"] {
        sets(&host, &session, join_status).await.refused(403, "instance_closed");
    }
    // Its host stops at the next report, whatever kind of host it is.
    host.post(&format!("{path}/health"), &report).await.refused(404, "instance_not_found");

    let same = json!({"instance_id": first["instance_id"]});
    alice.post(&path, &same).await.refused(403, "instance_exists");
    let second = alice.post(&path, &json!({"host_type": "player"})).await.expect(200).body;
    assert_ne!(second["instance_id"], first["instance_id"]);
    host.post(&format!("{path}/health"), &report).await.refused(404, "instance_not_found");
    // The allocation is free for another instance, of any session.
    host.patch(&path, &json!({"allocation_id": "a1"})).await.expect(200);
    host.get(by_allocation).await.expect(200);
    sets(&alice, &session, "closed").await.refused(403, "allocation_mismatch");
    alice.patch(&path, &close).await.expect(200);
    let report = json!({"instance_id": second["instance_id"], "instance_health": "healthy"});
    host.post(&format!("{path}/health"), &report).await.refused(404, "instance_not_found");
}

/// What API.md says that the token of a game server needs.
const SERVER_PERMISSIONS: [&str; 5] =
    ["read:allocation", "read:any", "read:config", "update:any", "instance:health"];

/// The calls of a game server from its allocation to the end of its instance. Whether it got through.
async fn serves(server: &Server, permissions: &[&str]) -> bool {
    let alice = server.player();
    let session = alice.creates("party").await;
    let names: Vec<_> = permissions.iter().map(|name| format!("session:{name}")).collect();
    let host = server.service(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let path = format!("/v1/session/{session}");
    alice.post(&instance_path(&session), &json!({"instance_id": "i"})).await.expect(200);
    let allocator = server.service(&["session:update:any"]);
    allocator.patch(&instance_path(&session), &json!({"allocation_id": "a1"})).await.expect(200);
    let found = host.get("/v1/session/allocation/a1").await;
    let template = host.get("/v1/template/party").await;
    let seen = host.get(&path).await;
    let settings = host.get("/v1/instance/health/config").await;
    let joinable = json!({"allocation_id": "a1", "join_status": "joinable"});
    let opened = host.patch(&instance_path(&session), &joinable).await;
    let report = json!({"instance_id": "i", "instance_health": "healthy"});
    let healthy = host.post(&format!("{path}/instance/health"), &report).await;
    let replies = [&found, &template, &seen, &settings, &opened, &healthy];
    let answered = replies.iter().all(|reply| reply.status.is_success());
    let is_whole = seen.body["instance"]["allocation_id"] == json!("a1");
    alice.delete(&path).await.expect(204);
    answered && is_whole
}

#[tokio::test]
async fn a_game_server_needs_exactly_these_permissions() {
    let server = Server::new();
    assert!(serves(&server, &SERVER_PERMISSIONS).await);
    for missing in SERVER_PERMISSIONS {
        let others: Vec<_> = SERVER_PERMISSIONS.into_iter().filter(|name| *name != missing).collect();
        assert!(!serves(&server, &others).await, "without {missing}");
    }
}
