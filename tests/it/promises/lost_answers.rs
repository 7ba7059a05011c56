//! Connections that break at any byte of a request or of its answer. A client that sent an idempotency key repeats its
//! request on a new connection: the write is made once, and its answer is the one that was lost.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::harness::wire::{Listener, Wire, head};
use crate::harness::{Client, Reply, Server, creation, joining, seeded};

/// Environment variable with the distance between two bytes at which a connection breaks. 1 tries every byte.
const DISTANCE_VARIABLE: &str = "RALLYPOINT_TEST_CUT_DISTANCE";
const DISTANCE: usize = 50;

/// Where a connection breaks: after this number of bytes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Request(usize),
    Answer(usize),
}

/// A write that is sent on connections of its own.
struct Write<'a> {
    listener: &'a Listener,
    caller: &'a Client,
    method: &'static str,
    path: &'a str,
    body: Value,
}

impl Write<'_> {
    /// The bytes of the request, with an idempotency key if there is one.
    fn request(&self, key: Option<&str>) -> String {
        let body = if self.body.is_null() { String::new() } else { self.body.to_string() };
        let key = key.map_or_else(String::new, |key| format!("idempotency-key: {key}\r\n"));
        let headers = format!("{key}content-length: {}\r\n", body.len());
        head(self.method, self.path, self.caller, &headers) + &body
    }

    /// Sends it on a connection that breaks. Returns what was received before.
    async fn is_cut(&self, mut wire: Wire, key: Option<&str>, cut: Cut) -> Vec<u8> {
        let request = self.request(key);
        match cut {
            Cut::Request(bytes) => {
                wire.send(&request[..bytes]).await;
                Vec::new()
            }
            Cut::Answer(bytes) => {
                wire.send(&request).await;
                wire.receive(bytes).await
            }
        }
    }

    /// Sends it until it is no longer under way.
    async fn is_repeated(&self, key: &str) -> Reply {
        loop {
            let mut wire = self.listener.connect().await;
            wire.send(self.request(Some(key))).await;
            let reply = wire.answer().await;
            if reply.status != 409 {
                return reply;
            }
            assert_eq!(reply.body["error_code"], json!("idempotency_key_in_use"));
        }
    }

    /// Sends it on a connection that breaks, and then again.
    async fn is_made_once(&self, key: &str, cut: Cut) -> Reply {
        let received = self.is_cut(self.listener.connect().await, Some(key), cut).await;
        let reply = self.is_repeated(key).await;
        let is_replayed = reply.headers.contains_key("idempotency-replayed");
        match cut {
            Cut::Request(bytes) if bytes < self.request(Some(key)).len() => {
                assert!(!is_replayed, "{cut:?}: an incomplete request is not made");
            }
            // Nobody knows which of the two was first.
            Cut::Request(_) | Cut::Answer(0) => {}
            Cut::Answer(_) => assert!(is_replayed, "{cut:?}: it was made before it was answered"),
        }
        let end_of_head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(at) = end_of_head {
            assert!(reply.bytes.starts_with(&received[at + 4..]), "{cut:?}: another answer");
        }
        reply
    }

    /// The length of its answer. This makes the write.
    async fn answer_bytes(&self) -> usize {
        let mut wire = self.listener.connect().await;
        wire.send(self.request(Some("to-measure"))).await;
        wire.finish().await;
        wire.ended().await.len()
    }
}

/// The cuts of a request and an answer of these lengths, each with a key of its own.
fn cuts(request_bytes: usize, answer_bytes: usize) -> impl Iterator<Item = (String, Cut)> {
    let distance =
        std::env::var(DISTANCE_VARIABLE).map_or(DISTANCE, |distance| distance.parse().expect("a number"));
    let first = (seeded().fraction() * distance as f64) as usize;
    // The ends are always among them.
    let at = move |bytes: RangeInclusive<usize>| {
        let end = *bytes.end();
        bytes.skip(first).step_by(distance).chain([end])
    };
    let of_request = at(0..=request_bytes).map(Cut::Request);
    let of_answer = at(0..=answer_bytes).map(Cut::Answer);
    of_request.chain(of_answer).enumerate().map(|(number, cut)| (format!("{number:010}"), cut))
}

fn server() -> Server {
    Server::with(|config| config.idempotency.keys_per_caller_max = 1_000_000)
}

/// The parties that the player is in.
async fn parties(player: &Client) -> Vec<String> {
    let ids = player.own_list("party").await["session_ids"].clone();
    ids.as_array().map_or_else(Vec::new, |ids| ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn a_creation_is_made_once_wherever_its_connection_breaks() {
    let server = server();
    let (listener, alice) = (Listener::start(&server).await, server.player());
    let (method, path) = ("POST", "/v1/session");
    let write = Write { listener: &listener, caller: &alice, method, path, body: creation("party") };
    let answer_bytes = write.answer_bytes().await;
    let [measured] = parties(&alice).await.try_into().unwrap();
    alice.leaves(&measured).await.expect(204);
    for (key, cut) in cuts(write.request(Some("0123456789")).len(), answer_bytes) {
        let reply = write.is_made_once(&key, cut).await.expect(200);
        let session = reply.body["session_id"].as_str().unwrap();
        assert_eq!(parties(&alice).await, [session], "{cut:?}");
        alice.leaves(session).await.expect(204);
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_join_and_a_leave_are_made_once_wherever_their_connection_breaks() {
    let server = server();
    let listener = Listener::start(&server).await;
    let (alice, bob) = (server.player(), server.player());
    let game = alice.creates("game").await;
    alice.opens(&game).await;
    let path = format!("/v1/session/{game}/player/me");
    let write = |method, body| Write { listener: &listener, caller: &bob, method, path: &path, body };
    let join = write("POST", joining());
    let answer_bytes = join.answer_bytes().await;
    bob.leaves(&game).await.expect(204);
    for (key, cut) in cuts(join.request(Some("0123456789")).len(), answer_bytes) {
        join.is_made_once(&key, cut).await.expect(200);
        assert_ne!(alice.sees(&game, &bob).await, Value::Null, "{cut:?}");
        bob.leaves(&game).await.expect(204);
    }
    // A second leave would be refused.
    let leave = write("DELETE", Value::Null);
    bob.joins(&game).await.expect(200);
    let answer_bytes = leave.answer_bytes().await;
    for (key, cut) in cuts(leave.request(Some("0123456789")).len(), answer_bytes) {
        bob.joins(&game).await.expect(200);
        leave.is_made_once(&format!("leave-{key}"), cut).await.expect(204);
        assert_eq!(alice.sees(&game, &bob).await, Value::Null, "{cut:?}");
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn without_a_key_a_write_is_made_whole_or_not_at_all() {
    let server = server();
    let (listener, alice) = (Listener::start(&server).await, server.player());
    let (method, path) = ("POST", "/v1/session");
    let write = Write { listener: &listener, caller: &alice, method, path, body: creation("party") };
    let request_bytes = write.request(None).len();
    for (_, cut) in cuts(request_bytes, 0) {
        let wire = listener.connect().await;
        listener.serves(1).await;
        write.is_cut(wire, None, cut).await;
        listener.serves(0).await;
        let made = parties(&alice).await;
        match cut {
            Cut::Request(bytes) if bytes < request_bytes => assert!(made.is_empty(), "{cut:?}"),
            _ => assert_eq!(made.len(), 1, "{cut:?}: whoever sends all of it has asked for it"),
        }
        for session in made {
            alice.leaves(&session).await.expect(204);
        }
    }
    listener.goes_on(&alice).await;
}
