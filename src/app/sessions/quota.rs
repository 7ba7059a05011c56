//! Quotas: how many sessions a player may be active in, and how many invites and reservations may be open for one.
//!
//! A player's entries of a kind are counted under the player's lock, which is held until the commit, so of several
//! changes at the same moment each counts those before it. The lock is taken last: by a change whose rule has agreed, under
//! its session's lock. So nobody holds up a player by a change that is refused, nor by a session that is slow to change.
//! Everybody takes one session's lock and then those of players in the order of their stripes, so there is no deadlock.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::Sessions;
use crate::app::Failure;
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::records::Membership;

/// What is counted; each kind has its own limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum QuotaKind {
    /// Sessions in which the player is active.
    Session,
    /// Invites and reservations.
    Invite,
}

impl QuotaKind {
    fn of(status: Status) -> Self {
        if status.is_active() { Self::Session } else { Self::Invite }
    }
}

/// The entries that a change adds, by player.
fn added(before: Option<&Session>, after: &Session) -> Vec<(PlayerUuid, QuotaKind)> {
    let mut added = Vec::new();
    if after.ended {
        return added;
    }
    for (player, entry) in &after.players {
        let known = before.and_then(|session| session.players.get(player));
        // Most entries are shared with the session before, and need no comparison.
        let is_known = known.is_some_and(|known| {
            Arc::ptr_eq(known, entry) || QuotaKind::of(known.status) == QuotaKind::of(entry.status)
        });
        if !is_known {
            added.push((*player, QuotaKind::of(entry.status)));
        }
    }
    added
}

impl Sessions {
    /// Locks the quotas of the players to whom a change adds an entry.
    ///
    /// # Errors
    /// [`Refused::TooManySessions`] or [`Refused::TooManyInvites`] if one of them has as many as a player may have.
    pub(super) async fn lock_quotas(
        &self,
        before: Option<&Session>,
        after: &Session,
    ) -> Result<Vec<MutexGuard<'_, ()>>, Failure> {
        let added = added(before, after);
        let mut locks = Vec::with_capacity(added.len());
        for lock in self.player_locks.of_all(&added) {
            locks.push(lock.lock().await);
        }
        self.check(&after.id, &added).await?;
        Ok(locks)
    }

    /// Refuses a new session that would exceed a quota. [`create`](Self::create) checks again, under the players' locks.
    ///
    /// # Errors
    /// [`Refused::TooManySessions`] or [`Refused::TooManyInvites`].
    pub async fn check_quotas(&self, session: &Session) -> Result<(), Failure> {
        self.check(&session.id, &added(None, session)).await
    }

    async fn check(&self, id: &SessionId, added: &[(PlayerUuid, QuotaKind)]) -> Result<(), Failure> {
        for (player, kind) in added {
            let memberships = self.memberships(*player).await?;
            let counts = |(other, membership): &&(SessionId, Membership)| {
                other != id && QuotaKind::of(membership.status) == *kind
            };
            let elsewhere = memberships.iter().filter(counts).count();
            let (quota, refusal) = match kind {
                QuotaKind::Session => (self.limits.sessions_per_player_max, Refused::TooManySessions),
                QuotaKind::Invite => (self.limits.invites_per_player_max, Refused::TooManyInvites),
            };
            if elsewhere >= quota {
                return Err(refusal.into());
            }
        }
        Ok(())
    }
}
