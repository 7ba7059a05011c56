//! The body of a request, as hyper reads it. If the handler does not read all of it, the service gets the rest back:
//! a connection can serve a next request only after the body of the last one was read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::state::ConnectionState;

/// Longest rest of a body that is read before the response is sent, in bytes.
const REST_BYTES_MAX: u64 = 65_536;
/// Longest time to read the rest of a body before the response is sent.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a request.
pub struct RequestBody(Option<Rest>);

/// What hyper has not read of a body.
struct Rest {
    incoming: Incoming,
    /// Whether hyper can read on without asking the client for the body: with `Expect: 100-continue` the client may
    /// wait for a response instead.
    is_unasked: bool,
    was_read: bool,
    state: Arc<ConnectionState>,
}

/// The rest of a body that a handler has not read.
pub struct UnreadBody {
    incoming: Incoming,
    is_worth_reading: bool,
}

impl RequestBody {
    /// The body of a request with these headers.
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap, state: &Arc<ConnectionState>) -> Self {
        if incoming.is_end_stream() {
            state.note_whole_request();
            return Self(None);
        }
        let is_unasked = !headers.contains_key(header::EXPECT);
        Self(Some(Rest { incoming, is_unasked, was_read: false, state: Arc::clone(state) }))
    }

    /// Whether the request has a body.
    pub(super) fn exists(&self) -> bool {
        self.0.is_some()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(rest) = &mut self.0 else { return Poll::Ready(None) };
        rest.was_read = true;
        let frame = ready!(Pin::new(&mut rest.incoming).poll_frame(context));
        if frame.is_none() || (matches!(frame, Some(Ok(_))) && rest.incoming.is_end_stream()) {
            rest.state.note_whole_request();
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.incoming.size_hint())
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(Rest { incoming, is_unasked, was_read, state }) = self.0.take() else { return };
        // Whoever stopped in the middle of a body did so because it is too large, too slow or broken.
        let is_short = incoming.size_hint().lower() <= REST_BYTES_MAX;
        let is_worth_reading = is_unasked && is_short && !was_read;
        state.return_unread(UnreadBody { incoming, is_worth_reading });
    }
}

impl UnreadBody {
    /// Reads the rest of the body, if it is short and arrives soon. Returns whether the body was read to its end, so
    /// that the connection can serve a next request.
    pub(super) async fn read_rest(mut self, state: &ConnectionState) -> bool {
        if !self.is_worth_reading {
            return false;
        }
        let read = async {
            let mut bytes_left = REST_BYTES_MAX;
            while let Some(frame) = self.incoming.frame().await {
                let bytes = frame.ok()?.data_ref().map_or(0, Bytes::len) as u64;
                bytes_left = bytes_left.checked_sub(bytes)?;
            }
            Some(())
        };
        let is_whole = matches!(tokio::time::timeout(REST_TIMEOUT, read).await, Ok(Some(())));
        if is_whole {
            state.note_whole_request();
        }
        is_whole
    }
}
