//! Passes over all keys of a kind, in small steps: where the pass under way continues, and when the next one starts.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{Entry, Key, Store, StoreError, next_key};

/// A range of keys: the first one, and the end, which is excluded.
pub type KeyRange = (Key, Key);

/// The passes over all keys of a kind, on this node.
pub struct Passes {
    /// The time from the start of a pass until the next one starts, in milliseconds.
    every_ms: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the pass under way has not read yet; empty: there is no pass.
    left: VecDeque<KeyRange>,
    /// No pass starts before, by the monotonic clock.
    not_before_up_ms: i64,
}

/// What one step of a pass has read.
pub struct Step {
    /// The entries, in key order.
    pub found: Vec<(Key, Entry)>,
    /// Whether the pass goes on after this step.
    pub has_more: bool,
}

impl Passes {
    /// No pass yet. The first one starts at once.
    pub fn every_ms(every_ms: i64) -> Self {
        Self { every_ms, state: Mutex::default() }
    }

    /// What the pass under way reads next. Starts a pass over `ranges`, one after the other, if one is due.
    pub fn next(&self, up_ms: i64, ranges: impl FnOnce() -> Vec<KeyRange>) -> Option<KeyRange> {
        let mut state = self.lock();
        if state.left.is_empty() && up_ms >= state.not_before_up_ms {
            state.not_before_up_ms = up_ms.saturating_add(self.every_ms);
            state.left = ranges().into();
        }
        state.left.front().cloned()
    }

    /// Reads at most `count` entries of `next`, which [`next`](Self::next) has returned. The pass continues after them,
    /// whatever the caller does with them, so that an entry that cannot be read does not hold up the pass.
    ///
    /// # Errors
    /// Errors of the store. Then the pass continues at the same place.
    pub async fn read(&self, store: &Store, next: KeyRange, count: usize) -> Result<Step, StoreError> {
        let (from, to) = next;
        let found = store.scan(&from, &to, count).await?;
        let rest = found.last().filter(|_| found.len() == count).map(|(last, _)| (next_key(last), to));
        let mut state = self.lock();
        state.left.pop_front();
        if let Some(rest) = rest {
            state.left.push_front(rest);
        }
        let has_more = !state.left.is_empty();
        Ok(Step { found, has_more })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Memory};

    #[tokio::test]
    async fn a_pass_continues_where_it_was_and_the_next_one_starts_in_time() {
        let store = Store::Memory(Memory::default());
        let keys = (1..=5).fold(Batch::default(), |batch, key: u8| batch.put(vec![key], "value"));
        store.commit(keys).await.unwrap();
        let passes = Passes::every_ms(100);
        // From the middle to the end, then from the start to the middle.
        let next = |up_ms| passes.next(up_ms, || vec![(vec![3], vec![6]), (vec![1], vec![3])]);
        let step = async |next, count| {
            let step = passes.read(&store, next, count).await.unwrap();
            (step.found.into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), step.has_more)
        };
        assert_eq!(step(next(50).unwrap(), 2).await, (vec![3, 4], true));
        assert_eq!(
            step(next(151).unwrap(), 2).await,
            (vec![5], true),
            "the next pass waits for the end of this one"
        );
        assert_eq!(step(next(151).unwrap(), 9).await, (vec![1, 2], false));
        assert_eq!(next(149), None);
        assert_eq!(next(150), Some((vec![3], vec![6])));
    }
}
