//! An audit event on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::wire::CustomDataBody;
use crate::api::wire::client::ClientSettings;
use crate::api::wire::instance::JoinParamsBody as InstanceJoinParams;
use crate::api::wire::queue::JoinParamsBody;
use crate::api::wire::session::{JoinabilityBody, TeamUpdate};
use crate::domain::audit::InviteSource;
use crate::domain::client::CrossplayPreferences;
use crate::domain::instance::{Health, HostType, JoinStatus};
use crate::domain::session::Status;
use crate::domain::{Platform, PlayerUuid};

/// What an event says. Callers may send all of it; the server does not check it against the session.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct EventFields {
    /// Name of the event. Names of events that callers report start with `customer.`.
    #[schemars(length(min = 1, max = 128))]
    pub event_name: String,
    /// Session in which the event happened.
    #[schemars(length(min = 1, max = 128))]
    pub session_id: String,
    /// Reason of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Custom data of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataBody>,
    /// Type of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_type: Option<String>,
    /// Region of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// Whether every player may join the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    joinable: Option<bool>,
    /// Join paths for players without an invite.
    #[serde(skip_serializing_if = "Option::is_none")]
    joinability: Option<JoinabilityBody>,
    /// Teams after the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    updated_teams: Option<Vec<TeamUpdate>>,
    /// Who invited the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<InviteSource>,
    /// Player to whom the event happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub player_uuid: Option<PlayerUuid>,
    /// Team of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<u64>,
    /// Session whose players were invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    invited_session_id: Option<String>,
    /// Session whose players were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    removed_session_id: Option<String>,
    /// Version of the game client of the player, or of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Platform and input device of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_settings: Option<ClientSettings>,
    /// Crossplay preferences of the player.
    #[serde(skip_serializing_if = "Option::is_none")]
    crossplay_preferences: Option<CrossplayPreferences>,
    /// Status of the player in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    player_status: Option<Status>,
    /// Platform of a platform session.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    /// Id of a platform session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    platform_session_id: Option<String>,
    /// Id of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    instance_id: Option<String>,
    /// Kind of host of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_type: Option<HostType>,
    /// Player who hosts the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_player_uuid: Option<PlayerUuid>,
    /// Template of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_request_template: Option<Uuid>,
    /// Map of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
    /// Mode of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Allocation id of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    allocation_id: Option<String>,
    /// Stage of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_status: Option<JoinStatus>,
    /// How to connect to the instance. Accepted, and not stored: no event has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_params: Option<InstanceJoinParams>,
    /// Health of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_health: Option<Health>,
    /// Id of the matchmaking queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    queue_id: Option<String>,
    /// Id of the ticket in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<String>,
    /// Further values of the ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_params: Option<JoinParamsBody>,
    /// Maps that the players of the ticket want.
    #[serde(skip_serializing_if = "Option::is_none")]
    map_preferences: Option<Vec<String>>,
    /// Session that was in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    queued_session_id: Option<String>,
    /// Id of the match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    match_id: Option<String>,
    /// Time for which the ticket was in the queue, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_wait_seconds: Option<i64>,
    /// Matchmaking profile of the match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    match_making_profile_id: Option<String>,
}

/// An event of the audit.
// Only its schema is used: events are stored in this form, and answered as they are stored.
#[derive(Serialize, JsonSchema)]
pub struct AuditEvent {
    #[serde(flatten)]
    fields: EventFields,
    /// Player who asked for the change, or reported the event. Absent for services and for the server itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    requesting_user_uuid: Option<PlayerUuid>,
    /// Time of the event.
    #[schemars(extend("format" = "date-time"))]
    event_datetime: String,
}
