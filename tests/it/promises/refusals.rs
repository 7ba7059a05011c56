//! A client that sends its whole request before it reads gets the answer to it, also if the server refuses the request
//! before its body has arrived. Proxies are such clients: they report a lost connection as 502.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::harness::wire::{Listener, create, get, head, parse_reply};
use crate::harness::{Client, Reply, Server, creation};

/// How often each case must succeed: what is lost is lost in a part of the attempts.
const ATTEMPTS: usize = 40;
const MEBIBYTE: usize = 1024 * 1024;

/// Sends a request as a simple proxy does: writes all of it, then reads the answer to its end. Everything that is not
/// a whole answer is an error. Returns the answer, and whether the server then closed the connection.
fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<(Reply, bool)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request)?;
    let (mut received, mut memory) = (Vec::new(), [0; 4096]);
    let (head_bytes, bytes) = loop {
        let head_bytes = received.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head_bytes) = head_bytes {
            let head = parse_reply(std::str::from_utf8(&received[..head_bytes - 4]).unwrap(), Bytes::new());
            let length = head.headers.get("content-length");
            let length: usize = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
            if received.len() >= head_bytes + length {
                break (head_bytes, head_bytes + length);
            }
        }
        match stream.read(&mut memory)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&memory[..count]),
        }
    };
    let body = Bytes::copy_from_slice(&received[head_bytes..bytes]);
    let reply = parse_reply(std::str::from_utf8(&received[..head_bytes - 4]).unwrap(), body);
    // The server has closed the connection if, and only if, no second request is answered.
    let closes = reply.headers.get("connection").is_some_and(|connection| connection == "close");
    let is_closed = if closes {
        stream.read(&mut memory)? == 0
    } else {
        stream.write_all(b"GET /session/v1/template HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        stream.read(&mut memory)? == 0
    };
    Ok((reply, is_closed))
}

/// Sends a request many times, and checks each answer. Returns how often the server closed the connection.
async fn is_always_answered(listener: &Listener, request: String, status: u16, code: &str) -> usize {
    let (address, code) = (listener.address, json!(code));
    let exchanges = tokio::task::spawn_blocking(move || {
        (0..ATTEMPTS).map(|_| exchange(address, request.as_bytes())).collect::<Vec<_>>()
    });
    let mut closed = 0;
    for (attempt, exchanged) in exchanges.await.unwrap().into_iter().enumerate() {
        let (reply, is_closed) = exchanged.unwrap_or_else(|error| panic!("attempt {attempt}: {error}"));
        assert_eq!((reply.status.as_u16(), &reply.body["error_code"]), (status, &code), "attempt {attempt}");
        let says_so = reply.headers.get("connection").is_some_and(|connection| connection == "close");
        assert_eq!(is_closed, says_so, "attempt {attempt}: {:?}", reply.headers);
        closed += usize::from(is_closed);
    }
    closed
}

fn patch(client: &Client, headers: &str, bytes: usize) -> String {
    let length = format!("content-length: {bytes}\r\n{headers}");
    head("PATCH", "/v1/session/x", client, &length) + &"x".repeat(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_client_that_writes_before_it_reads() {
    let server = Server::new();
    let listener = Listener::start(&server).await;
    let (alice, stranger) = (server.player(), server.bearer("x"));
    for bytes in [100, 20_000, 60_000] {
        let closed = is_always_answered(&listener, patch(&stranger, "", bytes), 403, "token_invalid").await;
        assert_eq!(closed, 0, "a short body is read, and the connection is kept");
    }
    for bytes in [100_000, 2 * MEBIBYTE] {
        let closed = is_always_answered(&listener, patch(&stranger, "", bytes), 403, "token_invalid").await;
        assert_eq!(closed, ATTEMPTS);
    }
    is_always_answered(&listener, patch(&alice, "", MEBIBYTE + 1), 413, "body_too_large").await;
    is_always_answered(&listener, patch(&alice, "", 3 * MEBIBYTE), 413, "body_too_large").await;
    // In chunks, the size shows only when the limit is reached.
    let chunk = format!("{:x}\r\n{}\r\n", 2 * MEBIBYTE, "x".repeat(2 * MEBIBYTE));
    let chunked = head("PATCH", "/v1/session/x", &alice, "transfer-encoding: chunked\r\n");
    is_always_answered(&listener, format!("{chunked}{chunk}0\r\n\r\n"), 413, "body_too_large").await;
    // A client may send the body without waiting for the 100 that it asked for.
    let expecting = |bytes| patch(&stranger, "expect: 100-continue\r\n", bytes);
    for bytes in [100, 60_000, 2 * MEBIBYTE] {
        let closed = is_always_answered(&listener, expecting(bytes), 403, "token_invalid").await;
        assert_eq!(closed, ATTEMPTS, "the server cannot know whether a body follows");
    }
    listener.goes_on(&alice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_by_the_http_layer_reaches_such_a_client_too() {
    let server = Server::new();
    let listener = Listener::start(&server).await;
    let alice = server.player();
    let address = listener.address;
    let body = "x".repeat(2 * MEBIBYTE);
    let large_head = get("/v1/template", &alice, &format!("x: {body}\r\n"));
    let no_request = format!("BREW\r\n\r\n{body}");
    let sent = tokio::task::spawn_blocking(move || {
        (0..ATTEMPTS)
            .flat_map(|_| {
                [exchange(address, large_head.as_bytes()), exchange(address, no_request.as_bytes())]
            })
            .map(|exchanged| exchanged.unwrap())
            .map(|(reply, is_closed)| (reply.status.as_u16(), is_closed))
            .collect::<Vec<_>>()
    });
    assert_eq!(sent.await.unwrap(), [(431, true), (400, true)].repeat(ATTEMPTS));
    let two_hosts = patch(&alice, "host: localhost\r\n", MEBIBYTE);
    is_always_answered(&listener, two_hosts, 400, "host_invalid").await;
    listener.goes_on(&alice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_a_connection_beyond_the_limit_reaches_such_a_client_too() {
    let server = Server::new();
    let listener = Listener::with(&server, |limits| limits.connections_max = 1).await;
    let alice = server.player();
    let mut only = listener.connect().await;
    only.send(get("/v1/template", &alice, "")).await;
    only.answer().await.expect(200);
    let request = patch(&alice, "", 2 * MEBIBYTE);
    let closed = is_always_answered(&listener, request, 503, "too_many_connections").await;
    assert_eq!(closed, ATTEMPTS);
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let server = Server::new();
    let listener = Listener::start(&server).await;
    let alice = server.player();
    let session = alice.creates("party").await;
    alice.session(&session).await.expect(200);
    let poll = get(&format!("/v1/session/{session}"), &alice, "");
    let change = create(&alice, &creation("party").to_string());
    for request in [poll, change] {
        for (from, to) in [
            ("host: localhost\r\n", ""),
            ("host: localhost\r\n", "host: localhost\r\nhost: localhost\r\n"),
            ("host: localhost\r\n", "host: localhost\r\nHOST: other\r\n"),
            ("host: localhost\r\n", "host: local host\r\n"),
        ] {
            let mut wire = listener.connect().await;
            wire.send(&request).await;
            wire.answer().await.expect(200);
            wire.send(request.replace(from, to)).await;
            let refused = wire.answer().await;
            assert_eq!(refused.headers["connection"], "close");
            refused.refused(400, "host_invalid");
            wire.ends().await;
        }
        // HTTP/1.0 needs none.
        let mut wire = listener.connect().await;
        wire.send(request.replace("host: localhost\r\n", "").replace("HTTP/1.1", "HTTP/1.0")).await;
        wire.answer().await.expect(200);
        wire.ends().await;
    }
    assert_eq!(listener.fast_path(), 4, "the fast path answers polls with one host only");
    listener.goes_on(&alice).await;
}
