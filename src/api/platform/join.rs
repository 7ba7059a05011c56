//! Joining and leaving the parent session through a platform session.

use std::sync::Arc;

use crate::api::platform::read::PlatformSessionPath;
use crate::api::wire::client::JoinRequest;
use crate::api::wire::session::SessionView;
use crate::api::wire::view::session_document;
use crate::app::join::{Guesses, join, note_left};
use crate::app::{App, PlatformKey, Update};
use crate::auth::Caller;
use crate::domain::session::join::JoinPath;
use crate::domain::{Platform, PlatformSessionId, PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Reply, Versioned};

params! {
    /// Path of a player in a platform session.
    PlatformPlayerPath in "path" {
        /// Platform. Upper and lower case matter.
        platform: Platform,
        /// The platform's own id of its session. The server does not parse it and compares it byte for byte.
        platform_session_id_base64: PlatformSessionId,
        /// Player UUID.
        player_uuid: PlayerUuid,
    }
}

/// Id of the session that a platform session is linked to. Reads the latest version, since the session is about to
/// change.
async fn parent_id(app: &App, key: &PlatformKey) -> Result<SessionId, Error> {
    let found =
        app.sessions.find_latest_by_platform_session(key).await?.ok_or(Refused::PlatformSessionNotFound)?;
    Ok(found.session.id.clone())
}

/// Makes the caller join the parent session through the platform session.
pub async fn join_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, body, .. }: Input<PlatformSessionPath, (), Json<JoinRequest>>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let player = caller.require_player()?;
    join_through(app, caller, (path.platform, path.platform_session_id_base64), player, body.0).await
}

/// Makes a player join the parent session through the platform session.
pub async fn join_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, body, .. }: Input<PlatformPlayerPath, (), Json<JoinRequest>>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    caller.require_reach(path.player_uuid)?;
    join_through(app, caller, (path.platform, path.platform_session_id_base64), path.player_uuid, body.0)
        .await
}

async fn join_through(
    app: Arc<App>,
    caller: Caller,
    key: PlatformKey,
    player: PlayerUuid,
    request: JoinRequest,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let joiner = request.joiner(&caller, player, &["body"])?;
    let parent_id = parent_id(&app, &key).await?;
    let join_path = JoinPath::Platform(key.0);
    let is_linked = move |session: &Session| session.require_linked(key.0, &key.1);
    let guesses = Guesses::new(&app, (&caller).into());
    let cached = join(&app, (&parent_id, guesses), true, joiner, join_path, is_linked).await?;
    // Clients store this answer like that of Get Session, so it is the caller's own view.
    Ok(Reply::document(&session_document(&app, &caller, &cached)))
}

/// Makes the caller leave the parent session through the platform session.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlatformSessionPath>,
) -> Result<Reply<NoContent>, Error> {
    let player = caller.require_player()?;
    leave_through(app, (path.platform, path.platform_session_id_base64), player).await
}

/// Makes a player leave the parent session through the platform session.
pub async fn leave_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlatformPlayerPath>,
) -> Result<Reply<NoContent>, Error> {
    caller.require_reach(path.player_uuid)?;
    leave_through(app, (path.platform, path.platform_session_id_base64), path.player_uuid).await
}

async fn leave_through(
    app: Arc<App>,
    key: PlatformKey,
    player: PlayerUuid,
) -> Result<Reply<NoContent>, Error> {
    let id = parent_id(&app, &key).await?;
    let rule = move |session: &mut Session| {
        session.require_linked(key.0, &key.1)?;
        session.leave(player)
    };
    app.sessions.update(&id, Update::by_caller(true), rule).await?;
    note_left(&app, &id, player, None);
    Ok(Reply::no_content())
}
