//! Deserters: players who left matches, and may not queue for some time.

use std::time::Duration;

use http::Method;
use rallypoint::config::Config;
use rallypoint::domain::PlayerUuid;
use rallypoint::domain::matchmaking::deserter::{DeserterReport, DeserterStatus};
use rallypoint::records::{deserter as record, keys};
use rallypoint::runtime::settings::catalog;
use rallypoint::store::{Batch, Memory, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use super::queue::{DESERTER, joins, party_of_two, server, ticket, with_queues};
use crate::harness::{Client, Reply, Server, contents, fits};
use crate::promises::published::published_contracts;

/// Another kind of desertion, which no profile names.
const OTHER: &str = "00000000-0000-4000-8000-0000000000d2";
/// Environment variable with the number of statuses that a clear clears at once.
const STATUSES_VARIABLE: &str = "RALLYPOINT_DESERTERS";
const STATUSES: usize = 20_000;

/// A server with two kinds of desertion.
fn with_two_kinds(config: &mut Config) {
    with_queues(config);
    config.deserters.insert(OTHER.parse().unwrap(), config.deserters[&kind()]);
}

fn kind() -> Uuid {
    DESERTER.parse().unwrap()
}

fn of(player: &Client, kind: &str) -> String {
    format!("/v1/player/{}/deserter/{kind}", player.player)
}

fn all_of(player: &Client) -> String {
    format!("/v1/player/{}/deserter", player.player)
}

fn mine(kind: &str) -> String {
    format!("/v1/player/me/deserter/{kind}")
}

/// What a game server says: a ban until this time, in milliseconds since the epoch.
fn ban_until(expiration_ms: i64) -> Value {
    json!({ "deserter_expiration": expiration_ms, "deserter_count": 1 })
}

/// A game server.
fn service(server: &Server) -> Client {
    server.service(&["session:*"])
}

/// Asserts that the published contract allows the answer.
fn check(path: &str, method: &str, reply: &Reply) {
    let Some(contracts) = published_contracts() else { return };
    let contract = contracts.iter().find(|contract| contract["servers"][0]["url"] == "/session").unwrap();
    let response = &contract["paths"][path][method]["responses"][reply.status.as_str()];
    assert!(response.is_object(), "{method} {path} {} is not published", reply.status);
    if let Some(schema) = response["content"]["application/json"].get("schema") {
        fits(contract, schema, &reply.body, path);
    }
}

/// Asserts that a player reads the same status in each way.
async fn reads(player: &Client, kind: &str, expected: &Value) {
    let own = player.get(&mine(kind)).await.expect(200);
    check("/v1/player/me/deserter/{deserter_id}", "get", &own);
    assert!(!own.headers.contains_key("etag"), "the contract has no ETag here");
    let by_uuid = player.get(&of(player, kind)).await.expect(200);
    check("/v1/player/{player_uuid}/deserter/{deserter_id}", "get", &by_uuid);
    let all = player.get(&all_of(player)).await.expect(200);
    check("/v1/player/{player_uuid}/deserter", "get", &all);
    assert_eq!((&own.body, &by_uuid.body), (expected, expected));
    let listed = all.body["deserter_statuses"].as_array().unwrap();
    let is_known = expected.get("last_updated").is_some();
    let listed = listed.iter().find(|status| status["deserter_id"] == kind);
    assert_eq!(listed, is_known.then_some(expected));
}

/// The status of a player of whom nothing is known.
fn nothing_known(kind: &str) -> Value {
    json!({ "deserter_id": kind, "deserter_status": false, "deserter_count": 0 })
}

#[tokio::test]
async fn a_status_is_set_read_and_deleted() {
    let server = Server::with(with_two_kinds);
    let (alice, service) = (server.player(), service(&server));
    for kind in [DESERTER, OTHER] {
        reads(&alice, kind, &nothing_known(kind)).await;
    }
    let body = json!({
        "deserter_expiration": "2026-11-23T14:00:00.0009+01:00", "deserter_reset": "1795525200",
        "deserter_count": "2", "custom_data": { "why": "left" },
    });
    let put = service.put(&of(&alice, &DESERTER.to_uppercase()), &body).await.expect(200);
    check("/v1/player/{player_uuid}/deserter/{deserter_id}", "put", &put);
    let expected = json!({
        "deserter_id": DESERTER, "deserter_status": true, "deserter_expiration": "2026-11-23T13:00:00.000Z",
        "deserter_reset": "2026-11-24T13:00:00.000Z", "deserter_count": 2,
        "last_updated": "2026-11-23T12:00:00.000Z", "custom_data": { "why": "left" },
    });
    assert_eq!(put.body, expected);
    reads(&alice, DESERTER, &expected).await;
    reads(&alice, OTHER, &nothing_known(OTHER)).await;
    // Each report replaces the one before as a whole.
    let put = service.put(&of(&alice, DESERTER), &ban_until(0)).await.expect(200);
    assert_eq!(
        put.body,
        json!({
            "deserter_id": DESERTER, "deserter_status": false, "deserter_expiration": "1970-01-01T00:00:00.000Z",
            "deserter_count": 1, "last_updated": "2026-11-23T12:00:00.000Z",
        })
    );
    reads(&alice, DESERTER, &put.body).await;
    for _ in 0..2 {
        let deleted = service.delete(&of(&alice, DESERTER)).await.expect(204);
        check("/v1/player/{player_uuid}/deserter/{deserter_id}", "delete", &deleted);
        reads(&alice, DESERTER, &nothing_known(DESERTER)).await;
    }
    for kind in [DESERTER, OTHER] {
        service.put(&of(&alice, kind), &ban_until(i64::from(u32::MAX) * 1_000)).await.expect(200);
    }
    for _ in 0..2 {
        let deleted = service.delete(&all_of(&alice)).await.expect(204);
        check("/v1/player/{player_uuid}/deserter", "delete", &deleted);
        for kind in [DESERTER, OTHER] {
            reads(&alice, kind, &nothing_known(kind)).await;
        }
    }
}

#[tokio::test]
async fn statuses_of_kinds_that_are_gone_are_hidden_and_can_be_deleted() {
    let server = Server::over(Store::Memory(Memory::default()), with_two_kinds);
    let (alice, service) = (server.player(), service(&server));
    for kind in [DESERTER, OTHER] {
        service.put(&of(&alice, kind), &ban_until(i64::from(u32::MAX) * 1_000)).await.expect(200);
    }
    let mut config = Config::default();
    with_queues(&mut config);
    server.app.replace_catalog(catalog(&config));
    alice.get(&mine(OTHER)).await.refused(404, "deserter_not_found");
    let listed = alice.get(&all_of(&alice)).await.expect(200).body["deserter_statuses"].clone();
    assert_eq!(
        listed.as_array().unwrap().iter().map(|one| &one["deserter_id"]).collect::<Vec<_>>(),
        [DESERTER]
    );
    service.delete(&all_of(&alice)).await.expect(204);
    assert!(!contents(&server).await.keys().any(|key| keys::parse_deserter(key).is_some()));
}

#[tokio::test]
async fn an_unknown_kind_is_not_found() {
    let server = server();
    let (alice, service) = (server.player(), service(&server));
    let body = ban_until(0);
    for unknown in ["x", OTHER, "%20"] {
        alice.get(&mine(unknown)).await.refused(404, "deserter_not_found");
        alice.get(&of(&alice, unknown)).await.refused(404, "deserter_not_found");
        service.put(&of(&alice, unknown), &body).await.refused(404, "deserter_not_found");
        service.delete(&of(&alice, unknown)).await.refused(404, "deserter_not_found");
        let clear = format!("/v1/deserter/{unknown}:clear");
        service.post(&clear, &Value::Null).await.refused(404, "deserter_not_found");
    }
    // The input comes first.
    let bad = json!({ "deserter_expiration": "2026-11-23T12:00:00", "deserter_count": -1 });
    service.put(&of(&alice, "x"), &bad).await.invalid(&[
        (json!(["body", "deserter_expiration"]), "value_error.datetime"),
        (json!(["body", "deserter_count"]), "value_error.number.not_ge"),
    ]);
    service.put(&of(&alice, DESERTER), &json!({})).await.invalid(&[
        (json!(["body", "deserter_expiration"]), "value_error.missing"),
        (json!(["body", "deserter_count"]), "value_error.missing"),
    ]);
    let order = json!({ "deserter_expiration": 2, "deserter_reset": 1, "deserter_count": 0 });
    let order = service.put(&of(&alice, "x"), &order).await;
    order.invalid(&[(json!(["body", "deserter_reset"]), "value_error.date.order")]);
    let no_uuid = service.put("/v1/player/x/deserter/x", &body).await;
    no_uuid.invalid(&[(json!(["path", "player_uuid"]), "type_error.uuid")]);
}

#[tokio::test]
async fn a_ban_of_one_member_keeps_the_party_out_until_it_ends() {
    let server = server();
    let (alice, bob, session) = party_of_two(&server).await;
    let service = service(&server);
    let until = server.clock.now_ms() + 1_000;
    let mut ban = ban_until(until);
    ban["deserter_reset"] = json!(until + 1_000);
    service.put(&of(&bob, DESERTER), &ban).await.expect(200);
    let count = async || {
        let status = bob.get(&mine(DESERTER)).await.expect(200).body;
        (status["deserter_status"].clone(), status["deserter_count"].clone())
    };
    // With a permission for every session as well.
    for caller in [&alice, &service] {
        let refused = joins(caller, &session, &["casual"]).await.refused(403, "player_is_deserter");
        let desc = refused.body["desc"].as_str().unwrap();
        assert!(desc.contains(&bob.player.to_string()) && desc.contains("12:00:01.000Z"), "{desc}");
    }
    // Nobody else is kept out.
    let carol = server.player();
    let own = carol.creates("party").await;
    joins(&carol, &own, &["casual"]).await.expect(200);

    server.clock.advance(Duration::from_millis(999));
    joins(&alice, &session, &["casual"]).await.refused(403, "player_is_deserter");
    assert_eq!(count().await, (json!(true), json!(1)));
    server.clock.advance(Duration::from_millis(1));
    assert_eq!(count().await, (json!(false), json!(1)));
    joins(&alice, &session, &["casual"]).await.expect(200);
    server.clock.advance(Duration::from_millis(999));
    assert_eq!(count().await, (json!(false), json!(1)));
    server.clock.advance(Duration::from_millis(1));
    assert_eq!(count().await, (json!(false), json!(0)));
}

#[tokio::test]
async fn a_ban_does_not_end_a_ticket() {
    let server = server();
    let (alice, bob, session) = party_of_two(&server).await;
    let joined = joins(&alice, &session, &["casual"]).await.expect(200);
    let ban = ban_until(server.clock.now_ms() + 1_000);
    service(&server).put(&of(&bob, DESERTER), &ban).await.expect(200);
    assert_ne!(ticket(&alice, &session).await, Value::Null);
    assert_eq!(joins(&alice, &session, &["casual"]).await.expect(200).bytes, joined.bytes);
}

#[tokio::test]
async fn a_clear_ends_all_bans_and_what_comes_afterwards_counts() {
    let server = Server::with(with_two_kinds);
    let (alice, bob, session) = party_of_two(&server).await;
    let service = service(&server);
    let ban = ban_until(server.clock.now_ms() + 1_000_000);
    for clear in ["/v1/deserter:clear".to_owned(), format!("/v1/deserter/{DESERTER}:clear")] {
        for kind in [DESERTER, OTHER] {
            service.put(&of(&bob, kind), &ban).await.expect(200);
        }
        joins(&alice, &session, &["casual"]).await.refused(403, "player_is_deserter");
        server.clock.advance(Duration::from_millis(1));
        let cleared = service.post(&clear, &Value::Null).await.expect(204);
        let path = if clear.ends_with("deserter:clear") {
            "/v1/deserter:clear"
        } else {
            "/v1/deserter/{deserter_id}:clear"
        };
        check(path, "post", &cleared);
        reads(&bob, DESERTER, &nothing_known(DESERTER)).await;
        let other = bob.get(&mine(OTHER)).await.expect(200).body["deserter_status"].clone();
        assert_eq!(other, json!(path == "/v1/deserter/{deserter_id}:clear"), "the other kind");
        let config = alice.get(&format!("/v1/deserter/{DESERTER}")).await.expect(200);
        check("/v1/deserter/{deserter_id}", "get", &config);
        let at = config.body["last_cleared_timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(at.as_millisecond(), server.clock.now_ms());
        joins(&alice, &session, &["casual"]).await.expect(200);
        alice.delete(&super::queue::queue(&session)).await.expect(204);
        // Also within the same millisecond.
        let put = service.put(&of(&bob, DESERTER), &ban).await.expect(200);
        assert_eq!(put.body["deserter_status"], json!(true));
        joins(&alice, &session, &["casual"]).await.refused(403, "player_is_deserter");
    }
    let all = alice.get("/v1/deserter").await.expect(200);
    check("/v1/deserter", "get", &all);
    let configs = all.body["deserter_configs"].as_array().unwrap();
    assert!(configs.iter().all(|config| config["last_cleared_timestamp"].is_string()), "{configs:?}");
}

#[tokio::test]
async fn a_clear_is_one_write_for_all_players() {
    let count = std::env::var(STATUSES_VARIABLE).map_or(STATUSES, |count| count.parse().expect("a number"));
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let store = server.app.sessions.store();
    let report = DeserterReport {
        expiration: "2030-01-01T00:00:00Z".parse().unwrap(),
        reset: None,
        count: 1,
        custom_data: [].into(),
    };
    let status = DeserterStatus { report, last_updated: server.clock.now(), clears: 0 };
    let status = record::encode(&status);
    let player = |number: usize| PlayerUuid(Uuid::from_u128(number as u128 + 1));
    for start in (0..count).step_by(1_000) {
        let put = |batch: Batch, number| batch.put(keys::deserter(player(number), kind()), status.clone());
        store.commit((start..count.min(start + 1_000)).fold(Batch::default(), put)).await.unwrap();
    }
    let (service, samples) = (service(&server), [0, count / 2, count - 1]);
    let are_deserters = async || {
        let mut found = Vec::new();
        for number in samples {
            let path = format!("/v1/player/{}/deserter/{DESERTER}", player(number));
            found.push(service.get(&path).await.expect(200).body["deserter_status"] == json!(true));
        }
        found
    };
    assert_eq!(are_deserters().await, [true; 3]);
    let mut commits = store.watch();
    service.post("/v1/deserter:clear", &Value::Null).await.expect(204);
    let commit = commits.try_recv().unwrap();
    assert_eq!(commit.keys.iter().collect::<Vec<_>>(), [&keys::deserters_cleared(kind())]);
    assert!(commits.try_recv().is_err(), "one commit");
    assert_eq!(are_deserters().await, [false; 3]);
}

#[tokio::test]
async fn players_change_nobodys_status() {
    let server = server();
    let alice = server.player();
    let other = server.player();
    let body = ban_until(0);
    for player in [&alice, &other] {
        alice.put(&of(player, DESERTER), &body).await.refused(403, "permission_denied");
        alice.delete(&of(player, DESERTER)).await.refused(403, "permission_denied");
        alice.delete(&all_of(player)).await.refused(403, "permission_denied");
    }
    let clears = ["/v1/deserter:clear".to_owned(), format!("/v1/deserter/{DESERTER}:clear")];
    let writer =
        server.service(&["session:update-player:any", "session:update:any", "session:read-player:any"]);
    for caller in [&alice, &writer] {
        for clear in &clears {
            caller.post(clear, &Value::Null).await.refused(403, "permission_denied");
        }
    }
    writer.put(&of(&alice, DESERTER), &body).await.expect(200);
    writer.get(&of(&alice, DESERTER)).await.expect(200);
    writer.delete(&all_of(&alice)).await.expect(204);
    // Reads are for one's own player.
    alice.get(&of(&other, DESERTER)).await.refused(403, "permission_denied");
    alice.get(&all_of(&other)).await.refused(403, "permission_denied");
    alice.get(&of(&other, "x")).await.refused(403, "permission_denied");
    writer.get(&mine(DESERTER)).await.refused(403, "permission_denied");
    service(&server).get(&mine(DESERTER)).await.refused(403, "player_required");
}

#[tokio::test]
async fn a_status_goes_thirty_days_after_it_has_ended() {
    let server = Server::over(Store::Memory(Memory::default()), with_two_kinds);
    let (alice, service) = (server.player(), service(&server));
    let day_ms = 86_400_000;
    let now = server.clock.now_ms();
    let mut reset = ban_until(now);
    reset["deserter_reset"] = json!(now + 3 * day_ms);
    service.put(&of(&alice, DESERTER), &ban_until(now)).await.expect(200);
    service.put(&of(&alice, OTHER), &reset).await.expect(200);
    let stored = async || {
        let stored = contents(&server).await;
        stored.keys().filter_map(|key| Some(keys::parse_deserter(key)?.1.to_string())).collect::<Vec<_>>()
    };
    for (days, expected) in [(29, vec![DESERTER, OTHER]), (1, vec![OTHER]), (2, vec![OTHER]), (1, vec![])] {
        server.advance(Duration::from_secs(days * 86_400)).await;
        assert_eq!(stored().await, expected, "after {days} days more");
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_read_lets_nobody_in() {
    let server = Server::over(Store::Memory(Memory::default()), with_queues);
    let (alice, _, session) = party_of_two(&server).await;
    let key = keys::deserter(PlayerUuid(alice.player), kind());
    server.app.sessions.store().commit(Batch::default().put(key, "?")).await.unwrap();
    joins(&alice, &session, &["casual"]).await.refused(503, "store_unavailable");
    alice.get(&mine(DESERTER)).await.refused(503, "store_unavailable");
    service(&server).delete(&of(&alice, DESERTER)).await.expect(204);
    joins(&alice, &session, &["casual"]).await.expect(200);
}

#[tokio::test]
async fn paths_with_a_verb_are_no_ids() {
    let server = server();
    let service = service(&server);
    service.get("/v1/deserter:clear").await.expect(405);
    service.get(&format!("/v1/deserter/{DESERTER}:clear")).await.expect(405);
    for path in ["/v1/deserter%3Aclear".to_owned(), format!("/v1/deserter/{DESERTER}%3aclear")] {
        service.send(Method::POST, &path, &[], None).await.expect(204);
    }
}
