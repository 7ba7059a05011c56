//! Joining and leaving matchmaking queues.

use rallypoint::config::Config;
use rallypoint::domain::PlayerUuid;
use rallypoint::domain::client::VersionCheck;
use rallypoint::domain::region::Region;
use rallypoint::records::keys;
use rallypoint::records::queued::QueuedTicket;
use rallypoint::runtime::settings::catalog;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Metrics, Reply, Server, creation, fits, joining};
use crate::promises::published::published_contracts;

/// Parties may queue, in parties of up to five; in `duel` alone. `closed` is not active, `europe` needs the region.
const FILE: &str = r#"
    [queues.casual]
    max_queue_group_size = 5
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [queues.duel]
    max_queue_group_size = 1
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [queues.closed]
    active = false
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a1"
    [queues.europe]
    match_making_template_group_id = "00000000-0000-4000-8000-0000000000a2"
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a1.templates]]
    profiles = ["4v4", "1v1"]
    [[match_making_template_groups.00000000-0000-4000-8000-0000000000a2.templates]]
    profiles = ["4v4"]
    [match_making_template_groups.00000000-0000-4000-8000-0000000000a2.templates.ruleset]
    rules = [{ rule_type = "RegionList", comparison_operation = "in_set", comparison_value_set = ["eu"] }]
    [match_making_profiles.4v4]
    max_players_per_side = 4
    deserter_id = "00000000-0000-4000-8000-0000000000d1"
    [match_making_profiles.1v1]
    max_players_per_side = 1
    [deserters.00000000-0000-4000-8000-0000000000d1]
"#;

/// The kind of desertion that keeps players out of `4v4`.
pub const DESERTER: &str = "00000000-0000-4000-8000-0000000000d1";

/// A change of the configuration: queues, and parties that may join them.
pub fn with_queues(config: &mut Config) {
    let file = Config::parse(FILE, "test", &[]).unwrap();
    config.queues = file.queues;
    config.match_making_template_groups = file.match_making_template_groups;
    config.match_making_profiles = file.match_making_profiles;
    config.deserters = file.deserters;
    config.templates.get_mut("party").unwrap().can_join_matchmaking = true;
}

/// Gives the queues to every node of a running server. Games may join them, too.
pub fn open_queues(server: &Server) {
    for node in server.nodes() {
        let mut config = Config::default();
        with_queues(&mut config);
        config.templates.get_mut("game").unwrap().can_join_matchmaking = true;
        node.app.replace_catalog(catalog(&config));
    }
}

pub fn server() -> Server {
    Server::with(with_queues)
}

/// How many tickets have ended for a reason, at all nodes together.
pub async fn ended(server: &Server, reason: &str) -> u64 {
    let mut count = 0;
    for node in server.nodes() {
        count += Metrics::of(node).await.get(&format!("tickets_ended_total{{reason=\"{reason}\"}}"));
    }
    count
}

pub fn queue(session: &str) -> String {
    format!("/v1/session/{session}/queue")
}

pub async fn joins(caller: &Client, session: &str, queues: &[&str]) -> Reply {
    caller.post(&queue(session), &json!({ "queue_ids": queues })).await
}

/// The ticket of a session, as a caller sees it; null if it is in no queue.
pub async fn ticket(caller: &Client, session: &str) -> Value {
    caller.session(session).await.expect(200).body["matchmaking"].clone()
}

/// A party that alice leads, with bob.
pub async fn party_of_two(server: &Server) -> (Client, Client, String) {
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    bob.joins(&session).await.expect(200);
    (alice, bob, session)
}

/// Asserts that the published contract allows the answer.
fn check(method: &str, reply: &Reply) {
    let Some(contracts) = published_contracts() else { return };
    let contract = contracts.iter().find(|contract| contract["servers"][0]["url"] == "/session").unwrap();
    let responses = &contract["paths"]["/v1/session/{session_id}/queue"][method]["responses"];
    let response = &responses[reply.status.as_str()];
    assert!(response.is_object(), "{method} {} is not published", reply.status);
    if let Some(schema) = response["content"]["application/json"].get("schema") {
        fits(contract, schema, &reply.body, method);
    }
}

#[tokio::test]
async fn a_party_joins_queues_and_leaves_them() {
    let server = server();
    let (alice, bob, session) = party_of_two(&server).await;
    let before = alice.session(&session).await.expect(200);
    let joined = alice.post(&queue(&session), &json!({ "queue_id": "casual" })).await.expect(200);
    check("post", &joined);
    assert!(!joined.headers.contains_key("etag"), "the contract has no ETag here");
    let ticket_id = joined.body["ticket_id"].clone();
    assert!(ticket_id.as_str().is_some_and(|id| Uuid::parse_str(id).is_ok()), "{ticket_id}");
    assert_eq!(joined.body["queue_ids"], json!(["casual"]));
    assert_eq!(joined.body["profile_ids"], json!(["4v4"]), "two players do not fit on a side of 1v1");
    let expected = json!({
        "ticket_id": ticket_id, "queue_id": "casual", "queue_ids": ["casual"], "profile_ids": ["4v4"],
        "passed_queue_time_seconds": 0, "custom_data": {},
    });
    for member in [&alice, &bob] {
        assert_eq!(ticket(member, &session).await, expected);
    }
    assert_eq!(ticket(&server.player(), &session).await, Value::Null, "an outsider does not see it");
    let changed = alice.get_if_none_match(&format!("/v1/session/{session}"), &before.etag()).await;
    changed.expect(200);

    let left = alice.delete(&queue(&session)).await.expect(204);
    check("delete", &left);
    assert_eq!(ticket(&bob, &session).await, Value::Null);
    let again = alice.delete(&queue(&session)).await;
    check("delete", &again);
    again.refused(404, "not_in_queue");
    assert_eq!(ended(&server, "left_queue").await, 1);
}

#[tokio::test]
async fn a_repeated_join_finds_its_ticket() {
    let server = server();
    let alice = server.player();
    let session = alice.creates("party").await;
    let first = joins(&alice, &session, &["casual"]).await.expect(200);
    let etag = alice.session(&session).await.etag();
    assert_eq!(joins(&alice, &session, &["casual"]).await.expect(200).bytes, first.bytes);
    assert_eq!(alice.session(&session).await.etag(), etag, "nothing has changed");
    joins(&alice, &session, &["casual", "duel"]).await.refused(403, "already_in_queue");
    alice.delete(&queue(&session)).await.expect(204);
    let second = joins(&alice, &session, &["casual"]).await.expect(200);
    assert_ne!(first.body["ticket_id"], second.body["ticket_id"]);
}

#[tokio::test]
async fn both_fields_name_queues() {
    let server = server();
    let alice = server.player();
    let session = alice.creates("party").await;
    let body = json!({ "queue_id": "duel", "queue_ids": ["casual", "duel", "casual"] });
    let joined = alice.post(&queue(&session), &body).await.expect(200);
    assert_eq!(joined.body["queue_ids"], json!(["duel", "casual"]));
    assert_eq!(joined.body["profile_ids"], json!(["4v4", "1v1"]));
    assert_eq!(ticket(&alice, &session).await["queue_id"], "duel");
}

#[tokio::test]
async fn the_rules_refuse_in_order() {
    let server = Server::with(|config| {
        with_queues(config);
        config.regions.insert("eu".into(), Region::default());
        config.regions.insert("us".into(), Region::default());
        config.regions.insert("lan".into(), Region { custom_only: true, ..Region::default() });
        config.templates.get_mut("party").unwrap().players_per_team = 9;
    });
    let (alice, bob, session) = party_of_two(&server).await;
    let join = async |caller: &Client, queues: &[&str]| joins(caller, &session, queues).await;
    joins(&alice, "none", &["casual"]).await.refused(404, "session_not_found");
    join(&server.player(), &["none"]).await.refused(403, "not_active_in_session");
    join(&bob, &["none"]).await.refused(403, "not_session_leader");
    let game = alice.creates("game").await;
    joins(&alice, &game, &["none"]).await.refused(403, "matchmaking_not_allowed");
    let unknown = join(&alice, &["casual", "none"]).await;
    assert!(unknown.body["desc"].as_str().unwrap().contains("\"none\""), "{}", unknown.body);
    unknown.refused(404, "queue_not_found");
    join(&alice, &["closed"]).await.refused(403, "queue_inactive");
    join(&alice, &["casual", "duel"]).await.refused(403, "queue_group_too_large");
    let in_region = async |region: &str| {
        let body = json!({ "region_id": region });
        alice.patch(&format!("/v1/session/{session}"), &body).await.expect(200);
    };
    in_region("lan").await;
    join(&alice, &["casual"]).await.refused(403, "region_custom_only");
    in_region("us").await;
    let no_template = join(&alice, &["casual", "europe"]).await;
    assert!(no_template.body["desc"].as_str().unwrap().contains("\"europe\""), "{}", no_template.body);
    no_template.refused(403, "no_matching_template");
    assert_eq!(ticket(&alice, &session).await, Value::Null, "all queues or none");
    in_region("eu").await;
    for _ in 0..3 {
        let carol = server.player();
        alice.invites(&session, &carol).await.expect(200);
        carol.joins(&session).await.expect(200);
    }
    join(&alice, &["casual"]).await.refused(403, "no_matching_profile");
    // Permissions for every session need no standing.
    let service = server.service(&["session:update:any"]);
    joins(&service, &session, &["none"]).await.refused(404, "queue_not_found");
}

#[tokio::test]
async fn players_of_a_party_must_fit_together() {
    let server = Server::with(|config| {
        with_queues(config);
        config.sessions.version_check = VersionCheck::Exact;
    });
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let mut other = joining();
    other["client_version"] = json!("1.0.1");
    bob.post(&format!("/v1/session/{session}/player/me"), &other).await.expect(200);
    joins(&alice, &session, &["casual"]).await.refused(403, "version_mismatch");
}

#[tokio::test]
async fn what_a_party_asks_for_has_limits() {
    let server = server();
    let alice = server.player();
    let session = alice.creates("party").await;
    let invalid = async |body: Value, at: Value, kind: &str| {
        alice.post(&queue(&session), &body).await.invalid(&[(at, kind)]);
    };
    let missing = "value_error.missing";
    invalid(json!({}), json!(["body", "queue_ids"]), missing).await;
    invalid(json!({ "queue_ids": [] }), json!(["body", "queue_ids"]), missing).await;
    let nine: Vec<_> = (0..9).map(|id| id.to_string()).collect();
    invalid(json!({ "queue_ids": nine }), json!(["body", "queue_ids"]), "value_error.list.max_items").await;
    let long = "x".repeat(129);
    invalid(json!({ "queue_id": long }), json!(["body", "queue_id"]), "value_error.any_str.max_length").await;
    let params = async |params: Value, at: Value, kind: &str| {
        let mut loc = json!(["body", "additional_join_params"]);
        loc.as_array_mut().unwrap().extend(at.as_array().unwrap().clone());
        invalid(json!({ "queue_id": "casual", "additional_join_params": params }), loc, kind).await;
    };
    for wrong in [json!("soon"), json!("inf"), json!([1])] {
        params(json!({ "double_args": { "a": wrong } }), json!(["double_args", "a"]), "type_error.float")
            .await;
    }
    let length = "value_error.any_str.min_length";
    params(json!({ "string_args": { "a": "" } }), json!(["string_args", "a"]), length).await;
    params(json!({ "string_args": { "": "a" } }), json!(["string_args", ""]), length).await;
    params(json!({ "tags": ["a", ""] }), json!(["tags", 1]), length).await;
    params(json!({ "extensions": { "a": "%" } }), json!(["extensions", "a"]), "value_error.base64").await;
    let many: serde_json::Map<_, _> = (0..65).map(|id| (id.to_string(), json!(1.5))).collect();
    params(json!({ "double_args": many }), json!(["double_args"]), "value_error.dict.max_items").await;
    let large: Vec<_> = (0..17).map(|_| "x".repeat(4_096)).collect();
    params(json!({ "tags": large }), json!([]), "value_error.dict.max_bytes").await;
    let wishes = json!({ "queue_id": "casual", "map_preferences": vec!["m"; 65] });
    invalid(wishes, json!(["body", "map_preferences"]), "value_error.list.max_items").await;
    let passed = json!({ "queue_id": "casual", "passed_queue_time_seconds": -1 });
    invalid(passed, json!(["body", "passed_queue_time_seconds"]), "value_error.number.not_ge").await;
    let reason = alice.delete(&format!("{}?reason=bored", queue(&session))).await;
    reason.invalid(&[(json!(["query", "reason"]), "type_error.enum")]);
}

#[tokio::test]
async fn a_ticket_is_stored_for_matchers() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let alice = server.player();
    let session = alice.creates("party").await;
    let body = json!({
        "queue_ids": ["casual"], "map_preferences": ["Dunes"], "passed_queue_time_seconds": 1_000_000_000_000_i64,
        "additional_join_params": {
            "double_args": { "latency.eu": "70", "level": true }, "string_args": { "playlist": 5 }, "tags": ["ranked"],
            "extensions": { "proto": "AAE=" },
        },
    });
    alice.post(&queue(&session), &body).await.expect(200);
    assert_eq!(
        ticket(&alice, &session).await["passed_queue_time_seconds"],
        300,
        "what a player may claim is limited"
    );
    for profile in ["4v4", "1v1"] {
        let (from, to) = keys::queued_since(profile, i64::MIN);
        let stored = server.app.sessions.store().scan(&from, &to, 9).await.unwrap();
        let [(key, entry)] = &stored[..] else { panic!("{} entries", stored.len()) };
        let (enqueued_ms, id) = keys::parse_queued(profile, key).unwrap();
        assert_eq!((enqueued_ms, id.as_str()), (server.clock.now_ms(), &*session));
        let queued = QueuedTicket::decode(&entry.value).unwrap();
        assert_eq!(queued.double_args.get("latency.eu"), Some(&70.0));
        assert_eq!(queued.double_args.get("level"), Some(&1.0));
        assert_eq!(queued.string_args["playlist"], "5");
        assert_eq!((&*queued.tags, &*queued.maps), (&["ranked".to_owned()][..], &["Dunes".to_owned()][..]));
        assert_eq!((queued.passed_s, queued.clients.len(), queued.enqueued_ms), (300, 1, enqueued_ms));
        assert!(queued.clients[0].is_some());
    }
    // A service may claim any time.
    alice.delete(&queue(&session)).await.expect(204);
    let service = server.service(&["session:*"]);
    service.post(&queue(&session), &body).await.expect(200);
    assert_eq!(ticket(&alice, &session).await["passed_queue_time_seconds"], json!(1_000_000_000_000_i64));
}

#[tokio::test]
async fn a_player_is_in_one_ticket() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let (alice, bob, session) = party_of_two(&server).await;
    let own = bob.creates("party").await;
    joins(&alice, &session, &["casual"]).await.expect(200);
    joins(&bob, &own, &["casual"]).await.refused(403, "player_already_queued");
    assert_eq!(ticket(&bob, &own).await, Value::Null);
    alice.delete(&queue(&session)).await.expect(204);
    joins(&bob, &own, &["duel"]).await.expect(200);
    joins(&alice, &session, &["casual"]).await.refused(403, "player_already_queued");
    // The end of a session frees its players.
    bob.delete(&format!("/v1/session/{own}")).await.expect(204);
    joins(&alice, &session, &["casual"]).await.expect(200);
}

#[tokio::test]
async fn an_entry_that_has_outlived_its_session_keeps_nobody_out() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let (alice, _, session) = party_of_two(&server).await;
    let key = keys::queued_player(PlayerUuid(alice.player));
    // As a node of a version without matchmaking leaves it behind.
    let left_behind = Batch::default().put(key.clone(), b"ended".to_vec());
    server.app.sessions.store().commit(left_behind).await.unwrap();
    joins(&alice, &session, &["casual"]).await.expect(200);
    let entry = server.app.sessions.store().get(&key).await.unwrap().unwrap();
    assert_eq!(entry.value, session.as_bytes());
}

#[tokio::test]
async fn sessions_without_queues_answer_as_they_should() {
    let server = Server::with(|config| {
        config.templates.get_mut("party").unwrap().can_join_matchmaking = true;
    });
    let alice = server.player();
    let created = alice.post("/v1/session", &creation("party")).await.expect(200);
    let session = created.body["session_id"].as_str().unwrap();
    joins(&alice, session, &["casual"]).await.refused(404, "queue_not_found");
    alice.delete(&queue(session)).await.refused(404, "not_in_queue");
}
