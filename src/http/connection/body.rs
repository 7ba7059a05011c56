//! The body of a response, as hyper takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::state::InFlightGuard;

/// Largest frame that hyper gets at a time, in bytes.
const FRAME_BYTES_MAX: usize = 65_536;

/// A body in frames of at most 64 KiB. hyper copies each frame into the connection's write buffer, which keeps its size
/// as long as the connection. So the next frame waits until hyper has flushed the last one, and a large body is never
/// copied whole for a client that reads slowly.
pub struct ResponseBody {
    whole: Full<Bytes>,
    rest: Bytes,
    in_flight: InFlightGuard,
}

impl ResponseBody {
    /// A body whose response is in flight until hyper has taken the last frame.
    pub fn new(whole: Full<Bytes>, in_flight: InFlightGuard) -> Self {
        Self { whole, rest: Bytes::new(), in_flight }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.in_flight.poll_flushed(context));
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.whole).poll_frame(context));
            let Some(Ok(data)) = frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
            else {
                return Poll::Ready(None);
            };
            if data.len() <= FRAME_BYTES_MAX {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.rest = data;
        }
        let frame_bytes = self.rest.len().min(FRAME_BYTES_MAX);
        if frame_bytes < self.rest.len() {
            self.in_flight.note_frame();
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(frame_bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let whole_bytes = self.whole.size_hint().exact().unwrap_or_default();
        SizeHint::with_exact(self.rest.len() as u64 + whole_bytes)
    }
}
