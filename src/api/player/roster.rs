//! Inviting, promoting, moving, swapping and updating players.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::player::join::updated;
use crate::api::wire::player::PlayerUpdated;
use crate::api::wire::view::session_document;
use crate::api::wire::{CustomDataBody, team_index};
use crate::app::{App, CachedSession, Update};
use crate::auth::Caller;
use crate::domain::session::invite::{Invite, Overflow};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{PlayerInSessionPath, RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

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

/// Players, as they are after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayersUpdateResponse")]
pub struct PlayersUpdated {
    /// Those who changed.
    players: Vec<PlayerUpdated>,
}

impl InviteRequest {
    pub(super) fn invite(self, app: &App, caller: &Caller, source_session: Option<SessionId>) -> Invite {
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

/// Runs a rule about a player and answers the player's place.
async fn change(
    app: &App,
    caller: &Caller,
    path: &PlayerInSessionPath,
    query: &RefreshQuery,
    rule: impl FnMut(&mut Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
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
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
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
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
    let players = updated_players(&cached, &players)?;
    let document = session_document(&app, &caller, &cached);
    Ok(Reply::with_etag_of(&PlayersUpdated { players }, &document))
}

pub(super) fn updated_players(
    cached: &CachedSession,
    players: &[PlayerUuid],
) -> Result<Vec<PlayerUpdated>, Refused> {
    players.iter().map(|player| PlayerUpdated::of(&cached.session, *player)).collect()
}
