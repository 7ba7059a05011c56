//! One HTTP connection: hyper, and under it a stream that answers requests of the fast path itself.
//!
//! ```text
//!             client
//!                │ bytes
//!      ┌─────────▼──────────┐  may answer   ┌─────────────────────┐
//!      │   FastPathStream   ├──────────────►│ Handler::fast_path  │ writes the response to the socket
//!      └─────────┬──────────┘               └─────────────────────┘
//!                │ every other byte
//!      ┌─────────▼──────────┐
//!      │       hyper        │
//!      └─────────┬──────────┘
//!                │ requests
//!      ┌─────────▼──────────┐  declined     ┌─────────────────────┐
//!      │ fast path, service ├──────────────►│   Handler::handle   │ the normal path
//!      └────────────────────┘               └─────────────────────┘
//! ```
//!
//! # When the stream may answer
//!
//! hyper does not know of the requests that the stream answers. So a response of the stream must never come between the
//! bytes of a response of hyper, or before a response that is due earlier, and must never answer bytes that are not a
//! request. The invariant: the stream may answer a head if and only if the number of requests that hyper has read
//! equals the number of responses that hyper has flushed, and the head is whole, alone and plain.
//!
//! ```text
//!     client sends         head A   body A                           head B
//!     hyper sends                            response A   (flush)
//!     the stream sends                                                        response B
//!                       ─┬────────┬────────┬────────────┬────────────┬───────┬───────────► time
//!     requests read      0        1        1            1            1       1    (B never reaches hyper)
//!     responses flushed  0        0        0            0            1       1
//!     may answer         yes      no       no           no           yes     yes
//! ```
//!
//! | condition | how it is known | what it excludes |
//! | --- | --- | --- |
//! | requests read = responses flushed | `FramingTracker` counts the requests that hyper was given, `InFlightGuard` the responses that hyper has taken over; hyper's next flush has sent these | a response before that of an earlier request, or in the middle of it |
//! | the last request is complete | `FramingTracker` counts the bytes of its body | a body that looks like a request (request smuggling) |
//! | the head is whole | it parses, with `httparse`, as hyper would parse it; a partial head waits in the stream for its rest | a decision on a part of a head |
//! | the head is alone | it ends where the bytes that were read end, and announces no body | pipelined requests, whose responses must keep their order; bodies, which the fast path does not read |
//! | the head is plain | HTTP/1.1; one valid `Host`; no `Transfer-Encoding`, `Upgrade` or `Expect`; at most one `Content-Length`; no `Connection` but `keep-alive`; not CONNECT | requests whose end hyper could see elsewhere, and requests after which hyper closes the connection or changes the protocol |
//!
//! If hyper is given a request that is not plain, or several at once, the tracker no longer knows where requests end.
//! The tracker is then *lost*: hyper gets everything that follows on this connection.
//!
//! A request that waits for a change is held without hyper (`held.rs`).
//!
//! The agreement test (`agreement_tests.rs`) sends adversarial bytes to a connection with and without the fast path,
//! and compares every byte of the responses.

mod body;
mod client_stream;
mod framing;
mod head_meter;
mod held;
mod host;
mod peer;
mod request_body;
mod state;
mod stream;
mod timer;

use std::convert::Infallible;
use std::future::{Future, Ready, pending, poll_fn, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, FutureExt as _};
use http::request::Parts;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use self::body::ResponseBody;
pub(super) use self::client_stream::ClientStream;
pub use self::held::{Handled, HeldResponse};
use self::held::{HeldAnswer, HeldRequest, ShortHead};
pub use self::peer::Peer;
pub use self::request_body::RequestBody;
pub(super) use self::state::ConnectionState;
use self::state::InFlightGuard;
use self::stream::FastPathStream;
use self::timer::ConnectionTimer;
use super::memory::MemoryBudget;

/// Largest head of a request that is read, in bytes. A head above the API's own limits and below this one gets an error
/// with a code and a text; a larger one gets a bare 431, and the connection is closed.
pub const HEAD_BYTES_MAX: usize = 128 * 1024;
/// Most headers of a request. It equals hyper's default: setting it explicitly costs an allocation for each request.
pub const HEADERS_MAX: usize = 100;
/// A response is for its caller alone, so that shared caches must not keep it; a browser must ask again, with the ETag,
/// before it uses its copy.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");
/// Browsers must not guess another type than that of `Content-Type`.
const CONTENT_TYPE_OPTIONS: HeaderValue = HeaderValue::from_static("nosniff");
/// Time that a connection has to send its first request after the server began to stop.
const FIRST_HEAD_GRACE: Duration = Duration::from_secs(1);
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Answers requests.
pub trait Handler: Clone + Send + Unpin + 'static {
    /// Answers a request of a client: the normal path.
    fn handle(
        &self,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Handled> + Send + use<Self>;

    /// Whether connections try [`Self::fast_path`]. Asked once for each connection.
    fn has_fast_path(&self) -> bool {
        false
    }

    /// The fast path under hyper: answers a plain request without a body at once. Appends the whole response, as it
    /// goes over the wire, and returns true; or appends nothing and returns false, and hyper reads the request. The
    /// target of the request has not been checked to be a URI.
    fn fast_path(&self, _request: &httparse::Request<'_, '_>, _response: &mut Vec<u8>) -> bool {
        false
    }

    /// The budget of the memory in flight; `None` if it is not limited. Asked once for each connection.
    fn memory(&self) -> Option<Arc<MemoryBudget>> {
        None
    }

    /// The fast path in hyper's service: answers a request at once from its head. Returns `None` for the normal path.
    /// It is for requests that cannot be answered under hyper; a request that [`Self::fast_path`] declined is not
    /// offered again.
    fn fast_path_in_service(&self, _head: &Parts) -> Option<Response<Full<Bytes>>> {
        None
    }
}

/// Serves a connection, until it closes or fails. After `stop` is cancelled, it ends with the response to the request
/// under way, or at once if there is none.
///
/// # Errors
/// The returned future fails if the client resets the connection, exceeds a timeout, or sends bytes that are not HTTP.
pub(super) async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    handler: impl Handler,
    head_timeout: Duration,
    state: Arc<ConnectionState>,
    stop: CancellationToken,
) -> Result<(), hyper::Error> {
    let stream = ClientStream::new(stream, Arc::clone(&state));
    let mut stream = FastPathStream::new(stream, handler.clone(), Arc::clone(&state));
    let mut service = {
        let state = Arc::clone(&state);
        service_fn(move |request| serve_request(request, &handler, peer, &state).map(Ok::<_, Infallible>))
    };
    let mut ending = pin!(ending(stop.clone(), Arc::clone(&state)).fuse());
    let mut must_close = false;
    loop {
        let hyper = hyper_settings(head_timeout, &state);
        let mut connection = hyper.serve_connection(TokioIo::new(stream), service);
        let mut held = loop {
            tokio::select! {
                biased;
                served = until_held(&mut connection, &state) => match served {
                    Served::Held(request) => break request,
                    Served::Ended(result) => {
                        // A request that is left there would keep the state, which it holds itself.
                        drop(state.take_held());
                        return result;
                    }
                },
                how = &mut ending => match how {
                    Ending::Now => return Ok(()),
                    Ending::AfterResponse => {
                        must_close = true;
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                },
            }
        };
        // Without hyper's buffers from here on. What hyper had read ahead is a slice of one, so it is copied. What it had
        // still to write would be lost, but there is nothing: hyper begins to read a request after it has flushed the
        // response before, and a request with `Expect`, which alone gets bytes before its response, is not held like this.
        let parts = connection.into_parts();
        (stream, service) = (parts.io.into_inner(), parts.service);
        let read_ahead = Bytes::copy_from_slice(&parts.read_buf);
        drop(parts.read_buf);
        if stream.hyper_dropped(read_ahead.len()).is_err() {
            return Ok(());
        }
        let response = loop {
            tokio::select! {
                biased;
                response = held::response_of(&mut held, &mut stream) => break response,
                _ = &mut ending => must_close = true,
            }
        };
        // The server may stop at the moment of the response.
        must_close |= stop.is_cancelled();
        let HeldRequest { head, in_flight, .. } = *held;
        state.answer_held(HeldAnswer { response, in_flight });
        stream.give_again(held::bytes_again(head, must_close, &read_ahead));
    }
}

/// How hyper serves a connection.
fn hyper_settings(head_timeout: Duration, state: &Arc<ConnectionState>) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(ConnectionTimer::new(head_timeout, Arc::clone(state)))
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        // A client that closes its side still gets its response. To notice the close during a request, hyper would need
        // a read buffer for each request.
        .half_close(true)
        // Responses are small: one copy into a buffer is cheaper than a gathering write.
        .writev(false);
    builder
}

/// How far hyper has served a connection.
enum Served {
    /// Until it ended.
    Ended(Result<(), hyper::Error>),
    /// Until a request that is to be held.
    Held(Box<HeldRequest>),
}

async fn until_held(
    connection: &mut (impl Future<Output = Result<(), hyper::Error>> + Unpin),
    state: &ConnectionState,
) -> Served {
    poll_fn(|context| match connection.poll_unpin(context) {
        Poll::Ready(result) => Poll::Ready(Served::Ended(result)),
        Poll::Pending => state.take_held().map_or(Poll::Pending, |held| Poll::Ready(Served::Held(held))),
    })
    .await
}

/// How a connection ends when the server stops.
enum Ending {
    /// Without a response: it has had no request.
    Now,
    /// With the response to the request under way, or at once if there is none.
    AfterResponse,
}

/// Waits until the connection must end because the server stops.
async fn ending(stop: CancellationToken, state: Arc<ConnectionState>) -> Ending {
    stop.cancelled().await;
    // The head of the first request may be on its way. A graceful shutdown now would drop a head of which hyper has
    // read nothing, and wait for the rest of a head of which hyper has read a part.
    tokio::time::timeout(FIRST_HEAD_GRACE, state.first_request())
        .await
        .map_or(Ending::Now, |()| Ending::AfterResponse)
}

/// Answers a request that hyper has read.
fn serve_request<H: Handler>(
    request: Request<Incoming>,
    handler: &H,
    peer: SocketAddr,
    state: &Arc<ConnectionState>,
) -> impl Future<Output = Response<ResponseBody>> + use<H> {
    if let Some(HeldAnswer { response, in_flight }) = state.take_held_answer() {
        state.note_whole_request();
        return Either::Left(ready(finish(response, in_flight)));
    }
    state.note_service_request();
    let in_flight = InFlightGuard::new(state);
    let (head, body) = request.into_parts();
    let body = RequestBody::new(body, &head.headers, state);
    let unread = body.exists().then(|| Arc::clone(state));
    if let Some(response) = answer_at_once(handler, &head, state) {
        drop(body);
        return Either::Right(Either::Left(
            after_the_body(response, unread).map(|response| finish(response, in_flight)),
        ));
    }
    let short_head = ShortHead::of(&head);
    // hyper may not have sent all of the `100 Continue` before such a body.
    let may_drop_hyper = unread.is_none() || !head.headers.contains_key(header::EXPECT);
    let handled = handler.handle(Request::from_parts(head, body), Peer::new(peer.ip(), Arc::clone(state)));
    let state = Arc::clone(state);
    Either::Right(Either::Right(async move {
        match handled.await {
            Handled::Done(response) => finish(after_the_body(response, unread).await, in_flight),
            Handled::Held(response) => {
                let is_whole = was_read_whole(unread.as_ref()).await;
                if is_whole && may_drop_hyper {
                    state.hold(HeldRequest { response, head: short_head, in_flight });
                    // The connection drops hyper, and this future with it.
                    return pending().await;
                }
                // hyper stays, so the connection does not see its client go away.
                let mut response = response.await;
                if !is_whole {
                    response.headers_mut().insert(header::CONNECTION, CLOSE);
                }
                finish(response, in_flight)
            }
        }
    }))
}

/// Adds what every response has.
fn finish(mut response: Response<Full<Bytes>>, in_flight: InFlightGuard) -> Response<ResponseBody> {
    add_fixed_headers(&mut response);
    in_frames(response, in_flight)
}

/// Adds the headers of every response, so that no handler can leave them out. Responses of [`Handler::fast_path`] have
/// them already.
pub(super) fn add_fixed_headers<B>(response: &mut Response<B>) {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(CACHE_CONTROL);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, CONTENT_TYPE_OPTIONS);
}

/// A response from the head of a request alone: a refusal, or the fast path's.
fn answer_at_once(
    handler: &impl Handler,
    head: &Parts,
    state: &ConnectionState,
) -> Option<Response<Full<Bytes>>> {
    if !host::is_valid(head) {
        return Some(host::refusal());
    }
    if state.take_declined() { None } else { handler.fast_path_in_service(head) }
}

/// A response as hyper takes it. It is in flight, with its charge, until hyper has taken over all of it.
fn in_frames(mut response: Response<Full<Bytes>>, mut in_flight: InFlightGuard) -> Response<ResponseBody> {
    in_flight.hold(response.extensions_mut().remove());
    response.map(|body| ResponseBody::new(body, in_flight))
}

/// Whether the body of a request was read to its end. Reads the rest of it, if that is short. `state` is `None` if the
/// request has no body.
async fn was_read_whole(state: Option<&Arc<ConnectionState>>) -> bool {
    let Some(state) = state else { return true };
    match state.take_unread() {
        Some(unread) => unread.read_rest(state).await,
        // The handler has read all of it, or still has it.
        None => !state.is_in_request(),
    }
}

/// A response that waits for the rest of a request's body.
type LaterResponse = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// Holds a response back until the rest of the request's body was read, or says in the response that the connection
/// closes. `state` is `None` if the request has no body.
fn after_the_body(
    mut response: Response<Full<Bytes>>,
    state: Option<Arc<ConnectionState>>,
) -> Either<Ready<Response<Full<Bytes>>>, LaterResponse> {
    let Some((state, unread)) = state.and_then(|state| state.take_unread().map(|unread| (state, unread)))
    else {
        return Either::Left(ready(response));
    };
    Either::Right(Box::pin(async move {
        if !unread.read_rest(&state).await {
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        response
    }))
}

#[cfg(test)]
mod agreement_tests;
#[cfg(test)]
mod held_tests;
