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
enum Kind {
    /// In a session that the player takes part in.
    Session,
    /// An invite or a reservation.
    Invite,
}

impl Kind {
    fn of(status: Status) -> Self {
        if status.is_active() { Self::Session } else { Self::Invite }
    }
}

/// The places that a change gives.
fn given(before: Option<&Session>, after: &Session) -> Vec<(PlayerUuid, Kind)> {
    let given = after.players.iter().filter_map(|(player, entry)| {
        let known = before.and_then(|session| session.players.get(player));
        // Most entries are those of before, and need no look.
        let is_known = known.is_some_and(|known| {
            Arc::ptr_eq(known, entry) || Kind::of(known.status) == Kind::of(entry.status)
        });
        (!is_known).then(|| (*player, Kind::of(entry.status)))
    });
    if after.ended { Vec::new() } else { given.collect() }
}

impl Sessions {
    /// The turns of those to whom a change gives places, unless one of them has as many as a player may have.
    pub(super) async fn turns_of_given(
        &self,
        before: Option<&Session>,
        after: &Session,
    ) -> Result<Vec<MutexGuard<'_, ()>>, Failure> {
        let given = given(before, after);
        let mut turns = Vec::with_capacity(given.len());
        for turn in self.player_turns.of_all(&given) {
            turns.push(turn.lock().await);
        }
        self.check(&after.id, &given).await?;
        Ok(turns)
    }

    /// Refuses a new session that gives somebody one place more than a player may have. Certain in the players' turns
    /// alone, where [`create`](Self::create) asks it.
    pub async fn check_places(&self, session: &Session) -> Result<(), Failure> {
        self.check(&session.id, &given(None, session)).await
    }

    async fn check(&self, id: &SessionId, given: &[(PlayerUuid, Kind)]) -> Result<(), Failure> {
        for (player, kind) in given {
            let places = self.memberships(*player).await?;
            let of_kind = |place: &Status| Kind::of(*place) == *kind;
            let elsewhere =
                places.iter().filter(|(other, place)| other != id && of_kind(&place.status)).count();
            let (places_max, refusal) = match kind {
                Kind::Session => (self.limits.sessions_per_player_max, Refused::TooManySessions),
                Kind::Invite => (self.limits.invites_per_player_max, Refused::TooManyInvites),
            };
            if elsewhere >= places_max {
                return Err(refusal.into());
            }
        }
        Ok(())
    }
}
