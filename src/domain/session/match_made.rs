//! Sessions of matches: made from the tickets of parties, whose players get their places in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{NewSession, Status, Team};
use crate::domain::instance::{HostType, Instance, JoinStatus};
use crate::domain::matchmaking::profile::{InviteTime, JoinMode};
use crate::domain::matchmaking::ticket::{JoinParams, Ticket};
use crate::domain::matchmaking::{Matchmaking, Profile};
use crate::domain::template::Template;
use crate::domain::{CustomData, PlayerUuid, Session, SessionId};

/// What a session keeps of the match that it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchMade {
    /// The match. It never changes.
    pub results: Arc<MatchResults>,
    /// Whether reserved places become invites when the instance can be joined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invites_when_joinable: bool,
    /// If a player hosts the instance: who may host it, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<PlayerUuid>,
    /// Whether somebody was active in the session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_entered: bool,
}

/// A match (contract: `MatchmakingResults`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchResults {
    /// Its id: 1 to 128 characters. No other session has it.
    pub match_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Data of the matcher.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// What the matcher says of how good it is.
    #[serde(default)]
    pub scores: MatchScores,
    /// When a matcher of the studio has asked for it, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Timestamp>,
    /// The profile that it was made by, as it was then.
    pub profile: MatchedProfile,
    /// The tickets that it was made of, the longest wait first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<MatchedTicket>,
}

/// What is known of how good a match is: by its matcher, or of a match of the server, how far its tickets are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchScores {
    /// How it compares with other matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_score: Option<f64>,
    /// How well its players fit by their ranks. For a match of the server: 0 if all are equal, 1 at the widest limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank_quality: Option<f64>,
}

/// What a match shows of its profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of `Profile`")]
pub struct MatchedProfile {
    pub id: String,
    pub join_mode: JoinMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_request_template_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank_id: Option<Uuid>,
    pub num_sides: usize,
    pub max_players_per_side: usize,
    pub min_players_per_side: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_config: Option<BTreeMap<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deserter_id: Option<Uuid>,
    pub session_template_id: Uuid,
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// A ticket that a match was made of (contract: `TicketData`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchedTicket {
    /// Its id.
    pub id: Uuid,
    /// The session that was queued.
    pub session_id: SessionId,
    /// Its players: the leader first.
    pub players: Vec<PlayerUuid>,
    /// When the party joined its queues.
    pub enqueued: Timestamp,
    /// The region of the party, or else that of the match.
    pub region_id: String,
    /// Its queues.
    pub queue_ids: Vec<String>,
    /// Its profiles.
    pub profile_ids: Vec<String>,
    /// What the party asked for.
    #[serde(default)]
    pub params: JoinParams,
    /// The skill of the party in each rank of its profiles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skills: BTreeMap<Uuid, f64>,
    /// How long it has waited, in seconds.
    pub wait_s: u64,
}

/// A match that becomes a session.
#[derive(Clone, Debug)]
pub struct NewMatch<'a> {
    /// The session. It has no password.
    pub session: NewSession,
    /// The id of the match.
    pub match_id: String,
    /// Data of the matcher.
    pub custom_data: CustomData,
    /// What the matcher says of how good the match is.
    pub scores: MatchScores,
    /// When a matcher of the studio has asked for it.
    pub requested: Option<Timestamp>,
    /// The id of the profile.
    pub profile_id: &'a str,
    /// The profile.
    pub profile: &'a Profile,
    /// The template of the type that the profile names.
    pub template: &'a Template,
    /// The teams, by index. At least one.
    pub teams: Vec<MatchTeam>,
    /// The tickets, the longest wait first.
    pub tickets: Vec<MatchedTicket>,
    /// The instance, still without the player who hosts it.
    pub instance: Option<Instance>,
    /// The player who hosts it, if a player does; `None`: the leader of the ticket that has waited longest.
    pub host_player: Option<PlayerUuid>,
}

/// A team of a match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatchTeam {
    /// Number of slots.
    pub max_size: usize,
    /// Ids of its tickets.
    pub ticket_ids: Vec<String>,
    /// The product's data about the team.
    pub custom_data: Option<CustomData>,
    /// Its players.
    pub players: Vec<MatchPlayer>,
}

/// A player of a match.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchPlayer {
    /// The player.
    pub player: PlayerUuid,
    /// Whether the place is reserved, and the player not told yet.
    pub reserve: bool,
    /// The product's data about the player.
    pub custom_data: CustomData,
    /// The session of the player's party.
    pub source_session: Option<SessionId>,
}

impl MatchedProfile {
    /// What a match shows of a profile.
    pub fn of(id: &str, profile: &Profile) -> Self {
        Self {
            id: id.to_owned(),
            join_mode: profile.join_mode,
            instance_request_template_id: profile.instance_request_template_id,
            rank_id: profile.rank_id,
            num_sides: profile.num_sides,
            max_players_per_side: profile.max_players_per_side,
            min_players_per_side: profile.min_players_per_side,
            legacy_config: profile.legacy_config.clone(),
            deserter_id: profile.deserter_id,
            session_template_id: profile.session_template_id(),
            custom_data: profile.custom_data.clone(),
        }
    }
}

impl MatchedTicket {
    /// The ticket of a party, for a match that is made now. `added`: when it became part of the match, if that was
    /// earlier. `region_id` is that of the match.
    pub fn of(
        party: &Session,
        ticket: &Ticket,
        (added, now): (Option<Timestamp>, Timestamp),
        region_id: &str,
        matchmaking: &Matchmaking,
    ) -> Self {
        let rank = |id: &String| matchmaking.profiles.get(id)?.rank_id;
        let skills = ticket.skills.iter().filter_map(|(id, skill)| Some((rank(id)?, *skill)));
        Self {
            id: ticket.id,
            session_id: party.id.clone(),
            players: party.players_of_ticket(ticket),
            enqueued: ticket.enqueued,
            region_id: party.region_id.clone().unwrap_or_else(|| region_id.to_owned()),
            queue_ids: ticket.queue_ids.clone(),
            profile_ids: ticket.profile_ids.clone(),
            params: ticket.params.clone(),
            skills: skills.collect(),
            wait_s: waited_s(added.unwrap_or(ticket.enqueued), now),
        }
    }
}

impl Session {
    /// The session of a match, with its players invited or their places reserved. A player who hosts the instance is
    /// invited in any case: it can be joined only once that player has come. Nobody is active, so the first one who joins
    /// leads the session.
    pub fn of_match(new: NewMatch<'_>) -> Self {
        let NewMatch { session, match_id, profile, tickets, mut instance, .. } = new;
        let now = session.now;
        let mut hosts = Vec::new();
        if let Some(instance) = instance.as_mut() {
            instance.match_id = Some(match_id.clone());
            instance.match_making_profile_id = Some(new.profile_id.to_owned());
            if matches!(instance.host_type, HostType::Player | HostType::Standalone) {
                hosts = hosts_of(new.host_player, &tickets, &new.teams);
                instance.host_player = hosts.first().copied();
            }
        }
        let results = MatchResults {
            match_id,
            created: now,
            custom_data: new.custom_data,
            scores: new.scores,
            requested: new.requested,
            profile: MatchedProfile::of(new.profile_id, profile),
            tickets,
        };
        let mut made = Self::new(session, new.template);
        made.instance = instance;
        made.match_made = Some(Box::new(MatchMade {
            results: Arc::new(results),
            invites_when_joinable: profile.invite == InviteTime::WhenJoinable,
            hosts,
            was_entered: false,
        }));
        made.teams = new.teams.iter().map(team).collect();
        let host = made.instance.as_ref().and_then(|instance| instance.host_player);
        for (team_id, team) in new.teams.into_iter().enumerate() {
            for player in team.players {
                let reserve = player.reserve && host != Some(player.player);
                let place = MatchPlayer { reserve, ..player };
                made.give_place(team_id, place, profile.accept_timeout_s, now);
            }
        }
        made
    }

    /// Gives a player a place in a match. `timeout_s`: after how many seconds the invite ends; 0: as every invite.
    pub fn give_place(&mut self, team_id: usize, player: MatchPlayer, timeout_s: u32, now: Timestamp) {
        let status = if player.reserve { Status::Reserved } else { Status::Invited };
        let entry = self.put_entry(player.player, status, team_id);
        entry.custom_data = player.custom_data;
        entry.invited = Some(now);
        entry.inviting_player = None;
        entry.source_session = player.source_session;
        entry.match_timeout_s = Some(timeout_s);
    }

    /// Whether the session was made for this match.
    pub fn is_of_match(&self, match_id: &str) -> bool {
        self.match_made.as_ref().is_some_and(|match_made| match_made.results.match_id == match_id)
    }

    /// The players of a ticket: the leader of the party first, then by the time at which they joined.
    pub fn players_of_ticket(&self, ticket: &Ticket) -> Vec<PlayerUuid> {
        let mut players = ticket.players.clone();
        let joined = |player: &PlayerUuid| self.players.get(player).and_then(|entry| entry.joined);
        players.sort_by_key(|player| (self.leader() != Some(*player), joined(player), *player));
        players
    }

    /// Whether a place waits until the instance of the match can be joined. Until then it does not time out.
    pub fn waits_for_instance(&self, entry: &super::Player) -> bool {
        entry.status == Status::Reserved
            && entry.match_timeout_s.is_some()
            && self.match_made.as_ref().is_some_and(|match_made| match_made.invites_when_joinable)
    }

    /// Invites the players whose places wait for the instance of the match.
    pub(in crate::domain) fn invite_reserved(&mut self, now: Timestamp) {
        let waits = |session: &Self| {
            let waiting = session.players.iter().filter(|(_, entry)| session.waits_for_instance(entry));
            waiting.map(|(player, _)| *player).collect::<Vec<_>>()
        };
        for player in waits(self) {
            self.invite_reserved_player(player, now);
        }
    }

    /// Invites a player whose place is reserved, at `now`.
    fn invite_reserved_player(&mut self, player: PlayerUuid, now: Timestamp) {
        if let Ok(entry) = self.entry_mut(player)
            && entry.status == Status::Reserved
        {
            entry.status = Status::Invited;
            entry.invited = Some(now);
        }
    }

    /// Notes the numeric id of a player who has become active, if the player hosts the instance of a match.
    pub(super) fn note_host_of_match(&mut self, player: PlayerUuid) {
        let player_id = self.players.get(&player).and_then(|entry| entry.player_id);
        if self.match_made.is_some()
            && let Some(instance) = self.instance.as_mut()
            && instance.host_player == Some(player)
        {
            instance.host_player_id = player_id;
        }
    }

    /// Makes the next player of a match the host of its instance, while nobody could join it. If the place of that player
    /// is reserved, the player is invited at `now`. Returns whether there is one.
    pub(in crate::domain) fn pass_host_on(&mut self, now: Timestamp) -> bool {
        let Some(instance) = self.instance.as_mut() else { return false };
        let is_starting = matches!(
            instance.join_status,
            JoinStatus::Requested | JoinStatus::Allocated | JoinStatus::Pending
        );
        let mut hosts = self.match_made.iter().flat_map(|match_made| &match_made.hosts);
        let next = hosts.find_map(|host| Some((*host, self.players.get(host)?)));
        let Some((host, entry)) = next.filter(|_| is_starting && !self.ended) else { return false };
        instance.host_player = Some(host);
        instance.host_player_id = entry.player_id;
        // Of the host before, who was there.
        instance.join_params = None;
        instance.version = None;
        instance.allocation_id = None;
        instance.health = None;
        self.invite_reserved_player(host, now);
        true
    }

    /// Ends the session of a match if all of its players have declined, or let their invites expire.
    pub(super) fn end_if_nobody_comes(&mut self) {
        let was_entered = self.match_made.as_ref().is_none_or(|match_made| match_made.was_entered);
        if !was_entered && self.players.is_empty() {
            self.end();
        }
    }
}

/// How long a ticket has waited that joined its queues at a time, in seconds.
pub fn waited_s(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from((now.as_millisecond() - since.as_millisecond()) / 1_000).unwrap_or(0)
}

fn team(team: &MatchTeam) -> Team {
    Team {
        max_size: team.max_size,
        custom_data: team.custom_data.clone(),
        ticket_ids: team.ticket_ids.clone(),
    }
}

/// Who may host the instance of a match, in this order: the player whom the request names, and then the players by the
/// age of their tickets.
fn hosts_of(wanted: Option<PlayerUuid>, tickets: &[MatchedTicket], teams: &[MatchTeam]) -> Vec<PlayerUuid> {
    let places: Vec<_> = teams.iter().flat_map(|team| &team.players).map(|place| place.player).collect();
    let of_tickets = tickets.iter().flat_map(|ticket| &ticket.players).copied();
    let mut hosts: Vec<PlayerUuid> = Vec::new();
    for player in wanted.into_iter().chain(of_tickets).chain(places.iter().copied()) {
        if places.contains(&player) && !hosts.contains(&player) {
            hosts.push(player);
        }
    }
    hosts
}

#[cfg(test)]
#[path = "match_made_tests.rs"]
mod tests;
