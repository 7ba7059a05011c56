//! Rights inside a session: what its leader may do to others, and may let others do.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Player, Status};
use crate::domain::{Actor, PlayerUuid, Refused, Session};

/// A right of the leader that can be lent to one player (contract: `IntraSessionPermissions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "IntraSessionPermissions")]
pub enum Right {
    /// Inviting players and keeping places for them.
    Invite,
    /// Taking players out, and invites back.
    Kick,
    /// Putting players on other teams.
    Move,
}

impl Right {
    /// Every right, in the contract's order.
    pub const ALL: [Self; 3] = [Self::Invite, Self::Kick, Self::Move];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Kick => "kick",
            Self::Move => "move",
        }
    }
}

impl Player {
    /// The rights the player has: the leader all of them, others what they were lent.
    pub fn rights(&self) -> BTreeSet<Right> {
        if self.status == Status::Leader { Right::ALL.into() } else { self.lent_rights.clone() }
    }
}

impl Session {
    /// The entry of a player.
    pub fn entry(&self, player: PlayerUuid) -> Result<&Player, Refused> {
        self.players.get(&player).map(Arc::as_ref).ok_or(Refused::PlayerNotFound)
    }

    /// The entry of a player, to change it.
    pub(super) fn entry_mut(&mut self, player: PlayerUuid) -> Result<&mut Player, Refused> {
        self.players.get_mut(&player).map(Arc::make_mut).ok_or(Refused::PlayerNotFound)
    }

    /// Refuses an actor who neither leads nor was lent the right.
    pub fn require_right(&self, actor: Actor, right: Right) -> Result<(), Refused> {
        self.require_active(actor)?;
        match actor {
            Actor::Player(player) if !self.entry(player)?.rights().contains(&right) => {
                Err(Refused::RightNotHeld(right))
            }
            _ => Ok(()),
        }
    }

    /// Lends a right to an active player; lending it again changes nothing.
    pub fn lend(&mut self, actor: Actor, player: PlayerUuid, right: Right) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.active_entry(player)?.lent_rights.insert(right);
        Ok(())
    }

    /// Takes a lent right back; players may give up their own. What was not lent is not there to take.
    pub fn take_back(&mut self, actor: Actor, player: PlayerUuid, right: Right) -> Result<(), Refused> {
        self.require_active(actor)?;
        if actor != Actor::Player(player) {
            self.require_leader(actor)?;
        }
        self.active_entry(player)?.lent_rights.remove(&right);
        Ok(())
    }

    /// The entry of a player who takes part.
    pub(in crate::domain) fn active_entry(&mut self, player: PlayerUuid) -> Result<&mut Player, Refused> {
        let entry = self.entry_mut(player)?;
        if entry.status.is_active() { Ok(entry) } else { Err(Refused::PlayerNotActive) }
    }
}
