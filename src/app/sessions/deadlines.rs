//! When sessions end by themselves.
//!
//! A session ends when nobody asked for it for the idle time. Asking must not cost a disk write per poll, so
//! the stored deadline lies an eighth of the idle time late, and is moved only when less than the idle time is
//! left: at most one write per session and eighth, in the background. So a session lives at least the idle
//! time after it was last asked for, and at most an eighth longer, also across a restart.
//!
//! Only this process knows which deadlines the background work has to write. So if less than an eighth is left, because nobody
//! has asked for all of the idle time, the deadline is moved before the answer, and by a change in the change's own commit.
//! Then no other node can end what was just asked for, and no crash can forget it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::cached::CachedSession;
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::app::shield::shield;
use crate::domain::SessionId;
use crate::store::CommitError;

/// The part of the idle time by which a stored deadline may be late: one in so many.
const SLACK_PARTS: i64 = 8;
/// Deadlines written at once: enough to share an fsync, few enough to leave room for callers.
const MOVES_AT_ONCE: usize = 256;

/// Deadlines that were moved in memory, and the rules by which they move.
pub struct Deadlines {
    idle_ms: i64,
    /// Deadlines moved in memory and not written to the store yet, in milliseconds since the epoch.
    moved: Mutex<HashMap<SessionId, i64>>,
}

impl Deadlines {
    /// Deadlines for an idle time in milliseconds.
    pub fn new(idle_ms: i64) -> Self {
        Self { idle_ms, moved: Mutex::default() }
    }

    /// The deadline to store for a session that is asked for now.
    pub fn from_now(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.idle_ms).saturating_add(self.idle_ms / SLACK_PARTS)
    }

    /// The deadline that the store must have before a caller is answered: `Some` if the stored one is so near that other
    /// nodes may soon go by it.
    pub fn due_before_answer(&self, cached: &CachedSession, now_ms: i64) -> Option<i64> {
        let is_near = cached.deadline_ms() < now_ms.saturating_add(self.idle_ms / SLACK_PARTS);
        is_near.then(|| self.from_now(now_ms))
    }

    /// Notes that a session was asked for. The background work writes the deadline.
    pub fn refresh(&self, cached: &CachedSession, now_ms: i64) {
        let at_least_ms = now_ms.saturating_add(self.idle_ms);
        if cached.deadline_ms() >= at_least_ms {
            return;
        }
        let deadline_ms = self.from_now(now_ms);
        if cached.move_deadline(deadline_ms) < at_least_ms {
            self.lock().insert(cached.session.id.clone(), deadline_ms);
        }
    }

    /// Whether a session's deadline was moved and is not written yet.
    pub fn is_moving(&self, id: &SessionId) -> bool {
        self.lock().contains_key(id)
    }

    fn moved(&self) -> Vec<(SessionId, i64)> {
        self.lock().iter().map(|(id, deadline_ms)| (id.clone(), *deadline_ms)).collect()
    }

    fn note_written(&self, id: &SessionId, deadline_ms: i64) {
        let mut moved = self.lock();
        if moved.get(id) == Some(&deadline_ms) {
            moved.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, i64>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Keeps a session alive that is asked for now. Once this answers, the session is safe from other nodes. Most of
    /// the time it compares two numbers.
    ///
    /// # Errors
    /// If a deadline was near and the store could not be told of the new one.
    pub async fn keep_alive(self: &Arc<Self>, cached: &CachedSession) -> Result<(), Failure> {
        if self.keep_alive_in_memory(cached) {
            return Ok(());
        }
        let deadline_ms = self.deadlines.from_now(self.clock.now_ms());
        for _ in 0..ATTEMPTS_MAX {
            if self.move_deadline(&cached.session.id, deadline_ms).await? {
                cached.move_deadline(deadline_ms);
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    /// Keeps a session alive if the store need not be told first. Answers whether it did.
    pub fn keep_alive_in_memory(&self, cached: &CachedSession) -> bool {
        let now_ms = self.clock.now_ms();
        let is_far = self.deadlines.due_before_answer(cached, now_ms).is_none();
        if is_far {
            self.deadlines.refresh(cached, now_ms);
        }
        is_far
    }

    /// Writes moved deadlines to the store. What cannot be written is kept for the next time.
    pub async fn flush_deadlines(self: &Arc<Self>) {
        let mut failed: Option<(usize, Failure)> = None;
        for chunk in self.deadlines.moved().chunks(MOVES_AT_ONCE) {
            let moves = chunk.iter().map(|(id, deadline_ms)| self.move_deadline(id, *deadline_ms));
            for ((id, deadline_ms), result) in chunk.iter().zip(join_all(moves).await) {
                match result {
                    // If another node has moved it meanwhile, or ended the session, nothing is left to write.
                    Ok(_) => self.deadlines.note_written(id, *deadline_ms),
                    Err(error) => failed = Some((failed.map_or(0, |(count, _)| count) + 1, error)),
                }
            }
            if failed.as_ref().is_some_and(|(_, failure)| failure.is_store_away()) {
                break;
            }
        }
        // One line for all: they fail together, for one reason.
        if let Some((count, error)) = failed {
            tracing::warn!(count, %error, "deadlines of sessions could not be moved yet");
        }
    }

    /// Moves a session's stored deadline, unless it is as late already or the session has ended. `false` if another node
    /// was faster.
    async fn move_deadline(self: &Arc<Self>, id: &SessionId, deadline_ms: i64) -> Result<bool, Failure> {
        let (sessions, id) = (Arc::clone(self), id.clone());
        let lock = self.lock(&id).await;
        shield(async move {
            let _lock = lock;
            sessions.commit_deadline(&id, Some(deadline_ms)).await
        })
        .await
    }

    /// The same, while the session's lock is held. Commits nothing without a deadline.
    pub(super) async fn commit_deadline(
        &self,
        id: &SessionId,
        deadline_ms: Option<i64>,
    ) -> Result<bool, Failure> {
        let batch = self.plan_deadline(id, deadline_ms).await?;
        if batch.is_empty() {
            return Ok(true);
        }
        match self.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}
