//! The rights that the leader gives to other players of a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::api::wire::view::{seen_by, session_document, view_for};
use crate::app::touch::{touch, wait_on_session};
use crate::app::{App, Update};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::session::rights::Right;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::param_types::{PlayerInSessionPath, RefreshQuery};
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{Changed, Reply, Versioned, Watched};
use crate::http::surface::Tag;

const RIGHT: &str = "/v1/session/{session_id}/player/{player_uuid}/permission/{permission}";

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new(
    "Rights",
    "The rights that a leader can give to other players of a session: to invite, to kick and to move players.",
);

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_player_permission_by_uuid", "/v1/session/{session_id}/player/{player_uuid}/permission", get, READ_RIGHTS, "Read the rights of a player in a session").may_fail(MISSING)
            .about("The leader has all rights. Other players have the rights that the leader gave them. The caller must be active in the session."),
        Operation::new(M::PATCH, "give_player_permission_by_uuid", RIGHT, give, GIVE_RIGHT, "Give a player a right").may_fail(MISSING)
            .about("The right to invite, to kick or to move players. The caller must be the leader of the session."),
        Operation::new(M::DELETE, "remove_player_permission_by_uuid", RIGHT, remove, REMOVE_RIGHT, "Remove a player's right").may_fail(MISSING)
            .about("The leader may remove the right of any player. Other players may remove their own right."),
    ]
}

params! {
    /// Path of a right of a player in a session.
    RightPath in "path" {
        /// Session id, or a short code of the session.
        session_id: SessionId,
        /// Player UUID.
        player_uuid: PlayerUuid,
        /// Right to give or to remove.
        permission: Right,
    }
}

/// The rights of a player in a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionPermissions")]
pub struct RightsView {
    /// Player UUID.
    player_uuid: PlayerUuid,
    /// Rights that the player has. The leader has all of them.
    permissions: BTreeSet<Right>,
}

impl RightsView {
    fn of(session: &Session, player: PlayerUuid) -> Result<Self, Refused> {
        Ok(Self { player_uuid: player, permissions: session.entry(player)?.rights() })
    }
}

/// Reads the rights of a player in a session.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Watched<RightsView>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    cached.session.require_active(caller.actor())?;
    touch(&app, &caller, &cached, query.refresh_ttl.0).await?;
    let entry = cached.session.entry(path.player_uuid)?;
    let view = view_for(&caller, &cached.session);
    if !caller.reaches_all() && view.shown(path.player_uuid, entry).is_none() {
        // A hidden player gives the same answer as an absent one.
        return Err(Refused::PlayerNotFound.into());
    }
    Ok(Reply::watched(
        &Document::of(&RightsView::of(&cached.session, path.player_uuid)?),
        wait_on_session(&app, &cached),
    ))
}

/// Gives a right to a player.
pub async fn give(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<RightPath, RefreshQuery>,
) -> Result<Reply<Versioned<RightsView>>, Error> {
    let (actor, player, right) = (caller.actor(), path.player_uuid, path.permission);
    let rule = seen_by(&caller, &[player], move |session| session.give_right(actor, player, right));
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by(&caller, query.refresh_ttl.0), rule).await?;
    let rights = RightsView::of(&cached.session, player)?;
    Ok(Reply::with_etag_of(&rights, &session_document(&app, &caller, &cached)))
}

/// Removes a right from a player.
pub async fn remove(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<RightPath, RefreshQuery>,
) -> Result<Reply<Changed>, Error> {
    let (actor, player, right) = (caller.actor(), path.player_uuid, path.permission);
    let rule = seen_by(&caller, &[player], move |session| session.remove_right(actor, player, right));
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by(&caller, query.refresh_ttl.0), rule).await?;
    Ok(Reply::changed(&session_document(&app, &caller, &cached)))
}
