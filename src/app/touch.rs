//! The effects of a read: a heartbeat of the player, and a longer life of the session.

use super::{App, CachedSession, Failure};
use crate::auth::{Caller, Permission};

/// Notes that the caller has read a session. The read is a heartbeat if the caller is an active player of the session.
/// With `keeps_alive` it also keeps the session alive if the caller has an entry in the session or may read any
/// session. The reads of other callers have no effect.
///
/// # Errors
/// [`StoreError::ClockSkew`](crate::store::StoreError::ClockSkew) if the read has an effect and the clock of this node
/// is wrong: the effect would come at a wrong time. After a step the clock is checked first. Errors of the store and
/// [`Failure::Contended`], if the deadline of the session was so near that the new one had to be stored first.
pub async fn touch(
    app: &App,
    caller: &Caller,
    cached: &CachedSession,
    keeps_alive: bool,
) -> Result<(), Failure> {
    let player = caller.player();
    let is_in_session = player.is_some_and(|player| cached.session.players.contains_key(&player));
    let keeps_alive = keeps_alive && (is_in_session || caller.may(Permission::ReadAny));
    if !is_in_session && !keeps_alive {
        return Ok(());
    }
    let now_ms = app.sessions.require_right_clock().await?;
    app.presence.heartbeat(player, cached, now_ms);
    if keeps_alive {
        app.sessions.keep_alive(cached).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "touch_tests.rs"]
mod tests;
