//! How often a caller may name a short code that there is not: codes are short, so guessing must be slow.

use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::domain::PlayerUuid;

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
    by_caller: Cache<Guesser, Counted>,
}

#[derive(Clone, Copy)]
struct Counted {
    since_ms: i64,
    wrong: u32,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { by_caller: Cache::new(CALLERS_MAX) }
    }
}

impl Guesses {
    /// Whether the caller may try another code.
    pub fn may_guess(&self, caller: Guesser, now_ms: i64) -> bool {
        self.current(caller, now_ms).wrong < GUESSES_MAX
    }

    /// Notes a wrong code. Of guesses at the same moment some may count as one.
    pub fn guessed_wrong(&self, caller: Guesser, now_ms: i64) {
        let counted = self.current(caller, now_ms);
        self.by_caller.insert(caller, Counted { wrong: counted.wrong.saturating_add(1), ..counted });
    }

    fn current(&self, caller: Guesser, now_ms: i64) -> Counted {
        let window_ms = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        let counted = self.by_caller.get(&caller);
        let fresh = counted.filter(|counted| now_ms - counted.since_ms < window_ms);
        fresh.unwrap_or(Counted { since_ms: now_ms, wrong: 0 })
    }
}
