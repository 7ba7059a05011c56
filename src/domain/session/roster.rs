//! Who is in a session and where: leaving, kicking, promoting, moving, swapping, and who leads when a leader goes.

use super::Status;
use super::rights::Right;
use crate::domain::instance::Health;
use crate::domain::{Actor, CustomData, PlayerUuid, Refused, Session};

impl Session {
    /// Takes the player out: leaving, or declining an invite or a reservation. The session ends with its last
    /// active player, unless its template keeps it alive.
    pub fn leave(&mut self, player: PlayerUuid) -> Result<(), Refused> {
        let entry = self.players.remove(&player).ok_or(Refused::PlayerNotFound)?;
        for platform_session in self.platform_sessions.values_mut() {
            platform_session.participants.retain(|other| *other != player);
        }
        self.lose_host(player);
        if entry.status.is_active() {
            self.succeed_leader();
        }
        Ok(())
    }

    /// Takes a player out at someone's wish, or takes an invite or a reservation back; one's own wish is leaving.
    /// A right that was lent does not reach its lender.
    pub fn kick(&mut self, actor: Actor, player: PlayerUuid) -> Result<(), Refused> {
        if actor != Actor::Player(player) {
            self.require_right(actor, Right::Kick)?;
            if actor != Actor::Anyone && self.entry(player)?.status == Status::Leader {
                return Err(Refused::LeaderNotKickable);
            }
        }
        self.leave(player)
    }

    /// Takes several players out at the leader's wish; answers who was there to be taken.
    pub fn kick_all(&mut self, actor: Actor, players: &[PlayerUuid]) -> Result<Vec<PlayerUuid>, Refused> {
        self.require_leader(actor)?;
        let here = |player: &PlayerUuid| self.players.contains_key(player);
        let gone: Vec<_> = players.iter().copied().filter(here).collect();
        for player in &gone {
            self.leave(*player)?;
        }
        Ok(gone)
    }

    /// Makes an active player the leader; the old one becomes a member.
    pub fn promote(&mut self, actor: Actor, player: PlayerUuid) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.active_entry(player)?;
        if let Some(leader) = self.leader() {
            self.entry_mut(leader)?.status = Status::Member;
        }
        self.entry_mut(player)?.status = Status::Leader;
        Ok(())
    }

    /// Puts a player on another team: themselves where the template lets players choose, others with the right.
    /// Without a team the player stays.
    pub fn move_to(
        &mut self,
        actor: Actor,
        player: PlayerUuid,
        team_id: Option<usize>,
        can_change_own_team: bool,
    ) -> Result<(), Refused> {
        self.require_active(actor)?;
        if !(can_change_own_team && actor == Actor::Player(player)) {
            self.require_right(actor, Right::Move)?;
        }
        let current = self.entry(player)?.team_id;
        let team_id = team_id.unwrap_or(current);
        if team_id >= self.teams.len() {
            return Err(Refused::TeamNotFound);
        }
        if team_id != current && !self.has_room(team_id) {
            return Err(Refused::TeamFull);
        }
        self.entry_mut(player)?.team_id = team_id;
        Ok(())
    }

    /// Swaps the teams of two active players, neither of them the leader.
    pub fn swap(&mut self, actor: Actor, one: PlayerUuid, other: PlayerUuid) -> Result<(), Refused> {
        self.require_leader(actor)?;
        let (first, second) = (self.active_entry(one)?.team_id, self.active_entry(other)?.team_id);
        if self.leader().is_some_and(|leader| [one, other].contains(&leader)) {
            return Err(Refused::LeaderNotSwappable);
        }
        if first == second {
            return Err(Refused::SameTeam);
        }
        self.active_entry(one)?.team_id = second;
        self.active_entry(other)?.team_id = first;
        Ok(())
    }

    /// Replaces the data of a player: one's own, or anyone's for the leader.
    pub fn update_player(
        &mut self,
        actor: Actor,
        player: PlayerUuid,
        custom_data: CustomData,
    ) -> Result<(), Refused> {
        if actor != Actor::Player(player) {
            self.require_leader(actor)?;
        }
        self.entry_mut(player)?.custom_data = custom_data;
        Ok(())
    }

    /// Does what silence has come to: takes out players who are inactive still, invites that wait still, and notes an
    /// instance's health. Answers for each who went whether they took part.
    pub fn expire_inactive(
        &mut self,
        inactive: &[PlayerUuid],
        expired_invites: &[PlayerUuid],
        health: Option<&(String, Health)>,
    ) -> Vec<bool> {
        let inactive = inactive.iter().map(|player| (*player, true));
        let silent = inactive.chain(expired_invites.iter().map(|player| (*player, false)));
        let still = |(player, active): &(PlayerUuid, bool)| {
            self.players.get(player).is_some_and(|entry| entry.status.is_active() == *active)
        };
        let gone: Vec<_> = silent.filter(still).collect();
        for (player, _) in &gone {
            // Who is not there any more need not leave.
            let _ = self.leave(*player);
        }
        if let Some((instance_id, health)) = health {
            // An instance that was replaced meanwhile has no health to note.
            let _ = self.set_health(instance_id, *health);
        }
        gone.into_iter().map(|(_, active)| active).collect()
    }

    /// The longest-standing active player leads where nobody does; where nobody is active, the session ends.
    fn succeed_leader(&mut self) {
        if self.leader().is_some() {
            return;
        }
        let next = self.active_players().first().map(|(player, _)| *player);
        if let Some(Ok(entry)) = next.map(|player| self.entry_mut(player)) {
            entry.status = Status::Leader;
        } else if !self.keep_alive_on_empty {
            self.end();
        }
    }
}
