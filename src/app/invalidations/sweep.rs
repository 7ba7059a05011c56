//! The sweep: looks at intervals whether what is waited for has changed in the store.
//!
//! With messages, each session is looked at every `[wait] sweep_ms`, and the rest every third time. Without them, sessions
//! every 500 ms and the rest every 2 s. The topics have [`PARTS`] parts, which take turns, so the work is spread evenly, and
//! a change is found within one round. After messages may have been lost, one round is made at once.
//! `[wait] sweep_keys_per_s` limits all of it; then a round takes longer.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::Invalidations;
use crate::app::Failure;
use crate::app::waits::{PARTS, Seen, Topic};
use crate::records::keys;
use crate::store::{StoreError, Version};

/// Topics that are looked at together, roughly. A database reads them in one statement.
const AT_ONCE: usize = 500;
/// Time of a round without messages, in milliseconds.
const UNCONNECTED_MS: i64 = 500;
/// Every how many rounds everything is looked at, and not only sessions.
const ALL_EVERY: usize = 3;
/// The same without messages.
const UNCONNECTED_ALL_EVERY: usize = 4;

/// Where the sweep is.
#[derive(Clone, Default)]
pub struct Sweep {
    /// The number of parts that were looked at so far.
    parts: usize,
    /// How many parts are due.
    due: f64,
    /// How many parts are due at once, with everything in them.
    urgent: usize,
    /// How many topics may be looked at.
    budget: f64,
    /// When the sweep was last called, in milliseconds of the monotonic clock.
    last_up_ms: i64,
}

impl Sweep {
    /// Time has passed.
    fn advance(&mut self, now_up_ms: i64, period_ms: i64, keys_per_s: u32) {
        let passed_ms = now_up_ms.saturating_sub(self.last_up_ms).clamp(0, period_ms) as f64;
        self.last_up_ms = now_up_ms;
        self.due = (self.due + passed_ms * PARTS as f64 / period_ms as f64).min(PARTS as f64);
        // A call may look at what was not used since the last one, and always at something.
        self.budget = (passed_ms.max(1.0) * f64::from(keys_per_s) / 1000.0).max(1.0);
    }

    /// Whether a part is due, and may be looked at.
    fn has_work(&self) -> bool {
        (self.urgent > 0 || self.due >= 1.0) && self.budget > 0.0
    }

    /// Whether everything in the next part is looked at, and not only sessions.
    fn is_for_all(&self, all_every: usize) -> bool {
        self.urgent > 0 || (self.parts / PARTS).is_multiple_of(all_every)
    }

    /// The next part was looked at.
    fn done(&mut self, topics: usize) {
        self.parts += 1;
        self.budget -= topics as f64;
        match self.urgent {
            0 => self.due -= 1.0,
            _ => self.urgent -= 1,
        }
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
        let (period_ms, all_every) = match self.is_connected() {
            true => (self.waits.limits().sweep_ms, ALL_EVERY),
            false => (UNCONNECTED_MS, UNCONNECTED_ALL_EVERY),
        };
        sweep.advance(self.clock.up_ms(), period_ms, self.waits.limits().sweep_keys_per_s);
        if self.must_sweep_all.swap(false, Ordering::AcqRel) {
            sweep.urgent = PARTS;
        }
        while sweep.has_work() {
            let (mut topics, mut ahead) = (Vec::new(), sweep.clone());
            while ahead.has_work() && topics.len() < AT_ONCE {
                let is_for_all = ahead.is_for_all(all_every);
                let is_wanted = |topic: &Topic| match topic {
                    Topic::Session(_) => true,
                    Topic::List(_) | Topic::Inbox(_) | Topic::Listings(_) => is_for_all,
                    // Each node has its own, and wakes the waits itself.
                    Topic::Catalog => false,
                };
                let part = self.waits.topics(ahead.parts % PARTS, is_wanted);
                ahead.done(part.len());
                topics.extend(part);
            }
            self.look_at(&topics).await?;
            *sweep = ahead;
        }
        Ok(())
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
            // Each commit that changes a list or an inbox writes this key.
            Topic::List(player) => self.version(&keys::list_changed(*player)).await?,
            Topic::Inbox(player) => self.version(&keys::inbox(*player)).await?,
            Topic::Listings(_) | Topic::Catalog => return Ok(None),
        };
        Ok(Some(Seen(version)))
    }

    async fn version(&self, key: &[u8]) -> Result<Option<Version>, StoreError> {
        Ok(self.sessions.store().get(key).await?.map(|entry| entry.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many parts, with this many topics each, are looked at in one call after this time.
    fn parts_after(sweep: &mut Sweep, now_up_ms: i64, topics: usize) -> usize {
        let before = sweep.parts;
        sweep.advance(now_up_ms, 5_000, 20_000);
        while sweep.has_work() {
            sweep.done(topics);
        }
        sweep.parts - before
    }

    #[test]
    fn a_round_is_spread_over_its_time() {
        let mut sweep = Sweep::default();
        assert_eq!(parts_after(&mut sweep, 0, 1), 0);
        assert_eq!(parts_after(&mut sweep, 1_250, 1), PARTS / 4);
        assert_eq!(parts_after(&mut sweep, 5_000, 1), PARTS * 3 / 4);
        assert_eq!(parts_after(&mut sweep, 60_000, 1), PARTS, "after a pause, no more than one round");
        sweep.urgent = PARTS;
        assert!(sweep.is_for_all(ALL_EVERY));
        assert_eq!(parts_after(&mut sweep, 60_000, 0), PARTS, "at once");
    }

    #[test]
    fn a_round_takes_longer_if_there_is_too_much() {
        let mut sweep = Sweep { urgent: PARTS, ..Sweep::default() };
        // 20,000 keys a second are 1,000 in 50 ms: two parts of 500, or one of 2,000.
        assert_eq!(parts_after(&mut sweep, 50, 500), 2);
        assert_eq!(parts_after(&mut sweep, 100, 2_000), 1);
        assert_eq!(sweep.urgent, PARTS - 3);
    }

    #[test]
    fn lists_are_looked_at_every_third_time() {
        let mut sweep = Sweep::default();
        let mut with_lists = Vec::new();
        for _ in 0..6 {
            with_lists.push(sweep.is_for_all(ALL_EVERY));
            sweep.parts += PARTS;
        }
        assert_eq!(with_lists, [true, false, false, true, false, false]);
    }
}
