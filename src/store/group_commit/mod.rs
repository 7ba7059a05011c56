//! Group commit: one thread checks and writes all commits, so that commits that arrive together share one fsync.

mod commit_thread;
mod health;
mod reads;

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use std::thread::{self, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, mpsc::error::TrySendError, oneshot};

use self::commit_thread::{CommitThread, Versions};
use self::health::{Health, Watch};
use self::reads::Reads;
use super::{Backend, Batch, ChangeEvent, CommitError, Entry, Key, StoreError, Version, WATCH_CAPACITY};
use crate::env::Clock;

/// Most commits that wait for the commit thread. At a few thousand fsyncs a second they wait a few milliseconds.
const QUEUE_CAPACITY: usize = 4_096;
/// Most bytes of the commits that wait for the commit thread, to limit the memory of large commits. A commit that is
/// larger than this waits alone.
const QUEUE_BYTES_MAX: u32 = 256 << 20;

/// Most entries of a scan that may run on a worker of the async runtime.
const INLINE_SCAN_MAX: usize = 64;

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

    /// Checks whether `apply` can still succeed, if the engine knows that without a write.
    ///
    /// # Errors
    /// [`StoreError`] with the reason why it cannot.
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

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
    /// Commits that wait now, in the queue or for the durable write that is in progress.
    pub queue_depth: usize,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    groups: AtomicU64,
    conflicts: AtomicU64,
    failures: AtomicU64,
    /// Commits that the commit thread has taken from the queue and not answered.
    in_group: AtomicUsize,
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
    watch: Mutex<Option<Watch>>,
    changes: broadcast::Sender<Arc<ChangeEvent>>,
    counters: Arc<Counters>,
    health: Arc<Health>,
    reads: Reads,
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
        Self::start_at(engine, Clock::System)
    }

    fn start_at(engine: E, clock: Clock) -> Result<Self, StoreError> {
        let engine = Arc::new(engine);
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        let changes = broadcast::Sender::new(WATCH_CAPACITY);
        let counters = Arc::<Counters>::default();
        let health = Arc::new(Health::new(clock));
        let commit_thread = CommitThread {
            versions: Versions::start(&*engine)?,
            engine: Arc::clone(&engine),
            queued,
            changes: changes.clone(),
            counters: Arc::clone(&counters),
            health: Arc::clone(&health),
        };
        let commit_thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(|| commit_thread.run())
            .map_err(|error| StoreError::Failed(format!("cannot start the commit thread: {error}")))?;
        let watch = Watch::start(Arc::clone(&health), Arc::clone(&engine))?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine: RwLock::new(Some(engine)),
                queue: RwLock::new(Some(queue)),
                queue_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)),
                commit_thread: Mutex::new(Some(commit_thread)),
                watch: Mutex::new(Some(watch)),
                changes,
                counters,
                health,
                reads: Reads::new(),
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
            queue_depth: queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
                + counters.in_group.load(Ordering::Relaxed),
        }
    }

    /// Checks whether the store accepts commits and answers them in time, and whether all values could be read. After a
    /// failed durable write it refuses commits until a restart.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if commits are refused, or if a durable write does not end; [`StoreError::Corrupt`] if a
    /// value was damaged.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.inner.health.check()
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
        self.health.note_damage(read(engine.as_deref().ok_or(StoreError::Closed)?))
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
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
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
        match self.inner.reads.inline().await {
            Some(_slot) => self.inner.read(|engine| engine.get(key)),
            None => {
                let key = key.to_vec();
                reads::in_pool(&self.inner, move |engine| engine.get(&key)).await
            }
        }
    }

    async fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        let slot = if limit <= INLINE_SCAN_MAX { self.inner.reads.inline().await } else { None };
        match slot {
            Some(_slot) => self.inner.read(|engine| engine.scan(from, to, limit)),
            None => {
                let (from, to) = (from.to_vec(), to.to_vec());
                reads::in_pool(&self.inner, move |engine| engine.scan(&from, &to, limit)).await
            }
        }
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

#[cfg(test)]
#[path = "../group_commit_tests.rs"]
mod tests;
