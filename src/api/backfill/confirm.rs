//! The requests of hosts about their backfill.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::change::{After, Change};
use crate::api::wire::player::PlayerView;
use crate::api::wire::queue::{JoinParamsBody, TextsBody};
use crate::api::wire::team_index;
use crate::api::wire::view::view_for;
use crate::app::App;
use crate::auth::Caller;
use crate::domain::session::backfill::{BackfillConfirmation, BackfillStyle};
use crate::domain::session::invite::Overflow;
use crate::domain::{PlayerUuid, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{RefreshQuery, SessionPath};
use crate::http::input::violation::{LocStep, ViolationKind};
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Plain, Reply};

/// A confirmation of a backfill.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AcknowledgeBackfillRequest")]
pub struct ConfirmationBody {
    /// Id of the session's instance.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
    /// Data of the host. It is kept, and shown in the session.
    extensions: Option<TextsBody>,
    /// What happens to a party for which no team has enough places. A party is never invited in part.
    #[serde(default)]
    overflow_action: Overflow,
    /// What the host wants players for.
    #[schemars(length(max = 8))]
    styles: Option<Vec<BackfillStyle>>,
}

/// The players who were invited since the last confirmation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AcknowledgeBackfillResponse")]
pub struct Confirmed<'a> {
    /// Players who were invited to the match since the last confirmation.
    backfilled_players: Vec<PlayerView<'a>>,
}

/// How many players a match wants.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "UpdateBackfillRequest")]
pub struct WantedBody {
    /// Id of the session's instance.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
    /// What tickets have to fit. It replaces all that was said before.
    additional_join_params: Option<JoinParamsBody>,
    /// Teams that want players. Teams that are left out want none.
    #[serde(default)]
    #[schemars(length(max = 50))]
    teams: Vec<WantedTeamBody>,
}

/// A team that wants players.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BackfillTeam")]
pub struct WantedTeamBody {
    /// Number of players that the team wants.
    players_required: u64,
    /// Index of the team.
    team_id: u64,
}

/// A request about the backfill of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "BaseBackfillRequest")]
pub struct InstanceBody {
    /// Id of the session's instance.
    #[schemars(length(min = 1, max = 128))]
    instance_id: String,
}

impl WantedBody {
    /// The number of players by team.
    fn wanted(&self) -> Result<BTreeMap<usize, usize>, Error> {
        let mut wanted = BTreeMap::new();
        let mut violations = Vec::new();
        for (index, team) in self.teams.iter().enumerate() {
            let players = usize::try_from(team.players_required).unwrap_or(usize::MAX);
            if wanted.insert(team_index(team.team_id), players).is_some() {
                let steps = ["body".into(), "teams".into(), LocStep::Index(index), "team_id".into()];
                violations.push(ViolationKind::NOT_UNIQUE.at(steps));
            }
        }
        if violations.is_empty() { Ok(wanted) } else { Err(Error::Invalid(violations)) }
    }
}

/// Confirms a backfill.
pub async fn confirm(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(body), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<ConfirmationBody>,
    >,
) -> Result<Reply<Plain<Confirmed<'static>>>, Error> {
    let (actor, instance_id) = (caller.actor(), body.instance_id);
    let confirmation = BackfillConfirmation {
        overflow_action: body.overflow_action,
        styles: body.styles,
        extensions: body.extensions.map(|extensions| extensions.0),
    };
    let noting = Arc::clone(&app);
    let rule = move |session: &mut Session| {
        let invited = session.confirm_backfill(actor, &instance_id, confirmation.clone())?;
        // Under the session lock: the check that ends silent backfills has it, too, and so comes before or knows this.
        noting.presence.backfill_confirmed(session);
        Ok(invited)
    };
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    let note =
        |_: &Vec<PlayerUuid>, after: &After<'_>| after.app.matchmaker.backfill_confirmed(&after.session().id);
    change.run_and_note(&path.session_id, rule, |invited, after| confirmed(invited, after), note).await
}

fn confirmed(invited: &[PlayerUuid], after: &After<'_>) -> Result<Reply<Plain<Confirmed<'static>>>, Error> {
    let (session, view) = (after.session(), view_for(after.caller, after.session()));
    let shown = invited.iter().filter_map(|player| {
        let entry = session.entry(*player).ok()?;
        Some(PlayerView::of(*player, entry, view.shown(*player, entry)?))
    });
    Ok(Reply::plain_of(&Confirmed { backfilled_players: shown.collect() }))
}

/// Changes how many players a match wants.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(body), conditions }: Input<SessionPath, RefreshQuery, Json<WantedBody>>,
) -> Result<Reply<NoContent>, Error> {
    let (actor, wanted) = (caller.actor(), body.wanted()?);
    let (instance_id, params) = (body.instance_id, body.additional_join_params.map(Into::into));
    let rule = move |session: &mut Session| {
        session.update_backfill(actor, &instance_id, wanted.clone(), params.clone())
    };
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), _| Ok(Reply::no_content())).await
}

/// Ends the backfill of a match.
pub async fn delete(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(body), conditions }: Input<SessionPath, RefreshQuery, Json<InstanceBody>>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.delete_backfill(actor, &body.instance_id);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), _| Ok(Reply::no_content())).await
}
