//! Cross-origin requests: which web pages may call the API from a browser. Off unless the operator names some; then
//! this goes around the API, which knows nothing of it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

/// What pages may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
/// Headers that pages may send beside those that need no leave.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, if-none-match");
/// Headers that pages may read beside those that need no leave.
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static("etag, retry-after");
/// How long browsers may remember what they may do, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");
/// Stands for every origin.
const ANY_ORIGIN: &str = "*";

/// The origins whose pages may call. Never with cookies: a page sends its token itself.
#[derive(Clone, Debug)]
pub struct Cors(Vec<HeaderValue>);

impl Cors {
    /// Leave for these origins; `None` where there are none.
    pub fn new(origins: &[String]) -> Option<Self> {
        let origins: Vec<_> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
        (!origins.is_empty()).then_some(Self(origins))
    }

    /// Answers a preflight request of a page that may call, and tells such pages that they may read other answers.
    pub async fn around<B, Fut>(
        &self,
        request: Request<B>,
        answer: impl FnOnce(Request<B>) -> Fut,
    ) -> Response<Full<Bytes>>
    where
        Fut: Future<Output = Response<Full<Bytes>>>,
    {
        let allowed = self.allowed(request.headers());
        let mut response = match &allowed {
            Some(_) if is_preflight(&request) => preflight(),
            _ => answer(request).await,
        };
        let headers = response.headers_mut();
        // Which page asks changes the answer, also where it may not read it.
        headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
        response
    }

    /// What to allow to the page that asks, if it may call.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == ANY_ORIGIN || *allowed == origin).cloned()
    }
}

/// Whether a browser asks beforehand what a page may send.
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
