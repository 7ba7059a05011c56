//! Who waits for a server, so that the first who asked gets the first that is free.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// After this time without a new call, a launch counts as given up.
const FORGET_MS: i64 = 5_000;
/// Most launches that are remembered. Further ones get what is left.
const WAITING_MAX: usize = 4_096;

/// Launches that found all servers or ports in use: when they were requested, and when they last asked.
#[derive(Debug, Default)]
pub struct Waiting(BTreeMap<(Timestamp, String), i64>);

impl Waiting {
    /// How many launches wait that were requested before this one. `up_ms` is the monotonic clock.
    pub fn before(&mut self, requested_at: Timestamp, allocation_id: &str, up_ms: i64) -> usize {
        self.0.retain(|_, asked| up_ms - *asked < FORGET_MS);
        self.0.range(..(requested_at, allocation_id.to_owned())).count()
    }

    /// Remembers that a launch waits.
    pub fn wait(&mut self, requested_at: Timestamp, allocation_id: &str, up_ms: i64) {
        if self.0.len() < WAITING_MAX {
            self.0.insert((requested_at, allocation_id.to_owned()), up_ms);
        }
    }

    /// Forgets a launch.
    pub fn forget(&mut self, requested_at: Timestamp, allocation_id: &str) {
        self.0.remove(&(requested_at, allocation_id.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_requests_come_first_while_they_ask() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut waiting = Waiting::default();
        waiting.wait(at(2), "b", 0);
        waiting.wait(at(1), "a", 1_000);
        assert_eq!(waiting.before(at(3), "c", 1_000), 2);
        assert_eq!(waiting.before(at(2), "b", 1_000), 1);
        assert_eq!(waiting.before(at(1), "a", 1_000), 0);
        // The one that was requested second has not asked for too long.
        assert_eq!(waiting.before(at(3), "c", FORGET_MS), 1);
        waiting.forget(at(1), "a");
        assert_eq!(waiting.before(at(3), "c", FORGET_MS), 0);
    }
}
