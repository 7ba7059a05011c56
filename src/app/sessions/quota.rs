//! Quotas: in how many sessions a player may be active, how many open invites and reservations a player may have, in
//! all and from one inviter, and how many dedicated servers a player may have asked for.
//!
//! A change that adds entries counts the entries of each player under the player lock, and holds the lock until its
//! commit. So of several changes at the same moment, each counts the entries of those before it.
//!
//! A change takes the player locks last: under the session lock, after its rule has agreed. So changes that are
//! refused, and changes that still wait for a session lock, do not delay a player. Every change takes one session lock
//! first and then the player locks in the order of their stripes, so there is no deadlock.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::Sessions;
use super::launch_writes::player_who_asks;
use crate::app::Failure;
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::records::Membership;

/// What is counted. Each kind has its own limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum QuotaKind {
    /// Sessions in which the player is active.
    Session,
    /// Sessions in which the player has an open invite or a reservation.
    Invite,
}

impl QuotaKind {
    fn of(status: Status) -> Self {
        if status.is_active() { Self::Session } else { Self::Invite }
    }
}

/// What chooses a player lock: the player, and the kind of entry; `None` for a dedicated server.
type LockKey = (PlayerUuid, Option<QuotaKind>);

/// An entry that a change adds. An entry that changes its kind, and an invite from another inviter, are added too.
struct AddedEntry {
    player: PlayerUuid,
    kind: QuotaKind,
    /// Whether the player had no entry of this kind in the session.
    is_new: bool,
    /// The inviter, if the entry is an invite or a reservation that this player has not given before.
    inviter: Option<PlayerUuid>,
}

impl AddedEntry {
    /// Its player lock. Entries of different kinds do not wait for each other, nor for requests of servers.
    fn lock_key(&self) -> LockKey {
        (self.player, Some(self.kind))
    }
}

/// The entries that a change adds.
fn added_entries(before: Option<&Session>, after: &Session) -> Vec<AddedEntry> {
    let mut added_entries = Vec::new();
    if after.ended {
        return added_entries;
    }
    for (player, entry) in &after.players {
        let known = before.and_then(|session| session.players.get(player));
        // Both versions share the entries that the change leaves as they are; comparing pointers is enough for them.
        if known.is_some_and(|known| Arc::ptr_eq(known, entry)) {
            continue;
        }
        let kind = QuotaKind::of(entry.status);
        let known = known.filter(|known| QuotaKind::of(known.status) == kind);
        let has_new_inviter = known.is_none_or(|known| known.inviting_player != entry.inviting_player);
        let inviter = entry.inviting_player.filter(|_| kind == QuotaKind::Invite && has_new_inviter);
        if known.is_none() || inviter.is_some() {
            added_entries.push(AddedEntry { player: *player, kind, is_new: known.is_none(), inviter });
        }
    }
    added_entries
}

impl Sessions {
    /// Takes the player locks of the players to whom a change adds an entry, and checks their quotas. The caller holds
    /// the locks until its commit.
    ///
    /// # Errors
    /// [`Refused::TooManySessions`], [`Refused::TooManyInvites`] or [`Refused::TooManyServers`] if a player would
    /// exceed a quota.
    pub(super) async fn lock_quotas(
        &self,
        before: Option<&Session>,
        after: &Session,
    ) -> Result<Vec<MutexGuard<'_, ()>>, Failure> {
        let added_entries = added_entries(before, after);
        let asks = player_who_asks(before, after);
        let keys =
            added_entries.iter().map(AddedEntry::lock_key).chain(asks.map(|(player, _)| (player, None)));
        let mut locks = Vec::with_capacity(added_entries.len());
        for lock in self.player_locks.of_all(keys) {
            locks.push(lock.lock().await);
        }
        self.check(&after.id, &added_entries).await?;
        if let Some((player, allocator)) = asks {
            self.check_servers(player, allocator).await?;
        }
        Ok(locks)
    }

    /// Refuses a new session if one of its players would exceed a quota. Without the player locks this is only a first
    /// check; [`create`](Self::create) checks again.
    ///
    /// # Errors
    /// [`Refused::TooManySessions`] or [`Refused::TooManyInvites`].
    pub async fn check_quotas(&self, session: &Session) -> Result<(), Failure> {
        self.check(&session.id, &added_entries(None, session)).await
    }

    /// Checks the quotas of these players. `id` is the session that changes: entries in it do not count.
    async fn check(&self, id: &SessionId, added_entries: &[AddedEntry]) -> Result<(), Failure> {
        for added in added_entries {
            let memberships = self.memberships(added.player).await?;
            let in_other_sessions = || {
                let counts = |(other, membership): &&(SessionId, Membership)| {
                    other != id && QuotaKind::of(membership.status) == added.kind
                };
                memberships.entries.iter().filter(counts)
            };
            let (quota, refusal) = match added.kind {
                QuotaKind::Session => (self.limits.sessions_per_player_max, Refused::TooManySessions),
                QuotaKind::Invite => (self.limits.invites_per_player_max, Refused::TooManyInvites),
            };
            if added.is_new && in_other_sessions().count() >= quota {
                return Err(refusal.into());
            }
            if added.inviter.is_some() {
                let from_inviter =
                    in_other_sessions().filter(|(_, invite)| invite.inviting_player == added.inviter);
                if from_inviter.count() >= self.limits.invites_per_inviter_max {
                    return Err(Refused::TooManyInvites.into());
                }
            }
        }
        Ok(())
    }
}
