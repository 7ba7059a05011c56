//! Waiting for a change of what a GET shows, with `Prefer: wait`.

use std::time::Duration;

use http::Method;
use rallypoint::api;
use rallypoint::config::Config;
use rallypoint::domain::instance::HostType;
use rallypoint::domain::instance::template::InstanceTemplate;
use rallypoint::domain::matchmaking::{Profile, TemplateGroup};
use rallypoint::domain::{CustomData, Platform};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, yield_now};
use uuid::Uuid;

use crate::harness::wire::{self, Listener, Wire};
use crate::harness::{Client, Reply, Server, XBOX_ID, pairs_of_nodes, platform_path};

/// Sends a GET that waits for up to 30 seconds, and returns once it is held.
pub async fn wait(caller: &Client, path: &str, etag: &str) -> JoinHandle<Reply> {
    caller.server.hears_other_nodes().await;
    let before = caller.server.held();
    let waiting = send(caller, path, &[("if-none-match", etag), ("prefer", "wait=30")]);
    while caller.server.held() == before {
        assert!(!waiting.is_finished(), "{path} was not held: {:?}", waiting.await);
        yield_now().await;
    }
    // It looks once after it is held.
    caller.server.waits_settle().await;
    waiting
}

pub fn send(caller: &Client, path: &str, headers: &[(&str, &str)]) -> JoinHandle<Reply> {
    let (caller, path) = (caller.clone(), path.to_owned());
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    tokio::spawn(async move {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        caller.send(Method::GET, &path, &headers, None).await
    })
}

/// Lets the clock run to the end of every wait.
pub async fn until_the_end(server: &Server) {
    server.advance(Duration::from_secs(30)).await;
}

pub fn session_path(session: &str) -> String {
    format!("/v1/session/{session}")
}

/// The wait that an answer grants; `None` if it grants none.
pub fn granted(reply: &Reply) -> Option<&str> {
    reply.headers.get("preference-applied").map(|value| value.to_str().unwrap())
}

/// Alice leads an open game, and bob is in it.
pub async fn game(server: &Server) -> (Client, Client, String) {
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    alice.opens(&game).await;
    bob.joins(&game).await.expect(200);
    (alice, bob, game)
}

#[tokio::test]
async fn a_wait_is_answered_by_the_next_change() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let known = alice.session(&game).await;
    let waiting = wait(&alice, &session_path(&game), &known.etag()).await;
    assert!(!waiting.is_finished());
    bob.leaves(&game).await.expect(204);
    let answer = waiting.await.unwrap().expect(200);
    let now = alice.session(&game).await;
    assert_eq!((&answer.body, answer.etag()), (&now.body, now.etag()));
    assert_ne!(answer.etag(), known.etag());
    assert_eq!(granted(&answer), Some("wait=30"));
    assert_eq!(answer.headers["vary"], "prefer");
    assert_eq!(server.held(), 0);
}

#[tokio::test]
async fn without_a_change_a_wait_ends_with_304() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let known = alice.session(&game).await.etag();
    let waiting = wait(&alice, &session_path(&game), &known).await;
    server.advance(Duration::from_secs(27)).await;
    server.waits_settle().await;
    assert!(!waiting.is_finished(), "it ends at most 1/16 early");
    // Not later: four seconds after its end, a wait whose last look takes that long is given up.
    server.advance(Duration::from_secs(3)).await;
    let answer = waiting.await.unwrap().expect(304);
    assert_eq!((answer.etag(), granted(&answer)), (known, Some("wait=30")));
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_answered_at_once() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let path = session_path(&game);
    let etag = alice.session(&game).await.etag();
    let answer = |headers: &[(&str, &str)]| send(&alice, &path, headers);
    let has_news = answer(&[("if-none-match", "\"old\""), ("prefer", "wait=30")]).await.unwrap().expect(200);
    assert_eq!(granted(&has_news), Some("wait=30"));
    let cut = answer(&[("if-none-match", "\"old\""), ("prefer", "wait=9999")]).await.unwrap().expect(200);
    assert_eq!(granted(&cut), Some("wait=55"));
    for (headers, status) in [
        (&[("prefer", "wait=30")][..], 200),
        (&[("if-none-match", "*"), ("prefer", "wait=30")], 304),
        (&[("if-none-match", &etag), ("prefer", "wait=0")], 304),
        (&[("if-none-match", &etag), ("prefer", "wait=-1")], 304),
        (&[("if-none-match", &etag)], 304),
    ] {
        assert_eq!(granted(&answer(headers).await.unwrap().expect(status)), None, "{headers:?}");
    }
    let nowhere = send(&alice, &session_path("nowhere"), &[("if-none-match", &etag), ("prefer", "wait=30")]);
    nowhere.await.unwrap().refused(404, "session_not_found");
    let regions = send(&alice, "/v1/regions", &[("if-none-match", "\"x\""), ("prefer", "wait=30")]);
    assert_eq!(granted(&regions.await.unwrap().expect(200)), None, "regions have no ETag");
}

#[tokio::test]
async fn a_kick_ends_every_wait_on_the_session() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    alice.links(&game).await.expect(200);
    let session = session_path(&game);
    let xbox = platform_path("XboxLive", XBOX_ID);
    let rights = format!("{session}/player/{}/permission", bob.player);
    let list = "/v1/player/me/session".to_owned();
    let mut waits = Vec::new();
    for path in [&session, &xbox, &rights, &list] {
        let etag = bob.get(path).await.expect(200).etag();
        waits.push(wait(&bob, path, &etag).await);
    }
    alice.kicks(&game, &bob).await.expect(204);
    let mut answers = Vec::new();
    for waiting in waits {
        answers.push(waiting.await.unwrap());
    }
    let [session, xbox, rights, list] = answers.try_into().unwrap();
    assert_eq!(session.body, bob.session(&game).await.expect(200).body, "the view of a stranger");
    xbox.refused(403, "not_active_in_session");
    rights.refused(403, "not_active_in_session");
    assert_eq!(list.expect(200).body["sessions"], json!({}));
}

#[tokio::test]
async fn the_end_of_a_session_ends_every_wait_on_it() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let etag = bob.session(&game).await.etag();
    let by_member = wait(&bob, &session_path(&game), &etag).await;
    let stranger = server.player();
    let etag = stranger.session(&game).await.etag();
    let by_stranger = wait(&stranger, &session_path(&game), &etag).await;
    alice.delete(&session_path(&game)).await.expect(204);
    by_member.await.unwrap().refused(404, "session_not_found");
    by_stranger.await.unwrap().refused(404, "session_not_found");
}

#[tokio::test]
async fn a_change_that_the_caller_does_not_see_does_not_end_the_wait() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let instance = format!("{}/instance", session_path(&game));
    alice.post(&instance, &json!({"host_type": "player"})).await.expect(200);
    let at = |address: &str| json!({"join_params": {"public_conn_str": address, "private_conn_str": ""}});
    alice.patch(&instance, &at("here")).await.expect(200);
    let stranger = server.player();
    let by_member = wait(&bob, &session_path(&game), &bob.session(&game).await.etag()).await;
    let by_stranger = wait(&stranger, &session_path(&game), &stranger.session(&game).await.etag()).await;
    alice.patch(&instance, &at("there")).await.expect(200);
    by_member.await.unwrap().expect(200);
    server.waits_settle().await;
    assert!(!by_stranger.is_finished(), "strangers do not see how to connect");
    bob.leaves(&game).await.expect(204);
    by_stranger.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_wait_tells_nothing_new_after_the_end_of_its_token() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let known = bob.session(&game).await.etag();
    // Tokens are valid for an hour, and 5 seconds of leeway.
    server.clock.advance(Duration::from_secs(3_590));
    let waiting = wait(&bob, &session_path(&game), &known).await;
    server.advance(Duration::from_secs(14)).await;
    server.waits_settle().await;
    assert!(!waiting.is_finished());
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(waiting.await.unwrap().expect(304).etag(), known);
    drop(alice);
    assert_eq!(bob.session(&game).await.expect(403).body["error_code"], "token_invalid");
}

#[tokio::test]
async fn a_wait_keeps_its_player_present_and_its_session_alive() {
    let change = |config: &mut Config| {
        config.templates.get_mut("game").unwrap().player_culling_timeout = Some(20);
        config.sessions.idle_s = 60;
    };
    let server = Server::with(change);
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    let path = session_path(&game);
    for _ in 0..10 {
        let etag = alice.session(&game).await.expect(200).etag();
        let waiting = wait(&alice, &path, &etag).await;
        for _ in 0..30 {
            server.advance(Duration::from_secs(1)).await;
            server.waits_settle().await;
        }
        waiting.await.unwrap().expect(304);
    }
    assert_eq!(
        alice.session(&game).await.expect(200).body["teams"][0]["players"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_player_holds_a_limited_number_of_waits() {
    let server = Server::with(|config| config.wait.per_player_max = 2);
    let (alice, bob, game) = game(&server).await;
    let path = session_path(&game);
    let etag = alice.session(&game).await.etag();
    let held = [wait(&alice, &path, &etag).await, wait(&alice, &path, &etag).await];
    let third = send(&alice, &path, &[("if-none-match", &etag), ("prefer", "wait=30")]).await.unwrap();
    assert_eq!(granted(&third.expect(304)), None, "the client polls as before");
    let of_bob = wait(&bob, &path, &bob.session(&game).await.etag()).await;
    alice.patch(&path, &json!({"joinability": {"open": false}})).await.expect(200);
    for waiting in held.into_iter().chain([of_bob]) {
        waiting.await.unwrap().expect(200);
    }
    let again = wait(&alice, &path, &alice.session(&game).await.etag()).await;
    again.abort();
}

#[tokio::test]
async fn a_node_holds_a_limited_number_of_waits() {
    let server = Server::with(|config| config.wait.waits_max = Some(1));
    let (alice, bob, game) = game(&server).await;
    let path = session_path(&game);
    let etag = alice.session(&game).await.etag();
    let held = wait(&alice, &path, &etag).await;
    let refused = send(&bob, &path, &[("if-none-match", &etag), ("prefer", "wait=30")]).await.unwrap();
    assert_eq!(granted(&refused.expect(304)), None);
    held.abort();
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(server.held(), 0);
}

/// Sends a GET of a session on a connection that waits, and returns once it is held.
async fn wait_on(wire: &mut Wire, caller: &Client, game: &str) {
    caller.server.hears_other_nodes().await;
    let etag = caller.session(game).await.etag();
    let headers = format!("if-none-match: {etag}\r\nprefer: wait=30\r\n");
    wire.send(wire::get(&session_path(game), caller, &headers)).await;
    holds(&caller.server, 1).await;
}

/// Waits until the server holds this many waits.
async fn holds(server: &Server, waits: usize) {
    while server.held() != waits {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_wait_of_a_closed_connection_ends() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let listener = Listener::start(&server).await;
    let mut wire = listener.connect().await;
    wait_on(&mut wire, &alice, &game).await;
    drop(wire);
    holds(&server, 0).await;
    listener.serves(0).await;
}

#[tokio::test]
async fn a_client_that_closes_its_side_still_gets_its_answer() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let listener = Listener::start(&server).await;
    let mut wire = listener.connect().await;
    wait_on(&mut wire, &alice, &game).await;
    wire.finish().await;
    wire.answer().await.expect(304);
}

#[tokio::test]
async fn a_request_behind_a_wait_is_answered_after_it() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let listener = Listener::start(&server).await;
    let mut wire = listener.connect().await;
    for _ in 0..2 {
        wait_on(&mut wire, &alice, &game).await;
        wire.send(wire::get("/v1/template", &alice, "")).await;
        bob.leaves(&game).await.expect(204);
        let changed = wire.answer().await.expect(200);
        assert_eq!(changed.body["session_id"], json!(game));
        assert!(wire.answer().await.expect(200).body["templates"].is_object());
        bob.joins(&game).await.expect(200);
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_every_wait() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let path = session_path(&game);
    let etag = alice.session(&game).await.etag();
    let held = [wait(&alice, &path, &etag).await, wait(&alice, &path, &etag).await];
    for node in server.nodes() {
        node.app.waits.drain();
    }
    let late = send(&alice, &path, &[("if-none-match", &etag), ("prefer", "wait=30")]).await.unwrap();
    assert_eq!(granted(&late.expect(304)), None, "none is taken any more");
    server.advance(Duration::from_secs(3)).await;
    for waiting in held {
        waiting.await.unwrap().expect(304);
    }
}

#[tokio::test]
async fn every_operation_that_says_so_can_be_waited_on() {
    let template = Uuid::from_u128(7);
    let server = Server::with(|config| {
        config.match_making_template_groups.insert(template, TemplateGroup::default());
        config.match_making_profiles.insert("a".into(), Profile::default());
        let all = InstanceTemplate {
            default_host_type: HostType::Dedicated,
            map_selection_list_id: "all".into(),
            maps: Vec::new(),
            custom_data: CustomData::new(),
        };
        config.instance_templates.insert(template, all);
    });
    let alice = server.player_with(Some(Platform::XboxLive), &["session:*"]);
    let game = alice.creates("game").await;
    alice.links(&game).await.expect(200);
    let instance = format!("{}/instance", session_path(&game));
    alice.post(&instance, &json!({})).await.expect(200);
    alice.patch(&instance, &json!({"allocation_id": "a1"})).await.expect(200);
    let values = [
        ("{session_id}", game),
        ("{player_uuid}", alice.player.to_string()),
        ("{platform}", "XboxLive".into()),
        ("{platform_session_id_base64}", XBOX_ID.into()),
        ("{session_type}", "game".into()),
        ("{allocation_id}", "a1".into()),
        ("{instance_request_template_id}", template.to_string()),
        ("{instance_launch_template_id}", template.to_string()),
        ("{template_group_id}", template.to_string()),
        ("{match_making_profile_id}", "a".into()),
    ];
    let operations: Vec<_> =
        api::surface().operations.into_iter().filter(|operation| operation.can_wait).collect();
    assert_eq!(operations.len(), 20);
    for operation in operations {
        let mut path = operation.path.to_owned();
        for (name, value) in &values {
            path = path.replace(name, value);
        }
        if operation.id == "get_browser_sessions_by_type" {
            path += "?session_type=game&cursor=0";
        }
        let etag = alice.get(&path).await.expect(200).etag();
        wait(&alice, &path, &etag).await.abort();
        server.waits_settle().await;
    }
}

#[tokio::test]
async fn a_wait_by_a_short_code_goes_on_without_it() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let path = format!("{}:generate-short-code", session_path(&game));
    let code = alice.post(&path, &Value::Null).await.expect(200);
    let path = session_path(code.body["short_code"].as_str().unwrap());
    let waiting = wait(&alice, &path, &alice.get(&path).await.etag()).await;
    bob.leaves(&game).await.expect(204);
    waiting.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_wait_looks_for_changes_by_other_nodes() {
    for [node, other] in pairs_of_nodes(|_| {}).await {
        let alice = node.player();
        let game = alice.creates("game").await;
        let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
        let at_other = Client { server: other.clone(), ..alice.clone() };
        at_other.patch(&session_path(&game), &json!({"joinability": {"open": false}})).await.expect(200);
        // 20 seconds of the test's clock: more than a round of the sweep, and less than the wait.
        for _ in 0..2_000 {
            node.clock.advance(Duration::from_millis(10));
            node.app.waits.wake_due();
            node.app.invalidations.sweep().await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            if waiting.is_finished() {
                break;
            }
        }
        assert!(waiting.is_finished());
        waiting.await.unwrap().expect(200);
    }
}
