//! The rate limiter for wrong short codes. Codes are short, so the number of guesses per minute must be small.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::domain::{PlayerUuid, Refused};

/// Most wrong codes of one client key within [`WINDOW`].
pub const WRONG_MAX: u32 = 20;
/// The time from the first wrong code until the count starts again.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most client keys with a count. Beyond that, the least recently used are forgotten first.
const CLIENT_KEYS_MAX: usize = 10_000;

/// The key that wrong codes are counted by. A token names a player or a service. Many machines may share the token of a
/// service, so callers without a player are counted by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// A player's uuid.
    Player(PlayerUuid),
    /// An address. `None` for requests that did not come over a connection, as in tests.
    Address(Option<IpAddr>),
}

/// Counts wrong codes by client key.
pub struct RateLimiter {
    counts: Mutex<Cache<ClientKey, WrongCodes>>,
}

/// The wrong codes of a client key in the current window.
#[derive(Clone, Copy)]
struct WrongCodes {
    /// The start of the window, by [`Clock::up_ms`](crate::env::Clock::up_ms).
    since_ms: i64,
    count: u32,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self { counts: Mutex::new(Cache::new(CLIENT_KEYS_MAX)) }
    }
}

impl RateLimiter {
    /// Whether the client key may try another code. Called before the lookup of the code, to save the lookup. Times are
    /// those of the monotonic clock: setting the wall clock neither locks a client out nor allows more guesses.
    pub fn allows(&self, client_key: ClientKey, up_ms: i64) -> bool {
        current(&self.lock(), client_key, up_ms).count < WRONG_MAX
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
        let wrong_codes = current(&counts, client_key, up_ms);
        if wrong_codes.count >= WRONG_MAX {
            return Err(Refused::TooManyGuesses);
        }
        if !is_right {
            counts.insert(client_key, WrongCodes { count: wrong_codes.count + 1, ..wrong_codes });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Cache<ClientKey, WrongCodes>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The count of a client key; a new window with no wrong code if there is none or it is over.
fn current(counts: &Cache<ClientKey, WrongCodes>, client_key: ClientKey, up_ms: i64) -> WrongCodes {
    let window_ms = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
    match counts.get(&client_key) {
        Some(wrong_codes) if up_ms - wrong_codes.since_ms < window_ms => *wrong_codes,
        _ => WrongCodes { since_ms: up_ms, count: 0 },
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
}
