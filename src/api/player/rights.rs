//! Rights that the leader lends to players of a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::session::asked_for;
use crate::api::wire::session::{session_document, view_for};
use crate::app::App;
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::session::rights::Right;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::params::{PlayerInSessionPath, RefreshQuery, params};
use crate::http::operation::Input;
use crate::http::reply::{Changed, Reply, Versioned};

params! {
    /// The path of a right of a player.
    RightPath in "path" {
        /// The session.
        session_id: SessionId,
        /// The player.
        player_uuid: PlayerUuid,
        /// The right.
        permission: Right,
    }
}

/// The rights of a player in a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPermissions")]
pub struct RightsView {
    /// Who.
    player_uuid: PlayerUuid,
    /// The rights, those of leadership among them.
    permissions: BTreeSet<Right>,
}

impl RightsView {
    fn of(session: &Session, player: PlayerUuid) -> Result<Self, Refused> {
        Ok(Self { player_uuid: player, permissions: session.entry(player)?.rights() })
    }
}

/// The rights of a player.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Versioned<RightsView>>, Error> {
    let cached = app.session(&path.session_id).await?;
    cached.session.require_active(caller.actor())?;
    asked_for(&app, &caller, &cached, query.refresh_ttl).await?;
    let (entry, view) = (cached.session.entry(path.player_uuid)?, view_for(&caller, &cached.session));
    if !caller.reaches_all() && !view.shows(path.player_uuid, entry) {
        // Who is not shown is as good as not there.
        return Err(Refused::PlayerNotFound.into());
    }
    Ok(Reply::document(&Document::of(&RightsView::of(&cached.session, path.player_uuid)?)))
}

/// Lends a right to a player.
pub async fn give(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<RightPath, RefreshQuery>,
) -> Result<Reply<Versioned<RightsView>>, Error> {
    let (actor, player, right) = (caller.actor(), path.player_uuid, path.permission);
    let rule = move |session: &mut Session| session.lend(actor, player, right);
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    let rights = RightsView::of(&cached.session, player)?;
    Ok(Reply::with_etag_of(&rights, &session_document(&app, &caller, &cached)))
}

/// Takes a right back from a player.
pub async fn remove(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<RightPath, RefreshQuery>,
) -> Result<Reply<Changed>, Error> {
    let (actor, player, right) = (caller.actor(), path.player_uuid, path.permission);
    let rule = move |session: &mut Session| session.take_back(actor, player, right);
    let ((), cached) = app.sessions.update(&path.session_id, query.refresh_ttl.0, rule).await?;
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}
