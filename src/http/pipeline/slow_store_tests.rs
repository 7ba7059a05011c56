//! Waits whose last look takes too long, as with a slow store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::task::yield_now;

use super::tests::Bench;
use super::*;
use crate::app::waits::{LongPoll, Topic, WaitOn};
use crate::document::Document;
use crate::env::Clock;
use crate::http::operation::Input;
use crate::http::reply::{LongPolled, Reply, Watched};

/// The looks of an operation: the first ones find nothing new, and the next ones do not end.
struct Looks(AtomicUsize);

impl Looks {
    const fn quick(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    async fn look(&self) {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 0 {
            std::future::pending::<()>().await;
        }
    }
}

/// The answer to the request, and the look after it was subscribed.
static OF_LONG_POLL: Looks = Looks::quick(2);
static OF_GET: Looks = Looks::quick(2);
/// Only the answer to the request.
static OF_STALLED: Looks = Looks::quick(1);

async fn long_poll(looks: &Looks) -> Result<Reply<LongPolled<Value>>, Error> {
    looks.look().await;
    nothing_new(25_000)
}

fn nothing_new(hold_ms: i64) -> Result<Reply<LongPolled<Value>>, Error> {
    let long_poll = Some(LongPoll { hold_ms, query: String::new() });
    let wait_on = WaitOn { long_poll, ..WaitOn::topic(Topic::Catalog) };
    Ok(Reply::nothing_new(&json!({"cursor": "of the client"}), wait_on))
}

pub async fn slow_at_the_end(_: Arc<App>, _: Caller, _: Input) -> Result<Reply<LongPolled<Value>>, Error> {
    long_poll(&OF_LONG_POLL).await
}

pub async fn slow_before(_: Arc<App>, _: Caller, _: Input) -> Result<Reply<LongPolled<Value>>, Error> {
    long_poll(&OF_STALLED).await
}

/// Answers the request, and gives up the look after it.
pub async fn gives_up(_: Arc<App>, _: Caller, _: Input) -> Result<Reply<LongPolled<Value>>, Error> {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    nothing_new(if LOOKS.fetch_add(1, Ordering::SeqCst) == 0 { 25_000 } else { 0 })
}

pub async fn slow_get(_: Arc<App>, _: Caller, _: Input) -> Result<Reply<Watched<Value>>, Error> {
    OF_GET.look().await;
    Ok(Reply::watched(&Document::of(&json!({})), WaitOn::topic(Topic::Catalog)))
}

/// Sends a request and returns once it is held.
async fn held(bench: &Bench, path: &str, headers: &[(&str, &str)]) -> Handled {
    let mut request = Request::get(format!("/test{path}"));
    request = request.header("authorization", format!("Bearer {}", bench.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    bench.pipeline.handle(request.body(Full::<Bytes>::default()).unwrap(), None).await
}

/// The answer, after this time of the wait has passed.
async fn answer(
    bench: &Bench,
    clock: &Clock,
    held: Handled,
    after: Duration,
) -> (StatusCode, HeaderMap, Value) {
    let Handled::Held(response) = held else { panic!("it was not held") };
    let response = tokio::spawn(response);
    for _ in 0..10 {
        yield_now().await;
    }
    clock.advance(after);
    bench.pipeline.app.waits.wake_due();
    let (parts, body) = response.await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// The time of the test stands still unless everything sleeps. So what passes is what the last look was given.
#[tokio::test(start_paused = true)]
async fn a_long_poll_is_answered_in_time_with_the_cursor_of_the_client() {
    for (path, after, looked_for) in [
        ("/long-poll", Duration::from_millis(24_750), 0..=130),
        // A look that began long before the end.
        ("/stalled", Duration::ZERO, 24_000..=24_875),
    ] {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let bench = Bench::with_clock(clock.clone());
        let started = tokio::time::Instant::now();
        let held = held(&bench, path, &[]).await;
        let (status, _, body) = answer(&bench, &clock, held, after).await;
        assert_eq!((status, body), (StatusCode::OK, json!({"cursor": "of the client"})));
        let took_ms = started.elapsed().as_millis();
        assert!(looked_for.contains(&took_ms), "{path}: {took_ms}");
        bench.counts("rallypoint_wait_ends_total{reason=\"store_away\"} 1");
    }
}

#[tokio::test]
async fn a_look_that_gives_up_is_no_news() {
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let bench = Bench::with_clock(clock.clone());
    let held = held(&bench, "/gives-up", &[]).await;
    let (status, _, body) = answer(&bench, &clock, held, Duration::ZERO).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"cursor": "of the client"})));
    bench.counts("rallypoint_wait_ends_total{reason=\"store_away\"} 1");
    bench.counts("rallypoint_wait_ends_total{reason=\"changed\"} 0");
}

#[tokio::test(start_paused = true)]
async fn a_get_whose_last_look_does_not_end_gets_no_304() {
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let bench = Bench::with_clock(clock.clone());
    let etag = Document::of(&json!({})).etag;
    let headers = [("prefer", "wait=30"), ("if-none-match", etag.to_str().unwrap())];
    let held = held(&bench, "/slow-get", &headers).await;
    let started = tokio::time::Instant::now();
    let (status, _, body) = answer(&bench, &clock, held, Duration::from_secs(30)).await;
    assert_eq!((status, &body["error_code"]), (StatusCode::SERVICE_UNAVAILABLE, &"timed_out".into()));
    assert!((3_900..=4_010).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}
