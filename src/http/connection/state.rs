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
    /// Whether something was answered, or sent of an answer, that hyper did not see.
    served_here: AtomicBool,
}

impl Progress {
    /// How many answers hyper has taken over whole. They are sent once it has flushed after that.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Notes that something was answered, or sent of an answer, that hyper did not see.
    pub fn note_served_here(&self) {
        // Once is enough until it is asked for; most of the time this is but a look.
        if !self.served_here.load(Ordering::Relaxed) {
            self.served_here.store(true, Ordering::Relaxed);
            self.asked.notify_one();
        }
    }

    /// Whether that was noted since this was last asked.
    pub fn was_served_here(&self) -> bool {
        self.served_here.swap(false, Ordering::Relaxed)
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
