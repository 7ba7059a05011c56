//! Tests of the group commit with an engine that a test can block and make fail.

use bytes::Bytes;

use std::sync::Condvar;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use super::commit_thread::COUNTER_BITS;
use super::*;

/// The state that a test shares with its engine.
#[derive(Default)]
struct Controls {
    values: Mutex<BTreeMap<Key, Entry>>,
    /// Number of durable writes that succeed before all fail; `None` means that none fails.
    healthy_writes: Mutex<Option<u32>>,
    /// A test locks it to block the commit thread before the next durable write.
    gate: Mutex<()>,
    /// Notified when a durable write begins.
    reached_gate: tokio::sync::Notify,
    epochs: AtomicU64,
    /// Whether durable writes panic.
    panics: AtomicBool,
    /// Whether the engine's own background work has failed.
    has_failed: AtomicBool,
    /// Reads of [`SLOW`] that wait for the disk; `None` after the disk has answered.
    slow_reads: Mutex<Option<u32>>,
    slow_reads_changed: Condvar,
}

/// A key whose read waits for the disk.
const SLOW: &[u8] = b"slow";
/// A key whose value is damaged.
const DAMAGED: &[u8] = b"damaged";

impl Controls {
    fn wait_for_the_disk(&self) {
        let mut reads = self.slow_reads.lock().unwrap();
        if let Some(reads) = &mut *reads {
            *reads += 1;
        }
        self.slow_reads_changed.notify_all();
        drop(self.slow_reads_changed.wait_while(reads, |reads| reads.is_some()).unwrap());
    }
}

struct ControlledEngine(Arc<Controls>);

impl Engine for ControlledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        match key {
            SLOW => self.0.wait_for_the_disk(),
            DAMAGED => return Err(StoreError::Corrupt("a checksum is wrong".into())),
            _ => {}
        }
        Ok(self.0.values.lock().unwrap().get(key).cloned())
    }

    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        Ok(Vec::new())
    }

    fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        self.0.reached_gate.notify_one();
        drop(self.0.gate.lock().unwrap());
        assert!(!self.0.panics.load(Ordering::Acquire), "a test asked for this panic");
        match &mut *self.0.healthy_writes.lock().unwrap() {
            Some(0) => return Err(StoreError::Failed("the disk is gone".into())),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut values = self.0.values.lock().unwrap();
        for (key, entry) in writes {
            match entry {
                Some(entry) => values.insert(key, entry),
                None => values.remove(&key),
            };
        }
        Ok(())
    }

    fn next_epoch(&self) -> Result<u64, StoreError> {
        Ok(self.0.epochs.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.0.has_failed.load(Ordering::Acquire) {
            true => Err(StoreError::Failed("background work has failed".into())),
            false => Ok(()),
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn start() -> (GroupCommit<ControlledEngine>, Arc<Controls>) {
    start_at(Clock::System)
}

fn start_at(clock: Clock) -> (GroupCommit<ControlledEngine>, Arc<Controls>) {
    let controls = Arc::new(Controls { slow_reads: Mutex::new(Some(0)), ..Controls::default() });
    (GroupCommit::start_at(ControlledEngine(Arc::clone(&controls)), clock).unwrap(), controls)
}

/// Queues a commit without waiting for its outcome.
fn enqueue(store: &GroupCommit<ControlledEngine>, batch: Batch) -> oneshot::Receiver<Outcome> {
    store.inner.enqueue(batch).unwrap()
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "only the commit thread takes this lock, no task does")]
async fn commits_that_wait_share_one_durable_write() {
    let (store, controls) = start();
    let gate = controls.gate.lock().unwrap();
    let first = enqueue(&store, Batch::default().put("first", "1"));
    controls.reached_gate.notified().await;

    let winner = enqueue(&store, Batch::default().expect_absent("key").put("key", "1"));
    let loser = enqueue(&store, Batch::default().expect_absent("key").put("key", "2"));
    let other = enqueue(&store, Batch::default().put("other", "3"));
    assert_eq!(store.stats().queue_depth, 4, "three in the queue, and one in the durable write");
    drop(gate);

    assert!(first.await.unwrap().is_ok());
    let version = winner.await.unwrap().unwrap();
    assert_eq!(loser.await.unwrap(), Err(CommitError::Conflict { key: "key".into() }));
    assert!(other.await.unwrap().is_ok());
    assert_eq!(store.get(b"key").await.unwrap(), Some(Entry { version, value: "1".into() }));
    let expected = Stats { commits: 3, groups: 2, conflicts: 1, failures: 0, queue_depth: 0 };
    assert_eq!(store.stats(), expected);
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "only the commit thread takes this lock, no task does")]
async fn conflicts_with_changes_that_were_never_durable_are_failures() {
    let (store, controls) = start();
    assert_eq!(store.check_writable(), Ok(()));
    let gate = controls.gate.lock().unwrap();
    let first = enqueue(&store, Batch::default().put("first", "1"));
    controls.reached_gate.notified().await;
    let winner = enqueue(&store, Batch::default().expect_absent("key").put("key", "1"));
    let loser = enqueue(&store, Batch::default().expect_absent("key").put("key", "2"));
    let mut changes = store.watch();
    *controls.healthy_writes.lock().unwrap() = Some(1);
    drop(gate);

    let version = first.await.unwrap().unwrap();
    for outcome in [winner, loser] {
        let failed = StoreError::Failed("the disk is gone".into());
        assert_eq!(outcome.await.unwrap(), Err(failed.into()));
    }
    assert_eq!(changes.try_recv().unwrap().version, version);
    assert!(changes.try_recv().is_err());
    assert_eq!(store.get(b"key").await.unwrap(), None);
    assert!(store.check_writable().is_err(), "the operator can see the failure");
}

#[tokio::test]
async fn nothing_is_written_after_a_failed_write() {
    let (store, controls) = start();
    store.commit(Batch::default().put("key", "1")).await.unwrap();
    *controls.healthy_writes.lock().unwrap() = Some(0);
    store.commit(Batch::default().put("key", "2")).await.unwrap_err();
    *controls.healthy_writes.lock().unwrap() = None;

    let refused = store.commit(Batch::default().put("key", "3")).await.unwrap_err();
    assert!(refused.to_string().contains("restart the server"), "{refused}");
    assert_eq!(store.get(b"key").await.unwrap().unwrap().value, "1");
    assert_eq!(store.stats().failures, 2);
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "only the commit thread takes this lock, no task does")]
async fn a_full_queue_refuses_new_commits_and_keeps_queued_ones() {
    let (store, controls) = start();
    let gate = controls.gate.lock().unwrap();
    let mut waiting = vec![enqueue(&store, Batch::default().put("key", "0"))];
    controls.reached_gate.notified().await;
    waiting.extend((0..QUEUE_CAPACITY).map(|_| enqueue(&store, Batch::default().put("key", "1"))));
    let refused = store.commit(Batch::default().put("key", "2")).await;
    assert_eq!(refused, Err(StoreError::Busy.into()));
    drop(gate);
    for outcome in waiting {
        assert!(outcome.await.unwrap().is_ok());
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "only the commit thread takes this lock, no task does")]
async fn large_commits_fill_the_queue_sooner_and_the_largest_waits_alone() {
    let (store, controls) = start();
    let of_bytes = |bytes: usize| Batch::default().put("key", Bytes::from_owner(vec![0; bytes]));
    let third = QUEUE_BYTES_MAX as usize / 3;
    let gate = controls.gate.lock().unwrap();
    let mut waiting = vec![enqueue(&store, of_bytes(third)), enqueue(&store, of_bytes(third))];
    controls.reached_gate.notified().await;
    assert_eq!(store.commit(of_bytes(third)).await, Err(StoreError::Busy.into()));
    waiting.push(enqueue(&store, of_bytes(1)));
    drop(gate);
    for outcome in waiting {
        assert!(outcome.await.unwrap().is_ok());
    }
    // Written commits free their bytes of the queue.
    let all = 4 * third;
    for _ in 0..2 {
        store.commit(of_bytes(all)).await.unwrap();
    }
    assert_eq!(store.get(b"key").await.unwrap().unwrap().value.len(), all);
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "only the commit thread takes this lock, no task does")]
async fn a_commit_stands_if_its_caller_drops_the_future() {
    let (store, controls) = start();
    let gate = controls.gate.lock().unwrap();
    drop(enqueue(&store, Batch::default().put("key", "1")));
    drop(gate);
    store.close().await.unwrap();
    assert_eq!(controls.values.lock().unwrap().len(), 1);
    assert_eq!(store.commit(Batch::default()).await, Err(StoreError::Closed.into()));
    assert_eq!(store.get(b"key").await, Err(StoreError::Closed));
    store.close().await.unwrap();
}

#[test]
fn a_new_epoch_begins_after_the_last_counter() {
    let engine = ControlledEngine(Arc::default());
    let mut versions = Versions::start(&engine).unwrap();
    versions.counter = (1 << COUNTER_BITS) - 1;
    let last = versions.next(&engine).unwrap();
    let next = versions.next(&engine).unwrap();
    assert_eq!(last, Version((2 << COUNTER_BITS) - 1));
    assert_eq!(next, Version(2 << COUNTER_BITS));
    engine.0.epochs.store(1 << (u64::BITS - COUNTER_BITS), Ordering::Release);
    assert!(Versions::start(&engine).is_err());
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "only the commit thread takes this lock, no task does")]
async fn a_durable_write_that_does_not_end_is_a_fault_until_it_ends() {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let (store, controls) = start_at(clock.clone());
    let gate = controls.gate.lock().unwrap();
    let commit = enqueue(&store, Batch::default().put("key", "1"));
    controls.reached_gate.notified().await;
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(store.check_writable(), Ok(()));
    clock.advance(Duration::from_millis(1));
    let fault = store.check_writable().unwrap_err().to_string();
    assert!(fault.contains("a durable write has taken 5 s so far"), "{fault}");
    drop(gate);
    assert!(commit.await.unwrap().is_ok());
    assert_eq!(store.check_writable(), Ok(()));
    // No time counts while there is nothing to write.
    clock.advance(Duration::from_secs(60));
    assert_eq!(store.check_writable(), Ok(()));
}

#[tokio::test]
async fn a_panic_of_the_commit_thread_is_a_fault() {
    let (store, controls) = start();
    controls.panics.store(true, Ordering::Release);
    store.commit(Batch::default().put("key", "1")).await.unwrap_err();
    // Waits until the thread has ended.
    store.close().await.unwrap_err();
    let fault = store.check_writable().unwrap_err().to_string();
    assert!(fault.contains("the commit thread has stopped"), "{fault}");
}

#[tokio::test]
async fn a_failure_of_the_engine_is_a_fault_before_a_commit_finds_it() {
    let (store, controls) = start();
    let engine = ControlledEngine(Arc::clone(&controls));
    health::check_engine(&store.inner.health, &engine);
    assert_eq!(store.check_writable(), Ok(()));
    controls.has_failed.store(true, Ordering::Release);
    health::check_engine(&store.inner.health, &engine);
    assert_eq!(store.check_writable(), Err(StoreError::Failed("background work has failed".into())));
    store.commit(Batch::default().put("key", "1")).await.unwrap_err();
}

#[tokio::test]
async fn a_damaged_value_is_a_fault_and_other_values_can_be_used() {
    let (store, _) = start();
    store.commit(Batch::default().put("key", "1")).await.unwrap();
    assert_eq!(store.check_writable(), Ok(()));
    store.get(DAMAGED).await.unwrap_err();
    assert!(matches!(store.check_writable(), Err(StoreError::Corrupt(_))));
    store.commit(Batch::default().put("key", "2")).await.unwrap();
    assert_eq!(store.get(b"key").await.unwrap().unwrap().value, "2");
}

/// More reads than workers wait for the disk. If reads blocked the workers, the last ones would not begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_for_the_disk_leave_workers_to_others() {
    const READS: u32 = 6;
    let (store, controls) = start();
    let reads: Vec<_> = (0..READS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.get(SLOW).await })
        })
        .collect();
    let waiting = Arc::clone(&controls);
    let all_wait = tokio::task::spawn_blocking(move || {
        let reads = waiting.slow_reads.lock().unwrap();
        drop(waiting.slow_reads_changed.wait_while(reads, |reads| *reads != Some(READS)).unwrap());
    });
    all_wait.await.unwrap();
    let other = tokio::spawn(async move { store.commit(Batch::default().put("key", "1")).await });
    other.await.unwrap().unwrap();
    *controls.slow_reads.lock().unwrap() = None;
    controls.slow_reads_changed.notify_all();
    for read in reads {
        assert_eq!(read.await.unwrap(), Ok(None));
    }
}
