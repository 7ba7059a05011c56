//! How often a caller may name a short code that there is not: codes are short, so guessing must be slow.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::domain::{PlayerUuid, Refused};

/// Wrong codes that a caller may name within [`WINDOW`].
pub const GUESSES_MAX: u32 = 20;
/// How long wrong codes count.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Callers whose guesses are remembered; those who were quiet longest are forgotten first.
const CALLERS_MAX: usize = 10_000;

/// Who guesses. A token names a player, or a service of which many machines may share one token: those are told
/// apart by where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// A player.
    Player(PlayerUuid),
    /// Whoever has this address; requests that came over no connection have none.
    At(Option<IpAddr>),
}

/// Wrong codes by caller.
pub struct Guesses {
    by_caller: Mutex<Cache<Guesser, Counted>>,
}

#[derive(Clone, Copy)]
struct Counted {
    since_ms: i64,
    wrong: u32,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { by_caller: Mutex::new(Cache::new(CALLERS_MAX)) }
    }
}

impl Guesses {
    /// Whether the caller may try another code: to be asked before it is looked up, which may be in vain.
    pub fn may_guess(&self, caller: Guesser, now_ms: i64) -> bool {
        current(&self.lock(), caller, now_ms).wrong < GUESSES_MAX
    }

    /// Judges a guess, and counts it where it was wrong, before anyone is told of it. Judged one after another, of
    /// guesses at the same moment no more are told of than of others, and a right one costs nobody anything.
    pub fn guess(&self, caller: Guesser, is_right: bool, now_ms: i64) -> Result<(), Refused> {
        let mut by_caller = self.lock();
        let counted = current(&by_caller, caller, now_ms);
        if counted.wrong >= GUESSES_MAX {
            return Err(Refused::TooManyGuesses);
        }
        if !is_right {
            by_caller.insert(caller, Counted { wrong: counted.wrong + 1, ..counted });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Cache<Guesser, Counted>> {
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current(by_caller: &Cache<Guesser, Counted>, caller: Guesser, now_ms: i64) -> Counted {
    let window_ms = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
    let fresh = by_caller.get(&caller).filter(|counted| now_ms - counted.since_ms < window_ms);
    fresh.copied().unwrap_or(Counted { since_ms: now_ms, wrong: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_at_once_are_judged_one_after_another() {
        let (guesses, caller) = (Guesses::default(), Guesser::At(None));
        let told = || (0..GUESSES_MAX).filter(|_| guesses.guess(caller, false, 0).is_ok()).count();
        let told: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(told)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(told, GUESSES_MAX as usize);
        assert!(!guesses.may_guess(caller, 0) && guesses.guess(caller, true, 0).is_err());
        assert_eq!(guesses.guess(caller, true, i64::try_from(WINDOW.as_millis()).unwrap()), Ok(()));
    }
}
