//! Instances: where a session is played, and who hosts it.

pub mod health;
pub mod template;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Actor, CustomData, PlayerUuid, Refused, Session};

/// Who hosts an instance (contract: `HostType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostType {
    /// A server of the studio's.
    #[default]
    Dedicated,
    /// A player's game.
    Player,
    /// A server that somebody runs themselves.
    Standalone,
    /// A server of the studio's that waits for sessions.
    Preallocated,
}

/// How far an instance is (contract: `InstanceJoinableStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InstanceJoinableStatus")]
pub enum JoinStatus {
    /// Asked for.
    Requested,
    /// Found a host.
    Allocated,
    /// Starting.
    Pending,
    /// Takes players.
    Joinable,
    /// Runs and takes none.
    Unjoinable,
    /// Over.
    Closed,
}

/// How well an instance is (contract: `InstanceHealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InstanceHealthStatus")]
pub enum Health {
    /// Well.
    Healthy,
    /// Not well, or too often silent.
    Unhealthy,
    /// Less than well.
    Degraded,
    /// Not heard of for too long.
    Unknown,
}

/// How to connect to an instance (contract: `JoinParams`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinParams {
    /// For players.
    pub public_conn_str: String,
    /// For machines on the same network.
    pub private_conn_str: String,
    /// The product's data about connecting.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// What an instance starts with (contract: `InstanceStartupParams`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupParams {
    /// The map.
    pub map: String,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Further parameters, as a command line.
    pub misc_params: String,
    /// The product's data for the instance.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// A session's instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Tells this instance from earlier ones of the session: 1 to 128 characters.
    pub instance_id: String,
    /// Who hosts.
    pub host_type: HostType,
    /// The player who hosts, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_player: Option<PlayerUuid>,
    /// That player's older, numeric id, where a token named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_player_id: Option<i64>,
    /// The player who registered it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<PlayerUuid>,
    /// Names what an allocator gave: 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// How far it is.
    pub join_status: JoinStatus,
    /// How to connect, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_params: Option<JoinParams>,
    /// What it starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_params: Option<StartupParams>,
    /// The host's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it was asked for.
    pub created: Timestamp,
    /// The product's data about it.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// How well it is, once it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The match played on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_id: Option<String>,
}

/// A change of an instance (contract: `InstanceInfoUpdate`); what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct InstanceChange {
    /// The allocation that the sender believes is its own; the first one sent is kept.
    pub allocation_id: Option<String>,
    /// How far it is.
    pub join_status: Option<JoinStatus>,
    /// How to connect.
    pub join_params: Option<JoinParams>,
    /// The host's version.
    pub version: Option<String>,
    /// The product's data, replaced whole.
    pub custom_data: Option<CustomData>,
    /// The match played on it.
    pub match_id: Option<String>,
}

impl Session {
    /// Asks for an instance, or registers one. A player who hosts must take part.
    pub fn request_instance(&mut self, actor: Actor, mut instance: Instance) -> Result<(), Refused> {
        self.require_leader(actor)?;
        if self.instance.is_some() {
            return Err(Refused::InstanceExists);
        }
        if let Some(host) = instance.host_player {
            let entry = self.active_entry(host)?;
            instance.host_player_id = instance.host_player_id.or(entry.player_id);
        }
        self.instance = Some(instance);
        Ok(())
    }

    /// Changes the instance, at its host's word.
    pub fn update_instance(&mut self, actor: Actor, change: InstanceChange) -> Result<(), Refused> {
        let instance = self.hosted(actor)?;
        match &instance.allocation_id {
            Some(allocated) if change.allocation_id.as_ref() != Some(allocated) => {
                return Err(Refused::AllocationMismatch);
            }
            Some(_) => {}
            None => instance.allocation_id = change.allocation_id,
        }
        instance.join_status = change.join_status.unwrap_or(instance.join_status);
        instance.join_params = change.join_params.or_else(|| instance.join_params.take());
        instance.version = change.version.or_else(|| instance.version.take());
        instance.match_id = change.match_id.or_else(|| instance.match_id.take());
        if let Some(custom_data) = change.custom_data {
            instance.custom_data = custom_data;
        }
        Ok(())
    }

    /// Ends the instance, at its host's word.
    pub fn end_instance(&mut self, actor: Actor) -> Result<(), Refused> {
        self.hosted(actor)?;
        self.instance = None;
        Ok(())
    }

    /// Refuses where the session has not this instance (any more).
    pub fn require_instance(&self, instance_id: &str) -> Result<(), Refused> {
        let same = self.instance.as_ref().is_some_and(|instance| instance.instance_id == instance_id);
        if same { Ok(()) } else { Err(Refused::InstanceNotFound) }
    }

    /// Notes how well an instance is. An instance that is not (or no longer) the session's is told so: its host
    /// then stops.
    pub fn set_health(&mut self, instance_id: &str, health: Health) -> Result<(), Refused> {
        let instance = self.instance.as_mut().filter(|instance| instance.instance_id == instance_id);
        instance.ok_or(Refused::InstanceNotFound)?.health = Some(health);
        Ok(())
    }

    /// Refuses an actor who does not host the instance: that is the player who hosts it or registered it, while they
    /// take part; once neither does any more, the leader in their stead, so that nobody's instance stays for good.
    pub fn require_host(&self, actor: Actor) -> Result<(), Refused> {
        let Some(instance) = &self.instance else {
            self.require_active(actor)?;
            return Err(Refused::InstanceNotFound);
        };
        let hosts: Vec<_> = [instance.host_player, instance.registrar].into_iter().flatten().collect();
        let is_orphaned = !hosts.is_empty() && !hosts.iter().any(|host| self.is_active(*host));
        match actor {
            Actor::Anyone => Ok(()),
            Actor::Player(player) if self.is_active(player) && hosts.contains(&player) => Ok(()),
            Actor::Player(player) if is_orphaned && self.leader() == Some(player) => Ok(()),
            Actor::Player(_) | Actor::Nobody => Err(Refused::NotSessionHost),
        }
    }

    /// The instance, for its host.
    fn hosted(&mut self, actor: Actor) -> Result<&mut Instance, Refused> {
        self.require_host(actor)?;
        self.instance.as_mut().ok_or(Refused::InstanceNotFound)
    }

    /// The instance goes with a player who hosts it.
    pub(super) fn lose_host(&mut self, player: PlayerUuid) {
        self.instance = self.instance.take().filter(|instance| instance.host_player != Some(player));
    }
}
