//! Tests of the group commit with an engine that a test can block and make fail.

use bytes::Bytes;

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
}

struct ControlledEngine(Arc<Controls>);

impl Engine for ControlledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        Ok(self.0.values.lock().unwrap().get(key).cloned())
    }

    fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Key, Entry)>, StoreError> {
        Ok(Vec::new())
    }

    fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        self.0.reached_gate.notify_one();
        drop(self.0.gate.lock().unwrap());
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

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn start() -> (GroupCommit<ControlledEngine>, Arc<Controls>) {
    let controls = Arc::<Controls>::default();
    (GroupCommit::start(ControlledEngine(Arc::clone(&controls))).unwrap(), controls)
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
    assert_eq!(store.stats().queue_depth, 3);
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
