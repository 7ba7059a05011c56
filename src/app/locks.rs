//! Lock striping: a fixed number of locks for any number of keys. Two keys may share a lock; then they wait for each
//! other.

use std::hash::{BuildHasher, Hash, RandomState};

/// A fixed number of locks, chosen by the hash of a key.
pub struct LockStripes<T> {
    stripes: Box<[T]>,
    hasher: RandomState,
}

impl<T: Default> LockStripes<T> {
    /// This many locks.
    pub fn new(count: usize) -> Self {
        Self { stripes: (0..count).map(|_| T::default()).collect(), hasher: RandomState::new() }
    }

    /// The lock of a key.
    pub fn of(&self, key: impl Hash) -> &T {
        &self.stripes[self.index(key)]
    }

    /// The locks of several keys, each lock once, in the order of their indices. Every caller takes them in this order,
    /// which prevents deadlocks.
    pub fn of_all(&self, keys: impl IntoIterator<Item: Hash>) -> Vec<&T> {
        let mut indices: Vec<_> = keys.into_iter().map(|key| self.index(key)).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.into_iter().map(|index| &self.stripes[index]).collect()
    }

    /// Every lock.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.stripes.iter()
    }

    fn index(&self, key: impl Hash) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let hash = self.hasher.hash_one(key) as usize;
        hash % self.stripes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_locks_come_once_each_and_in_one_order() {
        let stripes = LockStripes::<std::cell::Cell<usize>>::new(8);
        for (position, stripe) in stripes.stripes.iter().enumerate() {
            stripe.set(position);
        }
        let positions =
            |keys: &[u64]| -> Vec<_> { stripes.of_all(keys).iter().map(|found| found.get()).collect() };
        let keys: Vec<_> = (0..100).collect();
        assert_eq!(positions(&keys), (0..8).collect::<Vec<_>>());
        assert_eq!(positions(&[7, 7]), [stripes.of(7_u64).get()]);
        for pair in keys.windows(2) {
            let found = positions(pair);
            assert!(found.is_sorted() && found.contains(&stripes.of(pair[0]).get()), "{found:?}");
            assert_eq!(found, positions(&[pair[1], pair[0]]));
        }
    }
}
