//! A request's way: limits, route, token, policy, input, handler, answer. One way, for every operation; the two that
//! clients poll with have a short cut besides (see `fast_path`).

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use matchit::{Match, MatchError};

use super::error::Error;
use super::input::client_address::client_address;
use super::input::credentials;
use super::input::headers::Headers;
use super::input::params::{EMPTY_SEGMENT, RawParams};
use super::input::short_code;
use super::openapi;
use super::openapi::pages;
use super::operation::Operation;
use super::reply::{Answer, if_none_match};
use super::surface::{FastPath, Surface};
use crate::app::{App, ClientKey};
use crate::telemetry::{Metrics, ResponsePath};

/// What one request may cost; see `[http]` in `config.default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Longest path and query, bytes.
    pub path_bytes_max: usize,
    /// Largest headers, names and values together, bytes.
    pub header_bytes_max: usize,
    /// Largest body, bytes.
    pub body_bytes_max: usize,
    /// Longest time for the body to arrive.
    pub body_timeout: Duration,
    /// Longest time for the answer to be made.
    pub request_timeout: Duration,
}

impl RequestLimits {
    /// Checks a head: its path and query, so long in bytes, and its headers.
    ///
    /// # Errors
    /// Where one of them is too large.
    pub fn check(&self, path_bytes: usize, headers: &(impl Headers + ?Sized)) -> Result<(), Error> {
        if path_bytes > self.path_bytes_max {
            return Err(Error::PathTooLong(self.path_bytes_max));
        }
        if headers.bytes() > self.header_bytes_max {
            return Err(Error::HeadersTooLarge(self.header_bytes_max));
        }
        Ok(())
    }
}

/// What the operator decided about requests.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// What one request may cost.
    pub limits: RequestLimits,
    /// The cookie that may carry a token.
    pub cookie: String,
    /// Proxies that are believed when they say whom they forward for.
    pub trusted_proxies: Vec<IpAddr>,
}

/// All surfaces, as a function from requests to responses. It knows no sockets.
pub struct Api {
    app: Arc<App>,
    /// The operations of all surfaces.
    operations: Vec<Operation>,
    /// Path to the operations on it, by index.
    router: matchit::Router<Vec<usize>>,
    prefixes: Vec<&'static str>,
    /// The fast path of each surface that has one, with the index of the surface's first operation.
    fast_paths: Vec<(usize, Box<dyn FastPath>)>,
    /// The API documents, by path.
    documents: Vec<(String, Bytes)>,
    settings: ApiSettings,
    metrics: Arc<Metrics>,
}

/// How a request was answered, and by which operation, for metrics and logs.
struct Outcome {
    operation: Option<usize>,
    result: Result<Answer, Error>,
}

impl Api {
    /// These surfaces over an application. The API document of the first is at `/openapi.json`, and those of the others
    /// are at `/openapi.json` below their prefixes.
    pub fn new(app: Arc<App>, surfaces: Vec<Surface>, settings: ApiSettings) -> Self {
        let (mut operations, mut router) = (Vec::new(), Routes::default());
        let (mut prefixes, mut fast_paths, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        for surface in surfaces {
            let below = if documents.is_empty() { "" } else { surface.prefix };
            let document = openapi::document(&surface, &settings.cookie).to_string();
            documents.push((format!("{below}/openapi.json"), Bytes::from(document)));
            prefixes.push(surface.prefix);
            fast_paths.extend(surface.fast_path.map(|path| (operations.len(), path)));
            for operation in surface.operations {
                router.add(format!("{}{}", surface.prefix, operation.path), operations.len());
                operations.push(operation);
            }
        }
        let metrics = Arc::clone(&app.metrics);
        metrics.register_operations(operations.iter().map(|operation| operation.id));
        let router = router.into_router();
        Self { app, operations, router, prefixes, fast_paths, documents, settings, metrics }
    }

    /// The operations of all surfaces.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Answers a request from an address, where that is known. Never fails and never panics: faults are answers too.
    pub fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        peer: Option<IpAddr>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<B>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (api, started) = (Arc::clone(self), self.app.clock.instant());
        let (parts, body) = request.into_parts();
        // In a box: it is large, and would be moved several times.
        Box::pin(async move { api.answer(parts, body, peer, started).await })
    }

    /// The fast path under hyper; see [`Handler::fast_path`](super::connection::Handler::fast_path).
    pub fn fast_path(&self, request: &httparse::Request<'_, '_>, response: &mut Vec<u8>) -> bool {
        let before = response.len();
        let answered = self.try_fast_paths(ResponsePath::FastConnection, |fast_path| {
            response.truncate(before);
            let (operation, status) = fast_path.answer(&self.app, &self.settings, request, response)?;
            Some((operation, status, ()))
        });
        if answered.is_none() {
            response.truncate(before);
        }
        answered.is_some()
    }

    /// The fast path in hyper's service; see
    /// [`Handler::fast_path_in_service`](super::connection::Handler::fast_path_in_service).
    pub fn fast_path_in_service(&self, head: &Parts) -> Option<Response<Full<Bytes>>> {
        self.try_fast_paths(ResponsePath::FastService, |fast_path| {
            let (operation, response) = fast_path.respond(&self.app, &self.settings, head)?;
            Some((operation, response.status(), response))
        })
    }

    /// Tries the fast path of each surface that has one, and counts the response. A panic in it declines the request.
    fn try_fast_paths<T>(
        &self,
        path: ResponsePath,
        mut run: impl FnMut(&dyn FastPath) -> Option<(usize, StatusCode, T)>,
    ) -> Option<T> {
        if self.fast_paths.is_empty() {
            return None;
        }
        let started = self.app.clock.instant();
        for (first, fast_path) in &self.fast_paths {
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| run(&**fast_path)));
            let answered = caught.unwrap_or_else(|_| {
                self.metrics.panicked();
                None
            });
            if let Some((operation, status, response)) = answered {
                self.metrics.answered(path, Some(first + operation), status, started.elapsed());
                return Some(response);
            }
        }
        None
    }

    async fn answer<B>(
        &self,
        parts: Parts,
        body: B,
        peer: Option<IpAddr>,
        started: Instant,
    ) -> Response<Full<Bytes>>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(page) = self.page(&parts) {
            return page;
        }
        let outcome = self.outcome(&parts, body, peer).await;
        let id = outcome.operation.map_or("none", |index| self.operations[index].id);
        let answer = outcome.result.unwrap_or_else(|error| {
            error.log(id);
            error.answer()
        });
        let response = respond(answer, &parts);
        self.metrics.answered(ResponsePath::Normal, outcome.operation, response.status(), started.elapsed());
        response
    }

    /// The API document and its reference pages, which need no token.
    fn page(&self, parts: &Parts) -> Option<Response<Full<Bytes>>> {
        let path = parts.uri.path();
        // Most requests are for an operation, and no document needs to be looked for.
        let is_operation = self.prefixes.iter().any(|prefix| path.starts_with(prefix));
        if is_operation && !path.ends_with("/openapi.json") {
            return None;
        }
        let document = self.documents.iter().find(|(at, _)| at == path);
        let page = match document {
            Some((_, body)) => {
                Answer { status: StatusCode::OK, body: body.clone(), etag: None, headers: HeaderMap::new() }
            }
            None if is_operation => return None,
            None => pages::page(path)?,
        };
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let refused = || Error::MethodNotAllowed("GET, HEAD".into()).answer();
        Some(respond(if reads { page } else { refused() }, parts))
    }

    async fn outcome<B>(&self, parts: &Parts, body: B, peer: Option<IpAddr>) -> Outcome
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path_bytes = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
        if let Err(error) = self.settings.limits.check(path_bytes, &parts.headers) {
            return Outcome { operation: None, result: Err(error) };
        }
        let path = plain_colons(parts.uri.path());
        let path = &*path;
        // The router takes no empty segments, but an empty parameter is a violation, not an unknown path.
        let filled;
        let found = match self.router.at(path) {
            Err(_) if path.contains("//") || path.ends_with('/') => {
                filled = fill_empty_segments(path);
                self.router.at(&filled)
            }
            found => found,
        };
        let (index, raw) = match self.route(found, parts, peer) {
            Ok(found) => found,
            Err(error) => return Outcome { operation: None, result: Err(error) },
        };
        let run = self.run(&self.operations[index], raw, parts, body);
        let result = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| {
            self.metrics.panicked();
            Err(Error::Internal(panic_text(&*panic)))
        });
        Outcome { operation: Some(index), result }
    }

    /// The operation of a method on what the router found. HEAD is GET whose body is not sent.
    fn route<'a>(
        &'a self,
        found: Result<Match<'a, 'a, &'a Vec<usize>>, MatchError>,
        parts: &'a Parts,
        peer: Option<IpAddr>,
    ) -> Result<(usize, RawParams<'a>), Error> {
        let found = found.map_err(|_| Error::PathNotFound)?;
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let mut on_path = found.value.iter();
        let Some(index) = on_path.find(|index| self.operations[**index].method == *method) else {
            return Err(Error::MethodNotAllowed(self.methods(found.value)));
        };
        let raw = RawParams {
            path: found.params,
            query: parts.uri.query(),
            by_short_code: Vec::new(),
            client: peer.map(|peer| client_address(peer, &parts.headers, &self.settings.trusted_proxies)),
        };
        Ok((*index, raw))
    }

    fn methods(&self, on_path: &[usize]) -> String {
        let mut methods: Vec<_> =
            on_path.iter().map(|index| self.operations[*index].method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.join(", ")
    }

    /// Token, permission, input, short codes, handler: in this order, so that a caller without permission learns
    /// nothing about what exists or how to spell it.
    async fn run<B>(
        &self,
        operation: &Operation,
        mut raw: RawParams<'_>,
        parts: &Parts,
        body: B,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let token = credentials::token(&parts.headers, &self.settings.cookie)?;
        let token =
            self.app.verifier.verify(token).map_err(|error| Error::TokenInvalid(error.to_string()))?;
        let caller = operation.policy.admit(token)?;
        let body = if operation.has_body { self.read_body(body).await? } else { Bytes::new() };
        let client_key = caller.player().map_or(ClientKey::At(raw.client), ClientKey::Player);
        let guessed = short_code::resolve(&self.app, client_key, &mut raw).await;
        let mut running = operation.run(&self.app, caller, &raw, &body)?;
        // What is wrong with the input was said first; nothing runs before it is polled.
        for is_right in guessed? {
            self.app.short_code_limiter.record(client_key, is_right, self.app.clock.now_ms())?;
        }
        // What is at hand is answered at once, and needs no timer.
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(running.as_mut().poll(context))).await {
            return answer;
        }
        let timeout = self.settings.limits.request_timeout;
        tokio::time::timeout(timeout, running).await.unwrap_or(Err(Error::TimedOut))
    }

    async fn read_body<B>(&self, body: B) -> Result<Bytes, Error>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let bytes_max = self.settings.limits.body_bytes_max;
        // What says that it is too large need not arrive to be refused.
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(Error::BodyTooLarge(bytes_max));
        }
        let collected = Limited::new(body, bytes_max).collect();
        match tokio::time::timeout(self.settings.limits.body_timeout, collected).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLarge(bytes_max)),
            Ok(Err(_)) => Err(Error::BodyBroken),
            Err(_) => Err(Error::RequestTimeout),
        }
    }
}

/// The operations on each path, before they are a router.
#[derive(Default)]
struct Routes(Vec<(String, Vec<usize>)>);

impl Routes {
    fn add(&mut self, path: String, index: usize) {
        match self.0.iter_mut().find(|(other, _)| *other == path) {
            Some((_, on_path)) => on_path.push(index),
            None => self.0.push((path, vec![index])),
        }
    }

    fn into_router(self) -> matchit::Router<Vec<usize>> {
        let mut router = matchit::Router::new();
        for (path, on_path) in self.0 {
            router.insert(path, on_path).expect("the paths of the surfaces do not clash");
        }
        router
    }
}

/// The path with its colons as they are: some clients encode the one before a verb.
fn plain_colons(path: &str) -> Cow<'_, str> {
    if path.contains("%3A") || path.contains("%3a") {
        Cow::Owned(path.replace("%3A", ":").replace("%3a", ":"))
    } else {
        Cow::Borrowed(path)
    }
}

fn fill_empty_segments(path: &str) -> String {
    let segments = path.split('/').enumerate();
    let filled = segments
        .map(|(index, segment)| if index > 0 && segment.is_empty() { EMPTY_SEGMENT } else { segment });
    filled.collect::<Vec<_>>().join("/")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}

/// Turns an answer into a response: 304 where the caller has this version, no body for HEAD.
fn respond(answer: Answer, parts: &Parts) -> Response<Full<Bytes>> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let Answer { mut status, mut body, etag, mut headers } = answer;
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    if let Some(etag) = etag {
        if reads && status == StatusCode::OK && if_none_match(&parts.headers, &etag) {
            status = StatusCode::NOT_MODIFIED;
            body = Bytes::new();
        }
        headers.insert(header::ETAG, etag);
    }
    if !body.is_empty() {
        headers.entry(header::CONTENT_TYPE).or_insert(JSON);
    }
    if parts.method == Method::HEAD {
        // A 304 could only name the length of the 200 that it stands for, which is not at hand any more.
        if status != StatusCode::NOT_MODIFIED {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        body = Bytes::new();
    }
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
