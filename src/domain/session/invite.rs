//! Inviting players and keeping places for them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Status;
use super::rights::Right;
use crate::domain::client::{Client, VersionCheck};
use crate::domain::{Actor, CustomData, PlayerUuid, Refused, Session, SessionId};

/// What to do where a team has no room for everyone who is invited (contract: `TeamOverflowAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TeamOverflowAction")]
pub enum Overflow {
    /// Invite nobody.
    #[default]
    Fail,
    /// Put the rest on other teams; invite nobody where those have no room either.
    AllowOverflow,
    /// Put the rest on other teams, as many as fit.
    PartialWithOverflow,
    /// Invite as many as fit on the team.
    PartialWithoutOverflow,
    /// Put everyone on the team, whatever its size.
    Overfill,
}

/// An invite, or a place kept, for one player or several.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Whether it is a place kept of which the players may not know.
    pub reserve: bool,
    /// The team asked for; without one, the first with room for all.
    pub team_id: Option<usize>,
    /// What to do where the team is too small.
    pub overflow: Overflow,
    /// Data for each player's entry.
    pub custom_data: CustomData,
    /// Who invites, where it is a player.
    pub inviting_player: Option<PlayerUuid>,
    /// The session that is invited as a whole.
    pub source_session: Option<SessionId>,
    /// The time.
    pub now: Timestamp,
}

/// A player who is invited with their session, and the client that they play with there.
pub type Guest = (PlayerUuid, Option<Client>);

impl Session {
    /// Invites one player.
    pub fn invite(&mut self, actor: Actor, player: PlayerUuid, invite: &Invite) -> Result<(), Refused> {
        self.require_right(actor, Right::Invite)?;
        if self.is_active(player) {
            return Err(Refused::AlreadyInSession);
        }
        self.invite_all(&[player], invite).map(|_| ())
    }

    /// Invites the players of another session. Where each of them could walk in, anyone may bring their own; past a
    /// closed door, a password, a version or a team's size it takes the right to invite.
    pub fn invite_session(
        &mut self,
        actor: Actor,
        party: &[Guest],
        invite: &Invite,
        version_check: VersionCheck,
    ) -> Result<Vec<PlayerUuid>, Refused> {
        if let Err(refused) = self.require_right(actor, Right::Invite) {
            let is_open = self.joinability.open && self.password.is_none();
            if !is_open || invite.overflow == Overflow::Overfill {
                return Err(refused);
            }
            for (_, client) in party.iter().filter(|(player, _)| !self.is_active(*player)) {
                self.check_version(client.as_ref(), version_check)?;
            }
        }
        let players: Vec<_> = party.iter().map(|(player, _)| *player).collect();
        self.invite_all(&players, invite)
    }

    /// Invites players as far as there is room and the invite allows; answers who was. Who takes part already is
    /// passed over; an invite given again is given anew.
    fn invite_all(&mut self, players: &[PlayerUuid], invite: &Invite) -> Result<Vec<PlayerUuid>, Refused> {
        let players: Vec<_> = players.iter().copied().filter(|player| !self.is_active(*player)).collect();
        let places = self.find_places(&players, invite)?;
        for (player, team_id) in &places {
            self.hold_place(*player, *team_id, invite);
        }
        Ok(places.into_iter().map(|(player, _)| player).collect())
    }

    /// A team for each of the players, or for as many of them as the invite is content with.
    fn find_places(
        &self,
        players: &[PlayerUuid],
        invite: &Invite,
    ) -> Result<Vec<(PlayerUuid, usize)>, Refused> {
        let mut free: Vec<usize> =
            (0..self.teams.len()).map(|team_id| self.places_for(team_id, players)).collect();
        let no_room =
            if free.iter().any(|free| *free > 0) { Refused::TeamFull } else { Refused::SessionFull };
        let first_for_all = || free.iter().position(|free| *free >= players.len());
        let wanted = invite.team_id.or_else(first_for_all).unwrap_or(0);
        if wanted >= self.teams.len() {
            return Err(Refused::TeamNotFound);
        }
        if invite.overflow == Overflow::Overfill {
            return Ok(players.iter().map(|player| (*player, wanted)).collect());
        }
        let spills = matches!(invite.overflow, Overflow::AllowOverflow | Overflow::PartialWithOverflow);
        let mut places = Vec::new();
        for player in self.in_turn(players, wanted) {
            let mut teams = std::iter::once(wanted).chain(0..if spills { free.len() } else { 0 });
            let Some(team_id) = teams.find(|team_id| free[*team_id] > 0) else { break };
            free[team_id] -= 1;
            places.push((player, team_id));
        }
        let all_or_nothing = matches!(invite.overflow, Overflow::Fail | Overflow::AllowOverflow);
        let enough = if all_or_nothing { players.len() } else { players.len().min(1) };
        if places.len() < enough {
            return Err(no_room);
        }
        // Told in the order in which they were asked for, whoever was placed first.
        places.sort_by_key(|(player, _)| players.iter().position(|asked| asked == player));
        Ok(places)
    }

    /// Who holds a place comes before who does not, so that nobody is given a place that its holder keeps; first those
    /// on the team that is wanted.
    fn in_turn(&self, players: &[PlayerUuid], wanted: usize) -> Vec<PlayerUuid> {
        let mut in_turn = players.to_vec();
        in_turn.sort_by_key(|player| {
            let held = self.players.get(player).map(|entry| entry.team_id);
            (held != Some(wanted), held.is_none())
        });
        in_turn
    }

    /// MembershipList on a team for these players. Those that they hold already are theirs to use again, also where the team
    /// is over its size.
    fn places_for(&self, team_id: usize, players: &[PlayerUuid]) -> usize {
        let on_team = self.players.iter().filter(|(_, entry)| entry.team_id == team_id);
        let (held, others): (Vec<_>, Vec<_>) = on_team.partition(|(player, _)| players.contains(player));
        self.teams[team_id].max_size.saturating_sub(others.len()).max(held.len())
    }

    fn hold_place(&mut self, player: PlayerUuid, team_id: usize, invite: &Invite) {
        let status = if invite.reserve { Status::Reserved } else { Status::Invited };
        let entry = self.place(player, status, team_id);
        entry.custom_data.clone_from(&invite.custom_data);
        entry.invited = Some(invite.now);
        entry.inviting_player = invite.inviting_player;
        entry.source_session.clone_from(&invite.source_session);
    }
}
