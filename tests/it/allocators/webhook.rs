//! The allocator `webhook` against a studio's service.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use rallypoint::allocators::webhook::{Settings, Webhook};
use rallypoint::allocators::{
    Allocator as _, CallLimits, Found, Placed, Placement, Reason, ReleaseMode, Released,
};
use rallypoint::env::Clock;
use serde_json::json;
use tempfile::TempDir;

use super::{check_conformance, launch};
use crate::support::stand_in::Reply;
use crate::support::stand_in::webhook::{Fault, Webhook as StandIn};

pub(super) const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// 1,700,000,000 seconds since the epoch.
const NOW: &str = "2023-11-14T22:13:20Z";

/// An allocator, and the directory of its secret.
pub(super) struct Made {
    pub allocator: Webhook,
    pub clock: Clock,
    _dir: TempDir,
}

fn secret_file(dir: &TempDir, text: &str, mode: u32) -> PathBuf {
    let path = dir.path().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn settings(url: &str, secret_file: PathBuf) -> Settings {
    let calls = CallLimits { calls_max: 16, timeout: Duration::from_secs(10) };
    Settings { url: url.into(), secret_file, ca_file: None, calls }
}

pub(super) fn made(url: &str, secrets: &str) -> Made {
    made_with(url, secrets, |_| {})
}

pub(super) fn made_with(url: &str, secrets: &str, change: impl FnOnce(&mut Settings)) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW.parse::<Timestamp>().unwrap());
    let mut settings = settings(url, secret_file(&dir, secrets, 0o600));
    change(&mut settings);
    Made { allocator: Webhook::new(&settings, clock.clone()).unwrap(), clock, _dir: dir }
}

fn placed(handle: &str) -> Placed {
    Placed { handle: handle.into(), host: Some("games.example.com".into()), port: Some(7777) }
}

async fn place(made: &Made, allocation_id: &str) -> Placement {
    made.allocator.place(&launch(allocation_id)).await
}

#[tokio::test]
async fn calls_are_signed_and_name_what_they_are_about() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    assert_eq!(place(&made, "a1").await, Placement::Placed(placed("server-1")));
    assert_eq!(made.allocator.find("a1").await, Found::Placed(placed("server-1")));
    for expected in [ReleaseMode::Soft, ReleaseMode::Hard] {
        assert_eq!(made.allocator.release("a1", Some("server-1"), expected).await, Released::Gone);
    }
    assert_eq!(made.allocator.find("a1").await, Found::Absent);
    let state = service.state.lock().unwrap();
    let headers = state.asked.iter().map(|(asked, _)| {
        assert_eq!(asked.header("webhook-timestamp"), "1700000000");
        assert_eq!(asked.header("content-type"), "application/json");
        let names = ["webhook-id", "idempotency-key", "rallypoint-release-mode"];
        names.map(|name| asked.header(name).to_owned())
    });
    let headers: Vec<_> = headers.collect();
    let expected = [
        ["a1_place", "\"a1.place\"", ""],
        ["a1_find", "", ""],
        ["a1_release", "\"a1.release\"", "soft"],
        ["a1_release", "\"a1.release\"", "hard"],
        ["a1_find", "", ""],
    ];
    assert_eq!(headers, expected.map(|headers| headers.map(str::to_owned)));
    let bodies: Vec<_> = state.asked.iter().map(|(_, body)| body.clone()).collect();
    let place = json!({
        "event": "place",
        "allocation_id": "a1",
        "session_id": "11111111-1111-4111-8111-111111111111",
        "instance_id": "22222222-2222-4222-8222-222222222222",
        "session_type": "match",
        "region_id": "eu",
        "startup_params": { "map": "Dunes", "misc_params": "?Listen" },
        "custom_data": { "season": "3" },
        "requested_at": "2026-11-30T12:00:00Z",
        "attempt": 1,
    });
    // Services may compare the bodies of calls with the same key.
    let release = json!({ "event": "release", "allocation_id": "a1", "handle": "server-1" });
    let find = json!({ "event": "find", "allocation_id": "a1" });
    assert_eq!(bodies, [place, find.clone(), release.clone(), release, find]);
}

#[tokio::test]
async fn while_a_key_is_replaced_both_keys_sign() {
    for accepted in [SECRET, OTHER] {
        let service = StandIn::start(&[accepted]).await;
        let made = made(&service.url, &format!("{SECRET}\n{OTHER}\n"));
        assert_eq!(place(&made, "a1").await, Placement::Placed(placed("server-1")));
    }
    let service = StandIn::start(&[OTHER]).await;
    let made = made(&service.url, SECRET);
    let detail = "the service answered 401: bad_signature: the signature is wrong".to_owned();
    assert_eq!(place(&made, "a1").await, Placement::Never { reason: Reason::Refused, detail });
    assert!(service.state.lock().unwrap().asked.is_empty());
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_finds_the_same_server_and_is_the_same_call() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    for fault in [Fault::LoseAnswer, Fault::AnswerInstead(Reply::json(502, "a proxy lost it"))] {
        service.will(fault);
        assert!(matches!(place(&made, "a1").await, Placement::Unknown { retry_after: None, .. }));
        made.clock.advance(Duration::from_secs(3));
    }
    assert_eq!(place(&made, "a1").await, Placement::Placed(placed("server-1")));
    let state = service.state.lock().unwrap();
    assert_eq!((state.asked.len(), state.started), (3, 1));
    let (first, _) = &state.asked[0];
    for (index, (asked, _)) in state.asked.iter().enumerate() {
        assert_eq!(asked.body, first.body);
        assert_eq!(asked.header("webhook-id"), "a1_place");
        assert_eq!(asked.header("idempotency-key"), "\"a1.place\"");
        // Each has a timestamp of its own: services refuse old ones.
        assert_eq!(asked.header("webhook-timestamp"), (1_700_000_000 + 3 * index).to_string());
    }
}

#[tokio::test]
async fn a_server_that_takes_longer_is_found_later() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    for (body, expected) in [
        (json!({ "handle": "server-1", "retry_after_s": 7 }), Some(7)),
        (json!({ "retry_after_s": 600 }), Some(30)),
        (json!({ "retry_after_s": 0 }), Some(1)),
        (json!({}), None),
        (json!("soon"), None),
    ] {
        service.will(Fault::TakesLonger(body));
        let Placement::Unknown { retry_after, is_starting: true, .. } = place(&made, "a1").await else {
            panic!("it is being started")
        };
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
    assert_eq!(made.allocator.find("a1").await, Found::Starting);
    // The service has asked for a second.
    made.clock.advance(Duration::from_secs(1));
    assert_eq!(made.allocator.find("a1").await, Found::Placed(placed("server-1")));
    assert_eq!(service.state.lock().unwrap().started, 1);
}

/// What a test expects of an answer to `place`: the kind, the pause, and a part of the detail.
fn expect(placement: &Placement, expected: &str, pause_s: Option<u64>, part: &str) {
    let (kind, pause, detail) = match placement {
        Placement::Placed(_) => ("placed".to_owned(), None, String::new()),
        Placement::Later { retry_after, reason, detail } => {
            (format!("later {reason:?}"), *retry_after, detail.clone())
        }
        Placement::Never { reason, detail } => (format!("never {reason:?}"), None, detail.clone()),
        Placement::Unknown { retry_after, detail, .. } => {
            ("unknown".to_owned(), *retry_after, detail.clone())
        }
    };
    assert_eq!((kind.as_str(), pause), (expected, pause_s.map(Duration::from_secs)), "{placement:?}");
    assert!(detail.contains(part), "{placement:?}");
}

#[tokio::test]
async fn every_answer_has_its_meaning() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    let handle = |handle: &str| json!({ "handle": handle }).to_string();
    let busy = |status: u16, seconds: &str| Reply::json(status, "{}").with("retry-after", seconds);
    let elsewhere = || Reply::json(307, "{}").with("location", &service.url);
    let refusal = json!({ "error_code": "no_license", "desc": format!("no\nlicense {}", "x".repeat(500)) });
    let not_whole = json!({ "handle": "server", "port": 0 });
    let bad_host = json!({ "handle": "server", "host": "a host" });
    for (reply, expected, pause_s, part) in [
        (busy(429, "5"), "later Unavailable", Some(5), "429"),
        (busy(503, "86400"), "later Unavailable", Some(60), "503"),
        (busy(503, "Wed, 21 Oct 2026 07:28:00 GMT"), "later Unavailable", None, "503"),
        (Reply::json(429, "{}"), "later Unavailable", None, "429"),
        (elsewhere(), "never Misconfigured", None, "307; redirects are not followed"),
        (Reply::json(403, refusal), "never Refused", None, "403: no_license: no license xxx"),
        (Reply::json(404, "no such page"), "never Refused", None, "answered 404"),
        (Reply::json(409, "{}"), "unknown", None, "409"),
        (Reply::json(500, "{}"), "unknown", None, "500"),
        (Reply::json(204, ""), "unknown", None, "204"),
        (Reply::json(200, "no JSON"), "unknown", None, "200: "),
        (Reply::json(200, "{}"), "unknown", None, "missing field `handle`"),
        (Reply::json(200, handle("")), "unknown", None, "handle must have 1 to 256 bytes"),
        (Reply::json(200, handle(&"h".repeat(257))), "unknown", None, "handle must have 1 to 256 bytes"),
        (Reply::json(200, not_whole), "unknown", None, "port must be at least 1"),
        (Reply::json(200, bad_host), "unknown", None, "host is neither"),
        (Reply::json(200, handle(&"h".repeat(65 * 1024))), "unknown", None, "longer than 65536 bytes"),
        (Reply::Drop, "unknown", None, ""),
    ] {
        service.will(Fault::Answer(reply));
        let placement = place(&made, "a1").await;
        expect(&placement, expected, pause_s, part);
        if let Placement::Never { detail, .. } = placement {
            assert!(detail.chars().count() < 250 && !detail.contains('\n'), "{detail}");
        }
    }
    let bare = Fault::Answer(Reply::json(200, json!({ "handle": "h".repeat(256), "host": null })));
    service.will(bare);
    let expected = Placed { handle: "h".repeat(256), host: None, port: None };
    assert_eq!(place(&made, "a1").await, Placement::Placed(expected));
    let state = service.state.lock().unwrap();
    assert!(state.servers.is_empty() && state.asked.len() == 19, "a redirect was followed");
}

#[tokio::test]
async fn a_release_is_repeated_until_the_server_is_gone() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    place(&made, "a1").await;
    for reply in [Reply::json(202, "{}"), Reply::json(500, ""), Reply::json(409, ""), Reply::Drop] {
        service.will(Fault::Answer(reply));
        assert_eq!(made.allocator.release("a1", None, ReleaseMode::Soft).await, Released::Later);
    }
    service.will(Fault::LoseAnswer);
    assert_eq!(made.allocator.release("a1", None, ReleaseMode::Soft).await, Released::Later);
    assert_eq!(made.allocator.release("a1", None, ReleaseMode::Hard).await, Released::Gone);
    assert_eq!(made.allocator.release("unknown", None, ReleaseMode::Hard).await, Released::Gone);
    for reply in [Reply::json(500, ""), Reply::json(200, "{}"), Reply::Drop] {
        service.will(Fault::Answer(reply));
        assert_eq!(made.allocator.find("a1").await, Found::CannotTell);
    }
}

#[tokio::test]
async fn the_service_says_when_it_is_asked_again() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    place(&made, "a1").await;
    let asked = || service.state.lock().unwrap().asked.len();
    let release = async |mode| made.allocator.release("a1", None, mode).await;
    let starting = || Reply::json(202, json!({ "retry_after_s": 7 }));
    let busy = || Reply::json(429, "{}").with("retry-after", "7");
    for (reply, found) in [(starting as fn() -> Reply, Found::Starting), (busy, Found::CannotTell)] {
        let calls = asked();
        service.will(Fault::Answer(reply()));
        service.will(Fault::Answer(reply()));
        for _ in 0..2 {
            assert_eq!(made.allocator.find("a1").await, found);
            assert_eq!(release(ReleaseMode::Soft).await, Released::Later);
        }
        made.clock.advance(Duration::from_millis(6_999));
        assert_eq!(made.allocator.find("a1").await, found);
        assert_eq!(release(ReleaseMode::Soft).await, Released::Later);
        assert_eq!(asked(), calls + 2, "each was asked once");
        made.clock.advance(Duration::from_millis(1));
    }
    service.will(Fault::Answer(starting()));
    assert_eq!(release(ReleaseMode::Soft).await, Released::Later);
    assert_eq!(made.allocator.find("a1").await, Found::Placed(placed("server-1")));
    // The hard stop does not wait for the soft one.
    assert_eq!(release(ReleaseMode::Hard).await, Released::Gone);
    assert_eq!(made.allocator.find("a1").await, Found::Absent);
}

#[tokio::test]
async fn a_server_that_the_service_refuses_to_stop_is_given_up() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    place(&made, "a1").await;
    let asked = || service.state.lock().unwrap().asked.len();
    let release = async |mode, status| {
        service.will(Fault::Answer(Reply::json(status, json!({ "error_code": "no" }))));
        let calls = asked();
        let released = made.allocator.release("a1", None, mode).await;
        assert_eq!(asked(), calls + 1);
        assert_eq!(made.allocator.release("a1", None, mode).await, Released::Later);
        assert_eq!(asked(), calls + 1, "there is a pause after a refusal");
        made.clock.advance(Duration::from_secs(30));
        released
    };
    for _ in 0..122 {
        assert_eq!(release(ReleaseMode::Soft, 400).await, Released::Later);
    }
    for _ in 0..100 {
        assert_eq!(release(ReleaseMode::Hard, 400).await, Released::Later);
    }
    // Answers about every call: a wrong key, or an error in the service.
    for status in [401, 403, 405, 422] {
        for _ in 0..122 {
            assert_eq!(release(ReleaseMode::Hard, status).await, Released::Later);
        }
    }
    // The hour begins again.
    for _ in 0..120 {
        assert_eq!(release(ReleaseMode::Hard, 400).await, Released::Later);
    }
    service.will(Fault::Answer(Reply::json(400, "{}")));
    assert_eq!(made.allocator.release("a1", None, ReleaseMode::Hard).await, Released::Gone);
}

#[tokio::test]
async fn it_does_what_every_allocator_does() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    check_conformance(&made.allocator, async |_| {}).await;
    let state = service.state.lock().unwrap();
    assert_eq!((state.servers.len(), state.started), (1, 2));
}

#[tokio::test]
async fn a_service_that_is_off_has_taken_nothing() {
    let service = StandIn::start(&[SECRET]).await;
    let made = made(&service.url, SECRET);
    drop(service);
    // The listener closes when its task has ended.
    loop {
        match place(&made, "a1").await {
            Placement::Later { retry_after: None, reason: Reason::Unavailable, .. } => break,
            Placement::Unknown { .. } => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.allocator.find("a1").await, Found::CannotTell);
}

#[tokio::test]
async fn at_most_sixteen_calls_are_under_way_and_stops_take_no_place_of_starts() {
    let service = StandIn::start(&[SECRET]).await;
    let made = Arc::new(made(&service.url, SECRET));
    let closed = service.gate.acquire_many(10_000).await.unwrap();
    let releases = (0..16).map(|index| {
        let made = made.clone();
        tokio::spawn(
            async move { made.allocator.release(&format!("r{index}"), None, ReleaseMode::Soft).await },
        )
    });
    let releases: Vec<_> = releases.collect();
    let calls = (0..17).map(|index| {
        let made = made.clone();
        tokio::spawn(async move { place(&made, &format!("a{index}")).await })
    });
    let mut calls: Vec<_> = calls.collect();
    let (first, index, _) = futures_util::future::select_all(&mut calls).await;
    expect(&first.unwrap(), "later Unavailable", None, "16 calls are under way");
    drop(calls.remove(index));
    drop(closed);
    for placement in join_all(calls).await {
        assert!(matches!(placement.unwrap(), Placement::Placed(_)));
    }
    assert!(join_all(releases).await.into_iter().all(|released| released.unwrap() == Released::Gone));
    assert_eq!(service.state.lock().unwrap().started, 16);
}

#[test]
fn bad_settings_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |url: &str, text: &str, mode: u32| {
        Webhook::new(&settings(url, secret_file(&dir, text, mode)), Clock::System).err().unwrap()
    };
    let https = "https://servers.example.com/rallypoint";
    for (url, text, mode, expected) in [
        ("http://servers.example.com/", SECRET, 0o600, "url must start with https://"),
        ("servers", SECRET, 0o600, "url is not a URL such as https://"),
        (https, SECRET, 0o644, "secret: every user of this machine can read it"),
        (https, "", 0o600, "secret: it has 0 keys"),
        (https, "whsec_abc", 0o600, "secret: a key is whsec_"),
    ] {
        let message = refused(url, text, mode);
        assert!(message.contains(expected), "{message}");
    }
}
