//! The effects of a read: a heartbeat of the player, and a longer life of the session.

use super::{App, CachedSession, Failure};
use crate::auth::{Caller, Permission};

/// Notes that the caller has read a session. The read is a heartbeat if the caller is an active player of the session.
/// With `keeps_alive` it also keeps the session alive if the caller has an entry in the session or may read any
/// session. The reads of other callers have no effect.
///
/// # Errors
/// Errors of the store and [`Failure::Contended`], if the deadline of the session was so near that the new one had to
/// be stored first.
pub async fn touch(
    app: &App,
    caller: &Caller,
    cached: &CachedSession,
    keeps_alive: bool,
) -> Result<(), Failure> {
    let player = caller.player();
    app.presence.heartbeat(player, cached);
    let is_in_session = || player.is_some_and(|player| cached.session.players.contains_key(&player));
    if keeps_alive && (caller.may(Permission::ReadAny) || is_in_session()) {
        app.sessions.keep_alive(cached).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "touch_tests.rs"]
mod tests;
