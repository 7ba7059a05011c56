//! The short cut on a connection, under the HTTP library: it is taken between requests only, however these are cut into
//! pieces, and never at the cost of their order, their ends, or the limits of a connection.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use rallypoint::config::Config;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::wire::{Listener, Wire, create, get, head};
use crate::harness::{Client, Server, XBOX_ID, creation, platform_path};

/// A listener, a player whose polls come at once, and a poll.
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

/// Sends a piece, and lets the server read it before the next.
async fn send_piece(wire: &mut Wire, piece: impl AsRef<[u8]>) {
    wire.send(piece).await;
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_poll_is_answered_as_the_http_library_would_write_it() {
    let (listener, alice, poll) = polling().await;
    let etag = alice.xbox().await.etag();
    let mut wire = listener.connect().await;
    for known in [String::new(), format!("if-none-match: {etag}\r\n")] {
        let asked = poll.replace("\r\n\r\n", &format!("\r\n{known}\r\n"));
        let mut heads = Vec::new();
        // The second asks in a way that is left to it.
        for (asked, at_once) in [(asked.clone(), 1), (asked.replace(" HTTP/1.1", "? HTTP/1.1"), 0)] {
            let before = listener.at_once();
            wire.send(asked).await;
            let lines = wire.answer_lines().await;
            let is_date = |line: &String| line.starts_with("date: ");
            assert_eq!(lines.iter().filter(|line| is_date(line)).count(), 1);
            heads.push(lines.into_iter().filter(|line| !is_date(line)).collect::<Vec<_>>());
            assert_eq!(listener.at_once() - before, at_once);
        }
        assert_eq!(heads[0], heads[1]);
    }
}

#[tokio::test]
async fn polls_come_at_once_between_all_other_requests() {
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
        assert_eq!(listener.at_once(), polled + 1, "after {pieces:?}");
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn what_is_not_a_plain_poll_of_its_own_is_left_to_the_library() {
    let (listener, alice, poll) = polling().await;
    let with = |headers: &str| poll.replace("\r\n\r\n", &format!("\r\n{headers}\r\n"));
    let asked: [&[&str]; 5] = [
        &[&poll.replace("HTTP/1.1", "HTTP/1.0")],
        &[&with("connection: close\r\n")],
        &[&with("content-length: 3\r\n"), "abc"],
        &[&with("transfer-encoding: chunked\r\n"), "0\r\n\r\n"],
        &[&poll.repeat(2)],
    ];
    for pieces in asked {
        let mut wire = listener.connect().await;
        for piece in pieces {
            send_piece(&mut wire, piece).await;
        }
        for _ in 0..pieces.concat().matches("HTTP/1.").count() {
            wire.answer().await.expect(200);
        }
        wire.finish().await;
        wire.ends().await;
        assert_eq!(listener.at_once(), 0, "{pieces:?}");
    }
    // What stands in a body is not asked.
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
        assert_eq!(listener.at_once(), 0);
    }
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_head_may_come_in_pieces() {
    let (listener, alice, poll) = polling_with(|config| config.http.header_bytes_max = 131_072).await;
    let template = |bytes: usize| {
        let long = format!("x: {}\r\n", "x".repeat(bytes));
        get("/v1/template/party", &alice, &long)
    };
    let mut wire = listener.connect().await;
    // What was too long to wait for is past following.
    for (asked, at_once) in
        [(&poll, 1), (&template(20_000), 0), (&poll, 1), (&template(50_000), 0), (&poll, 0)]
    {
        for cuts in [
            vec![1],
            vec![asked.len() / 2],
            vec![5, 100, asked.len() - 1],
            (0..asked.len()).step_by(97).collect(),
        ] {
            let (mut sent, before) = (0, listener.at_once());
            for cut in cuts.into_iter().chain([asked.len()]) {
                send_piece(&mut wire, &asked[sent..cut]).await;
                sent = cut;
            }
            wire.answer().await.expect(200);
            assert_eq!(listener.at_once() - before, at_once);
        }
    }
    // Half a head, and then nothing: the end of the connection.
    let mut wire = listener.connect().await;
    send_piece(&mut wire, &poll[..poll.len() / 2]).await;
    wire.finish().await;
    wire.ends().await;
    listener.goes_on(&alice).await;
}

#[tokio::test]
async fn a_poll_waits_for_what_was_asked_before() {
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
async fn who_polls_is_not_silent_and_who_stops_is() {
    let (listener, alice, poll) = polling().await;
    let mut wire = listener.connect().await;
    for polls in 1..=5 {
        wire.send(&poll).await;
        wire.answer().await.expect(200);
        assert_eq!(listener.at_once(), polls);
        tokio::time::sleep(Duration::from_secs(70)).await;
    }
    let started = Instant::now();
    wire.ends().await;
    let silent_s = 70 + started.elapsed().as_secs();
    assert!((75..=150).contains(&silent_s), "{silent_s} s, where head_timeout_s is 75");

    // A head that never ends wins no time by polls before it.
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
async fn who_does_not_take_answers_is_cut_off() {
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
    // Until the server reads no more, since it cannot be rid of its answers.
    while since < 10 {
        send_piece(&mut wire, &poll).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        since = if listener.at_once() == answered { since + 1 } else { 0 };
        answered = listener.at_once();
    }
    let started = Instant::now();
    listener.serves(0).await;
    let took = started.elapsed().as_secs();
    // The time begins anew where the system finds room for a little more.
    assert!((25..=95).contains(&took), "{took} s, where write_timeout_s is 30");
    assert!(answered > 1 && wire.ended().await.starts_with(b"HTTP/1.1 200"));
    listener.goes_on(&alice).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_who_only_polls() {
    let (listener, _, poll) = polling().await;
    let mut wire = listener.connect().await;
    wire.send(&poll).await;
    wire.answer().await.expect(200);
    assert_eq!(listener.at_once(), 1);
    let stopped = Instant::now();
    listener.stop();
    wire.ends().await;
    listener.serves(0).await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn a_poll_comes_after_a_large_answer_that_is_taken_slowly() {
    let (listener, alice, poll) = polling().await;
    let mut wire = listener.connect_narrow().await;
    let bundle = "/docs/swagger-ui-bundle.js";
    // The second with a body that nobody reads.
    for headers in ["", "content-length: 4\r\n\r\nbody"] {
        let end = if headers.is_empty() { "\r\n" } else { "" };
        let asked = format!("GET {bundle} HTTP/1.1\r\nhost: localhost\r\n{headers}{end}");
        send_piece(&mut wire, asked).await;
        send_piece(&mut wire, &poll).await;
        let bundle = wire.answer().await.expect(200);
        assert!(bundle.bytes.len() > 1_000_000);
        assert_eq!(wire.answer().await.expect(200).body["platform_session_id_base64"], XBOX_ID);
    }
    listener.goes_on(&alice).await;
}

/// A request that may be sent among others, and what is seen in its answer.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Poll,
    Template,
    Create,
    /// A body that reads like a poll, framed by its length, or in chunks.
    PollInBody,
    PollInChunks,
}

impl Asked {
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
    fn however_requests_are_cut_each_is_answered_once_and_in_its_turn(
        asked in prop::collection::vec(
            select(&[Asked::Poll, Asked::Poll, Asked::Template, Asked::Create, Asked::PollInBody, Asked::PollInChunks]),
            1..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        cuts_between in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (listener, alice, poll) = polling().await;
            let (mut all, mut ends) = (String::new(), Vec::new());
            for request in &asked {
                all += &request.text(&alice, &poll);
                ends.push(all.len());
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len())).collect();
            if cuts_between {
                cuts.extend(&ends);
            }
            cuts.push(all.len());
            cuts.sort_unstable();
            let (mut wire, mut sent) = (listener.connect().await, 0);
            for cut in cuts {
                send_piece(&mut wire, &all[sent..cut]).await;
                sent = cut;
            }
            for request in &asked {
                let answer = wire.answer().await.expect(request.status());
                let is_poll = matches!(request, Asked::Poll);
                assert_eq!(answer.body["platform_session_id_base64"] == XBOX_ID, is_poll);
            }
            wire.send(get("/v1/template/party", &alice, "connection: close\r\n")).await;
            wire.answer().await.expect(200);
            wire.ends().await;
        });
    }
}
