//! The answers that come at once, as they go over the wire, held against those of the long way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rallypoint::http::Api;

use super::Reply;
use super::wire::read_answer;

/// The answer that comes at once, if one does.
pub fn ask(api: &Api, request: &Request<Full<Bytes>>) -> Option<Reply> {
    let headers = request.headers().iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let target = request.uri().to_string();
    let mut asked = httparse::Request::new(&mut headers);
    asked.method = Some(request.method().as_str());
    asked.path = Some(&target);
    asked.version = Some(1);
    let mut answer = b"before".to_vec();
    let is_answered = api.answer_at_once(&asked, &mut answer);
    let answer = answer.strip_prefix(b"before").unwrap();
    assert_eq!(is_answered, !answer.is_empty());
    is_answered.then(|| read(answer))
}

fn read(answer: &[u8]) -> Reply {
    let head_bytes = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let bytes = Bytes::copy_from_slice(&answer[head_bytes + 4..]);
    read_answer(std::str::from_utf8(&answer[..head_bytes]).unwrap(), bytes)
}

/// Insists that an answer says what that of the long way says, to which the HTTP library adds two headers.
#[track_caller]
pub fn check(at_once: &Reply, by_long: &Reply) {
    let mut headers = at_once.headers.clone();
    assert_eq!(headers.remove("date").unwrap().len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
    let length = headers.remove("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
    assert_eq!(length, (at_once.status != 304).then_some(at_once.bytes.len()));
    assert_eq!(
        (at_once.status, &headers, &at_once.bytes),
        (by_long.status, &by_long.headers, &by_long.bytes)
    );
}

/// Requests begun and ended: only where no other is under way must two answers be the same.
#[derive(Clone, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request under way.
pub struct UnderWay {
    counts: Arc<Counts>,
    /// Its number, where all before it had ended when it began.
    alone: Option<u64>,
}

impl Requests {
    /// Begins a request.
    pub fn begin(&self) -> UnderWay {
        let counts = Arc::clone(&self.0);
        let before = counts.begun.fetch_add(1, Ordering::SeqCst);
        let alone = (counts.ended.load(Ordering::SeqCst) == before).then_some(before + 1);
        UnderWay { counts, alone }
    }
}

impl UnderWay {
    /// Whether no other was under way since it began.
    pub fn all_the_time(&self) -> bool {
        self.alone.is_some_and(|number| self.counts.begun.load(Ordering::SeqCst) == number)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.counts.ended.fetch_add(1, Ordering::SeqCst);
    }
}
