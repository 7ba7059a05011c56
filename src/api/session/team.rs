//! Changing a team.

use std::sync::Arc;

use crate::api::change::{After, Change};
use crate::api::wire::player::TeamView;
use crate::api::wire::session::{TeamUpdate, team_change};
use crate::app::App;
use crate::auth::Caller;
use crate::domain::session::Player;
use crate::domain::{Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{RefreshQuery, TeamId};
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

params! {
    /// Path of a team.
    TeamPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
        /// Index of the team.
        team_id: TeamId,
    }
}

/// Changes one team.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update), conditions }: Input<TeamPath, RefreshQuery, Json<TeamUpdate>>,
) -> Result<Reply<Versioned<TeamView<'static>>>, Error> {
    let (actor, team_id, change) = (caller.actor(), path.team_id.0, team_change(update));
    let rule = move |session: &mut Session| session.update_team(actor, team_id, change.clone());
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    let answer = move |(): &(), after: &After<'_>| {
        let view = after.view();
        let shown = |player, entry: &Player| view.shown(player, entry).filter(|_| entry.team_id == team_id);
        let team = TeamView::all(after.session(), shown).into_iter().nth(team_id);
        Ok(Reply::with_etag_of(&team.ok_or(Refused::TeamNotFound)?, &after.document()))
    };
    change.run(&path.session_id, rule, answer).await
}
