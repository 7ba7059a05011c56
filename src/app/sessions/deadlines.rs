//! When sessions end by themselves.
//!
//! A session ends when nobody asked for it for the idle time. Asking must not cost a disk write per poll, so
//! the stored deadline lies an eighth of the idle time late, and is moved only when less than the idle time is
//! left: at most one write per session and eighth, in the background. A session thus lives at least the idle
//! time after it was last asked for, and at most an eighth longer, also across a restart.
//!
//! What the background is to write is known to this process alone. So where less than an eighth is left, since nobody
//! has asked for all of the idle time, the deadline is moved before the answer: a change moves it in its own commit.
//! No other node can then end what was just asked for, nor can a crash forget it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::cached::CachedSession;
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::domain::SessionId;

/// The part of the idle time by which a stored deadline may be late.
const SLACK_PARTS: i64 = 8;
/// Deadlines moved at once: enough to share an fsync, few enough to leave room for callers.
const MOVES_AT_ONCE: usize = 256;

/// The deadlines of sessions.
pub struct Deadlines {
    idle_ms: i64,
    /// Deadlines moved in memory and not yet in the store.
    moved: Mutex<HashMap<SessionId, i64>>,
}

impl Deadlines {
    /// Deadlines for an idle time.
    pub fn new(idle: Duration) -> Self {
        Self { idle_ms: i64::try_from(idle.as_millis()).unwrap_or(i64::MAX / 4), moved: Mutex::default() }
    }

    /// The deadline to store for a session asked for now.
    pub fn from_now(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.idle_ms).saturating_add(self.idle_ms / SLACK_PARTS)
    }

    /// Keeps a session alive that is asked for now, for sure by the time that this answers. Most of the time it compares
    /// two numbers.
    ///
    /// # Errors
    /// Where the store could not be told of a deadline that was near.
    pub async fn keep(
        &self,
        sessions: &Arc<Sessions>,
        cached: &CachedSession,
        now_ms: i64,
    ) -> Result<(), Failure> {
        if self.keep_at_once(cached, now_ms) {
            return Ok(());
        }
        let deadline_ms = self.from_now(now_ms);
        for _ in 0..ATTEMPTS_MAX {
            if sessions.move_deadline(&cached.session.id, deadline_ms).await? {
                cached.move_deadline(deadline_ms);
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    /// The same where the store need not be told first: whether that is so, and the session kept alive.
    pub fn keep_at_once(&self, cached: &CachedSession, now_ms: i64) -> bool {
        let is_far = self.due_before_answer(cached, now_ms).is_none();
        if is_far {
            self.refresh(cached, now_ms);
        }
        is_far
    }

    /// Notes that a session was asked for; the background tells the store.
    pub fn refresh(&self, cached: &CachedSession, now_ms: i64) {
        let at_least = now_ms.saturating_add(self.idle_ms);
        if cached.deadline_ms() >= at_least {
            return;
        }
        let deadline_ms = self.from_now(now_ms);
        if cached.move_deadline(deadline_ms) < at_least {
            let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
            moved.insert(cached.session.id.clone(), deadline_ms);
        }
    }

    /// The deadline that a session which is asked for now must have in the store before anyone is told so, where
    /// the one that it has is so near that others may go by it.
    pub fn due_before_answer(&self, cached: &CachedSession, now_ms: i64) -> Option<i64> {
        let is_near = cached.deadline_ms() < now_ms.saturating_add(self.idle_ms / SLACK_PARTS);
        is_near.then(|| self.from_now(now_ms))
    }

    /// Whether a session's deadline was moved and is not in the store yet.
    pub fn is_moving(&self, id: &SessionId) -> bool {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// Writes moved deadlines to the store. What cannot be written is kept for the next time.
    pub async fn flush(&self, sessions: &Arc<Sessions>) {
        let moved: Vec<_> = {
            let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
            moved.iter().map(|(id, ms)| (id.clone(), *ms)).collect()
        };
        let mut failed: Option<(usize, Failure)> = None;
        for chunk in moved.chunks(MOVES_AT_ONCE) {
            let moves = chunk.iter().map(|(id, ms)| sessions.move_deadline(id, *ms));
            for ((id, ms), result) in chunk.iter().zip(join_all(moves).await) {
                match result {
                    // Another node that moved it meanwhile, or ended the session, has taken it over.
                    Ok(_) => self.written(id, *ms),
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

    fn written(&self, id: &SessionId, ms: i64) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.get(id) == Some(&ms) {
            moved.remove(id);
        }
    }
}
