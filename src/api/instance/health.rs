//! Health reports of hosts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::{App, Failure, Update};
use crate::auth::{Caller, Permission};
use crate::domain::instance::Health;
use crate::domain::{Refused, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};

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
    let health = app.presence.health_report(&cached, &instance_id, instance_health).await?;
    let rule = move |session: &mut Session| {
        // Asked again: the session may have changed meanwhile.
        may_report(session)?;
        session.set_health(&instance_id, health)
    };
    let updated = app.sessions.update(&path.session_id, Update::by_server(query.refresh_ttl.0), rule).await;
    if matches!(updated, Err(Failure::Refused(Refused::SessionNotFound))) {
        // It ended meanwhile, and nothing would ever make the report forgotten.
        app.presence.forget(&path.session_id);
    }
    updated?;
    Ok(Reply::plain(&HealthView { updated_instance_health: health }))
}
