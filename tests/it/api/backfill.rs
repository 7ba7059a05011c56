//! Backfill: what hosts of running matches say about the players whom they want.

use std::time::Duration;

use http::Method;
use rallypoint::app::Update;
use rallypoint::domain::{PlayerUuid, SessionId};
use rallypoint::records::backfill::WantedPlayers;
use rallypoint::records::keys;
use rallypoint::store::{Memory, Store};
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, contents, fits, pairs_of_nodes};
use crate::promises::published::published_contracts;

const ID: &str = "backfill-1";
const INSTANCE: &str = "instance-1";

/// Gives a session a backfill, as a match would.
pub async fn start_backfill(server: &Server, session: &str) {
    let (id, now) = (SessionId::parse(session).unwrap(), server.clock.now());
    let start = move |session: &mut rallypoint::domain::Session| {
        session.start_backfill(ID.into(), "4v4".into(), now);
        Ok(())
    };
    server.app.sessions.update(&id, Update::by_server(false), start).await.unwrap();
}

/// Lets the leader of a game host it, so that it can be joined.
pub async fn hosts(leader: &Client, session: &str) {
    let instance = format!("/v1/session/{session}/instance");
    let request = json!({ "host_type": "player", "instance_id": INSTANCE });
    leader.post(&instance, &request).await.expect(200);
    join_status(leader, session, "joinable").await;
}

async fn join_status(host: &Client, session: &str, status: &str) {
    let instance = format!("/v1/session/{session}/instance");
    host.patch(&instance, &json!({ "join_status": status })).await.expect(200);
}

/// A game that alice hosts, with bob, and a backfill.
async fn filled(server: &Server) -> (Client, Client, String) {
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let game = alice.creates("game").await;
    alice.opens(&game).await;
    bob.joins(&game).await.expect(200);
    hosts(&alice, &game).await;
    start_backfill(server, &game).await;
    (alice, bob, game)
}

fn path(session: &str) -> String {
    format!("/v1/backfill/session/{session}")
}

/// A request about the instance.
fn body() -> Value {
    json!({ "instance_id": INSTANCE })
}

async fn confirms(host: &Client, session: &str) -> Reply {
    host.post(&path(session), &body()).await
}

async fn deletes(host: &Client, session: &str, body: &Value) -> Reply {
    host.send(Method::DELETE, &path(session), &[], Some(body.to_string().into())).await
}

/// The backfill of a session, as a caller sees it.
async fn backfill(caller: &Client, session: &str) -> Value {
    caller.session(session).await.expect(200).body["backfill"].clone()
}

/// What the index says of the wanted players, and whether they may be sent.
async fn wanted(server: &Server) -> Option<(Vec<usize>, bool)> {
    let (from, to) = keys::backfills_of("4v4");
    let found = server.app.sessions.store().scan(&from, &to, 9).await.unwrap();
    let [(_, entry)] = &found[..] else {
        assert!(found.is_empty());
        return None;
    };
    let wanted = WantedPlayers::decode(&entry.value).unwrap();
    assert_eq!(wanted.backfill_id, ID);
    Some((wanted.wanted, wanted.can_be_filled))
}

fn check(method: &str, reply: &Reply) {
    let Some(contracts) = published_contracts() else { return };
    let contract = contracts.iter().find(|contract| contract["servers"][0]["url"] == "/session").unwrap();
    let responses = &contract["paths"]["/v1/backfill/session/{session_id}"][method]["responses"];
    let response = &responses[reply.status.as_str()];
    assert!(response.is_object(), "{method} {} is not published", reply.status);
    if let Some(schema) = response["content"]["application/json"].get("schema") {
        fits(contract, schema, &reply.body, method);
    }
}

#[tokio::test]
async fn a_host_confirms_changes_and_ends_a_backfill() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let (alice, bob, game) = filled(&server).await;
    assert_eq!(backfill(&bob, &game).await, json!({ "backfill_id": ID }));
    let before = alice.session(&game).await.expect(200);
    // A mere confirmation is no change.
    let confirmed = confirms(&alice, &game).await.expect(200);
    check("post", &confirmed);
    assert_eq!(confirmed.body, json!({ "backfilled_players": [] }));
    assert!(!confirmed.headers.contains_key("etag"), "the contract has no ETag here");
    assert_eq!(alice.session(&game).await.etag(), before.etag());
    let mut said = body();
    (said["overflow_action"], said["styles"]) = (json!("overfill"), json!(["team_request", "composition"]));
    said["extensions"] = json!({ "a": "b" });
    for _ in 0..2 {
        alice.post(&path(&game), &said).await.expect(200);
        assert_eq!(backfill(&bob, &game).await, json!({ "backfill_id": ID, "extensions": { "a": "b" } }));
    }
    assert_eq!(backfill(&server.player(), &game).await, json!({ "backfill_id": ID }), "an outsider");
    let slots = before.body["teams"].as_array().unwrap();
    let free = |team: &Value| {
        team["max_size"].as_u64().unwrap() as usize - team["players"].as_array().unwrap().len()
    };
    let free: Vec<usize> = slots.iter().map(free).collect();
    assert_eq!(wanted(&server).await, Some((free.clone(), true)));
    let mut wants = body();
    wants["teams"] = json!([{ "team_id": 1, "players_required": 1 }]);
    wants["additional_join_params"] = json!({ "tags": ["t"], "double_args": { "rank": 7 } });
    for _ in 0..2 {
        let updated = alice.patch(&path(&game), &wants).await.expect(204);
        check("patch", &updated);
        let mut expected = vec![0; free.len()];
        expected[1] = 1;
        assert_eq!(wanted(&server).await, Some((expected, true)));
    }
    alice.patch(&path(&game), &body()).await.expect(204);
    assert_eq!(wanted(&server).await, None, "nobody is wanted");
    let deleted = deletes(&alice, &game, &body()).await.expect(204);
    check("delete", &deleted);
    assert_eq!(backfill(&bob, &game).await, Value::Null);
    deletes(&alice, &game, &body()).await.refused(404, "backfill_not_found");
    confirms(&alice, &game).await.refused(404, "backfill_not_found");
    alice.patch(&path(&game), &body()).await.refused(404, "backfill_not_found");
}

#[tokio::test]
async fn a_service_may_act_for_the_host_and_nobody_else() {
    let server = Server::new();
    let (alice, bob, game) = filled(&server).await;
    let (carol, other) = (server.player(), json!({ "instance_id": "other" }));
    for stranger in [&bob, &carol] {
        confirms(stranger, &game).await.refused(403, "not_session_host");
        stranger.patch(&path(&game), &body()).await.refused(403, "not_session_host");
        deletes(stranger, &game, &body()).await.refused(403, "not_session_host");
        stranger.post(&path(&game), &other).await.refused(403, "not_session_host");
    }
    let service = server.service(&["session:update:any"]);
    for host in [&alice, &service] {
        host.post(&path(&game), &other).await.refused(404, "instance_not_found");
        host.patch(&path(&game), &other).await.refused(404, "instance_not_found");
        deletes(host, &game, &other).await.refused(404, "instance_not_found");
        confirms(host, &game).await.expect(200);
        confirms(host, "none").await.refused(404, "session_not_found");
    }
    let unable = server.player_with(None, &["session:read:self"]);
    confirms(&unable, &game).await.refused(403, "permission_denied");
    let own_only = server.service(&["session:update:self"]);
    confirms(&own_only, &game).await.refused(403, "player_required");
    deletes(&service, &game, &body()).await.expect(204);
    confirms(&alice, &game).await.refused(404, "backfill_not_found");
}

#[tokio::test]
async fn a_bad_request_changes_nothing() {
    let server = Server::new();
    let (alice, _, game) = filled(&server).await;
    let missing = [(json!(["body", "instance_id"]), "value_error.missing")];
    alice.post(&path(&game), &json!({})).await.invalid(&missing);
    alice.patch(&path(&game), &json!({})).await.invalid(&missing);
    deletes(&alice, &game, &json!({})).await.invalid(&missing);
    // A proxy that strips the body must not end a backfill by that.
    alice.delete(&path(&game)).await.invalid(&[(json!(["body"]), "value_error.missing")]);
    let with = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        body
    };
    let action = with("overflow_action", json!("later"));
    alice
        .post(&path(&game), &action)
        .await
        .invalid(&[(json!(["body", "overflow_action"]), "type_error.enum")]);
    let team = |team_id: u32| json!({ "team_id": team_id, "players_required": 1 });
    let twice = with("teams", json!([team(1), team(0), team(1)]));
    let loc = json!(["body", "teams", 2, "team_id"]);
    alice.patch(&path(&game), &twice).await.invalid(&[(loc, "value_error.list.unique_items")]);
    alice.patch(&path(&game), &with("teams", json!([team(9)]))).await.refused(404, "team_not_found");
    let below = with("teams", json!([{ "team_id": 0, "players_required": -1 }]));
    let loc = json!(["body", "teams", 0, "players_required"]);
    alice.patch(&path(&game), &below).await.invalid(&[(loc, "value_error.number.not_ge")]);
    assert_eq!(backfill(&alice, &game).await, json!({ "backfill_id": ID }));
}

#[tokio::test]
async fn a_confirmation_names_once_who_was_invited() {
    let server = Server::new();
    let (alice, _, game) = filled(&server).await;
    let carol = server.player();
    alice.invites(&game, &carol).await.expect(200);
    let invited = PlayerUuid(carol.player);
    let id = SessionId::parse(&game).unwrap();
    let note = move |session: &mut rallypoint::domain::Session| {
        session.note_backfilled(0, &[invited]);
        Ok(())
    };
    server.app.sessions.update(&id, Update::by_server(false), note).await.unwrap();
    let confirmed = confirms(&alice, &game).await.expect(200);
    check("post", &confirmed);
    let players = confirmed.body["backfilled_players"].as_array().unwrap();
    assert_eq!(players.len(), 1);
    assert_eq!(
        (&players[0]["player_uuid"], &players[0]["status"]),
        (&json!(carol.player), &json!("invited"))
    );
    assert_eq!(confirms(&alice, &game).await.body, json!({ "backfilled_players": [] }));
}

#[tokio::test]
async fn a_backfill_ends_with_its_instance() {
    for end in ["closed", "removed", "host left"] {
        let server = Server::over(Store::Memory(Memory::default()), |_| {});
        let (alice, bob, game) = filled(&server).await;
        match end {
            "closed" => join_status(&alice, &game, "closed").await,
            "removed" => drop(alice.delete(&format!("/v1/session/{game}/instance")).await.expect(204)),
            _ => drop(alice.leaves(&game).await.expect(204)),
        }
        assert_eq!(backfill(&bob, &game).await, Value::Null, "{end}");
        assert_eq!(wanted(&server).await, None, "{end}");
    }
}

#[tokio::test]
async fn players_are_sent_only_while_the_instance_can_take_them() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let (alice, _, game) = filled(&server).await;
    let can_be_filled = async || wanted(&server).await.unwrap().1;
    assert!(can_be_filled().await);
    join_status(&alice, &game, "unjoinable").await;
    assert!(!can_be_filled().await);
    join_status(&alice, &game, "joinable").await;
    for (health, expected) in [("unhealthy", false), ("healthy", true)] {
        let report = json!({ "instance_id": INSTANCE, "instance_health": health });
        alice.post(&format!("/v1/session/{game}/instance/health"), &report).await.expect(200);
        assert_eq!(can_be_filled().await, expected, "{health}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_confirm_for_too_long_loses_the_backfill() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let (alice, _, game) = filled(&server).await;
    let id = SessionId::parse(&game).unwrap();
    let is_confirmed = async || {
        let cached = server.app.sessions.get(&id).await.unwrap();
        server.app.presence.is_backfill_confirmed(&cached).await.unwrap()
    };
    assert!(!is_confirmed().await, "nobody is sent before the host has said that it wants players");
    server.advance(Duration::from_secs(59)).await;
    confirms(&alice, &game).await.expect(200);
    server.advance(Duration::from_secs(44)).await;
    assert!(is_confirmed().await);
    server.advance(Duration::from_secs(1)).await;
    assert!(!is_confirmed().await);
    // Whoever cannot be joined need not confirm.
    server.advance(Duration::from_secs(14)).await;
    join_status(&alice, &game, "unjoinable").await;
    server.advance(Duration::from_secs(600)).await;
    assert_eq!(backfill(&alice, &game).await, json!({ "backfill_id": ID }));
    join_status(&alice, &game, "joinable").await;
    server.advance(Duration::from_millis(59_999)).await;
    assert_eq!(backfill(&alice, &game).await, json!({ "backfill_id": ID }));
    server.advance(Duration::from_millis(1)).await;
    assert_eq!(backfill(&alice, &game).await, Value::Null);
    confirms(&alice, &game).await.refused(404, "backfill_not_found");
    assert_eq!(wanted(&server).await, None);
}

#[tokio::test]
async fn confirmations_at_one_node_count_at_the_others() {
    for [one, other] in pairs_of_nodes(|_| {}).await {
        let (alice, _, game) = filled(&one).await;
        let here = alice.clone();
        for _ in 0..10 {
            confirms(&here, &game).await.expect(200);
            for node in [&one, &other] {
                rallypoint::jobs::tick(&node.app).await.unwrap();
            }
            one.clock.advance(Duration::from_secs(30));
            for node in [&other, &one] {
                rallypoint::jobs::tick(&node.app).await.unwrap();
            }
        }
        assert_eq!(backfill(&alice, &game).await, json!({ "backfill_id": ID }));
        let cached = other.app.sessions.get(&SessionId::parse(&game).unwrap()).await.unwrap();
        assert!(other.app.presence.is_backfill_confirmed(&cached).await.unwrap());
        // The timeout, and the time that confirmations take from node to node.
        one.clock.advance(Duration::from_secs(90));
        for node in [&other, &one] {
            rallypoint::jobs::tick(&node.app).await.unwrap();
        }
        assert_eq!(backfill(&alice, &game).await, Value::Null);
    }
}

#[tokio::test]
async fn after_a_restart_every_host_has_the_full_time_again() {
    let server = Server::over(Store::Memory(Memory::shared()), |_| {});
    let (alice, _, game) = filled(&server).await;
    server.clock.advance(Duration::from_secs(59));
    let restarted = server.another_node(server.app.sessions.store().clone());
    restarted.app.presence.watch_stored().await.unwrap();
    let alice = Client { server: restarted.clone(), ..alice };
    restarted.advance(Duration::from_secs(59)).await;
    assert_eq!(backfill(&alice, &game).await, json!({ "backfill_id": ID }));
    let lags = Duration::from_secs(20);
    restarted.advance(lags).await;
    assert_eq!(backfill(&alice, &game).await, Value::Null);
}

#[tokio::test]
async fn the_end_of_a_session_leaves_no_backfill_behind() {
    let server = Server::over(Store::Memory(Memory::default()), |_| {});
    let (alice, _, game) = filled(&server).await;
    alice.delete(&format!("/v1/session/{game}")).await.expect(204);
    let stored = contents(&server).await;
    assert!(!stored.keys().any(|key| keys::parse_backfill("4v4", key).is_some()));
}
