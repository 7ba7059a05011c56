//! Changing who is in a session and where: inviting, promoting, moving, swapping, updating; and the deprecated
//! operation that does all of these by what its body contains.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PlayerIdInSessionPath, PlayerUpdated, player_of_id, updated};
use crate::api::policies;
use crate::api::wire::client::{CustomDataBody, team_index};
use crate::api::wire::session::session_document;
use crate::app::{App, CachedSession};
use crate::auth::{Caller, Denied, Permission};
use crate::domain::session::Status;
use crate::domain::session::invite::{Invite, Overflow};
use crate::domain::session::join::{JoinPath, Joiner};
use crate::domain::{Actor, CustomData, PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{PlayerInSessionPath, RefreshQuery, SessionPath, params};
use crate::http::operation::Input;
use crate::http::reply::{Changed, Plain, Reply, Versioned};
use crate::telemetry::Departure;

params! {
    /// The path of a session that is invited to another.
    InvitedSessionPath in "path" {
        /// The session invited to.
        session_id: SessionId,
        /// The session whose players are invited.
        invited_session_id: SessionId,
    }
}

params! {
    /// The path of a session whose players are taken out of another.
    KickedSessionPath in "path" {
        /// The session they are taken out of.
        session_id: SessionId,
        /// The session whose players go.
        kicked_session_id: SessionId,
    }
}

/// An invite.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerInviteRequest")]
pub struct InviteRequest {
    /// Index of the team asked for.
    team_id: Option<u64>,
    /// What to do where the team has no room for everyone.
    #[serde(default)]
    overflow_action: Overflow,
    /// Data for each player's entry.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// A move to another team.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerMoveRequest")]
pub struct MoveRequest {
    /// Index of the team; absent, the player stays.
    team_id: Option<u64>,
}

/// A change of a player's data.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerUpdateRequest")]
pub struct UpdateRequest {
    /// The data, replaced whole.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// Two players who swap teams.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerSwapRequest")]
pub struct SwapRequest {
    /// The two.
    #[schemars(length(min = 2, max = 2))]
    players: Vec<Uuid>,
}

/// Deprecated: a change of a player; what it does follows from what it contains.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SessionPlayerUpdateRequest")]
pub struct AnyUpdateRequest {
    /// `leader` promotes, `invited` and `reserved` invite, `member` joins who is not active.
    #[serde(default)]
    #[schemars(with = "Status", extend("default" = "member"))]
    status: Option<Status>,
    /// Index of the team.
    team_id: Option<u64>,
    /// The player's data; empty, it stays as it is.
    #[serde(default)]
    custom_data: CustomDataBody,
    /// What to do where the team has no room.
    #[serde(default)]
    overflow_action: Overflow,
}

/// Players, as they are after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayersUpdateResponse")]
pub struct PlayersUpdated {
    /// Those who changed.
    players: Vec<PlayerUpdated>,
}

/// The players of an invited session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionInviteResponse")]
pub struct SessionInvited {
    /// Those who were invited.
    players: Vec<PlayerUpdated>,
}

/// Runs a rule about a player and answers the player's place.
async fn change(
    app: &App,
    caller: &Caller,
    path: &PlayerInSessionPath,
    query: &RefreshQuery,
    rule: impl FnMut(&mut Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    updated(app, caller, &cached, path.player_uuid)
}

/// The data of a player.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<PlayerInSessionPath, RefreshQuery, Json<UpdateRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    let rule =
        move |session: &mut Session| session.update_player(actor, player, request.custom_data.0.clone());
    change(&app, &caller, &path, &query, rule).await
}

/// Invites a player.
pub async fn invite(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<PlayerInSessionPath, RefreshQuery, Json<InviteRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    let invite = request.invite(&app, &caller, None);
    let rule = move |session: &mut Session| session.invite(actor, player, &invite);
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    updated(&app, &caller, &cached, player)
}

/// Makes a player the leader.
pub async fn promote(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    change(&app, &caller, &path, &query, move |session: &mut Session| session.promote(actor, player)).await
}

/// Puts a player on another team.
pub async fn move_to(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<PlayerInSessionPath, RefreshQuery, Json<MoveRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player, catalog) = (caller.actor(), path.player_uuid, app.catalog());
    let rule = move |session: &mut Session| {
        let own = catalog.can_change_own_team(session);
        session.move_to(actor, player, request.team_id.map(team_index), own)
    };
    change(&app, &caller, &path, &query, rule).await
}

/// Swaps two players of different teams.
pub async fn swap(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<SessionPath, RefreshQuery, Json<SwapRequest>>,
) -> Result<Reply<Versioned<PlayersUpdated>>, Error> {
    let actor = caller.actor();
    let players: Vec<_> = request.players.into_iter().map(PlayerUuid).collect();
    let [one, other] = players[..] else { return Err(Error::Internal("two players, as checked".into())) };
    let rule = move |session: &mut Session| session.swap(actor, one, other);
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    let players = places(&cached, &players)?;
    let document = session_document(&app, &caller, &cached);
    Ok(Reply::with_etag_of(&PlayersUpdated { players }, &document))
}

/// Invites the active players of a session to another.
pub async fn invite_session(
    app: Arc<App>,
    caller: Caller,
    Input { path, body: Json(request), .. }: Input<InvitedSessionPath, (), Json<InviteRequest>>,
) -> Result<Reply<Versioned<SessionInvited>>, Error> {
    // Asked first what the rule asks again, so that standing is judged before the other session is looked for.
    let standing = caller.actor_unless(Permission::UpdatePlayerAny);
    app.sessions.get_latest(&path.invited_session_id).await?.session.require_active(standing)?;
    let (actor, version_check) = (caller.actor(), app.settings.version_check);
    let invite = request.invite(&app, &caller, Some(path.invited_session_id.clone()));
    let rule = move |session: &mut Session, invited: &Session| {
        invited.require_active(standing)?;
        let active = invited.active_players().into_iter();
        let party: Vec<_> = active.map(|(player, entry)| (player, entry.client.clone())).collect();
        session.invite_session(actor, &party, &invite, version_check)
    };
    let (players, cached) =
        app.sessions.update_beside(&path.session_id, &path.invited_session_id, rule).await?;
    let players = places(&cached, &players)?;
    let document = session_document(&app, &caller, &cached);
    Ok(Reply::with_etag_of(&SessionInvited { players }, &document))
}

/// Takes those out of a session who are active in another.
pub async fn kick_session(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<KickedSessionPath>,
) -> Result<Reply<Changed>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session, kicked: &Session| {
        session.kick_all(actor, &active_players(kicked).collect::<Vec<_>>())
    };
    let (gone, cached) = app.sessions.update_beside(&path.session_id, &path.kicked_session_id, rule).await?;
    for player in gone {
        app.metrics.departed(Departure::Kicked);
        let (session_id, by) = (&path.session_id, caller.player().map(tracing::field::display));
        tracing::info!(%session_id, player_uuid = %player, by, "player kicked from session with their own");
    }
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}

/// The active players of a session, longest-standing first.
fn active_players(session: &Session) -> impl Iterator<Item = PlayerUuid> {
    session.active_players().into_iter().map(|(player, _)| player)
}

fn places(cached: &CachedSession, players: &[PlayerUuid]) -> Result<Vec<PlayerUpdated>, Refused> {
    players.iter().map(|player| PlayerUpdated::of(&cached.session, *player)).collect()
}

impl InviteRequest {
    fn invite(self, app: &App, caller: &Caller, source_session: Option<SessionId>) -> Invite {
        Invite {
            reserve: false,
            team_id: self.team_id.map(team_index),
            overflow: self.overflow_action,
            custom_data: self.custom_data.0,
            inviting_player: caller.player(),
            source_session,
            now: app.clock.now(),
        }
    }
}

/// Deprecated: changes a player, under the permissions of promoting.
pub async fn update_any(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<AnyUpdateRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let cached = change_any(&app, &caller, &path, &query, request).await?;
    updated(&app, &caller, &cached, path.player_uuid)
}

/// Deprecated: changes a player, under the permissions of what it does.
pub async fn update_any_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<AnyUpdateRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let caller = request.admit(&caller)?;
    let cached = change_any(&app, &caller, &path, &query, request).await?;
    updated(&app, &caller, &cached, path.player_uuid)
}

impl AnyUpdateRequest {
    /// The caller as this change sees them: promoting takes one permission, everything else another, and whoever does
    /// both reaches only as far as both do.
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

/// Deprecated: changes a player, named by their older id, under the permissions of promoting.
pub async fn update_any_by_id(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request) }: Input<
        PlayerIdInSessionPath,
        RefreshQuery,
        Json<AnyUpdateRequest>,
    >,
) -> Result<Reply<Plain<PlayerUpdated>>, Error> {
    let player_uuid = player_of_id(&app, &caller, &path.session_id, path.player_id).await?;
    let path = PlayerInSessionPath { session_id: path.session_id, player_uuid };
    let cached = change_any(&app, &caller, &path, &query, request).await?;
    Ok(Reply::plain(&PlayerUpdated::of(&cached.session, player_uuid)?))
}

/// Does what the body says: invites, or joins; or, for whoever is in the session already, what it says of team and
/// data, and promotes.
async fn change_any(
    app: &Arc<App>,
    caller: &Caller,
    path: &PlayerInSessionPath,
    query: &RefreshQuery,
    request: AnyUpdateRequest,
) -> Result<Arc<CachedSession>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    let AnyUpdateRequest { status, team_id, custom_data: CustomDataBody(custom_data), overflow_action } =
        request;
    let team_id = team_id.map(team_index);
    let invite = Invite {
        reserve: status == Some(Status::Reserved),
        team_id,
        overflow: overflow_action,
        custom_data: custom_data.clone(),
        inviting_player: caller.player(),
        source_session: None,
        now: app.clock.now(),
    };
    let (rules, catalog) = (app.join_rules(app.clock.now()), app.catalog());
    let joiner = on_behalf(caller, player, team_id, &custom_data);
    let rule = move |session: &mut Session| {
        match status {
            Some(Status::Invited | Status::Reserved) => {
                return session.invite(actor, player, &invite);
            }
            Some(Status::Leader) => session.require_leader(actor)?,
            Some(Status::Member) if !session.is_active(player) => {
                if !matches!(actor, Actor::Anyone) && actor != Actor::Player(player) {
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
        // Last: whoever promotes another gives up what the rest may take.
        if status == Some(Status::Leader) { session.promote(actor, player) } else { Ok(()) }
    };
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    Ok(cached)
}

/// Someone who joins by an operation that says nothing of their client.
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
    }
}
