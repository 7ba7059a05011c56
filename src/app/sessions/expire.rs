//! Ending sessions that nobody has asked for in time.

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

/// Sessions ended at once: enough to share an fsync, few enough that no caller waits long behind them.
const DUE_AT_ONCE: usize = 16;
/// Sessions ended in one round.
const DUE_IN_A_ROUND: usize = 64 * DUE_AT_ONCE;
/// After the store was away, other nodes get this time to write the deadlines that they have moved meanwhile, in
/// milliseconds.
const GRACE_AFTER_AWAY_MS: i64 = 10_000;
/// Longest pause between groups that are ended at once.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// One round of ending due sessions.
#[derive(Debug, Default)]
pub struct Expired {
    /// Sessions that were ended.
    pub ended: usize,
    /// Whether more are due, and trying again at once makes sense.
    pub more: bool,
    /// Why others could not be ended. They are tried again.
    pub failures: Vec<Failure>,
}

impl Sessions {
    /// Notes that the store is away: nobody could ask for a session, and nothing shall end for that.
    pub fn note_store_away(&self) {
        self.store_away_ms.store(self.clock.now_ms(), Ordering::Relaxed);
    }

    /// Ends sessions that are due, as many as one round takes; stops early when `is_stopping`. Does nothing if this
    /// node's clock is wrong (it would end what other nodes hold to be alive) or the store was away a moment ago.
    ///
    /// # Errors
    /// If the store cannot be read, or the clock is wrong.
    pub async fn expire_due(self: &Arc<Self>, is_stopping: impl Fn() -> bool) -> Result<Expired, StoreError> {
        self.store.check_clock(|| self.clock.now_ms()).await?;
        let now_ms = self.clock.now_ms();
        let mut round = Expired::default();
        if now_ms.saturating_sub(self.store_away_ms.load(Ordering::Relaxed)) < GRACE_AFTER_AWAY_MS {
            return Ok(round);
        }
        let Some(start) = self.first_due(now_ms).await? else { return Ok(round) };
        let (first, end) = keys::due_until(now_ms);
        let mut tried = 0;
        for (mut from, to) in [(start.clone(), end), (first, start)] {
            while tried < DUE_IN_A_ROUND && !is_stopping() {
                let began = Instant::now();
                let due = self.store.scan(&from, &to, DUE_AT_ONCE).await?;
                let Some((last, _)) = due.last() else { break };
                // The next look starts behind this one: what could not be ended now waits for the next round.
                from = next_key(last);
                let keys: Vec<_> = due.iter().filter_map(|(key, _)| keys::parse_due(key)).collect();
                tried += keys.len();
                self.expire_together(keys, &mut round).await;
                if round.failures.iter().any(Failure::is_store_away) {
                    return Ok(round);
                }
                if due.len() < DUE_AT_ONCE {
                    break;
                }
                // Half of the time is for callers. Nobody waits for the end of a session: an overdue one reads as gone.
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

    /// The place in the queue of deadlines to start from, if anything is due: a random one if much is, so that several
    /// nodes seldom meet, and what cannot be ended holds up nothing else.
    async fn first_due(&self, now_ms: i64) -> Result<Option<Key>, StoreError> {
        let (first, end) = keys::due_until(now_ms);
        let oldest = self.store.scan(&first, &end, DUE_AT_ONCE).await?;
        let Some((oldest_ms, _)) = oldest.first().and_then(|(key, _)| keys::parse_due(key)) else {
            return Ok(None);
        };
        if oldest.len() < DUE_AT_ONCE {
            return Ok(Some(first));
        }
        // Often all fell due in a short time long ago: if nothing is due after a random time, an earlier one is tried.
        let mut late_ms_end = now_ms.saturating_sub(oldest_ms).max(0) + 1;
        while late_ms_end > 0 {
            let late_ms = (self.entropy.fraction() * late_ms_end as f64) as i64;
            // Among many that are due at the same time, the id decides.
            let start = keys::due(oldest_ms.saturating_add(late_ms), &self.entropy.uuid().into());
            if !self.store.scan(&start, &end, 1).await?.is_empty() {
                return Ok(Some(start));
            }
            late_ms_end = late_ms;
        }
        Ok(Some(first))
    }

    /// Ends the session that a platform session is linked to, if it is overdue. Answers whether it did.
    pub async fn expire_holder_of(self: &Arc<Self>, key: &PlatformKey) -> Result<bool, Failure> {
        let Some(holder) = self.stored_by_platform_session(key).await? else { return Ok(false) };
        match self.overdue_since_ms(&holder).await? {
            Some(due_ms) => self.expire(&holder.session.id, due_ms).await,
            None => Ok(false),
        }
    }

    /// Ends a session that was due at `due_ms`, unless somebody has asked for it since. Removes a stale entry of the
    /// queue. Answers whether it ended the session; if another node is just changing it, that node decides.
    async fn expire(self: &Arc<Self>, id: &SessionId, due_ms: i64) -> Result<bool, Failure> {
        if self.deadlines.is_moving(id) {
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
        let now_ms = self.clock.now_ms();
        let (stored, before) = tokio::try_join!(self.stored_deadline(id), self.stored(id))?;
        let deadline = stored.filter(|(_, stored_ms)| *stored_ms == due_ms);
        let Some((deadline, before)) = deadline.zip(before) else {
            self.forget_due(&keys::due(due_ms, id)).await?;
            return Ok(false);
        };
        if before.deadline_ms() > now_ms {
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

    /// Removes an entry of the queue of deadlines that belongs to no session. Often another node has done so already.
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
