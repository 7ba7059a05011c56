//! Requests that are held. A request that waits for a change can wait for a minute, and hyper keeps two buffers for it.
//! So the connection drops hyper meanwhile, and keeps the stream and the future of the response only. To send the
//! response, hyper starts again: it is given a short head in place of the one that it has read before, and the service
//! then has the response.
//!
//! ```text
//!     client sends      head                                       next head
//!     hyper             reads, calls the service  ×      starts, reads the short head, sends the response
//!     the connection                              holds ─┘
//! ```
//!
//! The body of such a request, if it has one, is read to its end before: hyper alone knows where it ends. If that is far
//! away, or the client waits to be asked for it, hyper stays, and the connection closes with the response.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::future::FutureExt as _;
use http::request::Parts;
use http::{Method, Response, Version, header};
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Handler;
use super::client_stream::ClientStream;
use super::state::InFlightGuard;
use super::stream::FastPathStream;

/// The response to a request that is held.
pub type HeldResponse = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// What a handler has for a request.
pub enum Handled {
    /// Its response.
    Done(Response<Full<Bytes>>),
    /// The response comes later, perhaps much later. What the handler has not read of the request's body is dropped.
    Held(HeldResponse),
}

impl From<Response<Full<Bytes>>> for Handled {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Self::Done(response)
    }
}

impl Handled {
    /// Its response, after the wait if it is held.
    pub async fn response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Done(response) => response,
            Self::Held(response) => response.await,
        }
    }
}

/// What hyper must know of a request to send its response.
#[derive(Clone, Copy)]
pub struct ShortHead {
    is_head: bool,
    version: Version,
    keep_alive: bool,
}

impl ShortHead {
    pub fn of(head: &Parts) -> Self {
        let connection = head.headers.get_all(header::CONNECTION);
        let has = |option: &str| {
            let mut values = connection.iter().filter_map(|value| value.to_str().ok());
            values.any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(option)))
        };
        let keep_alive = !has("close") && (head.version != Version::HTTP_10 || has("keep-alive"));
        Self { is_head: head.method == Method::HEAD, version: head.version, keep_alive }
    }

    /// The head as hyper reads it. `must_close`: the connection ends with the response.
    fn text(self, must_close: bool) -> &'static [u8] {
        let keep_alive = self.keep_alive && !must_close;
        match (self.is_head, self.version == Version::HTTP_10, keep_alive) {
            (false, false, true) => b"GET / HTTP/1.1\r\n\r\n",
            (false, false, false) => b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
            (false, true, true) => b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            (false, true, false) => b"GET / HTTP/1.0\r\n\r\n",
            (true, false, true) => b"HEAD / HTTP/1.1\r\n\r\n",
            (true, false, false) => b"HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n",
            (true, true, true) => b"HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            (true, true, false) => b"HEAD / HTTP/1.0\r\n\r\n",
        }
    }
}

/// A request that is held.
pub struct HeldRequest {
    pub response: HeldResponse,
    pub head: ShortHead,
    pub in_flight: InFlightGuard,
}

/// The response to a request that was held, for the service.
pub struct HeldAnswer {
    pub response: Response<Full<Bytes>>,
    pub in_flight: InFlightGuard,
}

/// Waits for the response of a held request, and looks meanwhile whether the client closes its side.
pub async fn response_of<S, H>(
    held: &mut HeldRequest,
    stream: &mut FastPathStream<ClientStream<S>, H>,
) -> Response<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    poll_fn(|context| {
        let polled = held.response.poll_unpin(context);
        if polled.is_pending() {
            // After the poll, in which the request says that somebody wants to know.
            stream.watch(context);
        }
        polled
    })
    .await
}

/// The bytes that hyper reads to send the response: the short head, and what it had read beyond the request.
pub fn bytes_again(head: ShortHead, must_close: bool, read_ahead: &[u8]) -> BytesMut {
    [head.text(must_close), read_ahead].concat().as_slice().into()
}
