//! Which events each changing operation writes, as a snapshot. What is refused writes none, and no event has a secret.

use std::fmt::Write as _;

use bytes::Bytes;
use expect_test::expect_file;
use http::Method;
use rallypoint::api;
use rallypoint::http::operation::Operation;
use rallypoint::records::audit::decode;
use rallypoint::records::keys;
use rallypoint::store::Key;
use serde_json::{Value, json};

use super::changes::{SECRET, Scenario, World};
use crate::harness::{Client, Reply, Server};

/// What every event says, or what its line says in another way.
const NOT_LISTED: [&str; 8] = [
    "event_name",
    "session_id",
    "session_type",
    "event_datetime",
    "requesting_user_uuid",
    "region_id",
    "player_uuid",
    "reason",
];

/// The stored events of all changes.
async fn stored(server: &Server) -> Vec<(Key, Bytes)> {
    let (start, end) = keys::all_events();
    let found = server.app.sessions.store().scan(&start, &end, usize::MAX).await.unwrap();
    found.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

async fn send(caller: &Client, scenario: &Scenario<'_>, headers: &[(&str, &str)]) -> Reply {
    let Scenario { method, path, body, .. } = scenario;
    let body = (!body.is_null()).then(|| body.to_string().into());
    caller.send(method.clone(), path, headers, body).await
}

/// Every operation of the API that is no read.
fn changing() -> impl Iterator<Item = Operation> {
    api::surface().operations.into_iter().filter(|operation| operation.method != Method::GET)
}

/// The line of an event in the snapshot.
fn line(world: &World, event: &Value) -> String {
    let players =
        [("alice", &world.alice), ("bob", &world.bob), ("carol", &world.carol), ("dave", &world.dave)];
    let mut line =
        String::from(if event["session_id"] == json!(world.game) { "" } else { "(another session) " });
    line += event["event_name"].as_str().unwrap();
    if let Some(player) = event.get("player_uuid") {
        let named = players.into_iter().find(|(_, client)| json!(client.player) == *player);
        write!(line, " of {}", named.expect("a player of the scenario").0).unwrap();
    }
    if let Some(reason) = event["reason"].as_str() {
        write!(line, " because {reason}").unwrap();
    }
    let fields = event.as_object().unwrap().keys().filter(|name| !NOT_LISTED.contains(&name.as_str()));
    let fields: Vec<_> = fields.map(String::as_str).collect();
    if !fields.is_empty() {
        write!(line, ": {}", fields.join(", ")).unwrap();
    }
    line
}

/// The lines of the events that an operation writes. Checks what all of them have in common.
async fn lines_of(operation: &Operation) -> Vec<String> {
    let id = operation.id;
    let world = World::new().await;
    let scenario = world.scenario(id).await;
    let before = stored(&world.server).await;
    let reply = send(scenario.caller, &scenario, &[]).await;
    assert_eq!(reply.status, operation.success, "{id}: {}", reply.body);
    let after = stored(&world.server).await;
    for (_, value) in &after {
        let text = String::from_utf8(value.to_vec()).unwrap();
        assert!(!text.contains(SECRET) && !text.contains("join_params"), "{id}: {text}");
    }
    let written = after.iter().filter(|change| !before.contains(change));
    let mut events: Vec<Value> = written.flat_map(|(_, value)| decode(value, None).unwrap()).collect();
    events.sort_by_key(|event| event["session_id"] != json!(world.game));
    let player = scenario.caller.player;
    let requester = if player.is_nil() { None } else { Some(json!(player)) };
    for event in &events {
        assert_eq!(event.get("requesting_user_uuid").cloned(), requester, "{id}: {event}");
    }
    events.iter().map(|event| line(&world, event)).collect()
}

#[tokio::test]
async fn each_operation_writes_the_events_of_the_snapshot() {
    let mut table = String::from(
        "# Which audit events each changing operation writes, with the fields that they have beyond the common ones.\n\
         # Rewritten by UPDATE_EXPECT=1 cargo test; read every change.\n",
    );
    for operation in changing() {
        let lines = lines_of(&operation).await;
        writeln!(table, "\n{} {} ({})", operation.method, operation.path, operation.id).unwrap();
        for line in if lines.is_empty() { vec!["none".to_owned()] } else { lines } {
            writeln!(table, "  {line}").unwrap();
        }
    }
    expect_file!["../audit_events.txt"].assert_eq(&table);
}

#[tokio::test]
async fn a_refused_request_writes_no_event() {
    for operation in changing() {
        let (id, world) = (operation.id, World::new().await);
        let scenario = world.scenario(id).await;
        let before = stored(&world.server).await;
        let nobody = world.server.player_with(None, &[]);
        send(&nobody, &scenario, &[]).await.refused(403, "permission_denied");
        if operation.takes_if_match {
            // The rule has run, and would have changed something.
            let other = [("if-match", "\"of-another-version\"")];
            send(scenario.caller, &scenario, &other).await.refused(412, "precondition_failed");
        }
        assert_eq!(stored(&world.server).await, before, "{id}");
        // A stranger may make some of these changes. What is refused is refused by a rule.
        let reply = send(&world.server.player(), &scenario, &[]).await;
        let is_refused = reply.status.is_client_error();
        assert!(!is_refused || stored(&world.server).await == before, "{id}: {}", reply.body);
    }
}
