//! Instances of sessions: asking for one, keeping it current, its health, its end.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::wire::client::CustomDataBody;
use super::wire::session::{SessionView, document_in, outside_view, session_document};
use crate::app::{App, Depth, Failure};
use crate::auth::{Caller, Permission};
use crate::domain::instance::{
    Health, HostType, Instance, InstanceChange, JoinParams, JoinStatus, StartupParams,
};
use crate::domain::template::Template;
use crate::domain::{PlayerUuid, Refused, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{AllocationId, RefreshQuery, SessionPath, params};
use crate::http::operation::Input;
use crate::http::reply::{Changed, Plain, Reply, Versioned};

params! {
    /// The path of an allocation.
    AllocationPath in "path" {
        /// The allocation.
        allocation_id: AllocationId,
    }
}

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

/// Asking for an instance, or registering one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct InstanceRequest {
    /// Its id; absent, one is made.
    #[schemars(length(min = 1, max = 128))]
    instance_id: Option<String>,
    /// What it starts with.
    instance_startup_params: Option<StartupParamsBody>,
    /// Who hosts.
    #[serde(default)]
    host_type: HostType,
    /// A template, which wins over host and startup parameters.
    instance_request_template_id: Option<Uuid>,
    /// The player who hosts, where one does; absent, the caller.
    host_player_uuid: Option<Uuid>,
    /// The product's data about it.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// A change of an instance; what is absent stays.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct InstanceInfoUpdate {
    /// The sender's allocation; an instance that has one takes changes with it only.
    #[schemars(length(min = 1, max = 128))]
    allocation_id: Option<String>,
    /// How far it is.
    join_status: Option<JoinStatus>,
    /// How to connect.
    join_params: Option<JoinParamsBody>,
    /// The host's version.
    version: Option<String>,
    /// The product's data about it, replaced whole.
    custom_data: Option<CustomDataBody>,
    /// The match played on it.
    match_id: Option<String>,
}

/// A report of an instance's health.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct InstanceHealthStatusUpdate {
    /// How well it is.
    instance_health: Health,
    /// Which instance.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
}

/// The health of an instance after a report.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceHealthStatusResponse")]
pub struct HealthView {
    /// How well it is held to be; reports that come too seldom make it worse than they say.
    updated_instance_health: Health,
}

/// When instances are expected to report, and what becomes of those that do not.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceHealthSettingsResponse")]
pub struct HealthSettingsView {
    /// Seconds between reports.
    #[schemars(range(min = 1))]
    cadence_seconds: usize,
    /// Percentage of reports that are missing where an instance is unhealthy.
    #[schemars(extend("exclusiveMinimum" = 0))]
    unhealthy_health_check_percentage: f64,
    /// Reports missed in a row after which its health is unknown.
    #[schemars(range(min = 1))]
    missed_checks_before_unknown: usize,
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

/// Asks for an instance of a session, or registers the caller as its host.
pub async fn request(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<SessionPath, RefreshQuery, Json<InstanceRequest>>,
) -> Result<Reply<Plain<InstanceView>>, Error> {
    let actor = caller.actor();
    let instance = request.instance(&app, &caller)?;
    let rule = move |session: &mut Session| session.request_instance(actor, instance.clone());
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    instance_of(&cached.session)
}

impl InstanceRequest {
    /// The instance that sessions of a type start with, if any.
    pub fn at_start(template: &Template) -> Option<Self> {
        let instance_request_template_id = template.auto_startup_instance_template_id;
        let startup_params = template.auto_startup_params.clone().map(StartupParams::from);
        let instance_startup_params = startup_params.map(StartupParamsBody::from);
        let asked_for = instance_request_template_id.is_some() || instance_startup_params.is_some();
        asked_for.then(|| Self { instance_request_template_id, instance_startup_params, ..Self::default() })
    }

    /// The instance, as the caller asks for it.
    pub fn instance(self, app: &App, caller: &Caller) -> Result<Instance, Error> {
        let catalog = app.catalog();
        let template = self
            .instance_request_template_id
            .map(|id| catalog.instance_templates.get(&id).ok_or(Error::InstanceTemplateNotFound));
        let template = template.transpose()?;
        let startup_params = match template {
            Some(template) => template.draw(app.entropy.fraction()),
            None => self.instance_startup_params.map(StartupParams::from),
        };
        let host_type = template.map_or(self.host_type, |template| template.default_host_type);
        let hosted_by_player = matches!(host_type, HostType::Player | HostType::Standalone);
        let host =
            || self.host_player_uuid.map_or_else(|| caller.require_player(), |host| Ok(PlayerUuid(host)));
        let host_player = hosted_by_player.then(host).transpose()?;
        let hosts_itself = host_player.is_some() && host_player == caller.player();
        let custom_data = match template {
            Some(template) if self.custom_data.0.is_empty() => template.custom_data.clone(),
            _ => self.custom_data.0.clone(),
        };
        Ok(Instance {
            instance_id: self.instance_id.clone().unwrap_or_else(|| app.entropy.uuid().to_string()),
            host_type,
            host_player,
            host_player_id: caller.token().player_id.filter(|_| hosts_itself),
            registrar: caller.player(),
            allocation_id: None,
            // A player who hosts is there; a server is yet to be found.
            join_status: if hosted_by_player { JoinStatus::Pending } else { JoinStatus::Requested },
            join_params: None,
            startup_params,
            version: None,
            created: app.clock.now(),
            custom_data,
            health: None,
            match_id: None,
        })
    }
}

/// Changes an instance.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update) }: Input<SessionPath, RefreshQuery, Json<InstanceInfoUpdate>>,
) -> Result<Reply<Plain<InstanceView>>, Error> {
    let actor = caller.actor();
    let change = InstanceChange {
        allocation_id: update.allocation_id,
        join_status: update.join_status,
        join_params: update.join_params.map(JoinParams::from),
        version: update.version,
        custom_data: update.custom_data.map(|data| data.0),
        match_id: update.match_id,
    };
    let rule = move |session: &mut Session| session.update_instance(actor, change.clone());
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    instance_of(&cached.session)
}

/// Ends an instance.
pub async fn end(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<Changed>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.end_instance(actor);
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}

/// Takes a report of an instance's health: from a service for any instance, from a player for one they host.
pub async fn report_health(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(report) }: Input<
        SessionPath,
        RefreshQuery,
        Json<InstanceHealthStatusUpdate>,
    >,
) -> Result<Reply<Plain<HealthView>>, Error> {
    let InstanceHealthStatusUpdate { instance_health, instance_id } = report;
    let cached = app.sessions.get_latest(&path.session_id).await?;
    let host = caller.player().map(|_| caller.actor_unless(Permission::UpdateAny));
    let may_report = {
        let instance_id = instance_id.clone();
        move |session: &Session| {
            session.require_instance(&instance_id)?;
            host.map_or(Ok(()), |host| session.require_host(host))
        }
    };
    may_report(&cached.session)?;
    let health = app.health_report(&cached, &instance_id, instance_health).await?;
    let rule = move |session: &mut Session| {
        // Asked again: the session may have changed meanwhile.
        may_report(session)?;
        session.set_health(&instance_id, health)
    };
    let updated = app.sessions.update_unlimited(&path.session_id, query.refresh_ttl.0, rule).await;
    if matches!(updated, Err(Failure::Refused(Refused::SessionNotFound))) {
        // It ended meanwhile, and nothing would ever make the report forgotten.
        app.presence.forget(&path.session_id);
    }
    updated?;
    Ok(Reply::plain(&HealthView { updated_instance_health: health }))
}

/// When instances are expected to report.
pub async fn health_config(
    app: Arc<App>,
    _: Caller,
    _: Input,
) -> Result<Reply<Plain<HealthSettingsView>>, Error> {
    let settings = &app.settings.health;
    Ok(Reply::plain(&HealthSettingsView {
        cadence_seconds: settings.cadence_s,
        unhealthy_health_check_percentage: settings.unhealthy_missed_percent,
        missed_checks_before_unknown: settings.missed_before_unknown,
    }))
}

/// The session of an allocation, as everyone may see it.
pub async fn session_by_allocation(
    app: Arc<App>,
    _: Caller,
    Input { path, .. }: Input<AllocationPath>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let id = app.sessions.id_of_allocation(&path.allocation_id.0).await?.ok_or(Refused::SessionNotFound)?;
    let cached = app.session(&id).await?;
    Ok(Reply::document(&document_in(&app, &cached, outside_view(&cached.session))))
}

fn instance_of(session: &Session) -> Result<Reply<Plain<InstanceView>>, Error> {
    let instance = session.instance.as_ref().ok_or(Refused::InstanceNotFound)?;
    Ok(Reply::plain(&InstanceView::of(instance, Depth::Full)))
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
