//! The pipeline's answers to operations that panic or hang, and to bodies that do not arrive.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::Value;

use super::slow_store_tests::{gives_up, slow_at_the_end, slow_before, slow_get};
use super::*;
use crate::api::wire::CustomDataBody;
use crate::app::launches::LaunchSettings;
use crate::auth::{Caller, DevelopmentKey, Grant, KeyRing, Permission, Policy};
use crate::config::Config;
use crate::env::{Clock, Entropy};
use crate::http::input::body::Json;
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Reply};
use crate::http::surface::{Group, Surface, Tag};
use crate::runtime::{server, settings};
use crate::store::{Memory, Store};

type Done = Result<Reply<NoContent>, Error>;

async fn work(_: Arc<App>, _: Caller, _: Input) -> Done {
    Ok(Reply::no_content())
}

async fn panic_with_text(_: Arc<App>, _: Caller, _: Input) -> Done {
    panic!("the secret of {}", "the vault")
}

async fn panic_with_a_number(_: Arc<App>, _: Caller, _: Input) -> Done {
    std::panic::panic_any(17)
}

/// Panics before it returns a future.
fn panic_at_once(_: Arc<App>, _: Caller, _: Input) -> std::future::Ready<Done> {
    panic!("at once")
}

async fn hang(_: Arc<App>, _: Caller, _: Input) -> Done {
    std::future::pending().await
}

async fn take_body(_: Arc<App>, _: Caller, _: Input<(), (), Json<CustomDataBody>>) -> Done {
    Ok(Reply::no_content())
}

pub struct Bench {
    pub pipeline: Arc<Pipeline>,
    pub token: String,
}

impl Bench {
    fn new() -> Self {
        Self::with_clock(Clock::System)
    }

    pub fn with_clock(clock: Clock) -> Self {
        const ALL: Policy = Policy::any(&[Permission::SessionAll]);
        let operations = vec![
            Operation::new(Method::GET, "work", "/work", work, ALL, "Works"),
            Operation::new(Method::GET, "panic_with_text", "/text", panic_with_text, ALL, "Panics"),
            Operation::new(Method::GET, "panic_with_a_number", "/number", panic_with_a_number, ALL, "Panics"),
            Operation::new(Method::GET, "panic_at_once", "/at-once", panic_at_once, ALL, "Panics"),
            Operation::new(Method::GET, "hang", "/hang", hang, ALL, "Hangs"),
            Operation::new(
                Method::GET,
                "long_poll",
                "/long-poll",
                slow_at_the_end,
                ALL,
                "Is slow at the end",
            ),
            Operation::new(Method::GET, "stalled", "/stalled", slow_before, ALL, "Is slow before the end"),
            Operation::new(Method::GET, "gives_up", "/gives-up", gives_up, ALL, "Gives up"),
            Operation::new(Method::GET, "slow_get", "/slow-get", slow_get, ALL, "Is slow at the end"),
            Operation::new(Method::POST, "take_body", "/body", take_body, ALL, "Takes a body"),
        ];
        let other = vec![Operation::new(Method::GET, "work_elsewhere", "/work", work, ALL, "Works, too")];
        let surfaces = vec![
            Surface::new(
                "/test",
                vec![Group::new(Tag::new("Tests", "Operations that go wrong"), operations)],
            ),
            Surface::new("/other", vec![Group::new(Tag::new("Others", "Elsewhere"), other)]),
        ];
        let config = Config::default();
        let dir = tempfile::tempdir().unwrap();
        let key = DevelopmentKey::load_or_create(dir.path(), &Entropy::System).unwrap();
        let ring = Arc::new(KeyRing::new(key.key_set()));
        let store = Store::Memory(Memory::default());
        let app = server::new_app(
            &config,
            store,
            ring,
            LaunchSettings::default(),
            (clock.clone(), Entropy::System),
            Arc::default(),
        );
        let app = Arc::new(app);
        let grant = Grant {
            player: None,
            permissions: vec!["session:*".into()],
            platform: None,
            player_id: None,
            ttl: Duration::from_secs(600),
        };
        Self {
            pipeline: Arc::new(Pipeline::new(app, surfaces, settings::pipeline_settings(&config, false))),
            token: key.sign(&grant, clock.now()),
        }
    }

    async fn send<B>(&self, method: Method, path: &str, body: B) -> (StatusCode, HeaderMap, Value)
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request = Request::builder().method(method).uri(format!("/test{path}"));
        let request = request.header("authorization", format!("Bearer {}", self.token)).body(body).unwrap();
        let (parts, body) = self.pipeline.handle(request, None).await.response().await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, Value) {
        self.send(Method::GET, path, Full::default()).await
    }

    async fn post(&self, body: Sent) -> (StatusCode, Value) {
        let (status, _, body) = self.send(Method::POST, "/body", body).await;
        (status, body["error_code"].clone())
    }

    #[track_caller]
    pub fn counts(&self, line: &str) {
        let metrics = self.pipeline.metrics.render();
        assert!(metrics.lines().any(|other| other == line), "no {line} in\n{metrics}");
    }
}

/// A body of these frames, which then ends, breaks off or stalls.
struct Sent {
    frames: Vec<&'static [u8]>,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    End,
    Break,
    Stall,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.frames.is_empty() {
            return match self.then {
                Then::End => Poll::Ready(None),
                Then::Break => Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
                Then::Stall => Poll::Pending,
            };
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.frames.remove(0))))))
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_counted_and_its_text_stays_secret() {
    let bench = Bench::new();
    bench.counts("rallypoint_panics_total 0");
    for path in ["/text", "/number", "/at-once"] {
        let (status, _, body) = bench.get(path).await;
        assert_eq!(
            (status, &body["error_code"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &"internal_error".into())
        );
        assert_eq!(body["auth_success"], true, "a new token would not help");
        assert_eq!(body["desc"], "the server failed to process this request");
        assert_eq!(bench.get("/work").await.0, StatusCode::NO_CONTENT);
    }
    bench.counts("rallypoint_panics_total 3");
    bench.counts("rallypoint_requests_total{operation=\"panic_with_text\",status=\"500\"} 1");
    bench.counts("rallypoint_requests_total{operation=\"work\",status=\"204\"} 3");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_hangs_times_out() {
    let bench = Bench::new();
    let (status, headers, body) = bench.get("/hang").await;
    assert_eq!((status, &body["error_code"]), (StatusCode::SERVICE_UNAVAILABLE, &"timed_out".into()));
    assert_eq!(headers["retry-after"], "1");
    bench.counts("rallypoint_requests_total{operation=\"hang\",status=\"503\"} 1");
    bench.counts("rallypoint_panics_total 0");
    assert_eq!(bench.get("/work").await.0, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_body_is_refused() {
    let bench = Bench::new();
    let sent = |frames: &[&'static [u8]], then| Sent { frames: frames.to_vec(), then };
    let whole = [&b"{\"a\""[..], b":\"b\"}"];
    assert_eq!(bench.post(sent(&whole, Then::End)).await, (StatusCode::NO_CONTENT, Value::Null));
    // The last case is complete as JSON, but not as a body.
    for frames in [&[][..], &whole[..1], &whole] {
        let (status, code) = bench.post(sent(frames, Then::Stall)).await;
        assert_eq!((status, code), (StatusCode::REQUEST_TIMEOUT, "request_timeout".into()));
        let (status, code) = bench.post(sent(frames, Then::Break)).await;
        assert_eq!((status, code), (StatusCode::BAD_REQUEST, "body_broken".into()));
    }
    let too_large = vec![&[b' '; 64 * 1024][..]; 17];
    let (status, code) = bench.post(Sent { frames: too_large, then: Then::Stall }).await;
    assert_eq!((status, code), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".into()));
    assert_eq!(bench.get("/work").await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_second_surface_has_paths_and_a_document_of_its_own() {
    let bench = Bench::new();
    let at = async |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {}", bench.token));
        let (parts, body) = bench
            .pipeline
            .handle(request.body(Full::default()).unwrap(), None)
            .await
            .response()
            .await
            .into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
    };
    assert_eq!(at("/other/work").await.0, StatusCode::NO_CONTENT);
    assert_eq!(at("/other/text").await.0, StatusCode::NOT_FOUND, "that is a path of the first surface");
    bench.counts("rallypoint_requests_total{operation=\"work_elsewhere\",status=\"204\"} 1");
    for (path, prefix, operation) in
        [("/openapi.json", "/test", "work"), ("/other/openapi.json", "/other", "work_elsewhere")]
    {
        let (status, document) = at(path).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(document["servers"][0]["url"], prefix);
        assert_eq!(document["paths"]["/work"]["get"]["operationId"], operation);
    }
    assert_eq!(at("/test/openapi.json").await.0, StatusCode::NOT_FOUND);
}
