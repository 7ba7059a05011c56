//! Memory in flight: the bodies that are being read, and the answers that clients have not taken yet, of all
//! connections of a listener. They have one budget of bytes. What would exceed it is refused, so that clients that are
//! slow, or many, cannot take all of the machine's memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::Metrics;

/// Size up to which an answer is not counted, in bytes: about as much as a connection itself takes.
pub const UNCOUNTED_BYTES_MAX: usize = 4096;
/// Least rate at which a client must send a body or take an answer, in bytes a second.
pub const LEAST_RATE: usize = 1024;
/// Time over which the rate is measured. It spans a short loss of the network.
const RATE_WINDOW: Duration = Duration::from_secs(30);
/// Least time between two lines in the log about a budget that is used up.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The budget of a listener.
pub struct MemoryBudget {
    bytes_max: i64,
    metrics: Arc<Metrics>,
    last_line: Mutex<Option<Instant>>,
}

/// A part of a budget. It is given back when it is dropped.
pub struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: i64,
}

impl MemoryBudget {
    /// A budget of this number of bytes. What is taken of it is in the metrics.
    pub fn new(bytes_max: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        Arc::new(Self { bytes_max, metrics, last_line: Mutex::default() })
    }

    /// Takes bytes; `None` if that many are not left.
    pub fn try_charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let mut charge = self.charge(0);
        charge.try_grow(bytes).then_some(charge)
    }

    /// Takes bytes, also beyond the budget: for the answer to a change that was made already.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        let bytes = as_i64(bytes);
        self.metrics.memory_in_flight.inc_by(bytes);
        Charge { budget: Arc::clone(self), bytes }
    }

    /// Whether nothing is left. Counts a refusal if so.
    pub fn is_used_up(&self) -> bool {
        let is_used_up = self.metrics.memory_in_flight.get() >= self.bytes_max;
        if is_used_up {
            self.note_refusal();
        }
        is_used_up
    }

    fn note_refusal(&self) {
        let refusals = self.metrics.memory_refusals.inc() + 1;
        let now = Instant::now();
        let mut last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last_line.is_none_or(|last| now - last >= LINE_INTERVAL) {
            *last_line = Some(now);
            let bytes_max = self.bytes_max;
            tracing::warn!(
                bytes_max,
                refusals,
                "bodies and answers in flight take all of [http] memory_in_flight_bytes"
            );
        }
    }
}

impl Charge {
    /// Takes further bytes. If that many are not left, takes none and returns false.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let (bytes, in_flight) = (as_i64(bytes), &self.budget.metrics.memory_in_flight);
        let before = in_flight.inc_by(bytes);
        let fits = before.saturating_add(bytes) <= self.budget.bytes_max;
        if fits {
            self.bytes += bytes;
        } else {
            in_flight.dec_by(bytes);
            self.budget.note_refusal();
        }
        fits
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.metrics.memory_in_flight.dec_by(self.bytes);
    }
}

fn as_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Measures how fast a client sends or reads, in windows of `RATE_WINDOW`.
pub struct RateMeter {
    window_ends: Instant,
    bytes: usize,
}

impl RateMeter {
    /// Starts to measure now.
    pub fn start() -> Self {
        Self { window_ends: Instant::now() + RATE_WINDOW, bytes: 0 }
    }

    /// End of the current window.
    pub fn window_ends(&self) -> Instant {
        self.window_ends
    }

    /// Adds bytes that the client sent or took.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Whether the client was slower than [`LEAST_RATE`] in a window that has ended. If it was not, starts the next
    /// one.
    pub fn is_too_slow(&mut self) -> bool {
        let now = Instant::now();
        if now < self.window_ends {
            return false;
        }
        let seconds = usize::try_from(RATE_WINDOW.as_secs()).unwrap_or(usize::MAX);
        let is_too_slow = self.bytes < LEAST_RATE.saturating_mul(seconds);
        *self = Self::start();
        is_too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_given_back_and_never_exceed_the_budget() {
        let metrics = Arc::<Metrics>::default();
        let budget = MemoryBudget::new(100, Arc::clone(&metrics));
        let mut first = budget.try_charge(60).unwrap();
        assert!(budget.try_charge(41).is_none());
        assert!(!first.try_grow(41));
        assert!(first.try_grow(40));
        assert!(budget.is_used_up());
        let second = budget.charge(10);
        assert_eq!((metrics.memory_in_flight.get(), metrics.memory_refusals.get()), (110, 3));
        drop(first);
        assert!(!budget.is_used_up());
        assert!(budget.try_charge(90).is_some());
        drop(second);
        assert_eq!((metrics.memory_in_flight.get(), metrics.memory_refusals.get()), (0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_measured_in_windows() {
        let mut meter = RateMeter::start();
        for (bytes, seconds, expected) in
            [(0, 29, false), (LEAST_RATE * 30, 1, false), (LEAST_RATE * 30 - 1, 30, true)]
        {
            meter.add(bytes);
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(meter.is_too_slow(), expected, "{bytes} bytes");
        }
    }
}
