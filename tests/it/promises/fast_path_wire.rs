//! The fast path under hyper, on real connections: it answers between requests only, in whatever pieces these arrive,
//! and keeps their order, their framing, and the limits of a connection.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use proptest::prelude::*;
use proptest::sample::select;
use rallypoint::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::wire::{Listener, Wire, create, get, head};
use crate::harness::{Client, Server, XBOX_ID, creation, platform_path};
use crate::support::connection::Connection;
use crate::support::process::{self, rallypoint, run, serve};

/// A listener, a player whose polls take the fast path, and a poll.
async fn polling() -> (Listener, Client, String) {
    polling_with(|_| {}).await
}

/// The same with the default configuration, changed.
async fn polling_with(change: impl FnOnce(&mut Config)) -> (Listener, Client, String) {
    let server = Server::with(change);
    let alice = server.player();
    let session = alice.creates("game").await;
    alice.links(&session).await.expect(200);
    alice.xbox().await.expect(200);
    let poll = get(&platform_path("XboxLive", XBOX_ID), &alice, "");
    (Listener::start(&server).await, alice, poll)
}

/// Sends a piece, and lets the server read it.
async fn send_piece(wire: &mut Wire, piece: impl AsRef<[u8]>) {
    wire.send(piece).await;
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_poll_gets_the_bytes_that_hyper_would_send() {
    let (listener, alice, poll) = polling().await;
    let etag = alice.xbox().await.etag();
    let mut wire = listener.connect().await;
    for known in [String::new(), format!("if-none-match: {etag}\r\n")] {
        let request = poll.replace("\r\n\r\n", &format!("\r\n{known}\r\n"));
        let mut heads = Vec::new();
        // The fast path declines the second request because of its query.
        for (request, fast) in [(request.clone(), 1), (request.replace(" HTTP/1.1", "? HTTP/1.1"), 0)] {
            let before = listener.fast_path();
            wire.send(request).await;
            let lines = wire.answer_lines().await;
            let is_date = |line: &String| line.starts_with("date: ");
            assert_eq!(lines.iter().filter(|line| is_date(line)).count(), 1);
            heads.push(lines.into_iter().filter(|line| !is_date(line)).collect::<Vec<_>>());
            assert_eq!(listener.fast_path() - before, fast);
        }
        assert_eq!(heads[0], heads[1]);
    }
}

#[tokio::test]
async fn polls_take_the_fast_path_between_other_requests() {
    let (listener, alice, poll) = polling().await;
    let mut wire = listener.connect().await;
    let body = creation("party").to_string();
    let whole = create(&alice, &body);
    let (before_body, cut) = (whole.len() - body.len(), whole.len() - 3);
    let others: [&[&str]; 5] = [
        &[&get("/v1/template/party", &alice, "")],
        &[&get("/v1/template/none", &alice, "content-length: 0\r\n")],
        &[&whole],
        &[&whole[..before_body], &whole[before_body..]],
        &[&whole[..before_body], &whole[before_body..cut], &whole[cut..]],
    ];
    for (polled, pieces) in others.into_iter().enumerate() {
        for piece in pieces {
            send_piece(&mut wire, piece).await;
        }
        let other = wire.answer().await;
        assert!([200, 404].contains(&other.status.as_u16()), "{}", other.body);
        wire.send(&poll).await;
        assert_eq!(wire.answer().await.expect(200).body["platform_session_id_base64"], XBOX_ID);
        assert_eq!(listener.fast_path(), polled + 1, "after {pieces:?}");
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn requests_that_are_not_plain_or_not_alone_go_to_hyper() {
    let (listener, alice, poll) = polling().await;
    let with = |headers: &str| poll.replace("\r\n\r\n", &format!("\r\n{headers}\r\n"));
    let requests: [&[&str]; 5] = [
        &[&poll.replace("HTTP/1.1", "HTTP/1.0")],
        &[&with("connection: close\r\n")],
        &[&with("content-length: 3\r\n"), "abc"],
        &[&with("transfer-encoding: chunked\r\n"), "0\r\n\r\n"],
        &[&poll.repeat(2)],
    ];
    for pieces in requests {
        let mut wire = listener.connect().await;
        for piece in pieces {
            send_piece(&mut wire, piece).await;
        }
        for _ in 0..pieces.concat().matches("HTTP/1.").count() {
            wire.answer().await.expect(200);
        }
        wire.finish().await;
        wire.ends().await;
        assert_eq!(listener.fast_path(), 0, "{pieces:?}");
    }
    // A poll inside a body is not a request.
    let mut wire = listener.connect().await;
    for framing in [format!("content-length: {}\r\n", poll.len()), "transfer-encoding: chunked\r\n".into()] {
        send_piece(&mut wire, head("POST", "/v1/session", &alice, &framing)).await;
        let is_chunked = framing.contains("chunked");
        if is_chunked {
            send_piece(&mut wire, format!("{:x}\r\n", poll.len())).await;
        }
        send_piece(&mut wire, &poll).await;
        if is_chunked {
            send_piece(&mut wire, "\r\n0\r\n\r\n").await;
        }
        assert_eq!(wire.answer().await.expect(422).body["detail"][0]["type"], "value_error.jsondecode");
        assert_eq!(listener.fast_path(), 0);
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_head_may_arrive_in_pieces() {
    let (listener, alice, poll) = polling_with(|config| config.http.header_bytes_max = 131_072).await;
    let template = |bytes: usize| {
        let long = format!("x: {}\r\n", "x".repeat(bytes));
        get("/v1/template/party", &alice, &long)
    };
    let mut wire = listener.connect().await;
    // After a head that is too long to wait for, the framing is lost.
    for (request, fast) in
        [(&poll, 1), (&template(20_000), 0), (&poll, 1), (&template(50_000), 0), (&poll, 0)]
    {
        for cuts in [
            vec![1],
            vec![request.len() / 2],
            vec![5, 100, request.len() - 1],
            (0..request.len()).step_by(97).collect(),
        ] {
            let (mut sent, before) = (0, listener.fast_path());
            for cut in cuts.into_iter().chain([request.len()]) {
                send_piece(&mut wire, &request[sent..cut]).await;
                sent = cut;
            }
            wire.answer().await.expect(200);
            assert_eq!(listener.fast_path() - before, fast);
        }
    }
    // Half a head, then the end of the connection.
    let mut wire = listener.connect().await;
    send_piece(&mut wire, &poll[..poll.len() / 2]).await;
    wire.finish().await;
    wire.ends().await;
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_poll_waits_for_the_request_before_it() {
    let (listener, alice, poll) = polling().await;
    let mut wire = listener.connect().await;
    let body = creation("party").to_string();
    let whole = create(&alice, &body);
    let cut = whole.len() - 3;
    for last in [&whole[cut..], &format!("{}{poll}", &whole[cut..])] {
        send_piece(&mut wire, &whole[..cut]).await;
        send_piece(&mut wire, last).await;
        if !last.ends_with(&poll) {
            send_piece(&mut wire, &poll).await;
        }
        assert!(wire.answer().await.expect(200).body["session_id"].is_string());
        assert_eq!(wire.answer().await.expect(200).body["platform_session_id_base64"], XBOX_ID);
    }
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn polls_keep_a_connection_from_being_idle() {
    let (listener, alice, poll) = polling().await;
    let mut wire = listener.connect().await;
    for polls in 1..=5 {
        wire.send(&poll).await;
        wire.answer().await.expect(200);
        assert_eq!(listener.fast_path(), polls);
        tokio::time::sleep(Duration::from_secs(70)).await;
    }
    let started = Instant::now();
    wire.ends().await;
    let idle_s = 70 + started.elapsed().as_secs();
    assert!((75..=150).contains(&idle_s), "{idle_s} s, where head_timeout_s is 75");

    // A head that never ends gets no further time from polls before it.
    let mut wire = listener.connect().await;
    wire.send(&poll).await;
    wire.answer().await.expect(200);
    let started = Instant::now();
    wire.trickle(poll.as_bytes().chunks(1)).await;
    let took_s = started.elapsed().as_secs();
    assert!((75..=150).contains(&took_s), "{took_s} s");
    listener.serves(0).await;
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_responses_is_cut_off() {
    let server = Server::new();
    let alice = server.player();
    let session = alice.creates("game").await;
    let path = format!("/v1/session/{session}");
    let custom_data: HashMap<_, _> = (0..12).map(|number| (number, "x".repeat(4096))).collect();
    alice.patch(&path, &json!({ "custom_data": custom_data })).await.expect(200);
    let listener = Listener::with(&server, |limits| limits.head_timeout = Duration::from_secs(3600)).await;
    let poll = get(&path, &alice, "");
    let mut wire = listener.connect_narrow().await;
    let (mut answered, mut since) = (0, 0);
    // Until the server reads no more, because it cannot send its responses.
    while since < 10 {
        send_piece(&mut wire, &poll).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        since = if listener.fast_path() == answered { since + 1 } else { 0 };
        answered = listener.fast_path();
    }
    let started = Instant::now();
    listener.serves(0).await;
    let took = started.elapsed().as_secs();
    // The time starts again whenever the system accepts a few more bytes.
    assert!((25..=95).contains(&took), "{took} s, where write_timeout_s is 30");
    assert!(answered > 1 && wire.ended().await.starts_with(b"HTTP/1.1 200"));
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_connections_that_only_poll() {
    let (listener, _, poll) = polling().await;
    let mut wire = listener.connect().await;
    wire.send(&poll).await;
    wire.answer().await.expect(200);
    assert_eq!(listener.fast_path(), 1);
    let stopped = Instant::now();
    listener.stop();
    wire.ends().await;
    listener.serves(0).await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn a_poll_is_answered_after_a_large_response_that_is_read_slowly() {
    let (listener, alice, poll) = polling().await;
    let mut wire = listener.connect_narrow().await;
    let bundle = "/docs/swagger-ui-bundle.js";
    // The second request has a body that the server does not read.
    for headers in ["", "content-length: 4\r\n\r\nbody"] {
        let end = if headers.is_empty() { "\r\n" } else { "" };
        let request = format!("GET {bundle} HTTP/1.1\r\nhost: localhost\r\n{headers}{end}");
        send_piece(&mut wire, request).await;
        send_piece(&mut wire, &poll).await;
        let bundle = wire.answer().await.expect(200);
        assert!(bundle.bytes.len() > 1_000_000);
        assert_eq!(wire.answer().await.expect(200).body["platform_session_id_base64"], XBOX_ID);
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn polls_take_the_fast_path_in_the_service_after_the_framing_is_lost() {
    let (listener, _, poll) = polling().await;
    let mut wire = listener.connect().await;
    let counted = |path: &str| count_by_path(&listener.metrics.render(), path);
    assert_eq!(["fast_connection", "fast_service"].map(counted), [0, 0]);
    wire.send(&poll).await;
    wire.answer().await.expect(200);
    wire.send(poll.repeat(2)).await;
    wire.send(&poll).await;
    for _ in 0..3 {
        assert_eq!(wire.answer().await.expect(200).body["platform_session_id_base64"], XBOX_ID);
    }
    assert_eq!(["fast_connection", "fast_service"].map(counted), [1, 3]);
}

/// The value of `rallypoint_responses_by_path_total` for a path.
fn count_by_path(metrics: &str, path: &str) -> u64 {
    let name = format!("rallypoint_responses_by_path_total{{path=\"{path}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Starts a server with these environment variables and polls a session twice. Returns the headers of the last
/// response, and the server's metrics.
async fn poll_a_server_with(variables: &[(&str, &str)]) -> (HeaderMap, String) {
    const PAGE: &str = "https://tools.example.com";
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.envs(variables.iter().copied());
    let mut server = process::Server::spawn(command).await;
    let admin = server.admin_address().await;
    let player = ["token", "--player", "11111111-1111-4111-8111-111111111111"];
    let data_dir = ["--data-dir", dir.path().to_str().unwrap()];
    let token = run(rallypoint(&[&player[..], &data_dir].concat())).await.expect(0).stdout;
    let mut connection = Connection::open(server.address, Some(token.trim_end())).await.unwrap();
    let created = connection.call(&Method::POST, "/v1/session", Some(&creation("party"))).await.unwrap();
    let created: Value = serde_json::from_slice(created.body()).unwrap();
    let path = format!("/session/v1/session/{}", created["session_id"].as_str().unwrap());
    let mut headers = HeaderMap::new();
    for _ in 0..2 {
        let request = Request::builder().uri(&path).header("origin", PAGE).body(Full::default()).unwrap();
        let polled = connection.send(request).await.unwrap();
        assert_eq!(polled.status(), 200);
        headers = polled.headers().clone();
    }
    let request = Request::builder().uri("/metrics").body(Full::default()).unwrap();
    let mut admin = Connection::open(admin, None).await.unwrap();
    let metrics = String::from_utf8(admin.send(request).await.unwrap().body().to_vec()).unwrap();
    server.stop().await.expect(0);
    (headers, metrics)
}

#[tokio::test]
async fn the_setting_and_cors_choose_where_polls_take_the_fast_path() {
    let origins = ("RALLYPOINT_HTTP__CORS_ORIGINS", "[\"*\"]");
    let setting = |value| ("RALLYPOINT_HTTP__FAST_PATH", value);
    for (variables, is_under_hyper, allowed_origin) in [
        (&[][..], true, None),
        (&[setting("true")], true, None),
        (&[setting("false")], false, None),
        (&[origins], false, Some("*")),
        (&[origins, setting("false")], false, Some("*")),
    ] {
        let (headers, metrics) = poll_a_server_with(variables).await;
        let counted = ["fast_connection", "fast_service"].map(|path| count_by_path(&metrics, path) > 0);
        assert_eq!(counted, [is_under_hyper, !is_under_hyper], "{variables:?}:\n{metrics}");
        assert!(count_by_path(&metrics, "normal") > 0, "{metrics}");
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("access-control-allow-origin"), allowed_origin);
        assert_eq!(header("vary"), allowed_origin.map(|_| "origin"));
    }
}

/// A kind of request that the property test sends.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Poll,
    Template,
    Create,
    /// A body that looks like a poll, framed by its length or in chunks.
    PollInBody,
    PollInChunks,
}

impl Sent {
    fn text(self, alice: &Client, poll: &str) -> String {
        match self {
            Self::Poll => poll.to_owned(),
            Self::Template => get("/v1/template/none", alice, ""),
            Self::Create => create(alice, &creation("party").to_string()),
            Self::PollInBody => create(alice, poll),
            Self::PollInChunks => {
                let head = head("POST", "/v1/session", alice, "transfer-encoding: chunked\r\n");
                format!("{head}{:x}\r\n{poll}\r\n0\r\n\r\n", poll.len())
            }
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::Poll | Self::Create => 200,
            Self::Template => 404,
            Self::PollInBody | Self::PollInChunks => 422,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn requests_in_any_pieces_are_answered_once_and_in_order(
        requests in prop::collection::vec(
            select(&[Sent::Poll, Sent::Poll, Sent::Template, Sent::Create, Sent::PollInBody, Sent::PollInChunks]),
            1..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        cuts_between in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (listener, alice, poll) = polling().await;
            let (mut all, mut ends) = (String::new(), Vec::new());
            for request in &requests {
                all += &request.text(&alice, &poll);
                ends.push(all.len());
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len())).collect();
            if cuts_between {
                cuts.extend(&ends);
            }
            cuts.push(all.len());
            cuts.sort_unstable();
            let mut wire = listener.connect().await;
            let mut sent = 0;
            for cut in cuts {
                send_piece(&mut wire, &all[sent..cut]).await;
                sent = cut;
            }
            for request in &requests {
                let answer = wire.answer().await.expect(request.status());
                let is_poll = matches!(request, Sent::Poll);
                assert_eq!(answer.body["platform_session_id_base64"] == XBOX_ID, is_poll);
            }
            wire.send(get("/v1/template/party", &alice, "connection: close\r\n")).await;
            wire.answer().await.expect(200);
            wire.ends().await;
        });
    }
}
