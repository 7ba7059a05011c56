//! What a commit asks for.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Key, StoreError, Version};

/// Longest key, in bytes: twice what the longest one takes, and less than every backend's own limit. PostgreSQL has
/// the lowest, a third of a page of its index.
pub const KEY_BYTES_MAX: usize = 2_048;

/// Changes to make together, and what must hold for them to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The version each key must have, `None` for no value; checked in this order, and the first that fails is
    /// the one reported.
    pub expect: Vec<(Key, Option<Version>)>,
    /// Values to write. Of two for one key the later is kept.
    pub put: Vec<(Key, Bytes)>,
    /// Keys to remove, after the puts; a key without a value stays without.
    pub delete: Vec<Key>,
}

impl Batch {
    /// Commit only if `key` still has the value of `version`.
    #[must_use]
    pub fn expect_version(mut self, key: impl Into<Key>, version: Version) -> Self {
        self.expect.push((key.into(), Some(version)));
        self
    }

    /// Commit only if `key` has no value.
    #[must_use]
    pub fn expect_absent(mut self, key: impl Into<Key>) -> Self {
        self.expect.push((key.into(), None));
        self
    }

    /// Write `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.put.push((key.into(), value.into()));
        self
    }

    /// Remove the value at `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.delete.push(key.into());
        self
    }

    /// Commit everything that another batch asks for as well.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.expect.extend(other.expect);
        self.put.extend(other.put);
        self.delete.extend(other.delete);
        self
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.put.is_empty() && self.delete.is_empty()
    }

    /// Refuses keys that some backend could not hold: all of them refuse the same.
    ///
    /// # Errors
    /// [`StoreError::InvalidKey`] for the first such key.
    pub(super) fn check_keys(&self) -> Result<(), StoreError> {
        let expected = self.expect.iter().map(|(key, _)| key);
        let put = self.put.iter().map(|(key, _)| key);
        for key in expected.chain(put).chain(&self.delete) {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StoreError::InvalidKey { bytes: key.len() });
            }
        }
        Ok(())
    }

    /// What the batch comes to, a line per key: its new value, or `None` where it is removed.
    pub(super) fn into_changes(self) -> BTreeMap<Key, Option<Bytes>> {
        let mut changes = BTreeMap::new();
        changes.extend(self.put.into_iter().map(|(key, value)| (key, Some(value))));
        changes.extend(self.delete.into_iter().map(|key| (key, None)));
        changes
    }

    /// Roughly how much there is to write, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let put: usize = self.put.iter().map(|(key, value)| key.len() + value.len()).sum();
        put + self.delete.iter().map(Vec::len).sum::<usize>()
    }
}
