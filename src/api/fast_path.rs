//! The fast path: the two reads that clients poll with, Get Platform Session Info and Get Session, answered at once if
//! everything that they need is in memory.
//!
//! It works in two places, with the same rules:
//!
//! - under hyper, on the head as it arrived, and writes the response as it goes over the wire. A poll then costs
//!   neither a map of headers nor a call through the HTTP library;
//! - in hyper's service, on the head that hyper has parsed. This is for connections that cannot answer under hyper:
//!   those of a server with CORS or with `[http] fast_path = false`, and those that lost the framing of their requests.
//!
//! It knows successes only, 200 and 304. It declines whatever is unusual: an escape in the path, a token that was not
//! seen before, a session that is not in memory, a caller who may see only a part, any error. The normal path then
//! answers. Tests compare the two.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::platform::PLATFORM_SESSION;
use super::session::SESSION;
use super::wire::platform::platform_document;
use super::wire::view::full_document;
use crate::app::{App, CachedSession};
use crate::auth::{Caller, Permission, Policy};
use crate::document::Document;
use crate::domain::{Actor, Platform};
use crate::http::input::credentials;
use crate::http::input::headers::Headers;
use crate::http::input::prefer::PREFER;
use crate::http::operation::Operation;
use crate::http::pipeline::PipelineSettings;
use crate::http::reply::if_none_match;
use crate::http::surface;

/// Largest body that the fast path sends, in bytes. Larger ones are sent in parts, as the client reads them.
const BODY_BYTES_MAX: usize = 65_536;
/// Length of a date in HTTP, in bytes: `Fri, 27 Nov 2026 12:00:00 GMT`.
const DATE_BYTES: usize = 29;
/// Most headers of a response for hyper: those set here, and those that the connection adds.
const SERVICE_HEADERS_MAX: usize = 4;
/// The headers that the connection adds to every other response, each after its line break.
const FIXED_HEADERS: &[u8] = b"\r\ncache-control: private, no-cache\r\nx-content-type-options: nosniff";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

thread_local! {
    /// The current second since 1970 and its date in HTTP's form.
    static DATE: Cell<(i64, [u8; DATE_BYTES])> = const { Cell::new((i64::MIN, [0; DATE_BYTES])) };
}

/// The operations that the fast path answers.
pub struct PollFastPath {
    prefix: &'static str,
    platform_session: Row,
    session: Row,
}

/// An operation: its index among all, and its policy.
struct Row {
    index: usize,
    policy: Policy,
}

/// A head, as hyper or the stream under it parsed it.
struct Head<'a, H: ?Sized> {
    method: &'a str,
    /// Path and query.
    target: &'a str,
    headers: &'a H,
}

/// A poll: one of the two operations, and its parameters.
#[derive(Clone, Copy)]
enum Poll<'a> {
    PlatformSession(Platform, &'a str),
    Session { id: &'a str, refresh: bool },
}

impl PollFastPath {
    /// The fast path of an API; `None` if the API lacks one of the two operations.
    pub fn of(prefix: &'static str, operations: &[Operation]) -> Option<Self> {
        let row = |path| {
            let index = operations.iter().position(|row| row.method == Method::GET && row.path == path)?;
            Some(Row { index, policy: operations[index].policy })
        };
        Some(Self { prefix, platform_session: row(PLATFORM_SESSION)?, session: row(SESSION)? })
    }

    /// Finds the document and the status, and makes the response with `render`, which also gets the time in
    /// milliseconds since the epoch.
    fn respond_with<H: Headers + ?Sized, T>(
        &self,
        app: &App,
        settings: &PipelineSettings,
        head: &Head<'_, H>,
        render: impl FnOnce(StatusCode, &Document, i64) -> Option<T>,
    ) -> Option<(usize, T)> {
        let poll = Poll::read(self.prefix, head.method, head.target)?;
        // The client may want to wait.
        if head.headers.values(PREFER).next().is_some() {
            return None;
        }
        settings.limits.check(head.target.len(), head.headers).ok()?;
        let token = credentials::token(head.headers, &settings.cookie).ok()?;
        let at = app.clock.read();
        let token = app.verifier.cached(token, at.now_ms)?;
        let row = match poll {
            Poll::PlatformSession(..) => &self.platform_session,
            Poll::Session { .. } => &self.session,
        };
        let caller = row.policy.admit(token).ok()?;
        let cached = poll.cached(app, at.now_ms)?;
        let document = poll.document(app, &caller, &cached)?;
        // With a wrong clock no read counts as a use, which the normal path tells the client. After a step the normal
        // path checks the clock.
        if !app.sessions.is_clock_right(at) {
            return None;
        }
        let must_keep = matches!(poll, Poll::Session { refresh: true, .. });
        if must_keep && !app.sessions.keep_alive_in_memory(&cached, at.now_ms) {
            return None;
        }
        app.presence.heartbeat(caller.player(), &cached, at.now_ms);
        let is_known = if_none_match(head.headers, &document.etag);
        let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        Some((row.index, render(status, document, at.now_ms)?))
    }
}

impl surface::FastPath for PollFastPath {
    fn answer(
        &self,
        app: &App,
        settings: &PipelineSettings,
        request: &httparse::Request<'_, '_>,
        response: &mut Vec<u8>,
    ) -> Option<(usize, StatusCode)> {
        let head = Head { method: request.method?, target: request.path?, headers: &*request.headers };
        let write = |status, document: &Document, now_ms| {
            let date = date(now_ms)?;
            match status {
                StatusCode::NOT_MODIFIED => write_not_modified(response, document, &date),
                _ => write_ok(response, document, &date),
            }
            Some(status)
        };
        self.respond_with(app, settings, &head, write)
    }

    fn respond(
        &self,
        app: &App,
        settings: &PipelineSettings,
        head: &Parts,
    ) -> Option<(usize, Response<Full<Bytes>>)> {
        let target = head.uri.path_and_query()?.as_str();
        let head = Head { method: head.method.as_str(), target, headers: &head.headers };
        self.respond_with(app, settings, &head, |status, document, _| Some(new_response(status, document)))
    }
}

impl<'a> Poll<'a> {
    /// Reads the method and the target of a request; `None` if they are not exactly those of one of the two operations.
    fn read(prefix: &str, method: &str, target: &'a str) -> Option<Self> {
        if method != Method::GET.as_str() {
            return None;
        }
        let rest = target.strip_prefix(prefix)?;
        if let Some(rest) = rest.strip_prefix("/v1/platform/") {
            let (platform, rest) = rest.split_once('/')?;
            let id = rest.strip_prefix("platform-session/").filter(|id| is_plain(id))?;
            return Some(Self::PlatformSession(platform.parse().ok()?, id));
        }
        let rest = rest.strip_prefix("/v1/session/")?;
        let (id, refresh) = match rest.split_once('?') {
            None => (rest, true),
            Some((id, "refresh_ttl=true")) => (id, true),
            Some((id, "refresh_ttl=false")) => (id, false),
            Some(_) => return None,
        };
        is_plain(id).then_some(Self::Session { id, refresh })
    }

    fn cached(self, app: &App, now_ms: i64) -> Option<Arc<CachedSession>> {
        match self {
            Self::PlatformSession(platform, id) => {
                app.sessions.cached_by_platform_session(platform, id, now_ms)
            }
            Self::Session { id, .. } => app.sessions.cached(id, now_ms),
        }
    }

    /// The document for a caller who may see all of it; `None` for others, and if it is too large.
    fn document<'l>(self, app: &App, caller: &Caller, cached: &'l CachedSession) -> Option<&'l Document> {
        let (is_active, all_players_visible) = match caller.actor_unless(Permission::ReadAny) {
            Actor::Anyone => (true, true),
            Actor::Player(player) => (cached.is_active(player), cached.all_players_visible()),
            Actor::Nobody => (false, false),
        };
        let document = match self {
            _ if !is_active => None,
            Self::PlatformSession(platform, _) => platform_document(cached, platform),
            Self::Session { .. } if all_players_visible => full_document(app, cached),
            Self::Session { .. } => None,
        };
        document.filter(|document| document.body.len() <= BODY_BYTES_MAX)
    }
}

/// Whether an id needs no escapes in a path. The loop has no early exit, so that the compiler can check many bytes at a
/// time.
fn is_plain(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'=' | b'+');
    id.bytes().fold(true, |all, byte| all & is_allowed(byte))
}

/// A response for hyper, which adds `date` and `content-length`. All header values exist already.
fn new_response(status: StatusCode, document: &Document) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::with_capacity(SERVICE_HEADERS_MAX);
    headers.insert(header::ETAG, document.etag.clone());
    let mut body = Bytes::new();
    if status == StatusCode::OK {
        headers.insert(header::CONTENT_TYPE, JSON);
        body = document.body.clone();
    }
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn write_ok(response: &mut Vec<u8>, document: &Document, date: &[u8]) {
    response.extend_from_slice(b"HTTP/1.1 200 OK\r\netag: ");
    response.extend_from_slice(document.etag.as_bytes());
    response.extend_from_slice(b"\r\ncontent-type: application/json");
    response.extend_from_slice(FIXED_HEADERS);
    response.extend_from_slice(b"\r\ncontent-length: ");
    write!(response, "{}", document.body.len()).expect("a write to memory succeeds");
    write_date(response, date);
    response.extend_from_slice(&document.body);
}

fn write_not_modified(response: &mut Vec<u8>, document: &Document, date: &[u8]) {
    response.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\netag: ");
    response.extend_from_slice(document.etag.as_bytes());
    response.extend_from_slice(FIXED_HEADERS);
    write_date(response, date);
}

/// Writes the last header and the end of the head.
fn write_date(response: &mut Vec<u8>, date: &[u8]) {
    response.extend_from_slice(b"\r\ndate: ");
    response.extend_from_slice(date);
    response.extend_from_slice(b"\r\n\r\n");
}

/// A time in HTTP's form (RFC 9110, 5.6.7); `None` beyond the year 9999. It is rendered once a second for each thread.
fn date(now_ms: i64) -> Option<[u8; DATE_BYTES]> {
    let second = now_ms.div_euclid(1000);
    let (written, date) = DATE.get();
    if written == second {
        return Some(date);
    }
    let timestamp = Timestamp::from_second(second).ok()?;
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).ok()?;
    let date = text.as_bytes().try_into().ok()?;
    DATE.set((second, date));
    Some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_form_of_http() {
        let date = |ms| date(ms).map(|date| String::from_utf8(date.to_vec()).unwrap());
        for (ms, expected) in [
            (784_111_777_000, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (784_111_777_999, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (784_111_778_000, Some("Sun, 06 Nov 1994 08:49:38 GMT")),
            (-1, Some("Wed, 31 Dec 1969 23:59:59 GMT")),
            (i64::MAX, None),
        ] {
            assert_eq!(date(ms).as_deref(), expected, "{ms}");
        }
    }
}
