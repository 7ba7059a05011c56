//! Joining and leaving the parent session through a platform session.

use std::sync::Arc;

use crate::api::change::{After, Change};
use crate::api::platform::read::PlatformSessionPath;
use crate::api::wire::client::JoinRequest;
use crate::api::wire::session::SessionView;
use crate::app::join::{Guesses, join_rule, note_left};
use crate::app::{App, PlatformKey};
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
    Input { path, body, conditions, .. }: Input<PlatformSessionPath, (), Json<JoinRequest>>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let player = caller.require_player()?;
    let change = Change::by(app, caller, conditions);
    join_through(change, (path.platform, path.platform_session_id_base64), player, body.0).await
}

/// Makes a player join the parent session through the platform session.
pub async fn join_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, body, conditions, .. }: Input<PlatformPlayerPath, (), Json<JoinRequest>>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    caller.require_reach(path.player_uuid)?;
    let change = Change::by(app, caller, conditions);
    join_through(change, (path.platform, path.platform_session_id_base64), path.player_uuid, body.0).await
}

async fn join_through(
    change: Change,
    key: PlatformKey,
    player: PlayerUuid,
    request: JoinRequest,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let (app, caller) = (&change.app, &change.caller);
    let joiner = request.joiner(caller, player, &["body"])?;
    let parent_id = parent_id(app, &key).await?;
    let mut join = join_rule(app, Guesses::new(app, caller.into()), joiner, JoinPath::Platform(key.0));
    let linked = key.clone();
    let rule = move |session: &mut Session| {
        session.require_linked(linked.0, &linked.1)?;
        join(session)
    };
    let change = change.of_platform_session(key).without_platform();
    // Clients store this answer like that of Get Session, so it is the caller's own view.
    change.run(&parent_id, rule, |(), after| Ok(Reply::document(&after.document()))).await
}

/// Makes the caller leave the parent session through the platform session.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, conditions, .. }: Input<PlatformSessionPath>,
) -> Result<Reply<NoContent>, Error> {
    let player = caller.require_player()?;
    leave_through(
        Change::by(app, caller, conditions),
        (path.platform, path.platform_session_id_base64),
        player,
    )
    .await
}

/// Makes a player leave the parent session through the platform session.
pub async fn leave_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, conditions, .. }: Input<PlatformPlayerPath>,
) -> Result<Reply<NoContent>, Error> {
    caller.require_reach(path.player_uuid)?;
    let change = Change::by(app, caller, conditions);
    leave_through(change, (path.platform, path.platform_session_id_base64), path.player_uuid).await
}

async fn leave_through(
    change: Change,
    key: PlatformKey,
    player: PlayerUuid,
) -> Result<Reply<NoContent>, Error> {
    let id = parent_id(&change.app, &key).await?;
    let (linked, now) = (key.clone(), change.app.clock.now());
    let rule = move |session: &mut Session| {
        session.require_linked(linked.0, &linked.1)?;
        session.leave(player, now)
    };
    let note = |(): &(), after: &After<'_>| note_left(after.app, &after.session().id, player, None);
    let change = change.of_platform_session(key).without_platform();
    change.run_and_note(&id, rule, |(), _| Ok(Reply::no_content()), note).await
}
