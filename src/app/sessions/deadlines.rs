//! Deadlines: when a session ends because nobody uses it.
//!
//! A *use* of a session is a read or a change that keeps it alive. A session ends if it has had no use for the idle
//! time. A poll must not cost a write, so the stored deadline is an eighth of the idle time later than needed. It is
//! moved only when less than the idle time is left: at most one write per session and eighth of the idle time, in the
//! background. So a session lives at least the idle time after its last use and at most an eighth longer, even across
//! restarts.
//!
//! Only this process knows which deadlines are still to be written. If less than an eighth of the idle time is left,
//! the deadline is therefore stored before the reply: a change stores it in its own commit, a read in a commit of its
//! own. Then no other node can end a session that a client has just used, and no crash can lose that use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::cached::CachedSession;
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::app::isolate::isolate;
use crate::app::shield::shield;
use crate::domain::SessionId;
use crate::store::CommitError;

/// The share of the idle time by which a stored deadline may be too late: 1 / 8.
const SLACK_PARTS: i64 = 8;
/// Deadlines written at once: enough to share an fsync, few enough to leave room for callers.
const MOVES_AT_ONCE: usize = 256;

/// The rules by which deadlines move, and the deadlines that are still to be written.
pub struct Deadlines {
    idle_ms: i64,
    /// Deadlines that moved in memory and are not stored yet, in milliseconds since the epoch.
    unwritten: Mutex<HashMap<SessionId, i64>>,
}

impl Deadlines {
    /// Deadlines for an idle time in milliseconds.
    pub fn new(idle_ms: i64) -> Self {
        Self { idle_ms, unwritten: Mutex::default() }
    }

    /// The deadline of a session that is used now: in an idle time and an eighth. Times are in milliseconds since the
    /// epoch.
    pub fn new_deadline_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.idle_ms).saturating_add(self.idle_ms / SLACK_PARTS)
    }

    /// The deadline that must be stored before the reply to a use of the session now; `None` if the write can wait. It
    /// cannot wait if less than an eighth of the idle time is left, because another node could end the session soon.
    pub fn deadline_to_store_first(&self, cached: &CachedSession, now_ms: i64) -> Option<i64> {
        let is_near = cached.deadline_ms() < now_ms.saturating_add(self.idle_ms / SLACK_PARTS);
        is_near.then(|| self.new_deadline_ms(now_ms))
    }

    /// Moves the deadline in memory after a use of the session, if less than the idle time is left. A job writes it
    /// later.
    pub fn refresh(&self, cached: &CachedSession, now_ms: i64) {
        let at_least_ms = now_ms.saturating_add(self.idle_ms);
        if cached.deadline_ms() >= at_least_ms {
            return;
        }
        let deadline_ms = self.new_deadline_ms(now_ms);
        let before_ms = cached.move_deadline(deadline_ms);
        // Of several uses at the same moment, only the one that moved the deadline queues the write.
        if before_ms < at_least_ms {
            self.lock().insert(cached.session.id.clone(), deadline_ms);
        }
    }

    /// Whether a session has a deadline in memory that is not stored yet.
    pub fn is_write_pending(&self, id: &SessionId) -> bool {
        self.lock().contains_key(id)
    }

    fn unwritten(&self) -> Vec<(SessionId, i64)> {
        self.lock().iter().map(|(id, deadline_ms)| (id.clone(), *deadline_ms)).collect()
    }

    /// Notes that a deadline was written. If the deadline has moved again since, the new one stays to be written.
    fn note_written(&self, id: &SessionId, deadline_ms: i64) {
        let mut unwritten = self.lock();
        if unwritten.get(id) == Some(&deadline_ms) {
            unwritten.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, i64>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Keeps a session alive that is used now. Usually compares two numbers. Once this returns `Ok`, no other node ends
    /// the session before its new deadline.
    ///
    /// # Errors
    /// Errors of the store and [`Failure::Contended`], both only if the deadline was so near that it had to be stored.
    pub async fn keep_alive(self: &Arc<Self>, cached: &CachedSession) -> Result<(), Failure> {
        let now_ms = self.require_right_clock().await?;
        if self.keep_alive_in_memory(cached, now_ms) {
            return Ok(());
        }
        let deadline_ms = self.deadlines.new_deadline_ms(now_ms);
        for _ in 0..ATTEMPTS_MAX {
            if self.move_deadline(&cached.session.id, deadline_ms).await? {
                cached.move_deadline(deadline_ms);
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    /// Keeps a session alive without the store, if its deadline is far enough. Returns `false`, and does nothing, if
    /// the new deadline must be stored first. `now_ms` is the time of the use, in milliseconds since the epoch.
    pub fn keep_alive_in_memory(&self, cached: &CachedSession, now_ms: i64) -> bool {
        if self.deadlines.deadline_to_store_first(cached, now_ms).is_some() {
            return false;
        }
        self.deadlines.refresh(cached, now_ms);
        true
    }

    /// Writes moved deadlines to the store. A deadline that cannot be written stays queued for the next call.
    pub async fn flush_deadlines(self: &Arc<Self>) {
        let count = self.deadlines.lock().len();
        if count == 0 {
            return;
        }
        match self.require_right_clock().await {
            Ok(now_ms) => self.pull_back_unwritten(now_ms),
            Err(error) => return log_unwritten(count, &error.into()),
        }
        let (mut failed_count, mut is_store_away) = (0_usize, false);
        let mut last_failure = None;
        for chunk in self.deadlines.unwritten().chunks(MOVES_AT_ONCE) {
            let moves = chunk
                .iter()
                .map(|(id, deadline_ms)| isolate(&self.metrics, id, self.move_deadline(id, *deadline_ms)));
            for ((id, deadline_ms), result) in chunk.iter().zip(join_all(moves).await) {
                match result {
                    // `false` means that another node has moved the deadline or ended the session: nothing is left to
                    // write.
                    Ok(_) => self.deadlines.note_written(id, *deadline_ms),
                    Err(failure) => {
                        failed_count += 1;
                        is_store_away |= failure.is_store_away();
                        last_failure = Some(failure);
                    }
                }
            }
            if is_store_away {
                break;
            }
        }
        // One line for all of them: usually they fail together and for one reason.
        if let Some(error) = last_failure {
            log_unwritten(failed_count, &error);
        }
    }

    /// Lowers deadlines that are further ahead than that of a session that is used now: the clock was ahead when they
    /// were noted, and was set back since. Also lowers them in memory, so that the next use moves them again. `now_ms`
    /// is the time of a right clock: one that is behind would lower all.
    fn pull_back_unwritten(&self, now_ms: i64) {
        let newest_ms = self.deadlines.new_deadline_ms(now_ms);
        for (id, deadline_ms) in self.deadlines.lock().iter_mut().filter(|(_, ms)| **ms > newest_ms) {
            *deadline_ms = newest_ms;
            if let Some(cached) = self.cache.get(id.as_str()) {
                cached.pull_back_deadline(newest_ms);
            }
        }
    }

    /// Moves the stored deadline of a session, under the session lock. `Ok(true)` also if the stored deadline is not
    /// earlier or the session has ended; `Ok(false)` if another node changed the deadline first.
    async fn move_deadline(self: &Arc<Self>, id: &SessionId, deadline_ms: i64) -> Result<bool, Failure> {
        let (sessions, id) = (Arc::clone(self), id.clone());
        let lock = self.lock(&id).await;
        shield(async move {
            let _lock = lock;
            let batch = sessions.plan_deadline(&id, Some(deadline_ms)).await?;
            if batch.is_empty() {
                return Ok(true);
            }
            match sessions.store.commit(batch).await {
                Ok(_) => Ok(true),
                Err(CommitError::Conflict { .. }) => Ok(false),
                Err(CommitError::Store(error)) => Err(error.into()),
            }
        })
        .await
    }
}

fn log_unwritten(count: usize, error: &Failure) {
    tracing::warn!(count, %error, "deadlines of sessions could not be moved yet");
}
