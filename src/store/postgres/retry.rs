//! Repeats failed statements until the retry deadline, with exponential backoff and jitter.

use std::time::Duration;

use tokio::time::Instant;

use crate::env::Entropy;

/// Pause before the first retry; each later pause is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Longest pause before a retry.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The retries of one operation: their deadline, and the pause before the next one.
pub(super) struct Retry {
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    /// Allows retries for `limit` from now.
    pub(super) fn within(limit: Duration) -> Self {
        Self::until(Instant::now() + limit)
    }

    /// Allows retries until `deadline`.
    pub(super) fn until(deadline: Instant) -> Self {
        Self { deadline, pause: PAUSE_MIN }
    }

    /// Pauses before the next retry and returns true. Returns false at once if the pause would end after the deadline.
    ///
    /// The pause is a random time between one half and all of the current backoff, so that two clients that collided
    /// once do not collide again.
    pub(super) async fn pause(&mut self) -> bool {
        let pause = self.pause.mul_f64(0.5 + Entropy::System.fraction() / 2.0);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
