//! Invites and reservations: both put a player into the session without making the player active.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Status;
use super::join::JoinRules;
use super::rights::Right;
use crate::domain::client::Client;
use crate::domain::{Actor, CustomData, PlayerUuid, Refused, Session, SessionId};

/// What to do if the team has too few free slots for all invited players (contract: `TeamOverflowAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TeamOverflowAction")]
pub enum Overflow {
    /// Invite nobody.
    #[default]
    Fail,
    /// Use free slots of other teams too. Invite nobody if these are too few.
    AllowOverflow,
    /// Use free slots of other teams too. Invite as many players as there are free slots.
    PartialWithOverflow,
    /// Use the team only. Invite as many players as it has free slots.
    PartialWithoutOverflow,
    /// Invite all players to the team, even beyond its size.
    Overfill,
}

/// An invite or a reservation, for one or more players.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Whether this is a reservation: the players need not learn of it.
    pub reserve: bool,
    /// The requested team. `None` selects the first team with free slots for all players.
    pub team_id: Option<usize>,
    /// What to do if the team has too few free slots.
    pub overflow: Overflow,
    /// Data for the entry of each player.
    pub custom_data: CustomData,
    /// The player who sends the invite, if a player does.
    pub inviting_player: Option<PlayerUuid>,
    /// The session whose players are invited together, if any.
    pub source_session: Option<SessionId>,
    /// The current time.
    pub now: Timestamp,
}

/// A player of a session that is invited as a whole, and the client that the player uses there.
pub type SourcePlayer = (PlayerUuid, Option<Client>);

impl Session {
    /// Invites one player.
    pub fn invite(&mut self, actor: Actor, player: PlayerUuid, invite: &Invite) -> Result<(), Refused> {
        self.require_right(actor, Right::Invite)?;
        if self.is_active(player) {
            return Err(Refused::AlreadyInSession);
        }
        self.invite_all(&[player], invite)?;
        Ok(())
    }

    /// Invites the players of another session and returns the players who were invited.
    ///
    /// An actor without the right to invite may do this only if the players could join without an invite: the
    /// session is open and has no password, none of them was kicked, the versions of their clients fit, and no team is
    /// overfilled.
    pub fn invite_session(
        &mut self,
        actor: Actor,
        source: &[SourcePlayer],
        invite: &Invite,
        rules: JoinRules,
    ) -> Result<Vec<PlayerUuid>, Refused> {
        if let Err(refused) = self.require_right(actor, Right::Invite) {
            let is_open = self.joinability.open && self.password.is_none();
            if !is_open || invite.overflow == Overflow::Overfill {
                return Err(refused);
            }
            for (player, client) in source {
                if self.is_active(*player) {
                    continue;
                }
                if rules.kicked_need_invite {
                    self.require_not_kicked(*player)?;
                }
                self.check_version(client.as_ref(), rules.version_check)?;
            }
        }
        let players: Vec<_> = source.iter().map(|(player, _)| *player).collect();
        self.invite_all(&players, invite)
    }

    /// Invites as many of the players as the invite allows and returns them. Active players are skipped. A new
    /// invite replaces an older one for the same player.
    fn invite_all(&mut self, players: &[PlayerUuid], invite: &Invite) -> Result<Vec<PlayerUuid>, Refused> {
        let players: Vec<_> = players.iter().copied().filter(|player| !self.is_active(*player)).collect();
        let assigned = self.assign_teams(&players, invite)?;
        for (player, team_id) in &assigned {
            self.put_invite(*player, *team_id, invite);
        }
        Ok(assigned.into_iter().map(|(player, _)| player).collect())
    }

    /// A team for each of the players, or for some of them if the invite allows that. The result has the order of
    /// `players`.
    fn assign_teams(
        &self,
        players: &[PlayerUuid],
        invite: &Invite,
    ) -> Result<Vec<(PlayerUuid, usize)>, Refused> {
        let mut free_slots: Vec<_> =
            (0..self.teams.len()).map(|team_id| self.slots_for(team_id, players)).collect();
        let is_full = free_slots.iter().all(|free| *free == 0);
        let first_for_all = free_slots.iter().position(|free| *free >= players.len());
        let wanted = invite.team_id.or(first_for_all).unwrap_or(0);
        if wanted >= self.teams.len() {
            return Err(Refused::TeamNotFound);
        }
        if invite.overflow == Overflow::Overfill {
            return Ok(players.iter().map(|player| (*player, wanted)).collect());
        }

        let uses_other_teams =
            matches!(invite.overflow, Overflow::AllowOverflow | Overflow::PartialWithOverflow);
        let mut assigned = Vec::new();
        for player in self.assignment_order(players, wanted) {
            let team_id = if free_slots[wanted] > 0 {
                Some(wanted)
            } else if uses_other_teams {
                free_slots.iter().position(|free| *free > 0)
            } else {
                None
            };
            let Some(team_id) = team_id else { break };
            free_slots[team_id] -= 1;
            assigned.push((player, team_id));
        }

        let needs_all = matches!(invite.overflow, Overflow::Fail | Overflow::AllowOverflow);
        let needed = if needs_all { players.len() } else { players.len().min(1) };
        if assigned.len() < needed {
            return Err(if is_full { Refused::SessionFull } else { Refused::TeamFull });
        }
        assigned.sort_by_key(|(player, _)| players.iter().position(|asked| asked == player));
        Ok(assigned)
    }

    /// The order in which players get a slot. Invited players come before new ones, since they have a slot already,
    /// which nobody else may get if they keep it. Among the invited, those on the wanted team come first.
    fn assignment_order(&self, players: &[PlayerUuid], wanted: usize) -> Vec<PlayerUuid> {
        let mut ordered = players.to_vec();
        ordered.sort_by_key(|player| match self.players.get(player) {
            Some(entry) if entry.team_id == wanted => 0,
            Some(_) => 1,
            None => 2,
        });
        ordered
    }

    /// The number of slots of a team that these players can use: free slots and the slots that they have already,
    /// even if the team has more players than slots.
    fn slots_for(&self, team_id: usize, players: &[PlayerUuid]) -> usize {
        let (mut held, mut taken_by_others) = (0, 0);
        for (player, entry) in &self.players {
            if entry.team_id != team_id {
                continue;
            }
            if players.contains(player) {
                held += 1;
            } else {
                taken_by_others += 1;
            }
        }
        self.teams[team_id].max_size.saturating_sub(taken_by_others).max(held)
    }

    fn put_invite(&mut self, player: PlayerUuid, team_id: usize, invite: &Invite) {
        let status = if invite.reserve { Status::Reserved } else { Status::Invited };
        let entry = self.put_entry(player, status, team_id);
        entry.custom_data.clone_from(&invite.custom_data);
        entry.invited = Some(invite.now);
        entry.match_timeout_s = None;
        entry.inviting_player = invite.inviting_player;
        entry.source_session.clone_from(&invite.source_session);
    }
}

#[cfg(test)]
#[path = "invite_tests.rs"]
mod tests;
