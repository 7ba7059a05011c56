//! The allocator `agones` against its allocator service.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rallypoint::allocators::agones::{Agones, Settings};
use rallypoint::allocators::{
    Allocator as _, CallLimits, Found, Placed, Placement, Reason, ReleaseMode, Released,
};
use serde_json::json;
use tempfile::TempDir;

use super::{check_conformance, launch};
use crate::support::stand_in::agones::{Agones as StandIn, Fault, failure};
use crate::support::stand_in::{Reply, copy_certificate, tls_file};

/// How long a lost call waits before it is repeated.
const CACHE_LAG: Option<Duration> = Some(Duration::from_secs(3));

/// An allocator, and the directory of its certificate.
pub(super) struct Made {
    pub allocator: Agones,
    pub dir: TempDir,
}

fn settings(url: &str, dir: &Path) -> Settings {
    Settings {
        url: url.into(),
        ca_file: Some(tls_file("ca.pem")),
        certificate_and_key: Some(copy_certificate("client", dir)),
        namespace: "games".into(),
        fleet: "fleet".into(),
        label_prefix: "rallypoint.dev".into(),
        port_name: None,
        base_url: "https://sessions.example.com:443".into(),
        calls: CallLimits { calls_max: 16, timeout: Duration::from_secs(10) },
    }
}

pub(super) fn made_with(url: &str, change: impl FnOnce(&mut Settings)) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(url, dir.path());
    change(&mut settings);
    Made { allocator: Agones::new(settings).unwrap(), dir }
}

pub(super) fn made(url: &str) -> Made {
    made_with(url, |_| {})
}

/// An allocator whose certificate the service does not trust.
pub(super) fn made_as_stranger(url: &str) -> Made {
    let made = made(url);
    copy_certificate("stranger", made.dir.path());
    made
}

async fn place(made: &Made, allocation_id: &str) -> Placement {
    made.allocator.place(&launch(allocation_id)).await
}

fn placed(name: &str, port: Option<u16>) -> Placement {
    Placement::Placed(Placed { handle: name.into(), host: Some("198.51.100.7".into()), port })
}

#[tokio::test]
async fn requests_are_those_of_the_published_interface() {
    let service = StandIn::start(1).await;
    let made = made(&service.url);
    assert_eq!(made.allocator.find("a1").await, Found::Absent);
    assert_eq!(place(&made, "a1").await, placed("fleet-1", Some(7000)));
    let find = concat!(
        r#"{"namespace":"games","scheduling":"Packed","gameServerSelectors":["#,
        r#"{"matchLabels":{"rallypoint.dev/allocation":"a1"},"gameServerState":"ALLOCATED"}]}"#,
    );
    let place = concat!(
        r#"{"namespace":"games","scheduling":"Packed","gameServerSelectors":["#,
        r#"{"matchLabels":{"rallypoint.dev/allocation":"a1"},"gameServerState":"ALLOCATED"},"#,
        r#"{"matchLabels":{"agones.dev/fleet":"fleet"},"gameServerState":"READY"}],"#,
        r#""metadata":{"labels":{"rallypoint.dev/allocation":"a1"},"annotations":{"#,
        r#""rallypoint.dev/base-url":"https://sessions.example.com:443","#,
        r#""rallypoint.dev/instance":"22222222-2222-4222-8222-222222222222","#,
        r#""rallypoint.dev/session":"11111111-1111-4111-8111-111111111111"}}}"#,
    );
    let state = service.state.lock().unwrap();
    assert_eq!(state.asked, [find, place]);
    let server = &state.servers[0];
    assert_eq!(server.labels["rallypoint.dev/allocation"], "a1");
    assert_eq!(server.labels["agones.dev/fleet"], "fleet");
    assert_eq!(server.annotations["rallypoint.dev/session"], "11111111-1111-4111-8111-111111111111");
}

#[tokio::test]
async fn the_prefix_of_the_labels_is_a_setting() {
    let service = StandIn::start(1).await;
    let made = made_with(&service.url, |settings| settings.label_prefix = "games.example.com".into());
    place(&made, "a1").await;
    let state = service.state.lock().unwrap();
    assert_eq!(state.servers[0].labels["games.example.com/allocation"], "a1");
    assert_eq!(state.servers[0].annotations.len(), 3);
}

#[tokio::test]
async fn the_port_is_the_first_one_or_that_of_a_name() {
    for (ports, port_name, expected) in [
        (&[][..], None, Ok(None)),
        (&[("game", 7001)], None, Ok(Some(7001))),
        (&[("game", 7001), ("query", 7002)], None, Ok(Some(7001))),
        (&[("game", 7001), ("query", 7002)], Some("query"), Ok(Some(7002))),
        (
            &[("game", 7001)],
            Some("query"),
            Err("game server fleet-1 has no port named \"query\"; its bridge ends it"),
        ),
        (&[], Some("query"), Err("game server fleet-1 has no port named \"query\"; its bridge ends it")),
    ] {
        let service = StandIn::start(0).await;
        service.add(ports);
        let made = made_with(&service.url, |settings| settings.port_name = port_name.map(str::to_owned));
        let expected = match expected {
            Ok(port) => placed("fleet-1", port),
            Err(detail) => {
                expect_refusal(&place(&made, "a1").await, detail);
                continue;
            }
        };
        assert_eq!(place(&made, "a1").await, expected);
    }
}

#[tokio::test]
async fn an_allocation_has_one_server_however_often_it_is_asked() {
    let service = StandIn::start(2).await;
    let made = made(&service.url);
    for _ in 0..3 {
        assert_eq!(place(&made, "a1").await, placed("fleet-1", Some(7000)));
    }
    assert_eq!(place(&made, "a2").await, placed("fleet-2", Some(7000)));
    assert_eq!(service.allocated(), 2);
    let no_capacity = Placement::Later {
        retry_after: None,
        reason: Reason::NoCapacity,
        detail: "the allocator service answered 429: code 8".into(),
    };
    assert_eq!(place(&made, "a3").await, no_capacity);
    service.add(&[("default", 7000)]);
    assert_eq!(place(&made, "a3").await, placed("fleet-3", Some(7000)));
}

#[tokio::test]
async fn a_lost_answer_loses_no_server() {
    for fault in [
        Fault::TakeAndDrop,
        Fault::TakeAndAnswer(failure(503, 14)),
        Fault::TakeAndAnswer(failure(504, 4)),
        Fault::TakeAndAnswer(failure(500, 2)),
        Fault::TakeAndAnswer(Reply::json(502, "<html>bad gateway</html>")),
        Fault::TakeAndAnswer(Reply::json(200, "x".repeat(65_537))),
    ] {
        let service = StandIn::start(2).await;
        let made = made(&service.url);
        service.will(fault);
        let Placement::Unknown { retry_after, .. } = place(&made, "a1").await else { panic!("known") };
        assert_eq!(retry_after, CACHE_LAG);
        let Found::Placed(found) = made.allocator.find("a1").await else { panic!("not found") };
        assert_eq!(place(&made, "a1").await, Placement::Placed(found));
        assert_eq!(service.allocated(), 1);
    }
}

/// The pause is for this: a service that does not see its own label yet takes a second server.
#[tokio::test]
async fn a_repeat_finds_the_server_only_after_the_service_has_seen_its_label() {
    let service = StandIn::start(2).await;
    let made = made(&service.url);
    service.will(Fault::TakeAndDrop);
    assert!(matches!(place(&made, "a1").await, Placement::Unknown { retry_after: CACHE_LAG, .. }));
    service.state.lock().unwrap().lags = true;
    assert_eq!(made.allocator.find("a1").await, Found::Absent);
    service.state.lock().unwrap().lags = false;
    assert_eq!(place(&made, "a1").await, placed("fleet-1", Some(7000)));
    assert_eq!(service.allocated(), 1);
}

#[tokio::test]
async fn every_failure_has_its_meaning() {
    let service = StandIn::start(1).await;
    let made = made(&service.url);
    let contention = Some(Duration::from_millis(500));
    let (later, unknown) = ("later", "unknown");
    for (reply, expected, pause) in [
        (failure(429, 8), "later NoCapacity", None),
        (failure(409, 10), "later Unavailable", contention),
        // A setting of the service, or a proxy, can change the status. The code stays.
        (failure(503, 8), "later NoCapacity", None),
        (failure(404, 8), "later NoCapacity", None),
        (failure(500, 10), "later Unavailable", contention),
        (failure(400, 14), "unknown", CACHE_LAG),
        (failure(503, 7), "never Misconfigured", None),
        (Reply::json(429, "busy"), "later NoCapacity", None),
        (Reply::json(409, "busy"), "later Unavailable", contention),
        // The service passes the status of Kubernetes on as a code that the gateway does not know.
        (failure(500, 409), "later Unavailable", contention),
        (failure(500, 422), "never Misconfigured", None),
        (failure(500, 13), "unknown", CACHE_LAG),
        (failure(503, 14), "unknown", CACHE_LAG),
        (Reply::Drop, "unknown", CACHE_LAG),
        (failure(400, 3), "never Misconfigured", None),
        (failure(401, 16), "never Misconfigured", None),
        (failure(403, 7), "never Misconfigured", None),
        (failure(404, 5), "never Misconfigured", None),
        (failure(501, 12), "never Misconfigured", None),
        (Reply::json(301, "").with("location", &service.url), "never Misconfigured", None),
        (Reply::json(200, "<html>another service</html>"), "never Misconfigured", None),
        (Reply::json(200, json!({ "gameServerName": "" })), "never Misconfigured", None),
        (
            Reply::json(200, json!({ "gameServerName": "fleet-1", "address": "" })),
            "never Misconfigured",
            None,
        ),
    ] {
        service.will(Fault::Answer(reply));
        let (kind, reason, retry_after) = match place(&made, "a1").await {
            Placement::Later { retry_after, reason, .. } => (later, Some(reason), retry_after),
            Placement::Never { reason, .. } => ("never", Some(reason), None),
            Placement::Unknown { retry_after, .. } => (unknown, None, retry_after),
            placed @ Placement::Placed(_) => panic!("{placed:?}"),
        };
        let kind = reason.map_or(kind.to_owned(), |reason| format!("{kind} {reason:?}"));
        assert_eq!((kind.as_str(), retry_after), (expected, pause));
    }
    for reply in [failure(503, 14), failure(409, 10), failure(403, 7), Reply::Drop] {
        service.will(Fault::Answer(reply));
        assert_eq!(made.allocator.find("a1").await, Found::CannotTell);
    }
    assert_eq!(service.allocated(), 0);
}

#[tokio::test]
async fn a_server_is_released_when_it_has_ended_by_itself() {
    let service = StandIn::start(1).await;
    let made = made(&service.url);
    place(&made, "a1").await;
    for mode in [ReleaseMode::Soft, ReleaseMode::Hard] {
        assert_eq!(made.allocator.release("a1", Some("fleet-1"), mode).await, Released::Later);
    }
    service.shut_down("a1");
    assert_eq!(made.allocator.release("a1", Some("fleet-1"), ReleaseMode::Hard).await, Released::Gone);
    assert_eq!(made.allocator.release("unknown", None, ReleaseMode::Soft).await, Released::Gone);
    assert_eq!(made.allocator.find("a1").await, Found::Absent);
}

#[tokio::test]
async fn it_does_what_every_allocator_does() {
    let service = StandIn::start(3).await;
    let made = made(&service.url);
    check_conformance(&made.allocator, async |allocation_id| service.shut_down(allocation_id)).await;
    assert_eq!(service.allocated(), 1);
}

#[track_caller]
fn expect_refusal(placement: &Placement, expected: &str) {
    let Placement::Never { reason: Reason::Misconfigured, detail } = placement else {
        panic!("{placement:?}");
    };
    assert!(detail.contains(expected), "{detail}");
}

#[tokio::test]
async fn without_trust_on_both_sides_nothing_is_asked() {
    let service = StandIn::start(1).await;
    let stranger = made_as_stranger(&service.url);
    let refused = "the server refuses the certificate of this client, or requires one";
    expect_refusal(&place(&stranger, "a1").await, refused);
    let nobody = made_with(&service.url, |settings| settings.certificate_and_key = None);
    expect_refusal(&place(&nobody, "a1").await, refused);
    let trusting_another = made_with(&service.url, |settings| {
        settings.ca_file = Some(tls_file("stranger-ca.pem"));
    });
    expect_refusal(&place(&trusting_another, "a1").await, "set ca_file to the file of its");
    assert_eq!(trusting_another.allocator.find("a1").await, Found::CannotTell);
    let expired = StandIn::start_with(1, "expired").await;
    let trusting = made_with(&expired.url, |settings| settings.ca_file = Some(tls_file("stranger-ca.pem")));
    expect_refusal(&place(&trusting, "a1").await, "certificate has expired");
    for service in [service, expired] {
        assert!(service.state.lock().unwrap().asked.is_empty());
    }
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let service = StandIn::start(1).await;
    let made = made(&service.url);
    assert_eq!(place(&made, "a1").await, placed("fleet-1", Some(7000)));
    // A certificate without its key is no pair. Until the key is there, the old pair stays in force.
    let path = made.dir.path().join("client.pem");
    std::fs::write(path, std::fs::read(tls_file("stranger.pem")).unwrap()).unwrap();
    assert_eq!(place(&made, "a1").await, placed("fleet-1", Some(7000)));
    copy_certificate("stranger", made.dir.path());
    expect_refusal(&place(&made, "a1").await, "refuses the certificate");
    copy_certificate("client", made.dir.path());
    assert_eq!(place(&made, "a1").await, placed("fleet-1", Some(7000)));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open.key");
    std::fs::copy(tls_file("client.key"), &open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let good = "https://agones-allocator.example.com";
    let pair = |certificate: &str, key: PathBuf| Some((tls_file(certificate), key));
    let certificate = |value: Option<(PathBuf, PathBuf)>| {
        move |settings: &mut Settings| settings.certificate_and_key = value
    };
    let (_, key) = copy_certificate("client", dir.path());
    type Change = Box<dyn FnOnce(&mut Settings)>;
    let cases: [(&str, Change, &str); 11] = [
        ("http://agones.example.com", Box::new(|_| {}), "url must start with https://"),
        ("https://agones.example.com/path", Box::new(|_| {}), "url must have no path"),
        ("https://me@agones.example.com", Box::new(|_| {}), "url must have no path and no user"),
        ("https://:443", Box::new(|_| {}), "url is not a URL such as https://"),
        (good, Box::new(|settings| settings.fleet = "My fleet".into()), "fleet \"My fleet\" is not a name"),
        (good, Box::new(|settings| settings.namespace = String::new()), "namespace \"\" is not a name"),
        (good, Box::new(|settings| settings.label_prefix = "a/b".into()), "label_prefix \"a/b\" is not"),
        (good, Box::new(certificate(pair("client.pem", open))), "every user of this machine can read it"),
        (good, Box::new(certificate(pair("stranger.pem", key.clone()))), "client.key: "),
        (good, Box::new(certificate(pair("absent.pem", key))), "absent.pem: "),
        (good, Box::new(|settings| settings.ca_file = Some(tls_file("client.key"))), "no certificate"),
    ];
    for (url, change, expected) in cases {
        let mut settings = settings(url, dir.path());
        change(&mut settings);
        let message = Agones::new(settings).err().unwrap();
        assert!(message.contains(expected), "{message}");
    }
}
