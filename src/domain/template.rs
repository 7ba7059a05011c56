//! Session templates: what a session of a type starts out as and may become.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::instance::StartupParams;
use super::{CustomData, Platform, limits};

/// Most teams a session can have (contract: `num_teams`).
pub const TEAMS_MAX: usize = 50;
/// Most players a team can have (contract: `players_per_team`).
pub const PLAYERS_PER_TEAM_MAX: usize = 100;

/// Longest time after which a player is taken out for not asking, in seconds: a year.
pub const CULLING_TIMEOUT_S_MAX: usize = 366 * 24 * 3600;
/// Most sessions of a type that can be asked to run at any time.
pub const MIN_SESSION_COUNT_MAX: usize = 100_000;

/// A type of session (contract: `SessionTemplate`), as the configuration file spells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// The type's name, where it is written again: that of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_type: Option<String>,
    /// The engine's word for sessions of this type; for Unreal `Party` or `Game`.
    pub engine_session_type: String,
    /// Whether players may create sessions of this type.
    pub can_be_created_by_players_directly: bool,
    /// Whether create-or-join looks for an open session of this type first.
    pub attempt_auto_join: bool,
    /// Deprecated: the same as `attempt_auto_join`; either is enough.
    pub joinable: bool,
    /// Whether sessions may join matchmaking. Of no effect yet.
    pub can_join_matchmaking: bool,
    /// Whether sessions start out open to everyone.
    pub default_public: bool,
    /// Whether a session stays when its last active player leaves.
    pub keep_alive_on_empty: bool,
    /// Whether players may change their own team.
    pub can_change_own_team: bool,
    /// Whether players see the places that are kept for them.
    pub notify_on_reservation: bool,
    /// Whether leaders may list sessions in the browser.
    pub can_be_added_to_server_browser: bool,
    /// Whether every session is listed from its start.
    pub auto_add_to_browser: bool,
    /// Data of a listing that was not asked for.
    #[serde(deserialize_with = "limits::custom_data")]
    pub auto_browser_params: CustomData,
    /// Of which players a player sees the entries.
    pub player_visibility: Visibility,
    /// Of which players the leader sees the entries.
    pub admin_player_visibility: Visibility,
    /// Of which players a player is notified. Of no effect yet.
    pub player_notification_frequency: Visibility,
    /// Of which players the leader is notified. Of no effect yet.
    pub admin_player_notification_frequency: Visibility,
    /// After how many seconds a player is taken out who has not asked for the session: up to
    /// [`CULLING_TIMEOUT_S_MAX`]; without it or 0, never.
    #[serde(
        deserialize_with = "limits::maybe_between::<_, _, 0, CULLING_TIMEOUT_S_MAX>",
        skip_serializing_if = "Option::is_none"
    )]
    pub player_culling_timeout: Option<usize>,
    /// The template of the instance that a session starts with; wins over `auto_startup_params`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_startup_instance_template_id: Option<Uuid>,
    /// What the instance that a session starts with starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_startup_params: Option<AutoStartup>,
    /// Sessions of this type to run at any time in each region: 0 to [`MIN_SESSION_COUNT_MAX`]. Of no effect yet.
    #[serde(deserialize_with = "limits::between::<_, _, 0, MIN_SESSION_COUNT_MAX>")]
    pub min_session_count: usize,
    /// Teams a session starts with: 1 to [`TEAMS_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, TEAMS_MAX>")]
    pub num_teams: usize,
    /// MembershipList on each team: 1 to [`PLAYERS_PER_TEAM_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, PLAYERS_PER_TEAM_MAX>")]
    pub players_per_team: usize,
    /// What console sessions of this type are, per platform. A platform that is not here cannot be linked.
    pub platform_templates: BTreeMap<Platform, PlatformTemplate>,
    /// Data for the product's own use.
    #[serde(deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
}

/// Of which players of a session someone sees the entries (contract: `PlayerVisibility`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "PlayerVisibility")]
pub enum Visibility {
    /// Everyone.
    #[default]
    All,
    /// Those on the same team.
    Team,
    /// Themselves.
    #[serde(rename = "SELF")]
    Oneself,
    /// Nobody.
    None,
}

/// What an instance starts with (contract: `InstanceStartupParams`), as the configuration file spells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoStartup {
    /// The map.
    pub map: String,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Further parameters, as a command line.
    #[serde(default)]
    pub misc_params: String,
    /// The product's data for the instance.
    #[serde(default, deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
}

impl From<AutoStartup> for StartupParams {
    fn from(AutoStartup { map, mode, misc_params, custom_data }: AutoStartup) -> Self {
        Self { map, mode, misc_params, custom_data }
    }
}

/// A type of platform session (contract: `PlatformSessionTemplate`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformTemplate {
    /// The platform, where it is written again: that of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The platform's number, where it is written again.
    #[serde(
        default,
        deserialize_with = "limits::maybe_between::<_, _, 0, 255>",
        skip_serializing_if = "Option::is_none"
    )]
    pub platform_id: Option<u8>,
    /// The platform's own name of the kind of session: 1 to 128 characters.
    #[serde(deserialize_with = "limits::text::<_, 128>")]
    pub platform_session_type: String,
    /// Most players the platform's session takes: 1 to 100.
    #[serde(
        default,
        deserialize_with = "limits::maybe_between::<_, _, 1, PLAYERS_PER_TEAM_MAX>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_players: Option<usize>,
    /// Data for the product's own use; given to platform sessions when they are linked.
    #[serde(default, deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            session_type: None,
            engine_session_type: "Game".into(),
            can_be_created_by_players_directly: false,
            attempt_auto_join: false,
            joinable: false,
            can_join_matchmaking: false,
            default_public: false,
            keep_alive_on_empty: false,
            can_change_own_team: true,
            notify_on_reservation: true,
            can_be_added_to_server_browser: false,
            auto_add_to_browser: false,
            auto_browser_params: CustomData::new(),
            player_visibility: Visibility::All,
            admin_player_visibility: Visibility::All,
            player_notification_frequency: Visibility::All,
            admin_player_notification_frequency: Visibility::All,
            player_culling_timeout: None,
            auto_startup_instance_template_id: None,
            auto_startup_params: None,
            min_session_count: 0,
            num_teams: 1,
            players_per_team: 4,
            platform_templates: BTreeMap::new(),
            custom_data: CustomData::new(),
        }
    }
}

impl Template {
    /// Whether create-or-join looks for an open session of this type first, under either name.
    pub fn joins_first(&self) -> bool {
        self.attempt_auto_join || self.joinable
    }
}
