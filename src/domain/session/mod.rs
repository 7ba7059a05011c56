//! A session: its players, teams, joinability and links.

pub mod backfill;
pub mod filling;
pub mod invite;
pub mod join;
pub mod kicked;
pub mod listing;
pub mod match_made;
pub mod platform;
pub mod queue;
pub mod rights;
pub mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::backfill::Backfill;
use self::listing::Listing;
use self::match_made::MatchMade;
use self::platform::PlatformSession;
use self::rights::Right;
use super::client::Client;
use super::ids::ShortCode;
use super::instance::Instance;
use super::matchmaking::Claims;
use super::matchmaking::ticket::{Ticket, TicketEnd};
use super::password::PasswordHash;
use super::template::{Template, Visibility};
use super::{Actor, CustomData, Platform, PlayerUuid, Refused, SessionId};

/// A player's status in a session (contract: `SessionPlayerStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SessionPlayerStatus")]
pub enum Status {
    /// Active, and the administrator of the session.
    Leader,
    /// Active.
    Member,
    /// Invited, and has not answered yet.
    Invited,
    /// Has a reserved slot. The template decides whether the player can see it (`notify_on_reservation`).
    Reserved,
}

impl Status {
    /// Whether the player is active: leaders and members are.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Leader | Self::Member)
    }
}

/// Who may join without an invite (contract: `SessionJoinability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joinability {
    /// Everyone may join.
    pub open: bool,
    /// Friends of an active player may join.
    pub friends: bool,
    /// Players may join through a linked platform session.
    pub platform: bool,
}

/// A player's entry in a session. Every entry takes one slot of its team, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    /// The player's older, numeric id, if a token named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player_id: Option<i64>,
    /// The player's status.
    pub status: Status,
    /// Index of the team.
    pub team_id: usize,
    /// The client that the player joined with. Invited players have none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// When the player became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Timestamp>,
    /// When the player was invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited: Option<Timestamp>,
    /// The player who sent the invite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inviting_player: Option<PlayerUuid>,
    /// The session whose players were invited together, if the player was invited that way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_session: Option<SessionId>,
    /// For a place that a match gave: after how many seconds its invite ends; 0: as every invite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_timeout_s: Option<u32>,
    /// Rights that the leader gave to the player.
    // Stored sessions have the field's first name.
    #[serde(rename = "lent_rights", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub given_rights: BTreeSet<Right>,
    /// The player's own data.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// Numbers of the player's token that ranks read.
    #[serde(default, skip_serializing_if = "Claims::is_empty")]
    pub claims: Claims,
    /// The number of the entry in the session, in order of creation, from 1. Paged lists are ordered by it, so that
    /// players who join or leave between two pages do not shift the others.
    pub sequence: u64,
}

impl Player {
    /// A new entry without any other data.
    pub(super) fn new(status: Status, team_id: usize, sequence: u64) -> Self {
        Self {
            player_id: None,
            status,
            team_id,
            client: None,
            joined: None,
            invited: None,
            inviting_player: None,
            source_session: None,
            match_timeout_s: None,
            given_rights: BTreeSet::new(),
            custom_data: CustomData::new(),
            claims: Claims::new(),
            sequence,
        }
    }
}

/// A team. Its id is its index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Team {
    /// Number of slots: 1 to 100 (contract: `max_size`).
    pub max_size: usize,
    /// The product's data about the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_data: Option<CustomData>,
    /// Ids of the tickets that a match put on the team.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ticket_ids: Vec<String>,
}

/// A session: everything stored about it except its deadline, which moves without a change of the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The name of the template that the session was created from.
    pub session_type: String,
    /// When the session was created.
    pub created: Timestamp,
    /// The preferred region of its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
    /// Who may join without an invite.
    pub joinability: Joinability,
    /// The hash of the password that players need to join, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// Teams by index; never empty.
    pub teams: Vec<Team>,
    /// Players by id. The entries are shared: a change copies the session, but only the entries that it changes.
    pub players: BTreeMap<PlayerUuid, Arc<Player>>,
    /// The highest sequence number given to an entry so far.
    pub last_sequence: u64,
    /// Players who were kicked and have not returned by an invite, the latest last: at most
    /// [`KICKED_MAX`](kicked::KICKED_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kicked: Vec<PlayerUuid>,
    /// Platform sessions, at most one per platform. They are boxed because a map node has room for eleven values, and
    /// a session has one or two.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub platform_sessions: BTreeMap<Platform, Box<PlatformSession>>,
    /// The product's data, set by the leader or the host.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// From the template: whether the session stays when its last active player leaves.
    #[serde(default)]
    pub keep_alive_on_empty: bool,
    /// Whether a service made the session, without a player. It ends with its instance, not with its last player.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_by_service: bool,
    /// From the template: seconds without a heartbeat after which a player is removed; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culling_timeout_s: Option<usize>,
    /// From the template: which players' entries a player sees.
    #[serde(default)]
    pub player_visibility: Visibility,
    /// From the template: which players' entries the leader sees.
    #[serde(default)]
    pub admin_player_visibility: Visibility,
    /// From the template: slots of a team that is added later.
    pub players_per_team: usize,
    /// The short code that players can find the session by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_code: Option<ShortCode>,
    /// The listing in the browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// The instance on which the session is played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// The ticket of the session, while it is in a matchmaking queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matchmaking: Option<Arc<Ticket>>,
    /// The match that the session was made for, if matchmaking made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_made: Option<Box<MatchMade>>,
    /// The backfill of a match, while it may want players.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Arc<Backfill>>,
    /// The time of the latest audit events of a change, in milliseconds since the epoch. Those of the next change are later,
    /// whatever the clock of its node says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_ms: Option<i64>,
    /// Why a rule ended the ticket. [`Self::settle_ticket`] takes it, so it is never stored.
    #[serde(skip)]
    pub ticket_end: Option<TicketEnd>,
    /// Whether a rule ended the session. An ended session is removed and never stored.
    #[serde(skip)]
    pub ended: bool,
}

/// What a session is created from, beside its template.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id, which no other session has.
    pub id: SessionId,
    /// The name of the template.
    pub session_type: String,
    /// The current time.
    pub now: Timestamp,
    /// The preferred region of the host.
    pub region_id: Option<String>,
    /// The hash of the password, if the creator set one.
    pub password: Option<PasswordHash>,
}

/// A change of a team. `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub struct TeamChange {
    /// Number of slots.
    pub max_size: Option<usize>,
    /// The product's data. It replaces all of the old data.
    pub custom_data: Option<CustomData>,
}

/// A change of a session (contract: `SessionUpdate`). `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub struct SessionChange {
    /// The preferred region of the host.
    pub region_id: Option<String>,
    /// The session's data. It replaces all of the old data.
    pub custom_data: Option<CustomData>,
    /// Who may join without an invite.
    pub joinability: Option<Joinability>,
    /// The older form of `joinability.open`. Ignored if `joinability` is given.
    pub joinable: Option<bool>,
    /// All teams, by index. Teams beyond the end of the list are removed, missing teams are added.
    pub teams: Option<Vec<TeamChange>>,
    /// The hash of a new password.
    pub password: Option<PasswordHash>,
}

impl Session {
    /// A session without players. A player who creates it joins with [`Self::enter_first`].
    pub fn new(new: NewSession, template: &Template) -> Self {
        let team = Team { max_size: template.players_per_team, custom_data: None, ticket_ids: Vec::new() };
        Self {
            id: new.id,
            session_type: new.session_type,
            created: new.now,
            region_id: new.region_id,
            joinability: Joinability { open: template.default_public, friends: false, platform: true },
            password: new.password,
            teams: vec![team; template.num_teams],
            players: BTreeMap::new(),
            last_sequence: 0,
            kicked: Vec::new(),
            platform_sessions: BTreeMap::new(),
            custom_data: CustomData::new(),
            keep_alive_on_empty: template.keep_alive_on_empty,
            made_by_service: false,
            // Contract, `player_culling_timeout`: players are never removed if it is absent or 0.
            culling_timeout_s: template.player_culling_timeout.filter(|timeout_s| *timeout_s > 0),
            player_visibility: template.player_visibility,
            admin_player_visibility: template.admin_player_visibility,
            players_per_team: template.players_per_team,
            short_code: None,
            listing: None,
            instance: None,
            matchmaking: None,
            match_made: None,
            backfill: None,
            last_event_ms: None,
            ticket_end: None,
            ended: false,
        }
    }

    /// Whether the player is active in the session.
    pub fn is_active(&self, player: PlayerUuid) -> bool {
        self.players.get(&player).is_some_and(|entry| entry.status.is_active())
    }

    /// The leader. A session with active players has exactly one.
    pub fn leader(&self) -> Option<PlayerUuid> {
        let leader = self.players.iter().find(|(_, entry)| entry.status == Status::Leader);
        leader.map(|(player, _)| *player)
    }

    /// Active players in the order in which they joined. Players who joined at the same time are ordered by uuid.
    pub fn active_players(&self) -> Vec<(PlayerUuid, &Player)> {
        let active = self.players.iter().filter(|(_, entry)| entry.status.is_active());
        let mut active: Vec<_> = active.map(|(player, entry)| (*player, &**entry)).collect();
        active.sort_by_key(|(player, entry)| (entry.joined, *player));
        active
    }

    /// The number of slots of a team that are taken.
    pub fn slots_taken(&self, team_id: usize) -> usize {
        self.players.values().filter(|entry| entry.team_id == team_id).count()
    }

    /// Whether a team has a free slot. A team that does not exist has none.
    pub fn has_room(&self, team_id: usize) -> bool {
        self.teams.get(team_id).is_some_and(|team| self.slots_taken(team_id) < team.max_size)
    }

    /// The number of free slots of all teams.
    pub fn free_slots(&self) -> usize {
        let teams = self.teams.iter().enumerate();
        teams.map(|(team_id, team)| team.max_size.saturating_sub(self.slots_taken(team_id))).sum()
    }

    /// The first team, by index, that has a free slot.
    pub fn first_team_with_room(&self) -> Option<usize> {
        (0..self.teams.len()).find(|team_id| self.has_room(*team_id))
    }

    /// Refuses an actor who is not active in the session.
    pub fn require_active(&self, actor: Actor) -> Result<(), Refused> {
        match actor {
            Actor::Anyone => Ok(()),
            Actor::Player(player) if self.is_active(player) => Ok(()),
            Actor::Player(_) | Actor::Nobody => Err(Refused::NotActiveInSession),
        }
    }

    /// Refuses an actor who does not lead the session.
    pub fn require_leader(&self, actor: Actor) -> Result<(), Refused> {
        self.require_active(actor)?;
        match actor {
            Actor::Player(player) if self.leader() != Some(player) => Err(Refused::NotSessionLeader),
            _ => Ok(()),
        }
    }

    /// Whether a timeout can change the session: inactive players, missing health reports of its instance, the ticket
    /// in a queue, a host that does not confirm its backfill, or, if `invites_expire`, unanswered invites.
    pub fn can_time_out(&self, invites_expire: bool) -> bool {
        if self.ended {
            return false;
        }
        let players_time_out = self.culling_timeout_s.is_some();
        let health_times_out = self.instance.as_ref().is_some_and(|instance| instance.health.is_some());
        if players_time_out || health_times_out || self.matchmaking.is_some() || self.backfill.is_some() {
            return true;
        }
        let expires =
            |entry: &Player| invites_expire || entry.match_timeout_s.is_some_and(|after_s| after_s > 0);
        self.players.values().any(|entry| !entry.status.is_active() && expires(entry))
    }

    /// Ends the session.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Ends the session at the request of its leader.
    pub fn end_by(&mut self, actor: Actor) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.end();
        Ok(())
    }

    /// Changes the values that the change contains. A refusal changes nothing.
    pub fn update(&mut self, actor: Actor, change: SessionChange) -> Result<(), Refused> {
        self.require_leader(actor)?;
        // The only step that can refuse comes first.
        if let Some(wanted) = change.teams {
            self.teams = self.reshaped_teams(wanted)?;
        }
        if let Some(joinability) = change.joinability {
            self.joinability = joinability;
        } else if let Some(open) = change.joinable {
            self.joinability.open = open;
        }
        if change.region_id.is_some() {
            self.region_id = change.region_id;
        }
        if change.password.is_some() {
            self.password = change.password;
        }
        if let Some(custom_data) = change.custom_data {
            self.custom_data = custom_data;
        }
        Ok(())
    }

    /// Changes one team.
    pub fn update_team(&mut self, actor: Actor, team_id: usize, change: TeamChange) -> Result<(), Refused> {
        self.require_leader(actor)?;
        if team_id >= self.teams.len() {
            return Err(Refused::TeamNotFound);
        }
        self.teams[team_id] = self.reshaped_team(team_id, change)?;
        Ok(())
    }

    /// The teams after a change of all of them. Refuses to remove the last team or a team with players on it.
    fn reshaped_teams(&self, wanted: Vec<TeamChange>) -> Result<Vec<Team>, Refused> {
        let loses_players = self.players.values().any(|entry| entry.team_id >= wanted.len());
        if wanted.is_empty() || loses_players {
            return Err(Refused::TeamNotEmpty);
        }
        let wanted = wanted.into_iter().enumerate();
        wanted.map(|(team_id, change)| self.reshaped_team(team_id, change)).collect()
    }

    /// A team after a change; a new team if the session has no team with this index. Refuses to shrink a team below
    /// the number of its players. A team that has more players than slots already may keep its size or grow.
    fn reshaped_team(&self, team_id: usize, change: TeamChange) -> Result<Team, Refused> {
        let old = self.teams.get(team_id);
        let old_size = old.map_or(self.players_per_team, |team| team.max_size);
        let max_size = change.max_size.unwrap_or(old_size);
        if max_size < old_size && max_size < self.slots_taken(team_id) {
            return Err(Refused::TeamTooFull);
        }
        let custom_data = change.custom_data.or_else(|| old.and_then(|team| team.custom_data.clone()));
        let ticket_ids = old.map(|team| team.ticket_ids.clone()).unwrap_or_default();
        Ok(Team { max_size, custom_data, ticket_ids })
    }

    /// Gives the session a short code. A session has at most one.
    pub fn give_short_code(&mut self, actor: Actor, code: ShortCode) -> Result<(), Refused> {
        self.require_active(actor)?;
        if self.short_code.is_some() {
            return Err(Refused::ShortCodeExists);
        }
        self.short_code = Some(code);
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
