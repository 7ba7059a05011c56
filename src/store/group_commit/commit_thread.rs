//! The thread that checks and writes all commits.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot};

use super::health::Health;
use super::{Counters, Engine, Outcome, QueuedCommit, Writes, commit_thread_died};
use crate::store::{Batch, ChangeEvent, CommitError, Entry, StoreError, Version};

/// Most commits that share one durable write, to limit how long the first of them waits.
const GROUP_COMMITS_MAX: usize = 512;
/// Size at which a group takes no more commits, in bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Number of low bits of a version that count the commits of an epoch. The other bits are the epoch.
pub const COUNTER_BITS: u32 = 40;

/// Makes the versions of commits from an epoch and a counter. The engine stores a new epoch whenever the store is
/// opened, so that no version is used twice and no commit has to store the counter.
pub struct Versions {
    epoch: u64,
    pub(super) counter: u64,
}

impl Versions {
    pub fn start(engine: &impl Engine) -> Result<Self, StoreError> {
        let epoch = engine.next_epoch()?;
        if epoch >> (u64::BITS - COUNTER_BITS) != 0 {
            return Err(StoreError::Failed(
                "all versions are used up: copy the store to a new directory".into(),
            ));
        }
        Ok(Self { epoch, counter: 0 })
    }

    /// Returns a new version. After 2^40 commits (a year at 30,000 commits a second) a new epoch begins.
    pub fn next(&mut self, engine: &impl Engine) -> Result<Version, StoreError> {
        if self.counter >> COUNTER_BITS != 0 {
            *self = Self::start(engine)?;
        }
        let version = Version(self.epoch << COUNTER_BITS | self.counter);
        self.counter += 1;
        Ok(version)
    }
}

/// The thread that checks and writes all commits.
pub struct CommitThread<E> {
    pub engine: Arc<E>,
    pub queued: mpsc::Receiver<QueuedCommit>,
    pub changes: broadcast::Sender<Arc<ChangeEvent>>,
    pub counters: Arc<Counters>,
    pub versions: Versions,
    pub health: Arc<Health>,
}

impl<E> Drop for CommitThread<E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the commit thread has stopped because of a panic; commits are refused until a restart"
            );
            self.health.refuse_commits(commit_thread_died());
            self.health.end_group();
        }
    }
}

/// Commits that were checked, and whose callers wait for the durable write.
#[derive(Default)]
struct CommitGroup {
    writes: Writes,
    checked: Vec<(oneshot::Sender<Outcome>, Result<ChangeEvent, CommitError>)>,
    queue_bytes: Vec<OwnedSemaphorePermit>,
}

impl<E: Engine> CommitThread<E> {
    pub fn run(mut self) {
        while let Some(first) = self.queued.blocking_recv() {
            self.health.begin_group();
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
            self.counters.in_group.fetch_add(1, Ordering::Relaxed);
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
        self.health.check_commits()?;
        for (key, expected) in &batch.expect {
            let version = match staged.get(key) {
                Some(entry) => entry.as_ref().map(|entry| entry.version),
                None => self.health.note_damage(self.engine.version(key))?,
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
            self.health.refuse_commits(StoreError::Failed(format!(
                "an earlier write failed, and commits are refused since: check the disk, then restart the server ({error})"
            )));
        }
        self.health.end_group();
        self.counters.in_group.store(0, Ordering::Relaxed);
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
