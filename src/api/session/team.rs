//! Teams of a session.

use std::sync::Arc;

use super::{TeamUpdate, team_change};
use crate::api::wire::session::{TeamView, is_suppressed, session_document, view_for};
use crate::app::App;
use crate::auth::Caller;
use crate::domain::{Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{RefreshQuery, TeamId, params};
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

params! {
    /// The path of a team.
    TeamPath in "path" {
        /// The session.
        session_id: SessionId,
        /// Index of the team.
        team_id: TeamId,
    }
}

/// Changes one team.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update) }: Input<TeamPath, RefreshQuery, Json<TeamUpdate>>,
) -> Result<Reply<Versioned<TeamView<'static>>>, Error> {
    let (actor, team_id, change) = (caller.actor(), path.team_id.0, team_change(update));
    let rule = move |session: &mut Session| session.update_team(actor, team_id, change.clone());
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    let view = view_for(&caller, &cached.session);
    let suppressed = is_suppressed(&app, &cached.session);
    let shown = |player, entry: &_| (!suppressed && view.shows(player, entry)).then_some(view.depth);
    let team = TeamView::with_players(&cached.session, team_id, shown);
    Ok(Reply::with_etag_of(&team, &session_document(&app, &caller, &cached)))
}
