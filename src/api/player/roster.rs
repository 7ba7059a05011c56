//! Inviting, promoting, moving, swapping and updating players of a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::change::{After, Change};
use crate::api::player::join::updated;
use crate::api::wire::player::PlayerUpdated;
use crate::api::wire::view::seen_by;
use crate::api::wire::{CustomDataBody, team_index};
use crate::app::App;
use crate::auth::Caller;
use crate::domain::session::invite::{Invite, Overflow};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{PlayerInSessionPath, RefreshQuery, SessionPath};
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

/// A request to invite one player, or the players of a session.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerInviteRequest")]
pub struct InviteRequest {
    /// Index of the requested team. If it is absent, the server chooses a team with enough free slots.
    team_id: Option<u64>,
    /// What happens if the team has too few free slots.
    #[serde(default)]
    overflow_action: Overflow,
    /// Custom data of each invited player's entry.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// A request to move a player to another team.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerMoveRequest")]
pub struct MoveRequest {
    /// Index of the new team. If it is absent, the player stays.
    team_id: Option<u64>,
}

/// A change of a player's custom data.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerUpdateRequest")]
pub struct UpdateRequest {
    /// Custom data of the player. It replaces the previous data as a whole.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// A request to swap the teams of two players.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlayerSwapRequest")]
pub struct SwapRequest {
    /// UUIDs of the two players.
    #[schemars(length(min = 2, max = 2))]
    players: Vec<Uuid>,
}

/// Players of a session after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayersUpdateResponse")]
pub struct PlayersUpdated {
    /// Changed players.
    players: Vec<PlayerUpdated>,
}

impl InviteRequest {
    /// Converts the request to the input of the invite rules.
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

/// Changes a session by a rule about a player, and replies with the player's entry.
async fn change_player(
    change: Change,
    PlayerInSessionPath { session_id, player_uuid: player }: PlayerInSessionPath,
    query: RefreshQuery,
    rule: impl FnMut(&mut Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let change = change.keeping_alive(query.refresh_ttl.0).of_player(player);
    change.run(&session_id, rule, move |(), after| updated(after, player)).await
}

/// Replaces the custom data of a player.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<UpdateRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    let rule = seen_by(&caller, &[player], move |session: &mut Session| {
        session.update_player(actor, player, request.custom_data.0.clone())
    });
    change_player(Change::by(app, caller, conditions), path, query, rule).await
}

/// Invites a player to a session.
pub async fn invite(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<InviteRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    let invite = request.invite(&app, &caller, None);
    let rule = move |session: &mut Session| session.invite(actor, player, &invite);
    change_player(Change::by(app, caller, conditions), path, query, rule).await
}

/// Makes an active player the leader.
pub async fn promote(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player) = (caller.actor(), path.player_uuid);
    let rule = seen_by(&caller, &[player], move |session: &mut Session| session.promote(actor, player));
    change_player(Change::by(app, caller, conditions), path, query, rule).await
}

/// Moves a player to another team.
pub async fn move_to(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        PlayerInSessionPath,
        RefreshQuery,
        Json<MoveRequest>,
    >,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let (actor, player, catalog) = (caller.actor(), path.player_uuid, app.catalog());
    let rule = seen_by(&caller, &[player], move |session: &mut Session| {
        let may_move_self = catalog.can_change_own_team(session);
        session.move_to(actor, player, request.team_id.map(team_index), may_move_self)
    });
    change_player(Change::by(app, caller, conditions), path, query, rule).await
}

/// Swaps two players of different teams.
pub async fn swap(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(request), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<SwapRequest>,
    >,
) -> Result<Reply<Versioned<PlayersUpdated>>, Error> {
    let actor = caller.actor();
    let players: Vec<_> = request.players.into_iter().map(PlayerUuid).collect();
    // The schema of the body requires exactly two players.
    let [one, other] = players[..] else {
        return Err(Error::Internal("a swap request without exactly two players".into()));
    };
    let rule = seen_by(&caller, &players, move |session: &mut Session| session.swap(actor, one, other));
    let answer = move |(): &(), after: &After<'_>| {
        let players = updated_players(after.session(), &players)?;
        Ok(Reply::with_etag_of(&PlayersUpdated { players }, &after.document()))
    };
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, answer).await
}

/// The current entries of these players.
pub(super) fn updated_players(
    session: &Session,
    players: &[PlayerUuid],
) -> Result<Vec<PlayerUpdated>, Refused> {
    players.iter().map(|player| PlayerUpdated::of(session, *player)).collect()
}
