//! Group commit: one thread checks and writes all commits, so that commits that arrive together share one fsync.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};
use std::thread::{self, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, mpsc::error::TrySendError, oneshot};

use super::{Backend, Batch, ChangeEvent, CommitError, Entry, Key, StoreError, Version, WATCH_CAPACITY};

/// Most commits that wait for the commit thread. At a few thousand fsyncs a second they wait a few milliseconds.
const QUEUE_CAPACITY: usize = 4_096;
/// Most bytes of the commits that wait for the commit thread, to limit the memory of large commits. A commit that is
/// larger than this waits alone.
const QUEUE_BYTES_MAX: u32 = 256 << 20;
/// Most commits that share one durable write, to limit how long the first of them waits.
const GROUP_COMMITS_MAX: usize = 512;
/// Size at which a group takes no more commits, in bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Number of low bits of a version that count the commits of an epoch. The other bits are the epoch.
const COUNTER_BITS: u32 = 40;

/// The changes of a group: for each key its new entry, or `None` if the key is deleted.
pub type Writes = BTreeMap<Key, Option<Entry>>;

/// An ordered store of one process with durable writes. It is public for the benchmark, which compares engines with the
/// same group commit; servers use [`Embedded`](super::Embedded).
pub trait Engine: Send + Sync + 'static {
    /// Reads the entry of `key`; `None` if the key has no value.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Reads the version of `key`; `None` if the key has no value. Only the commit thread calls it, so that no change
    /// is applied at the same time.
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot be read.
    fn version(&self, key: &[u8]) -> Result<Option<Version>, StoreError> {
        Ok(self.get(key)?.map(|entry| entry.version))
    }

    /// Reads entries in key order; see [`Backend::scan`].
    ///
    /// # Errors
    /// [`StoreError`] if the engine cannot be read.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError>;

    /// Makes all changes or none. Returns once they are durable; readers do not see them earlier.
    ///
    /// # Errors
    /// [`StoreError`] if the changes may not be durable. Then `apply` is not called again.
    fn apply(&self, writes: Writes) -> Result<(), StoreError>;

    /// Returns a number greater than every number it returned before, including those before a restart.
    ///
    /// # Errors
    /// [`StoreError`] if the number could not be stored durably.
    fn next_epoch(&self) -> Result<u64, StoreError>;

    /// Flushes all files. It is called once, after the last change.
    ///
    /// # Errors
    /// [`StoreError`] if the files could not be flushed.
    fn flush(&self) -> Result<(), StoreError>;
}

/// Counts of commits since the store was opened, and the length of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits that succeeded.
    pub commits: u64,
    /// Durable writes. Each carries one or more commits.
    pub groups: u64,
    /// Commits refused because an expectation did not hold.
    pub conflicts: u64,
    /// Commits that failed for any other reason after they were queued.
    pub failures: u64,
    /// Commits that wait for the commit thread now.
    pub queue_depth: usize,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    groups: AtomicU64,
    conflicts: AtomicU64,
    failures: AtomicU64,
}

/// A store that writes to an engine with group commit. Clones share it; dropping the last clone closes it.
pub struct GroupCommit<E: Engine> {
    inner: Arc<Inner<E>>,
}

/// `close` takes the engine and the queue out of their options, under their locks. So the files are free when it
/// returns, even if clones of the store remain.
struct Inner<E: Engine> {
    engine: RwLock<Option<Arc<E>>>,
    queue: RwLock<Option<mpsc::Sender<QueuedCommit>>>,
    /// A permit for each byte that the queue may still take.
    queue_bytes: Arc<Semaphore>,
    commit_thread: Mutex<Option<JoinHandle<()>>>,
    changes: broadcast::Sender<Arc<ChangeEvent>>,
    counters: Arc<Counters>,
    /// The error of all commits after a failed durable write.
    write_failure: Arc<OnceLock<StoreError>>,
}

type Outcome = Result<Version, CommitError>;

/// A commit in the queue, whose caller waits for the outcome.
struct QueuedCommit {
    batch: Batch,
    /// The bytes of the batch in the queue, released after the commit is written.
    queue_bytes: OwnedSemaphorePermit,
    reply: oneshot::Sender<Outcome>,
}

impl<E: Engine> Clone for GroupCommit<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Engine> GroupCommit<E> {
    /// Starts the commit thread of `engine`. Blocks while the engine stores the new epoch.
    ///
    /// # Errors
    /// [`StoreError`] if the epoch could not be stored or the thread could not be started.
    pub fn start(engine: E) -> Result<Self, StoreError> {
        let engine = Arc::new(engine);
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        let changes = broadcast::Sender::new(WATCH_CAPACITY);
        let counters = Arc::<Counters>::default();
        let write_failure = Arc::<OnceLock<StoreError>>::default();
        let commit_thread = CommitThread {
            versions: Versions::start(&*engine)?,
            engine: Arc::clone(&engine),
            queued,
            changes: changes.clone(),
            counters: Arc::clone(&counters),
            write_failure: Arc::clone(&write_failure),
        };
        let commit_thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(|| commit_thread.run())
            .map_err(|error| StoreError::Failed(format!("cannot start the commit thread: {error}")))?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine: RwLock::new(Some(engine)),
                queue: RwLock::new(Some(queue)),
                queue_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)),
                commit_thread: Mutex::new(Some(commit_thread)),
                changes,
                counters,
                write_failure,
            }),
        })
    }

    /// The counts of commits so far, and the length of the queue.
    pub fn stats(&self) -> Stats {
        let counters = &self.inner.counters;
        let queue = self.inner.queue.read().unwrap_or_else(PoisonError::into_inner);
        Stats {
            commits: counters.commits.load(Ordering::Relaxed),
            groups: counters.groups.load(Ordering::Relaxed),
            conflicts: counters.conflicts.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            queue_depth: queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity()),
        }
    }

    /// Checks whether the store accepts commits. It refuses them after a failed durable write, until a restart.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with the cause of the failed write.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.inner.write_failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Refuses new commits, finishes the queued commits, flushes and closes the files. When this returns, the files can
    /// be opened again. Afterwards every method returns [`StoreError::Closed`]; a second call of `close` does nothing.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the files could not be flushed or the commit thread had panicked.
    pub async fn close(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let closed = tokio::task::spawn_blocking(move || inner.close()).await;
        closed.unwrap_or_else(|error| Err(StoreError::Failed(format!("closing was interrupted: {error}"))))
    }
}

impl<E: Engine> Inner<E> {
    fn read<T>(&self, read: impl FnOnce(&E) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        read(engine.as_deref().ok_or(StoreError::Closed)?)
    }

    fn enqueue(&self, batch: Batch) -> Result<oneshot::Receiver<Outcome>, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(StoreError::Closed)?;
        let bytes = u32::try_from(batch.size_bytes()).unwrap_or(u32::MAX).min(QUEUE_BYTES_MAX);
        let queue_bytes = Arc::clone(&self.queue_bytes).try_acquire_many_owned(bytes);
        let queue_bytes = queue_bytes.map_err(|_| StoreError::Busy)?;
        match queue.try_send(QueuedCommit { batch, queue_bytes, reply }) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Closed(_)) => Err(commit_thread_died()),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        // Locked until the end, so that a second caller does not return before the first.
        let mut commit_thread = self.commit_thread.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = commit_thread.take().map_or(Ok(()), JoinHandle::join);
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        let flushed = engine.map_or(Ok(()), |engine| engine.flush());
        joined.map_err(|_| commit_thread_died()).and(flushed)
    }
}

impl<E: Engine> Drop for Inner<E> {
    fn drop(&mut self) {
        // No answered commit is lost: each was durable before its answer.
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the store was not closed cleanly");
        }
    }
}

fn commit_thread_died() -> StoreError {
    StoreError::Failed(
        "the commit thread has stopped: restart the server, and report the panic in its log".into(),
    )
}

impl<E: Engine> Backend for GroupCommit<E> {
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.inner.read(|engine| engine.get(key))
    }

    async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        self.inner.read(|engine| engine.scan(from, to, limit))
    }

    async fn commit(&self, batch: Batch) -> Result<Version, CommitError> {
        batch.check_keys()?;
        // Queued before the first await: a caller that drops the future later does not undo the commit.
        let outcome = self.inner.enqueue(batch)?;
        outcome.await.unwrap_or_else(|_| Err(commit_thread_died().into()))
    }

    fn watch(&self) -> broadcast::Receiver<Arc<ChangeEvent>> {
        self.inner.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        true
    }
}

/// Makes the versions of commits from an epoch and a counter. The engine stores a new epoch whenever the store is
/// opened, so that no version is used twice and no commit has to store the counter.
struct Versions {
    epoch: u64,
    counter: u64,
}

impl Versions {
    fn start(engine: &impl Engine) -> Result<Self, StoreError> {
        let epoch = engine.next_epoch()?;
        if epoch >> (u64::BITS - COUNTER_BITS) != 0 {
            return Err(StoreError::Failed(
                "all versions are used up: copy the store to a new directory".into(),
            ));
        }
        Ok(Self { epoch, counter: 0 })
    }

    /// Returns a new version. After 2^40 commits (a year at 30,000 commits a second) a new epoch begins.
    fn next(&mut self, engine: &impl Engine) -> Result<Version, StoreError> {
        if self.counter >> COUNTER_BITS != 0 {
            *self = Self::start(engine)?;
        }
        let version = Version(self.epoch << COUNTER_BITS | self.counter);
        self.counter += 1;
        Ok(version)
    }
}

/// The thread that checks and writes all commits.
struct CommitThread<E> {
    engine: Arc<E>,
    queued: mpsc::Receiver<QueuedCommit>,
    changes: broadcast::Sender<Arc<ChangeEvent>>,
    counters: Arc<Counters>,
    versions: Versions,
    write_failure: Arc<OnceLock<StoreError>>,
}

/// Commits that were checked, and whose callers wait for the durable write.
#[derive(Default)]
struct CommitGroup {
    writes: Writes,
    checked: Vec<(oneshot::Sender<Outcome>, Result<ChangeEvent, CommitError>)>,
    queue_bytes: Vec<OwnedSemaphorePermit>,
}

impl<E: Engine> CommitThread<E> {
    fn run(mut self) {
        while let Some(first) = self.queued.blocking_recv() {
            let group = self.collect_group(first);
            self.write_and_reply(group);
        }
    }

    /// Checks `first` and the commits that wait behind it, until the group is full or the queue is empty.
    fn collect_group(&mut self, first: QueuedCommit) -> CommitGroup {
        let mut group = CommitGroup::default();
        let mut size_bytes = 0;
        let mut next = Some(first);
        while let Some(commit) = next {
            size_bytes += commit.batch.size_bytes();
            let checked = self.check_and_stage(commit.batch, &mut group.writes);
            group.checked.push((commit.reply, checked));
            group.queue_bytes.push(commit.queue_bytes);
            let is_full = group.checked.len() >= GROUP_COMMITS_MAX || size_bytes >= GROUP_BYTES_MAX;
            next = if is_full { None } else { self.queued.try_recv().ok() };
        }
        group
    }

    /// Checks the expectations of a batch against the changes that the group has staged so far, then against the
    /// engine. Stages the changes of the batch if all expectations hold.
    fn check_and_stage(&mut self, batch: Batch, staged: &mut Writes) -> Result<ChangeEvent, CommitError> {
        if let Some(failure) = self.write_failure.get() {
            return Err(failure.clone().into());
        }
        for (key, expected) in &batch.expect {
            let version = match staged.get(key) {
                Some(entry) => entry.as_ref().map(|entry| entry.version),
                None => self.engine.version(key)?,
            };
            if version != *expected {
                return Err(CommitError::Conflict { key: key.clone() });
            }
        }
        let version = self.versions.next(&*self.engine)?;
        let changes = batch.into_changes();
        let keys = changes.keys().cloned().collect();
        for (key, value) in changes {
            staged.insert(key, value.map(|value| Entry { version, value }));
        }
        Ok(ChangeEvent { version, keys })
    }

    /// Writes the group durably, and replies to all callers afterwards. Conflicts wait too: a conflict may be with a
    /// change of the same group, which must not become known before it is durable.
    fn write_and_reply(&mut self, group: CommitGroup) {
        let written = if group.writes.is_empty() {
            Ok(())
        } else {
            self.counters.groups.fetch_add(1, Ordering::Relaxed);
            self.engine.apply(group.writes)
        };
        if let Err(error) = &written {
            // After a failed fsync the content of the disk is unknown, and a later durable change could build on a lost
            // change. A restart reads what the disk holds.
            tracing::error!(%error, "a durable write failed; commits are refused until a restart");
            // Set only here and only once: later groups have no writes.
            let _ = self.write_failure.set(StoreError::Failed(format!(
                "an earlier write failed, and commits are refused since: check the disk, then restart the server ({error})"
            )));
        }
        // Released before the replies, so that a caller that commits again finds room in the queue.
        drop(group.queue_bytes);
        for (reply, checked) in group.checked {
            let outcome = match &written {
                Ok(()) => checked.map(|change| self.publish(change)),
                Err(error) => Err(error.clone().into()),
            };
            self.count(&outcome);
            // Fails if the caller has dropped its future; the commit stands.
            let _ = reply.send(outcome);
        }
    }

    /// Sends the change to the watchers; returns its version.
    fn publish(&self, change: ChangeEvent) -> Version {
        let version = change.version;
        if !change.keys.is_empty() && self.changes.receiver_count() > 0 {
            let _ = self.changes.send(Arc::new(change));
        }
        version
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Ok(_) => &self.counters.commits,
            Err(CommitError::Conflict { .. }) => &self.counters.conflicts,
            Err(CommitError::Store(_)) => &self.counters.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "group_commit_tests.rs"]
mod tests;
