//! How far a connection is: what its parts (its stream, its timer, hyper's calls of the handler) tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub struct Progress {
    /// Notified where a request ever came.
    pub asked: Notify,
    /// Answers that hyper has taken over whole.
    answered: AtomicU64,
    /// Whether something was answered that hyper did not see.
    heard: AtomicBool,
}

impl Progress {
    /// How many answers hyper has taken over whole. They are sent once it has flushed after that.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Notes that something was answered that hyper did not see.
    pub fn note_heard(&self) {
        // Written the first time only: what is only read costs others nothing.
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
            self.asked.notify_one();
        }
    }

    /// Whether something was answered that hyper did not see, since this was last asked.
    pub fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }
}

/// Held by an answer until hyper has taken all of it.
pub struct Answering(Arc<Progress>);

impl Answering {
    /// Of a connection.
    pub fn on(progress: &Arc<Progress>) -> Self {
        Self(Arc::clone(progress))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Release);
    }
}
