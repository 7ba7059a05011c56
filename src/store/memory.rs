//! The store in memory: naive and obviously right, so that the other backends can be compared with it.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::broadcast;

use super::{
    Backend, Batch, CHANGES_KEPT, Change, CommitError, Entry, Key, StoreError, Version, scan_bounds,
};

/// A store in memory. Clones share the data.
#[derive(Clone)]
pub struct Memory {
    data: Arc<Mutex<Data>>,
    changes: broadcast::Sender<Arc<Change>>,
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
            changes: broadcast::Sender::new(CHANGES_KEPT),
            commits_to_fail: Arc::default(),
            sole_writer: true,
        }
    }
}

impl Memory {
    /// An empty store whose clones may be given to several servers: a shared database in miniature.
    pub fn shared() -> Self {
        Self { sole_writer: false, ..Self::default() }
    }

    /// Makes the next `count` commits fail and change nothing, for tests of how a failing store looks from
    /// outside; `u64::MAX` is for good, 0 heals it.
    pub fn fail_next_commits(&self, count: u64) {
        self.commits_to_fail.store(count, Ordering::Release);
    }

    /// A panic elsewhere cannot leave the data half changed: a commit first checks, then changes.
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn injected_failure(&self) -> bool {
        let one_less = |left: u64| (left > 0).then(|| if left == u64::MAX { left } else { left - 1 });
        self.commits_to_fail.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }
}

impl Data {
    fn commit(&mut self, batch: Batch) -> Result<Change, CommitError> {
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
        Ok(Change { version, keys })
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
            // Told under the lock, so that watchers learn of changes in their order. Nobody may be listening.
            let _ = self.changes.send(Arc::new(change));
        }
        Ok(version)
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        self.sole_writer
    }
}
