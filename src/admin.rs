//! The admin listener: `/live`, `/ready` and `/metrics`, for load balancers and collectors. No tokens here, and
//! nothing worth one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::watch;

use crate::app::App;
use crate::store::{StoreError, keys};

/// Answers a request of the admin listener.
pub async fn handle<B>(app: &App, stopping: bool, request: Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/live" => text(StatusCode::OK, "alive\n"),
        "/ready" => ready(app, stopping).await,
        "/metrics" => metrics(app),
        _ => text(StatusCode::NOT_FOUND, "there are /live, /ready and /metrics\n"),
    }
}

/// Ready while the store reads and writes, the clock is right where others go by theirs, and the server is not stopping.
async fn ready(app: &App, stopping: bool) -> Response<Full<Bytes>> {
    if stopping {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match check_store(app).await {
        Ok(()) => text(StatusCode::OK, "ready\n"),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {error}\n")),
    }
}

async fn check_store(app: &App) -> Result<(), StoreError> {
    let store = app.sessions.store();
    store.check_writable()?;
    // Any key will do; this one's value is small.
    store.get(&keys::last_listing_number()).await?;
    let checked = store.check_clock(|| app.clock.now_ms()).await;
    if let Err(error @ StoreError::ClockSkew { .. }) = &checked {
        tracing::warn!(%error, "the clock is off");
    }
    checked
}

fn metrics(app: &App) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, &app.metrics.render());
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

/// Serves the admin listener as a handler of [`crate::net::serve`].
pub fn handler<B: Send + 'static>(
    app: Arc<App>,
    stop: watch::Receiver<bool>,
) -> impl Fn(Request<B>, std::net::SocketAddr) -> futures_util::future::BoxFuture<'static, Response<Full<Bytes>>>
+ Clone {
    move |request, _| {
        let (app, stop) = (Arc::clone(&app), stop.clone());
        Box::pin(async move {
            let stopping = *stop.borrow();
            handle(&app, stopping, request).await
        })
    }
}
