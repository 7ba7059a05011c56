//! The sessions of a player as notifications show them.

use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::app::{App, CachedSession, Failure};
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
