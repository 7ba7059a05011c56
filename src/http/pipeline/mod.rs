//! The request pipeline, which every operation shares: limits, route, token, policy, input, handler, answer. The
//! operations with which clients poll also have a fast path.

mod fast_path;
mod repeat;
mod settings;
mod shared_looks;
mod wait;

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body as HttpBody;

pub use self::settings::PipelineSettings;
use self::shared_looks::SharedLooks;
use self::wait::HeldWait;
use super::connection::{Handled, Peer};
use super::error::Error;
use super::error_format::ErrorFormat;
use super::input::client_address::client_address;
use super::input::credentials;
use super::input::cross_site;
use super::input::idempotency_key::IDEMPOTENCY_KEY;
use super::input::params::RawParams;
use super::input::short_code;
use super::input::this_machine::ThisMachine;
use super::memory::{MemoryBudget, UNCOUNTED_BYTES_MAX};
use super::openapi::pages::Pages;
use super::openapi::{self, DocumentSettings};
use super::operation::{HandlerFuture, Operation};
use super::read_body::read_body;
use super::reply::{Answer, if_none_match};
use super::routes::{RoutedPath, Routes};
use super::surface::{FastPath, Surface};
use crate::app::{App, ClientKey};
use crate::auth::Caller;
use crate::telemetry::{Metrics, OperationMetrics, ResponsePath};

/// The request pipeline of all surfaces: a function from requests to responses. It knows no sockets.
pub struct Pipeline {
    app: Arc<App>,
    /// The operations of all surfaces.
    operations: Vec<Operation>,
    /// Maps a path to the indexes of the operations on it.
    router: matchit::Router<Vec<usize>>,
    /// The prefix and the error format of each surface.
    prefixes: Vec<(&'static str, ErrorFormat)>,
    /// The fast path of each surface that has one, with the index of the surface's first operation.
    fast_paths: Vec<(usize, Box<dyn FastPath>)>,
    /// The API documents, by path.
    documents: Vec<(String, Bytes)>,
    pages: Pages,
    settings: PipelineSettings,
    this_machine: ThisMachine,
    memory: Arc<MemoryBudget>,
    shared_looks: SharedLooks,
    metrics: Arc<Metrics>,
    /// The metrics of each operation, in the order of the operations.
    operation_metrics: Vec<OperationMetrics>,
}

/// What follows after a request was read and answered once.
enum Step {
    Respond(Response<Full<Bytes>>),
    /// The answer is what the client has, and the client waits for another one.
    Wait(Box<HeldWait>),
}

/// The result of an operation, with the index of the operation for metrics and logs; `None` if the request reached
/// none.
struct OperationResult {
    operation: Option<usize>,
    result: Result<Answer, Error>,
}

impl OperationResult {
    fn not_routed(error: Error) -> Self {
        Self { operation: None, result: Err(error) }
    }
}

impl Pipeline {
    /// Creates the pipeline of these surfaces. The API document of the first surface has the path `/openapi.json`, and
    /// those of the others have this path below their prefixes.
    pub fn new(app: Arc<App>, surfaces: Vec<Surface>, settings: PipelineSettings) -> Self {
        let mut operations = Vec::new();
        let mut routes = Routes::default();
        let mut prefixes = Vec::new();
        let mut fast_paths = Vec::new();
        let mut documents = Vec::new();
        let keep_s = app.idempotency.keep_s();
        let of_document = DocumentSettings { cookie: &settings.cookie, keep_s };
        for surface in surfaces {
            let document_prefix = if documents.is_empty() { "" } else { surface.prefix };
            let document = openapi::document(&surface, of_document).to_string();
            documents.push((format!("{document_prefix}/openapi.json"), Bytes::from(document)));
            prefixes.push((surface.prefix, surface.errors));
            if let Some(fast_path) = surface.fast_path {
                fast_paths.push((operations.len(), fast_path));
            }
            for operation in surface.operations {
                routes.add(format!("{}{}", surface.prefix, operation.path), operations.len());
                operations.push(operation);
            }
        }
        let pages = Pages::of(documents.iter().map(|(path, _)| path.clone()));
        let mut ids: Vec<_> = operations.iter().map(|operation| operation.id).collect();
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|one, next| one < next), "two operations have the same id");
        let metrics = Arc::clone(&app.metrics);
        let operation_metrics =
            operations.iter().map(|operation| metrics.of_operation(operation.id)).collect();
        let router = routes.into_router();
        let memory = MemoryBudget::new(settings.memory_in_flight_bytes, Arc::clone(&metrics));
        Self {
            app,
            operations,
            router,
            prefixes,
            fast_paths,
            documents,
            pages,
            settings,
            this_machine: ThisMachine::default(),
            memory,
            shared_looks: SharedLooks::default(),
            metrics,
            operation_metrics,
        }
    }

    /// The operations of all surfaces.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The budget of the memory in flight.
    pub fn memory(&self) -> Arc<MemoryBudget> {
        Arc::clone(&self.memory)
    }

    /// Answers a request. `peer` is the other end of the connection. Errors and panics of the
    /// operation become answers too.
    pub fn handle<P, B>(
        self: &Arc<Self>,
        request: Request<B>,
        peer: P,
    ) -> impl Future<Output = Handled> + Send + use<P, B>
    where
        P: Into<Peer>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (pipeline, started, peer) = (Arc::clone(self), self.app.clock.instant(), peer.into());
        let (parts, body) = request.into_parts();
        async move {
            // The future is large and would be moved several times; the box keeps it in place. A request that waits keeps
            // neither the request nor this future.
            match Box::pin(pipeline.answer(parts, body, peer.address(), started)).await {
                Step::Respond(response) => Handled::Done(response),
                Step::Wait(held) => Handled::Held(Box::pin(async move { pipeline.wait(held, &peer).await })),
            }
        }
    }

    async fn answer<B>(&self, parts: Parts, body: B, peer: Option<IpAddr>, started: Instant) -> Step
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(page) = self.page(&parts) {
            return Step::Respond(
                self.charge(page, true).unwrap_or_else(|error| self.refuse(&error, &parts)),
            );
        }
        let mut found = self.dispatch(&parts, body, peer).await;
        if !wait::may_wait(&parts, &found) {
            return Step::Respond(self.respond_to(found, &parts, started));
        }
        if let Some(held) = self.hold(&parts, &mut found, peer, started).await {
            return Step::Wait(held);
        }
        let is_long_poll = found.operation.is_some_and(|index| self.operations[index].is_long_poll);
        let mut response = self.respond_to(found, &parts, started);
        if !is_long_poll && wait::asks_to_wait(&parts) {
            wait::add_cache_headers(&mut response);
        }
        Step::Respond(response)
    }

    /// The response to a request, which is counted and logged.
    fn respond_to(&self, found: OperationResult, parts: &Parts, started: Instant) -> Response<Full<Bytes>> {
        let OperationResult { operation, result } = found;
        let id = operation.map_or("none", |index| self.operations[index].id);
        let refuse = |error: Error| {
            error.log(id);
            self.refuse(&error, parts)
        };
        let response = result.map_or_else(refuse, |answer| respond(answer, parts));
        // A change that was made is answered in any case.
        let may_refuse = is_read(&parts.method);
        let response = self.charge(response, may_refuse).unwrap_or_else(refuse);
        let metrics = operation.map(|index| &self.operation_metrics[index]);
        self.metrics.answered(ResponsePath::Normal, metrics, response.status(), started.elapsed());
        response
    }

    /// The response to a request that failed, in the error format of the surface that has the path.
    fn refuse(&self, error: &Error, parts: &Parts) -> Response<Full<Bytes>> {
        let mut surfaces = self.prefixes.iter();
        let surface = surfaces.find(|(prefix, _)| is_below(parts.uri.path(), prefix));
        let errors = surface.map(|(_, errors)| *errors).unwrap_or_default();
        respond((errors.answer)(error), parts)
    }

    /// Counts a response as memory in flight until the client has taken it. `may_refuse`: whether it may be refused if
    /// no memory is left.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    fn charge(
        &self,
        mut response: Response<Full<Bytes>>,
        may_refuse: bool,
    ) -> Result<Response<Full<Bytes>>, Error> {
        let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|bytes| *bytes > UNCOUNTED_BYTES_MAX) else { return Ok(response) };
        let charge = match self.memory.try_charge(bytes) {
            Some(charge) => charge,
            None if may_refuse => return Err(Error::Overloaded),
            None => self.memory.charge(bytes),
        };
        response.extensions_mut().insert(Arc::new(charge));
        Ok(response)
    }

    /// Answers a request for an API document or a reference page, which need no token; `None` for other paths.
    fn page(&self, parts: &Parts) -> Option<Response<Full<Bytes>>> {
        let path = parts.uri.path();
        // Most requests are for an operation; for them, no document is searched.
        let has_prefix = self.prefixes.iter().any(|(prefix, _)| is_below(path, prefix));
        if has_prefix && !path.ends_with("/openapi.json") {
            return None;
        }
        let document = self.documents.iter().find(|(document_path, _)| document_path == path);
        let page = match document {
            Some((_, body)) => Answer { body: body.clone(), ..Answer::empty(StatusCode::OK) },
            None if has_prefix => return None,
            None => self.pages.page(path)?,
        };
        Some(match is_read(&parts.method) {
            true => respond(page, parts),
            false => self.refuse(&Error::MethodNotAllowed("GET, HEAD".into()), parts),
        })
    }

    /// Checks the size of the head, finds the operation and runs it. A panic of the operation becomes an error.
    async fn dispatch<B>(&self, parts: &Parts, body: B, peer: Option<IpAddr>) -> OperationResult
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path_bytes = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
        if let Err(error) = self.settings.limits.check(path_bytes, &parts.headers) {
            return OperationResult::not_routed(error);
        }
        let path = RoutedPath::of(parts);
        let (index, raw_params) = match self.route(&path, parts, peer) {
            Ok(routed) => routed,
            Err(error) => return OperationResult::not_routed(error),
        };
        let run = self.run(&self.operations[index], raw_params, parts, body);
        OperationResult { operation: Some(index), result: self.caught(run).await }
    }

    /// Runs an operation. A panic of it becomes an error.
    async fn caught(&self, run: impl Future<Output = Result<Answer, Error>>) -> Result<Answer, Error> {
        AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| {
            self.metrics.panicked();
            Err(Error::Internal(panic_text(&*panic)))
        })
    }

    /// Finds the operation for the request's method among those on the path. A HEAD request is routed like GET.
    ///
    /// # Errors
    /// [`Error::PathNotFound`] or [`Error::MethodNotAllowed`].
    fn route<'a>(
        &'a self,
        path: &'a RoutedPath<'_>,
        parts: &'a Parts,
        peer: Option<IpAddr>,
    ) -> Result<(usize, RawParams<'a>), Error> {
        let found = path.find(&self.router).map_err(|_| Error::PathNotFound)?;
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let mut on_path = found.value.iter();
        let Some(index) = on_path.find(|index| self.operations[**index].method == *method) else {
            return Err(Error::MethodNotAllowed(self.allowed_methods(found.value)));
        };
        let raw_params = RawParams {
            path: found.params,
            query: parts.uri.query(),
            by_short_code: Vec::new(),
            headers: &parts.headers,
            recorder: None,
            client: peer.map(|peer| client_address(peer, &parts.headers, &self.settings.trusted_proxies)),
        };
        Ok((*index, raw_params))
    }

    /// The methods of these operations, as in the header `Allow`.
    fn allowed_methods(&self, on_path: &[usize]) -> String {
        let mut methods: Vec<_> =
            on_path.iter().map(|index| self.operations[*index].method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.join(", ")
    }

    /// Checks the token and the permission. An operation that needs no token takes no authority from a cookie either.
    fn admit(&self, operation: &Operation, parts: &Parts) -> Result<Caller, Error> {
        if operation.policy.is_for_this_machine() && !self.settings.is_exposed {
            self.this_machine.check(&parts.headers, &self.settings.cors_origins, self.app.clock.up_ms())?;
        }
        if let Some(caller) = operation.policy.admit_anyone(|| credentials::basic(&parts.headers)) {
            return Ok(caller);
        }
        let token = credentials::token(&parts.headers, &self.settings.cookie)?;
        let token = self.app.verifier.verify(token).map_err(Error::TokenInvalid)?;
        if !is_read(&parts.method) && credentials::is_in_cookie(&parts.headers) {
            cross_site::check(&parts.headers, &self.settings.cors_origins)?;
        }
        Ok(operation.policy.admit(token)?)
    }

    /// Checks the token, the permission, the input and the short codes, and runs the handler. This order ensures that a
    /// caller without permission learns neither what exists nor how to spell it.
    async fn run<B>(
        &self,
        operation: &Operation,
        raw_params: RawParams<'_>,
        parts: &Parts,
        body: B,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let caller = self.admit(operation, parts)?.at(raw_params.client);
        if !is_read(&parts.method) && self.memory.is_used_up() {
            return Err(Error::Overloaded);
        }
        let limits = &self.settings.limits;
        // The charge of the body lasts as long as what the handler makes of the body.
        let (body, _charge) = match operation.has_body {
            true => read_body(body, &limits.for_body_of(operation), &self.memory)
                .await
                .map(|(body, charge)| (body, Some(charge)))?,
            false => (Bytes::new(), None),
        };
        if operation.takes_key && parts.headers.contains_key(IDEMPOTENCY_KEY) {
            return Box::pin(self.run_once(operation, caller, raw_params, parts, body)).await;
        }
        self.run_admitted(operation, caller, raw_params, body).await
    }

    /// Checks the input and the short codes, and runs the handler, for a caller who may call the operation.
    async fn run_admitted(
        &self,
        operation: &Operation,
        caller: Caller,
        mut raw_params: RawParams<'_>,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let client_key = ClientKey::of(&caller);
        let code_lookups = short_code::resolve(&self.app, client_key, &mut raw_params).await;
        let handler = operation.start(&self.app, caller, &raw_params, &body)?;
        drop(body);
        // Unknown codes count only now, after invalid input was refused. The handler runs only when it is polled below.
        for is_known in code_lookups? {
            self.app.short_code_limiter.record(client_key, is_known, self.app.clock.up_ms())?;
        }
        self.finish(handler).await
    }

    /// Runs a handler within its time.
    async fn finish(&self, mut handler: HandlerFuture) -> Result<Answer, Error> {
        // A handler that finds everything in memory is ready at the first poll and needs no timer.
        let first_poll = poll_fn(|context| Poll::Ready(handler.as_mut().poll(context))).await;
        if let Poll::Ready(answer) = first_poll {
            return answer;
        }
        tokio::time::timeout(self.settings.limits.request_timeout, handler)
            .await
            .unwrap_or(Err(Error::TimedOut))
    }
}

/// Whether a path is a prefix itself, or below it: `/docs` is not below `/d`.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Converts an answer to a response to this request: 304 if the caller already has the ETag's version, and no body for
/// HEAD.
fn respond(answer: Answer, parts: &Parts) -> Response<Full<Bytes>> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let Answer { mut status, mut body, etag, mut headers, .. } = answer;
    if let Some(etag) = etag {
        if is_read(&parts.method) && status == StatusCode::OK && if_none_match(&parts.headers, &etag) {
            status = StatusCode::NOT_MODIFIED;
            body = Bytes::new();
        }
        headers.insert(header::ETAG, etag);
    }
    if !body.is_empty() {
        headers.entry(header::CONTENT_TYPE).or_insert(JSON);
    }
    if parts.method == Method::HEAD {
        // The `Content-Length` of a 304 would be that of the 200, which is no longer known here.
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
mod slow_store_tests;
#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
