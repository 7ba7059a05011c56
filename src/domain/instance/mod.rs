//! Instances: the running game of a session, and its host.

pub mod health;
pub mod template;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::launch::LaunchLink;
use super::{Actor, CustomData, PlayerUuid, Refused, Session};

/// Names in the custom data of an instance that start with this are the server's own. Requests cannot set them.
pub const RESERVED_PREFIX: &str = "rallypoint.";

/// What hosts an instance (contract: `HostType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostType {
    /// A server of the studio.
    #[default]
    Dedicated,
    /// The game client of a player.
    Player,
    /// A server that someone other than the studio runs.
    Standalone,
    /// A server of the studio that is started before a session needs it.
    Preallocated,
}

/// The stage of an instance (contract: `InstanceJoinableStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InstanceJoinableStatus")]
pub enum JoinStatus {
    /// Requested; it has no host yet.
    Requested,
    /// Allocated to a host.
    Allocated,
    /// Starting.
    Pending,
    /// Running, and players may join.
    Joinable,
    /// Running, and players may not join.
    Unjoinable,
    /// Ended. This is final: a closed instance can only be replaced.
    Closed,
}

/// The health of an instance (contract: `InstanceHealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InstanceHealthStatus")]
pub enum Health {
    /// Reported as healthy.
    Healthy,
    /// Reported as unhealthy, or too many health reports are missing.
    Unhealthy,
    /// Reported as degraded.
    Degraded,
    /// The last health report is too old.
    Unknown,
}

/// How to connect to an instance (contract: `JoinParams`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinParams {
    /// The address for players.
    pub public_conn_str: String,
    /// The address for machines on the same network.
    pub private_conn_str: String,
    /// The product's data about the connection.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// Startup parameters of an instance (contract: `InstanceStartupParams`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartupParams {
    /// The map.
    pub map: String,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Further parameters, in the form of a command line.
    pub misc_params: String,
    /// The product's data for the instance.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
}

/// A session's instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id, which differs from that of earlier instances of the session: 1 to 128 characters.
    pub instance_id: String,
    /// The instance template that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<Uuid>,
    /// What hosts the instance.
    pub host_type: HostType,
    /// The player who hosts the instance, if a player does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_player: Option<PlayerUuid>,
    /// The older, numeric id of that player, if a token named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_player_id: Option<i64>,
    /// The player who registered the instance, if a player did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<PlayerUuid>,
    /// The allocator's id for the host: 1 to 128 characters. A closed instance has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// The stage of the instance.
    pub join_status: JoinStatus,
    /// How to connect, as soon as the host has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_params: Option<JoinParams>,
    /// Startup parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_params: Option<StartupParams>,
    /// The host's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the instance was requested.
    pub created: Timestamp,
    /// The product's data about the instance.
    #[serde(default, skip_serializing_if = "CustomData::is_empty")]
    pub custom_data: CustomData,
    /// Its health. `None` until the first health report, and after the instance was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The id of the match that is played on the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_id: Option<String>,
    /// The matchmaking profile of that match, if matchmaking made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_making_profile_id: Option<String>,
    /// The launch that gives the instance its server, if an allocator does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchLink>,
    /// The machine and the process of a server that an allocator has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedicated_host: Option<DedicatedHost>,
}

/// Where a server runs that an allocator has started, in the allocator's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedicatedHost {
    /// The machine, or the name of the server in its cluster.
    pub server_id: String,
    /// The process on that machine, if the allocator names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_id: Option<String>,
}

/// A change of an instance (contract: `InstanceInfoUpdate`). `None` keeps the current value.
#[derive(Clone, Debug, Default)]
pub struct InstanceChange {
    /// The allocation id of the sender. If the instance has one, they must be equal; if not, it is stored.
    pub allocation_id: Option<String>,
    /// The stage of the instance.
    pub join_status: Option<JoinStatus>,
    /// How to connect.
    pub join_params: Option<JoinParams>,
    /// The host's version.
    pub version: Option<String>,
    /// The product's data. It replaces all of the old data but the server's own.
    pub custom_data: Option<CustomData>,
    /// The id of the match that is played on the instance.
    pub match_id: Option<String>,
}

impl Instance {
    /// Whether the instance has ended.
    pub fn is_closed(&self) -> bool {
        self.join_status == JoinStatus::Closed
    }

    /// Whether the host has said how far it is. The host of a launched instance has proved then that it is the server of
    /// the present attempt.
    pub fn has_host_spoken(&self) -> bool {
        !matches!(self.join_status, JoinStatus::Requested | JoinStatus::Allocated)
    }

    /// Replaces the product's data. The server's own data stays.
    fn replace_custom_data(&mut self, custom_data: CustomData) {
        self.custom_data.retain(|name, _| name.starts_with(RESERVED_PREFIX));
        self.custom_data.extend(custom_data);
    }
}

impl Session {
    /// Requests an instance, or registers one. It replaces a closed instance, if it has another id: otherwise the host
    /// of the closed one would take it for its own. A player who hosts it must be active.
    pub fn request_instance(&mut self, actor: Actor, mut instance: Instance) -> Result<(), Refused> {
        self.require_leader(actor)?;
        let stays = |present: &Instance| !present.is_closed() || present.instance_id == instance.instance_id;
        if self.instance.as_ref().is_some_and(stays) {
            return Err(Refused::InstanceExists);
        }
        if let Some(host) = instance.host_player {
            let entry = self.active_entry(host)?;
            instance.host_player_id = instance.host_player_id.or(entry.player_id);
        }
        self.instance = Some(instance);
        Ok(())
    }

    /// Changes the instance at the request of its host. A closed instance stays closed. A launched instance is changed by
    /// the server of its present attempt alone, which names the allocation: before there is one, by nobody.
    ///
    /// When the instance becomes joinable, the places that a match has reserved until then become invites, at `now`.
    pub fn update_instance(
        &mut self,
        actor: Actor,
        change: InstanceChange,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let instance = self.hosted(actor)?;
        if !instance.is_closed() {
            let is_launched = instance.launch.is_some();
            let names_it = change.allocation_id.is_some() && change.allocation_id == instance.allocation_id;
            if (is_launched || instance.allocation_id.is_some()) && !names_it {
                return Err(Refused::AllocationMismatch);
            }
            instance.allocation_id = change.allocation_id;
        }
        match change.join_status {
            Some(JoinStatus::Closed) | None => {}
            Some(_) if instance.is_closed() => return Err(Refused::InstanceClosed),
            Some(join_status) => instance.join_status = join_status,
        }
        if change.join_params.is_some() {
            instance.join_params = change.join_params;
        }
        if change.version.is_some() {
            instance.version = change.version;
        }
        if change.match_id.is_some() {
            instance.match_id = change.match_id;
        }
        if let Some(custom_data) = change.custom_data {
            instance.replace_custom_data(custom_data);
        }
        match change.join_status {
            Some(JoinStatus::Closed) => self.close_instance(),
            Some(JoinStatus::Joinable) => self.invite_reserved(now),
            _ => {}
        }
        Ok(())
    }

    /// Closes the instance, if there is one and it is not closed. Its allocation is free, and it has no health any more.
    pub fn close_instance(&mut self) {
        let Some(instance) = self.instance.as_mut().filter(|instance| !instance.is_closed()) else { return };
        instance.join_status = JoinStatus::Closed;
        instance.allocation_id = None;
        instance.health = None;
        self.end_after_instance();
    }

    /// Ends the instance at the request of its host.
    pub fn end_instance(&mut self, actor: Actor) -> Result<(), Refused> {
        self.hosted(actor)?;
        self.instance = None;
        self.end_after_instance();
        Ok(())
    }

    /// Ends a session that a service made and that nobody is in, now that its instance has ended: nothing else would end
    /// it but its idle time.
    fn end_after_instance(&mut self) {
        let is_used = self.players.values().any(|entry| entry.status.is_active());
        if self.made_by_service && !is_used && !self.keep_alive_on_empty {
            self.end();
        }
    }

    /// Refuses a health report if the session has no instance, another one, or one that is closed. Also if the server of a
    /// launched instance has not updated it yet: a report names no allocation, so it could come from the server of an
    /// earlier attempt.
    pub fn require_instance(&self, instance_id: &str) -> Result<(), Refused> {
        let runs = |instance: &Instance| {
            let is_known = instance.launch.is_none() || instance.has_host_spoken();
            instance.instance_id == instance_id && !instance.is_closed() && is_known
        };
        if self.instance.as_ref().is_some_and(runs) { Ok(()) } else { Err(Refused::InstanceNotFound) }
    }

    /// Whether the session's instance has this allocation.
    pub fn has_allocation(&self, allocation_id: &str) -> bool {
        let allocated = self.instance.as_ref().and_then(|instance| instance.allocation_id.as_deref());
        allocated == Some(allocation_id)
    }

    /// Stores the health of an instance. Refuses if it is not the instance of the session, so that its host learns
    /// that it can stop.
    pub fn set_health(&mut self, instance_id: &str, health: Health) -> Result<(), Refused> {
        let instance = self.instance.as_mut().filter(|instance| instance.instance_id == instance_id);
        instance.ok_or(Refused::InstanceNotFound)?.health = Some(health);
        Ok(())
    }

    /// Refuses an actor who does not control the instance. The player who hosts it and the player who registered it
    /// do while they are active. If none of them is active, the leader does, so that the instance can still be ended; but
    /// a match waits for its host.
    pub fn require_host(&self, actor: Actor) -> Result<(), Refused> {
        let Some(instance) = &self.instance else {
            self.require_active(actor)?;
            return Err(Refused::InstanceNotFound);
        };
        let hosts: Vec<_> = [instance.host_player, instance.registrar].into_iter().flatten().collect();
        let may_come = |host: &PlayerUuid| self.match_made.is_some() && self.players.contains_key(host);
        let is_orphaned =
            !hosts.is_empty() && !hosts.iter().any(|host| self.is_active(*host) || may_come(host));
        match actor {
            Actor::Anyone => Ok(()),
            Actor::Player(player) if self.is_active(player) && hosts.contains(&player) => Ok(()),
            Actor::Player(player) if is_orphaned && self.leader() == Some(player) => Ok(()),
            Actor::Player(_) | Actor::Nobody => Err(Refused::NotSessionHost),
        }
    }

    /// The instance, for a change by its host.
    fn hosted(&mut self, actor: Actor) -> Result<&mut Instance, Refused> {
        self.require_host(actor)?;
        self.instance.as_mut().ok_or(Refused::InstanceNotFound)
    }

    /// Ends the instance if one of these players hosts it. They have left, all of them, at `now`. Before the instance of a
    /// match can be joined, another of its players becomes the host instead.
    pub(super) fn end_instance_of_host(&mut self, left: &[PlayerUuid], now: Timestamp) {
        let host = self.instance.as_ref().and_then(|instance| instance.host_player);
        if host.is_some_and(|host| left.contains(&host)) && !self.pass_host_on(now) {
            self.instance = None;
            self.end_after_instance();
        }
    }
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
