//! A session: who is in it, how it may be joined, what it is linked to.

pub mod invite;
pub mod join;
pub mod listing;
pub mod platform;
pub mod rights;
pub mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::listing::Listing;
use self::platform::PlatformSession;
use self::rights::Right;
use super::client::Client;
use super::ids::ShortCode;
use super::instance::Instance;
use super::password::PasswordHash;
use super::template::{Template, Visibility};
use super::{Actor, CustomData, Platform, PlayerUuid, Refused, SessionId};

/// A player's standing in a session (contract: `SessionPlayerStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SessionPlayerStatus")]
pub enum Status {
    /// Leads the session: its administrator.
    Leader,
    /// Is in the session.
    Member,
    /// Was invited and has not answered.
    Invited,
    /// Has a place kept, and may not know of it.
    Reserved,
}

impl Status {
    /// Whether the player takes part: leaders and members do.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Leader | Self::Member)
    }
}

/// Ways into a session without an invite (contract: `SessionJoinability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joinability {
    /// Everyone may join.
    pub open: bool,
    /// Friends of an active player may join.
    pub friends: bool,
    /// Players may join through a linked platform session.
    pub platform: bool,
}

/// A player's entry in a session. Every entry holds a place on its team, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    /// The player's older, numeric id, where a token named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player_id: Option<i64>,
    /// Readiness.
    pub status: Status,
    /// Index of the team.
    pub team_id: usize,
    /// The client; invited players have none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// When the player became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Timestamp>,
    /// When the player was invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited: Option<Timestamp>,
    /// Who invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inviting_player: Option<PlayerUuid>,
    /// The session that was invited as a whole, where the player came by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_session: Option<SessionId>,
    /// Rights lent by the leader.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lent_rights: BTreeSet<Right>,
    /// The player's own data.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// Numbers the entries of a session in the order they came, from 1, so that a list can be read in pages while
    /// players come and go.
    pub sequence: u64,
}

impl Player {
    /// A new entry, of which nothing else is known.
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
            lent_rights: BTreeSet::new(),
            custom_data: CustomData::new(),
            sequence,
        }
    }
}

/// A team. Its id is its index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Team {
    /// Slots: 1 to 100.
    pub max_size: usize,
    /// The product's data about the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_data: Option<CustomData>,
}

/// A session. Everything stored about it beside its deadline, which moves without changing the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The template it was made from.
    pub session_type: String,
    /// When it was made.
    pub created: Timestamp,
    /// Preferred region of its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
    /// Ways in.
    pub joinability: Joinability,
    /// The password, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// Teams by index; never empty.
    pub teams: Vec<Team>,
    /// Players by id. A change copies the session, but shares with it those whom it leaves as they are.
    pub players: BTreeMap<PlayerUuid, Arc<Player>>,
    /// The sequence number of the newest entry so far.
    pub last_sequence: u64,
    /// Platform sessions, at most one per platform. Boxed: of the eleven that the map makes room for, there are one or
    /// two.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub platform_sessions: BTreeMap<Platform, Box<PlatformSession>>,
    /// Data of the leader or the host.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// From the template: the session outlives its last active player.
    #[serde(default)]
    pub keep_alive_on_empty: bool,
    /// From the template: after how many seconds a player is taken out who has not asked for the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culling_timeout_s: Option<usize>,
    /// From the template: whom players see.
    #[serde(default)]
    pub player_visibility: Visibility,
    /// From the template: whom the leader sees.
    #[serde(default)]
    pub admin_player_visibility: Visibility,
    /// From the template: places on a team that is added later.
    pub players_per_team: usize,
    /// A short code to be found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_code: Option<ShortCode>,
    /// The listing in the browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// Where the session is played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// Set by the rule that ends the session; an ended session is removed, never stored.
    #[serde(skip)]
    pub ended: bool,
}

/// What a session is made with, beside its template.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id, fresh.
    pub id: SessionId,
    /// The template's name.
    pub session_type: String,
    /// The time.
    pub now: Timestamp,
    /// Preferred region.
    pub region_id: Option<String>,
    /// The password, if one is wanted.
    pub password: Option<PasswordHash>,
}

/// A wanted team of [`SessionChange::teams`]; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct TeamChange {
    /// Slots.
    pub max_size: Option<usize>,
    /// The product's data, replaced whole.
    pub custom_data: Option<CustomData>,
}

/// A change of a session (contract: `SessionUpdate`); what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct SessionChange {
    /// Preferred region.
    pub region_id: Option<String>,
    /// The session's data, replaced whole.
    pub custom_data: Option<CustomData>,
    /// Ways in.
    pub joinability: Option<Joinability>,
    /// The older spelling of `joinability.open`; loses where both are given.
    pub joinable: Option<bool>,
    /// The wanted teams, as many as there shall be.
    pub teams: Option<Vec<TeamChange>>,
    /// A password to join with.
    pub password: Option<PasswordHash>,
}

impl Session {
    /// An empty session of a type; its creator joins next.
    pub fn new(new: NewSession, template: &Template) -> Self {
        let team = Team { max_size: template.players_per_team, custom_data: None };
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
            platform_sessions: BTreeMap::new(),
            custom_data: CustomData::new(),
            keep_alive_on_empty: template.keep_alive_on_empty,
            // Contract: unset or 0, players are not taken out.
            culling_timeout_s: template.player_culling_timeout.filter(|timeout_s| *timeout_s > 0),
            player_visibility: template.player_visibility,
            admin_player_visibility: template.admin_player_visibility,
            players_per_team: template.players_per_team,
            short_code: None,
            listing: None,
            instance: None,
            ended: false,
        }
    }

    /// Whether the player takes part.
    pub fn is_active(&self, player: PlayerUuid) -> bool {
        self.players.get(&player).is_some_and(|entry| entry.status.is_active())
    }

    /// The leader: there is exactly one while anyone is active.
    pub fn leader(&self) -> Option<PlayerUuid> {
        let lead = self.players.iter().find(|(_, entry)| entry.status == Status::Leader);
        lead.map(|(player, _)| *player)
    }

    /// Active players, longest-standing first (ties to the lowest uuid).
    pub fn active_players(&self) -> Vec<(PlayerUuid, &Player)> {
        let active = self.players.iter().filter(|(_, entry)| entry.status.is_active());
        let mut active: Vec<_> = active.map(|(player, entry)| (*player, &**entry)).collect();
        active.sort_by_key(|(player, entry)| (entry.joined, *player));
        active
    }

    /// MembershipList taken on a team, by anyone but `except`.
    pub fn places_taken(&self, team_id: usize, except: Option<PlayerUuid>) -> usize {
        let on_team = |(player, entry): &(&PlayerUuid, &Arc<Player>)| {
            entry.team_id == team_id && Some(**player) != except
        };
        self.players.iter().filter(on_team).count()
    }

    /// Whether a team has a place for someone who is not on it; there is none on a team that does not exist.
    pub fn has_room(&self, team_id: usize) -> bool {
        self.teams.get(team_id).is_some_and(|team| self.places_taken(team_id, None) < team.max_size)
    }

    /// The team with room that comes first.
    pub fn first_team_with_room(&self) -> Option<usize> {
        (0..self.teams.len()).find(|team_id| self.has_room(*team_id))
    }

    /// Refuses an actor who does not take part.
    pub fn require_active(&self, actor: Actor) -> Result<(), Refused> {
        match actor {
            Actor::Anyone => Ok(()),
            Actor::Player(player) if self.is_active(player) => Ok(()),
            Actor::Player(_) | Actor::Nobody => Err(Refused::NotActiveInSession),
        }
    }

    /// Refuses an actor who does not lead.
    pub fn require_leader(&self, actor: Actor) -> Result<(), Refused> {
        self.require_active(actor)?;
        match actor {
            Actor::Player(player) if self.leader() != Some(player) => Err(Refused::NotSessionLeader),
            _ => Ok(()),
        }
    }

    /// Whether silence can change it: that of players, of a host, and, where `invites_expire`, of invited ones.
    pub fn can_time_out(&self, invites_expire: bool) -> bool {
        let unanswered = || self.players.values().any(|entry| !entry.status.is_active());
        let reports = || self.instance.as_ref().is_some_and(|instance| instance.health.is_some());
        !self.ended && (self.culling_timeout_s.is_some() || reports() || invites_expire && unanswered())
    }

    /// Ends the session.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Ends the session at its leader's wish.
    pub fn end_by(&mut self, actor: Actor) -> Result<(), Refused> {
        self.require_leader(actor)?;
        self.end();
        Ok(())
    }

    /// Changes what the change names and nothing else; a refusal changes nothing.
    pub fn update(&mut self, actor: Actor, change: SessionChange) -> Result<(), Refused> {
        self.require_leader(actor)?;
        let teams = change.teams.map(|wanted| self.reshaped_teams(wanted)).transpose()?;
        self.teams = teams.unwrap_or_else(|| std::mem::take(&mut self.teams));
        if let Some(joinability) = change.joinability {
            self.joinability = joinability;
        } else if let Some(open) = change.joinable {
            self.joinability.open = open;
        }
        self.region_id = change.region_id.or_else(|| self.region_id.take());
        self.password = change.password.or_else(|| self.password.take());
        self.custom_data = change.custom_data.unwrap_or_else(|| std::mem::take(&mut self.custom_data));
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

    /// The teams as wanted, unless players would lose their places.
    fn reshaped_teams(&self, wanted: Vec<TeamChange>) -> Result<Vec<Team>, Refused> {
        if self.players.values().any(|entry| entry.team_id >= wanted.len()) || wanted.is_empty() {
            return Err(Refused::TeamNotEmpty);
        }
        let wanted = wanted.into_iter().enumerate();
        wanted.map(|(team_id, change)| self.reshaped_team(team_id, change)).collect()
    }

    /// A team as wanted, unless it would shrink below who is on it. A team that is over its size already may stay so.
    fn reshaped_team(&self, team_id: usize, change: TeamChange) -> Result<Team, Refused> {
        let old = self.teams.get(team_id);
        let old_size = old.map_or(self.players_per_team, |team| team.max_size);
        let max_size = change.max_size.unwrap_or(old_size);
        if max_size < old_size && max_size < self.places_taken(team_id, None) {
            return Err(Refused::TeamTooFull);
        }
        let custom_data = change.custom_data.or_else(|| old.and_then(|team| team.custom_data.clone()));
        Ok(Team { max_size, custom_data })
    }

    /// Gives the session a short code to be found by.
    pub fn give_short_code(&mut self, actor: Actor, code: ShortCode) -> Result<(), Refused> {
        self.require_active(actor)?;
        if self.short_code.is_some() {
            return Err(Refused::ShortCodeExists);
        }
        self.short_code = Some(code);
        Ok(())
    }
}
