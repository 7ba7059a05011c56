//! Platform sessions: Get Platform Session Info, linking and unlinking, joining and leaving through them.

use std::sync::Arc;

use super::player::{join, left};
use super::session::present;
use super::wire::client::JoinRequest;
use super::wire::platform::{PlatformSessionView, platform_document};
use super::wire::session::{SessionView, session_document};
use crate::app::{App, Failure, PlatformKey};
use crate::auth::{Caller, Permission};
use crate::domain::session::join::JoinPath;
use crate::domain::{Platform, PlatformSessionId, PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{RefreshQuery, params};
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Reply, Versioned};

params! {
    /// The path of a platform session.
    PlatformSessionPath in "path" {
        /// Platform, spelled exactly so.
        platform: Platform,
        /// The platform's own id of its session: opaque, compared byte for byte.
        platform_session_id_base64: PlatformSessionId,
    }
}

params! {
    /// The path of a link.
    LinkPath in "path" {
        /// Platform, spelled exactly so.
        platform: Platform,
        /// The platform's own id of its session: opaque, compared byte for byte.
        platform_session_id_base64: PlatformSessionId,
        /// The session.
        session_id: SessionId,
    }
}

params! {
    /// The path of a player in a platform session.
    PlatformPlayerPath in "path" {
        /// Platform, spelled exactly so.
        platform: Platform,
        /// The platform's own id of its session: opaque, compared byte for byte.
        platform_session_id_base64: PlatformSessionId,
        /// The player.
        player_uuid: PlayerUuid,
    }
}

/// The session that a platform session belongs to, to be changed.
async fn parent_id(app: &App, key: &PlatformKey) -> Result<SessionId, Error> {
    let found = app.latest_session_of(key).await?.ok_or(Refused::PlatformSessionNotFound)?;
    Ok(found.session.id.clone())
}

/// Get Platform Session Info.
pub async fn info(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlatformSessionPath>,
) -> Result<Reply<Versioned<PlatformSessionView>>, Error> {
    let key = (path.platform, path.platform_session_id_base64);
    let cached = app.session_of(&key).await?.ok_or(Refused::PlatformSessionNotFound)?;
    cached.session.require_active(caller.actor_unless(Permission::ReadAny))?;
    present(&app, &caller, &cached);
    let document = platform_document(&cached, key.0).ok_or(Refused::PlatformSessionNotFound)?;
    Ok(Reply::document(document))
}

/// Links a platform session to a session; the caller becomes part of it.
pub async fn link(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<LinkPath, RefreshQuery>,
) -> Result<Reply<Versioned<PlatformSessionView>>, Error> {
    let (actor, linker) = (caller.actor_unless(Permission::UpdateAny), caller.player());
    let (platform, catalog) = (path.platform, app.catalog());
    let key = (platform, path.platform_session_id_base64);
    let rule = || {
        let (id, catalog) = (key.1.clone(), Arc::clone(&catalog));
        move |session: &mut Session| {
            let template = catalog.template_of(session);
            let entry = template.and_then(|template| template.platform_templates.get(&platform));
            session.link(actor, linker, platform, &id, entry)
        }
    };
    let mut linked = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule()).await;
    // Whose time is over holds nothing any more: it is ended now, as it would be a moment later.
    if matches!(linked, Err(Failure::Refused(Refused::PlatformSessionInUse)))
        && app.expire_holder(&key).await?
    {
        linked = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule()).await;
    }
    let ((), cached) = linked?;
    let document = platform_document(&cached, platform).ok_or(Refused::PlatformSessionNotFound)?;
    Ok(Reply::document(document))
}

/// Unlinks a platform session from its session.
pub async fn unlink(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<LinkPath, RefreshQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor_unless(Permission::UpdateAny);
    let (platform, id) = (path.platform, path.platform_session_id_base64);
    let rule = move |session: &mut Session| session.unlink(actor, platform, &id);
    app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    Ok(Reply::no_content())
}

/// The caller joins the parent session through the platform session.
pub async fn join_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, body, .. }: Input<PlatformSessionPath, (), Json<JoinRequest>>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let player = caller.require_player()?;
    join_through(app, caller, (path.platform, path.platform_session_id_base64), player, body.0).await
}

/// A player joins the parent session through the platform session.
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
    let door = JoinPath::Platform(key.0);
    let cached =
        join(&app, &parent_id, true, joiner, door, move |session| session.require_linked(key.0, &key.1))
            .await?;
    // Clients keep this answer as if they had asked for the session: it is the caller's own view.
    Ok(Reply::document(&session_document(&app, &caller, &cached)))
}

/// The caller leaves the parent session through the platform session.
pub async fn leave_self(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlatformSessionPath>,
) -> Result<Reply<NoContent>, Error> {
    let player = caller.require_player()?;
    leave_through(app, (path.platform, path.platform_session_id_base64), player).await
}

/// A player leaves the parent session through the platform session.
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
    app.sessions.update(&id, true, rule).await?;
    left(&app, &id, player, None);
    Ok(Reply::no_content())
}
