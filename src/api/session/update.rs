//! Changing and ending a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::change::{After, Change};
use crate::api::wire::CustomDataBody;
use crate::api::wire::session::{JoinabilityBody, SessionView, TeamUpdate, team_change};
use crate::app::App;
use crate::app::join::hash_password;
use crate::auth::Caller;
use crate::domain::Session;
use crate::domain::session::{Joinability, SessionChange};
use crate::domain::template::TEAMS_MAX;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Reply, Versioned};

/// A change of a session. Absent fields do not change.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SessionUpdate")]
pub struct SessionUpdate {
    /// Preferred region.
    #[schemars(length(min = 1, max = 128))]
    region_id: Option<String>,
    /// Custom data of the session. It replaces the previous data as a whole.
    custom_data: Option<CustomDataBody>,
    /// Deprecated: the same as `joinability.open`. If both are given, `joinability` takes precedence.
    joinable: Option<bool>,
    /// Join paths for players without an invite. They replace the previous ones as a whole.
    joinability: Option<JoinabilityBody>,
    /// Complete list of teams after the change. A field that an element omits does not change.
    #[schemars(length(max = TEAMS_MAX))]
    teams: Option<Vec<TeamUpdate>>,
    /// Password that players need to join.
    #[schemars(length(min = 1, max = 128))]
    password: Option<String>,
}

/// Changes a session.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<SessionUpdate>,
    >,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let actor = caller.actor();
    let region = app.catalog().check_region(update.region_id.as_deref());
    let change = change(&app, update);
    let rule = move |session: &mut Session| {
        // The check of the caller's status comes before the checks of the body.
        session.require_leader(actor)?;
        region.clone()?;
        session.update(actor, change.clone())
    };
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), after| Ok(Reply::document(&after.document()))).await
}

fn change(app: &App, update: SessionUpdate) -> SessionChange {
    SessionChange {
        region_id: update.region_id,
        custom_data: update.custom_data.map(|data| data.0),
        joinability: update.joinability.map(Joinability::from),
        joinable: update.joinable,
        teams: update.teams.map(|teams| teams.into_iter().map(team_change).collect()),
        password: update.password.map(|password| hash_password(app, &password)),
    }
}

/// Ends a session.
pub async fn delete(
    app: Arc<App>,
    caller: Caller,
    Input { path, conditions, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.end_by(actor);
    let note = |(): &(), after: &After<'_>| {
        tracing::info!(session_id = %after.session().id, "session ended by request");
    };
    let change = Change::by(app, caller, conditions).keeping_alive(false);
    change.run_and_note(&path.session_id, rule, |(), _| Ok(Reply::no_content()), note).await
}
