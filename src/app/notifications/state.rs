//! The sessions of a player as notifications show them, and the presence of players who listen.

use futures_util::future::try_join_all;

use std::sync::Arc;

use crate::app::touch::{touch, wait_on_session};
use crate::app::{App, CachedSession, Failure};
use crate::auth::Caller;
use crate::domain::PlayerUuid;

/// The sessions on a player's list, whatever the player's status in them.
///
/// # Errors
/// Errors of the store.
pub async fn sessions_of(app: &App, player: PlayerUuid) -> Result<Vec<Arc<CachedSession>>, Failure> {
    let catalog = app.catalog();
    let list = app.sessions.memberships(player).await?;
    let shown = list.entries.iter().filter(|(_, membership)| catalog.shows(membership));
    let found = try_join_all(shown.map(|(id, _)| app.sessions.find(id))).await?;
    // The list and the sessions are read one after the other: the player may have left in between.
    let found = found.into_iter().flatten();
    Ok(found.filter(|cached| cached.session.players.contains_key(&player)).collect())
}

/// Notes that the caller's player listens: the player is present in each session in which the player is active, and keeps
/// it alive. Returns after how long to note that again, in milliseconds.
///
/// # Errors
/// As for [`touch`].
pub async fn note_listener(
    app: &App,
    caller: &Caller,
    sessions: &[Arc<CachedSession>],
) -> Result<Option<i64>, Failure> {
    let Some(player) = caller.player() else { return Ok(None) };
    let mut again_after_ms = None;
    for cached in sessions.iter().filter(|cached| cached.is_active(player)) {
        touch(app, caller, cached, true).await?;
        let after_ms = wait_on_session(app, cached).again_after_ms;
        again_after_ms = again_after_ms.into_iter().chain(after_ms).min();
    }
    Ok(again_after_ms)
}
