//! Changing a team.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::change::{After, Change};
use crate::api::wire::CustomDataBody;
use crate::api::wire::player::TeamView;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::session::{Player, TeamChange};
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

/// A change of a team. Absent fields do not change.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct TeamUpdate {
    /// Number of slots.
    #[schemars(range(min = 1, max = 100))]
    max_size: Option<u32>,
    /// Custom data of the team. It replaces the previous data as a whole.
    custom_data: Option<CustomDataBody>,
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

/// Converts a change of a team to the input of the rules.
pub fn team_change(update: TeamUpdate) -> TeamChange {
    TeamChange {
        max_size: update.max_size.and_then(|size| usize::try_from(size).ok()),
        custom_data: update.custom_data.map(|data| data.0),
    }
}
