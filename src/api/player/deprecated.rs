//! The deprecated operation that promotes, invites, joins, moves or updates a player. Its body decides which.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::change::{After, Change};
use crate::api::player::join::{NamedPlayer, PlayerIdInSessionPath, updated};
use crate::api::policies;
use crate::api::wire::player::PlayerUpdated;
use crate::api::wire::view::seen_by;
use crate::api::wire::{CustomDataBody, requested_team, team_index};
use crate::app::App;
use crate::app::join::join_rules;
use crate::auth::{Caller, Denied};
use crate::domain::session::Status;
use crate::domain::session::invite::{Invite, Overflow};
use crate::domain::session::join::{JoinPath, Joiner};
use crate::domain::{Actor, CustomData, PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{PlayerInSessionPath, RefreshQuery};
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply, ReplyKind, Versioned};

/// Deprecated: a change of a player. Its fields decide what it does.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SessionPlayerUpdateRequest")]
pub struct AnyUpdateRequest {
    /// `leader` promotes the player, `invited` and `reserved` invite the player, `member` makes an inactive player join.
    #[serde(default)]
    #[schemars(with = "Status", extend("default" = "member"))]
    status: Option<Status>,
    /// Index of the player's team. With the status `member`, 0 requests no team: a player who joins gets the team of their invite, else the first team with a free slot.
    team_id: Option<u64>,
    /// Custom data of the player. Empty data does not change it.
    #[serde(default)]
    custom_data: CustomDataBody,
    /// What happens if the team has too few free slots.
    #[serde(default)]
    overflow_action: Overflow,
}

impl AnyUpdateRequest {
    /// Narrows the caller to the permissions for this change. Promoting needs one permission, all other changes
    /// another. For a request that does both, the caller may act on other players only if both permissions allow it.
    fn admit(&self, caller: &Caller) -> Result<Caller, Denied> {
        if self.status != Some(Status::Leader) {
            return caller.narrowed(policies::UPDATE_PLAYER);
        }
        let promoting = caller.narrowed(policies::PROMOTE)?;
        if self.team_id.is_none() && self.custom_data.0.is_empty() {
            return Ok(promoting);
        }
        let updating = caller.narrowed(policies::UPDATE_PLAYER)?;
        Ok(if updating.reaches_all() { promoting } else { updating })
    }
}

/// Deprecated: changes a player. All changes need the permission to promote.
pub async fn update_any(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<AnyUpdateRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (player, named) = (path.player_uuid, NamedPlayer::by_uuid(path.player_uuid));
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change_any(change, &path.session_id, named, request, move |after| updated(after, player)).await
}

/// Deprecated: changes a player. Each change needs its own permission.
pub async fn update_any_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<AnyUpdateRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let caller = request.admit(&caller)?;
    let (player, named) = (path.player_uuid, NamedPlayer::by_uuid(path.player_uuid));
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change_any(change, &path.session_id, named, request, move |after| updated(after, player)).await
}

/// Deprecated: changes a player, by their older id. All changes need the permission to promote.
pub async fn update_any_by_id(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        PlayerIdInSessionPath,
        RefreshQuery,
        Json<AnyUpdateRequest>,
    >,
) -> Result<Reply<Plain<PlayerUpdated>>, Error> {
    let named = NamedPlayer::by_id(&app, &caller, path.player_id).await?;
    let player = named.uuid;
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    let answer = move |after: &After<'_>| Ok(Reply::plain(&PlayerUpdated::of(after.session(), player)?));
    change_any(change, &path.session_id, named, request, answer).await
}

/// Carries out the change: it invites the player, or makes them join; otherwise it moves and updates the player, and
/// then promotes them if the request says so.
async fn change_any<K: ReplyKind>(
    change: Change,
    id: &SessionId,
    named: NamedPlayer,
    request: AnyUpdateRequest,
    answer: impl Fn(&After<'_>) -> Result<Reply<K>, Error> + Send + Sync + 'static,
) -> Result<Reply<K>, Error> {
    let (app, caller) = (&change.app, &change.caller);
    let (actor, player) = (caller.actor(), named.uuid);
    let AnyUpdateRequest { status, team_id, custom_data: CustomDataBody(custom_data), overflow_action } =
        request;
    let joiner = on_behalf(caller, player, team_id.and_then(requested_team), &custom_data);
    let team_id = match status {
        // A join that is repeated. It requests no team with 0, like the join before.
        Some(Status::Member) => team_id.and_then(requested_team),
        _ => team_id.map(team_index),
    };
    let invite = Invite {
        reserve: status == Some(Status::Reserved),
        team_id,
        overflow: overflow_action,
        custom_data: custom_data.clone(),
        inviting_player: caller.player(),
        source_session: None,
        now: app.clock.now(),
    };
    let (rules, catalog) = (join_rules(app), app.catalog());
    let rule = move |session: &mut Session| {
        let is_for_others = !matches!(actor, Actor::Anyone) && actor != Actor::Player(player);
        if is_for_others {
            // Before anything depends on whether the player is in the session.
            session.require_active(actor)?;
        }
        match status {
            Some(Status::Invited | Status::Reserved) => {
                return session.invite(actor, player, &invite);
            }
            Some(Status::Leader) => session.require_leader(actor)?,
            Some(Status::Member) if !session.is_active(player) => {
                if is_for_others {
                    return Err(Refused::JoinForOthers);
                }
                return session.join(&joiner, JoinPath::Session, rules);
            }
            Some(Status::Member) | None => {}
        }
        let current = session.entry(player)?.team_id;
        if let Some(team_id) = team_id.filter(|team_id| *team_id != current) {
            session.move_to(actor, player, Some(team_id), catalog.can_change_own_team(session))?;
        }
        if custom_data.is_empty() {
            session.require_active(actor)?;
        } else {
            session.update_player(actor, player, custom_data.clone())?;
        }
        // This comes last: a leader who promotes another player loses the right to make the other changes.
        if status == Some(Status::Leader) { session.promote(actor, player) } else { Ok(()) }
    };
    // An invite says nothing about the player that the caller does not say.
    let is_invite = matches!(status, Some(Status::Invited | Status::Reserved));
    let concerned: &[_] = if is_invite { &[] } else { &[player] };
    let rule = named.known(seen_by(caller, concerned, rule));
    change.of_player(player).run(id, rule, move |(), after| answer(after)).await
}

/// The join input for a player whose request has no client data.
fn on_behalf(
    caller: &Caller,
    player: PlayerUuid,
    team_id: Option<usize>,
    custom_data: &CustomData,
) -> Joiner {
    let own_token = (caller.player() == Some(player)).then(|| caller.token());
    Joiner {
        player,
        player_id: own_token.and_then(|token| token.player_id),
        client: None,
        team_id,
        custom_data: (!custom_data.is_empty()).then(|| custom_data.clone()),
        password: None,
        friend: None,
        claims: own_token.map(|token| token.claims.clone()).unwrap_or_default(),
    }
}
