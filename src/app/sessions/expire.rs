//! Ending sessions whose deadline has passed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Sessions;
use super::cache::PlatformKey;
use crate::app::Failure;
use crate::app::isolate::isolate;
use crate::app::shield::shield;
use crate::domain::SessionId;
use crate::records::keys;
use crate::store::{Batch, Key, StoreError, next_key};

/// Sessions ended at once: enough to share an fsync, few enough not to delay callers.
const DUE_AT_ONCE: usize = 16;
/// Most sessions that one round tries to end.
const DUE_IN_A_ROUND: usize = 64 * DUE_AT_ONCE;
/// Grace period after the store was away, in milliseconds: time for all nodes to write the deadlines that moved
/// meanwhile.
const GRACE_AFTER_AWAY_MS: i64 = 10_000;
/// Longest pause between two groups of [`DUE_AT_ONCE`] sessions.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The outcome of one round.
#[derive(Debug, Default)]
pub struct Expired {
    /// How many sessions the round ended.
    pub ended: usize,
    /// Whether more sessions are due. `false` if the round ended none: then another round at once would not either.
    pub more: bool,
    /// Why other sessions could not be ended. A later round tries them again.
    pub failures: Vec<Failure>,
}

impl Sessions {
    /// Starts the grace period after the store was away. Clients could not use their sessions, so no session ends for
    /// that.
    pub fn note_store_away(&self) {
        self.store_away_up_ms.store(self.clock.up_ms(), Ordering::Relaxed);
    }

    /// Runs one round: ends due sessions, up to `DUE_IN_A_ROUND`, or until `is_stopping`. Ends none during the grace
    /// periods after the store was away and after a step of the clock.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if this node's clock is wrong: it would end sessions that are alive by the clocks of
    /// other nodes. Another [`StoreError`] if the store cannot be read. Failures of single sessions are in
    /// [`Expired::failures`].
    pub async fn expire_due(self: &Arc<Self>, is_stopping: impl Fn() -> bool) -> Result<Expired, StoreError> {
        self.check_clock().await?;
        self.store_clock_step().await?;
        let mut round = Expired::default();
        let away_up_ms = self.store_away_up_ms.load(Ordering::Relaxed);
        let is_back = self.clock.up_ms().saturating_sub(away_up_ms) >= GRACE_AFTER_AWAY_MS;
        if !is_back {
            return Ok(round);
        }
        let Some(now_ms) = self.time_for_deadlines().await? else { return Ok(round) };
        let Some(start) = self.first_due(now_ms).await? else { return Ok(round) };
        let (first, end) = keys::due_until(now_ms);
        let mut tried = 0;
        // From a random start to the end of the queue, then from the front of the queue to that start.
        for (mut from, to) in [(start.clone(), end), (first, start)] {
            while tried < DUE_IN_A_ROUND && !is_stopping() {
                let began = Instant::now();
                let due = self.store.scan(&from, &to, DUE_AT_ONCE).await?;
                let Some((last, _)) = due.last() else { break };
                // The next scan starts after this group, so a session that could not be ended waits for the next round.
                from = next_key(last);
                let due_sessions: Vec<_> = due.iter().filter_map(|(key, _)| keys::parse_due(key)).collect();
                tried += due_sessions.len();
                self.expire_together(due_sessions, &mut round).await;
                if round.failures.iter().any(Failure::is_store_away) {
                    return Ok(round);
                }
                if due.len() < DUE_AT_ONCE {
                    break;
                }
                // Leaves half of the time to callers. No client waits for this work: an overdue session reads as not
                // found.
                tokio::time::sleep(began.elapsed().min(PAUSE_MAX)).await;
            }
        }
        round.more = tried >= DUE_IN_A_ROUND && round.ended > 0;
        Ok(round)
    }

    async fn expire_together(self: &Arc<Self>, due: Vec<(i64, SessionId)>, round: &mut Expired) {
        let ends = due
            .into_iter()
            .map(async |(due_ms, id)| isolate(&self.metrics, &id, self.expire(&id, due_ms)).await);
        for end in join_all(ends).await {
            match end {
                Ok(is_ended) => round.ended += usize::from(is_ended),
                Err(failure) => round.failures.push(failure),
            }
        }
    }

    /// The key in the queue of deadlines to start from; `None` if no session is due. If at least [`DUE_AT_ONCE`]
    /// sessions are due, the start is random. Then several nodes seldom try the same sessions, and sessions that cannot
    /// be ended do not delay the others in every round.
    async fn first_due(&self, now_ms: i64) -> Result<Option<Key>, StoreError> {
        let (first, end) = keys::due_until(now_ms);
        let oldest = self.store.scan(&first, &end, DUE_AT_ONCE).await?;
        let Some((oldest_ms, _)) = oldest.first().and_then(|(key, _)| keys::parse_due(key)) else {
            return Ok(None);
        };
        if oldest.len() < DUE_AT_ONCE {
            return Ok(Some(first));
        }
        // A random time between the oldest deadline and now. Often all deadlines lie close together, long ago; then few
        // random times have a deadline after them. So each further try draws from the time before the last draw.
        let mut late_ms_end = now_ms.saturating_sub(oldest_ms).max(0) + 1;
        while late_ms_end > 0 {
            let late_ms = (self.entropy.fraction() * late_ms_end as f64) as i64;
            // The random id chooses among sessions with the same deadline.
            let start = keys::due(oldest_ms.saturating_add(late_ms), &self.entropy.uuid().into());
            if !self.store.scan(&start, &end, 1).await?.is_empty() {
                return Ok(Some(start));
            }
            late_ms_end = late_ms;
        }
        Ok(Some(first))
    }

    /// Ends the session that a platform session is linked to, if that session is overdue. Returns whether it ended one.
    pub async fn expire_holder_of(self: &Arc<Self>, key: &PlatformKey) -> Result<bool, Failure> {
        let Some(holder) = self.stored_by_platform_session(key).await? else { return Ok(false) };
        match self.overdue_since_ms(&holder).await? {
            Some(due_ms) => self.expire(&holder.session.id, due_ms).await,
            None => Ok(false),
        }
    }

    /// Ends a session whose entry in the queue of deadlines says `due_ms`, unless its deadline has moved since. Removes
    /// the entry if it is out of date. Returns whether it ended the session. If another node changes the session at the
    /// same moment, that node wins and this returns `false`.
    pub(super) async fn expire(self: &Arc<Self>, id: &SessionId, due_ms: i64) -> Result<bool, Failure> {
        if self.deadlines.is_write_pending(id) {
            return Ok(false);
        }
        let (sessions, id) = (Arc::clone(self), id.clone());
        let lock = self.lock(&id).await;
        shield(async move {
            let _lock = lock;
            sessions.expire_locked(&id, due_ms).await
        })
        .await
    }

    async fn expire_locked(&self, id: &SessionId, due_ms: i64) -> Result<bool, Failure> {
        let Some(now_ms) = self.time_for_deadlines().await? else { return Ok(false) };
        let (stored_deadline, stored) = tokio::try_join!(self.stored_deadline(id), self.stored(id))?;
        let deadline = stored_deadline.filter(|(_, stored_ms)| *stored_ms == due_ms);
        let (Some(deadline), Some(before)) = (deadline, stored) else {
            self.forget_due(&keys::due(due_ms, id)).await?;
            return Ok(false);
        };
        if before.deadline_ms() > now_ms {
            // The session was used on this node; the new deadline is still to be written.
            return Ok(false);
        }
        let plan = self.plan_end(&before, deadline).await?;
        let is_ended = self.commit(plan).await?.is_some();
        if is_ended {
            self.metrics.expired(1);
            tracing::info!(session_id = %id, "session ended for being idle");
        }
        Ok(is_ended)
    }

    /// Removes an entry of the queue of deadlines that is out of date. Reads first, because often another node has
    /// removed it.
    async fn forget_due(&self, due: &Key) -> Result<(), Failure> {
        if self.store.get(due).await?.is_some() {
            self.store.commit(Batch::default().delete(due.clone())).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "expire_tests.rs"]
mod tests;
