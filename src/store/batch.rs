//! The changes and expectations of one commit.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Key, StoreError, Version};

/// Longest key, in bytes: twice the longest key in use, and below the limit of every backend. PostgreSQL has the lowest
/// limit, a third of an index page.
pub const KEY_BYTES_MAX: usize = 2_048;

/// A key that the embedded store uses itself. Every backend refuses it.
pub const RESERVED_KEY: &[u8] = b"\0\0link";

/// Changes that are committed together, and the expectations that must hold for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Expectations: the version that each key must have, or `None` for a key without a value. They are checked in this
    /// order, and a conflict reports the first that does not hold.
    pub expect: Vec<(Key, Option<Version>)>,
    /// Values to write. If a key occurs twice, the later value counts.
    pub put: Vec<(Key, Bytes)>,
    /// Keys to delete, after the puts. A key without a value is no error.
    pub delete: Vec<Key>,
}

impl Batch {
    /// Expects that `key` has the version `version`.
    #[must_use]
    pub fn expect_version(mut self, key: impl Into<Key>, version: Version) -> Self {
        self.expect.push((key.into(), Some(version)));
        self
    }

    /// Expects that `key` has no value.
    #[must_use]
    pub fn expect_absent(mut self, key: impl Into<Key>) -> Self {
        self.expect.push((key.into(), None));
        self
    }

    /// Writes `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.put.push((key.into(), value.into()));
        self
    }

    /// Deletes the value of `key`.
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

    /// Checks the length of all keys, so that every backend refuses the same keys.
    ///
    /// # Errors
    /// [`StoreError::InvalidKey`] for the first key that is empty or longer than [`KEY_BYTES_MAX`];
    /// [`StoreError::ReservedKey`] for [`RESERVED_KEY`].
    pub(super) fn check_keys(&self) -> Result<(), StoreError> {
        let expected = self.expect.iter().map(|(key, _)| key);
        let put = self.put.iter().map(|(key, _)| key);
        for key in expected.chain(put).chain(&self.delete) {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StoreError::InvalidKey { bytes: key.len() });
            }
            if key == RESERVED_KEY {
                return Err(StoreError::ReservedKey);
            }
        }
        Ok(())
    }

    /// The new value of each changed key, or `None` if the key is deleted.
    pub(super) fn into_changes(self) -> BTreeMap<Key, Option<Bytes>> {
        let mut changes = BTreeMap::new();
        changes.extend(self.put.into_iter().map(|(key, value)| (key, Some(value))));
        changes.extend(self.delete.into_iter().map(|key| (key, None)));
        changes
    }

    /// Size of all keys and values to write, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let put: usize = self.put.iter().map(|(key, value)| key.len() + value.len()).sum();
        put + self.delete.iter().map(Vec::len).sum::<usize>()
    }
}
