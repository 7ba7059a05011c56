//! The fast path: the reads that clients poll with, Get Platform Session Info and Get Session, answered in place where all
//! it takes is in memory.
//!
//! It works on a request's head as it stood on the wire, and writes the answer as it goes over the wire, so that polls
//! cost neither a map of headers nor a call through the HTTP library. It knows successes only. Whatever is unusual in
//! a request (an escape in the path, a token not seen before, a session not in memory, a caller who sees less than
//! everything, any refusal) it leaves to the way that every operation goes, which alone knows how to read and to refuse.
//! Tests hold the two against each other.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::Arc;

use http::{Method, StatusCode};
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
use crate::http::operation::Operation;
use crate::http::pipeline::ApiSettings;
use crate::http::reply::if_none_match;
use crate::http::surface;

/// Largest body that is answered in place, in bytes: larger ones are sent in pieces, as clients take them.
const BODY_BYTES_MAX: usize = 65_536;
/// Bytes of a date in HTTP: `Fri, 27 Nov 2026 12:00:00 GMT`.
const DATE_BYTES: usize = 29;

thread_local! {
    /// The date as HTTP has it, and the second that it says.
    static DATE: Cell<(i64, [u8; DATE_BYTES])> = const { Cell::new((i64::MIN, [0; DATE_BYTES])) };
}

/// What the fast path is a short cut for: rows of the surface.
pub struct FastPath {
    prefix: &'static str,
    platform_session: Row,
    session: Row,
}

/// A row of the surface.
struct Row {
    index: usize,
    policy: Policy,
}

/// What a request asks for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    PlatformSession(Platform, &'a str),
    Session { id: &'a str, refresh: bool },
}

impl FastPath {
    /// The short cut, where the surface has the operations.
    pub fn of(prefix: &'static str, operations: &[Operation]) -> Option<Self> {
        let row = |path| {
            let index = operations.iter().position(|row| row.method == Method::GET && row.path == path)?;
            Some(Row { index, policy: operations[index].policy })
        };
        Some(Self { prefix, platform_session: row(PLATFORM_SESSION)?, session: row(SESSION)? })
    }
}

impl surface::FastPath for FastPath {
    fn answer(
        &self,
        app: &App,
        settings: &ApiSettings,
        request: &httparse::Request<'_, '_>,
        answer: &mut Vec<u8>,
    ) -> Option<(usize, StatusCode)> {
        let asked = Asked::read(self.prefix, request)?;
        let headers = &*request.headers;
        settings.limits.check(request.path?.len(), headers).ok()?;
        let now_ms = app.clock.now_ms();
        let token = app.verifier.cached(credentials::token(headers, &settings.cookie).ok()?, now_ms)?;
        let row = match asked {
            Asked::PlatformSession(..) => &self.platform_session,
            Asked::Session { .. } => &self.session,
        };
        let caller = row.policy.admit(token).ok()?;
        let cached = asked.cached(app, now_ms)?;
        let document = asked.document(app, &caller, &cached)?;
        let is_asked_for = matches!(asked, Asked::Session { refresh: true, .. });
        if is_asked_for && !app.sessions.keep_alive_in_memory(&cached) {
            return None;
        }
        app.presence.heartbeat(caller.player(), &cached);
        let date = date(now_ms)?;
        let status = if if_none_match(headers, &document.etag) {
            write_not_modified(answer, document, &date);
            StatusCode::NOT_MODIFIED
        } else {
            write_ok(answer, document, &date);
            StatusCode::OK
        };
        Some((row.index, status))
    }
}

impl<'a> Asked<'a> {
    /// What a request asks for, where it is spelled plainly.
    fn read(prefix: &str, request: &httparse::Request<'_, 'a>) -> Option<Self> {
        if request.method? != Method::GET.as_str() {
            return None;
        }
        let rest = request.path?.strip_prefix(prefix)?;
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

    /// The document that the caller is to see, where that is one of everything.
    fn document<'l>(self, app: &App, caller: &Caller, cached: &'l CachedSession) -> Option<&'l Document> {
        let (takes_part, shows_everyone) = match caller.actor_unless(Permission::ReadAny) {
            Actor::Anyone => (true, true),
            Actor::Player(player) => (cached.is_active(player), cached.shows_everyone()),
            Actor::Nobody => (false, false),
        };
        let document = match self {
            _ if !takes_part => None,
            Self::PlatformSession(platform, _) => platform_document(cached, platform),
            Self::Session { .. } => shows_everyone.then(|| full_document(app, cached)),
        };
        document.filter(|document| document.body.len() <= BODY_BYTES_MAX)
    }
}

/// Whether an id stands in a path as it is. All of its bytes are looked at, whatever they are: so it takes many at a time.
fn is_plain(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'=' | b'+');
    id.bytes().fold(true, |all, byte| all & is_allowed(byte))
}

fn write_ok(answer: &mut Vec<u8>, document: &Document, date: &[u8]) {
    answer.extend_from_slice(b"HTTP/1.1 200 OK\r\netag: ");
    answer.extend_from_slice(document.etag.as_bytes());
    answer.extend_from_slice(b"\r\ncontent-type: application/json\r\ncontent-length: ");
    write!(answer, "{}", document.body.len()).expect("memory takes what is written to it");
    write_date(answer, date);
    answer.extend_from_slice(&document.body);
}

fn write_not_modified(answer: &mut Vec<u8>, document: &Document, date: &[u8]) {
    answer.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\netag: ");
    answer.extend_from_slice(document.etag.as_bytes());
    write_date(answer, date);
}

/// The last header.
fn write_date(answer: &mut Vec<u8>, date: &[u8]) {
    answer.extend_from_slice(b"\r\ndate: ");
    answer.extend_from_slice(date);
    answer.extend_from_slice(b"\r\n\r\n");
}

/// The date in HTTP's form (RFC 9110, 5.6.7), written once a second.
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
    fn dates_are_those_of_http() {
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
