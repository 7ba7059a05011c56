//! Instances of sessions: request, update, allocation and end.

use std::collections::BTreeSet;

use rallypoint::config::{Config, PlayerStartupParams};
use rallypoint::domain::instance::HostType;
use rallypoint::domain::instance::template::{InstanceTemplate, MapChoice};
use rallypoint::domain::{CustomData, Platform};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Reply, Server, contents};

const TEMPLATE: Uuid = Uuid::from_u128(7);

fn path(session: &str) -> String {
    format!("/v1/session/{session}/instance")
}

async fn request(caller: &Client, session: &str, body: Value) -> Reply {
    caller.post(&path(session), &body).await
}

async fn update(caller: &Client, session: &str, body: Value) -> Reply {
    caller.patch(&path(session), &body).await
}

async fn end(caller: &Client, session: &str) -> Reply {
    caller.delete(&path(session)).await
}

/// A game that alice leads, with bob as a member.
async fn game() -> (Server, Client, Client, String) {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    (server, alice, bob, session)
}

#[tokio::test]
async fn a_dedicated_instance_gets_an_id_and_stays_requested() {
    let (server, alice, bob, session) = game().await;
    let before = alice.session(&session).await.expect(200);
    assert!(before.body.get("instance").is_none());
    let requested = request(&alice, &session, json!({})).await.expect(200);
    let id = requested.body["instance_id"].as_str().unwrap().to_owned();
    assert!(Uuid::parse_str(&id).is_ok(), "{id}");
    let expected = json!({
        "instance_id": id, "host_type": "dedicated", "join_status": "requested",
        "created": "2026-11-23T12:00:00Z", "custom_data": {},
    });
    assert_eq!(requested.body, expected, "unknown fields are absent");
    let seen = bob.session(&session).await.expect(200);
    assert_eq!(seen.body["instance"], expected);
    assert_ne!(seen.etag(), before.etag());
    server.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(bob.session(&session).await.expect(200).body["instance"], expected);
}

#[tokio::test]
async fn an_instance_keeps_the_requested_values() {
    let (_, alice, bob, session) = game().await;
    let startup = json!({"map": "Dunes", "mode": "arena", "misc_params": "-log", "custom_data": {"a": "b"}});
    let body = json!({
        "instance_id": "mine", "instance_startup_params": startup, "host_type": "preallocated",
        "custom_data": {"c": "d"},
    });
    let requested = request(&alice, &session, body).await.expect(200).body;
    assert_eq!(
        (&requested["instance_id"], &requested["host_type"]),
        (&json!("mine"), &json!("preallocated"))
    );
    assert_eq!(requested["join_status"], json!("pending"), "its host runs and asks for it");
    assert_eq!(
        (&requested["instance_startup_params"], &requested["custom_data"]),
        (&startup, &json!({"c": "d"}))
    );
    assert_eq!(bob.session(&session).await.expect(200).body["instance"], requested);
}

#[tokio::test]
async fn a_session_has_one_instance_at_a_time() {
    let (server, alice, _, session) = game().await;
    request(&alice, &session, json!({"instance_id": "first"})).await.expect(200);
    let before = contents(&server).await;
    request(&alice, &session, json!({"instance_id": "second"})).await.refused(403, "instance_exists");
    let service = server.service(&["session:update:any"]);
    request(&service, &session, json!({"instance_id": "first"})).await.refused(403, "instance_exists");
    assert_eq!(contents(&server).await, before);
    end(&alice, &session).await.expect(204);
    let requested = request(&alice, &session, json!({"instance_id": "second"})).await.expect(200);
    assert_eq!(requested.body["instance_id"], json!("second"));
}

#[tokio::test]
async fn a_player_host_is_the_caller_or_the_named_active_player() {
    let (server, alice, bob, session) = game().await;
    for host_type in ["player", "standalone"] {
        let own = request(&alice, &session, json!({ "host_type": host_type })).await.expect(200);
        assert_eq!(
            (&own.body["host_type"], &own.body["host_player_uuid"]),
            (&json!(host_type), &json!(alice.player))
        );
        end(&alice, &session).await.expect(204);
        let body = json!({"host_type": host_type, "host_player_uuid": bob.player});
        let named = request(&alice, &session, body).await.expect(200);
        assert_eq!(named.body["host_player_uuid"], json!(bob.player));
        end(&bob, &session).await.expect(204);
        let (invited, stranger) = (server.player(), server.player());
        alice.invites(&session, &invited).await.expect(200);
        let hosted_by = |host: &Client| json!({"host_type": host_type, "host_player_uuid": host.player});
        request(&alice, &session, hosted_by(&invited)).await.refused(403, "player_not_active");
        request(&alice, &session, hosted_by(&stranger)).await.refused(404, "player_not_found");
        let outside = server.player_with(None, &["session:update:any"]);
        request(&outside, &session, json!({ "host_type": host_type })).await.refused(404, "player_not_found");
        let nobody = server.service(&["session:*"]);
        request(&nobody, &session, json!({ "host_type": host_type })).await.refused(403, "player_required");
    }
    // A dedicated instance has no player as host, even if the body names one.
    let body = json!({"host_type": "dedicated", "host_player_uuid": bob.player});
    assert!(request(&alice, &session, body).await.expect(200).body.get("host_player_uuid").is_none());
}

#[tokio::test]
async fn members_see_the_hosts_numeric_id_if_a_token_named_it() {
    let server = Server::new();
    let (alice, bob, stranger) = (server.player_numbered(7), server.player_numbered(8), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    for (host, player_id) in [(json!({}), 7), (json!({"host_player_uuid": bob.player}), 8)] {
        let mut body = host;
        body["host_type"] = json!("player");
        let hosted = request(&alice, &session, body).await.expect(200).body;
        assert_eq!(hosted["host_player_id"], json!(player_id));
        assert_eq!(alice.session(&session).await.body["instance"], hosted);
        let outside = stranger.session(&session).await.expect(200).body;
        assert!(outside["instance"].get("host_player_id").is_none(), "{outside}");
        end(&alice, &session).await.expect(204);
    }
    // The field is absent if the token named no id, and for dedicated instances.
    alice.leaves(&session).await.expect(204);
    stranger.joins(&session).await.expect(200);
    let body = json!({"host_type": "player", "host_player_uuid": stranger.player});
    let hosted = request(&bob, &session, body).await.expect(200).body;
    assert!(hosted.get("host_player_id").is_none(), "{hosted}");
    end(&bob, &session).await.expect(204);
    let dedicated = request(&bob, &session, json!({"host_type": "dedicated"})).await.expect(200).body;
    assert!(dedicated.get("host_player_id").is_none(), "{dedicated}");
}

#[tokio::test]
async fn only_the_leader_or_update_any_may_request_an_instance() {
    let (server, alice, bob, session) = game().await;
    request(&bob, &session, json!({})).await.refused(403, "not_session_leader");
    request(&server.player(), &session, json!({})).await.refused(403, "not_active_in_session");
    request(&alice, "none", json!({})).await.refused(404, "session_not_found");
    request(&server.service(&["session:update:self"]), &session, json!({}))
        .await
        .refused(403, "player_required");
    request(&server.service(&["session:update:any"]), &session, json!({})).await.expect(200);
}

fn with_template(config: &mut Config) {
    let map = |name: &str, map_weight| MapChoice {
        map_id: "1".into(),
        map_name: name.into(),
        mode: Some("arena".into()),
        map_weight,
        custom_data: CustomData::from([("sky".into(), name.into())]),
        name: None,
        description: None,
        misc_params: Some("-log".into()),
    };
    let template = InstanceTemplate {
        default_host_type: HostType::Preallocated,
        map_selection_list_id: "all".into(),
        maps: vec![map("Never", 0.0), map("Dunes", 50.0), map("Hills", 50.0)],
        custom_data: CustomData::from([("tier".into(), "gold".into())]),
    };
    config.instance_templates.insert(TEMPLATE, template);
}

#[tokio::test]
async fn a_template_overrides_startup_params_and_host_and_draws_a_map_by_weight() {
    let server = Server::with(with_template);
    let alice = server.player();
    let session = alice.creates("game").await;
    let mut drawn = BTreeSet::new();
    for _ in 0..32 {
        let body = json!({
            "instance_request_template_id": TEMPLATE, "host_type": "player",
            "instance_startup_params": {"map": "Mine", "misc_params": ""},
        });
        let requested = request(&alice, &session, body).await.expect(200).body;
        assert_eq!(
            (&requested["host_type"], &requested["custom_data"]),
            (&json!("preallocated"), &json!({"tier": "gold"}))
        );
        let map = requested["instance_startup_params"]["map"].as_str().unwrap().to_owned();
        let startup =
            json!({"map": map, "mode": "arena", "misc_params": "-log", "custom_data": {"sky": map}});
        assert_eq!(requested["instance_startup_params"], startup);
        drawn.insert(map);
        end(&alice, &session).await.expect(204);
    }
    assert_eq!(
        drawn,
        BTreeSet::from(["Dunes".into(), "Hills".into()]),
        "each map with a weight is drawn, the map with weight 0 never"
    );
    let unknown = json!({"instance_request_template_id": Uuid::nil()});
    request(&alice, &session, unknown).await.refused(404, "instance_template_not_found");
    let own_data = json!({"instance_request_template_id": TEMPLATE, "custom_data": {"mine": "1"}});
    let requested = request(&alice, &session, own_data).await.expect(200);
    assert_eq!(requested.body["custom_data"], json!({"mine": "1"}));
}

#[tokio::test]
async fn players_name_a_template_where_their_own_startup_params_are_not_allowed() {
    let server = Server::with(|config| {
        config.instances.player_startup_params = PlayerStartupParams::Template;
        with_template(config);
        config.instance_templates.get_mut(&TEMPLATE).unwrap().default_host_type = HostType::Dedicated;
    });
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("game").await;
    bob.joins(&session).await.expect(200);
    let own = json!({"instance_startup_params": {"map": "Mine", "misc_params": ""}});
    request(&bob, &session, own.clone()).await.refused(403, "not_session_leader");
    for body in [own.clone(), json!({})] {
        request(&alice, &session, body).await.refused(403, "startup_params_not_allowed");
    }
    request(&alice, &session, json!({"host_type": "player"})).await.expect(200);
    end(&alice, &session).await.expect(204);
    request(&alice, &session, json!({"instance_request_template_id": TEMPLATE})).await.expect(200);
    end(&alice, &session).await.expect(204);
    request(&server.service(&["session:update:any"]), &session, own).await.expect(200);
}

#[tokio::test]
async fn an_update_changes_only_the_given_fields() {
    let (_, alice, bob, session) = game().await;
    request(&alice, &session, json!({"host_type": "player", "host_player_uuid": bob.player}))
        .await
        .expect(200);
    // The body that published clients send when they host.
    let join_params = json!({"public_conn_str": "192.0.2.1:7777", "private_conn_str": "10.0.0.1:7777"});
    let body = json!({"join_status": "joinable", "join_params": join_params});
    let updated = update(&bob, &session, body).await.expect(200).body;
    assert_eq!(updated["join_status"], json!("joinable"));
    assert_eq!(updated["join_params"]["public_conn_str"], json!("192.0.2.1:7777"));
    assert_eq!(alice.session(&session).await.expect(200).body["instance"], updated);
    let body = json!({"version": "1.2.3", "match_id": "m1", "custom_data": {"a": "b"}});
    let updated = update(&bob, &session, body).await.expect(200).body;
    let expected = ("1.2.3", "m1", "joinable", json!({"a": "b"}));
    let found = (&updated["version"], &updated["match_id"], &updated["join_status"], &updated["custom_data"]);
    assert_eq!(found, (&json!(expected.0), &json!(expected.1), &json!(expected.2), &expected.3));
    assert_eq!(updated["join_params"]["private_conn_str"], json!("10.0.0.1:7777"));
    let before = alice.session(&session).await.etag();
    assert_eq!(update(&bob, &session, json!({})).await.expect(200).body, updated);
    assert_eq!(alice.session(&session).await.etag(), before);
    let replaced = update(&bob, &session, json!({"custom_data": {}})).await.expect(200);
    assert_eq!(replaced.body["custom_data"], json!({}));
}

#[tokio::test]
async fn only_the_host_or_update_any_may_update_or_end_an_instance() {
    let (server, alice, bob, session) = game().await;
    for caller in [&alice, &bob] {
        update(caller, &session, json!({})).await.refused(404, "instance_not_found");
        end(caller, &session).await.refused(404, "instance_not_found");
    }
    let stranger = server.player();
    update(&stranger, &session, json!({})).await.refused(403, "not_active_in_session");
    let service = server.service(&["session:update:any"]);
    let body = json!({"host_type": "player", "host_player_uuid": bob.player});
    request(&service, &session, body).await.expect(200);
    // The leader is not a host: a service registered the instance.
    for caller in [&alice, &stranger] {
        update(caller, &session, json!({"join_status": "closed"})).await.refused(403, "not_session_host");
        end(caller, &session).await.refused(403, "not_session_host");
    }
    update(&bob, &session, json!({"join_status": "joinable"})).await.expect(200);
    update(&service, &session, json!({"join_status": "unjoinable"})).await.expect(200);
    let ended = end(&bob, &session).await.expect(204);
    bob.reads_etag_of(&session, &ended).await;
    assert!(alice.session(&session).await.expect(200).body.get("instance").is_none());
    end(&bob, &session).await.refused(404, "instance_not_found");
    // The player who registered the instance is its host.
    request(&alice, &session, json!({})).await.expect(200);
    update(&bob, &session, json!({})).await.refused(403, "not_session_host");
    update(&alice, &session, json!({"join_status": "pending"})).await.expect(200);
    let ended = end(&service, &session).await.expect(204);
    server.service(&["session:read:self"]).reads_etag_of(&session, &ended).await;
    update(&alice, "none", json!({})).await.refused(404, "session_not_found");
    end(&alice, "none").await.refused(404, "session_not_found");
}

#[tokio::test]
async fn updates_of_an_allocated_instance_must_name_its_allocation() {
    let (server, alice, _, session) = game().await;
    request(&alice, &session, json!({})).await.expect(200);
    let body = json!({"allocation_id": "a1", "join_status": "allocated"});
    let allocated = update(&alice, &session, body.clone()).await.expect(200);
    assert_eq!(allocated.body["allocation_id"], json!("a1"));
    let before = contents(&server).await;
    let service = server.service(&["session:update:any"]);
    for caller in [&alice, &service] {
        update(caller, &session, json!({"join_status": "closed"})).await.refused(403, "allocation_mismatch");
        let other = json!({"allocation_id": "a2", "join_status": "closed"});
        update(caller, &session, other).await.refused(403, "allocation_mismatch");
    }
    update(&alice, &session, body).await.expect(200);
    assert_eq!(contents(&server).await, before);
    let body = json!({"allocation_id": "a1", "join_status": "joinable"});
    update(&alice, &session, body).await.expect(200);

    let carol = server.player();
    let other = carol.creates("party").await;
    request(&carol, &other, json!({})).await.expect(200);
    let body = json!({"allocation_id": "a1"});
    update(&carol, &other, body.clone()).await.refused(403, "allocation_in_use");
    end(&alice, &session).await.expect(204);
    update(&carol, &other, body.clone()).await.expect(200);
    // The allocation is also free after the session ends.
    carol.leaves(&other).await.expect(204);
    request(&alice, &session, json!({})).await.expect(200);
    update(&alice, &session, body).await.expect(200);
}

#[tokio::test]
async fn a_session_found_by_its_allocation_is_shown_in_the_callers_view() {
    let (server, alice, bob, session) = game().await;
    request(&alice, &session, json!({})).await.expect(200);
    let join_params = json!({"public_conn_str": "192.0.2.1:7777", "private_conn_str": "10.0.0.1:7777"});
    let body = json!({"allocation_id": "a/1", "join_params": join_params});
    update(&alice, &session, body).await.expect(200);
    let path = "/v1/session/allocation/a%2F1";
    let allocator = server.service(&["session:read:allocation"]);
    let found = allocator.get(path).await.expect(200);
    let outside = server.player().session(&session).await.expect(200);
    assert_eq!((found.bytes.clone(), found.etag()), (outside.bytes.clone(), outside.etag()));
    assert!(!found.body.to_string().contains("7777"), "{}", found.body);
    allocator.get_if_none_match(path, &found.etag()).await.expect(304);
    // Members, and callers who may read everything, see the whole session.
    let member =
        server.player_with(Some(Platform::Steam), &["session:read:allocation", "session:update-player:self"]);
    alice.invites(&session, &member).await.expect(200);
    let invited = member.get(path).await.expect(200).body;
    assert_eq!(invited["teams"][0]["players"][2]["inviting_player_uuid"], json!(alice.player));
    assert!(!invited.to_string().contains("7777"), "{invited}");
    member.joins(&session).await.expect(200);
    let whole = alice.session(&session).await.expect(200);
    let reader = server.service(&["session:read:allocation", "session:read:any"]);
    for caller in [&member, &reader] {
        let seen = caller.get(path).await.expect(200);
        assert_eq!((seen.bytes.clone(), seen.etag()), (whole.bytes.clone(), whole.etag()));
        caller.get_if_none_match(path, &whole.etag()).await.expect(304);
        caller.get_if_none_match(path, &found.etag()).await.expect(200);
    }
    alice.get(path).await.refused(403, "permission_denied");
    allocator.get("/v1/session/allocation/a2").await.refused(404, "session_not_found");
    let long = (json!(["path", "allocation_id"]), "value_error.any_str.max_length");
    allocator.get(&format!("/v1/session/allocation/{}", "x".repeat(129))).await.invalid(&[long]);
    end(&alice, &session).await.expect(204);
    allocator.get(path).await.refused(404, "session_not_found");
    bob.session(&session).await.expect(200);
}

#[tokio::test]
async fn an_instance_ends_when_its_player_host_leaves() {
    let (server, alice, bob, session) = game().await;
    let instance = async || alice.session(&session).await.expect(200).body["instance"].clone();
    let hosted_by_bob = json!({"host_type": "player", "host_player_uuid": bob.player});
    request(&alice, &session, hosted_by_bob.clone()).await.expect(200);
    update(&bob, &session, json!({"allocation_id": "a1"})).await.expect(200);
    bob.leaves(&session).await.expect(204);
    assert_eq!(instance().await, Value::Null);
    let allocator = server.service(&["session:read:allocation"]);
    allocator.get("/v1/session/allocation/a1").await.refused(404, "session_not_found");
    bob.joins(&session).await.expect(200);
    request(&alice, &session, hosted_by_bob).await.expect(200);
    alice.kicks(&session, &bob).await.expect(204);
    assert_eq!(instance().await, Value::Null);
    // A dedicated instance stays after its registrar leaves.
    alice.invites(&session, &bob).await.expect(200);
    bob.joins(&session).await.expect(200);
    request(&alice, &session, json!({"instance_id": "server"})).await.expect(200);
    alice.leaves(&session).await.expect(204);
    let seen = bob.session(&session).await.expect(200);
    assert_eq!(seen.body["instance"]["instance_id"], json!("server"));
}

#[tokio::test]
async fn a_kicked_registrar_can_no_longer_update_the_instance() {
    let (_, alice, bob, session) = game().await;
    request(&alice, &session, json!({})).await.expect(200);
    let at = |address: &str| json!({"join_params": {"public_conn_str": address, "private_conn_str": ""}});
    alice.promotes(&session, &bob).await.expect(200);
    update(&alice, &session, at("here")).await.expect(200);
    bob.kicks(&session, &alice).await.expect(204);
    update(&alice, &session, at("elsewhere")).await.refused(403, "not_session_host");
    end(&alice, &session).await.refused(403, "not_session_host");
    let seen = bob.session(&session).await.expect(200);
    assert_eq!(seen.body["instance"]["join_params"]["public_conn_str"], json!("here"));
}

#[tokio::test]
async fn the_leader_takes_over_an_instance_whose_hosts_left() {
    let (server, alice, bob, session) = game().await;
    let carol = server.player();
    carol.joins(&session).await.expect(200);
    request(&alice, &session, json!({})).await.expect(200);
    alice.promotes(&session, &bob).await.expect(200);
    // Alice is still active, so she stays the host.
    update(&bob, &session, json!({"join_status": "joinable"})).await.refused(403, "not_session_host");
    alice.leaves(&session).await.expect(204);
    for other in [&carol, &alice] {
        end(other, &session).await.refused(403, "not_session_host");
    }
    update(&bob, &session, json!({"join_status": "closed"})).await.expect(200);
    end(&bob, &session).await.expect(204);
    request(&bob, &session, json!({})).await.expect(200);
    end(&bob, &session).await.expect(204);

    // A service stays the host of an instance that it registered.
    let service = server.service(&["session:update:any"]);
    request(&service, &session, json!({})).await.expect(200);
    end(&bob, &session).await.refused(403, "not_session_host");
    end(&service, &session).await.expect(204);
}

#[tokio::test]
async fn instance_bodies_are_validated() {
    let (_, alice, _, session) = game().await;
    let wrong = json!({
        "instance_id": "", "instance_startup_params": {"mode": "arena"}, "host_type": "friend",
        "instance_request_template_id": "7", "host_player_uuid": "bob", "custom_data": {"a": ""},
    });
    request(&alice, &session, wrong).await.invalid(&[
        (json!(["body", "instance_id"]), "value_error.any_str.min_length"),
        (json!(["body", "instance_startup_params", "map"]), "value_error.missing"),
        (json!(["body", "instance_startup_params", "misc_params"]), "value_error.missing"),
        (json!(["body", "host_type"]), "type_error.enum"),
        (json!(["body", "instance_request_template_id"]), "type_error.uuid"),
        (json!(["body", "host_player_uuid"]), "type_error.uuid"),
        (json!(["body", "custom_data", "a"]), "value_error.any_str.min_length"),
    ]);
    let wrong = json!({
        "allocation_id": "x".repeat(129), "join_status": "open", "join_params": {"public_conn_str": ""},
        "custom_data": null,
    });
    update(&alice, &session, wrong).await.invalid(&[
        (json!(["body", "allocation_id"]), "value_error.any_str.max_length"),
        (json!(["body", "join_status"]), "type_error.enum"),
        (json!(["body", "join_params", "private_conn_str"]), "value_error.missing"),
    ]);
}

#[tokio::test]
async fn callers_cannot_write_the_servers_own_notes_about_an_instance() {
    let (server, alice, _, session) = game().await;
    let service = server.service(&["session:*"]);
    let forged = json!({"custom_data": {"a": "b", "rallypoint.launch": "lost", "rallypoint.": ""}});
    let violations = [
        (json!(["body", "custom_data", "rallypoint.launch"]), "value_error.dict.reserved_name"),
        (json!(["body", "custom_data", "rallypoint."]), "value_error.dict.reserved_name"),
        (json!(["body", "custom_data", "rallypoint."]), "value_error.any_str.min_length"),
    ];
    for caller in [&alice, &service] {
        request(caller, &session, forged.clone()).await.invalid(&violations);
    }
    request(&alice, &session, json!({"custom_data": {"Rallypoint.launch": "x"}})).await.expect(200);
    for caller in [&alice, &service] {
        update(caller, &session, forged.clone()).await.invalid(&violations);
        update(caller, &session, json!({"custom_data": {"my.rallypoint.launch": "x"}})).await.expect(200);
    }
}
