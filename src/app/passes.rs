//! Passes over all keys of a kind, in small steps: where the pass under way continues, and when the next one starts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Key;

/// The passes over all keys of a kind, on this node.
pub struct Passes {
    /// The time from the start of a pass until the next one starts, in milliseconds.
    every_ms: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the pass under way continues; `None`: there is none.
    next: Option<Key>,
    /// No pass starts before, by the monotonic clock.
    not_before_up_ms: i64,
}

impl Passes {
    /// No pass yet. The first one starts at once.
    pub fn every_ms(every_ms: i64) -> Self {
        Self { every_ms, state: Mutex::default() }
    }

    /// Where the pass under way continues. Starts a pass at `start` if one is due.
    pub fn continue_at(&self, start: Key, up_ms: i64) -> Option<Key> {
        let mut state = self.lock();
        if state.next.is_none() && up_ms >= state.not_before_up_ms {
            state.not_before_up_ms = up_ms.saturating_add(self.every_ms);
            state.next = Some(start);
        }
        state.next.clone()
    }

    /// Notes where the pass continues; `None`: it has ended.
    pub fn moved_to(&self, next: Option<Key>) {
        self.lock().next = next;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_continues_where_it_was_and_the_next_one_starts_in_time() {
        let passes = Passes::every_ms(100);
        let at = |up_ms| passes.continue_at(vec![1], up_ms);
        assert_eq!(at(50), Some(vec![1]));
        passes.moved_to(Some(vec![2]));
        assert_eq!(at(151), Some(vec![2]), "the next pass waits for the end of this one");
        passes.moved_to(None);
        assert_eq!(at(149), None);
        assert_eq!(at(150), Some(vec![1]));
    }
}
