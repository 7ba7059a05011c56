//! Limits of connections: heads, bodies and responses that are too large or too slow, too many connections, and bytes
//! that are not HTTP. Each connection ends in a defined way, and the server continues.
//!
//! Tests of timeouts use tokio's paused clock, which advances only while every task waits. The timeouts are the real
//! ones and take no time.

use std::time::Duration;

use rallypoint::http::connection::{HEAD_BYTES_MAX, HEADERS_MAX};
use rallypoint::http::listener::REFUSALS_AT_ONCE;
use tokio::time::Instant;

use crate::harness::wire::{Listener, create, get, head};
use crate::harness::{Client, Server, creation};

/// A listener and a player.
async fn listening() -> (Listener, Client) {
    let server = Server::new();
    (Listener::start(&server).await, server.player())
}

#[tokio::test]
async fn a_head_above_the_limit_is_refused() {
    let (listener, alice) = listening().await;
    let mut wire = listener.connect().await;
    // A head that is read gets an error with a code.
    wire.send(get("/v1/template", &alice, &format!("x: {}\r\n", "x".repeat(32 * 1024)))).await;
    wire.answer().await.refused(431, "headers_too_large");
    wire.send(get(&format!("/v1/session/{}", "x".repeat(56 * 1024)), &alice, "")).await;
    wire.answer().await.refused(414, "path_too_long");
    wire.send(get("/v1/template", &alice, "")).await;
    wire.answer().await.expect(200);

    // A larger one gets a bare status.
    let too_large = [
        get("/v1/template", &alice, &format!("x: {}\r\n", "x".repeat(2 * HEAD_BYTES_MAX))),
        get("/v1/template", &alice, &"x: x\r\n".repeat(HEADERS_MAX)),
    ];
    for head in too_large {
        let mut wire = listener.connect().await;
        wire.try_send(head).await;
        assert_eq!(wire.answer().await.expect(431).headers["connection"], "close");
        wire.ends().await;
    }
    let mut wire = listener.connect().await;
    wire.try_send(get(&format!("/v1/session/{}", "x".repeat(HEAD_BYTES_MAX)), &alice, "")).await;
    assert!([414, 431].contains(&wire.answer().await.status.as_u16()));
    wire.ends().await;
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_in_both_framings() {
    let (listener, alice) = listening().await;
    let mebibyte = 1024 * 1024;
    let body = creation("party").to_string();
    let padded = " ".repeat(mebibyte - body.len()) + &body;
    let chunked = head("POST", "/v1/session", &alice, "transfer-encoding: chunked\r\n");
    let mut wire = listener.connect().await;
    wire.send(create(&alice, &padded)).await;
    wire.answer().await.expect(200);
    wire.send(format!("{chunked}{mebibyte:x}\r\n{padded}\r\n0\r\n\r\n")).await;
    wire.answer().await.expect(200);

    // By its content-length: refused before any of it is sent.
    wire.send(head("POST", "/v1/session", &alice, &format!("content-length: {}\r\n", mebibyte + 1))).await;
    wire.answer().await.refused(413, "body_too_large");
    wire.ends().await;
    // In chunks: refused at the first byte above the limit.
    let mut wire = listener.connect().await;
    wire.send(format!("{chunked}{mebibyte:x}\r\n{padded}\r\n1\r\n \r\n")).await;
    wire.answer().await.refused(413, "body_too_large");
    wire.ends().await;
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it() {
    let (listener, alice) = listening().await;
    let body = creation("party").to_string();
    let expecting = |bytes: usize| {
        let headers = format!("content-length: {bytes}\r\nexpect: 100-continue\r\n");
        head("POST", "/v1/session", &alice, &headers)
    };
    let mut wire = listener.connect().await;
    wire.send(expecting(body.len())).await;
    wire.answer().await.expect(100);
    wire.send(&body).await;
    wire.answer().await.expect(200);
    // A request that is refused anyway gets no 100.
    wire.send(expecting(2 * 1024 * 1024)).await;
    wire.answer().await.refused(413, "body_too_large");
    let mut wire = listener.connect().await;
    let stranger = Client { token: Some("x".into()), ..alice.clone() };
    wire.send(head("POST", "/v1/session", &stranger, "content-length: 5\r\nexpect: 100-continue\r\n")).await;
    let refused = wire.answer().await.expect(403);
    assert_eq!(refused.body["error_code"], "token_invalid");
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_too_slowly_is_408() {
    let (listener, alice) = listening().await;
    let body = creation("party").to_string();
    let whole = create(&alice, &body);
    for sent in [whole.len() - body.len(), whole.len() - 1] {
        let mut wire = listener.connect().await;
        let started = Instant::now();
        wire.send(&whole[..sent]).await;
        let refused = wire.answer().await;
        assert_eq!(started.elapsed().as_secs(), 15, "body_timeout_s");
        refused.refused(408, "request_timeout");
        wire.ends().await;
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_broken_body_is_refused_as_such() {
    let (listener, alice) = listening().await;
    for chunks in ["zz\r\n", "-1\r\n", "fffffffffffffffff\r\n", "5\r\nabcdefgh\r\n0\r\n\r\n"] {
        let mut wire = listener.connect().await;
        let chunked = head("POST", "/v1/session", &alice, "transfer-encoding: chunked\r\n");
        wire.send(chunked + chunks).await;
        wire.answer().await.refused(400, "body_broken");
        wire.ends().await;
    }
    let mut wire = listener.connect().await;
    wire.send(head("POST", "/v1/session", &alice, "content-length: 100\r\n")).await;
    drop(wire);
    listener.serves(0).await;
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_too_slowly_ends_the_connection() {
    let (listener, alice) = listening().await;
    for start in
        ["", "G", "GET /session/v1/template HTTP/1.1\r\n", "GET /session HTTP/1.1\r\nhost: localhost\r\n"]
    {
        let mut wire = listener.connect().await;
        let started = Instant::now();
        wire.send(start).await;
        wire.ends().await;
        assert_eq!(started.elapsed().as_secs(), 75, "head_timeout_s");
        // A byte now and then does not extend the time.
        let mut wire = listener.connect().await;
        let started = Instant::now();
        wire.send(start).await;
        wire.trickle(["x"]).await;
        assert!(started.elapsed().as_secs() <= 80, "{:?}", started.elapsed());
    }
    let mut wire = listener.connect().await;
    wire.trickle(["\r\n"]).await;

    // A kept connection may be idle for the same time.
    let mut wire = listener.connect().await;
    for _ in 0..3 {
        wire.send(get("/v1/template", &alice, "")).await;
        wire.answer().await.expect(200);
        tokio::time::sleep(Duration::from_secs(70)).await;
    }
    let started = Instant::now();
    wire.ends().await;
    assert!(started.elapsed().as_secs() <= 5, "{:?}", started.elapsed());
    listener.serves(0).await;
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let (listener, alice) = listening().await;
    let mut wire = listener.connect_narrow().await;
    // More than all buffers between client and server can hold.
    let script = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    wire.send(script.repeat(40)).await;
    listener.serves(1).await;
    let started = Instant::now();
    listener.serves(0).await;
    let took = started.elapsed().as_secs();
    assert!((25..=35).contains(&took), "{took} s, where write_timeout_s is 30");
    let rest = wire.ended().await;
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_get_503_and_are_closed() {
    let server = Server::new();
    let alice = server.player();
    let listener = Listener::with(&server, |limits| limits.connections_max = 2).await;
    let mut served = [listener.connect().await, listener.connect().await];
    for wire in &mut served {
        wire.send(get("/v1/template", &alice, "")).await;
        wire.answer().await.expect(200);
    }
    let body = creation("party").to_string();
    for request in [get("/v1/template", &alice, ""), create(&alice, &body)] {
        let mut wire = listener.connect().await;
        wire.send(request).await;
        let refused = wire.answer().await;
        assert_eq!(
            (&refused.headers["retry-after"], &refused.headers["connection"]),
            (&"1".parse().unwrap(), &"close".parse().unwrap())
        );
        assert_eq!(refused.headers["content-type"], "application/json");
        refused.refused(503, "too_many_connections");
        wire.ends().await;
    }
    // A connection without a request is closed after a second. Of very many connections, some are closed without a
    // response.
    let mut crowd = Vec::new();
    for _ in 0..REFUSALS_AT_ONCE {
        crowd.push(listener.connect().await);
    }
    let started = Instant::now();
    let mut one_more = listener.connect().await;
    one_more.try_send(get("/v1/template", &alice, "")).await;
    one_more.ends().await;
    for wire in &mut crowd {
        wire.ends().await;
    }
    assert!(started.elapsed().as_secs() <= 1, "{:?}", started.elapsed());
    let all = 2 + u64::try_from(REFUSALS_AT_ONCE).unwrap() + 1;
    assert_eq!(listener.metrics.connections_refused.get(), all);
    // The first connections are still served.
    for wire in &mut served {
        wire.send(get("/v1/template", &alice, "")).await;
        wire.answer().await.expect(200);
    }
    let metrics = listener.metrics.render();
    assert!(metrics.contains("rallypoint_connections 2\n"), "{metrics}");
    assert!(metrics.contains(&format!("rallypoint_connections_refused_total {all}\n")), "{metrics}");
    // A closed connection makes room for another.
    let [first, _second] = served;
    drop(first);
    listener.serves(1).await;
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_requests_only() {
    let (listener, alice) = listening().await;
    let template = get("/v1/template/party", &alice, "");
    let half = &template[..template.len() / 2];
    // New, with half a head, kept, and kept with half a head: no request is under way.
    let mut idle = Vec::new();
    for (first, second) in [("", ""), (half, ""), (&template, ""), (&template, half)] {
        let mut wire = listener.connect().await;
        wire.send(first).await;
        if first == template {
            wire.answer().await.expect(200);
        }
        wire.send(second).await;
        idle.push(wire);
    }
    // Two requests: one whose head has arrived and whose body has not, and one whose head arrives during the stop.
    let body = creation("party").to_string();
    let mut sending = listener.connect().await;
    let mut late = listener.connect().await;
    let with_expect = head(
        "POST",
        "/v1/session",
        &alice,
        &format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()),
    );
    sending.send(with_expect).await;
    sending.answer().await.expect(100);
    late.send(half).await;
    listener.serves(6).await;

    let stopped = Instant::now();
    listener.stop();
    late.send(&template[half.len()..]).await;
    assert_eq!(late.answer().await.expect(200).body["session_type"], "party");
    late.ends().await;
    for wire in &mut idle {
        wire.ends().await;
    }
    listener.serves(1).await;
    assert!(stopped.elapsed().as_secs() <= 2, "{:?}", stopped.elapsed());
    sending.send(&body).await;
    assert!(sending.answer().await.expect(200).body["session_id"].is_string());
    sending.ends().await;
    listener.serves(0).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (listener, alice) = listening().await;
    let mut wire = listener.connect().await;
    let body = creation("party").to_string();
    let requests = [
        get("/v1/template/party", &alice, ""),
        create(&alice, &body),
        get("/v1/template/none", &alice, ""),
        get("/v1/template/game", &alice, "connection: close\r\n"),
        get("/v1/template/party", &alice, ""),
    ];
    wire.send(requests.concat()).await;
    assert_eq!(wire.answer().await.expect(200).body["session_type"], "party");
    assert!(wire.answer().await.expect(200).body["session_id"].is_string());
    wire.answer().await.refused(404, "template_not_found");
    assert_eq!(wire.answer().await.expect(200).body["session_type"], "game");
    wire.ends().await;

    // A body that the operation does not read is not a second request.
    let mut wire = listener.connect().await;
    let inner = get("/v1/template/none", &alice, "");
    wire.send(get("/v1/template/party", &alice, &format!("content-length: {}\r\n", inner.len())) + &inner)
        .await;
    wire.send(get("/v1/template/game", &alice, "connection: close\r\n")).await;
    assert_eq!(wire.answer().await.expect(200).body["session_type"], "party");
    assert_eq!(wire.answer().await.expect(200).body["session_type"], "game");
    wire.ends().await;
}

#[tokio::test]
async fn every_form_of_a_target_is_handled() {
    let (listener, alice) = listening().await;
    let mut wire = listener.connect().await;
    let token = alice.token.as_deref().unwrap();
    let line = |method: &str, target: &str| {
        format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let origin = "/session/v1/template/party";
    for target in [
        origin.to_owned(),
        format!("http://localhost{origin}"),
        format!("https://other.example:1{origin}?a=b"),
    ] {
        wire.send(line("GET", &target)).await;
        assert_eq!(wire.answer().await.expect(200).body["session_type"], "party");
    }
    for (method, target) in [("OPTIONS", "*"), ("GET", "*"), ("GET", "//"), ("BREW", "//")] {
        wire.send(line(method, target)).await;
        wire.answer().await.refused(404, "path_not_found");
    }
    for target in ["/", "http://localhost"] {
        wire.send(line("GET", target)).await;
        assert_eq!(wire.answer().await.expect(307).headers["location"], "/docs");
    }
    wire.send(line("BREW", "/")).await;
    wire.answer().await.refused(405, "method_not_allowed");
    for method in ["OPTIONS", "PUT", "TRACE", "BREW"] {
        wire.send(line(method, origin)).await;
        let refused = wire.answer().await.refused(405, "method_not_allowed");
        assert_eq!(refused.headers["allow"], "GET, HEAD");
    }
    wire.send(line("CONNECT", "localhost:443")).await;
    wire.answer().await.refused(404, "path_not_found");
    // HTTP/1.0 is answered, and the connection is closed.
    let mut wire = listener.connect().await;
    wire.send(line("GET", origin).replace("HTTP/1.1", "HTTP/1.0")).await;
    wire.answer().await.expect(200);
    wire.ends().await;
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_http_end_only_their_connection() {
    let (listener, alice) = listening().await;
    let bad_requests: [&[u8]; 12] = [
        b"GET /session/v1/tem\0plate HTTP/1.1\r\n\r\n",
        b"GET /session/v1/template\x7f HTTP/1.1\r\n\r\n",
        b"GET /session/v1/ template HTTP/1.1\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /session/v1/session HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /session/v1/session HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /session/v1/session HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
    ];
    for bytes in bad_requests {
        let mut wire = listener.connect().await;
        wire.send(bytes).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 400, "{}", bytes.escape_ascii());
        wire.ends().await;
    }
    let not_http: [&[u8]; 6] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a TLS hello",
        b"\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        "GET /é HTTP/1.1\r\n\r\n".as_bytes(),
    ];
    for bytes in not_http {
        let mut wire = listener.connect().await;
        wire.try_send(bytes).await;
        let received = wire.ended().await;
        assert!(received.is_empty() || received.starts_with(b"HTTP/1.1 4"), "{}", received.escape_ascii());
    }
    listener.serves(0).await;
    listener.goes_on(&alice).await;
}
