//! Joining a session, by whichever way in.

use jiff::Timestamp;

use super::client::{Client, VersionCheck};
use super::session::{Player, Status};
use super::{CustomData, Platform, PlayerUuid, Refused, Session};

/// Someone at the door.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// Who.
    pub player: PlayerUuid,
    /// The older, numeric id, where the token named it.
    pub player_id: Option<i64>,
    /// The client they play with.
    pub client: Client,
    /// Index of the team they ask for.
    pub team_id: usize,
    /// Their own data.
    pub custom_data: CustomData,
    /// The password they give.
    pub password: Option<String>,
    /// The friend in the session they come for.
    pub friend: Option<PlayerUuid>,
}

/// The door they come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
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
        self.check_room(creator)?;
        self.take_place(creator, now);
        Ok(())
    }

    /// Lets the joiner in, or says why not. Joining again updates the client's data and nothing else.
    pub fn join(&mut self, joiner: &Joiner, door: Door, rules: JoinRules) -> Result<(), Refused> {
        let entry = self.players.get(&joiner.player);
        if !entry.is_some_and(|entry| entry.status.is_active()) {
            if entry.is_none() {
                self.admit(joiner, door, rules)?;
            }
            self.check_crossplay(joiner)?;
            self.check_room(joiner)?;
            self.take_place(joiner, rules.now);
        }
        if let Some(entry) = self.players.get_mut(&joiner.player) {
            entry.client = Some(joiner.client.clone());
            entry.player_id = joiner.player_id.or(entry.player_id);
        }
        if let Door::Platform(platform) = door {
            self.came_through(platform, joiner.player);
        }
        Ok(())
    }

    /// The checks an invited player is spared: is there a way in, and does the joiner have the key?
    fn admit(&self, joiner: &Joiner, door: Door, rules: JoinRules) -> Result<(), Refused> {
        let by_platform = self.joinability.platform && door != Door::Session;
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
        let fits = |other: &Client| rules.version_check.admits(&joiner.client.version, &other.version);
        if !self.active_clients().all(fits) {
            return Err(Refused::VersionMismatch);
        }
        Ok(())
    }

    fn check_crossplay(&self, joiner: &Joiner) -> Result<(), Refused> {
        let fits = |other: &Client| other.agrees_to(&joiner.client) && joiner.client.agrees_to(other);
        if self.active_clients().all(fits) { Ok(()) } else { Err(Refused::CrossplayMismatch) }
    }

    fn check_room(&self, joiner: &Joiner) -> Result<(), Refused> {
        let has_room =
            |team_id: usize| self.places_taken(team_id, Some(joiner.player)) < self.teams[team_id].max_size;
        if joiner.team_id >= self.teams.len() {
            Err(Refused::TeamNotFound)
        } else if has_room(joiner.team_id) {
            Ok(())
        } else if (0..self.teams.len()).any(has_room) {
            Err(Refused::TeamFull)
        } else {
            Err(Refused::SessionFull)
        }
    }

    /// Makes the joiner active: the leader where there is none, else a member.
    fn take_place(&mut self, joiner: &Joiner, now: Timestamp) {
        let status = if self.leader().is_none() { Status::Leader } else { Status::Member };
        let before = self.players.remove(&joiner.player);
        let entry = Player {
            player_id: joiner.player_id,
            status,
            team_id: joiner.team_id,
            client: Some(joiner.client.clone()),
            joined: Some(now),
            invited: before.as_ref().and_then(|entry| entry.invited),
            inviting_player: before.as_ref().and_then(|entry| entry.inviting_player),
            custom_data: joiner.custom_data.clone(),
        };
        self.players.insert(joiner.player, entry);
    }

    fn active_clients(&self) -> impl Iterator<Item = &Client> {
        let active = self.players.values().filter(|entry| entry.status.is_active());
        active.filter_map(|entry| entry.client.as_ref())
    }

    /// Whether anyone could join without an invite right now: what create-or-join looks for.
    pub fn takes_strangers(&self) -> bool {
        let room = |(team_id, team): (usize, &super::session::Team)| {
            self.places_taken(team_id, None) < team.max_size
        };
        self.joinability.open && self.teams.iter().enumerate().any(room)
    }

    /// The first team with room, or the first team.
    pub fn roomiest_team(&self) -> usize {
        let room = |team_id: &usize| self.places_taken(*team_id, None) < self.teams[*team_id].max_size;
        (0..self.teams.len()).find(room).unwrap_or(0)
    }
}
