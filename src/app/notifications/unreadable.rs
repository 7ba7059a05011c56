//! Stored things that cannot be read. A player is told of all others.

use std::fmt::Display;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::env::Clock;

/// How often the log has a line, in milliseconds: each look of each long poll finds the same thing again.
const LOG_EVERY_MS: i64 = 60_000;

/// Logs what notifications could not read.
pub struct UnreadableLog {
    /// When the last line was written, by the monotonic clock; `i64::MIN`: never.
    logged_up_ms: AtomicI64,
    clock: Clock,
}

impl UnreadableLog {
    /// A log without a line yet.
    pub fn new(clock: Clock) -> Self {
        Self { logged_up_ms: AtomicI64::new(i64::MIN), clock }
    }

    /// Notes that something cannot be read: what it is, and its id.
    pub fn note(&self, what: &str, id: &dyn Display, error: &dyn Display) {
        let (up_ms, last) = (self.clock.up_ms(), self.logged_up_ms.load(Ordering::Relaxed));
        if last == i64::MIN || up_ms.saturating_sub(last) >= LOG_EVERY_MS {
            self.logged_up_ms.store(up_ms, Ordering::Relaxed);
            tracing::error!(
                what, %id, %error,
                "cannot be read, so its player is not told of it; further such lines come once a minute"
            );
        }
    }
}
