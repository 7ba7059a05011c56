//! The store in memory. It is simple, so that tests can compare the other backends with it.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::broadcast;

use super::{
    Backend, Batch, ChangeEvent, CommitError, Entry, Key, StoreError, Version, WATCH_CAPACITY, scan_bounds,
};

/// A store in memory. Clones share the data.
#[derive(Clone)]
pub struct Memory {
    data: Arc<Mutex<Data>>,
    changes: broadcast::Sender<Arc<ChangeEvent>>,
    commits_to_fail: Arc<AtomicU64>,
    sole_writer: bool,
}

#[derive(Default)]
struct Data {
    entries: BTreeMap<Key, Entry>,
    last_version: u64,
}

impl Default for Memory {
    /// An empty store for one server.
    fn default() -> Self {
        Self {
            data: Arc::default(),
            changes: broadcast::Sender::new(WATCH_CAPACITY),
            commits_to_fail: Arc::default(),
            sole_writer: true,
        }
    }
}

impl Memory {
    /// An empty store whose clones may be given to several servers, as a substitute for a shared database.
    pub fn shared() -> Self {
        Self { sole_writer: false, ..Self::default() }
    }

    /// Makes the next `count` commits fail without a change, for tests. `u64::MAX` means every commit; 0 ends the
    /// failures.
    pub fn fail_next_commits(&self, count: u64) {
        self.commits_to_fail.store(count, Ordering::Release);
    }

    /// Ignores a poisoned lock: a commit checks everything before it changes data, so a panic leaves no partial commit.
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn injected_failure(&self) -> bool {
        let next_count = |left: u64| match left {
            0 => None,
            u64::MAX => Some(u64::MAX),
            left => Some(left - 1),
        };
        self.commits_to_fail.fetch_update(Ordering::AcqRel, Ordering::Acquire, next_count).is_ok()
    }
}

impl Data {
    fn commit(&mut self, batch: Batch) -> Result<ChangeEvent, CommitError> {
        for (key, expected) in &batch.expect {
            if self.entries.get(key).map(|entry| entry.version) != *expected {
                return Err(CommitError::Conflict { key: key.clone() });
            }
        }
        self.last_version += 1;
        let version = Version(self.last_version);
        let changes = batch.into_changes();
        let keys = changes.keys().cloned().collect();
        for (key, value) in changes {
            match value {
                Some(value) => self.entries.insert(key, Entry { version, value }),
                None => self.entries.remove(&key),
            };
        }
        Ok(ChangeEvent { version, keys })
    }
}

impl Backend for Memory {
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.lock().entries.get(key).cloned())
    }

    async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        let Some(bounds) = scan_bounds(from, to) else {
            return Ok(Vec::new());
        };
        let data = self.lock();
        let range = data.entries.range::<[u8], _>(bounds);
        Ok(range.take(limit).map(|(key, entry)| (key.clone(), entry.clone())).collect())
    }

    async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        batch.check_keys()?;
        if self.injected_failure() {
            return Err(StoreError::Failed("a test asked for this failure".into()).into());
        }
        let mut data = self.lock();
        let change = data.commit(batch)?;
        let version = change.version;
        if !change.keys.is_empty() {
            // Sent under the lock, so that watchers get the events in commit order. Fails if there is no watcher.
            let _ = self.changes.send(Arc::new(change));
        }
        Ok(version)
    }

    fn watch(&self) -> broadcast::Receiver<Arc<ChangeEvent>> {
        self.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        self.sole_writer
    }
}
