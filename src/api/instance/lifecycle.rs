//! Requesting, changing and ending an instance.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::api::change::{After, Change};
use crate::api::wire::InstanceDataBody;
use crate::api::wire::instance::{InstanceView, JoinParamsBody, StartupParamsBody};
use crate::api::wire::view::seen_by;
use crate::app::instances::InstanceRequest;
use crate::app::{App, Detail, Failure};
use crate::auth::Caller;
use crate::domain::instance::{HostType, InstanceChange, JoinParams, JoinStatus, StartupParams};
use crate::domain::{Actor, PlayerUuid, Refused, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Changed, Plain, Reply};

/// A request for an instance, or the registration of a host.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "InstanceRequest")]
pub struct InstanceRequestBody {
    /// Id of the instance. If it is absent, the server generates one.
    #[schemars(length(min = 1, max = 128))]
    instance_id: Option<String>,
    /// Startup parameters of the instance.
    instance_startup_params: Option<StartupParamsBody>,
    /// Kind of host.
    #[serde(default)]
    host_type: HostType,
    /// Id of an instance request template. It takes precedence over `host_type` and `instance_startup_params`.
    instance_request_template_id: Option<Uuid>,
    /// UUID of the player who hosts the instance, for host types `player` and `standalone`. If it is absent, the caller hosts.
    host_player_uuid: Option<Uuid>,
    /// Custom data of the instance. If it is empty, that of the template applies.
    #[serde(default)]
    custom_data: InstanceDataBody,
}

/// A change of an instance. Absent fields do not change.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct InstanceInfoUpdate {
    /// Allocation of the sender. The first one is kept; from then on, every update must contain it.
    #[schemars(length(min = 1, max = 128))]
    allocation_id: Option<String>,
    /// Stage of the instance. `closed` is final.
    join_status: Option<JoinStatus>,
    /// Connection parameters for players.
    join_params: Option<JoinParamsBody>,
    /// Version of the host's software.
    version: Option<String>,
    /// Custom data of the instance. It replaces the previous data as a whole, but not what the server added.
    custom_data: Option<InstanceDataBody>,
    /// Id of the match that is played on the instance.
    match_id: Option<String>,
}

/// Requests an instance for a session, or registers the caller as its host.
pub async fn request(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<InstanceRequestBody>,
    >,
) -> Result<Reply<Plain<InstanceView>>, Error> {
    let actor = caller.actor();
    let has_own_params =
        request.instance_request_template_id.is_none() && request.host_type == HostType::Dedicated;
    let needs_template =
        has_own_params && matches!(actor, Actor::Player(_)) && !app.settings.players_send_startup_params;
    let instance = match InstanceRequest::from(request).instance(&app, &caller) {
        Ok(_) if needs_template => Err(Refused::StartupParamsNotAllowed),
        Ok(instance) => Ok(instance),
        Err(Failure::Refused(refused)) => Err(refused),
        Err(failure) => return Err(failure.into()),
    };
    let host = instance.as_ref().ok().and_then(|instance| instance.host_player);
    let (launches, catalog) = (Arc::clone(&app.launches), app.catalog());
    let rule = move |session: &mut Session| {
        // The check of the caller's status comes before those of the request.
        session.require_leader(actor)?;
        let mut instance = instance.clone()?;
        launches.link(&catalog, session, &mut instance);
        session.request_instance(actor, instance)
    };
    let rule = seen_by(&caller, host.as_slice(), rule);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), after| instance_of(after)).await
}

impl From<InstanceRequestBody> for InstanceRequest {
    fn from(body: InstanceRequestBody) -> Self {
        Self {
            instance_id: body.instance_id,
            startup_params: body.instance_startup_params.map(StartupParams::from),
            host_type: body.host_type,
            template_id: body.instance_request_template_id,
            host_player: body.host_player_uuid.map(PlayerUuid),
            custom_data: body.custom_data.0,
        }
    }
}

/// Changes the instance of a session.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<InstanceInfoUpdate>,
    >,
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
    let now = app.clock.now();
    let rule = move |session: &mut Session| session.update_instance(actor, change.clone(), now);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change
        .run_and_note(&path.session_id, rule, |(), after| instance_of(after), |(), after| log_end(after))
        .await
}

/// Ends the instance of a session.
pub async fn end(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<Changed>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.end_instance(actor);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    let answer = |(): &(), after: &After<'_>| Ok(Reply::changed(&after.document()));
    change.run_and_note(&path.session_id, rule, answer, |(), after| log_end(after)).await
}

/// Logs if the session has ended with its instance.
fn log_end(after: &After<'_>) {
    if after.session().ended {
        tracing::info!(session_id = %after.session().id, "session ended with its instance");
    }
}

fn instance_of(after: &After<'_>) -> Result<Reply<Plain<InstanceView>>, Error> {
    let instance = after.session().instance.as_ref().ok_or(Refused::InstanceNotFound)?;
    // The leader and the host see the whole session, and so does a service that may change any.
    Ok(Reply::plain(&InstanceView::of(instance, Detail::Full)))
}
