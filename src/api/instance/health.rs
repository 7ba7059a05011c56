//! Reporting the health of an instance.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::{App, Failure, Update};
use crate::auth::{Caller, Permission};
use crate::domain::instance::Health;
use crate::domain::{Refused, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

/// A health report of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct InstanceHealthStatusUpdate {
    /// Health of the instance, as its host reports it.
    instance_health: Health,
    /// Id of the instance.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
}

/// The health of an instance after a health report.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InstanceHealthStatusResponse")]
pub struct HealthView {
    /// Health of the instance after this report. It can be worse than reported if earlier reports are missing.
    updated_instance_health: Health,
}

/// Records a health report of an instance. A service may report for any instance, a player only for an instance that
/// they host.
pub async fn report_health(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(report), .. }: Input<
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
    let health = app.presence.health_report(&cached, &instance_id, instance_health).await?;
    let rule = move |session: &mut Session| {
        // The session may have changed since the first check.
        may_report(session)?;
        session.set_health(&instance_id, health)
    };
    let update = Update::by_server(query.refresh_ttl.0).made_by(caller.player());
    let updated = app.sessions.update(&path.session_id, update, rule).await;
    if matches!(updated, Err(Failure::Refused(Refused::SessionNotFound))) {
        // The session has ended since the first check, so nothing else removes the report from memory.
        app.presence.forget(&path.session_id);
    }
    updated?;
    Ok(Reply::plain(&HealthView { updated_instance_health: health }))
}
