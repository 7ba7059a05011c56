//! Changes that give players places, and changes that look at another session: what holds more than one turn.
//!
//! How many places a player has elsewhere is counted in the player's own turn, which ends with the commit, so that
//! of changes at the same moment each counts those before it. Everybody takes turns in one order, so that nobody waits
//! in a circle: players' turns before sessions', and several of a kind in the order of their stripes.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::Failure;
use super::live::Live;
use super::sessions::{ATTEMPTS_MAX, Sessions};
use super::to_the_end::ToTheEnd;
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::store::StoreError;

/// A player who has all places of a kind that a player may have, without counting one session.
pub(super) struct AtLimit {
    player: PlayerUuid,
    sessions: bool,
    invites: bool,
}

impl AtLimit {
    /// Refuses a change that gives the player one place more. The limits speak last: what else is wrong is said first,
    /// and who has the place already is not held up by them.
    fn check(&self, before: Option<Status>, after: Option<Status>) -> Result<(), Refused> {
        let is_new = |of_kind: fn(Status) -> bool| after.is_some_and(of_kind) && !before.is_some_and(of_kind);
        if self.sessions && is_new(Status::is_active) {
            return Err(Refused::TooManySessions);
        }
        if self.invites && is_new(|status| !status.is_active()) {
            return Err(Refused::TooManyInvites);
        }
        Ok(())
    }

    fn standing(&self, session: &Session) -> Option<Status> {
        session.players.get(&self.player).map(|entry| entry.status)
    }
}

/// A rule that gives nobody more places than a player may have.
fn limited<T>(
    at_limit: Vec<AtLimit>,
    mut rule: impl FnMut(&mut Session) -> Result<T, Refused>,
) -> impl FnMut(&mut Session) -> Result<T, Refused> {
    move |session| {
        let before: Vec<_> = at_limit.iter().map(|player| player.standing(session)).collect();
        let answer = rule(session)?;
        let mut players = at_limit.iter().zip(before);
        players.try_for_each(|(player, before)| player.check(before, player.standing(session)))?;
        Ok(answer)
    }
}

/// Waits for turns, in this order.
async fn take<'a>(turns: Vec<&'a Mutex<()>>) -> Vec<MutexGuard<'a, ()>> {
    let mut taken = Vec::with_capacity(turns.len());
    for turn in turns {
        taken.push(turn.lock().await);
    }
    taken
}

impl Sessions {
    /// The turns of players: whoever holds them knows how many places they have.
    pub(super) async fn turns_of(&self, players: &BTreeSet<PlayerUuid>) -> Vec<MutexGuard<'_, ()>> {
        take(self.player_turns.of_all(players)).await
    }

    /// Those of the players who can be given no more places than one in this session that they have already. To be
    /// asked in their turns.
    pub(super) async fn at_limit(
        &self,
        id: &SessionId,
        players: &BTreeSet<PlayerUuid>,
    ) -> Result<Vec<AtLimit>, StoreError> {
        let mut at_limit = Vec::new();
        for player in players {
            let places = self.memberships(*player).await?;
            let elsewhere = |of_kind: fn(Status) -> bool| {
                places.iter().filter(|(other, place)| other != id && of_kind(place.status)).count()
            };
            let found = AtLimit {
                player: *player,
                sessions: elsewhere(Status::is_active) >= self.limits.sessions_per_player_max,
                invites: elsewhere(|status| !status.is_active()) >= self.limits.invites_per_player_max,
            };
            if found.sessions || found.invites {
                at_limit.push(found);
            }
        }
        Ok(at_limit)
    }

    /// Refuses a new session that gives somebody one place more than a player may have. Certain in the players' turns
    /// alone, where [`create`](Self::create) asks it.
    pub async fn check_places(&self, session: &Session) -> Result<(), Failure> {
        let players = session.players.keys().copied().collect();
        for player in self.at_limit(&session.id, &players).await? {
            player.check(None, player.standing(session))?;
        }
        Ok(())
    }

    /// Changes a session as [`update`](Self::update) does, by a rule that may give places in it to these players, and
    /// to no others.
    pub async fn give_places<T, R, K>(
        self: &Arc<Self>,
        id: &SessionId,
        players: BTreeSet<PlayerUuid>,
        rule: R,
        kept: K,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
        K: Fn(&Live) + Send + 'static,
    {
        let (sessions, id) = (Arc::clone(self), id.clone());
        ToTheEnd::of(async move {
            let _players = sessions.turns_of(&players).await;
            let rule = limited(sessions.at_limit(&id, &players).await?, rule);
            let _turn = sessions.turn(&id).writing.lock().await;
            sessions.update_in_turn(&id, rule, kept).await
        })
        .await
    }

    /// Changes a session by a rule that looks at another one, and may give places to those whom `newcomers` finds in
    /// it. Both have their turns, so that the other is looked at as it is when the change is made.
    pub async fn update_beside<T, R, K>(
        self: &Arc<Self>,
        id: &SessionId,
        other: &SessionId,
        newcomers: fn(&Session) -> BTreeSet<PlayerUuid>,
        mut rule: R,
        kept: K,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session, &Session) -> Result<T, Refused> + Send + 'static,
        K: Fn(&Live) + Send + 'static,
    {
        let (sessions, ids) = (Arc::clone(self), [id.clone(), other.clone()]);
        ToTheEnd::of(async move {
            let [id, other] = &ids;
            for _ in 0..ATTEMPTS_MAX {
                let players = newcomers(&sessions.get(other).await?.session);
                let _players = sessions.turns_of(&players).await;
                let _turns = take(sessions.writing(&ids)).await;
                let beside = sessions.get(other).await?;
                // Whoever came while the turns were waited for has not had theirs taken.
                if !newcomers(&beside.session).is_subset(&players) {
                    continue;
                }
                let at_limit = sessions.at_limit(id, &players).await?;
                let rule = limited(at_limit, |session| rule(session, &beside.session));
                return sessions.update_in_turn(id, rule, kept).await;
            }
            Err(Failure::Contended)
        })
        .await
    }
}
