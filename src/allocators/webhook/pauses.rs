//! What the service has said about allocations: when it may be called again, and how often it has refused to stop a
//! server. Each node remembers it for itself, and only until it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most allocations and calls that are remembered. If there are more, all are forgotten: then calls come earlier.
const REMEMBERED_MAX: usize = 10_000;

/// A kind of call. A hard stop does not wait for the pause after a soft one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asking {
    Find,
    StopSoft,
    StopHard,
}

/// The pauses of all allocations. Times are those of the monotonic clock, in milliseconds.
#[derive(Default)]
pub struct Pauses(Mutex<BTreeMap<String, BTreeMap<Asking, Pause>>>);

#[derive(Clone, Copy, Default)]
struct Pause {
    until_ms: i64,
    refusals: u32,
}

impl Pauses {
    /// Whether the service wants no such call yet.
    pub fn is_on(&self, allocation_id: &str, asking: Asking, up_ms: i64) -> bool {
        let pauses = self.lock();
        pauses.get(allocation_id).and_then(|of| of.get(&asking)).is_some_and(|pause| up_ms < pause.until_ms)
    }

    /// Begins a pause.
    pub fn begin(&self, allocation_id: &str, asking: Asking, until_ms: i64) {
        self.change(allocation_id, asking, |pause| pause.until_ms = until_ms);
    }

    /// Begins a pause after a refusal. Returns how often such a call was refused.
    pub fn refused(&self, allocation_id: &str, asking: Asking, until_ms: i64) -> u32 {
        self.change(allocation_id, asking, |pause| {
            pause.until_ms = until_ms;
            pause.refusals += 1;
        })
    }

    /// Forgets an allocation whose server is gone.
    pub fn forget(&self, allocation_id: &str) {
        self.lock().remove(allocation_id);
    }

    fn change(&self, allocation_id: &str, asking: Asking, change: impl FnOnce(&mut Pause)) -> u32 {
        let mut pauses = self.lock();
        if pauses.len() >= REMEMBERED_MAX && !pauses.contains_key(allocation_id) {
            pauses.clear();
        }
        let pause = pauses.entry(allocation_id.to_owned()).or_default().entry(asking).or_default();
        change(pause);
        pause.refusals
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
        assert_eq!([10, 20].map(|until_ms| pauses.refused("a", Asking::StopHard, until_ms)), [1, 2]);
        assert!(pauses.is_on("a", Asking::StopHard, 19));
        pauses.forget("a");
        assert!(!pauses.is_on("a", Asking::StopHard, 0));
        assert_eq!(pauses.refused("a", Asking::StopHard, 10), 1);
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
