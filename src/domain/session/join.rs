//! Joining a session, by whichever way in.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Player, Status};
use crate::domain::client::{Client, VersionCheck};
use crate::domain::{CustomData, Platform, PlayerUuid, Refused, Session};

/// Someone at the path.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// Who.
    pub player: PlayerUuid,
    /// The older, numeric id, where the token named it.
    pub player_id: Option<i64>,
    /// The client they play with; older ways to join do not name one.
    pub client: Option<Client>,
    /// Index of the team they ask for; without one, any with room will do.
    pub team_id: Option<usize>,
    /// Their own data; where absent, what an invite gave them stays.
    pub custom_data: Option<CustomData>,
    /// The password they give.
    pub password: Option<String>,
    /// The friend in the session they come for.
    pub friend: Option<PlayerUuid>,
}

/// The path they come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinPath {
    /// The session itself.
    Session,
    /// A platform session linked to it.
    Platform(Platform),
}

/// What joining depends on beside the session and the joiner.
#[derive(Clone, Copy, Debug)]
pub struct JoinRules {
    /// The time.
    pub now: Timestamp,
    /// How far versions must agree.
    pub version_check: VersionCheck,
    /// Whether a claimed friendship is believed.
    pub trust_friends: bool,
}

impl Session {
    /// The first player enters a session of their own making, as its leader.
    pub fn enter_first(&mut self, creator: &Joiner, now: Timestamp) -> Result<(), Refused> {
        let team_id = self.find_room(creator)?;
        self.take_place(creator, team_id, now);
        Ok(())
    }

    /// Lets the joiner in, or says why not. Joining again updates the client's data and nothing else.
    pub fn join(&mut self, joiner: &Joiner, path: JoinPath, rules: JoinRules) -> Result<(), Refused> {
        let entry = self.players.get(&joiner.player);
        if !entry.is_some_and(|entry| entry.status.is_active()) {
            if entry.is_none() {
                self.admit(joiner, path, rules)?;
            }
            self.check_crossplay(joiner)?;
            let team_id = self.find_room(joiner)?;
            self.take_place(joiner, team_id, rules.now);
        } else if let Ok(entry) = self.entry_mut(joiner.player) {
            entry.describe(joiner);
        }
        if let JoinPath::Platform(platform) = path {
            self.came_through(platform, joiner.player);
        }
        Ok(())
    }

    /// The checks an invited player is spared: is there a way in, and does the joiner have the key?
    fn admit(&self, joiner: &Joiner, path: JoinPath, rules: JoinRules) -> Result<(), Refused> {
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

    /// Whether a client's version fits that of every active player, as far as theirs are known. Whoever does not say
    /// theirs fits where versions do not matter.
    pub(super) fn check_version(&self, client: Option<&Client>, check: VersionCheck) -> Result<(), Refused> {
        let fits = |other: &Client| match client {
            Some(client) => check.admits(&client.version, &other.version),
            None => check == VersionCheck::Off,
        };
        if self.active_clients().all(fits) { Ok(()) } else { Err(Refused::VersionMismatch) }
    }

    /// Whether the joiner and every active player agree to play together. Whoever says nothing of their client fits
    /// those who agree to everyone.
    fn check_crossplay(&self, joiner: &Joiner) -> Result<(), Refused> {
        let fits = |other: &Client| match &joiner.client {
            Some(mine) => other.agrees_to(mine) && mine.agrees_to(other),
            None => other.agrees_to_unknown(),
        };
        if self.active_clients().all(fits) { Ok(()) } else { Err(Refused::CrossplayMismatch) }
    }

    /// The clients of the active players, as far as they are known.
    fn active_clients(&self) -> impl Iterator<Item = &Client> {
        let active = self.players.values().filter(|entry| entry.status.is_active());
        active.filter_map(|entry| entry.client.as_ref())
    }

    /// The team the joiner goes to: the one asked for, else the one that an invite keeps a place on, else any.
    fn find_room(&self, joiner: &Joiner) -> Result<usize, Refused> {
        let held = self.players.get(&joiner.player).map(|entry| entry.team_id);
        let has_room = |team_id: usize| held == Some(team_id) || self.has_room(team_id);
        match joiner.team_id.or(held).or_else(|| self.first_team_with_room()) {
            Some(team_id) if team_id >= self.teams.len() => Err(Refused::TeamNotFound),
            Some(team_id) if has_room(team_id) => Ok(team_id),
            Some(_) if (0..self.teams.len()).any(has_room) => Err(Refused::TeamFull),
            _ => Err(Refused::SessionFull),
        }
    }

    /// Makes the joiner active: the leader where there is none, else a member.
    fn take_place(&mut self, joiner: &Joiner, team_id: usize, now: Timestamp) {
        let status = if self.leader().is_none() { Status::Leader } else { Status::Member };
        let entry = self.place(joiner.player, status, team_id);
        entry.joined = Some(now);
        if let Some(custom_data) = &joiner.custom_data {
            entry.custom_data.clone_from(custom_data);
        }
        entry.describe(joiner);
    }

    /// Gives a player a place; answers their entry, a new one where they have none yet.
    pub(super) fn place(&mut self, player: PlayerUuid, status: Status, team_id: usize) -> &mut Player {
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

    /// Whether anyone could join without an invite right now: what create-or-join looks for.
    pub fn takes_strangers(&self) -> bool {
        self.joinability.open && self.first_team_with_room().is_some()
    }
}

impl Player {
    /// Takes down what a joiner says of their client; what they do not say stays.
    fn describe(&mut self, joiner: &Joiner) {
        self.client = joiner.client.clone().or_else(|| self.client.take());
        self.player_id = joiner.player_id.or(self.player_id);
    }
}
