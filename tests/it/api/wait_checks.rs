//! What a wait checks at each look, what it keeps alive, and how it ends.

use std::time::Duration;

use rallypoint::app::Update;
use rallypoint::auth::KeySet;
use rallypoint::domain::SessionId;
use rallypoint::domain::template::Visibility;
use serde_json::{Value, json};

use super::wait::{game, granted, send, session_path, until_the_end, wait};
use crate::harness::wire::{self, Listener};
use crate::harness::{Metrics, Reply, Server, action_path, until};
use crate::notifications::NOTIFICATION;

const LIST: &str = "/v1/player/me/session";

#[tokio::test]
async fn a_wait_whose_key_is_withdrawn_gets_no_document() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let waiting = wait(&alice, &session_path(&game), &alice.session(&game).await.etag()).await;
    for node in server.nodes() {
        node.ring.replace(KeySet::shared_secret("other", b"a secret of at least thirty-two bytes"));
    }
    server.waits_settle().await;
    assert!(!waiting.is_finished());
    let id = SessionId::parse(&game).unwrap();
    let change = |session: &mut rallypoint::domain::Session| {
        session.region_id = Some("eu".into());
        Ok(())
    };
    server.app.sessions.update(&id, Update::by_server(false), change).await.unwrap();
    let refused = waiting.await.unwrap().expect(403);
    assert_eq!(
        (&refused.body["error_code"], &refused.body["auth_success"]),
        (&json!("token_invalid"), &json!(false))
    );
}

#[tokio::test]
async fn a_wait_sleeps_through_changes_that_its_caller_does_not_see() {
    let server = Server::with(|config| {
        let game = config.templates.get_mut("game").unwrap();
        (game.player_visibility, game.num_teams) = (Visibility::Team, 2);
    });
    let (alice, bob, game) = game(&server).await;
    let [carol, dave] = [server.player(), server.player()];
    for player in [&carol, &dave] {
        // Later than bob: of players who join at the same moment, a random one is the scout, and bob sees who it is.
        server.clock.advance(Duration::from_millis(1));
        player.joins_team(&game, 1).await.expect(200);
    }
    let path = session_path(&game);
    alice.patch(&path, &json!({"password": "one"})).await.expect(200);
    let waiting = wait(&bob, &path, &bob.session(&game).await.etag()).await;
    let unchanged = async || Metrics::total(&server, "wakes_unchanged_total").await;
    let before = unchanged().await;
    dave.leaves(&game).await.expect(204);
    until(async || unchanged().await == before + 1).await;
    alice.patch(&path, &json!({"password": "another"})).await.expect(200);
    until(async || unchanged().await == before + 2).await;
    assert!(!waiting.is_finished());
    alice.patch(&path, &json!({"joinability": {"open": false}})).await.expect(200);
    waiting.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_health_report_that_turns_nothing_ends_no_wait() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let instance = format!("{}/instance", session_path(&game));
    alice.post(&instance, &json!({"instance_id": "i"})).await.expect(200);
    let host = server.service(&["session:instance:health"]);
    let report = async |health: &str| {
        let body = json!({"instance_health": health, "instance_id": "i"});
        host.post(&format!("{instance}/health"), &body).await.expect(200);
        server.waits_settle().await;
    };
    report("healthy").await;
    let listener = bob.on(NOTIFICATION);
    let long_poll = |query: &str| format!("/v1/player/me/stream/notification/lp?{query}");
    let all = listener.get(&long_poll("offset_reset_strategy=earliest&deadline=0")).await.expect(200);
    let next = format!("exclude_before={}&deadline=25", all.body["cursor"].as_str().unwrap());
    let waiting = wait(&bob, &session_path(&game), &bob.session(&game).await.etag()).await;
    let listening = send(&listener, &long_poll(&next), &[]);
    server.waits_settle().await;
    for _ in 0..5 {
        report("healthy").await;
    }
    assert!(!waiting.is_finished() && !listening.is_finished());
    report("degraded").await;
    assert_eq!(waiting.await.unwrap().expect(200).body["instance"]["instance_health"], json!("degraded"));
    let told = listening.await.unwrap().expect(200).body;
    assert_eq!(told["notifications"][0]["message"], json!("session_changed"), "{told}");
}

#[tokio::test]
async fn the_last_players_leave_ends_a_wait() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    bob.leaves(&game).await.expect(204);
    let stranger = server.player();
    let waiting = wait(&stranger, &session_path(&game), &stranger.session(&game).await.etag()).await;
    alice.leaves(&game).await.expect(204);
    waiting.await.unwrap().refused(404, "session_not_found");
}

#[tokio::test]
async fn a_wait_without_refresh_keeps_the_player_present_but_not_the_session_alive() {
    let server = Server::with(|config| {
        config.templates.get_mut("game").unwrap().player_culling_timeout = Some(20);
        config.sessions.idle_s = 120;
    });
    let alice = server.lasting_player();
    let game = alice.creates("game").await;
    let path = format!("{}?refresh_ttl=false", session_path(&game));
    for round in 0..20 {
        let known = alice.get(&path).await.expect(200);
        assert_eq!(known.body["teams"][0]["players"].as_array().unwrap().len(), 1);
        let waiting = wait(&alice, &path, &known.etag()).await;
        for _ in 0..30 {
            server.advance(Duration::from_secs(1)).await;
            server.waits_settle().await;
        }
        let ended = waiting.await.unwrap();
        if ended.status == 404 {
            assert!(round >= 3, "the session lives for its idle time");
            ended.refused(404, "session_not_found");
            return;
        }
        ended.expect(304);
    }
    panic!("the session has not ended");
}

/// Alice and bob are in a game and a party whose inactive players are removed after 20 seconds.
async fn impatient() -> (Server, [crate::harness::Client; 2], [String; 2]) {
    let server = Server::with(|config| {
        for session_type in ["game", "party"] {
            config.templates.get_mut(session_type).unwrap().player_culling_timeout = Some(20);
        }
        config.sessions.idle_s = 300;
    });
    let [alice, bob] = [server.lasting_player(), server.lasting_player()];
    let mut sessions = Vec::new();
    for session_type in ["game", "party"] {
        let session = alice.creates(session_type).await;
        alice.opens(&session).await;
        bob.joins(&session).await.expect(200);
        sessions.push(session);
    }
    (server, [alice, bob], sessions.try_into().unwrap())
}

/// The players of a session, as a service sees them.
async fn players(server: &Server, session: &str) -> String {
    let path = format!("{}?refresh_ttl=false", session_path(session));
    server.service(&["session:*"]).get(&path).await.expect(200).body["teams"].to_string()
}

#[tokio::test]
async fn reads_of_the_own_list_are_heartbeats_in_every_session() {
    let (server, [alice, bob], sessions) = impatient().await;
    let of_alice = format!("/v1/player/{}/session", alice.player);
    for _ in 0..4 {
        server.advance(Duration::from_secs(15)).await;
        alice.get(&of_alice).await.expect(200);
    }
    for session in &sessions {
        let players = players(&server, session).await;
        assert!(players.contains(&alice.player.to_string()) && !players.contains(&bob.player.to_string()));
    }
    let service = server.service(&["session:*"]);
    server.advance(Duration::from_secs(15)).await;
    service.get(&of_alice).await.expect(200);
    server.advance(Duration::from_secs(15)).await;
    for session in &sessions {
        service.get(&session_path(session)).await.refused(404, "session_not_found");
    }
}

#[tokio::test]
async fn a_wait_on_the_own_list_keeps_its_player_present() {
    let (server, [alice, bob], sessions) = impatient().await;
    let known = alice.get(LIST).await.etag();
    let waiting = wait(&alice, LIST, &known).await;
    for _ in 0..30 {
        server.advance(Duration::from_secs(1)).await;
        server.waits_settle().await;
    }
    waiting.await.unwrap().expect(304);
    for session in &sessions {
        let players = players(&server, session).await;
        assert!(players.contains(&alice.player.to_string()) && !players.contains(&bob.player.to_string()));
    }
}

#[tokio::test]
async fn the_own_list_keeps_no_session_alive() {
    let (server, [alice, _], sessions) = impatient().await;
    for _ in 0..25 {
        alice.get(LIST).await.expect(200);
        server.advance(Duration::from_secs(15)).await;
    }
    for session in &sessions {
        alice.session(session).await.refused(404, "session_not_found");
    }
}

#[tokio::test]
async fn a_wait_on_the_own_list_learns_of_an_invite() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let carol = server.player();
    let waiting = wait(&carol, LIST, &carol.get(LIST).await.etag()).await;
    alice.invites(&game, &carol).await.expect(200);
    let list = waiting.await.unwrap().expect(200);
    assert!(list.body["sessions"]["game"]["pending_invites"].get(&game).is_some(), "{}", list.body);
    let waiting = wait(&carol, LIST, &list.etag()).await;
    alice.delete(&action_path(&game, carol.player, "invite")).await;
    alice.kicks(&game, &carol).await;
    assert_eq!(waiting.await.unwrap().expect(200).body["sessions"], json!({}));
}

#[tokio::test]
async fn the_pages_of_a_type_are_looked_at_four_times_a_second() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let browser = format!("{}/browser", session_path(&game));
    alice.post(&browser, &json!({})).await.expect(200);
    let page = "/v1/browser?session_type=game&cursor=0";
    let list = async |number: usize| {
        alice.patch(&browser, &json!({"custom_data": {"number": number.to_string()}})).await.expect(200);
    };
    let readers: Vec<_> = (0..20).map(|_| server.player()).collect();
    let mut known = alice.get(page).await.expect(200).etag();
    let mut answers = 0;
    // A second with 100 changes. Each reader asks again once all are answered.
    let mut waiting = Vec::new();
    for reader in &readers {
        waiting.push(wait(reader, page, &known).await);
    }
    for number in 0..100 {
        list(number).await;
        server.clock.advance(Duration::from_millis(10));
        server.app.waits.wake_due();
        server.waits_settle().await;
        if waiting.iter().all(|waiting| waiting.is_finished()) {
            answers += 1;
            for waiting in waiting.drain(..) {
                known = waiting.await.unwrap().expect(200).etag();
            }
            assert_eq!(known, alice.get(page).await.etag());
            for reader in &readers {
                waiting.push(wait(reader, page, &known).await);
            }
        }
    }
    assert_eq!(answers, 5, "at once, and then every 250 ms; the last change is not lost");
    assert_eq!(
        alice.get(page).await.expect(200).body["browser_sessions"][0]["custom_data"],
        json!({"number": "99"})
    );
    for waiting in waiting {
        waiting.abort();
    }
}

#[tokio::test]
async fn metrics_count_waits_by_kind_and_by_end() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let path = session_path(&game);
    let now = async |sample: &str| Metrics::total(&server, sample).await;
    let waiting = wait(&alice, &path, &alice.session(&game).await.etag()).await;
    let on_list = wait(&alice, LIST, &alice.get(LIST).await.etag()).await;
    assert_eq!((now("waiters{kind=\"session\"}").await, now("waiters{kind=\"list\"}").await), (1, 1));
    bob.leaves(&game).await.expect(204);
    waiting.await.unwrap().expect(200);
    assert_eq!(now("waiters{kind=\"session\"}").await, 0);
    on_list.abort();
    let _ = on_list.await;
    let unchanged = wait(&alice, &path, &alice.session(&game).await.etag()).await;
    until_the_end(&server).await;
    unchanged.await.unwrap().expect(304);
    let refused = wait(&alice, &path, &alice.session(&game).await.etag()).await;
    alice.delete(&path).await.expect(204);
    refused.await.unwrap().expect(404);
    for (reason, ended) in
        [("changed", 1), ("client_gone", 1), ("unchanged", 1), ("refused", 1), ("stopped", 0)]
    {
        assert_eq!(now(&format!("wait_ends_total{{reason=\"{reason}\"}}")).await, ended, "{reason}");
    }
    assert_eq!(now("wake_seconds_count").await, 2);
}

#[tokio::test]
async fn waits_that_are_held_stay_undisturbed_by_those_beyond_the_limit() {
    let server = Server::with(|config| config.wait.per_service_max = 1);
    let (alice, bob, game) = game(&server).await;
    let [one, other] = [server.service(&["session:*"]), server.service(&["session:*"])];
    let path = session_path(&game);
    let etag = one.get(&path).await.etag();
    let held = wait(&one, &path, &etag).await;
    for _ in 0..3 {
        let beyond = send(&other, &path, &[("if-none-match", &etag), ("prefer", "wait=30")]).await.unwrap();
        assert_eq!(granted(&beyond.expect(304)), None);
    }
    assert!(!held.is_finished());
    alice.patch(&path, &Value::from_iter([("joinability", json!({"open": false}))])).await.expect(200);
    held.await.unwrap().expect(200);
    drop(bob);
}

/// Some HTTP libraries send a body with every request. Without the wait, such a client would ask again at once, for ever.
#[tokio::test]
async fn a_request_with_a_body_is_held_too() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let listener = Listener::start(&server).await;
    let mut wire = listener.connect().await;
    let long = format!("content-length: 70000\r\n|{}", "x".repeat(70_000));
    for body in ["content-length: 2\r\n|{}", "transfer-encoding: chunked\r\n|2\r\n{}\r\n0\r\n\r\n", &*long] {
        let (header, body) = body.split_once('|').unwrap();
        let etag = alice.session(&game).await.etag();
        let headers = format!("if-none-match: {etag}\r\nprefer: wait=30\r\n{header}");
        wire.send(wire::get(&session_path(&game), &alice, &headers) + body).await;
        until(async || server.held() == 1).await;
        bob.leaves(&game).await.expect(204);
        let changed = wire.answer().await.expect(200);
        assert_ne!(changed.etag(), etag);
        bob.joins(&game).await.expect(200);
        match changed.headers.get("connection") {
            None => {
                wire.send(wire::get("/v1/template", &alice, "")).await;
                wire.answer().await.expect(200);
            }
            // The rest of a long body is not read.
            Some(close) => {
                assert_eq!((close.as_bytes(), body.len()), (&b"close"[..], 70_000));
                wire = listener.connect().await;
            }
        }
    }
}

#[tokio::test]
async fn no_cache_may_share_an_answer_to_a_request_that_asks_to_wait() {
    let server = Server::new();
    let (alice, _, game) = game(&server).await;
    let session = session_path(&game);
    let is_uncached = |reply: &Reply| {
        ["cache-control", "vary"].map(|name| reply.headers.get(name).map(|value| value.to_str().unwrap()))
            == [Some("no-store"), Some("prefer")]
    };
    let asks = [("if-none-match", "\"old\""), ("prefer", "wait=30")];
    for (caller, path, status) in [
        (&alice, &*session, 200),
        (&alice, "/v1/session/nowhere", 404),
        (&alice, "/v1/nothing", 404),
        (&server.anonymous(), &*session, 403),
        (&alice, "/v1/browser?session_type=game&cursor=none", 422),
        (&alice, "/v1/regions", 200),
    ] {
        let reply = send(caller, path, &asks).await.unwrap().expect(status);
        assert!(is_uncached(&reply), "{path}: {:?}", reply.headers);
        let reply = send(caller, path, &asks[..1]).await.unwrap().expect(status);
        assert!(!is_uncached(&reply), "{path} without a wait");
    }
    let waiting = wait(&alice, &session, &alice.session(&game).await.etag()).await;
    alice.delete(&session).await.expect(204);
    assert!(is_uncached(&waiting.await.unwrap().expect(404)));
}

#[tokio::test]
async fn a_wait_ends_with_a_version_that_the_client_does_not_have() {
    let server = Server::new();
    let (alice, bob, game) = game(&server).await;
    let path = session_path(&game);
    let opens = async |is_open: bool| {
        alice.patch(&path, &json!({"joinability": {"open": is_open}})).await.expect(200);
        alice.session(&game).await.etag()
    };
    let (closed, open) = (opens(false).await, opens(true).await);
    let both = format!("{closed}, {open}");
    let waiting = wait(&alice, &path, &both).await;
    assert_eq!(opens(false).await, closed);
    server.waits_settle().await;
    assert!(!waiting.is_finished(), "the client has this version too");
    bob.leaves(&game).await.expect(204);
    let changed = waiting.await.unwrap().expect(200).etag();
    assert_eq!(changed, alice.session(&game).await.etag());

    let waiting = wait(&alice, &path, &format!("\"old\", {changed}")).await;
    until_the_end(&server).await;
    assert_eq!(waiting.await.unwrap().expect(304).etag(), changed);
    // `*` is every version, also beside others.
    let all =
        send(&alice, &path, &[("if-none-match", &changed), ("if-none-match", "*"), ("prefer", "wait=30")]);
    assert_eq!(granted(&all.await.unwrap().expect(304)), None);
}
