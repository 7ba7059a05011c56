//! Changes of the roster: leaving, kicking, promoting, moving and swapping, and who leads after the leader left.

use jiff::Timestamp;

use super::Status;
use super::rights::Right;
use crate::domain::instance::Health;
use crate::domain::{Actor, CustomData, PlayerUuid, Refused, Session};

impl Session {
    /// Removes the player, who leaves or declines an invite or a reservation at `now`. The session ends with its last
    /// active player unless its template says `keep_alive_on_empty` or a service made it.
    pub fn leave(&mut self, player: PlayerUuid, now: Timestamp) -> Result<(), Refused> {
        self.remove(player)?;
        self.end_instance_of_host(&[player], now);
        Ok(())
    }

    /// Removes the player alone. Several players can leave at once; then the instance of a host ends after the last
    /// one, because only then it shows whether anybody is left.
    fn remove(&mut self, player: PlayerUuid) -> Result<(), Refused> {
        let entry = self.players.remove(&player).ok_or(Refused::PlayerNotFound)?;
        for platform_session in self.platform_sessions.values_mut() {
            platform_session.participants.retain(|other| *other != player);
        }
        if entry.status.is_active() {
            self.succeed_leader();
        } else {
            self.end_if_nobody_comes();
        }
        Ok(())
    }

    /// Kicks another player at the request of the actor at `now`, or withdraws the player's invite or reservation. The
    /// right to kick does not extend to the leader.
    pub fn kick(&mut self, actor: Actor, player: PlayerUuid, now: Timestamp) -> Result<(), Refused> {
        self.require_right(actor, Right::Kick)?;
        if actor != Actor::Anyone && self.entry(player)?.status == Status::Leader {
            return Err(Refused::LeaderNotKickable);
        }
        self.remove_kicked(player)?;
        self.end_instance_of_host(&[player], now);
        Ok(())
    }

    /// Kicks several players at the request of the leader at `now`. Returns the kicked players; players without an entry are
    /// skipped. The player who asks for it, `kicker`, stays.
    pub fn kick_all(
        &mut self,
        actor: Actor,
        kicker: Option<PlayerUuid>,
        players: &[PlayerUuid],
        now: Timestamp,
    ) -> Result<Vec<PlayerUuid>, Refused> {
        self.require_leader(actor)?;
        let is_kicked = |player: &PlayerUuid| self.players.contains_key(player) && Some(*player) != kicker;
        let kicked: Vec<_> = players.iter().copied().filter(is_kicked).collect();
        for player in &kicked {
            self.remove_kicked(*player)?;
        }
        self.end_instance_of_host(&kicked, now);
        Ok(kicked)
    }

    /// Removes a player and, if the player was active, remembers the kick. Withdrawing an invite is no kick, but does
    /// not undo an earlier one either.
    fn remove_kicked(&mut self, player: PlayerUuid) -> Result<(), Refused> {
        let was_active = self.is_active(player);
        self.remove(player)?;
        if was_active {
            self.note_kicked(player);
        }
        Ok(())
    }

    /// Makes an active player the leader. The old leader becomes a member.
    pub fn promote(&mut self, actor: Actor, player: PlayerUuid) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.active_entry(player)?;
        if let Some(leader) = self.leader() {
            self.entry_mut(leader)?.status = Status::Member;
        }
        self.entry_mut(player)?.status = Status::Leader;
        Ok(())
    }

    /// Moves a player to another team. Players may move themselves if the template says `can_change_own_team`;
    /// every other move needs the right to move. `None` for the team keeps the current one.
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

    /// Swaps the teams of two active players. Neither of them may be the leader.
    pub fn swap(&mut self, actor: Actor, one: PlayerUuid, other: PlayerUuid) -> Result<(), Refused> {
        self.require_leader(actor)?;
        let team_of_one = self.active_entry(one)?.team_id;
        let team_of_other = self.active_entry(other)?.team_id;
        if self.leader().is_some_and(|leader| [one, other].contains(&leader)) {
            return Err(Refused::LeaderNotSwappable);
        }
        if team_of_one == team_of_other {
            return Err(Refused::SameTeam);
        }
        self.entry_mut(one)?.team_id = team_of_other;
        self.entry_mut(other)?.team_id = team_of_one;
        Ok(())
    }

    /// Replaces the data of a player. Players may change their own data, the leader that of every player.
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

    /// Applies timeouts at `now`: removes inactive players and expired invites, and stores the health of an instance.
    ///
    /// Skips players whose status has changed in the meantime and an instance that was replaced. Returns for each
    /// removed player whether the player was active.
    pub fn expire_inactive(
        &mut self,
        inactive: &[PlayerUuid],
        expired_invites: &[PlayerUuid],
        health: Option<&(String, Health)>,
        now: Timestamp,
    ) -> Vec<bool> {
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for (players, was_active) in [(inactive, true), (expired_invites, false)] {
            for player in players {
                let entry = self.players.get(player);
                let is_due = entry.is_some_and(|entry| entry.status.is_active() == was_active);
                if is_due && self.remove(*player).is_ok() {
                    removed.push(was_active);
                    left.push(*player);
                }
            }
        }
        self.end_instance_of_host(&left, now);
        if let Some((instance_id, health)) = health {
            // Fails if the instance was replaced; the new one has no health yet.
            let _ = self.set_health(instance_id, *health);
        }
        removed
    }

    /// Makes the active player who joined first the leader if there is no leader. Ends the session if nobody is
    /// active, unless the template says `keep_alive_on_empty` or a service made it: its host may wait for other
    /// players.
    fn succeed_leader(&mut self) {
        if self.leader().is_some() {
            return;
        }
        let next = self.active_players().first().map(|(player, _)| *player);
        match next {
            Some(player) => {
                if let Ok(entry) = self.entry_mut(player) {
                    entry.status = Status::Leader;
                }
            }
            None if self.keep_alive_on_empty || self.made_by_service => {}
            None => self.end(),
        }
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
