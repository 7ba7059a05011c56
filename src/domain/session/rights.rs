//! Rights inside a session. The leader has all of them and can give them to other players.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Player, Status};
use crate::domain::{Actor, PlayerUuid, Refused, Session};

/// A right that the leader has and can give to a player (contract: `IntraSessionPermissions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "IntraSessionPermissions")]
pub enum Right {
    /// To invite players and to reserve slots for them.
    Invite,
    /// To kick players and to withdraw invites.
    Kick,
    /// To move players to other teams.
    Move,
}

impl Right {
    /// Every right, in the contract's order.
    pub const ALL: [Self; 3] = [Self::Invite, Self::Kick, Self::Move];

    /// The name in requests and responses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Kick => "kick",
            Self::Move => "move",
        }
    }
}

impl Player {
    /// The rights of the player: all of them for the leader, the given ones for everyone else.
    pub fn rights(&self) -> BTreeSet<Right> {
        if self.status == Status::Leader { Right::ALL.into() } else { self.given_rights.clone() }
    }
}

impl Session {
    /// The entry of a player.
    pub fn entry(&self, player: PlayerUuid) -> Result<&Player, Refused> {
        self.players.get(&player).map(Arc::as_ref).ok_or(Refused::PlayerNotFound)
    }

    /// The entry of a player, for a change.
    pub(super) fn entry_mut(&mut self, player: PlayerUuid) -> Result<&mut Player, Refused> {
        self.players.get_mut(&player).map(Arc::make_mut).ok_or(Refused::PlayerNotFound)
    }

    /// Refuses an actor who is not the leader and was not given the right.
    pub fn require_right(&self, actor: Actor, right: Right) -> Result<(), Refused> {
        self.require_active(actor)?;
        match actor {
            Actor::Player(player) if !self.entry(player)?.rights().contains(&right) => {
                Err(Refused::RightNotHeld(right))
            }
            _ => Ok(()),
        }
    }

    /// Gives a right to an active player. Giving it again changes nothing.
    pub fn give_right(&mut self, actor: Actor, player: PlayerUuid, right: Right) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.active_entry(player)?.given_rights.insert(right);
        Ok(())
    }

    /// Removes a right from an active player. Players may remove their own rights. Removing a right that was not
    /// given changes nothing, so the leader keeps all rights.
    pub fn remove_right(&mut self, actor: Actor, player: PlayerUuid, right: Right) -> Result<(), Refused> {
        self.require_active(actor)?;
        if actor != Actor::Player(player) {
            self.require_leader(actor)?;
        }
        self.active_entry(player)?.given_rights.remove(&right);
        Ok(())
    }

    /// The entry of an active player, for a change.
    pub(in crate::domain) fn active_entry(&mut self, player: PlayerUuid) -> Result<&mut Player, Refused> {
        let entry = self.entry_mut(player)?;
        if entry.status.is_active() { Ok(entry) } else { Err(Refused::PlayerNotActive) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{by, check, check_in, player, session};

    use Actor::{Anyone, Nobody};

    fn give(actor: Actor, number: u128) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
        move |session| session.give_right(actor, player(number), Right::Kick)
    }

    fn remove(actor: Actor, number: u128) -> impl FnOnce(&mut Session) -> Result<(), Refused> {
        move |session| session.remove_right(actor, player(number), Right::Kick)
    }

    #[track_caller]
    fn rights(session: &Session, number: u128) -> Vec<Right> {
        session.entry(player(number)).unwrap().rights().into_iter().collect()
    }

    #[test]
    fn the_leader_gives_rights_to_active_players() {
        check("L1 M2", give(by(1), 2), Ok("L1 M2"));
        check("L1 M2", give(Anyone, 2), Ok("L1 M2"));
        check("L1 M2", give(by(2), 2), Err(Refused::NotSessionLeader));
        check("L1 I2", give(by(2), 2), Err(Refused::NotActiveInSession));
        check("L1 M2", give(Nobody, 2), Err(Refused::NotActiveInSession));
        check("L1 I2", give(by(1), 2), Err(Refused::PlayerNotActive));
        check("L1", give(by(1), 9), Err(Refused::PlayerNotFound));
    }

    #[test]
    fn the_leader_and_the_player_remove_rights() {
        check("L1 M2", remove(by(1), 2), Ok("L1 M2"));
        check("L1 M2", remove(by(2), 2), Ok("L1 M2"));
        check("L1 M2", remove(Anyone, 2), Ok("L1 M2"));
        check("L1 M2 M3", remove(by(2), 3), Err(Refused::NotSessionLeader));
        check("L1 I2", remove(by(2), 2), Err(Refused::NotActiveInSession));
        check("L1 I2", remove(by(1), 2), Err(Refused::PlayerNotActive));
        check("L1", remove(by(1), 9), Err(Refused::PlayerNotFound));
        check("L1", remove(by(9), 9), Err(Refused::NotActiveInSession));
    }

    #[test]
    fn the_leader_has_all_rights_and_others_have_the_given_ones() {
        let mut session = session("L1 M2 M3");
        assert_eq!((rights(&session, 1), rights(&session, 2)), (Right::ALL.to_vec(), vec![]));
        for _ in 0..2 {
            give(by(1), 2)(&mut session).unwrap();
            assert_eq!((rights(&session, 2), rights(&session, 3)), (vec![Right::Kick], vec![]));
        }
        for _ in 0..2 {
            remove(by(2), 2)(&mut session).unwrap();
            assert_eq!(rights(&session, 2), []);
        }
        remove(by(1), 1)(&mut session).unwrap();
        assert_eq!(rights(&session, 1), Right::ALL);
    }

    #[test]
    fn given_rights_are_stored_under_their_first_name() {
        let mut session = session("L1 M2");
        give(by(1), 2)(&mut session).unwrap();
        let stored = serde_json::to_value(session.entry(player(2)).unwrap()).unwrap();
        assert_eq!(stored["lent_rights"], serde_json::json!(["kick"]));
    }

    #[test]
    fn an_action_needs_its_right() {
        let require = |actor, right| move |session: &mut Session| session.require_right(actor, right);
        let mut session = session("L1 M2 I3");
        give(by(1), 2)(&mut session).unwrap();
        for right in Right::ALL {
            let of_member =
                if right == Right::Kick { Ok("L1 M2 I3") } else { Err(Refused::RightNotHeld(right)) };
            check_in(&session, require(by(1), right), Ok("L1 M2 I3"));
            check_in(&session, require(Anyone, right), Ok("L1 M2 I3"));
            check_in(&session, require(by(2), right), of_member);
            check_in(&session, require(by(3), right), Err(Refused::NotActiveInSession));
            check_in(&session, require(by(9), right), Err(Refused::NotActiveInSession));
            check_in(&session, require(Nobody, right), Err(Refused::NotActiveInSession));
        }
    }
}
