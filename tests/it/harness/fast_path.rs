//! The responses of the fast path, compared with those of the normal path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use rallypoint::http::Pipeline;

use super::Reply;
use super::wire::parse_reply;

/// The replies of the fast path; `None` where it declines.
pub struct Replies {
    under_hyper: Option<Reply>,
    in_service: Option<Reply>,
}

/// Sends a request to the fast path in both of its places.
pub async fn send(api: &Pipeline, request: &Request<Full<Bytes>>) -> Replies {
    let under_hyper = send_under_hyper(api, request);
    Replies { under_hyper, in_service: send_in_service(api, request).await }
}

impl Replies {
    /// The reply under hyper, after a check that the service replies the same. Nothing may change in between.
    #[track_caller]
    pub fn agreed(self) -> Option<Reply> {
        match (&self.under_hyper, &self.in_service) {
            (Some(under_hyper), Some(in_service)) => check(under_hyper, in_service),
            (None, None) => {}
            differing => panic!("the fast path answers in one place only: {differing:?}"),
        }
        self.under_hyper
    }
}

fn send_under_hyper(api: &Pipeline, request: &Request<Full<Bytes>>) -> Option<Reply> {
    let headers = request.headers().iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let target = request.uri().to_string();
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.method = Some(request.method().as_str());
    parsed.path = Some(&target);
    parsed.version = Some(1);
    let mut response = b"before".to_vec();
    let is_answered = api.fast_path(&parsed, &mut response);
    let response = response.strip_prefix(b"before").unwrap();
    assert_eq!(is_answered, !response.is_empty());
    is_answered.then(|| parse(response))
}

fn parse(response: &[u8]) -> Reply {
    let head_bytes = response.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let body = Bytes::copy_from_slice(&response[head_bytes + 4..]);
    parse_reply(std::str::from_utf8(&response[..head_bytes]).unwrap(), body)
}

async fn send_in_service(api: &Pipeline, request: &Request<Full<Bytes>>) -> Option<Reply> {
    let (head, _) = request.clone().into_parts();
    let (parts, body) = api.fast_path_in_service(&head)?.into_parts();
    Some(Response::from_parts(parts, body.collect().await.unwrap().to_bytes()).into())
}

/// Asserts that a reply of the fast path under hyper equals another one, to which hyper and the connection have yet to
/// add two headers each.
#[track_caller]
pub fn check(reply: &Reply, other: &Reply) {
    let mut headers = reply.headers.clone();
    assert_eq!(headers.remove("date").unwrap().len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
    assert_eq!(headers.remove("cache-control").unwrap(), "private, no-cache");
    assert_eq!(headers.remove("x-content-type-options").unwrap(), "nosniff");
    let length = headers.remove("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
    assert_eq!(length, (reply.status != 304).then_some(reply.bytes.len()));
    assert_eq!((reply.status, &headers, &reply.bytes), (other.status, &other.headers, &other.bytes));
}

/// Counts requests that begin and end. Two replies must be equal only if no other request was under way.
#[derive(Clone, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request under way.
pub struct InFlight {
    counts: Arc<Counts>,
    /// Its number; `None` if another request was under way when it began.
    number_if_alone: Option<u64>,
}

impl Requests {
    /// Begins a request.
    pub fn begin(&self) -> InFlight {
        let counts = Arc::clone(&self.0);
        let before = counts.begun.fetch_add(1, Ordering::SeqCst);
        let is_alone = counts.ended.load(Ordering::SeqCst) == before;
        InFlight { counts, number_if_alone: is_alone.then_some(before + 1) }
    }
}

impl InFlight {
    /// Whether no other request was under way since it began.
    pub fn was_alone(&self) -> bool {
        self.number_if_alone.is_some_and(|number| self.counts.begun.load(Ordering::SeqCst) == number)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counts.ended.fetch_add(1, Ordering::SeqCst);
    }
}
