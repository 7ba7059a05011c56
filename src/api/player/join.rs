//! Joining, leaving, kicking.

use std::sync::Arc;

use crate::api::wire::client::JoinRequest;
use crate::api::wire::player::PlayerUpdated;
use crate::api::wire::view::session_document;
use crate::app::join::{join, note_left};
use crate::app::{App, CachedSession, Failure, Update};
use crate::auth::Caller;
use crate::domain::session::join::JoinPath;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{
    PlayerInSessionPath, Reason, RefreshQuery, RefreshTtl, SessionPath, params,
};
use crate::http::operation::Input;
use crate::http::reply::{Changed, NoContent, Reply, Versioned};
use crate::telemetry::Departure;

params! {
    /// The path of a player of a session, by their older, numeric id.
    PlayerIdInSessionPath in "path" {
        /// The session.
        session_id: SessionId,
        /// The player's older, numeric id.
        player_id: i64,
    }
}

params! {
    /// The query of leaving and kicking.
    LeaveQuery in "query" {
        /// Why; logged.
        reason: Reason,
        /// Whether this request keeps the session alive.
        refresh_ttl: RefreshTtl,
    }
}

/// The caller joins a session.
pub async fn join_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body }: Input<SessionPath, RefreshQuery, Json<JoinRequest>>,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let player = caller.require_player()?;
    let joiner = body.0.joiner(&caller, player, &["body"])?;
    let cached =
        join(&app, &path.session_id, query.refresh_ttl.0, joiner, JoinPath::Session, |_| Ok(())).await?;
    updated(&app, &caller, &cached, player)
}

/// The caller leaves a session, or declines an invite or a reservation.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let player = caller.require_player()?;
    let rule = move |session: &mut Session| session.leave(player);
    match app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await {
        Ok(_) => {
            note_left(&app, &path.session_id, player, query.reason.0.as_deref());
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

/// Takes a player out of a session, or takes back an invite.
pub async fn kick(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, LeaveQuery>,
) -> Result<Reply<Changed>, Error> {
    let cached = kick_from(&app, &caller, &path.session_id, path.player_uuid, query).await?;
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}

/// Deprecated: takes a player, named by their older id, out of a session.
pub async fn kick_by_id(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerIdInSessionPath, LeaveQuery>,
) -> Result<Reply<NoContent>, Error> {
    let player = player_of_id(&app, &caller, &path.session_id, path.player_id).await?;
    kick_from(&app, &caller, &path.session_id, player, query).await?;
    Ok(Reply::no_content())
}

async fn kick_from(
    app: &App,
    caller: &Caller,
    id: &SessionId,
    player: PlayerUuid,
    query: LeaveQuery,
) -> Result<Arc<CachedSession>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.kick(actor, player);
    let ((), cached) = app.sessions.update(id, Update::by_caller(query.refresh_ttl.0), rule).await?;
    let reason = query.reason.0.as_deref();
    if caller.player() == Some(player) {
        note_left(app, id, player, reason);
    } else {
        app.metrics.departed(Departure::Kicked);
        let by = caller.player().map(tracing::field::display);
        tracing::info!(session_id = %id, player_uuid = %player, reason, by, "player kicked from session");
    }
    Ok(cached)
}

/// The player whom a path names by an older, numeric id, in a session that must be there, so that nobody learns which
/// ids are known without one: the caller's own by their token, others' as tokens in sessions have named it.
pub async fn player_of_id(
    app: &App,
    caller: &Caller,
    id: &SessionId,
    player_id: i64,
) -> Result<PlayerUuid, Error> {
    app.sessions.get(id).await?;
    match caller.player_of_own_id(player_id) {
        Some(player) => Ok(player),
        None => Ok(app.sessions.player_of_id(player_id).await?),
    }
}

/// A player's place after a change, with the version of the session as the caller would now read it.
pub fn updated(
    app: &App,
    caller: &Caller,
    cached: &CachedSession,
    player: PlayerUuid,
) -> Result<Reply<Versioned<PlayerUpdated>>, Error> {
    let updated = PlayerUpdated::of(&cached.session, player)?;
    Ok(Reply::with_etag_of(&updated, &session_document(app, caller, cached)))
}
