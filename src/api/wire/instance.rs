//! Instances on the wire.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::wire::CustomDataBody;
use crate::app::Depth;
use crate::domain::PlayerUuid;
use crate::domain::instance::{Health, HostType, Instance, JoinParams, JoinStatus, StartupParams};

/// How to connect to an instance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JoinParams")]
pub struct JoinParamsBody {
    /// For players.
    public_conn_str: String,
    /// For machines on the same network.
    private_conn_str: String,
    /// The product's data about connecting.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// What an instance starts with.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "InstanceStartupParams")]
pub struct StartupParamsBody {
    /// The map.
    map: String,
    /// The mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Further parameters, as a command line.
    misc_params: String,
    /// The product's data for the instance.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// An instance. Those outside the session do not see how to connect.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceInfo")]
pub struct InstanceView {
    /// Names what an allocator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    allocation_id: Option<String>,
    /// Tells it from earlier ones of the session.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
    /// Who hosts.
    host_type: HostType,
    /// The player who hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_player_uuid: Option<PlayerUuid>,
    /// That player's older, numeric id, where it is known. Absent for those outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_player_id: Option<i64>,
    /// How far it is.
    join_status: JoinStatus,
    /// How to connect. Absent for those outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_params: Option<JoinParamsBody>,
    /// What it starts with. Absent for those outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_startup_params: Option<StartupParamsBody>,
    /// The host's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// When it was asked for.
    #[schemars(with = "String", extend("format" = "date-time"))]
    created: Timestamp,
    /// The product's data about it.
    custom_data: CustomDataBody,
    /// How well it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_health: Option<Health>,
    /// The match played on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    match_id: Option<String>,
}

impl InstanceView {
    /// An instance, as deep as asked for.
    pub fn of(instance: &Instance, depth: Depth) -> Self {
        let full = depth == Depth::Full;
        let join_params = instance.join_params.clone().filter(|_| full);
        let startup_params = instance.startup_params.clone().filter(|_| full);
        Self {
            allocation_id: instance.allocation_id.clone().filter(|_| full),
            instance_id: instance.instance_id.clone(),
            host_type: instance.host_type,
            host_player_uuid: instance.host_player,
            host_player_id: instance.host_player_id.filter(|_| full),
            join_status: instance.join_status,
            join_params: join_params.map(JoinParamsBody::from),
            instance_startup_params: startup_params.map(StartupParamsBody::from),
            version: instance.version.clone(),
            created: instance.created,
            custom_data: CustomDataBody(instance.custom_data.clone()),
            instance_health: instance.health,
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
