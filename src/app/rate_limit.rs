//! How often a caller may name a short code that there is not: codes are short, so guessing must be slow.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::domain::{PlayerUuid, Refused};

/// Wrong codes that a caller may name within [`WINDOW`].
pub const WRONG_MAX: u32 = 20;
/// How long wrong codes count.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Callers whose guesses are remembered; those who were quiet longest are forgotten first.
const CALLERS_MAX: usize = 10_000;

/// Who guesses. A token names a player, or a service of which many machines may share one token: those are told
/// apart by where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// A player.
    Player(PlayerUuid),
    /// Whoever has this address; requests that came over no connection have none.
    At(Option<IpAddr>),
}

/// Wrong codes by caller.
pub struct RateLimiter {
    by_caller: Mutex<Cache<ClientKey, Counted>>,
}

#[derive(Clone, Copy)]
struct Counted {
    since_ms: i64,
    wrong: u32,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self { by_caller: Mutex::new(Cache::new(CALLERS_MAX)) }
    }
}

impl RateLimiter {
    /// Whether the caller may try another code: to be asked before it is looked up, which may be in vain.
    pub fn allows(&self, caller: ClientKey, now_ms: i64) -> bool {
        current(&self.lock(), caller, now_ms).wrong < WRONG_MAX
    }

    /// Judges a guess, and counts it where it was wrong, before anyone is told of it. Judged one after another, of
    /// guesses at the same moment no more are told of than of others, and a right one costs nobody anything.
    pub fn record(&self, caller: ClientKey, is_right: bool, now_ms: i64) -> Result<(), Refused> {
        let mut by_caller = self.lock();
        let counted = current(&by_caller, caller, now_ms);
        if counted.wrong >= WRONG_MAX {
            return Err(Refused::TooManyGuesses);
        }
        if !is_right {
            by_caller.insert(caller, Counted { wrong: counted.wrong + 1, ..counted });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Cache<ClientKey, Counted>> {
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current(by_caller: &Cache<ClientKey, Counted>, caller: ClientKey, now_ms: i64) -> Counted {
    let window_ms = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
    let fresh = by_caller.get(&caller).filter(|counted| now_ms - counted.since_ms < window_ms);
    fresh.copied().unwrap_or(Counted { since_ms: now_ms, wrong: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_at_once_are_judged_one_after_another() {
        let (guesses, caller) = (RateLimiter::default(), ClientKey::At(None));
        let told = || (0..WRONG_MAX).filter(|_| guesses.record(caller, false, 0).is_ok()).count();
        let told: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(told)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(told, WRONG_MAX as usize);
        assert!(!guesses.allows(caller, 0) && guesses.record(caller, true, 0).is_err());
        assert_eq!(guesses.record(caller, true, i64::try_from(WINDOW.as_millis()).unwrap()), Ok(()));
    }
}
