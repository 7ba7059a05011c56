//! Instances on the wire.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::wire::CustomDataBody;
use crate::app::Detail;
use crate::domain::PlayerUuid;
use crate::domain::instance::{Health, HostType, Instance, JoinParams, JoinStatus, StartupParams};

/// Connection parameters of an instance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JoinParams")]
pub struct JoinParamsBody {
    /// Address for players.
    public_conn_str: String,
    /// Address for machines on the same network.
    private_conn_str: String,
    /// Custom data about the connection.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// Startup parameters of an instance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "InstanceStartupParams")]
pub struct StartupParamsBody {
    /// Name of the map in the game engine.
    map: String,
    /// Game mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Further parameters, in command line syntax.
    misc_params: String,
    /// Custom data for the start of the instance.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// An instance of a session. Outsiders see all of it but how to connect.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceInfo")]
pub struct InstanceView {
    /// Allocation id of the host. Absent once the instance is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    allocation_id: Option<String>,
    /// Id of the instance. It differs from the ids of earlier instances of the session.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
    /// Kind of host.
    host_type: HostType,
    /// UUID of the player who hosts the instance. Absent if no player does.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_player_uuid: Option<PlayerUuid>,
    /// Older, numeric id of the player who hosts the instance, if it is known. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_player_id: Option<i64>,
    /// Stage of the instance.
    join_status: JoinStatus,
    /// Connection parameters. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_params: Option<JoinParamsBody>,
    /// Startup parameters of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_startup_params: Option<StartupParamsBody>,
    /// Version of the host's software.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Time at which the instance was requested.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created: Timestamp,
    /// Custom data of the instance.
    custom_data: CustomDataBody,
    /// Id of the machine that runs a server started for the session. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_dedicated_server_id: Option<String>,
    /// Id of the process of that server. Absent for outsiders.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_dedicated_process_id: Option<String>,
    /// Health of the instance. Absent before the first health report, and once the instance is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_health: Option<Health>,
    /// Matchmaking profile of that match, if matchmaking made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    match_making_profile_id: Option<String>,
    /// Id of the match that is played on the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    match_id: Option<String>,
}

impl InstanceView {
    /// The wire form of an instance, in full or as outsiders see it. Outsiders include a game server whose token may only
    /// read the session by its allocation: it needs everything but the connection, which is its own.
    pub fn of(instance: &Instance, detail: Detail) -> Self {
        let full = detail == Detail::Full;
        let join_params = instance.join_params.clone().filter(|_| full);
        let dedicated = instance.dedicated_host.as_ref().filter(|_| full);
        Self {
            allocation_id: instance.allocation_id.clone(),
            instance_id: instance.instance_id.clone(),
            host_type: instance.host_type,
            host_player_uuid: instance.host_player,
            host_player_id: instance.host_player_id.filter(|_| full),
            join_status: instance.join_status,
            join_params: join_params.map(JoinParamsBody::from),
            instance_startup_params: instance.startup_params.clone().map(StartupParamsBody::from),
            version: instance.version.clone(),
            created: instance.created,
            custom_data: CustomDataBody(instance.custom_data.clone()),
            host_dedicated_server_id: dedicated.map(|host| host.server_id.clone()),
            host_dedicated_process_id: dedicated.and_then(|host| host.process_id.clone()),
            instance_health: instance.health,
            match_making_profile_id: instance.match_making_profile_id.clone(),
            match_id: instance.match_id.clone(),
        }
    }
}

impl From<JoinParams> for JoinParamsBody {
    fn from(JoinParams { public_conn_str, private_conn_str, custom_data }: JoinParams) -> Self {
        Self { public_conn_str, private_conn_str, custom_data: CustomDataBody(custom_data) }
    }
}

impl From<JoinParamsBody> for JoinParams {
    fn from(JoinParamsBody { public_conn_str, private_conn_str, custom_data }: JoinParamsBody) -> Self {
        Self { public_conn_str, private_conn_str, custom_data: custom_data.0 }
    }
}

impl From<StartupParams> for StartupParamsBody {
    fn from(StartupParams { map, mode, misc_params, custom_data }: StartupParams) -> Self {
        Self { map, mode, misc_params, custom_data: CustomDataBody(custom_data) }
    }
}

impl From<StartupParamsBody> for StartupParams {
    fn from(StartupParamsBody { map, mode, misc_params, custom_data }: StartupParamsBody) -> Self {
        Self { map, mode, misc_params, custom_data: custom_data.0 }
    }
}
