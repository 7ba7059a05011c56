//! Players: joining and leaving a session, and the list of a player's sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::body::Json;
use super::client::{CustomDataBody, JoinRequest, Named};
use super::error::Error;
use super::operation::Input;
use super::params::{Reason, RefreshQuery, RefreshTtl, SessionPath, params};
use super::reply::{NoContent, Reply, Versioned};
use super::view::session_document;
use crate::app::index::Membership;
use crate::app::{App, Failure, Live, View};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::join::{Door, Joiner};
use crate::domain::session::Status;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};

params! {
    /// The path of a player.
    PlayerPath in "path" {
        /// The player.
        player_uuid: PlayerUuid,
    }
}

params! {
    /// The query of leaving.
    LeaveQuery in "query" {
        /// Why; logged.
        reason: Reason,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// A player's place after a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPlayerUpdateResponse")]
pub struct PlayerUpdated {
    /// Who.
    player_uuid: PlayerUuid,
    /// Standing.
    status: Status,
    /// Index of the team.
    team_id: usize,
    /// The player's own data.
    custom_data: CustomDataBody,
}

/// The sessions of a player, by type.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSessions")]
pub struct PlayerSessions {
    /// By session type.
    sessions: Named<PlayerSessionsOfType>,
}

/// The sessions of a player of one type.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSession")]
pub struct PlayerSessionsOfType {
    /// The type.
    #[serde(rename = "type")]
    session_type: String,
    /// Sessions the player takes part in.
    session_ids: Vec<String>,
    /// Invites the player has not answered, by session.
    pending_invites: Named<PendingInvite>,
    /// Sessions that keep a place for the player.
    reserved_sessions: Vec<String>,
}

/// An invite.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayerSessionInvite")]
pub struct PendingInvite {
    /// To this session.
    session_id: String,
    /// From this player.
    #[serde(skip_serializing_if = "Option::is_none")]
    inviting_player_uuid: Option<PlayerUuid>,
}

/// Lets a player into a session if `also` has nothing against it, whichever door they come to.
pub async fn join(
    app: &App,
    id: &SessionId,
    refresh: bool,
    joiner: Joiner,
    door: Door,
    also: impl Fn(&Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Arc<Live>, Failure> {
    let rules = app.join_rules(app.clock.now());
    let rule = move |session: &mut Session| {
        also(session)?;
        session.join(&joiner, door, rules)
    };
    app.update_session(id, refresh, rule).await.map(|((), live)| live)
}

/// The caller joins a session.
pub async fn join_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body }: Input<SessionPath, RefreshQuery, Json<JoinRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let player = caller.require_player()?;
    let joiner = body.0.joiner(&caller, player, &["body"])?;
    let live = join(&app, &path.session_id, query.refresh_ttl.0, joiner, Door::Session, |_| Ok(())).await?;
    let entry = live.session.players.get(&player).ok_or(Refused::PlayerNotFound)?;
    let updated = PlayerUpdated {
        player_uuid: player,
        status: entry.status,
        team_id: entry.team_id,
        custom_data: CustomDataBody(entry.custom_data.clone()),
    };
    Ok(Reply::with_etag_of(&updated, session_document(&live, View::Full)))
}

/// The caller leaves a session, or declines an invite or a reservation.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let player = caller.require_player()?;
    let rule = move |session: &mut Session| session.leave(player);
    match app.update_session(&path.session_id, query.refresh_ttl.0, rule).await {
        Ok(_) => {
            let reason = query.reason.0.as_deref();
            tracing::info!(session_id = %path.session_id, player_uuid = %player, reason, "player left session");
            Ok(Reply::no_content())
        }
        Err(gone @ Failure::Refused(Refused::SessionNotFound)) => {
            // Clients leave a session that is gone to clean their list up; help them.
            app.sessions.forget_membership(player, &path.session_id).await?;
            Err(gone.into())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// The caller's sessions.
pub async fn sessions_self(
    app: Arc<App>,
    caller: Caller,
    _: Input,
) -> Result<Reply<Versioned<PlayerSessions>>, Error> {
    sessions(&app, caller.require_player()?).await
}

/// A player's sessions.
pub async fn sessions_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlayerPath>,
) -> Result<Reply<Versioned<PlayerSessions>>, Error> {
    caller.require_reach(path.player_uuid)?;
    sessions(&app, path.player_uuid).await
}

async fn sessions(app: &App, player: PlayerUuid) -> Result<Reply<Versioned<PlayerSessions>>, Error> {
    let mut by_type: BTreeMap<String, PlayerSessionsOfType> = BTreeMap::new();
    for (id, Membership { session_type, status, inviting_player }) in app.sessions.memberships(player).await?
    {
        let of_type = by_type.entry(session_type.clone()).or_insert_with(|| PlayerSessionsOfType {
            session_type,
            session_ids: Vec::new(),
            pending_invites: Named::new(),
            reserved_sessions: Vec::new(),
        });
        let session_id = id.to_string();
        match status {
            Status::Leader | Status::Member => of_type.session_ids.push(session_id),
            Status::Reserved => of_type.reserved_sessions.push(session_id),
            Status::Invited => {
                let invite =
                    PendingInvite { session_id: session_id.clone(), inviting_player_uuid: inviting_player };
                of_type.pending_invites.insert(session_id, invite);
            }
        }
    }
    Ok(Reply::document(&Document::of(&PlayerSessions { sessions: by_type })))
}
