//! The fast path: Get Platform Session Info, answered in place where all it takes is in memory.
//!
//! It works on a request's head as it stood on the wire, and writes the answer as it goes over the wire, so that the poll
//! that everyone polls with costs neither a map of headers nor a call through the HTTP library. It knows successes
//! only. Whatever is unusual in a request (a query, an escape in the path, a token not seen before, a session not in
//! memory, any refusal) it leaves to the way that every operation goes, which alone knows how to read and to refuse.
//! Tests hold the two against each other.

use std::cell::Cell;
use std::io::Write as _;

use http::{Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::credentials;
use super::headers::Headers;
use super::operation::Operation;
use super::platform_view::platform_document;
use super::reply::if_none_match;
use super::routes::{PLATFORM_SESSION, PREFIX};
use super::service::ApiSettings;
use super::session::present;
use crate::app::App;
use crate::auth::{Permission, Policy};
use crate::document::Document;
use crate::domain::{Actor, Platform};

/// Largest body that is answered in place, in bytes: larger ones are sent in pieces, as clients take them.
const BODY_BYTES_MAX: usize = 16_384;
/// Bytes of a date in HTTP: `Fri, 27 Nov 2026 12:00:00 GMT`.
const DATE_BYTES: usize = 29;

thread_local! {
    /// The date as HTTP has it, and the second that it says.
    static DATE: Cell<(i64, [u8; DATE_BYTES])> = const { Cell::new((i64::MIN, [0; DATE_BYTES])) };
}

/// What the fast path is a short cut for: a row of the surface.
pub struct FastPath {
    /// The row's index.
    pub operation: usize,
    policy: Policy,
}

impl FastPath {
    /// The short cut, where the surface has the operation.
    pub fn of(operations: &[Operation]) -> Option<Self> {
        let is_it = |row: &Operation| row.method == Method::GET && row.path == PLATFORM_SESSION;
        let operation = operations.iter().position(is_it)?;
        Some(Self { operation, policy: operations[operation].policy })
    }

    /// Appends the answer, where everything is usual and at hand; its status.
    pub fn answer(
        &self,
        app: &App,
        settings: &ApiSettings,
        request: &httparse::Request<'_, '_>,
        answer: &mut Vec<u8>,
    ) -> Option<StatusCode> {
        let (platform, id) = names(request)?;
        let headers = &*request.headers;
        if request.path?.len() > settings.limits.path_bytes_max
            || headers.bytes() > settings.limits.header_bytes_max
        {
            return None;
        }
        let now_ms = app.clock.now_ms();
        let token = app.verifier.remembered(credentials::token(headers, &settings.cookie).ok()?, now_ms)?;
        let caller = self.policy.admit(token).ok()?;
        let live = app.sessions.at_hand(platform, id).filter(|live| live.deadline_ms() > now_ms)?;
        let may_read = match caller.actor_unless(Permission::ReadAny) {
            Actor::Anyone => true,
            Actor::Player(player) => live.is_active(player),
            Actor::Nobody => false,
        };
        if !may_read {
            return None;
        }
        let document = platform_document(&live, platform)?;
        if document.body.len() > BODY_BYTES_MAX {
            return None;
        }
        present(app, &caller, &live);
        let date = date(now_ms)?;
        Some(if if_none_match(headers, &document.etag) {
            write_not_modified(answer, document, &date);
            StatusCode::NOT_MODIFIED
        } else {
            write_ok(answer, document, &date);
            StatusCode::OK
        })
    }
}

/// The platform session that a request asks for, where it is spelled plainly.
fn names<'a>(request: &httparse::Request<'_, 'a>) -> Option<(Platform, &'a str)> {
    if request.method? != Method::GET.as_str() {
        return None;
    }
    let rest = request.path?.strip_prefix(PREFIX)?.strip_prefix("/v1/platform/")?;
    let (platform, rest) = rest.split_once('/')?;
    let id = rest.strip_prefix("platform-session/")?;
    // All bytes are looked at, whatever they are: so it takes many at a time.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'=' | b'+');
    id.bytes().fold(true, |all, byte| all & is_plain(byte)).then_some((platform.parse().ok()?, id))
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
