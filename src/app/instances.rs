//! Creating an instance from a request, the catalog and the caller.

use jiff::Timestamp;
use uuid::Uuid;

use super::{App, Failure};
use crate::auth::Caller;
use crate::domain::instance::template::InstanceTemplate;
use crate::domain::instance::{HostType, Instance, JoinStatus, StartupParams};
use crate::domain::template::Template;
use crate::domain::{CustomData, PlayerUuid};

/// A request for a new instance, or for the registration of a running one.
#[derive(Debug, Default)]
pub struct InstanceRequest {
    /// The id of the instance; `None`: a random uuid.
    pub instance_id: Option<String>,
    /// Startup parameters. An instance template replaces them.
    pub startup_params: Option<StartupParams>,
    /// Whether a server or a player hosts the instance. An instance template replaces it.
    pub host_type: HostType,
    /// The instance template to use.
    pub template_id: Option<Uuid>,
    /// The player who hosts the instance, if a player does; `None`: the caller's player.
    pub host_player: Option<PlayerUuid>,
    /// Custom data of the game. If it is empty, the custom data of the instance template is used.
    pub custom_data: CustomData,
}

impl InstanceRequest {
    /// The first instance of sessions with this template; `None` if the template does not ask for one.
    pub fn at_start(template: &Template) -> Option<Self> {
        let template_id = template.auto_startup_instance_template_id;
        let startup_params = template.auto_startup_params.clone().map(StartupParams::from);
        let is_wanted = template_id.is_some() || startup_params.is_some();
        is_wanted.then(|| Self { template_id, startup_params, ..Self::default() })
    }

    /// Creates the instance.
    ///
    /// # Errors
    /// [`InstanceTemplateNotFound`](crate::domain::Refused::InstanceTemplateNotFound); [`Failure::Denied`] if a player
    /// hosts the instance and neither the request nor the token names a player.
    pub fn instance(self, app: &App, caller: &Caller) -> Result<Instance, Failure> {
        let catalog = app.catalog();
        let template = match self.template_id {
            Some(id) => Some(catalog.instance_template(id)?),
            None => None,
        };
        let startup_params = match template {
            Some(template) => template.draw(app.entropy.fraction()),
            None => self.startup_params,
        };
        let host_type = template.map_or(self.host_type, |template| template.default_host_type);
        let is_hosted_by_player = matches!(host_type, HostType::Player | HostType::Standalone);
        let host_player = match self.host_player {
            _ if !is_hosted_by_player => None,
            Some(player) => Some(player),
            None => Some(caller.require_player()?),
        };
        let caller_hosts = host_player.is_some() && host_player == caller.player();
        let custom_data = match template {
            Some(template) if self.custom_data.is_empty() => template.custom_data.clone(),
            _ => self.custom_data,
        };
        Ok(Instance {
            instance_id: self.instance_id.unwrap_or_else(|| app.entropy.uuid().to_string()),
            template_id: self.template_id,
            host_type,
            host_player,
            host_player_id: caller.token().player_id.filter(|_| caller_hosts),
            registrar: caller.player(),
            allocation_id: None,
            join_status: first_status(host_type),
            join_params: None,
            startup_params,
            version: None,
            created: app.clock.now(),
            custom_data,
            health: None,
            match_id: None,
            match_making_profile_id: None,
            launch: None,
            dedicated_host: None,
        })
    }
}

/// The stage in which an instance begins. A preallocated server asks for an instance once it runs. A dedicated one has to
/// be found first.
fn first_status(host_type: HostType) -> JoinStatus {
    match host_type {
        HostType::Dedicated => JoinStatus::Requested,
        HostType::Player | HostType::Standalone | HostType::Preallocated => JoinStatus::Pending,
    }
}

/// The instance of a match, before it is known who hosts it.
#[derive(Clone, Debug)]
pub struct InstanceOfMatch {
    id: Uuid,
    template_id: Uuid,
    host_type: HostType,
    startup_params: Option<StartupParams>,
    custom_data: CustomData,
}

impl InstanceOfMatch {
    /// An instance of the template with this id. Its map is drawn among those at `maps`, positions in the template; among all, if there
    /// are none.
    pub fn new(app: &App, (template_id, template): (Uuid, &InstanceTemplate), maps: &[usize]) -> Self {
        Self {
            id: app.entropy.uuid(),
            template_id,
            host_type: template.default_host_type,
            startup_params: template.draw_among(maps, app.entropy.fraction()),
            custom_data: template.custom_data.clone(),
        }
    }

    /// The instance, requested at this time.
    pub fn at(&self, created: Timestamp) -> Instance {
        Instance {
            instance_id: self.id.to_string(),
            template_id: Some(self.template_id),
            host_type: self.host_type,
            host_player: None,
            host_player_id: None,
            registrar: None,
            allocation_id: None,
            join_status: first_status(self.host_type),
            join_params: None,
            startup_params: self.startup_params.clone(),
            version: None,
            created,
            custom_data: self.custom_data.clone(),
            health: None,
            match_id: None,
            match_making_profile_id: None,
            launch: None,
            dedicated_host: None,
        }
    }
}
