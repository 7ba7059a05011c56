//! Changing sessions: load, rule, commit.
//!
//! A change holds its session's turn from load to commit, so that writers on this node queue instead of racing
//! in the store; a reader takes no turn and waits for nobody. A change whose turn has come runs to its end: a caller
//! who goes away in the middle cannot leave the cache behind the store. Who goes away before that has changed nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::cached::CachedSession;
use super::expire::put_deadline;
use super::memberships::MembershipChange;
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::app::shield::Shielded;
use crate::domain::{Refused, Session, SessionId};
use crate::records::index;
use crate::records::keys::{self, Unique};
use crate::store::{Batch, CommitError};

impl Sessions {
    /// Stores a new session, unless it gives somebody more places than a player may have.
    pub async fn create(
        self: &Arc<Self>,
        session: Session,
        deadline_ms: i64,
    ) -> Result<Arc<CachedSession>, Failure> {
        // Others can find it, and change it, as soon as it is stored.
        let (sessions, turn) = (Arc::clone(self), self.lock(&session.id).await);
        Shielded::new(async move {
            let _turn = turn;
            let _players = sessions.lock_quotas_of_new(None, &session).await?;
            let batch = index::plan(None, &session, sessions.limits.session_bytes_max)?;
            let batch = put_deadline(batch, &session.id, deadline_ms);
            sessions
                .commit(session, batch, Arc::new(AtomicI64::new(deadline_ms)))
                .await
                .map_err(Failure::from)
        })
        .await
    }

    /// Changes a session by a rule: all of the change or nothing. The rule runs again on fresh data where another node
    /// was faster, so it must not have effects of its own. Where it agrees, and the change counts as asking for the
    /// session (`refresh`), it is kept alive before its turn is over, so that nobody ends it as idle in between.
    ///
    /// Answers what the rule answered, and the session as it is now; an ended one as it was at its end.
    pub async fn update<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        refresh: bool,
        rule: R,
    ) -> Result<(T, Arc<CachedSession>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
    {
        self.change(self.limits.session_bytes_max, id, refresh, rule).await
    }

    /// The same for what the server itself finds out, which no limit on what others may store can forbid.
    pub async fn update_unlimited<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        refresh: bool,
        rule: R,
    ) -> Result<(T, Arc<CachedSession>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
    {
        self.change(usize::MAX, id, refresh, rule).await
    }

    async fn change<T, R>(
        self: &Arc<Self>,
        bytes_max: usize,
        id: &SessionId,
        refresh: bool,
        mut rule: R,
    ) -> Result<(T, Arc<CachedSession>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
    {
        let (sessions, id, turn) = (Arc::clone(self), id.clone(), self.lock(id).await);
        Shielded::new(async move {
            let _turn = turn;
            for _ in 0..ATTEMPTS_MAX {
                let changed = sessions.try_to_change(bytes_max, &id, refresh, &mut rule).await?;
                if let Some(changed) = changed {
                    return Ok(changed);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Changes a session by a rule that looks at another one, as that is once the first one's turn has come. The other's
    /// turn is not taken: whoever may change the one might hold it up at will. It counts as asking for the first.
    pub async fn update_beside<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        other: &SessionId,
        mut rule: R,
    ) -> Result<(T, Arc<CachedSession>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session, &Session) -> Result<T, Refused> + Send + 'static,
    {
        let (sessions, id, other) = (Arc::clone(self), id.clone(), other.clone());
        let (bytes_max, turn) = (self.limits.session_bytes_max, self.lock(&id).await);
        Shielded::new(async move {
            let _turn = turn;
            for _ in 0..ATTEMPTS_MAX {
                let beside = sessions.get_latest(&other).await?;
                let rule = |session: &mut Session| rule(session, &beside.session);
                let changed = sessions.try_to_change(bytes_max, &id, true, rule).await?;
                if let Some(changed) = changed {
                    return Ok(changed);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// One try of a change; `None` where another node was faster.
    async fn try_to_change<T>(
        &self,
        bytes_max: usize,
        id: &SessionId,
        refresh: bool,
        rule: impl FnOnce(&mut Session) -> Result<T, Refused>,
    ) -> Result<Option<(T, Arc<CachedSession>)>, Failure> {
        let before = self.get_latest(id).await?;
        let mut after = before.session.clone();
        let answer = rule(&mut after)?;
        let (refresh, now_ms) = (refresh && !after.ended, self.clock.now_ms());
        let due_ms = self.deadlines.due_before_answer(&before, now_ms).filter(|_| refresh);
        let kept = |cached: Arc<CachedSession>| {
            if let Some(deadline_ms) = due_ms {
                cached.move_deadline(deadline_ms);
            } else if refresh {
                self.deadlines.refresh(&cached, now_ms);
            }
            Ok(Some((answer, cached)))
        };
        if after == before.session {
            if let Some(deadline_ms) = due_ms
                && !self.move_deadline_locked(id, deadline_ms).await?
            {
                return Ok(None);
            }
            (self.watcher)(&before.session);
            return kept(before);
        }
        let _players = self.lock_quotas_of_new(Some(&before.session), &after).await?;
        let mut batch = index::plan(Some((&before.session, before.version)), &after, bytes_max)?;
        if let Some(deadline_ms) = due_ms {
            batch = self.with_deadline(batch, id, deadline_ms).await?;
        }
        if after.ended
            && let Some(deadline) = self.stored_deadline(id).await?
        {
            batch = self.without_deadline(batch, id, deadline).await?;
        }
        match self.commit(after, batch, Arc::clone(&before.deadline_ms)).await {
            Ok(cached) => kept(cached),
            Err(CommitError::Conflict { key }) => match keys::unique(&key) {
                Some(unique) => Err(taken(unique).into()),
                None => Ok(None),
            },
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// A session to be changed, or to go by in a change: one that must be there, and whose time is not over.
    pub async fn get_latest(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        let cached = self.find_latest(id).await?.ok_or(Refused::SessionNotFound)?;
        self.require_time_left(&cached).await.map(|()| cached)
    }

    /// Commits a session's new state, then shows it. After a failure nothing is known for sure, so the session
    /// is forgotten and read again.
    pub(super) async fn commit(
        &self,
        session: Session,
        batch: Batch,
        deadline_ms: Arc<AtomicI64>,
    ) -> Result<Arc<CachedSession>, CommitError> {
        let (id, asked) = (session.id.clone(), self.reading());
        let stored_bytes = batch.put.first().map_or(0, |(_, value)| value.len());
        let places = MembershipChange::of(&batch);
        match self.store().commit(batch).await {
            Ok(version) => {
                self.memberships.committed(places);
                let ended = session.ended;
                (self.watcher)(&session);
                let cached = Arc::new(CachedSession::new(session, version, deadline_ms));
                cached.note_current(asked);
                self.publish(&id, (!ended).then_some((&cached, stored_bytes)));
                Ok(cached)
            }
            Err(error) => {
                self.memberships.forget(&places);
                self.publish(&id, None);
                Err(error)
            }
        }
    }
}

/// The refusal where another session has what one alone can have.
fn taken(unique: Unique) -> Refused {
    match unique {
        Unique::PlatformSession => Refused::PlatformSessionInUse,
        Unique::ShortCode => Refused::ShortCodeTaken,
        Unique::Allocation => Refused::AllocationInUse,
    }
}
