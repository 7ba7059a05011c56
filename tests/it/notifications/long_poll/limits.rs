use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::harness::wire::{self, Listener};

#[tokio::test]
async fn a_player_holds_a_limited_number_of_long_polls() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let session = alice.creates("party").await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&bob, "deadline=25").await);
    }
    let ninth = poll(&bob, "deadline=25").await;
    ninth.refused(409, "too_many_listening_to_single_client");
    assert!(notifications(&poll(&bob, "deadline=0").await).is_empty(), "it is answered at once");
    let of_carol = hold(&server.player(), "deadline=25").await;
    // Waits have a limit of their own.
    let list = bob.get("/v1/player/me/session").await;
    let waits = [("if-none-match", &*list.etag()), ("prefer", "wait=30")];
    let caller = bob.clone();
    let waits = waits.map(|(name, value)| (name, value.to_owned()));
    let waiting = tokio::spawn(async move {
        let waits: Vec<_> = waits.iter().map(|(name, value)| (*name, &**value)).collect();
        caller.send(http::Method::GET, "/v1/player/me/session", &waits, None).await
    });
    while server.held() < 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    alice.invites(&session, &bob).await.expect(200);
    for waiting in held {
        assert_eq!(told(&waiting.answer().await), [("session_added", &*session)]);
    }
    waiting.await.unwrap().expect(200);
    of_carol.abort().await;
    assert_eq!(server.held(), 0);
}

#[tokio::test]
async fn a_node_and_its_services_hold_a_limited_number_of_long_polls() {
    let server = Server::with(|config| {
        (config.wait.waits_max, config.wait.per_service_max) = (Some(3), 1);
    });
    let service = server.service(&["notification:player:read"]);
    let of_bob = hold(&service, "deadline=25").await;
    let mut pauses = BTreeSet::new();
    let mut refused = async |caller: &Client| {
        let refused = poll(caller, "deadline=25").await.refused(503, "connection_limit_reached");
        pauses.insert(refused_after(&refused));
    };
    refused(&service).await;
    let (alice, bob) = (server.player(), server.player());
    let held = [hold(&alice, "deadline=25").await, hold(&bob, "deadline=25").await];
    for _ in 0..50 {
        refused(&server.player()).await;
    }
    assert!(pauses.len() > 2 && pauses.iter().all(|pause| (1..=5).contains(pause)), "{pauses:?}");
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    let [by_alice, by_bob] = held;
    assert_eq!(told(&by_bob.answer().await), [("session_added", &*session)]);
    by_alice.abort().await;
    of_bob.abort().await;
}

/// `Retry-After`, in seconds.
fn refused_after(reply: &Reply) -> u64 {
    reply.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_node_that_stops_ends_every_long_poll_with_an_empty_list() {
    let server = Server::new();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(hold(&server.player(), "deadline=25").await);
    }
    for node in server.nodes() {
        node.app.waits.drain();
    }
    assert!(notifications(&poll(&server.player(), "deadline=25").await).is_empty(), "none is held any more");
    let mut finished = Vec::new();
    for _ in 0..30 {
        server.advance(Duration::from_millis(100)).await;
        server.waits_settle().await;
        finished.push(held.iter().filter(|waiting| waiting.is_finished()).count());
    }
    assert!(finished[0] < 8, "one after the other: {finished:?}");
    // All of them end within the spread.
    for waiting in held {
        assert!(notifications(&waiting.answer().await).is_empty());
    }
}

#[tokio::test]
async fn the_long_poll_of_a_closed_connection_ends() {
    let server = Server::new();
    let bob = server.player();
    let listener = Listener::start(&server).await;
    let mut wire = listener.connect().await;
    let request = wire::get(&path(&bob, "deadline=25"), &bob, "").replace(" /session/", " /notification/");
    wire.send(&request).await;
    holds(&server, 1).await;
    drop(wire);
    holds(&server, 0).await;
    listener.serves(0).await;
    let mut wire = listener.connect().await;
    wire.send(&request).await;
    holds(&server, 1).await;
    for node in server.nodes() {
        node.app.waits.drain();
    }
    listener.stop();
    server.waits_settle().await;
    server.advance(Duration::from_secs(3)).await;
    let answer = wire.answer().await;
    assert!(notifications(&answer).is_empty());
    assert_eq!(answer.headers["connection"], "close");
    wire.ends().await;
}

/// Environment variable with the number of connections that wait when a node stops. The whole test has 10,000, which
/// takes twice as many open files.
const HELD_VARIABLE: &str = "RALLYPOINT_TEST_HELD_CONNECTIONS";
/// Its default value.
const HELD: usize = 200;

#[tokio::test]
async fn a_node_that_stops_answers_every_connection() {
    let held = std::env::var(HELD_VARIABLE).map_or(HELD, |held| held.parse().expect("a number"));
    let server = Server::with(|config| {
        (config.wait.waits_max, config.wait.per_player_max) = (Some(held), usize::MAX);
    });
    let listener = Listener::with(&server, |limits| limits.connections_max = held + 1).await;
    let alice = server.player();
    let list = "/v1/player/me/session";
    let known = alice.get(list).await.etag();
    let mut wires = Vec::new();
    for number in 0..held {
        let mut wire = listener.connect().await;
        let request = if number % 2 == 0 {
            let bob = server.player();
            wire::get(&path(&bob, "deadline=25"), &bob, "").replace(" /session/", " /notification/")
        } else {
            wire::get(list, &alice, &format!("if-none-match: {known}\r\nprefer: wait=30\r\n"))
        };
        wire.send(request).await;
        wires.push(wire);
    }
    holds(&server, held).await;
    for node in server.nodes() {
        node.app.waits.drain();
    }
    listener.stop();
    server.waits_settle().await;
    for _ in 0..30 {
        server.advance(Duration::from_millis(100)).await;
        server.waits_settle().await;
    }
    for (number, mut wire) in wires.into_iter().enumerate() {
        let answer = wire.answer().await;
        if number % 2 == 0 {
            assert!(notifications(&answer).is_empty());
        } else {
            assert_eq!((answer.status.as_u16(), answer.etag()), (304, known.clone()));
        }
        assert_eq!(answer.headers["connection"], "close");
        wire.ends().await;
    }
    assert_eq!(server.held(), 0);
    listener.serves(0).await;
}

/// Waits until the server holds this many long polls.
async fn holds(server: &Server, waits: usize) {
    while server.held() != waits {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The answer of a long poll takes no part in the waits of other requests, which ask with a header.
#[tokio::test]
async fn the_header_of_waits_plays_no_part() {
    let server = Server::new();
    let bob = server.player().on(NOTIFICATION);
    let headers = [("prefer", "wait=5"), ("if-none-match", "*")];
    let answer = bob.send(http::Method::GET, &path(&bob, "deadline=0"), &headers, None).await.expect(200);
    assert_eq!(answer.body["notifications"], json!([]));
    for name in ["preference-applied", "etag", "vary"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_long_poll_with_a_body_is_held_too() {
    let server = Server::new();
    let (alice, bob) = (server.player(), server.player());
    let listener = Listener::start(&server).await;
    let mut wire = listener.connect().await;
    let headers = "content-type: application/json\r\ncontent-length: 2\r\n";
    let request =
        wire::get(&path(&bob, "deadline=25"), &bob, headers).replace(" /session/", " /notification/");
    wire.send(&(request + "{}")).await;
    holds(&server, 1).await;
    let session = alice.creates("party").await;
    alice.invites(&session, &bob).await.expect(200);
    assert_eq!(told(&wire.answer().await), [("session_added", &*session)]);
}
