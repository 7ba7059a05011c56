//! The admin listener: `/live`, `/ready` and `/metrics`, for load balancers and metrics collectors. It takes no tokens,
//! and answers nothing secret.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use crate::app::App;
use crate::env::Clock;
use crate::http::connection::{Handled, Handler, Peer, RequestBody};
use crate::records::keys;
use crate::store::StoreError;
use crate::telemetry::Metrics;

/// Longest time that `/ready` waits for the store. Probes usually time out after about a second.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request for `/ready` counts as a sign that a load balancer watches, in milliseconds. Health checks come
/// every few seconds.
const WATCHED_FOR_MS: i64 = 60_000;

/// The state of a server that `/ready` reports: starting, ready, then draining.
pub struct Readiness {
    metrics: Arc<Metrics>,
    app: OnceLock<Arc<App>>,
    is_draining: AtomicBool,
    clock: Clock,
    /// When `/ready` was asked last, in milliseconds of the monotonic clock; `i64::MIN` if never.
    asked_ms: AtomicI64,
}

impl Readiness {
    /// The state of a server that has not opened its store yet.
    pub fn starting(metrics: Arc<Metrics>, clock: Clock) -> Self {
        let asked_ms = AtomicI64::new(i64::MIN);
        Self { metrics, app: OnceLock::new(), is_draining: AtomicBool::new(false), clock, asked_ms }
    }

    /// Whether something has asked `/ready` within the last minute, as a load balancer does all the time.
    pub fn is_watched(&self) -> bool {
        let since_ms = self.clock.up_ms().saturating_sub(self.asked_ms.load(Ordering::Acquire));
        since_ms <= WATCHED_FOR_MS
    }

    /// Sets the state to ready.
    pub fn set_ready(&self, app: Arc<App>) {
        // A second call changes nothing.
        let _ = self.app.set(app);
    }

    /// Sets the state to draining: the server still answers, and is about to stop.
    pub fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }
}

/// Answers a request of the admin listener.
pub async fn handle<B>(readiness: &Readiness, request: Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/live" => text(StatusCode::OK, "alive\n"),
        "/ready" => ready(readiness).await,
        "/metrics" => metrics(&readiness.metrics),
        _ => text(StatusCode::NOT_FOUND, "there are /live, /ready and /metrics\n"),
    }
}

/// Answers 200 if the server has started and is not draining, its store can be read and written, and its clock agrees
/// with the database's. Otherwise 503, with the reason.
async fn ready(readiness: &Readiness) -> Response<Full<Bytes>> {
    readiness.asked_ms.store(readiness.clock.up_ms(), Ordering::Release);
    if readiness.is_draining.load(Ordering::Acquire) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    let Some(app) = readiness.app.get() else {
        let starting = "starting: the store is being opened and brought up to date\n";
        return text(StatusCode::SERVICE_UNAVAILABLE, starting);
    };
    let checked = tokio::time::timeout(READY_TIMEOUT, check_store(app)).await;
    let timed_out = || Err(StoreError::Unavailable(format!("no answer within {READY_TIMEOUT:?}")));
    match checked.unwrap_or_else(|_| timed_out()) {
        Ok(()) => text(StatusCode::OK, "ready\n"),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {error}\n")),
    }
}

async fn check_store(app: &App) -> Result<(), StoreError> {
    let store = app.sessions.store();
    store.check_writable().await?;
    // Any key tests the store; this one has a small value.
    store.get(&keys::next_listing_number()).await?;
    let checked = app.sessions.check_clock().await;
    if let Err(error @ StoreError::ClockSkew { .. }) = &checked {
        tracing::warn!(%error, "the clock is off");
    }
    checked.map(drop)
}

fn metrics(metrics: &Metrics) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, &metrics.render());
    let open_metrics = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, open_metrics);
    response
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// The handler of the admin listener.
#[derive(Clone)]
pub struct Admin(pub Arc<Readiness>);

impl Handler for Admin {
    fn handle(&self, request: Request<RequestBody>, _: Peer) -> impl Future<Output = Handled> + Send + use<> {
        let readiness = Arc::clone(&self.0);
        async move { handle(&readiness, request).await.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_request_for_ready_within_the_last_minute_shows_a_load_balancer() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let readiness = Readiness::starting(Arc::default(), clock.clone());
        let ask = async |path: &str| handle(&readiness, Request::get(path).body(()).unwrap()).await;
        for path in ["/live", "/metrics", "/none"] {
            ask(path).await;
            assert!(!readiness.is_watched(), "{path}");
        }
        ask("/ready").await;
        assert!(readiness.is_watched());
        clock.advance(Duration::from_secs(60));
        assert!(readiness.is_watched());
        clock.advance(Duration::from_millis(1));
        assert!(!readiness.is_watched());
        ask("/ready").await;
        assert!(readiness.is_watched());
    }
}
