//! Joining a session, through any join path.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Player, Status};
use crate::domain::client::{Client, VersionCheck};
use crate::domain::matchmaking::Claims;
use crate::domain::{CustomData, Platform, PlayerUuid, Refused, Session};

/// A player who wants to join, and what the request says about the player.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// The player.
    pub player: PlayerUuid,
    /// The player's older, numeric id, if the token named it.
    pub player_id: Option<i64>,
    /// The player's client. Older join operations have no client.
    pub client: Option<Client>,
    /// Index of the requested team. `None` accepts any team with a free slot.
    pub team_id: Option<usize>,
    /// The player's own data. `None` keeps the data of an invite.
    pub custom_data: Option<CustomData>,
    /// The password that the player entered.
    pub password: Option<String>,
    /// A friend in the session, on whose account the player may join.
    pub friend: Option<PlayerUuid>,
    /// Numbers of the player's token that ranks read.
    pub claims: Claims,
}

/// The join path: how the player reached the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinPath {
    /// By the session's own id.
    Session,
    /// By the id of a linked platform session.
    Platform(Platform),
}

/// What joining depends on beside the session and the joiner.
#[derive(Clone, Copy, Debug)]
pub struct JoinRules {
    /// The current time.
    pub now: Timestamp,
    /// How far the versions of two clients must agree.
    pub version_check: VersionCheck,
    /// Whether the server trusts the friendship that a joiner claims.
    pub trust_friends: bool,
    /// Whether players who were kicked need an invite to return.
    pub kicked_need_invite: bool,
}

impl Session {
    /// Adds the creator of a new session, as its leader.
    pub fn enter_first(&mut self, creator: &Joiner, now: Timestamp) -> Result<(), Refused> {
        let team_id = self.team_for(creator)?;
        self.activate(creator, team_id, now);
        Ok(())
    }

    /// Makes the joiner an active player, or refuses. If the player is active already, only the data about the client
    /// and the platform session change.
    pub fn join(&mut self, joiner: &Joiner, path: JoinPath, rules: JoinRules) -> Result<(), Refused> {
        match self.check_join(joiner, path, rules)? {
            Some(team_id) => self.activate(joiner, team_id, rules.now),
            None => self.entry_mut(joiner.player)?.update_client(joiner),
        }
        self.note_host_of_match(joiner.player);
        if let JoinPath::Platform(platform) = path {
            self.add_participant(platform, joiner.player);
        }
        Ok(())
    }

    /// The team that the joiner gets, or the refusal. `None` if the player is active already.
    pub fn check_join(
        &self,
        joiner: &Joiner,
        path: JoinPath,
        rules: JoinRules,
    ) -> Result<Option<usize>, Refused> {
        let status = self.players.get(&joiner.player).map(|entry| entry.status);
        if status.is_some_and(Status::is_active) {
            return Ok(None);
        }
        let is_invited = status.is_some();
        if !is_invited {
            self.require_admission(joiner, path, rules)?;
        }
        self.require_crossplay(joiner)?;
        self.team_for(joiner).map(Some)
    }

    /// The checks that invited players skip: kicks, joinability, password and version, in this order.
    fn require_admission(&self, joiner: &Joiner, path: JoinPath, rules: JoinRules) -> Result<(), Refused> {
        if rules.kicked_need_invite {
            self.require_not_kicked(joiner.player)?;
        }
        let by_platform = self.joinability.platform && path != JoinPath::Session;
        let by_friend = self.joinability.friends
            && rules.trust_friends
            && joiner.friend.is_some_and(|friend| self.is_active(friend));
        if !(self.joinability.open || by_platform || by_friend) {
            return Err(Refused::SessionNotJoinable);
        }
        if let Some(password) = &self.password
            && !joiner.password.as_ref().is_some_and(|given| password.matches(given))
        {
            return Err(Refused::WrongPassword);
        }
        self.check_version(joiner.client.as_ref(), rules.version_check)
    }

    /// Refuses a client whose version does not fit the known version of every active player. A player without a
    /// client fits only if versions are not checked.
    pub(super) fn check_version(&self, client: Option<&Client>, check: VersionCheck) -> Result<(), Refused> {
        let fits = |other: &Client| match client {
            Some(client) => check.admits(&client.version, &other.version),
            None => check == VersionCheck::Off,
        };
        if self.active_clients().all(fits) { Ok(()) } else { Err(Refused::VersionMismatch) }
    }

    /// Refuses a joiner unless the joiner and every active player agree to play together. A joiner without a client
    /// fits only players who accept every platform and input.
    fn require_crossplay(&self, joiner: &Joiner) -> Result<(), Refused> {
        let fits = |other: &Client| match &joiner.client {
            Some(own) => other.agrees_to(own) && own.agrees_to(other),
            None => other.agrees_to_unknown(),
        };
        if self.active_clients().all(fits) { Ok(()) } else { Err(Refused::CrossplayMismatch) }
    }

    /// The known clients of the active players.
    fn active_clients(&self) -> impl Iterator<Item = &Client> {
        let active = self.players.values().filter(|entry| entry.status.is_active());
        active.filter_map(|entry| entry.client.as_ref())
    }

    /// The team that the joiner gets: the requested one, else the one of the invite, else the first with a free slot.
    /// Refuses if that team has no room. Whoever has a place in a match keeps it.
    fn team_for(&self, joiner: &Joiner) -> Result<usize, Refused> {
        let invited_to = self.players.get(&joiner.player).map(|entry| entry.team_id);
        let has_room = |team_id: usize| invited_to == Some(team_id) || self.has_room(team_id);
        let asked = joiner.team_id.filter(|_| self.match_made.is_none() || invited_to.is_none());
        let Some(team_id) = asked.or(invited_to).or_else(|| self.first_team_with_room()) else {
            return Err(Refused::SessionFull);
        };
        if team_id >= self.teams.len() {
            return Err(Refused::TeamNotFound);
        }
        if has_room(team_id) {
            return Ok(team_id);
        }
        let another_has_room = (0..self.teams.len()).any(has_room);
        Err(if another_has_room { Refused::TeamFull } else { Refused::SessionFull })
    }

    /// Makes the joiner active: as the leader if the session has none, else as a member.
    fn activate(&mut self, joiner: &Joiner, team_id: usize, now: Timestamp) {
        let status = if self.leader().is_none() { Status::Leader } else { Status::Member };
        self.forget_kicked(joiner.player);
        let entry = self.put_entry(joiner.player, status, team_id);
        entry.joined = Some(now);
        entry.match_timeout_s = None;
        if let Some(custom_data) = &joiner.custom_data {
            entry.custom_data.clone_from(custom_data);
        }
        entry.update_client(joiner);
        if let Some(match_made) = self.match_made.as_mut() {
            match_made.was_entered = true;
        }
    }

    /// Sets the status and team of a player and returns the entry. Creates the entry if there is none.
    pub(in crate::domain) fn put_entry(
        &mut self,
        player: PlayerUuid,
        status: Status,
        team_id: usize,
    ) -> &mut Player {
        let last_sequence = &mut self.last_sequence;
        let entry = self.players.entry(player).or_insert_with(|| {
            *last_sequence += 1;
            Arc::new(Player::new(status, team_id, *last_sequence))
        });
        let entry = Arc::make_mut(entry);
        entry.status = status;
        entry.team_id = team_id;
        entry
    }

    /// Whether a player could join without an invite now: the session is open and a team has a free slot. The
    /// create-or-join operation searches for such sessions.
    pub fn is_open_with_room(&self) -> bool {
        self.joinability.open && self.first_team_with_room().is_some()
    }
}

impl Player {
    /// Stores the client, the numeric id and the claims of a joiner. What the joiner does not give stays.
    fn update_client(&mut self, joiner: &Joiner) {
        if joiner.client.is_some() {
            self.client.clone_from(&joiner.client);
        }
        if joiner.player_id.is_some() {
            self.player_id = joiner.player_id;
        }
        if !joiner.claims.is_empty() {
            self.claims.clone_from(&joiner.claims);
        }
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
