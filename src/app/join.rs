//! Joining sessions, and noting that players left.

use std::sync::Arc;

use super::{App, CachedSession, Failure, Update};
use crate::domain::password::PasswordHash;
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::telemetry::Departure;

/// The inputs of a join other than the session and the joiner: the time and the settings.
pub fn join_rules(app: &App) -> JoinRules {
    let now = app.clock.now();
    let settings = &app.settings;
    JoinRules {
        now,
        version_check: settings.version_check,
        trust_friends: settings.trust_friends,
        kicked_need_invite: settings.kicked_need_invite,
    }
}

/// Adds a player to a session by a join path. `also` is checked first, on the same version of the session.
///
/// # Errors
/// The refusal of `also`; the refusals of [`Session::join`]; the errors of
/// [`Sessions::update`](super::Sessions::update).
pub async fn join(
    app: &App,
    id: &SessionId,
    keeps_alive: bool,
    joiner: Joiner,
    path: JoinPath,
    also: impl Fn(&Session) -> Result<(), Refused> + Send + 'static,
) -> Result<Arc<CachedSession>, Failure> {
    let rules = join_rules(app);
    let rule = move |session: &mut Session| {
        also(session)?;
        session.join(&joiner, path, rules)
    };
    let ((), cached) = app.sessions.update(id, Update::by_caller(keeps_alive), rule).await?;
    Ok(cached)
}

/// Counts and logs that a player left a session.
pub fn note_left(app: &App, id: &SessionId, player: PlayerUuid, reason: Option<&str>) {
    app.metrics.departed(Departure::Left);
    tracing::info!(session_id = %id, player_uuid = %player, reason, "player left session");
}

/// The salted hash of a password, as it is stored.
pub fn hash_password(app: &App, password: &str) -> PasswordHash {
    PasswordHash::new(password, app.entropy.bytes())
}
