//! Where requests begin and end in the bytes that hyper reads. Only between requests may the fast path answer under
//! hyper.

use std::mem::MaybeUninit;

use super::{HEADERS_MAX, host};

/// Memory for the parsed headers of a request.
pub type HeaderSlots<'a> = [MaybeUninit<httparse::Header<'a>>; HEADERS_MAX];

/// Length of a request in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLength {
    pub head_bytes: u64,
    pub body_bytes: u64,
}

/// The request at the start of some bytes.
pub enum ParsedHead<'r, 'a> {
    /// A plain request: its length is known from its head, and another request may follow on the connection.
    Plain(httparse::Request<'r, 'a>, RequestLength),
    /// The head is incomplete.
    Partial,
    /// The bytes are not a request, or the request is not plain.
    Other,
}

/// Parses the head at the start of `bytes`, with the library that hyper uses.
pub fn parse_head<'r, 'a>(bytes: &'a [u8], slots: &'r mut HeaderSlots<'a>) -> ParsedHead<'r, 'a> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(head_bytes)) => match plain_body_bytes(&request) {
            Some(body_bytes) => {
                ParsedHead::Plain(request, RequestLength { head_bytes: head_bytes as u64, body_bytes })
            }
            None => ParsedHead::Other,
        },
        Ok(httparse::Status::Partial) => ParsedHead::Partial,
        Err(_) => ParsedHead::Other,
    }
}

/// Length of the body of a plain request in bytes; `None` if the request is not plain.
fn plain_body_bytes(request: &httparse::Request<'_, '_>) -> Option<u64> {
    // HTTP/1.0 closes the connection after the response by default.
    if request.version != Some(1) || request.method == Some("CONNECT") {
        return None;
    }
    let (mut body_bytes, mut has_host) = (None, false);
    for header in &*request.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let is_first = body_bytes.replace(parse_length(header.value)?).is_none();
            if !is_first {
                return None;
            }
        } else if is("host") {
            // A second one, an invalid one, and none at all are refused.
            if has_host || !host::is_host(header.value) {
                return None;
            }
            has_host = true;
        } else if is("transfer-encoding")
            || is("upgrade")
            || is("expect")
            || (is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive"))
        {
            return None;
        }
    }
    has_host.then(|| body_bytes.unwrap_or(0))
}

/// A value of `content-length`: decimal digits only.
fn parse_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Tracks the requests in the bytes that hyper was given to read.
#[derive(Default)]
pub struct FramingTracker {
    /// Requests that began.
    requests: u64,
    /// Bytes of the last request that are still to come.
    rest_bytes: u64,
    /// Whether the tracker no longer knows where requests end. It never recovers.
    is_lost: bool,
}

impl FramingTracker {
    /// A tracker that is lost from the start, for a connection without the fast path.
    pub fn lost() -> Self {
        Self { is_lost: true, ..Self::default() }
    }

    /// Whether the next byte begins a request.
    pub fn is_at_boundary(&self) -> bool {
        !self.is_lost && self.rest_bytes == 0
    }

    /// Number of requests so far; `None` if the last one is incomplete or the tracker is lost.
    pub fn complete_requests(&self) -> Option<u64> {
        self.is_at_boundary().then_some(self.requests)
    }

    /// Notes bytes that begin a request. `length` is the length of a plain request.
    pub fn begin_request(&mut self, bytes: u64, length: Option<RequestLength>) {
        self.requests += 1;
        match length.and_then(|length| length.head_bytes.checked_add(length.body_bytes)) {
            Some(all_bytes) => {
                self.rest_bytes = all_bytes;
                self.continue_request(bytes);
            }
            None => self.is_lost = true,
        }
    }

    /// Notes further bytes of the last request.
    pub fn continue_request(&mut self, bytes: u64) {
        match self.rest_bytes.checked_sub(bytes) {
            Some(rest_bytes) => self.rest_bytes = rest_bytes,
            // The next request begins somewhere inside these bytes.
            None => self.is_lost = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_length(head: &str) -> Option<RequestLength> {
        match parse_head(head.as_bytes(), &mut [const { MaybeUninit::uninit() }; HEADERS_MAX]) {
            ParsedHead::Plain(_, length) => Some(length),
            ParsedHead::Partial | ParsedHead::Other => None,
        }
    }

    /// The number of complete requests after the tracker has seen these pieces.
    fn track(pieces: &[&str]) -> Option<u64> {
        let mut tracker = FramingTracker::default();
        for piece in pieces {
            let bytes = piece.len() as u64;
            if tracker.is_at_boundary() {
                tracker.begin_request(bytes, plain_length(piece));
            } else {
                tracker.continue_request(bytes);
            }
        }
        tracker.complete_requests()
    }

    fn head(headers: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
    }

    #[test]
    fn a_plain_request_has_a_known_length() {
        for (headers, body_bytes) in [
            ("", 0),
            ("content-length: 0\r\n", 0),
            ("Content-Length: 12\r\n", 12),
            ("Connection: Keep-Alive\r\ncontent-length:7\r\n", 7),
        ] {
            let head = head(headers);
            let expected = RequestLength { head_bytes: head.len() as u64, body_bytes };
            assert_eq!(plain_length(&head), Some(expected), "{headers}");
            assert_eq!(plain_length(&(head + "more")), Some(expected), "{headers}");
        }
    }

    #[test]
    fn other_requests_have_none() {
        for headers in [
            "content-length: 1\r\ncontent-length: 1\r\n",
            "content-length: 1, 1\r\n",
            "content-length: +1\r\n",
            "content-length: -1\r\n",
            "content-length:\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\ncontent-length: 1\r\n",
            "upgrade: websocket\r\n",
            "expect: 100-continue\r\n",
            "connection: close\r\n",
            "connection: keep-alive, upgrade\r\n",
            "host: a\r\n",
        ] {
            assert_eq!(plain_length(&head(headers)), None, "{headers}");
        }
        let complete = head("");
        for other in [
            &complete[..complete.len() - 1],
            "",
            &complete.replace("HTTP/1.1", "HTTP/1.0"),
            &complete.replace("POST /", "CONNECT a:1"),
            &complete.replace("POST", "P ST"),
            &complete.replace("host: a\r\n", ""),
            &complete.replace("host: a", "host: a b"),
            &head(&"x: x\r\n".repeat(HEADERS_MAX)),
        ] {
            assert_eq!(plain_length(other), None, "{other}");
        }
    }

    #[test]
    fn requests_are_counted_if_each_ends_with_a_piece() {
        let (empty, four) = (head(""), head("content-length: 4\r\n"));
        assert_eq!(track(&[]), Some(0));
        assert_eq!(track(&[&empty, &empty]), Some(2));
        assert_eq!(track(&[&four, "ab", "cd", &empty, &format!("{four}abcd")]), Some(3));
        for incomplete in [&[&*four][..], &[&empty, &four, "abc"]] {
            assert_eq!(track(incomplete), None);
        }
        let chunked = head("transfer-encoding: chunked\r\n");
        for lost in [
            &[&*format!("{empty}{empty}")][..],
            &[&empty[..5], &empty[5..]],
            &[&four, "abcde"],
            &[&chunked, "0\r\n\r\n"],
            &["nonsense\r\n\r\n"],
        ] {
            assert_eq!(track(&[lost, &[&empty]].concat()), None, "{lost:?}");
        }
    }

    #[test]
    fn a_tracker_without_the_fast_path_is_never_at_a_boundary() {
        let mut tracker = FramingTracker::lost();
        assert!(!tracker.is_at_boundary());
        tracker.continue_request(0);
        tracker.continue_request(100);
        assert_eq!(tracker.complete_requests(), None);
    }
}
