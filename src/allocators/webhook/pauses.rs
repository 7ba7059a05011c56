//! What the service has said about allocations: when it may be called again, and for how long it has refused to stop
//! a server. Each node remembers it for itself, and only until it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most allocations and calls that are remembered. If there are more, all are forgotten: then calls come earlier.
const REMEMBERED_MAX: usize = 10_000;

/// A kind of call. A hard stop does not wait for the pause after a soft one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asking {
    Find,
    /// After the answer that the server is being started.
    FindStarting,
    StopSoft,
    StopHard,
}

/// The pauses of all allocations. Times are those of the monotonic clock, in milliseconds.
#[derive(Default)]
pub struct Pauses(Mutex<BTreeMap<String, BTreeMap<Asking, Pause>>>);

#[derive(Clone, Copy, Default)]
struct Pause {
    until_ms: i64,
    /// When the first of the refusals came that no other answer has followed.
    refused_since_ms: Option<i64>,
}

impl Pauses {
    /// Whether the service wants no such call yet.
    pub fn is_on(&self, allocation_id: &str, asking: Asking, up_ms: i64) -> bool {
        let pauses = self.lock();
        pauses.get(allocation_id).and_then(|of| of.get(&asking)).is_some_and(|pause| up_ms < pause.until_ms)
    }

    /// Begins a pause after an answer that is no refusal.
    pub fn begin(&self, allocation_id: &str, asking: Asking, until_ms: i64) {
        self.change(allocation_id, asking, |_| Pause { until_ms, refused_since_ms: None });
    }

    /// Begins a pause after a refusal. Returns when the first refusal came, without another answer since.
    pub fn refused(&self, allocation_id: &str, asking: Asking, up_ms: i64, until_ms: i64) -> i64 {
        let refused = |pause: Pause| Pause {
            until_ms,
            refused_since_ms: Some(pause.refused_since_ms.unwrap_or(up_ms)),
        };
        self.change(allocation_id, asking, refused).refused_since_ms.unwrap_or(up_ms)
    }

    /// Forgets an allocation whose server is gone.
    pub fn forget(&self, allocation_id: &str) {
        self.lock().remove(allocation_id);
    }

    fn change(&self, allocation_id: &str, asking: Asking, change: impl FnOnce(Pause) -> Pause) -> Pause {
        let mut pauses = self.lock();
        if pauses.len() >= REMEMBERED_MAX && !pauses.contains_key(allocation_id) {
            pauses.clear();
        }
        let pause = pauses.entry(allocation_id.to_owned()).or_default().entry(asking).or_default();
        *pause = change(*pause);
        *pause
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<Asking, Pause>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_for_one_allocation_and_one_kind_of_call() {
        let pauses = Pauses::default();
        pauses.begin("a", Asking::StopSoft, 10);
        assert!(pauses.is_on("a", Asking::StopSoft, 9) && !pauses.is_on("a", Asking::StopSoft, 10));
        assert!(!pauses.is_on("a", Asking::StopHard, 9) && !pauses.is_on("b", Asking::StopSoft, 9));
        let refused = |up_ms| pauses.refused("a", Asking::StopHard, up_ms, up_ms + 10);
        assert_eq!([5, 10].map(refused), [5, 5]);
        assert!(pauses.is_on("a", Asking::StopHard, 19));
        pauses.begin("a", Asking::StopHard, 20);
        assert_eq!(refused(15), 15, "there was another answer");
        pauses.forget("a");
        assert!(!pauses.is_on("a", Asking::StopHard, 0));
        assert_eq!(refused(20), 20);
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let pauses = Pauses::default();
        for index in 0..=REMEMBERED_MAX {
            pauses.begin(&index.to_string(), Asking::Find, 10);
        }
        assert!(
            pauses.lock().len() <= REMEMBERED_MAX
                && pauses.is_on(&REMEMBERED_MAX.to_string(), Asking::Find, 0)
        );
    }
}
