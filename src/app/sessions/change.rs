//! Changing sessions: read, rule, plan, commit.
//!
//! A change holds its session's lock from read to commit, so that writers on this node queue instead of racing
//! in the store. A reader takes no lock and waits for nobody. A change that has the lock runs to its end, also if the
//! caller goes away ([`shield`]): otherwise the cache could fall behind the store. A caller who goes away earlier has
//! changed nothing.

use std::sync::Arc;

use super::cached::CachedSession;
use super::memberships::MembershipChange;
use super::plan::{After, Plan};
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::app::shield::shield;
use crate::domain::{Refused, Session, SessionId};
use crate::records::keys::{self, Unique};
use crate::store::CommitError;

/// How a session is updated.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Whether a successful change keeps the session alive, as asking for it does.
    pub keeps_alive: bool,
    /// Whether the session may take any number of bytes: for what the server itself finds out, which no limit on
    /// callers can forbid.
    pub is_unlimited: bool,
}

impl Update {
    /// A caller's change.
    pub fn by_caller(keeps_alive: bool) -> Self {
        Self { keeps_alive, is_unlimited: false }
    }

    /// A change by the server itself.
    pub fn by_server(keeps_alive: bool) -> Self {
        Self { keeps_alive, is_unlimited: true }
    }
}

impl Sessions {
    /// Stores a new session.
    ///
    /// # Errors
    /// [`Refused::TooManySessions`] or [`Refused::TooManyInvites`] if a player of it would exceed a quota.
    pub async fn create(self: &Arc<Self>, session: Session) -> Result<Arc<CachedSession>, Failure> {
        let sessions = Arc::clone(self);
        // Other callers can find the session, and change it, as soon as it is stored.
        let lock = self.lock(&session.id).await;
        shield(async move {
            let _lock = lock;
            let _quotas = sessions.lock_quotas(None, &session).await?;
            let plan = sessions.plan_creation(session)?;
            sessions.commit(plan).await?.ok_or(Failure::Contended)
        })
        .await
    }

    /// Changes a session by a rule: all of the change or nothing. If another node changes the session in between, the
    /// rule runs again on fresh data, so it must have no effects of its own.
    ///
    /// Answers what the rule answered, and the session as it is now; an ended one as it was at its end.
    pub async fn update<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        update: Update,
        mut rule: R,
    ) -> Result<(T, Arc<CachedSession>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
    {
        let (sessions, id) = (Arc::clone(self), id.clone());
        let lock = self.lock(&id).await;
        shield(async move {
            let _lock = lock;
            for _ in 0..ATTEMPTS_MAX {
                if let Some(updated) = sessions.try_update(&id, update, &mut rule).await? {
                    return Ok(updated);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Changes a session by a rule that also looks at another session, as that is while the first one's lock is held.
    /// The other session's lock is not taken: anyone who may change that one could otherwise hold up this one. The change
    /// keeps the first session alive.
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
        let lock = self.lock(&id).await;
        shield(async move {
            let _lock = lock;
            for _ in 0..ATTEMPTS_MAX {
                let beside = sessions.get_latest(&other).await?;
                let rule = |session: &mut Session| rule(session, &beside.session);
                if let Some(updated) = sessions.try_update(&id, Update::by_caller(true), rule).await? {
                    return Ok(updated);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// One try of a change; `None` if another node changed the session in between.
    async fn try_update<T>(
        &self,
        id: &SessionId,
        update: Update,
        rule: impl FnOnce(&mut Session) -> Result<T, Refused>,
    ) -> Result<Option<(T, Arc<CachedSession>)>, Failure> {
        let before = self.get_latest(id).await?;
        let mut after = before.session.clone();
        let answer = rule(&mut after)?;

        let now_ms = self.clock.now_ms();
        let keeps_alive = update.keeps_alive && !after.ended;
        let near_deadline_ms = self.deadlines.due_before_answer(&before, now_ms);
        let new_deadline_ms = near_deadline_ms.filter(|_| keeps_alive);

        let committed = if after == before.session {
            self.commit_unchanged(before, new_deadline_ms).await?
        } else {
            let bytes_max = if update.is_unlimited { usize::MAX } else { self.limits.session_bytes_max };
            let _quotas = self.lock_quotas(Some(&before.session), &after).await?;
            let plan = self.plan_change(&before, after, bytes_max, new_deadline_ms).await?;
            self.commit(plan).await?
        };
        let Some(current) = committed else { return Ok(None) };

        match new_deadline_ms {
            Some(deadline_ms) => drop(current.move_deadline(deadline_ms)),
            None if keeps_alive => self.deadlines.refresh(&current, now_ms),
            None => {}
        }
        Ok(Some((answer, current)))
    }

    /// Commits what a rule left as it was: at most a deadline that has to move. `None` if another node was faster.
    async fn commit_unchanged(
        &self,
        before: Arc<CachedSession>,
        new_deadline_ms: Option<i64>,
    ) -> Result<Option<Arc<CachedSession>>, Failure> {
        if !self.commit_deadline(&before.session.id, new_deadline_ms).await? {
            return Ok(None);
        }
        (self.observer)(&before.session);
        Ok(Some(before))
    }

    /// Commits a plan, then shows its sessions on this node; `None` if another node changed one of them in between. Answers
    /// the last session. After any other failure the outcome is not known, so the sessions are read again.
    pub(super) async fn commit(&self, plan: Plan) -> Result<Option<Arc<CachedSession>>, Failure> {
        let asked = self.reading();
        let memberships = MembershipChange::of(&plan.batch);
        match self.store.commit(plan.batch).await {
            Ok(version) => {
                self.memberships.committed(memberships);
                let mut last = None;
                for After { stored, stored_bytes, deadline_ms } in plan.after {
                    (self.observer)(&stored.session);
                    let cached = Arc::new(CachedSession::new(stored, version, deadline_ms));
                    cached.note_current(asked);
                    let shown = (!cached.session.ended).then_some((&cached, stored_bytes));
                    self.publish(&cached.session.id, shown);
                    last = Some(cached);
                }
                Ok(last)
            }
            Err(error) => {
                self.memberships.forget(&memberships);
                for after in &plan.after {
                    self.publish(&after.stored.session.id, None);
                }
                match error {
                    CommitError::Conflict { key } => match keys::unique(&key) {
                        Some(unique) => Err(taken(unique).into()),
                        None => Ok(None),
                    },
                    CommitError::Store(error) => Err(error.into()),
                }
            }
        }
    }
}

/// The refusal if another session has what only one session can have.
fn taken(unique: Unique) -> Refused {
    match unique {
        Unique::PlatformSession => Refused::PlatformSessionInUse,
        Unique::ShortCode => Refused::ShortCodeTaken,
        Unique::Allocation => Refused::AllocationInUse,
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
