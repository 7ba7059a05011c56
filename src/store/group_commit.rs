//! Group commit: one thread judges and writes all commits, so that callers who come together share one fsync.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};
use std::thread::{self, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, mpsc::error::TrySendError, oneshot};

use super::{Backend, Batch, CHANGES_KEPT, Change, CommitError, Entry, Key, StoreError, Version};

/// Most commits that may wait for the writer. At a few thousand fsyncs a second this many wait a few milliseconds.
const QUEUE_CAPACITY: usize = 4_096;
/// Most bytes of commits that may wait for the writer, so that large ones do not fill the memory. One that is larger
/// still waits alone.
const QUEUE_BYTES_MAX: u32 = 256 << 20;
/// Most commits that share one durable write, so that the first of them does not wait for ever.
const GROUP_COMMITS_MAX: usize = 512;
/// Size from which a group takes no more commits, in bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Low bits of a version, counting the commits of an epoch; the rest number the epoch.
const COUNTER_BITS: u32 = 40;

/// What a group changes: for each key its new value, or `None` where it is removed.
pub type Writes = BTreeMap<Key, Option<Entry>>;

/// An ordered store of one process that can write durably. Public for the benchmark, which compares engines under
/// the same group commit; servers use [`Embedded`](super::Embedded).
pub trait Engine: Send + Sync + 'static {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// The version of `key`, if it has a value. Asked for by the thread that applies, so between two changes.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn version(&self, key: &[u8]) -> Result<Option<Version>, StoreError> {
        Ok(self.get(key)?.map(|entry| entry.version))
    }

    /// Values in key order; see [`Backend::scan`].
    ///
    /// # Errors
    /// Where they cannot be read.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Entry)>, StoreError>;

    /// Makes all changes or none. Returns once they are durable, and shows them to readers no earlier.
    ///
    /// # Errors
    /// Where they may not be durable; no further changes are then asked for.
    fn apply(&self, writes: Writes) -> Result<(), StoreError>;

    /// A number greater than every one returned before, also before a restart.
    ///
    /// # Errors
    /// Where it could not be recorded durably.
    fn next_epoch(&self) -> Result<u64, StoreError>;

    /// Called once, after the last change.
    ///
    /// # Errors
    /// Where the files could not be flushed.
    fn flush(&self) -> Result<(), StoreError>;
}

/// What the writer did since the store was opened, and what waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits that succeeded.
    pub commits: u64,
    /// Durable writes that carried them.
    pub groups: u64,
    /// Commits refused because an expectation did not hold.
    pub conflicts: u64,
    /// Commits that failed for any other reason once they were queued.
    pub failures: u64,
    /// Commits that wait for the writer now.
    pub queue_depth: usize,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    groups: AtomicU64,
    conflicts: AtomicU64,
    failures: AtomicU64,
}

/// An engine with a group commit before it. Clones share it; dropping the last one closes it.
pub struct GroupCommit<E: Engine> {
    inner: Arc<Inner<E>>,
}

/// The options become `None` when the store is closed. Taking them out from under a lock, and not counting
/// clones, is what lets `close` promise that the files are free when it returns.
struct Inner<E: Engine> {
    engine: RwLock<Option<Arc<E>>>,
    queue: RwLock<Option<mpsc::Sender<Job>>>,
    /// Bytes that the queue has room for.
    room: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    changes: broadcast::Sender<Arc<Change>>,
    counters: Arc<Counters>,
    /// Why nothing is written any more, once a durable write has failed.
    failed: Arc<OnceLock<StoreError>>,
}

type Outcome = Result<Version, CommitError>;

/// A commit that waits, and who wants to know.
struct Job {
    batch: Batch,
    /// Its bytes of the queue, given back once it is settled.
    room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Outcome>,
}

impl<E: Engine> Clone for GroupCommit<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Engine> GroupCommit<E> {
    /// Starts the writer of `engine`. Blocks while the engine records the new epoch.
    ///
    /// # Errors
    /// Where the epoch could not be recorded or the thread not be started.
    pub fn start(engine: E) -> Result<Self, StoreError> {
        let engine = Arc::new(engine);
        let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
        let changes = broadcast::Sender::new(CHANGES_KEPT);
        let counters = Arc::<Counters>::default();
        let failed = Arc::<OnceLock<StoreError>>::default();
        let writer = Writer {
            versions: Versions::start(&*engine)?,
            engine: Arc::clone(&engine),
            jobs,
            changes: changes.clone(),
            counters: Arc::clone(&counters),
            failed: Arc::clone(&failed),
        };
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(|| writer.run())
            .map_err(|error| StoreError::Failed(format!("cannot start the writer thread: {error}")))?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine: RwLock::new(Some(engine)),
                queue: RwLock::new(Some(queue)),
                room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)),
                writer: Mutex::new(Some(writer)),
                changes,
                counters,
                failed,
            }),
        })
    }

    /// What the writer did so far, and what waits for it.
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

    /// Fails where nothing can be written any more, and says why.
    ///
    /// # Errors
    /// As said.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.inner.failed.get().map_or(Ok(()), |failed| Err(failed.clone()))
    }

    /// Refuses new commits, finishes the queued ones, flushes and lets go of the files: when this returns, they can
    /// be opened again. Afterwards everything answers [`StoreError::Closed`]; closing again does nothing.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where the files could not be flushed or the writer had died.
    pub async fn close(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let closed = tokio::task::spawn_blocking(move || inner.close()).await;
        closed.unwrap_or_else(|stopped| Err(StoreError::Failed(format!("closing was cut short: {stopped}"))))
    }
}

impl<E: Engine> Inner<E> {
    fn read<T>(&self, read: impl FnOnce(&E) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        read(engine.as_deref().ok_or(StoreError::Closed)?)
    }

    fn enqueue(&self, batch: Batch) -> Result<oneshot::Receiver<Outcome>, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(StoreError::Closed)?;
        let bytes =
            u32::try_from(batch.size_bytes()).map_or(QUEUE_BYTES_MAX, |bytes| bytes.min(QUEUE_BYTES_MAX));
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| StoreError::Busy)?;
        match queue.try_send(Job { batch, room, answer }) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Closed(_)) => Err(writer_died()),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        // Held to the end, so that a second caller returns no earlier than the first.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = writer.take().map_or(Ok(()), JoinHandle::join);
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        let flushed = engine.map_or(Ok(()), |engine| engine.flush());
        joined.map_err(|_| writer_died()).and(flushed)
    }
}

impl<E: Engine> Drop for Inner<E> {
    fn drop(&mut self) {
        // Every commit was durable when it was answered: there is nothing to lose here.
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the store was not closed cleanly");
        }
    }
}

fn writer_died() -> StoreError {
    StoreError::Failed("the writer has died: restart the server, and report the panic in its log".into())
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
        // Queued before the first await: a caller that goes away later takes nothing back.
        let outcome = self.inner.enqueue(batch)?;
        outcome.await.unwrap_or_else(|_| Err(writer_died().into()))
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Change>> {
        self.inner.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        true
    }
}

/// Numbers the commits: an epoch, recorded once whenever the store is opened, and a counter within it. So a
/// version never comes back, and no commit has to record where the counter stands.
struct Versions {
    epoch: u64,
    counter: u64,
}

impl Versions {
    fn start(engine: &impl Engine) -> Result<Self, StoreError> {
        let epoch = engine.next_epoch()?;
        if epoch >> (u64::BITS - COUNTER_BITS) != 0 {
            return Err(StoreError::Failed(
                "the versions are used up: export the data to a new directory".into(),
            ));
        }
        Ok(Self { epoch, counter: 0 })
    }

    /// A year at 30,000 commits a second uses up an epoch's counter; then a new epoch begins.
    fn next(&mut self, engine: &impl Engine) -> Result<Version, StoreError> {
        if self.counter >> COUNTER_BITS != 0 {
            *self = Self::start(engine)?;
        }
        let version = Version(self.epoch << COUNTER_BITS | self.counter);
        self.counter += 1;
        Ok(version)
    }
}

/// The thread that owns all commits.
struct Writer<E> {
    engine: Arc<E>,
    jobs: mpsc::Receiver<Job>,
    changes: broadcast::Sender<Arc<Change>>,
    counters: Arc<Counters>,
    versions: Versions,
    failed: Arc<OnceLock<StoreError>>,
}

/// Commits that were judged and wait for the durable write to be told.
#[derive(Default)]
struct Group {
    writes: Writes,
    verdicts: Vec<(oneshot::Sender<Outcome>, Result<Change, CommitError>)>,
    room: Vec<OwnedSemaphorePermit>,
}

impl<E: Engine> Writer<E> {
    fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let group = self.gather(first);
            self.settle(group);
        }
    }

    /// Judges `first` and whatever else waits.
    fn gather(&mut self, first: Job) -> Group {
        let mut group = Group::default();
        let mut size_bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            size_bytes += job.batch.size_bytes();
            let verdict = self.judge(job.batch, &mut group.writes);
            group.verdicts.push((job.answer, verdict));
            group.room.push(job.room);
            let full = group.verdicts.len() >= GROUP_COMMITS_MAX || size_bytes >= GROUP_BYTES_MAX;
            next = if full { None } else { self.jobs.try_recv().ok() };
        }
        group
    }

    /// Checks a batch against what the group has staged so far, else against the engine, and stages it if it may
    /// be committed.
    fn judge(&mut self, batch: Batch, staged: &mut Writes) -> Result<Change, CommitError> {
        if let Some(failed) = self.failed.get() {
            return Err(failed.clone().into());
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
        Ok(Change { version, keys })
    }

    /// Makes the group durable and only then answers. Conflicts wait too: they may have been judged against
    /// changes of the same group, which nobody must hear of before they are certain.
    fn settle(&mut self, group: Group) {
        let written = if group.writes.is_empty() {
            Ok(())
        } else {
            self.counters.groups.fetch_add(1, Ordering::Relaxed);
            self.engine.apply(group.writes)
        };
        if let Err(error) = &written {
            // After a failed fsync nobody knows what the disk holds; writing on could make a lost change the
            // base of a durable one. A restart reads what is really there.
            tracing::error!(%error, "a durable write failed, no more are tried until a restart");
            // Only this thread sets it, and only once: afterwards no group has writes.
            let _ = self.failed.set(StoreError::Failed(format!(
                "an earlier write failed and nothing is written since: check the disk, then restart the server ({error})"
            )));
        }
        // Before the answers, so that whoever commits again upon one finds room.
        drop(group.room);
        for (answer, verdict) in group.verdicts {
            let outcome = match &written {
                Ok(()) => verdict.map(|change| self.announce(change)),
                Err(error) => Err(error.clone().into()),
            };
            self.count(&outcome);
            // Whoever asked may have gone away; the commit stands.
            let _ = answer.send(outcome);
        }
    }

    fn announce(&self, change: Change) -> Version {
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
