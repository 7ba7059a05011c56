//! The memory in flight: bodies that are being read and answers that clients do not take have one budget. Beyond it
//! requests are refused, and everything is given back, however a request ends.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::wire::{Listener, Wire, create, get, head};
use crate::harness::{Client, Server, creation};

const MEBIBYTE: usize = 1024 * 1024;

/// A server with a budget of a mebibyte, its listener, and a player.
async fn listening() -> (Server, Listener, Client) {
    let server = Server::with(|config| config.http.memory_in_flight_bytes = MEBIBYTE as u64);
    let (listener, alice) = (Listener::start(&server).await, server.player());
    (server, listener, alice)
}

/// Waits until this many bytes are in flight.
async fn in_flight(listener: &Listener, expected: impl Fn(i64) -> bool) {
    let reached = async {
        while !expected(listener.metrics.memory_in_flight.get()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(600), reached).await;
    assert!(waited.is_ok(), "{} bytes are in flight", listener.metrics.memory_in_flight.get());
}

/// Waits until nothing is in flight and no connection is open, and checks that the server goes on.
async fn all_is_given_back(listener: &Listener, client: &Client) {
    listener.serves(0).await;
    in_flight(listener, |bytes| bytes == 0).await;
    listener.goes_on(client).await;
    listener.serves(0).await;
}

/// Sends the head of a request to create a session, and the given number of bytes of its body, which is larger.
async fn send_half_a_body(listener: &Listener, client: &Client, bytes: usize) -> Wire {
    let mut wire = listener.connect().await;
    let length = format!("content-length: {}\r\n", bytes + 10);
    wire.send(head("POST", "/v1/session", client, &length) + &" ".repeat(bytes)).await;
    wire
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_refused() {
    let (_server, listener, alice) = listening().await;
    let first = send_half_a_body(&listener, &alice, 600_000).await;
    in_flight(&listener, |bytes| bytes == 600_000).await;
    let mut second = send_half_a_body(&listener, &alice, 600_000).await;
    let refused = second.answer().await;
    assert_eq!(
        (&refused.headers["retry-after"], &refused.headers["connection"]),
        (&"1".parse().unwrap(), &"close".parse().unwrap())
    );
    refused.refused(503, "overloaded");
    drop(second);
    // What fits is served meanwhile.
    let mut wire = listener.connect().await;
    wire.send(create(&alice, &creation("party").to_string())).await;
    wire.answer().await.expect(200);
    in_flight(&listener, |bytes| bytes == 600_000).await;
    // The client goes away in the middle of its body.
    drop(first);
    in_flight(&listener, |bytes| bytes == 0).await;
    drop(wire);
    all_is_given_back(&listener, &alice).await;
    let metrics = listener.metrics.render();
    assert!(metrics.contains("rallypoint_memory_refusals_total 1\n"), "{metrics}");
    assert!(metrics.contains("rallypoint_memory_in_flight_bytes 0\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_body_gives_its_memory_back_however_it_ends() {
    let (server, listener, alice) = listening().await;
    // It does not arrive in time.
    let mut wire = send_half_a_body(&listener, &alice, 100_000).await;
    in_flight(&listener, |bytes| bytes == 100_000).await;
    wire.answer().await.refused(408, "request_timeout");
    in_flight(&listener, |bytes| bytes == 0).await;
    // It is too large, is not valid, or its framing is broken.
    let chunked = head("POST", "/v1/session", &alice, "transfer-encoding: chunked\r\n");
    let large = format!("{chunked}100001\r\n{}", " ".repeat(MEBIBYTE + 1));
    let broken = format!("{chunked}5\r\n     \r\nx\r\n");
    for (request, status) in [(large, 413), (broken, 400), (create(&alice, &" ".repeat(100_000)), 422)] {
        let mut wire = listener.connect().await;
        wire.send(request).await;
        wire.answer().await.expect(status);
        in_flight(&listener, |bytes| bytes == 0).await;
    }
    drop(wire);
    drop(server);
    all_is_given_back(&listener, &alice).await;
}

/// A session whose document has about 130 KB.
async fn large_session(alice: &Client) -> String {
    let session = alice.creates("party").await;
    let data: serde_json::Map<_, _> =
        (0..31).map(|entry| (entry.to_string(), Value::from("x".repeat(4096)))).collect();
    alice.patch(&format!("/v1/session/{session}"), &json!({ "custom_data": data })).await.expect(200);
    session
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_are_refused_beyond_the_budget_and_cut() {
    let (server, listener, alice) = listening().await;
    let session = large_session(&alice).await;
    let read = get(&format!("/v1/session/{session}"), &alice, "");
    let small = get("/v1/template/party", &alice, "");
    // Answers of nine megabytes, which no socket's buffers hold, to a client that does not read them.
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut wire = listener.connect_narrow().await;
        wire.send(read.repeat(70)).await;
        silent.push(wire);
    }
    in_flight(&listener, |bytes| bytes > MEBIBYTE as i64 - 140_000).await;
    assert!(listener.metrics.memory_in_flight.get() <= MEBIBYTE as i64);
    let mut wire = listener.connect().await;
    wire.send(&read).await;
    let refused = wire.answer().await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.refused(503, "overloaded");
    // Small answers are not counted.
    wire.send(&small).await;
    wire.answer().await.expect(200);
    drop(wire);
    // Clients that take nothing are cut after `write_timeout_s`.
    listener.serves(0).await;
    drop(silent);
    all_is_given_back(&listener, &alice).await;
    // Afterwards everybody is served, and what is taken is given back while the connection is open. A paused clock would
    // run ahead of the network.
    tokio::time::resume();
    let mut wire = listener.connect().await;
    for _ in 0..20 {
        wire.send(&read).await;
        assert!(wire.answer().await.expect(200).bytes.len() > 126_000);
    }
    in_flight(&listener, |bytes| bytes == 0).await;
    drop((wire, server));
    all_is_given_back(&listener, &alice).await;
}

#[tokio::test(start_paused = true)]
async fn polls_that_nobody_reads_are_counted() {
    let (_server, listener, alice) = listening().await;
    let session = alice.creates("party").await;
    let poll = get(&format!("/v1/session/{session}"), &alice, "");
    let mut wire = listener.connect_narrow().await;
    // Each request is sent alone, so that the fast path on the connection answers it.
    let sent = async {
        loop {
            let before = listener.fast_path();
            wire.send(&poll).await;
            let answered = async {
                while listener.fast_path() == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // The server reads no further requests once an answer waits.
            if tokio::time::timeout(Duration::from_secs(5), answered).await.is_err() {
                break;
            }
        }
    };
    sent.await;
    assert!(listener.metrics.memory_in_flight.get() > 0);
    listener.serves(0).await;
    drop(wire);
    all_is_given_back(&listener, &alice).await;
}

#[tokio::test(start_paused = true)]
async fn long_heads_that_do_not_end_are_counted() {
    let (_server, listener, alice) = listening().await;
    let headers = format!("connection: close\r\nx: {}\r\n", "x".repeat(30_000));
    let whole = get("/v1/template/party", &alice, &headers);
    let (most, last) = whole.split_at(whole.len() - 1);
    let mut wires = Vec::new();
    for _ in 0..30 {
        let mut wire = listener.connect().await;
        wire.try_send(most).await;
        wires.push(wire);
    }
    // A buffer can be twice as large as what is in it. Heads that do not fit end their connection.
    let bytes = i64::try_from(2 * most.len()).unwrap();
    in_flight(&listener, |in_flight| {
        let (open, refused) = (listener.metrics.connections.get(), listener.metrics.memory_refusals.get());
        in_flight == open * bytes && open + i64::try_from(refused).unwrap() == 30
    })
    .await;
    let open = usize::try_from(listener.metrics.connections.get()).unwrap();
    assert!((1..=MEBIBYTE / (2 * most.len())).contains(&open), "{open}");
    // The others go on.
    let mut answers = 0;
    for wire in &mut wires {
        wire.try_send(last).await;
        answers += usize::from(wire.ended().await.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(answers, open);
    drop(wires);
    all_is_given_back(&listener, &alice).await;
}
