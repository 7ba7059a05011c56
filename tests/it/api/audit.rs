//! The audit: events of changes, events that callers report, and who may read them.

use std::time::Duration;

use rallypoint::config::Config;
use rallypoint::domain::SessionId;
use rallypoint::domain::template::Visibility;
use rallypoint::records::keys;
use rallypoint::store::{Batch, Key};
use serde_json::{Value, json};

use super::matches::{FILE, match_of_player, with_matches};
use super::queue;
use crate::harness::{Client, Reply, Server, player_permissions};

/// The names of the events of a page, each with its player, in the order of `players`.
fn names(page: &Reply, players: &[&Client]) -> Vec<String> {
    let number = |player: &Value| {
        let position = players.iter().position(|client| json!(client.player) == *player);
        position.map_or_else(|| player.to_string(), |position| position.to_string())
    };
    let name = |event: &Value| match event.get("player_uuid") {
        Some(player) => format!("{} {}", event["event_name"].as_str().unwrap(), number(player)),
        None => event["event_name"].as_str().unwrap().to_owned(),
    };
    page.body["events"].as_array().unwrap().iter().map(name).collect()
}

async fn events_of(client: &Client, session: &str) -> Reply {
    client.get(&format!("/v1/audit?session_id={session}")).await.expect(200)
}

#[tokio::test]
async fn every_change_has_its_events_and_a_refused_one_has_none() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let path = format!("/v1/session/{session}");
    alice.invites(&session, &bob).await.expect(200);
    bob.joins(&session).await.expect(200);
    bob.delete(&path).await.refused(403, "not_session_leader");
    alice.session(&session).await;
    bob.leaves(&session).await.expect(204);
    alice.leaves(&session).await.expect(204);
    let reader = server.service(&["session-audit:read:all"]);
    let page = events_of(&reader, &session).await;
    let expected = [
        "session.created",
        "player.joined 0",
        "player.invited 1",
        "player.joined 1",
        "player.left 1",
        "player.left 0",
        "session.ended",
    ];
    assert_eq!(names(&page, &[&alice, &bob]), expected);
    let first = &page.body["events"][0];
    assert_eq!((&first["session_id"], &first["session_type"]), (&json!(session), &json!("party")));
    assert_eq!(first["requesting_user_uuid"], json!(alice.player));
    assert_eq!(first["event_datetime"].as_str().unwrap().len(), "2026-11-24T12:00:00.125Z".len());
    assert_eq!(page.body["events"][6]["reason"], json!("empty"));
}

#[tokio::test]
async fn joining_and_leaving_queues_are_events() {
    let server = queue::server();
    let (alice, bob, session) = queue::party_of_two(&server).await;
    let reader = server.service(&["session-audit:read:all"]);
    let before = events_of(&reader, &session).await.body["events"].as_array().unwrap().len();
    let ticket = queue::joins(&alice, &session, &["casual"]).await.expect(200).body["ticket_id"].clone();
    server.advance(Duration::from_secs(30)).await;
    bob.leaves(&session).await.expect(204);
    let page = events_of(&reader, &session).await;
    let events = &page.body["events"].as_array().unwrap()[before..];
    assert_eq!(names(&page, &[&alice, &bob])[before..], ["queue.joined", "player.left 1", "queue.left"]);
    let fields = |event: &Value| (event["queue_id"].clone(), event["ticket_id"].clone());
    assert_eq!(fields(&events[0]), (json!("casual"), ticket.clone()));
    assert_eq!(fields(&events[2]), (json!("casual"), ticket));
    assert_eq!(events[0]["custom_data"]["players"], json!("2"));
    assert_eq!(events[2]["reason"], json!("party_changed"));
    assert_eq!(events[2]["ticket_wait_seconds"], json!(30));
}

/// Duels of players whose skills differ by 10 at most, on an instance of a template.
fn with_rated_duels(config: &mut Config) {
    with_matches(config);
    let profile = "[match_making_profiles.duel]\n\
        fields = [{ name = \"skill\", widen = [{ after_s = 0, value = 10.0 }] }]\n\
        instance_request_template_id = \"00000000-0000-4000-8000-0000000000c1\"\n";
    let file = FILE.replace("[match_making_profiles.duel]\n", profile);
    config.match_making_profiles = Config::parse(&file, "test", &[]).unwrap().match_making_profiles;
}

#[tokio::test]
async fn a_match_tells_how_good_it_is_and_what_it_was_made_of() {
    let server = Server::with(with_rated_duels);
    let mut parties = Vec::new();
    for skill in [0.0, 4.0] {
        let player = server.player();
        let party = player.creates("party").await;
        let body =
            json!({ "queue_id": "duel", "additional_join_params": { "double_args": { "skill": skill } } });
        player.post(&queue::queue(&party), &body).await.expect(200);
        parties.push((player, party));
    }
    server.advance(Duration::from_secs(1)).await;
    let session = match_of_player(&parties[0].0).await.expect("a match");
    let reader = server.service(&["session-audit:read:all"]);
    let events = events_of(&reader, &session).await.body["events"].as_array().unwrap().clone();
    let found = |name: &str| events.iter().find(|event| event["event_name"] == name).unwrap();
    let made = found("match.created");
    assert_eq!(made["match_making_profile_id"], "duel");
    assert_eq!(made["custom_data"], json!({ "rank_quality": "0.4" }));
    let template = &found("instance.requested")["instance_request_template"];
    assert_eq!(template, "00000000-0000-4000-8000-0000000000c1");
    for (player, party) in &parties {
        let invite = events.iter().find(|event| event["player_uuid"] == json!(player.player)).unwrap();
        assert_eq!(
            (&invite["source"], &invite["invited_session_id"]),
            (&json!("MATCHMAKING"), &json!(party))
        );
        let of_party = events_of(&reader, party).await.body["events"].as_array().unwrap().clone();
        let left = of_party.last().unwrap();
        assert_eq!((&left["event_name"], &left["reason"]), (&json!("queue.left"), &json!("assigned")));
        assert_eq!(left["match_id"], made["match_id"]);
    }
    let waits = events_of(&parties[0].0, &parties[0].1).await;
    assert_eq!(waits.body["events"].as_array().unwrap().len(), 4, "created, joined, queued, matched");
}

#[tokio::test]
async fn events_are_read_by_session_by_player_and_by_both() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let (one, other) = (alice.creates("party").await, alice.creates("party").await);
    alice.opens(&one).await;
    bob.joins(&one).await.expect(200);
    let of = async |client: &Client, query: String| client.get(&format!("/v1/audit?{query}")).await;
    let own = of(&bob, format!("player_uuid={}", bob.player)).await.expect(200);
    assert_eq!(names(&own, &[&alice, &bob]), ["player.joined 1"]);
    let both = format!("session_id={other}&player_uuid={}", alice.player);
    assert_eq!(names(&of(&alice, both).await.expect(200), &[&alice]), ["player.joined 0"]);
    // Bob is active in the one session, and may read of Alice there.
    let in_one = format!("session_id={one}&player_uuid={}", alice.player);
    assert_eq!(names(&of(&bob, in_one).await.expect(200), &[&alice]), ["player.joined 0"]);
    let in_other = format!("session_id={other}&player_uuid={}", alice.player);
    of(&bob, in_other).await.refused(403, "not_active_in_session");
    of(&bob, format!("player_uuid={}", alice.player)).await.refused(403, "permission_denied");
    of(&bob, format!("session_id={other}")).await.refused(403, "not_active_in_session");
    of(&bob, "session_id=none".into()).await.refused(403, "not_active_in_session");
    let all = server.service(&["session:*"]);
    assert_eq!(of(&all, "session_id=none".into()).await.expect(200).body, json!({ "events": [] }));
    let players = server.service(&["session-player-audit:read:all"]);
    of(&players, format!("player_uuid={}", alice.player)).await.expect(200);
    of(&players, format!("session_id={one}")).await.refused(403, "permission_denied");
}

#[tokio::test]
async fn pages_stay_while_events_come() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let post = async |name: &str| {
        let event = json!({ "event_name": name, "session_id": session });
        alice.post("/v1/audit", &event).await.expect(200);
    };
    let page = async |number: usize| {
        let query = format!("/v1/audit?session_id={session}&page_size=2&page_num={number}");
        names(&alice.get(&query).await.expect(200), &[&alice])
    };
    post("a").await;
    post("b").await;
    let first = page(0).await;
    assert_eq!(first, ["session.created", "player.joined 0"]);
    assert_eq!(page(1).await, ["customer.a", "customer.b"]);
    post("c").await;
    assert_eq!((page(0).await, page(2).await), (first, vec!["customer.c".to_owned()]));
    assert_eq!((page(3).await, page(5_001).await), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn dates_limit_a_read() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let created = server.clock.now();
    server.advance(Duration::from_secs(60)).await;
    alice.post("/v1/audit", &json!({ "event_name": "later", "session_id": session })).await.expect(200);
    let count = async |query: String| {
        let path = format!("/v1/audit?session_id={session}&{query}");
        alice.get(&path).await.expect(200).body["events"].as_array().unwrap().len()
    };
    let (s, ms) = (created.as_second(), created.as_millisecond());
    assert_eq!(count(format!("start_date={}", s + 30)).await, 1);
    assert_eq!(count(format!("end_date={}", s + 30)).await, 2);
    assert_eq!(count(format!("start_date={ms}")).await, 3);
    assert_eq!(count(format!("end_date={ms}")).await, 0, "the end is excluded");
    assert_eq!(count("start_date=2000-01-01T00:00:00%2B02:00&end_date=2999-01-01T00:00:00Z".into()).await, 3);
    for wrong in ["2000-01-01T00:00:00", "yesterday", ""] {
        let path = format!("/v1/audit?session_id={session}&start_date={wrong}");
        alice.get(&path).await.invalid(&[(json!(["query", "start_date"]), "value_error.datetime")]);
    }
    alice.get("/v1/audit").await.invalid(&[(json!(["query", "session_id"]), "value_error.missing")]);
}

#[tokio::test]
async fn a_player_and_a_host_report_events() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let etag = alice.session(&session).await.etag();
    let event = json!({
        "event_name": "join_instance", "session_id": session, "player_uuid": alice.player, "reason": "accepted",
        "custom_data": { "map": "Dunes" }, "instance_id": "i", "match_id": "m", "ticket_wait_seconds": 3,
        "additional_params": { "double_args": { "skill": 1.5 } }, "client_settings": { "input": "gamepad", "platform": "Steam" },
        "join_params": { "public_conn_str": "203.0.113.7", "private_conn_str": "", "custom_data": { "token": "secret" } },
    });
    assert_eq!(alice.post("/v1/audit", &event).await.expect(200).body, json!({}));
    let host = server.service(&["session-audit:update:all"]);
    let of_two = json!({ "event_name": "x", "session_id": session, "players": [alice.player, bob.player, alice.player] });
    assert_eq!(host.post("/v1/audit", &of_two).await.expect(200).body, json!({}));
    assert_eq!(alice.session(&session).await.etag(), etag, "an event changes nothing");
    assert!(player_permissions().contains(&"session-audit:update:self"));

    let page = events_of(&alice, &session).await;
    let named = names(&page, &[&alice, &bob]);
    assert_eq!(named[2], "customer.join_instance 0");
    let mut of_players = named[3..].to_vec();
    of_players.sort();
    assert_eq!(of_players, ["customer.x 0", "customer.x 1"]);
    let reported = &page.body["events"][2];
    for (name, value) in event.as_object().unwrap() {
        if !["event_name", "join_params"].contains(&name.as_str()) {
            let has = reported[name] == *value || name == "additional_params";
            assert!(has, "{name}: {}", reported[name]);
        }
    }
    assert_eq!(reported["additional_params"]["double_args"], json!({ "skill": 1.5 }));
    assert!(!page.body.to_string().contains("secret") && !page.body.to_string().contains("203.0.113.7"));
    assert_eq!(reported["requesting_user_uuid"], json!(alice.player));
    let of_bob = bob.get(&format!("/v1/audit?player_uuid={}", bob.player)).await.expect(200);
    assert_eq!(names(&of_bob, &[&alice, &bob]), ["customer.x 1"]);
}

#[tokio::test]
async fn a_stranger_reports_nothing_and_nobody_too_much() {
    let server = Server::with(|config| config.audit.customer_events_per_session_max = 3);
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let event = |players: &[&Client]| {
        let players: Vec<_> = players.iter().map(|client| client.player).collect();
        json!({ "event_name": "x", "session_id": session, "players": players })
    };
    bob.post("/v1/audit", &event(&[])).await.refused(403, "not_active_in_session");
    let players = server.service(&["session-player-audit:update:all"]);
    players.post("/v1/audit", &event(&[&alice, &bob])).await.expect(200);
    players.post("/v1/audit", &event(&[])).await.refused(403, "permission_denied");
    alice.post("/v1/audit", &event(&[])).await.expect(200);
    alice.post("/v1/audit", &event(&[])).await.refused(403, "audit_full");
    let large = json!({ "event_name": "x", "session_id": session, "reason": "r".repeat(70_000) });
    assert_eq!(alice.post("/v1/audit", &large).await.status.as_u16(), 413);
}

#[tokio::test]
async fn reports_are_limited_by_day_and_refused_as_a_whole() {
    let server = Server::with(|config| {
        config.audit.customer_events_per_session_max = 4;
        config.sessions.idle_s = 2 * 86_400;
    });
    let (alice, bob) = (server.lasting_player(), server.lasting_player());
    let [session, other] = [alice.creates("party").await, alice.creates("party").await];
    let report = |session: &str, players: &[&Client], reason: &str| {
        let players: Vec<_> = players.iter().map(|client| client.player).collect();
        json!({ "event_name": "x", "session_id": session, "players": players, "reason": reason })
    };
    let posts = async |event: Value| alice.post("/v1/audit", &event).await;
    posts(report(&session, &[&alice, &bob], "")).await.expect(200);
    posts(report(&session, &[], "")).await.expect(200);
    // There is place for one event, and not for two.
    posts(report(&session, &[&alice, &bob], "")).await.refused(403, "audit_full");
    posts(report(&session, &[&bob], "")).await.expect(200);
    posts(report(&session, &[], "")).await.refused(403, "audit_full");
    let reported = |page: &Reply| names(page, &[&alice, &bob]).split_off(2);
    let of_session = reported(&events_of(&alice, &session).await);
    assert_eq!(of_session, ["customer.x 0", "customer.x 1", "customer.x", "customer.x 1"]);
    // Each session has a limit of its own, and as many KiB.
    posts(report(&other, &[], &"r".repeat(3_000))).await.expect(200);
    posts(report(&other, &[], &"r".repeat(1_500))).await.refused(403, "audit_full");
    posts(report(&other, &[], "")).await.expect(200);
    // The clock of the tests begins at noon.
    for (hours, status) in [(11, 403), (1, 200)] {
        server.clock.advance(Duration::from_secs(hours * 3_600));
        assert_eq!(posts(report(&session, &[], "")).await.status, status);
    }
}

#[tokio::test]
async fn with_the_audit_off_nothing_is_stored() {
    let server = Server::with(|config| config.audit.enabled = false);
    let alice = server.player();
    let session = alice.creates("party").await;
    let event = json!({ "event_name": "x", "session_id": session });
    alice.post("/v1/audit", &event).await.expect(200);
    assert_eq!(events_of(&alice, &session).await.body, json!({ "events": [] }));
}

#[tokio::test]
async fn old_events_are_deleted() {
    let server = Server::with(|config| config.audit.keep_days = 1);
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.post("/v1/audit", &json!({ "event_name": "x", "session_id": session })).await.expect(200);
    alice.leaves(&session).await.expect(204);
    let reader = server.service(&["session:*"]);
    let path = format!("/v1/audit?player_uuid={}", alice.player);
    assert_eq!(reader.get(&path).await.expect(200).body["events"].as_array().unwrap().len(), 2);
    server.advance(Duration::from_secs(2 * 86_400)).await;
    let reader = server.service(&["session:*"]);
    assert_eq!(reader.get(&path).await.expect(200).body, json!({ "events": [] }));
    assert_eq!(events_of(&reader, &session).await.body, json!({ "events": [] }));
    for (start, end) in [keys::all_events(), keys::all_events_of_players(), keys::all_posted_events()] {
        assert_eq!(server.app.sessions.store().scan(&start, &end, 1).await.unwrap(), []);
    }
}

#[tokio::test]
async fn unreadable_events_are_left_out_and_go_in_time() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let store = server.app.sessions.store();
    let rows = async |(start, end): (Key, Key)| store.scan(&start, &end, 9).await.unwrap();
    for (key, _) in rows(keys::all_events()).await {
        store.commit(Batch::default().put(key, "damaged")).await.unwrap();
    }
    store
        .commit(Batch::default().put(keys::posted_events(&SessionId::parse(&session).unwrap()), "x"))
        .await
        .unwrap();
    alice.post("/v1/audit", &json!({ "event_name": "x", "session_id": session })).await.expect(200);
    assert_eq!(names(&events_of(&alice, &session).await, &[&alice]), ["customer.x"]);
    server.advance(Duration::from_secs(9 * 86_400)).await;
    assert_eq!(rows(keys::all_events_of_players()).await, []);
}

#[tokio::test]
async fn events_show_only_players_whom_the_session_shows() {
    let server = Server::with(|config| {
        let party = config.templates.get_mut("party").unwrap();
        party.player_visibility = Visibility::Oneself;
    });
    let (alice, bob, session) = queue::party_of_two(&server).await;
    let of_bob = names(&events_of(&bob, &session).await, &[&alice, &bob]);
    assert_eq!(of_bob, ["session.created", "player.invited 1", "player.joined 1"]);
    let all = server.service(&["session-audit:read:all"]);
    assert_eq!(names(&events_of(&all, &session).await, &[&alice, &bob]).len(), 4);
}

#[tokio::test]
async fn a_small_change_of_a_large_session_stores_little() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("party").await;
    let large = json!({ "custom_data": { "a": "x".repeat(4_000), "b": "y".repeat(4_000) } });
    alice.patch(&format!("/v1/session/{session}"), &large).await.expect(200);
    let (start, end) = keys::all_events();
    let rows = server.app.sessions.store().scan(&start, &end, 9).await.unwrap();
    assert!(rows.iter().all(|(_, entry)| entry.value.len() < 2_000));
    assert_eq!(names(&events_of(&alice, &session).await, &[&alice]).last().unwrap(), "session.updated");
}

#[tokio::test]
async fn an_event_is_checked_in_order() {
    let server = Server::new();
    let alice = server.player();
    let post = async |body| alice.post("/v1/audit", &body).await;
    server
        .service(&["session:read:any"])
        .post("/v1/audit", &json!({}))
        .await
        .refused(403, "permission_denied");
    let own = server.service(&["session-audit:update:self"]);
    own.post("/v1/audit", &json!({})).await.refused(403, "player_required");
    post(json!({})).await.invalid(&[
        (json!(["body", "event_name"]), "value_error.missing"),
        (json!(["body", "session_id"]), "value_error.missing"),
    ]);
    post(json!({ "event_name": "x".repeat(129), "session_id": "" })).await.invalid(&[
        (json!(["body", "event_name"]), "value_error.any_str.max_length"),
        (json!(["body", "session_id"]), "value_error.any_str.min_length"),
    ]);
    let unknown = json!({ "event_name": "x".repeat(128), "session_id": "none" });
    post(unknown).await.refused(404, "session_not_found");
}

#[tokio::test]
async fn a_backfill_is_to_be_confirmed_every_20_seconds() {
    let server = Server::new();
    let config = server.player().get("/v1/backfill/config").await.expect(200);
    assert_eq!(config.body, json!({ "timeout": 20.0 }));
}
