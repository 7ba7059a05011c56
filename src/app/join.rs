//! Joining sessions, and noting that players left.

use std::borrow::Borrow;
use std::sync::Arc;

use super::rate_limit::{Guess, SearchGuess};
use super::{App, ClientKey, PasswordLimiter};
use crate::auth::Caller;
use crate::domain::password::PasswordHash;
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::env::Clock;
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

/// The caller who tries a password: the key that wrong ones are counted by, and the player, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct PasswordCaller {
    key: ClientKey,
    player: Option<PlayerUuid>,
}

impl From<&Caller> for PasswordCaller {
    fn from(caller: &Caller) -> Self {
        Self { key: ClientKey::of(caller), player: caller.player() }
    }
}

/// Limits and counts the guesses of a caller at the passwords of sessions. Every comparison with a password goes
/// through [`count`](Self::count).
pub struct Guesses {
    limiter: Arc<PasswordLimiter>,
    password_caller: PasswordCaller,
    /// The search that tries the password, if one does.
    search: Option<Arc<SearchGuess>>,
    clock: Clock,
}

impl Guesses {
    /// The guesses of this caller, each of which counts.
    pub fn new(app: &App, password_caller: PasswordCaller) -> Self {
        Self {
            limiter: Arc::clone(&app.password_limiter),
            password_caller,
            search: None,
            clock: app.clock.clone(),
        }
    }

    /// The guesses of a search by this caller, which count as one.
    pub fn in_search(app: &App, password_caller: PasswordCaller, search: &Arc<SearchGuess>) -> Self {
        Self { search: Some(Arc::clone(search)), ..Self::new(app, password_caller) }
    }

    /// Applies a rule of joining, or its check, and counts a wrong password. If there were too many wrong ones, the
    /// rule gets a joiner without a password, so that none is compared.
    ///
    /// # Errors
    /// [`Refused::TooManyGuesses`] where the password would have been compared; other refusals of the rule.
    pub fn count<S: Borrow<Session>, T>(
        &self,
        session: S,
        joiner: &Joiner,
        rule: impl FnOnce(S, &Joiner) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let seen: &Session = session.borrow();
        let is_known = |player: PlayerUuid| seen.players.contains_key(&player);
        if seen.password.is_none() || joiner.password.is_none() || is_known(joiner.player) {
            return rule(session, joiner);
        }
        // Callers in the session know the password, so their mistakes must not lock others out.
        let counted = (!self.password_caller.player.is_some_and(is_known)).then(|| seen.id.clone());
        let guess = Guess {
            client_key: self.password_caller.key,
            session: counted.as_ref(),
            search: self.search.as_deref(),
        };
        self.limiter.guess(guess, self.clock.up_ms(), |is_allowed| {
            if is_allowed {
                rule(session, joiner)
            } else {
                rule(session, &Joiner { password: None, ..joiner.clone() })
            }
        })
    }
}

/// The rule that adds a player to a session by a join path.
///
/// # Errors
/// The rule has the refusals of [`Session::join`] and of [`Guesses::count`].
pub fn join_rule(
    app: &App,
    guesses: Guesses,
    joiner: Joiner,
    path: JoinPath,
) -> impl FnMut(&mut Session) -> Result<(), Refused> + Send + use<> {
    let rules = join_rules(app);
    move |session| guesses.count(session, &joiner, |session, joiner| session.join(joiner, path, rules))
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
