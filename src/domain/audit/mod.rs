//! Audit events: what has happened in a session, for people who look into it later.

mod compare;
mod matching;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::{CrossplayPreferences, DeviceType, Input};
use super::instance::{Health, HostType, JoinStatus};
use super::matchmaking::ticket::JoinParams;
use super::session::{Joinability, Status};
use super::{CustomData, Platform, PlatformSessionId, PlayerUuid, SessionId};

pub use self::compare::{Cause, Change, Why, events};

/// An event (contract: `AuditEvent`), in the form in which it is stored and read. It never has `join_params`: they hold the
/// way into an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Event {
    /// What has happened. Names that callers have given begin with `customer.`.
    #[serde(rename = "event_name")]
    pub name: &'static str,
    /// Why, where the name does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// Data of a listing or of a match.
    #[serde(skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// Whether everyone may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joinable: Option<bool>,
    /// Who may join without an invite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joinability: Option<Joinability>,
    /// The sizes of the teams after the change.
    #[serde(rename = "updated_teams", skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<TeamSize>,
    /// Who invites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<InviteSource>,
    /// The player to whom it happened.
    #[serde(rename = "player_uuid", skip_serializing_if = "Option::is_none")]
    pub player: Option<PlayerUuid>,
    /// The team of that player.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<usize>,
    /// The session whose players were invited.
    #[serde(rename = "invited_session_id", skip_serializing_if = "Option::is_none")]
    pub invited_session: Option<SessionId>,
    /// The session whose players were removed.
    #[serde(rename = "removed_session_id", skip_serializing_if = "Option::is_none")]
    pub removed_session: Option<SessionId>,
    /// The version of the player's client, or of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The machine of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_settings: Option<ClientSettings>,
    /// Whom the player accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crossplay_preferences: Option<CrossplayPreferences>,
    /// The status of the player after the change.
    #[serde(rename = "player_status", skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The platform of a platform session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The id of a platform session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_session_id: Option<PlatformSessionId>,
    /// The id of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// What hosts the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_type: Option<HostType>,
    /// The player who hosts the instance.
    #[serde(rename = "host_player_uuid", skip_serializing_if = "Option::is_none")]
    pub host_player: Option<PlayerUuid>,
    /// The template of the instance.
    #[serde(rename = "instance_request_template", skip_serializing_if = "Option::is_none")]
    pub instance_template_id: Option<Uuid>,
    /// The map of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The mode of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The allocator's id for the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// The stage of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_status: Option<JoinStatus>,
    /// The health of the instance.
    #[serde(rename = "instance_health", skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// The ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_id: Option<Uuid>,
    /// What the ticket asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_params: Option<JoinParams>,
    /// The maps that the players of the ticket want.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub map_preferences: Vec<String>,
    /// How long the ticket has waited, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_wait_seconds: Option<i64>,
    /// The id of the match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_id: Option<String>,
    /// The profile of the match.
    #[serde(rename = "match_making_profile_id", skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<String>,
}

/// Who invites a player (contract: `InviteSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum InviteSource {
    /// The matcher, for a match that runs.
    Backfill,
    /// The matcher, for a new match.
    Matchmaking,
    /// A player, or a service for one.
    Player,
}

/// The size of a team (contract: `TeamUpdate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TeamSize {
    /// Number of slots.
    pub max_size: usize,
}

/// The machine of a player (contract: `ClientSettings`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientSettings {
    /// The platform.
    pub platform: Platform,
    /// The input device.
    pub input: Input,
    /// The kind of device, if the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
}

/// Events with what all events of a change have in common, in the form in which they are stored and read.
#[derive(Serialize)]
pub struct Recorded<'a> {
    /// The event.
    #[serde(flatten)]
    pub event: &'a Event,
    /// The session.
    pub session_id: &'a SessionId,
    /// The type of the session.
    pub session_type: &'a str,
    /// The region of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_id: Option<&'a str>,
    /// The player of the caller.
    #[serde(rename = "requesting_user_uuid", skip_serializing_if = "Option::is_none")]
    pub requesting_user: Option<PlayerUuid>,
    /// When it happened: in UTC, with `Z` and milliseconds.
    #[serde(rename = "event_datetime")]
    pub at: &'a str,
}
