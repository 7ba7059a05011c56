//! Changes at the same moment as a wait begins, looks or sleeps. No clock advances during a wait: neither an alarm nor the
//! search for changes by other nodes can help, so a wait that misses its wake-up never ends.

use std::time::Duration;

use rallypoint::env::Entropy;
use serde_json::json;
use tokio::task::{JoinHandle, yield_now};

use super::wait::{game, send, session_path};
use crate::harness::{Client, Reply, Server, XBOX_ID, platform_path, seeded};
use crate::notifications::{NOTIFICATION, OWN, texts};

/// Environment variable with the number of rounds.
const ROUNDS_VARIABLE: &str = "RALLYPOINT_TEST_WAIT_ROUNDS";
const ROUNDS: usize = 2_000;
/// Lists, inboxes, pages and long polls have this part of the rounds each.
const PARTS: usize = 8;
/// A wait that misses a change would hang for ever.
const HANGS_AFTER: Duration = Duration::from_secs(60);

fn rounds() -> usize {
    std::env::var(ROUNDS_VARIABLE)
        .map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds is a number"))
}

/// Sends a GET that waits for another version than the one with this ETag.
fn wait(caller: &Client, path: &str, known: &str) -> JoinHandle<Reply> {
    send(caller, path, &[("if-none-match", known), ("prefer", "wait=30")])
}

/// Lets a request that was just sent go on to anywhere between its start and its sleep.
async fn some_steps(chance: &Entropy) {
    for _ in 0..(chance.fraction() * 12.0) as usize {
        yield_now().await;
    }
}

/// The answer to a request that waits, of any status.
async fn ended(waiting: JoinHandle<Reply>) -> Reply {
    let answer = tokio::time::timeout(HANGS_AFTER, waiting).await;
    answer.expect("the wait has missed its change").unwrap()
}

/// The answer to a request that was just sent, if the change falls anywhere between the request and its sleep.
async fn answer(waiting: JoinHandle<Reply>, chance: &Entropy, change: impl Future<Output = Reply>) -> Reply {
    some_steps(chance).await;
    let changed = change.await;
    assert!(changed.status.is_success(), "{}", changed.body);
    ended(waiting).await.expect(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_misses_a_change() {
    let server = Server::new();
    let ((alice, _, game), chance) = (game(&server).await, seeded());
    let path = session_path(&game);
    let mut known = alice.get(&path).await.etag();
    for round in 0..rounds() {
        let body = json!({"joinability": {"open": round % 2 == 1}});
        let answer = answer(wait(&alice, &path, &known), &chance, alice.patch(&path, &body)).await;
        assert_ne!(answer.etag(), known);
        known = answer.etag();
        assert_eq!(known, alice.get(&path).await.etag());
    }
    assert_eq!(server.app.waits.count(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_on_a_list_misses_a_change() {
    let server = Server::new();
    let ((alice, _, game), chance) = (game(&server).await, seeded());
    let (carol, list) = (server.player(), "/v1/player/me/session");
    let mut known = carol.get(list).await.etag();
    for round in 0..rounds() / PARTS {
        let waiting = wait(&carol, list, &known);
        let answer = match round % 2 {
            0 => answer(waiting, &chance, alice.invites(&game, &carol)).await,
            _ => answer(waiting, &chance, alice.kicks(&game, &carol)).await,
        };
        assert_eq!(answer.body["sessions"]["game"].is_object(), round % 2 == 0);
        known = answer.etag();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_on_an_inbox_misses_a_message() {
    let server = Server::new();
    let (alice, chance) = (server.player().on(NOTIFICATION), seeded());
    let mut known = alice.get(OWN).await.etag();
    for round in 0..rounds() / PARTS {
        let (text, waiting) = (round.to_string(), wait(&alice, OWN, &known));
        let answer = answer(waiting, &chance, alice.post(OWN, &texts(&[&text]))).await;
        assert_eq!(answer.body["notifications"][0]["message"], json!(text));
        known = answer.etag();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_on_a_page_of_the_browser_misses_a_change() {
    let server = Server::new();
    let ((alice, _, game), chance) = (game(&server).await, seeded());
    let (browser, page) =
        (format!("{}/browser", session_path(&game)), "/v1/browser?session_type=game&cursor=0");
    alice.post(&browser, &json!({})).await.expect(200);
    let mut known = alice.get(page).await.etag();
    for round in 0..rounds() / PARTS {
        // The pages of the type no longer rest after the round before.
        server.advance(Duration::from_millis(250)).await;
        let body = json!({"custom_data": {"round": round.to_string()}});
        let answer = answer(wait(&alice, page, &known), &chance, alice.patch(&browser, &body)).await;
        assert_eq!(answer.body["browser_sessions"][0]["custom_data"], body["custom_data"]);
        known = answer.etag();
    }
}

/// The session changes once more after the kick: a look that began before must not show that to the player.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_shows_a_kicked_player_what_only_members_see() {
    let server = Server::new();
    let ((alice, bob, game), chance) = (game(&server).await, seeded());
    alice.links(&game).await.expect(200);
    let (session, listener) = (session_path(&game), bob.on(NOTIFICATION));
    let rights = format!("{session}/player/{}/permission", bob.player);
    let members_only = [platform_path("XboxLive", XBOX_ID), rights];
    let long_poll = |query: &str| format!("/v1/player/me/stream/notification/lp?{query}");
    let all = listener.get(&long_poll("offset_reset_strategy=earliest&deadline=0")).await.expect(200);
    let mut cursor = all.body["cursor"].as_str().unwrap().to_owned();
    for round in 0..rounds() / PARTS {
        // Players are told a moment later that they have joined.
        server.advance(Duration::from_millis(300)).await;
        let told = listener.get(&long_poll(&format!("exclude_before={cursor}&deadline=0"))).await.expect(200);
        let known = bob.get(&session).await.expect(200);
        assert!(known.body["platform_scouts"].is_object(), "bob is in the session");
        let mut waits = vec![wait(&bob, &session, &known.etag())];
        for path in &members_only {
            let known = bob.get(path).await.expect(200).etag();
            waits.push(wait(&bob, path, &known));
        }
        let query = format!("exclude_before={}&deadline=25", told.body["cursor"].as_str().unwrap());
        let listening = send(&listener, &long_poll(&query), &[]);
        some_steps(&chance).await;
        alice.kicks(&game, &bob).await.expect(204);
        let body = json!({"custom_data": {"round": round.to_string()}});
        alice.patch(&session, &body).await.expect(200);
        for (index, waiting) in waits.into_iter().enumerate() {
            let answer = ended(waiting).await;
            if index > 0 {
                answer.refused(403, "not_active_in_session");
                continue;
            }
            let seen = answer.expect(200).body;
            assert!(
                seen.get("platform_scouts").is_none() && seen.get("platform_session").is_none(),
                "{seen}"
            );
        }
        let told = ended(listening).await.expect(200);
        let [removed] = &told.body["notifications"].as_array().unwrap()[..] else { panic!("{}", told.body) };
        assert_eq!((&removed["message"], removed.get("etag")), (&json!("session_removed"), None));
        told.body["cursor"].as_str().unwrap().clone_into(&mut cursor);
        alice.invites(&game, &bob).await.expect(200);
        bob.joins(&game).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_long_poll_misses_a_change() {
    let server = Server::new();
    let ((alice, bob, game), chance) = (game(&server).await, seeded());
    let listener = bob.on(NOTIFICATION);
    let path = |query: &str| format!("/v1/player/me/stream/notification/lp?{query}");
    let all = listener.get(&path("offset_reset_strategy=earliest&deadline=0")).await.expect(200);
    let mut cursor = all.body["cursor"].as_str().unwrap().to_owned();
    for round in 0..rounds() / PARTS {
        let (session, body) = (session_path(&game), json!({"joinability": {"open": round % 8 != 2}}));
        let waiting = send(&listener, &path(&format!("exclude_before={cursor}&deadline=25")), &[]);
        let answer = match round % 4 {
            0 => answer(waiting, &chance, alice.kicks(&game, &bob)).await,
            1 => answer(waiting, &chance, alice.invites(&game, &bob)).await,
            2 => answer(waiting, &chance, alice.patch(&session, &body)).await,
            _ => answer(waiting, &chance, listener.post(OWN, &texts(&["m"]))).await,
        };
        let told = answer.body["notifications"].as_array().unwrap();
        let expected = ["session_removed", "session_added", "session_changed", "m"][round % 4];
        assert_eq!((told.len(), &told[0]["message"]), (1, &json!(expected)));
        cursor = answer.body["cursor"].as_str().unwrap().to_owned();
    }
}
