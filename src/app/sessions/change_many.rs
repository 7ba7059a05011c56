//! Changing several sessions in one commit: all of them change, or none. A match does it: it takes the tickets of its
//! parties out of their sessions and creates a session, and no ticket may end up in two matches.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::cached::CachedSession;
use super::change::{hook_writes, time_of};
use super::hook::Hook;
use super::plan::Plan;
use super::{ATTEMPTS_MAX, Sessions};
use crate::app::Failure;
use crate::app::shield::shield;
use crate::domain::audit::{Cause, Why};
use crate::domain::{Refused, Session, SessionId};
use crate::store::Batch;

/// A change of several sessions, whose rule has a result of type `T`.
pub struct UpdateMany<T = ()> {
    /// The sessions that the rule may change, each once.
    pub ids: Vec<SessionId>,
    /// The id of the session that the rule may create; no other session has it.
    pub new_id: Option<SessionId>,
    /// What the request asks beyond the rule. It gets the new session, or else the first one that has changed.
    pub hook: Hook<T>,
    /// What makes the change.
    pub cause: Cause,
}

/// The sessions of a change of several, as its rule sees them.
pub struct Many {
    /// The sessions, in the order of [`UpdateMany::ids`]. `None`: it does not exist, or is overdue.
    pub sessions: Vec<Option<Session>>,
    /// The new session, if the rule creates one. It has the id of [`UpdateMany::new_id`].
    pub new: Option<Session>,
    /// The match for which the rule ends tickets, for their audit events.
    pub match_id: Option<String>,
}

/// The sessions after a change of several.
pub struct ManyChanged<T> {
    /// The result of the rule.
    pub result: T,
    /// The new session.
    pub new: Option<Arc<CachedSession>>,
}

impl Sessions {
    /// Changes several sessions, and creates one, by one rule, in one commit. If another node changes one of them first, the
    /// rule runs again on fresh data, so the rule must not have side effects.
    ///
    /// The change is one of the server: quotas of players and the size of the changed sessions do not limit it. It moves no
    /// deadline. A hook gets a session only if the rule changes or creates one.
    ///
    /// # Errors
    /// The refusal of the rule; [`Refused::SessionTooLarge`] for the new session; [`Failure::Contended`] after 8 lost races,
    /// or if the new id is in use; errors of the store.
    pub async fn update_many<T, R>(
        self: &Arc<Self>,
        update: UpdateMany<T>,
        mut rule: R,
    ) -> Result<ManyChanged<T>, Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Many) -> Result<T, Refused> + Send + 'static,
    {
        let sessions = Arc::clone(self);
        let locks = self.lock_all(update.ids.iter().chain(&update.new_id)).await;
        shield(async move {
            let _locks = locks;
            for _ in 0..ATTEMPTS_MAX {
                if let Some(changed) = sessions.try_update_many(&update, &mut rule).await? {
                    return Ok(changed);
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    /// Tries a change of several sessions once. Returns `None` if another node changed one of them first.
    async fn try_update_many<T>(
        &self,
        update: &UpdateMany<T>,
        rule: &mut impl FnMut(&mut Many) -> Result<T, Refused>,
    ) -> Result<Option<ManyChanged<T>>, Failure> {
        let now = time_of(self.require_right_clock().await?);
        let before = self.find_all_latest(&update.ids).await?;
        let copy = |cached: &Option<Arc<CachedSession>>| cached.as_ref().map(|cached| cached.session.clone());
        let mut many = Many { sessions: before.iter().map(copy).collect(), new: None, match_id: None };
        let result = rule(&mut many)?;
        let pairs = before.iter().zip(&mut many.sessions);
        let ended_tickets: Vec<_> = pairs
            .map(|(before, after)| {
                let (before, after) = (&before.as_ref()?.session, after.as_mut()?);
                after.settle_backfill(before, now);
                after.settle_ticket(before)
            })
            .collect();

        let creates = many.new.is_some();
        let all = before.iter().zip(many.sessions).zip(&ended_tickets);
        let changed = all.filter_map(|((before, after), ended_ticket)| {
            let (before, after) = (before.as_ref()?, after?);
            let ticket_end = ended_ticket.as_ref().map(|(_, end)| *end);
            let match_id = many.match_id.clone();
            let why = Why { ticket_end, match_id, ..update.cause.into() };
            (before.session != after).then_some((before, after, why))
        });
        let changes =
            changed.map(|(before, after, why)| self.plan_change(before, after, why, usize::MAX, None));
        let changes = try_join_all(changes).await?;
        let new = many.new.map(|new| self.plan_creation(new, update.cause)).transpose()?;
        let plans = new.into_iter().chain(changes);
        let Some(plan) = plans.reduce(Plan::and) else {
            return Ok(Some(ManyChanged { result, new: None }));
        };
        let also = hook_writes(&update.hook, &result, plan.changed(), Batch::default())?;
        let Some(committed) = self.commit(plan.by(update.cause.player()).and(also.into())).await? else {
            return Ok(None);
        };
        for (id, ended_ticket) in update.ids.iter().zip(ended_tickets) {
            if let Some((ticket, end)) = ended_ticket {
                self.note_ended_ticket(id, &ticket, end);
            }
        }
        Ok(Some(ManyChanged { result, new: committed.into_iter().next().filter(|_| creates) }))
    }
}

#[cfg(test)]
#[path = "change_many_tests.rs"]
mod tests;
