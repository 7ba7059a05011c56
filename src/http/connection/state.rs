//! The state of one connection that its parts share: the stream under hyper, the idle timer, the service that hyper
//! calls, and the listener that drains the connection. All of them run in the connection's task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::request_body::UnreadBody;

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

    /// Gives back the rest of the last request's body.
    pub fn return_unread(&self, body: UnreadBody) {
        *self.unread_body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// Takes the rest of the last request's body; `None` if it was read to its end.
    pub fn take_unread(&self) -> Option<UnreadBody> {
        self.unread_body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Marks a response as in flight. The response body holds it, and hyper drops the body once it has taken over all of
/// it.
pub struct InFlightGuard(Arc<ConnectionState>);

impl InFlightGuard {
    /// For the next response of a connection.
    pub fn new(state: &Arc<ConnectionState>) -> Self {
        Self(Arc::clone(state))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.responses_taken.fetch_add(1, Ordering::Release);
    }
}
