//! The effects of a read: a heartbeat of the player, and a longer life of the session.

use std::sync::Arc;

use futures_util::future::join_all;

use super::waits::{Seen, Topic, WaitOn};
use super::{App, CachedSession, Failure};
use crate::auth::{Caller, Permission};
use crate::domain::{PlayerUuid, SessionId};

/// How many times a wait reads again within the time after which a player counts as absent, or a session as unused.
const LOOKS_IN_A_LIFE: i64 = 4;
/// Longest time until a wait on a session reads again, in milliseconds.
const LOOK_EVERY_MS_MAX: i64 = 60_000;

/// Notes that the caller has read a session. The read is a heartbeat if the caller is an active player of the session.
/// With `keeps_alive` it also keeps the session alive if the caller has an entry in the session or may read any
/// session. The reads of other callers have no effect.
///
/// Returns the session to show: if it has changed meanwhile on this node, the version of now. So a change that was
/// answered is not followed by what was before it.
///
/// # Errors
/// [`StoreError::ClockSkew`](crate::store::StoreError::ClockSkew) if the read has an effect and the clock of this node
/// is wrong: the effect would come at a wrong time. After a step the clock is checked first. Errors of the store and
/// [`Failure::Contended`], if the deadline of the session was so near that the new one had to be stored first.
/// [`Refused::SessionNotFound`](crate::domain::Refused::SessionNotFound) if it has ended meanwhile.
pub async fn touch(
    app: &App,
    caller: &Caller,
    cached: Arc<CachedSession>,
    keeps_alive: bool,
) -> Result<Arc<CachedSession>, Failure> {
    let player = caller.player();
    let is_in_session = player.is_some_and(|player| cached.session.players.contains_key(&player));
    let keeps_alive = keeps_alive && (is_in_session || caller.may(Permission::ReadAny));
    if !is_in_session && !keeps_alive {
        return Ok(cached);
    }
    let now_ms = app.sessions.require_right_clock().await?;
    app.presence.heartbeat(player, &cached, now_ms);
    if keeps_alive {
        app.sessions.keep_alive(&cached).await?;
    }
    match cached.is_stale() {
        true => app.sessions.get(&cached.session.id).await,
        false => Ok(cached),
    }
}

/// How to wait for a change of what shows a session. A wait is a read that lasts: it reads again before its player
/// would count as absent, and before the session would be unused for long.
pub fn wait_on_session(app: &App, cached: &CachedSession) -> WaitOn {
    let lives_ms = timeout_ms(cached).into_iter().chain([app.settings.limits.idle_ms]);
    let again_after_ms = lives_ms.map(|ms| ms / LOOKS_IN_A_LIFE).chain([LOOK_EVERY_MS_MAX]).min();
    let topic = Topic::Session(cached.session.id.clone());
    WaitOn::topic(topic).again_after_ms(again_after_ms).seen(Some(Seen(Some(cached.version))))
}

/// The timeout of active players, in milliseconds.
fn timeout_ms(cached: &CachedSession) -> Option<i64> {
    cached.session.culling_timeout_s.and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1000))
}

/// Like [`touch_sessions`], for the sessions with these ids. A session that cannot be read gets no heartbeat.
pub async fn touch_sessions_of(app: &App, player: PlayerUuid, ids: &[SessionId]) -> Option<i64> {
    let found = join_all(ids.iter().map(|id| app.sessions.with_active_player(id, player))).await;
    let found: Vec<_> = found.into_iter().flatten().flatten().collect();
    touch_sessions(app, player, &found).await
}

/// Notes that a player has read something of their own, such as their list of sessions: a heartbeat in each of these
/// sessions in which the player is active. It moves no deadline, so nobody keeps a session alive without reading it.
///
/// Returns after how long a wait for a change has to read again, in milliseconds, so that the player stays present.
/// `None`: it need not. There is no heartbeat if the clock of this node is wrong: the player's next read is one.
pub async fn touch_sessions(app: &App, player: PlayerUuid, sessions: &[Arc<CachedSession>]) -> Option<i64> {
    if !sessions.iter().any(|cached| cached.has_player_timeout()) {
        return None;
    }
    let now_ms = app.sessions.require_right_clock().await.ok()?;
    let mut again_after_ms = None;
    for cached in sessions.iter().filter(|cached| cached.has_player_timeout()) {
        app.presence.heartbeat(Some(player), cached, now_ms);
        let look_ms = timeout_ms(cached).map(|ms| ms / LOOKS_IN_A_LIFE);
        again_after_ms = again_after_ms.into_iter().chain(look_ms).min();
    }
    again_after_ms
}

#[cfg(test)]
#[path = "touch_tests.rs"]
mod tests;
