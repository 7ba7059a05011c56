//! Malformed requests: the answer is never a server error and always matches the API document, which the harness
//! checks.
//!
//! Targets run for a time, not for a number of cases: one seed after another, each with its own server. A failure is
//! printed in its smallest form, with the seed that reproduces it.

mod bodies;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Union;
use proptest::test_runner::{RngSeed, TestError, TestRunner};
use rallypoint::env::Entropy;
use rallypoint::runtime::server::all_surfaces;
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};

use crate::harness::wire::{Listener, create, get, head};
use crate::harness::{Server, XBOX_ID, creation, platform_path};

/// Run time of all targets together, in seconds. The environment variable `FUZZ_S` overrides it.
const FUZZ_S: u64 = 30;
/// Number of targets that share the run time.
const TARGETS: u32 = 2;
/// Cases per seed: few, because the run time is checked between seeds.
const CASES: u32 = 200;
/// Limit of the attempts to shrink a failing case.
const SHRINKS_MAX: u32 = 4000;

/// Placeholder in a path for an existing session.
const KNOWN: &str = "known-session";
/// A kind of desertion.
const DESERTER: &str = "00000000-0000-0000-0000-0000000000d1";
/// Placeholder in a header for the ETag of that session.
const KNOWN_TAG: &str = "\"known-tag\"";

/// Method and path of an operation, and the prefix of its surface.
#[derive(Clone, Debug)]
struct Row {
    method: Method,
    prefix: &'static str,
    path: &'static str,
}

fn rows() -> Vec<Row> {
    let rows = all_surfaces().into_iter().flat_map(|surface| {
        let row = move |(method, path)| Row { method, prefix: surface.prefix, path };
        surface.operations.into_iter().map(|operation| (operation.method, operation.path)).map(row)
    });
    rows.collect()
}

/// A malformed request without a caller.
#[derive(Clone, Debug)]
struct MalformedRequest {
    row: Row,
    /// The path with its parameters filled in.
    path: String,
    query: Option<String>,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

/// A path segment: percent-encoded, or literal characters that are allowed in a path.
fn any_segment() -> impl Strategy<Value = String> {
    let encoded = vec(any::<u8>(), 0..40)
        .prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02X}")).collect::<String>());
    prop_oneof![
        select(vec![
            "XboxLive",
            "PSN",
            "me",
            XBOX_ID,
            "party",
            "%00",
            "..",
            "00000000-0000-0000-0000-000000000000"
        ])
        .prop_map(str::to_owned),
        encoded,
        "[A-Za-z0-9._~!$&'()*+,;=:@%{}-]{0,40}",
        (4090..4100_usize).prop_map(|chars| "x".repeat(chars)),
    ]
}

fn any_query() -> impl Strategy<Value = String> {
    prop_oneof![
        "(refresh_ttl|reason)=(true|0|x|%FF|%00|)(&(refresh_ttl|reason)=[a-z0-9%+]{0,8})?",
        "[A-Za-z0-9=&%+;/?:@!$'()*,._~-]{0,60}",
    ]
}

/// Bytes that HTTP allows in a header value.
fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xFF_u8, select(b"\",;= W/*".to_vec())];
    vec(byte, 0..60)
}

/// One of these values, or any other.
fn any_header_like(values: &[&str]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    prop_oneof![4 => select(values), 1 => any_header()]
}

fn any_if_match() -> impl Strategy<Value = Vec<u8>> {
    let (weak, list) = (format!("W/{KNOWN_TAG}"), format!("\"x\", {KNOWN_TAG}"));
    any_header_like(&[KNOWN_TAG, "\"old\"", &weak, "*", &list, "W/\"x\", \"y\"", "\"x", "*, *", ""])
}

fn any_prefer() -> impl Strategy<Value = Vec<u8>> {
    let (waits, broken) = (["wait=0", "wait=1", "wait=99999999999"], ["wait=-1", "wait", "=", "return"]);
    let minimal = ["return=minimal", "wait=1, return=minimal"];
    any_header_like(&[&waits[..], &minimal, &broken].concat())
}

fn any_headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let prefixed =
        |prefix: &'static str| any_header().prop_map(move |value| [prefix.as_bytes(), &value].concat());
    let long_key = "k".repeat(256);
    let header = prop_oneof![
        1 => any_header_like(&[KNOWN_TAG]).prop_map(|value| ("if-none-match", value)),
        1 => any_header().prop_map(|value| ("authorization", value)),
        1 => prefixed("Bearer ").prop_map(|value| ("authorization", value)),
        1 => any_header().prop_map(|value| ("cookie", value)),
        1 => prefixed("access_token=").prop_map(|value| ("cookie", value)),
        1 => any_header().prop_map(|value| ("content-type", value)),
        // The same keys again and again, so that requests are repeated.
        2 => any_header_like(&["one", "\"one\"", "two", "\"", "a b", "", &long_key])
            .prop_map(|value| ("idempotency-key", value)),
        4 => any_if_match().prop_map(|value| ("if-match", value)),
        2 => any_prefer().prop_map(|value| ("prefer", value)),
    ];
    vec(header, 0..4)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        select(vec!["XboxLive", "gamepad", "leader", "true", "-1"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name = prop_oneof![Just("platform".to_owned()), Just("max_size".to_owned()), ".{0,6}"];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name, inner), 0..6).prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// A body that the operation accepts, with up to two values replaced.
fn any_changed_body(row: &Row) -> impl Strategy<Value = Value> + use<> {
    let valid = bodies::valid(&row.method, row.path, row.prefix);
    vec((any::<Index>(), any_json()), 0..3).prop_map(move |changes| {
        let mut body = valid.clone();
        for (at, with) in changes {
            let pointers = pointers(&body);
            if let Some(value) = body.pointer_mut(&pointers[at.index(pointers.len())]) {
                *value = with;
            }
        }
        body
    })
}

/// The JSON pointers of a value and of every value within it.
fn pointers(value: &Value) -> Vec<String> {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    let below = inside.into_iter().flat_map(|(name, value)| {
        pointers(value).into_iter().map(move |pointer| format!("/{name}{pointer}"))
    });
    std::iter::once(String::new()).chain(below).collect()
}

fn any_body(row: &Row) -> impl Strategy<Value = Vec<u8>> + use<> {
    let text = |value: Value| value.to_string().into_bytes();
    let cut = (any_changed_body(row), any::<Index>()).prop_map(move |(body, at)| {
        let mut cut = text(body);
        cut.truncate(at.index(cut.len()));
        cut
    });
    prop_oneof![
        6 => any_changed_body(row).prop_map(text),
        2 => any_json().prop_map(text),
        1 => vec(any::<u8>(), 0..80),
        1 => cut,
    ]
}

/// A path with its parameters filled in, some of them valid.
fn any_path(path: &'static str) -> BoxedStrategy<String> {
    let mut filled = Just(String::new()).boxed();
    for segment in path.split('/').skip(1) {
        let valid = match segment {
            "{platform}" => vec!["XboxLive", "PSN", "Steam"],
            "{session_id}" => vec![KNOWN],
            "{platform_session_id_base64}" => vec![XBOX_ID, "YQ=="],
            "{player_uuid}" => vec!["6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31", "me"],
            "{session_type}" => vec!["party", "game"],
            "{invited_session_id}:invite" => vec!["known-session:invite"],
            "{session_id}:generate-short-code" => vec!["known-session:generate-short-code"],
            "{kicked_session_id}" => vec![KNOWN],
            "{player_uuid}:invite" => vec!["6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31:invite"],
            "{player_uuid}:promote" => vec!["6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31:promote"],
            "{player_uuid}:move" => vec!["6f1c4d0e-93a5-4a1e-8d6c-2f0b7a9e5c31:move"],
            "{permission}" => vec!["invite", "kick", "move"],
            "{team_id}" | "{player_id}" => vec!["0", "1", "77"],
            "{allocation_id}" => vec!["an-allocation"],
            "vivox:{vivox_action}" => vec!["vivox:join", "vivox:mute"],
            "{deserter_id}" => vec![DESERTER, "none"],
            "{deserter_id}:clear" => vec!["00000000-0000-0000-0000-0000000000d1:clear"],
            "{notification_id}" => vec!["1", "none"],
            fixed => vec![fixed],
        };
        let weight = u32::from(segment.starts_with('{'));
        let next = prop_oneof![4 => select(valid).prop_map(str::to_owned), weight => any_segment()];
        filled = (filled, next).prop_map(|(path, segment)| format!("{path}/{segment}")).boxed();
    }
    filled
}

/// Any malformed request. Create this strategy once: creating it takes longer than running a case.
fn any_malformed_request() -> impl Strategy<Value = MalformedRequest> {
    let of_row = |row: Row| {
        let query = proptest::option::of(any_query());
        let parts = (any_path(row.path), query, any_headers(), any_body(&row));
        let malformed = parts.prop_map(move |(path, query, headers, body)| MalformedRequest {
            row: row.clone(),
            path,
            query,
            headers,
            body,
        });
        malformed.boxed()
    };
    Union::new(rows().into_iter().map(of_row))
}

impl MalformedRequest {
    /// The HTTP request, with the id and the ETag of an existing session.
    fn request(&self, known: &str, tag: &str, token: Option<&str>) -> Request<Full<Bytes>> {
        let mut uri = format!("{}{}", self.row.prefix, self.path.replace(KNOWN, known));
        if let Some(query) = &self.query {
            uri = format!("{uri}?{query}");
        }
        let mut request = Request::builder().method(&self.row.method).uri(uri);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            let value = match std::str::from_utf8(value) {
                Ok(text) => HeaderValue::from_str(&text.replace(KNOWN_TAG, tag)),
                Err(_) => HeaderValue::from_bytes(value),
            };
            request = request.header(*name, value.unwrap());
        }
        request.body(Full::new(self.body.clone().into())).unwrap()
    }
}

/// Prints its seed if the target panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PROPTEST_RNG_SEED={} reproduces this failure", self.0);
        }
    }
}

/// Runs a target for its share of the run time, with at least one seed. If the environment names a seed, it runs only
/// that one.
fn fuzz(target: impl Fn(TestRunner)) {
    let budget_s = std::env::var("FUZZ_S").map_or(FUZZ_S, |text| text.parse().expect("FUZZ_S is in seconds"));
    let (began, budget) = (Instant::now(), Duration::from_secs(budget_s) / TARGETS);
    let config = ProptestConfig {
        cases: CASES,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut seeds = 0;
    while seeds == 0 || (config.rng_seed == RngSeed::Random && began.elapsed() < budget) {
        let seed = match config.rng_seed {
            RngSeed::Fixed(seed) => Seed(seed),
            RngSeed::Random => Seed(u64::from_le_bytes(Entropy::System.bytes())),
        };
        target(TestRunner::new(ProptestConfig { rng_seed: RngSeed::Fixed(seed.0), ..config.clone() }));
        seeds += 1;
    }
    println!("{seeds} seeds of {CASES} cases each in {:?}", began.elapsed());
}

/// Checks a property for all cases of a seed.
#[track_caller]
fn check<T: std::fmt::Debug>(
    mut runner: TestRunner,
    runtime: &Runtime,
    strategy: impl Strategy<Value = T>,
    property: impl AsyncFn(T) -> Result<(), TestCaseError>,
) {
    match runner.run(&strategy, |input| runtime.block_on(property(input))) {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("{reason}\n{input:?}"),
        Err(error) => panic!("{error}"),
    }
}

fn panicked(server: &Server) -> bool {
    !server.app.metrics.render().contains("rallypoint_panics_total 0\n")
}

#[test]
fn malformed_requests_are_answered_as_documented() {
    let malformed = any_malformed_request();
    fuzz(|runner| malformed_requests(runner, &malformed));
}

fn malformed_requests(runner: TestRunner, malformed: &impl Strategy<Value = MalformedRequest>) {
    // The paused clock advances whenever all tasks wait, so that waits take no real time.
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let server = Server::with_every_surface();
    let (alice, admin) = (server.player(), server.player_with(None, &["session:*"]));
    let callers = [alice.clone(), alice.without_reading(), alice, admin, server.anonymous()];
    let answered = async |(malformed, caller): (MalformedRequest, usize)| {
        // Create-or-join returns the same session, unless a case has ended it.
        let known = callers[0].creates("game").await;
        let tag = callers[0].session(&known).await.etag();
        let may_read = caller != 1;
        let caller = &callers[caller];
        let reply = caller.send_checked(malformed.request(&known, &tag, caller.token.as_deref())).await;
        prop_assert!(reply.status.as_u16() < 500, "{} {}", reply.status, reply.body);
        let shows = reply.body.get("current").is_some() || reply.headers.contains_key("etag");
        prop_assert!(may_read || reply.status != 412 || !shows, "{}", reply.body);
        Ok(())
    };
    check(runner, &runtime, (malformed, 0..callers.len()), answered);
    assert!(!panicked(&server));
}

/// A valid request with some bytes changed, added, removed or repeated.
fn any_bytes(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(b"\r\n\0 :/%?;".to_vec())];
    let changed =
        (select(valid), vec((any::<Index>(), byte, 0..4_u8), 0..6)).prop_map(|(mut bytes, changes)| {
            for (at, byte, how) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.extend_from_within(at..),
                }
            }
            bytes
        });
    prop_oneof![4 => changed, 1 => vec(any::<u8>(), 0..200)]
}

#[test]
fn malformed_bytes_are_answered_or_close_the_connection() {
    fuzz(malformed_bytes);
}

fn malformed_bytes(runner: TestRunner) {
    // The paused clock advances whenever all tasks wait, so that timeouts take no real time.
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let server = Server::new();
    let alice = server.player();
    let listener = runtime.block_on(Listener::start(&server));
    let polled = runtime.block_on(async {
        let session = alice.creates("game").await;
        alice.links(&session).await.expect(200);
        alice.xbox().await.expect(200);
        [platform_path("XboxLive", XBOX_ID), format!("/v1/session/{session}?refresh_ttl=true")]
    });
    let body = creation("party").to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let valid = [
        get("/v1/template", &alice, "connection: close\r\n"),
        create(&alice, &body),
        head("POST", "/v1/session", &alice, "transfer-encoding: chunked\r\n") + &chunked,
        head("DELETE", "/v1/session/x/player/me?reason=x", &alice, "expect: 100-continue\r\n"),
        get(&polled[0], &alice, ""),
        get(&polled[1], &alice, ""),
    ];
    let known_poll = get(&polled[0], &alice, "");
    let ends = async |bytes: Vec<u8>| {
        let mut wire = listener.connect().await;
        // The fast path answers this request. The bytes after it are read on the same connection.
        wire.send(&known_poll).await;
        wire.answer().await.expect(200);
        wire.try_send(&bytes).await;
        let said = wire.ended().await;
        let said = String::from_utf8_lossy(&said);
        prop_assert!(said.is_empty() || said.starts_with("HTTP/1."), "{said}");
        prop_assert!(!said.contains("HTTP/1.1 5"), "{said}");
        Ok(())
    };
    check(runner, &runtime, any_bytes(valid.map(String::into_bytes).to_vec()), ends);
    runtime.block_on(listener.serves(0));
    runtime.block_on(listener.goes_on(&alice));
}
