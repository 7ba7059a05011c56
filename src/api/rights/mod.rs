//! Rights that the leader lends to players of a session.

use http::Method;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;
use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::view::{session_document, view_for};
use crate::app::touch::touch;
use crate::app::{App, Update};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::session::rights::Right;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::params::{PlayerInSessionPath, RefreshQuery, params};
use crate::http::operation::Input;
use crate::http::reply::{Changed, Reply, Versioned};

const RIGHT: &str = "/v1/session/{session_id}/player/{player_uuid}/permission/{permission}";

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Rights",
    "What a leader may lend to players of a session: to invite, to kick and to move others.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_player_permission_by_uuid", "/v1/session/{session_id}/player/{player_uuid}/permission", get, READ_RIGHTS, "The rights of a player in a session").may_fail(MISSING)
            .about("The leader has all of them; others have what they were lent. The caller is active in the session."),
        Operation::new(M::PATCH, "give_player_permission_by_uuid", RIGHT, give, GIVE_RIGHT, "Lend a right of the leader to a player").may_fail(MISSING)
            .about("To invite, to kick or to move others. The caller leads the session."),
        Operation::new(M::DELETE, "remove_player_permission_by_uuid", RIGHT, remove, REMOVE_RIGHT, "Take a lent right back").may_fail(MISSING)
            .about("From others where the caller leads, or from oneself."),
    ]
}

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
    let cached = app.sessions.get(&path.session_id).await?;
    cached.session.require_active(caller.actor())?;
    touch(&app, &caller, &cached, query.refresh_ttl.0).await?;
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
    let rule = move |session: &mut Session| session.give_right(actor, player, right);
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
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
    let rule = move |session: &mut Session| session.remove_right(actor, player, right);
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}
