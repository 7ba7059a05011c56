//! The sweep: looks at intervals whether what is waited for has changed in the store.
//!
//! With messages, sessions are looked at every `[wait] sweep_ms`, and the rest every third time. Without them, sessions
//! every 500 ms and the rest every 2 s. A round is spread evenly over its time. After messages may have been lost, one
//! round looks at everything at once. `[wait] sweep_keys_per_s` limits all of it; then a round takes longer.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::Invalidations;
use crate::app::Failure;
use crate::app::waits::{Seen, Topic};
use crate::records::keys;
use crate::store::StoreError;

/// Most topics that are looked at together. A database reads them in one statement.
const AT_ONCE: usize = 500;
/// Time of a round without messages, in milliseconds.
const UNCONNECTED_MS: i64 = 500;
/// Every how many rounds everything is looked at, and not only sessions.
const ALL_EVERY: u64 = 3;
/// The same without messages.
const UNCONNECTED_ALL_EVERY: u64 = 4;

/// A round of the sweep. Times are those of the monotonic clock, in milliseconds.
#[derive(Default)]
pub struct Sweep {
    /// The number of rounds so far.
    rounds: u64,
    began_up_ms: i64,
    /// When topics were last looked at.
    last_up_ms: i64,
    topics: Vec<Topic>,
    done: usize,
    /// Whether the round is not spread over time.
    is_urgent: bool,
}

impl Sweep {
    fn begin(&mut self, topics: Vec<Topic>, now_up_ms: i64, is_urgent: bool) {
        self.rounds += 1;
        (self.began_up_ms, self.topics, self.done, self.is_urgent) = (now_up_ms, topics, 0, is_urgent);
    }

    /// How many topics the round should have looked at by now.
    fn target(&self, period_ms: i64, now_up_ms: i64) -> usize {
        let passed_ms = now_up_ms.saturating_sub(self.began_up_ms);
        if self.is_urgent || passed_ms >= period_ms {
            return self.topics.len();
        }
        let share = passed_ms as f64 / period_ms as f64;
        (self.topics.len() as f64 * share) as usize
    }
}

impl Invalidations {
    /// Does the part of the sweep that is due.
    ///
    /// # Errors
    /// Errors of the store. The next call goes on with the same topics.
    pub async fn sweep(&self) -> Result<(), Failure> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        let mut sweep = self.sweep.lock().await;
        let now_up_ms = self.clock.up_ms();
        let (period_ms, all_every) = match self.is_connected() {
            true => (self.waits.limits().sweep_ms, ALL_EVERY),
            false => (UNCONNECTED_MS, UNCONNECTED_ALL_EVERY),
        };
        if self.must_sweep_all.swap(false, Ordering::AcqRel) {
            sweep.begin(self.waits.topics(|_| true), now_up_ms, true);
        }
        // What may be looked at since the last call, at most the part of one round.
        let since_ms = now_up_ms.saturating_sub(sweep.last_up_ms).clamp(1, period_ms);
        let mut left =
            (since_ms as f64 * self.waits.limits().sweep_keys_per_s as f64 / 1000.0).ceil() as usize;
        sweep.last_up_ms = now_up_ms;
        loop {
            let target = sweep.target(period_ms, now_up_ms).min(sweep.done.saturating_add(left));
            while sweep.done < target {
                let until = target.min(sweep.done + AT_ONCE);
                self.look_at(&sweep.topics[sweep.done..until]).await?;
                left -= until - sweep.done;
                sweep.done = until;
            }
            let is_over = sweep.done == sweep.topics.len();
            if !is_over || now_up_ms.saturating_sub(sweep.began_up_ms) < period_ms {
                return Ok(());
            }
            let is_for_all = sweep.rounds.is_multiple_of(all_every);
            let topics = self.waits.topics(|topic| is_for_all || matches!(topic, Topic::Session(_)));
            sweep.begin(topics, now_up_ms, false);
        }
    }

    async fn look_at(&self, topics: &[Topic]) -> Result<(), Failure> {
        for (topic, seen) in topics.iter().zip(join_all(topics.iter().map(|topic| self.look(topic))).await) {
            if self.waits.note_swept(topic, seen?) {
                self.metrics.waits.found_by_sweep();
            }
        }
        Ok(())
    }

    /// What the store has; `None` if that says nothing about changes.
    async fn look(&self, topic: &Topic) -> Result<Option<Seen>, StoreError> {
        let version = match topic {
            Topic::Session(id) => match self.sessions.stored(id).await {
                Ok(found) => found.map(|cached| cached.version),
                // Concerns this session alone. The waits look, and report it.
                Err(StoreError::Corrupt(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
            // Each commit that changes a list writes this key.
            Topic::List(player) => {
                let entry = self.sessions.store().get(&keys::list_changed(*player)).await?;
                entry.map(|entry| entry.version)
            }
            Topic::Listings(_) | Topic::Catalog => return Ok(None),
        };
        Ok(Some(Seen(version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_spread_over_its_time() {
        let mut sweep = Sweep::default();
        sweep.begin(vec![Topic::Catalog; 1_000], 10_000, false);
        for (now_up_ms, expected) in
            [(10_000, 0), (10_050, 10), (12_500, 500), (15_000, 1_000), (99_999, 1_000)]
        {
            assert_eq!(sweep.target(5_000, now_up_ms), expected);
        }
        sweep.begin(vec![Topic::Catalog; 1_000], 10_000, true);
        assert_eq!(sweep.target(5_000, 10_000), 1_000, "after messages may have been lost");
    }
}
