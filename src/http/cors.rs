//! Cross-origin requests (CORS): which web pages may call the API from a browser. It is off unless the operator lists
//! origins. It wraps the API, which does not know of it.

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::connection::Handled;

/// Methods that pages may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Headers that pages may send, besides those that need no permission.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, if-match, if-none-match, prefer");
/// Headers that pages may read, besides those that need no permission.
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("etag, idempotency-replayed, preference-applied, retry-after");
/// Time for which browsers may remember the response to a preflight request, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");
/// Stands for every origin.
const ANY_ORIGIN: &str = "*";

/// The origins whose pages may call the API. Cookies are never allowed: a page sends its token in a header.
#[derive(Clone, Debug)]
pub struct Cors(Vec<HeaderValue>);

impl Cors {
    /// CORS for these origins; `None` if there are none.
    pub fn new(origins: &[String]) -> Option<Self> {
        let origins: Vec<_> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
        (!origins.is_empty()).then_some(Self(origins))
    }

    /// Answers a preflight request of an allowed origin itself. Passes every other request to `answer`, and adds the
    /// CORS headers to the response.
    pub async fn around<B, Fut>(&self, request: Request<B>, answer: impl FnOnce(Request<B>) -> Fut) -> Handled
    where
        Fut: Future<Output = Handled>,
    {
        let allowed = self.allowed_origin(request.headers());
        let is_allowed = allowed.is_some();
        let with_headers = move |mut response| {
            add_headers(allowed, &mut response);
            response
        };
        if is_allowed && is_preflight(&request) {
            return with_headers(preflight()).into();
        }
        match answer(request).await {
            Handled::Done(response) => with_headers(response).into(),
            Handled::Held(response) => Handled::Held(Box::pin(response.map(with_headers))),
        }
    }

    /// Adds the CORS headers to the response to a request with these headers.
    pub fn add_headers(&self, request_headers: &HeaderMap, response: &mut Response<Full<Bytes>>) {
        add_headers(self.allowed_origin(request_headers), response);
    }

    /// The value of `Access-Control-Allow-Origin`; `None` if the request has no origin or its origin may not call.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == ANY_ORIGIN || *allowed == origin).cloned()
    }
}

fn add_headers(allowed: Option<HeaderValue>, response: &mut Response<Full<Bytes>>) {
    let headers = response.headers_mut();
    // Caches must keep the responses to different origins apart, also those that a page may not read.
    headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }
}

/// Whether this is a preflight request, in which a browser asks what a page may send.
fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    response
}
