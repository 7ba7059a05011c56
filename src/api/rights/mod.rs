//! The rights that the leader gives to other players of a session.

use std::sync::Arc;

use http::Method;

use crate::api::MISSING;
use crate::api::change::{After, Change};
use crate::api::policies::*;
use crate::api::wire::player::{RightsView, rights_document};
use crate::api::wire::view::seen_by;
use crate::app::App;
use crate::app::touch::{touch, wait_on_session};
use crate::auth::Caller;
use crate::domain::session::rights::Right;
use crate::domain::{PlayerUuid, SessionId};
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
        Operation::new(M::PATCH, "give_player_permission_by_uuid", RIGHT, give, GIVE_RIGHT, "Give a player a right").may_fail(MISSING).takes_if_match()
            .about("The right to invite, to kick or to move players. The caller must be the leader of the session."),
        Operation::new(M::DELETE, "remove_player_permission_by_uuid", RIGHT, remove, REMOVE_RIGHT, "Remove a player's right").may_fail(MISSING).takes_if_match()
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

/// Reads the rights of a player in a session.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerInSessionPath, RefreshQuery>,
) -> Result<Reply<Watched<RightsView>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    cached.session.require_active(caller.actor())?;
    let cached = touch(&app, &caller, cached, query.refresh_ttl.0).await?;
    cached.session.require_active(caller.actor())?;
    let document = rights_document(&caller, &cached.session, path.player_uuid)?;
    Ok(Reply::watched(&document, wait_on_session(&app, &cached)))
}

/// Gives a right to a player.
pub async fn give(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<RightPath, RefreshQuery>,
) -> Result<Reply<Versioned<RightsView>>, Error> {
    let (actor, player, right) = (caller.actor(), path.player_uuid, path.permission);
    let rule = seen_by(&caller, &[player], move |session| session.give_right(actor, player, right));
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0).of_rights(player);
    let answer = move |(): &(), after: &After<'_>| {
        Ok(Reply::with_etag_of(&RightsView::of(after.session(), player)?, &after.document()))
    };
    change.run(&path.session_id, rule, answer).await
}

/// Removes a right from a player.
pub async fn remove(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<RightPath, RefreshQuery>,
) -> Result<Reply<Changed>, Error> {
    let (actor, player, right) = (caller.actor(), path.player_uuid, path.permission);
    let rule = seen_by(&caller, &[player], move |session| session.remove_right(actor, player, right));
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0).of_rights(player);
    change.run(&path.session_id, rule, |(), after| Ok(Reply::changed(&after.document()))).await
}
