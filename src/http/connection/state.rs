//! The state of one connection that its parts share: the stream under hyper, the idle timer, the service that hyper
//! calls, and the listener that drains the connection. All of them run in the connection's task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::held::{HeldAnswer, HeldRequest};
use super::request_body::UnreadBody;
use crate::http::memory::Charge;

/// Counts and flags of one connection.
#[derive(Default)]
pub struct ConnectionState {
    has_request: AtomicBool,
    first_request: Notify,
    responses_taken: AtomicU64,
    was_active_under_hyper: AtomicBool,
    has_declined: AtomicBool,
    is_in_request: AtomicBool,
    unread_body: Mutex<Option<UnreadBody>>,
    requests: AtomicU64,
    /// Charges of responses that hyper has taken over and not flushed.
    unflushed: Mutex<Vec<Arc<Charge>>>,
    has_unflushed_frame: AtomicBool,
    waits_for_flush: Mutex<Option<Waker>>,
    is_watched: AtomicBool,
    closed: Notify,
    has_held: AtomicBool,
    held: Mutex<Option<Box<HeldRequest>>>,
    has_held_answer: AtomicBool,
    held_answer: Mutex<Option<HeldAnswer>>,
}

impl ConnectionState {
    /// Notes that a request has arrived.
    pub fn note_request(&self) {
        if !self.has_request.load(Ordering::Relaxed) {
            self.has_request.store(true, Ordering::Relaxed);
            self.first_request.notify_one();
        }
    }

    /// Waits until the connection has had a request. One task may wait, once.
    pub async fn first_request(&self) {
        self.first_request.notified().await;
    }

    /// Number of responses whose last byte hyper has taken over from the service. hyper has sent them all after its
    /// next flush.
    pub fn responses_taken(&self) -> u64 {
        self.responses_taken.load(Ordering::Acquire)
    }

    /// Notes that hyper has flushed all that it was given. Returns the number of responses that it had taken over.
    pub fn note_flush(&self, flushed_before: u64) -> u64 {
        if self.has_unflushed_frame.load(Ordering::Relaxed) {
            self.has_unflushed_frame.store(false, Ordering::Relaxed);
            let waker = self.waits_for_flush.lock().unwrap_or_else(PoisonError::into_inner).take();
            waker.inspect(Waker::wake_by_ref);
        }
        let responses_taken = self.responses_taken();
        if responses_taken != flushed_before {
            self.unflushed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        responses_taken
    }

    /// Notes that the service was given a request.
    pub fn note_service_request(&self) {
        self.note_request();
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of requests that the service was given. If it is that of the responses taken, hyper waits for a head.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Notes that the stream under hyper answered a request, or sent a part of an answer. hyper sees neither.
    pub fn note_activity_under_hyper(&self) {
        self.note_request();
        // Read first: the flag is usually set already, and a read leaves the cache line shared.
        if !self.was_active_under_hyper.load(Ordering::Relaxed) {
            self.was_active_under_hyper.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there was activity under hyper since the last call.
    pub fn take_activity_under_hyper(&self) -> bool {
        self.was_active_under_hyper.swap(false, Ordering::Relaxed)
    }

    /// Notes that the fast path declined the request that hyper reads next.
    pub fn note_declined(&self) {
        self.has_declined.store(true, Ordering::Relaxed);
    }

    /// Whether the fast path has already declined the request that hyper has just read. Clears the note.
    pub fn take_declined(&self) -> bool {
        self.has_declined.load(Ordering::Relaxed) && self.has_declined.swap(false, Ordering::Relaxed)
    }

    /// Notes that hyper was given bytes to read.
    pub fn note_bytes_for_hyper(&self) {
        self.is_in_request.store(true, Ordering::Relaxed);
    }

    /// Notes that the last request was read to its end.
    pub fn note_whole_request(&self) {
        self.is_in_request.store(false, Ordering::Relaxed);
    }

    /// Whether hyper may have read only a part of a request. It can also have refused the head of one.
    pub fn is_in_request(&self) -> bool {
        self.is_in_request.load(Ordering::Relaxed)
    }

    /// Waits until the client has closed its side of the connection. One task may wait.
    pub async fn client_closed(&self) {
        let _watch = Watch::start(&self.is_watched);
        self.closed.notified().await;
    }

    /// Whether somebody waits for the client to close its side.
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Notes that the client has closed its side.
    pub fn note_client_closed(&self) {
        self.is_watched.store(false, Ordering::Relaxed);
        self.closed.notify_one();
    }

    /// Notes that the request under way is to be held without hyper.
    pub fn hold(&self, request: HeldRequest) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(request));
        self.has_held.store(true, Ordering::Relaxed);
    }

    /// Takes the request that is to be held.
    pub fn take_held(&self) -> Option<Box<HeldRequest>> {
        if !self.has_held.load(Ordering::Relaxed) {
            return None;
        }
        self.has_held.store(false, Ordering::Relaxed);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes the answer to the request that was held. The service returns it for the next request that hyper reads.
    pub fn answer_held(&self, answer: HeldAnswer) {
        *self.held_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.has_held_answer.store(true, Ordering::Relaxed);
    }

    /// Takes the answer to the request that was held.
    pub fn take_held_answer(&self) -> Option<HeldAnswer> {
        if !self.has_held_answer.load(Ordering::Relaxed) {
            return None;
        }
        self.has_held_answer.store(false, Ordering::Relaxed);
        self.held_answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives back the rest of the last request's body.
    pub fn return_unread(&self, body: UnreadBody) {
        *self.unread_body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// Takes the rest of the last request's body; `None` if it was read to its end.
    pub fn take_unread(&self) -> Option<UnreadBody> {
        self.unread_body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Watches for the end of the client's side while it exists.
struct Watch<'a>(&'a AtomicBool);

impl<'a> Watch<'a> {
    fn start(is_watched: &'a AtomicBool) -> Self {
        is_watched.store(true, Ordering::Relaxed);
        Self(is_watched)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Marks a response as in flight. The response body holds it, and hyper drops the body once it has taken over all of
/// it.
pub struct InFlightGuard {
    state: Arc<ConnectionState>,
    charge: Option<Arc<Charge>>,
}

impl InFlightGuard {
    /// For the next response of a connection.
    pub fn new(state: &Arc<ConnectionState>) -> Self {
        Self { state: Arc::clone(state), charge: None }
    }

    /// Keeps the charge of the response until the response is flushed.
    pub fn hold(&mut self, charge: Option<Arc<Charge>>) {
        self.charge = charge;
    }

    /// Waits until hyper has flushed the last frame of the response.
    pub fn poll_flushed(&self, context: &Context<'_>) -> Poll<()> {
        if !self.state.has_unflushed_frame.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let mut waker = self.state.waits_for_flush.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Notes that hyper was given a frame, and that another one follows.
    pub fn note_frame(&self) {
        self.state.has_unflushed_frame.store(true, Ordering::Relaxed);
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.state.unflushed.lock().unwrap_or_else(PoisonError::into_inner).push(charge);
        }
        self.state.responses_taken.fetch_add(1, Ordering::Release);
    }
}
