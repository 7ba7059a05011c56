//! Changing sessions. A change has four steps: read the session, run the rule, plan the writes, commit.
//!
//! A change holds the session lock from the read to the commit, so changes of one session on this node wait for each
//! other instead of losing races in the store. Reads take no lock. A change that has the lock runs to its end even if
//! its caller disconnects ([`shield`]); otherwise the store could hold a change that the cache does not. A caller that
//! disconnects before that has changed nothing.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::cached::CachedSession;
use super::hook::{Hook, Verdict};
use super::memberships::{ListChange, ListChanges};
use super::plan::{After, Plan};
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::app::shield::shield;
use crate::app::waits::Topic;
use crate::auth::Caller;
use crate::domain::audit::{Cause, Why};
use crate::domain::{Platform, PlayerUuid, Refused, Session, SessionId};
use crate::records::keys::{self, Unique};
use crate::store::{Batch, CommitError};
use crate::telemetry::Precondition;

/// Options of an update whose rule has a result of type `T`.
#[derive(Clone)]
pub struct Update<T = ()> {
    /// Whether a successful update moves the session's deadline, as a read does.
    pub keeps_alive: bool,
    /// Whether the session may exceed [`Limits::session_bytes_max`](super::Limits::session_bytes_max). Updates by the
    /// server must not fail because of a limit on callers.
    pub is_unlimited: bool,
    /// The caller's player and the platform in the player's token. A successful update notes the platform, because the
    /// player may have joined on another one.
    pub plays_on: Option<(PlayerUuid, Platform)>,
    /// What the request asks beyond the rule.
    pub hook: Hook<T>,
    /// The caller's player, who is told of the change a moment later than others.
    pub actor: Option<PlayerUuid>,
    /// The reason in the words of the request, for its audit events.
    pub reason: Option<String>,
    /// The session whose players it removes together, for its audit events.
    pub removed_session: Option<SessionId>,
}

impl<T> Update<T> {
    /// An update for a caller.
    pub fn by(caller: &Caller, keeps_alive: bool) -> Self {
        let plays_on = caller.player().zip(caller.token().platform);
        Self { plays_on, actor: caller.player(), ..Self::by_caller(keeps_alive) }
    }

    /// An update for a caller whose platform the rule notes itself, or does not have to note.
    pub fn by_caller(keeps_alive: bool) -> Self {
        Self {
            keeps_alive,
            is_unlimited: false,
            plays_on: None,
            hook: None,
            actor: None,
            reason: None,
            removed_session: None,
        }
    }

    /// An update by the server itself, such as a timeout.
    pub fn by_server(keeps_alive: bool) -> Self {
        Self { is_unlimited: true, ..Self::by_caller(keeps_alive) }
    }

    /// What makes the change, for its audit events. A request can be without a limit, too, and then names its player.
    fn cause(&self) -> Cause {
        if self.is_unlimited && self.actor.is_none() { Cause::Server } else { Cause::Request(self.actor) }
    }

    /// The same, with a hook.
    #[must_use]
    pub fn with(self, hook: Hook<T>) -> Self {
        Self { hook, ..self }
    }

    /// The same, made by this player.
    #[must_use]
    pub fn made_by(self, actor: Option<PlayerUuid>) -> Self {
        Self { actor, ..self }
    }
}

impl Sessions {
    /// Stores a new session.
    ///
    /// # Errors
    /// [`Refused::TooManySessions`] or [`Refused::TooManyInvites`] if one of its players would exceed a quota;
    /// [`Refused::SessionTooLarge`]; [`Failure::Contended`] if the id is in use.
    pub async fn create(self: &Arc<Self>, session: Session) -> Result<Arc<CachedSession>, Failure> {
        self.create_if(session, Batch::default(), None).await?.ok_or(Failure::Contended)
    }

    /// Like [`create`](Self::create), together with further writes and those of the hook. Returns `None`, and changes
    /// nothing, if an expectation of theirs does not hold.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub async fn create_if(
        self: &Arc<Self>,
        session: Session,
        also: Batch,
        hook: Hook<()>,
    ) -> Result<Option<Arc<CachedSession>>, Failure> {
        self.require_right_clock().await?;
        let sessions = Arc::clone(self);
        // Other callers can find and change the session as soon as it is stored.
        let lock = self.lock(&session.id).await;
        shield(async move {
            let _lock = lock;
            let _quotas = sessions.lock_quotas(None, &session).await?;
            let creator = session.leader();
            let cause = Cause::Request(creator);
            let plan = sessions.plan_creation(session, cause)?.by(creator);
            let also = hook_writes(&hook, &(), plan.changed(), also)?;
            sessions.commit_one(plan.and(also.into())).await
        })
        .await
    }

    /// Changes a session by a rule, in one commit. If another node changes the session first, the rule runs again on
    /// fresh data, so the rule must not have side effects.
    ///
    /// Returns the result of the rule and the session after the change. An ended session is returned as it was at its
    /// end.
    ///
    /// # Errors
    /// [`Refused::SessionNotFound`], also if the session is overdue; the refusal of the rule; quotas;
    /// [`Refused::SessionTooLarge`]; [`Failure::PreconditionFailed`] if the condition of the hook fails;
    /// [`Failure::Contended`] after 8 lost races; errors of the store.
    pub async fn update<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        update: Update<T>,
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
                let alone = Batch::default();
                if let Some(updated) = sessions.try_update(&id, &update, &mut rule, alone).await? {
                    return Ok(updated);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Like [`update`](Self::update), for a rule that also reads another session. The commit expects the version of the other
    /// session that the rule has read, and the rule runs again if it has changed.
    ///
    /// At first only the lock of the first session is held: otherwise callers that change the other session could delay
    /// changes of this one. A busy session changes with each commit, so after 8 lost races both locks are held.
    ///
    /// # Errors
    /// As for [`update`](Self::update), but after 16 lost races. [`Refused::SessionNotFound`] also if the other session
    /// does not exist.
    pub async fn update_beside<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        other: &SessionId,
        update: Update<T>,
        mut rule: R,
    ) -> Result<(T, Arc<CachedSession>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session, &Session) -> Result<T, Refused> + Send + 'static,
    {
        let (sessions, id, other) = (Arc::clone(self), id.clone(), other.clone());
        let lock = self.lock(&id).await;
        shield(async move {
            let mut locks = vec![lock];
            for attempt in 0..2 * ATTEMPTS_MAX {
                if attempt == ATTEMPTS_MAX {
                    locks.clear();
                    locks = sessions.lock_all([&id, &other]).await;
                }
                let beside = sessions.get_latest(&other).await?;
                let unchanged = Batch::default().expect_version(keys::session(&other), beside.version);
                let rule = |session: &mut Session| rule(session, &beside.session);
                if let Some(updated) = sessions.try_update(&id, &update, rule, unchanged).await? {
                    return Ok(updated);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Like [`update`](Self::update), together with further writes, and tried once. Returns `None`, and changes
    /// nothing, if another node changed the session first, or if an expectation of theirs does not hold. The writes are
    /// committed even if the rule changes nothing.
    ///
    /// # Errors
    /// As for [`update`](Self::update).
    pub async fn update_with<T, R>(
        self: &Arc<Self>,
        id: &SessionId,
        update: Update<T>,
        rule: R,
        also: Batch,
    ) -> Result<Option<(T, Arc<CachedSession>)>, Failure>
    where
        T: Send + 'static,
        R: FnOnce(&mut Session) -> Result<T, Refused> + Send + 'static,
    {
        let (sessions, id) = (Arc::clone(self), id.clone());
        let lock = self.lock(&id).await;
        shield(async move {
            let _lock = lock;
            sessions.try_update(&id, &update, rule, also).await
        })
        .await
    }

    /// Tries a change once. Returns `None` if another node changed the session first, or if an expectation of `also`
    /// does not hold.
    async fn try_update<T>(
        &self,
        id: &SessionId,
        update: &Update<T>,
        rule: impl FnOnce(&mut Session) -> Result<T, Refused>,
        also: Batch,
    ) -> Result<Option<(T, Arc<CachedSession>)>, Failure> {
        // Before the rule: it may compare times, and it moves the deadline in memory.
        let now_ms = self.require_right_clock().await?;
        let before = self.get_latest(id).await?;
        let verdict = update.hook.as_ref().map_or(Verdict::Unconditional, |hook| hook.judge(&before));
        let mut after = before.session.clone();
        let result = match rule(&mut after) {
            Ok(result) => result,
            Err(refused) if refused.is_of_standing() => return Err(refused.into()),
            // The rule has judged a session that the caller does not know, so its refusal says nothing to the caller.
            Err(refused) => return self.require_held(verdict).and(Err(refused.into())),
        };
        if let Some((player, platform)) = update.plays_on {
            after.note_platform(player, platform);
        }
        let ended_ticket = after.settle_ticket(&before.session);
        after.settle_backfill(&before.session, time_of(now_ms));
        let (is_unchanged, when_made) = (after == before.session, verdict.when_made());
        if !is_unchanged {
            self.require_held(verdict)?;
        }

        let keeps_alive = update.keeps_alive && !after.ended;
        let new_deadline_ms =
            if keeps_alive { self.deadlines.deadline_to_store_first(&before, now_ms) } else { None };

        let committed = if is_unchanged {
            let also = hook_writes(&update.hook, &result, &before, also)?;
            self.commit_unchanged(before, new_deadline_ms, also).await?
        } else {
            let bytes_max = if update.is_unlimited { usize::MAX } else { self.limits.session_bytes_max };
            // Held until the commit, so that other changes on this node count the entries that this change adds.
            let _quotas = self.lock_quotas(Some(&before.session), &after).await?;
            let why = Why {
                reason: update.reason.clone(),
                removed_session: update.removed_session.clone(),
                ticket_end: ended_ticket.as_ref().map(|(_, end)| *end),
                ..update.cause().into()
            };
            let plan = self.plan_change(&before, after, why, bytes_max, new_deadline_ms).await?;
            let also = hook_writes(&update.hook, &result, plan.changed(), also)?;
            self.commit_one(plan.by(update.actor).and(also.into())).await?
        };
        let Some(current) = committed else { return Ok(None) };
        if let Some(precondition) = when_made {
            self.metrics.precondition(precondition);
        }
        if let Some((ticket, end)) = ended_ticket {
            self.note_ended_ticket(id, &ticket, end);
        }

        if let Some(deadline_ms) = new_deadline_ms {
            current.move_deadline(deadline_ms);
        } else if keeps_alive {
            self.deadlines.refresh(&current, now_ms);
        }
        Ok(Some((result, current)))
    }

    /// Fails if the condition of a request does.
    fn require_held(&self, verdict: Verdict) -> Result<(), Failure> {
        match verdict {
            Verdict::Unconditional | Verdict::Holds => Ok(()),
            Verdict::Fails(mismatch) => {
                self.metrics.precondition(Precondition::Failed);
                Err(Failure::PreconditionFailed(mismatch))
            }
        }
    }

    /// Finishes a change whose rule changed nothing: commits the further writes and the new deadline, if there are any,
    /// together. Returns `None` if another node changed the session or the deadline first.
    async fn commit_unchanged(
        &self,
        before: Arc<CachedSession>,
        new_deadline_ms: Option<i64>,
        also: Batch,
    ) -> Result<Option<Arc<CachedSession>>, Failure> {
        let id = &before.session.id;
        let mut batch = self.plan_deadline(id, new_deadline_ms).await?;
        if !also.put.is_empty() || !also.delete.is_empty() {
            batch = batch.and(also).expect_version(keys::session(id), before.version);
        }
        if !batch.is_empty() && self.commit(batch.into()).await?.is_none() {
            return Ok(None);
        }
        (self.observer)(&before.session);
        Ok(Some(before))
    }

    /// Commits a plan of one session. See [`commit`](Self::commit).
    async fn commit_one(&self, plan: Plan) -> Result<Option<Arc<CachedSession>>, Failure> {
        Ok(self.commit(plan).await?.and_then(|mut committed| committed.pop()))
    }

    /// Commits a plan and makes it visible on this node. Returns the sessions of the plan, or `None` if another node
    /// changed one of them first. After any failure the sessions leave the cache: a failed commit may
    /// still have reached the store, so only the store knows their state. The caller holds the session locks.
    ///
    /// # Errors
    /// [`Failure::Repeated`] if the answer to the request is stored already; [`Failure::Contended`] if another session has
    /// the match of this plan; the refusal of [`unique_refusal`] if
    /// another session already has a platform session, short code or allocation of this plan; errors of the store.
    pub(super) async fn commit(&self, plan: Plan) -> Result<Option<Vec<Arc<CachedSession>>>, Failure> {
        // Read before the commit: the new versions are known to be the latest from this time on.
        let started_at = self.clock.read();
        let memberships = ListChange::of(&plan.batch);
        let (launch_news, actor) = (plan.launch_news, plan.actor);
        let topics = topics_of(&plan.batch, &memberships, &plan.after);
        let filled: Vec<_> =
            plan.batch.delete.iter().filter_map(|key| keys::session_of_backfill(key)).collect();
        let committed = self.commit_batch(plan.batch).await;
        let departures = departures_of(&memberships);
        self.note_for_lookback(&plan.after, &departures, actor);
        match committed {
            Ok(version) => {
                self.memberships.committed(memberships);
                let mut committed = Vec::with_capacity(plan.after.len());
                for After { mut cached, stored_bytes } in plan.after {
                    cached.version = version;
                    let cached = Arc::new(cached);
                    cached.confirm_current(started_at);
                    let published = (!cached.session.ended).then_some((&cached, stored_bytes));
                    self.publish(&cached.session.id, published);
                    committed.push(cached);
                }
                // Under the session locks, so the observer sees the changes of a session in the order of commits. Last,
                // so that a panic of the observer leaves no older version in the cache.
                if let Some(news) = &self.ticket_news {
                    filled.into_iter().for_each(|id| news.wants_nobody(id));
                }
                for cached in &committed {
                    (self.observer)(&cached.session);
                    if let Some(news) = &self.ticket_news {
                        news.observe(&cached.session);
                    }
                }
                self.launches.wake_ups.wake(launch_news);
                self.changed_by(actor, &topics, &departures);
                Ok(Some(committed))
            }
            Err(error) => {
                self.memberships.forget(&memberships);
                for after in &plan.after {
                    self.publish(&after.cached.session.id, None);
                }
                // The commit may have reached the store all the same.
                self.changed_by(actor, &topics, &departures);
                match error {
                    CommitError::Conflict { key } if keys::is_answer(&key) => Err(Failure::Repeated),
                    CommitError::Conflict { key } => match keys::unique(&key).map(unique_refusal) {
                        Some(Some(refused)) => Err(refused.into()),
                        Some(None) => Err(Failure::Contended),
                        None => Ok(None),
                    },
                    CommitError::Store(error) => Err(error.into()),
                }
            }
        }
    }
}

impl Sessions {
    /// Notes a change for long polls. Before it can be read, and also if the outcome of the commit is unknown.
    fn note_for_lookback(
        &self,
        after: &[After],
        departures: &[(PlayerUuid, SessionId)],
        actor: Option<PlayerUuid>,
    ) {
        let Some(lookback) = self.lookback.as_ref().filter(|lookback| lookback.is_on()) else { return };
        let sessions = after.iter().map(|after| (&after.cached.session.id, actor));
        lookback.note(sessions, departures.iter().map(|(player, id)| (*player, id)));
    }
}

/// The sessions that are no longer on players' lists.
fn departures_of(lists: &ListChanges) -> SmallVec<[(PlayerUuid, SessionId); 1]> {
    lists.iter().flat_map(|(player, list)| list.departures().map(|id| (*player, id.clone()))).collect()
}

/// A reading of the clock.
pub(super) fn time_of(now_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(now_ms).unwrap_or_default()
}

/// Further writes, and those of a hook.
pub(super) fn hook_writes<T>(
    hook: &Hook<T>,
    result: &T,
    after: &CachedSession,
    also: Batch,
) -> Result<Batch, Failure> {
    match hook {
        Some(hook) => Ok(also.and(hook.writes(result, after)?)),
        None => Ok(also),
    }
}

/// What a commit changes for those who wait.
fn topics_of(batch: &Batch, lists: &ListChanges, after: &[After]) -> SmallVec<[Topic; 8]> {
    let lists = lists.keys().map(|player| Topic::List(*player));
    let sessions = after.iter().map(|after| Topic::Session(after.cached.session.id.clone()));
    let mut written = batch.put.iter().map(|(key, _)| key).chain(&batch.delete);
    let has_listing = written.any(|key| keys::parse_listing(key).is_some());
    let types = after.iter().filter(|_| has_listing).map(|after| &*after.cached.session.session_type);
    let listings = types.map(|session_type| Topic::Listings(session_type.into()));
    lists.chain(sessions).chain(listings).collect()
}

/// The refusal if another session already has a key that only one session can have. `None`: the session of a match, whose
/// creator then looks for the other one.
fn unique_refusal(unique: Unique) -> Option<Refused> {
    match unique {
        Unique::PlatformSession => Some(Refused::PlatformSessionInUse),
        Unique::ShortCode => Some(Refused::ShortCodeTaken),
        Unique::Allocation => Some(Refused::AllocationInUse),
        Unique::QueuedPlayer => Some(Refused::PlayerAlreadyQueued),
        Unique::Match => None,
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
pub(super) mod tests;
