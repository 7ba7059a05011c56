//! Session templates: the initial values and the rules of a session type.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::instance::StartupParams;
use super::{CustomData, Platform, limits};

/// Maximum number of teams in a session (contract: `num_teams`).
pub const TEAMS_MAX: usize = 50;
/// Maximum number of players on a team (contract: `players_per_team`).
pub const PLAYERS_PER_TEAM_MAX: usize = 100;

/// Maximum of `player_culling_timeout`, in seconds: a year.
pub const CULLING_TIMEOUT_S_MAX: usize = 366 * 24 * 3600;
/// Maximum of `min_session_count`.
pub const MIN_SESSION_COUNT_MAX: usize = 100_000;

/// A session type (contract: `SessionTemplate`), in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// The name of the type. Optional, since the table has the name already; it must be the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_type: Option<String>,
    /// The game engine's name for this type of session; for Unreal `Party` or `Game`.
    pub engine_session_type: String,
    /// Whether players may create sessions of this type.
    pub can_be_created_by_players_directly: bool,
    /// Whether create-or-join first searches for an open session of this type.
    pub attempt_auto_join: bool,
    /// Deprecated name of `attempt_auto_join`. It is enough if one of them is true.
    pub joinable: bool,
    /// Whether sessions may join matchmaking queues.
    pub can_join_matchmaking: bool,
    /// Whether new sessions are open to everyone.
    pub default_public: bool,
    /// Whether a session stays when its last active player leaves.
    pub keep_alive_on_empty: bool,
    /// Whether players may change their own team.
    pub can_change_own_team: bool,
    /// Whether players see reservations for them in the list of their sessions.
    pub notify_on_reservation: bool,
    /// Whether leaders may list sessions in the browser.
    pub can_be_added_to_server_browser: bool,
    /// Whether new sessions are listed in the browser at once.
    pub auto_add_to_browser: bool,
    /// Data of the listings that `auto_add_to_browser` creates.
    #[serde(deserialize_with = "limits::custom_data")]
    pub auto_browser_params: CustomData,
    /// Which players' entries a player sees.
    pub player_visibility: Visibility,
    /// Which players' entries the leader sees.
    pub admin_player_visibility: Visibility,
    /// About which players a player is notified. It has no effect yet.
    pub player_notification_frequency: Visibility,
    /// About which players the leader is notified. It has no effect yet.
    pub admin_player_notification_frequency: Visibility,
    /// Seconds without a heartbeat after which a player is removed: 0 to [`CULLING_TIMEOUT_S_MAX`]. Players are never
    /// removed if it is absent or 0.
    #[serde(
        deserialize_with = "limits::maybe_between::<_, _, 0, CULLING_TIMEOUT_S_MAX>",
        skip_serializing_if = "Option::is_none"
    )]
    pub player_culling_timeout: Option<usize>,
    /// The template of a new session's first instance. It takes precedence over `auto_startup_params`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_startup_instance_template_id: Option<Uuid>,
    /// Startup parameters of a new session's first instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_startup_params: Option<AutoStartup>,
    /// The allocator that starts dedicated servers for these sessions. `None`: the only one, if there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocator: Option<String>,
    /// Minimum number of sessions of this type in each region: 0 to [`MIN_SESSION_COUNT_MAX`]. It has no effect yet.
    #[serde(deserialize_with = "limits::between::<_, _, 0, MIN_SESSION_COUNT_MAX>")]
    pub min_session_count: usize,
    /// Number of teams of a new session: 1 to [`TEAMS_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, TEAMS_MAX>")]
    pub num_teams: usize,
    /// Number of slots of each team: 1 to [`PLAYERS_PER_TEAM_MAX`].
    #[serde(deserialize_with = "limits::between::<_, _, 1, PLAYERS_PER_TEAM_MAX>")]
    pub players_per_team: usize,
    /// The types of platform sessions that can be linked, one for each platform. A session of any other platform
    /// cannot be linked.
    pub platform_templates: BTreeMap<Platform, PlatformTemplate>,
    /// The product's data.
    #[serde(deserialize_with = "limits::custom_data")]
    pub custom_data: CustomData,
}

/// Which players' entries of a session are visible to a player (contract: `PlayerVisibility`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "PlayerVisibility")]
pub enum Visibility {
    /// Those of all players.
    #[default]
    All,
    /// Those of the players on the same team.
    Team,
    /// The player's own.
    #[serde(rename = "SELF")]
    Oneself,
    /// None.
    None,
}

/// Startup parameters of an instance (contract: `InstanceStartupParams`), in the form of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoStartup {
    /// The map.
    pub map: String,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Further parameters, in the form of a command line.
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

/// A type of platform sessions (contract: `PlatformSessionTemplate`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformTemplate {
    /// The platform. Optional, since the key has it already; it must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The platform's deprecated number. Optional; it must be that of the platform.
    #[serde(
        default,
        deserialize_with = "limits::maybe_between::<_, _, 0, 255>",
        skip_serializing_if = "Option::is_none"
    )]
    pub platform_id: Option<u8>,
    /// The platform's name for this type of session: 1 to 128 characters.
    #[serde(deserialize_with = "limits::text::<_, 128>")]
    pub platform_session_type: String,
    /// Maximum number of players in the platform session: 1 to 100.
    #[serde(
        default,
        deserialize_with = "limits::maybe_between::<_, _, 1, PLAYERS_PER_TEAM_MAX>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_players: Option<usize>,
    /// The product's data, copied to platform sessions when they are linked.
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
            allocator: None,
            min_session_count: 0,
            num_teams: 1,
            players_per_team: 4,
            platform_templates: BTreeMap::new(),
            custom_data: CustomData::new(),
        }
    }
}

impl Template {
    /// Whether create-or-join first searches for an open session of this type, by either name of the setting.
    pub fn joins_first(&self) -> bool {
        self.attempt_auto_join || self.joinable
    }

    /// The template, changed so that its type takes no new sessions: players neither create nor find them.
    pub fn closed(self) -> Self {
        Self {
            can_be_created_by_players_directly: false,
            attempt_auto_join: false,
            joinable: false,
            min_session_count: 0,
            ..self
        }
    }
}
