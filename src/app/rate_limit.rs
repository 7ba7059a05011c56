//! Rate limiters for guesses: at short codes, and at the passwords of sessions. Codes are short, and people choose the
//! passwords, so the number of guesses per minute must be small.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::auth::Caller;
use crate::domain::{PlayerUuid, Refused, SessionId};

/// Most wrong codes, and most wrong passwords, of one client key within [`WINDOW`].
pub const WRONG_MAX: u32 = 20;
/// Most wrong passwords for one session within [`WINDOW`], of all callers who are not in it.
pub const WRONG_PER_SESSION_MAX: u32 = 100;
/// The time from the first wrong guess until the count starts again.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most client keys with a count, and most sessions. Beyond that, the least recently used are forgotten first.
const KEYS_MAX: usize = 10_000;

/// The key that wrong guesses are counted by. A token names a player or a service. Many machines may share the token of
/// a service, so callers without a player are counted by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// A player's uuid.
    Player(PlayerUuid),
    /// An address. `None` for requests that did not come over a connection, as in tests.
    Address(Option<IpAddr>),
}

impl ClientKey {
    /// The key of a caller.
    pub fn of(caller: &Caller) -> Self {
        caller.player().map_or(Self::Address(caller.address()), Self::Player)
    }
}

/// The number of events of each key in its current window, such as wrong guesses.
pub(super) struct Counts<K> {
    windows: Cache<K, Window>,
    window_ms: i64,
}

/// A window, and the number of events in it.
#[derive(Clone, Copy)]
struct Window {
    /// The start of the window, by [`Clock::up_ms`](crate::env::Clock::up_ms).
    since_ms: i64,
    count: u32,
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// No events. Beyond `keys_max` keys, the least used are forgotten first. A window begins with its first event.
    pub(super) fn new(keys_max: usize, window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self { windows: Cache::new(keys_max), window_ms }
    }

    /// The number of events in the current window.
    pub(super) fn count(&self, key: &K, up_ms: i64) -> u32 {
        self.window(key, up_ms).count
    }

    /// Counts an event.
    pub(super) fn add(&mut self, key: &K, up_ms: i64) {
        let window = self.window(key, up_ms);
        self.windows.insert(key.clone(), Window { count: window.count + 1, ..window });
    }

    /// How long the current window still takes, in milliseconds.
    pub(super) fn left_ms(&self, key: &K, up_ms: i64) -> i64 {
        self.window(key, up_ms).since_ms + self.window_ms - up_ms
    }

    /// Takes back an event of the current window.
    pub(super) fn take_back(&mut self, key: &K, up_ms: i64) {
        let window = self.window(key, up_ms);
        self.windows.insert(key.clone(), Window { count: window.count.saturating_sub(1), ..window });
    }

    /// The current window; a new one if there is none or it is over.
    fn window(&self, key: &K, up_ms: i64) -> Window {
        match self.windows.get(key) {
            Some(window) if up_ms - window.since_ms < self.window_ms => *window,
            _ => Window { since_ms: up_ms, count: 0 },
        }
    }
}

/// Counts wrong codes by client key. Times are those of the monotonic clock: setting the wall clock neither locks a
/// client out nor allows more guesses.
pub struct RateLimiter {
    counts: Mutex<Counts<ClientKey>>,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self { counts: Mutex::new(Counts::new(KEYS_MAX, WINDOW)) }
    }
}

impl RateLimiter {
    /// Whether the client key may try another code. Called before the lookup of the code, to save the lookup.
    pub fn allows(&self, client_key: ClientKey, up_ms: i64) -> bool {
        self.lock().count(&client_key, up_ms) < WRONG_MAX
    }

    /// Records the result of a lookup, before the reply to the client. A wrong code counts; a right one does not. The
    /// lock orders simultaneous guesses, so a client key never learns the result of more than [`WRONG_MAX`] wrong
    /// codes.
    ///
    /// # Errors
    /// [`Refused::TooManyGuesses`] if the client key has used up its wrong codes. Then the client must not learn
    /// whether the code was right.
    pub fn record(&self, client_key: ClientKey, is_right: bool, up_ms: i64) -> Result<(), Refused> {
        let mut counts = self.lock();
        if counts.count(&client_key, up_ms) >= WRONG_MAX {
            return Err(Refused::TooManyGuesses);
        }
        if !is_right {
            counts.add(&client_key, up_ms);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Counts<ClientKey>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts wrong passwords, by client key and by session.
pub struct PasswordLimiter {
    counts: Mutex<WrongPasswords>,
}

struct WrongPasswords {
    by_client: Counts<ClientKey>,
    by_session: Counts<SessionId>,
}

/// Whether the search of a create-or-join request has counted a wrong password. The search compares one password with
/// every session of a type, and that is one guess of the caller: however many sessions there are, the caller learns
/// no more than where this password fits.
#[derive(Debug, Default)]
pub struct SearchGuess(AtomicBool);

/// A password that is tried on a session.
pub struct Guess<'a> {
    /// The key of the caller.
    pub client_key: ClientKey,
    /// The session; `None` if the caller is in the session, whose own count then stays.
    pub session: Option<&'a SessionId>,
    /// The search that tries the password, if one does. It does not count for the session either: strangers who look
    /// for sessions of their own must not lock it.
    pub search: Option<&'a SearchGuess>,
}

impl Default for PasswordLimiter {
    fn default() -> Self {
        let counts = WrongPasswords {
            by_client: Counts::new(KEYS_MAX, WINDOW),
            by_session: Counts::new(KEYS_MAX, WINDOW),
        };
        Self { counts: Mutex::new(counts) }
    }
}

impl PasswordLimiter {
    /// Runs `attempt`, which compares a password if it gets `true`, and counts a wrong one. The lock is held meanwhile,
    /// so that the limits are exact also for simultaneous guesses; `attempt` must be quick.
    ///
    /// # Errors
    /// [`Refused::TooManyGuesses`] in place of [`Refused::WrongPassword`] if the password was not compared because
    /// there were too many wrong ones; other refusals of `attempt`.
    pub fn guess<T>(
        &self,
        Guess { client_key, session, search }: Guess<'_>,
        up_ms: i64,
        attempt: impl FnOnce(bool) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock orders all uses of the flag.
        let is_counted = search.is_some_and(|SearchGuess(is_counted)| is_counted.load(Ordering::Relaxed));
        let is_allowed = (is_counted || counts.by_client.count(&client_key, up_ms) < WRONG_MAX)
            && session.is_none_or(|id| counts.by_session.count(id, up_ms) < WRONG_PER_SESSION_MAX);
        match attempt(is_allowed) {
            Err(Refused::WrongPassword) if is_allowed => {
                if !is_counted {
                    counts.by_client.add(&client_key, up_ms);
                }
                match (search, session) {
                    (Some(SearchGuess(is_counted)), _) => is_counted.store(true, Ordering::Relaxed),
                    (None, Some(id)) => counts.by_session.add(id, up_ms),
                    (None, None) => {}
                }
                Err(Refused::WrongPassword)
            }
            Err(Refused::WrongPassword) => Err(Refused::TooManyGuesses),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simultaneous_guesses_do_not_exceed_the_limit() {
        let limiter = RateLimiter::default();
        let client_key = ClientKey::Address(None);
        let answered = || (0..WRONG_MAX).filter(|_| limiter.record(client_key, false, 0).is_ok()).count();
        let answered: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(answered)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(answered, WRONG_MAX as usize);
        assert!(!limiter.allows(client_key, 0));
        assert_eq!(limiter.record(client_key, true, 0), Err(Refused::TooManyGuesses));
        let window_ms = i64::try_from(WINDOW.as_millis()).unwrap();
        assert_eq!(limiter.record(client_key, true, window_ms), Ok(()));
    }

    #[test]
    fn simultaneous_passwords_do_not_exceed_the_limits() {
        let limiter = PasswordLimiter::default();
        let session = SessionId::parse("s").unwrap();
        let key = |player: u128| ClientKey::Player(PlayerUuid(uuid::Uuid::from_u128(player)));
        let wrong = |_: bool| Err::<(), _>(Refused::WrongPassword);
        let compared = |client_key: ClientKey, session: Option<&SessionId>| {
            let guess = || Guess { client_key, session, search: None };
            (0..WRONG_MAX).filter(|_| limiter.guess(guess(), 0, wrong) == Err(Refused::WrongPassword)).count()
        };
        // One caller, at several sessions at once.
        let sessions: Vec<_> = (0..8).map(|number| SessionId::parse(&format!("{number}")).unwrap()).collect();
        let compared_by_one: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                sessions.iter().map(|id| scope.spawn(|| compared(key(0), Some(id)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(compared_by_one, WRONG_MAX as usize);
        // Several callers, at one session.
        let compared_at_one: usize = std::thread::scope(|scope| {
            let (compared, session) = (&compared, &session);
            let threads: Vec<_> =
                (1..9).map(|player| scope.spawn(move || compared(key(player), Some(session)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(compared_at_one, WRONG_PER_SESSION_MAX as usize);
        // A caller in the session, and another minute.
        assert_eq!(compared(key(9), None), WRONG_MAX as usize);
        let window_ms = i64::try_from(WINDOW.as_millis()).unwrap();
        let right = |is_compared: bool| if is_compared { Ok(()) } else { Err(Refused::WrongPassword) };
        let guess = || Guess { client_key: key(10), session: Some(&session), search: None };
        assert_eq!(limiter.guess(guess(), 0, right), Err(Refused::TooManyGuesses));
        assert_eq!(limiter.guess(guess(), window_ms, right), Ok(()));
    }
}
