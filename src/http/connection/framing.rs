//! What hyper was given of a connection to read: only between requests may anybody else answer on it.

use std::mem::MaybeUninit;

use super::HEADERS_MAX;

/// Room for the headers of a request.
pub type Room<'a> = [MaybeUninit<httparse::Header<'a>>; HEADERS_MAX];

/// How long a request is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub head_bytes: u64,
    pub body_bytes: u64,
}

/// What bytes begin with.
pub enum Read<'r, 'a> {
    /// A request whose end is plain, and after which another may come.
    Plain(httparse::Request<'r, 'a>, Extent),
    /// A head of which more is to come.
    Half,
    /// Anything else.
    Other,
}

/// Reads what bytes begin with as hyper reads it, with the same library.
pub fn read<'r, 'a>(bytes: &'a [u8], room: &'r mut Room<'a>) -> Read<'r, 'a> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(head_bytes)) => match body_bytes(&request) {
            Some(body_bytes) => Read::Plain(request, Extent { head_bytes: head_bytes as u64, body_bytes }),
            None => Read::Other,
        },
        Ok(httparse::Status::Partial) => Read::Half,
        Err(_) => Read::Other,
    }
}

/// How long a request's body is, where that is plain and another request may come after it.
fn body_bytes(request: &httparse::Request<'_, '_>) -> Option<u64> {
    // Older versions end the connection unless told otherwise.
    if request.version != Some(1) || request.method == Some("CONNECT") {
        return None;
    }
    let mut body_bytes = None;
    for header in &*request.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let is_first = body_bytes.replace(read_length(header.value)?).is_none();
            if !is_first {
                return None;
            }
        } else if is("transfer-encoding")
            || is("upgrade")
            || is("expect")
            || (is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive"))
        {
            return None;
        }
    }
    Some(body_bytes.unwrap_or(0))
}

/// A length in bytes: digits, and nothing else.
fn read_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

/// See the module.
#[derive(Default)]
pub struct Given {
    /// Requests that were begun.
    requests: u64,
    /// Bytes of the last that are still to come.
    rest_bytes: u64,
    /// Where it could not be told any more where a request ends.
    is_lost: bool,
}

impl Given {
    /// Whether the next byte begins a request.
    pub fn is_whole(&self) -> bool {
        !self.is_lost && self.rest_bytes == 0
    }

    /// Requests that it was given, where all of them are whole.
    pub fn whole_requests(&self) -> Option<u64> {
        self.is_whole().then_some(self.requests)
    }

    /// Notes bytes that begin a request; `extent` is its, where it is plain.
    pub fn begin(&mut self, bytes: u64, extent: Option<Extent>) {
        self.requests += 1;
        match extent.and_then(|extent| extent.head_bytes.checked_add(extent.body_bytes)) {
            Some(all) => {
                self.rest_bytes = all;
                self.go_on(bytes);
            }
            None => self.is_lost = true,
        }
    }

    /// Notes bytes of a request that was begun before.
    pub fn go_on(&mut self, bytes: u64) {
        match self.rest_bytes.checked_sub(bytes) {
            Some(rest_bytes) => self.rest_bytes = rest_bytes,
            // Another request begins somewhere in them.
            None => self.is_lost = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(head: &str) -> Option<Extent> {
        match read(head.as_bytes(), &mut [const { MaybeUninit::uninit() }; HEADERS_MAX]) {
            Read::Plain(_, extent) => Some(extent),
            Read::Half | Read::Other => None,
        }
    }

    /// Whether requests that are given in these pieces are known to be whole at the end, and how many they are.
    fn given(pieces: &[&str]) -> Option<u64> {
        let mut given = Given::default();
        for piece in pieces {
            let bytes = piece.len() as u64;
            if given.is_whole() { given.begin(bytes, extent(piece)) } else { given.go_on(bytes) }
        }
        given.whole_requests()
    }

    fn head(headers: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
    }

    #[test]
    fn a_plain_request_says_how_long_it_is() {
        for (headers, body_bytes) in [
            ("", 0),
            ("content-length: 0\r\n", 0),
            ("Content-Length: 12\r\n", 12),
            ("Connection: Keep-Alive\r\ncontent-length:7\r\n", 7),
        ] {
            let head = head(headers);
            let expected = Extent { head_bytes: head.len() as u64, body_bytes };
            assert_eq!(extent(&head), Some(expected), "{headers}");
            assert_eq!(extent(&(head + "more")), Some(expected), "{headers}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
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
        ] {
            assert_eq!(extent(&head(headers)), None, "{headers}");
        }
        let whole = head("");
        for other in [
            &whole[..whole.len() - 1],
            "",
            &whole.replace("HTTP/1.1", "HTTP/1.0"),
            &whole.replace("POST /", "CONNECT a:1"),
            &whole.replace("POST", "P ST"),
            &head(&"x: x\r\n".repeat(HEADERS_MAX)),
        ] {
            assert_eq!(extent(other), None, "{other}");
        }
    }

    #[test]
    fn requests_are_whole_where_each_ends_with_a_piece() {
        let (none, four) = (head(""), head("content-length: 4\r\n"));
        assert_eq!(given(&[]), Some(0));
        assert_eq!(given(&[&none, &none]), Some(2));
        assert_eq!(given(&[&four, "ab", "cd", &none, &format!("{four}abcd")]), Some(3));
        for open in [&[&*four][..], &[&none, &four, "abc"]] {
            assert_eq!(given(open), None);
        }
        let chunked = head("transfer-encoding: chunked\r\n");
        for lost in [
            &[&*format!("{none}{none}")][..],
            &[&none[..5], &none[5..]],
            &[&four, "abcde"],
            &[&chunked, "0\r\n\r\n"],
            &["nonsense\r\n\r\n"],
        ] {
            assert_eq!(given(&[lost, &[&none]].concat()), None, "{lost:?}");
        }
    }
}
