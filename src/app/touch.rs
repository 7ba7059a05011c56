//! Reading a session counts as asking for it.

use super::{App, CachedSession, Failure};
use crate::auth::{Caller, Permission};

/// Notes that the caller has read a session: a heartbeat of the caller's player, and, if `keeps_alive`, new idle time. Of
/// strangers, who merely look, neither counts.
///
/// # Errors
/// If the session's deadline was near and the store could not be told of the new one.
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
