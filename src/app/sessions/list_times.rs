//! The times at which players' lists of sessions changed.
//!
//! A list can change and change back between two polls: a player declines an invite and is invited again. The client
//! has dropped the session meanwhile, so it must not get a 304. Therefore each change of a list stores a new time for
//! it, in the same commit, and the list shows that time.
//!
//! The time is written without an expectation, because changes of several sessions on several nodes may concern one
//! player at the same moment, and must not conflict. It only has to differ from all earlier ones. If nodes have
//! different clocks, it may be earlier than the one before.

use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::Sessions;
use super::memberships::ListChange;
use crate::app::Failure;
use crate::app::passes::Step;
use crate::app::waits::Topic;
use crate::domain::PlayerUuid;
use crate::env::{Clock, Entropy};
use crate::records::keys;
use crate::records::values::{decode_list_changed, encode_list_changed};
use crate::store::{Batch, CommitError, StoreError, Version, prefix_end};

/// How long the time of an empty list is kept, in milliseconds: far longer than clients pause between two polls.
/// Without a time, an empty list has the ETag of a list that never had an entry. No client can miss anything by that,
/// because a later entry brings a new time.
const EMPTY_KEPT_MS: i64 = 3_600_000;
/// Times that are read at once, to look for those of empty lists.
const READ_AT_ONCE: usize = 512;

/// The time from the start of a pass over all lists until the next one starts, in milliseconds. A pass reads every
/// time, and once it is old, also whether the list is empty.
pub(super) const PASS_EVERY_MS: i64 = 600_000;

/// Hands out the times of changes. In one process each is later than the one before, whatever the clock does.
#[derive(Default)]
pub struct ListTimes {
    /// The last time, in microseconds since the epoch.
    last_us: AtomicI64,
}

impl ListTimes {
    /// The time of a change that happens now. The digits below a millisecond are random, so that the times of several
    /// nodes, and of a node before and after a restart, differ as well.
    pub fn next(&self, clock: &Clock, entropy: &Entropy) -> Timestamp {
        let now_us = clock.now_ms().saturating_mul(1_000);
        let random_us = i64::from(u32::from_le_bytes(entropy.bytes()) % 1_000);
        let drawn_us = now_us.saturating_add(random_us);
        let after = |last_us: i64| drawn_us.max(last_us.saturating_add(1));
        let last_us =
            self.last_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        let us = after(last_us.unwrap_or_else(|last_us| last_us));
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
    }
}

/// The time of a list, as stored.
struct StoredTime {
    player: PlayerUuid,
    version: Version,
}

impl Sessions {
    /// The writes of a change of these players' lists, beside the entries.
    pub(super) fn put_list_times(&self, players: &[PlayerUuid]) -> Batch {
        let mut batch = Batch::default();
        if players.is_empty() {
            return batch;
        }
        let now = self.list_times.next(&self.clock, &self.entropy);
        for player in players {
            batch = batch.put(keys::list_changed(*player), encode_list_changed(now));
        }
        batch
    }

    /// Forgets the times of lists that have been empty for `EMPTY_KEPT_MS`. Each call looks at the next
    /// `READ_AT_ONCE` times of a pass, and does nothing until a pass is due. Returns whether it forgot any and more are
    /// left to look at.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if this node's clock is wrong; other errors of the store.
    pub async fn forget_empty_lists(&self) -> Result<bool, Failure> {
        let lists = || vec![keys::all_lists_changed()];
        let Some(next) = self.list_passes.next(self.clock.up_ms(), lists) else { return Ok(false) };
        let now_ms = self.check_clock().await?;
        let Step { found, has_more } = self.list_passes.read(&self.store, next, READ_AT_ONCE).await?;
        let kept_after_ms = now_ms.saturating_sub(EMPTY_KEPT_MS);
        let mut old = Vec::new();
        for (key, entry) in &found {
            let is_old = decode_list_changed(&entry.value)?.as_millisecond() < kept_after_ms;
            if let Some(player) = keys::parse_list_changed(key).filter(|_| is_old) {
                old.push(StoredTime { player, version: entry.version });
            }
        }
        Ok(self.forget_if_empty(old).await? && has_more)
    }

    /// Forgets the times of those of these lists that are empty. Returns whether it forgot any.
    async fn forget_if_empty(&self, times: Vec<StoredTime>) -> Result<bool, Failure> {
        let are_empty = join_all(times.iter().map(|time| self.is_list_empty(time.player))).await;
        let mut batch = Batch::default();
        for (time, is_empty) in times.iter().zip(are_empty) {
            if is_empty? {
                let key = keys::list_changed(time.player);
                // A new entry comes with a new time, so the commit fails if the list is no longer empty.
                batch = batch.expect_version(key.clone(), time.version).delete(key);
            }
        }
        if batch.is_empty() {
            return Ok(false);
        }
        let changes = ListChange::of(&batch);
        match self.store.commit(batch).await {
            Ok(_) => {
                let lists: Vec<_> = changes.keys().map(|player| Topic::List(*player)).collect();
                self.memberships.committed(changes);
                // The list no longer says when it changed.
                self.changed(&lists);
                Ok(true)
            }
            // A list has just changed, or another node was faster. A later pass finds the others again.
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => {
                self.memberships.forget(&changes);
                Err(error.into())
            }
        }
    }

    async fn is_list_empty(&self, player: PlayerUuid) -> Result<bool, StoreError> {
        let prefix = keys::memberships_of(player);
        Ok(self.store.scan(&prefix, &prefix_end(&prefix), 1).await?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_time_is_later_than_the_one_before_whatever_the_clock_does() {
        let (times, entropy) = (ListTimes::default(), Entropy::seeded(1));
        let start: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let clock = Clock::manual(start);
        let mut last = times.next(&clock, &entropy);
        assert_eq!(last.as_millisecond(), start.as_millisecond());
        let mut later = |clock: &Clock| {
            let next = times.next(clock, &entropy);
            assert!(next > last, "{next} after {last}");
            last = next;
        };
        for _ in 0..2_000 {
            later(&clock);
        }
        later(&Clock::manual(start - Duration::from_secs(3_600)));
        clock.advance(Duration::from_secs(60));
        later(&clock);
        assert_eq!(last.as_second(), start.as_second() + 60);
    }
}
