//! How many places a player may have: sessions that they take part in, and invites that wait for them.
//!
//! A player's places of a kind are counted in a turn of their own, which ends with the commit, so that of changes at the
//! same moment each counts those before it. It is taken last: by a change whose rule has agreed, in its session's turn.
//! So nobody holds up a player by what they may not do, nor by a session that is slow to change, and since everybody takes
//! one session's turn and then those of players in the order of their stripes, nobody waits in a circle.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::Sessions;
use crate::app::Failure;
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};

/// A kind of place; each has its own limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum QuotaKind {
    /// In a session that the player takes part in.
    Session,
    /// An invite or a reservation.
    Invite,
}

impl QuotaKind {
    fn of(status: Status) -> Self {
        if status.is_active() { Self::Session } else { Self::Invite }
    }
}

/// The places that a change gives.
fn given(before: Option<&Session>, after: &Session) -> Vec<(PlayerUuid, QuotaKind)> {
    let given = after.players.iter().filter_map(|(player, entry)| {
        let known = before.and_then(|session| session.players.get(player));
        // Most entries are those of before, and need no look.
        let is_known = known.is_some_and(|known| {
            Arc::ptr_eq(known, entry) || QuotaKind::of(known.status) == QuotaKind::of(entry.status)
        });
        (!is_known).then(|| (*player, QuotaKind::of(entry.status)))
    });
    if after.ended { Vec::new() } else { given.collect() }
}

impl Sessions {
    /// The session_locks of those to whom a change gives places, unless one of them has as many as a player may have.
    pub(super) async fn lock_quotas_of_new(
        &self,
        before: Option<&Session>,
        after: &Session,
    ) -> Result<Vec<MutexGuard<'_, ()>>, Failure> {
        let given = given(before, after);
        let mut session_locks = Vec::with_capacity(given.len());
        for turn in self.player_locks.of_all(&given) {
            session_locks.push(turn.lock().await);
        }
        self.check(&after.id, &given).await?;
        Ok(session_locks)
    }

    /// Refuses a new session that gives somebody one place more than a player may have. Certain in the players' session_locks
    /// alone, where [`create`](Self::create) asks it.
    pub async fn check_quotas(&self, session: &Session) -> Result<(), Failure> {
        self.check(&session.id, &given(None, session)).await
    }

    async fn check(&self, id: &SessionId, given: &[(PlayerUuid, QuotaKind)]) -> Result<(), Failure> {
        for (player, kind) in given {
            let places = self.memberships(*player).await?;
            let of_kind = |place: &Status| QuotaKind::of(*place) == *kind;
            let elsewhere =
                places.iter().filter(|(other, place)| other != id && of_kind(&place.status)).count();
            let (places_max, refusal) = match kind {
                QuotaKind::Session => (self.limits.sessions_per_player_max, Refused::TooManySessions),
                QuotaKind::Invite => (self.limits.invites_per_player_max, Refused::TooManyInvites),
            };
            if elsewhere >= places_max {
                return Err(refusal.into());
            }
        }
        Ok(())
    }
}
