//! The store in memory. It is simple, so that tests can compare the other backends with it.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::{broadcast, watch};

use super::messages::{self, MessageEvent, MessageService, Messages};
use super::{
    Backend, Batch, ChangeEvent, CommitError, Entry, Key, StoreError, Version, WATCH_CAPACITY, scan_bounds,
};
use crate::env::Entropy;

/// A store in memory. Clones share the data.
#[derive(Clone)]
pub struct Memory {
    data: Arc<Mutex<Data>>,
    changes: broadcast::Sender<Arc<ChangeEvent>>,
    commits_to_fail: Arc<AtomicU64>,
    /// Whether the answers of commits are lost.
    loses_answers: Arc<AtomicBool>,
    /// Carries messages between the servers; `None` for one server.
    bus: Option<Bus>,
}

/// Messages between servers, as a database would carry them.
#[derive(Clone)]
struct Bus {
    sent: broadcast::Sender<String>,
    /// Whether messages arrive at all.
    is_up: watch::Sender<bool>,
    /// The share of messages that each server misses, from 0 to 1, as bits.
    lost_share: Arc<AtomicU64>,
    entropy: Entropy,
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
            loses_answers: Arc::default(),
            bus: None,
        }
    }
}

impl Memory {
    /// An empty store whose clones may be given to several servers, as a substitute for a shared database.
    pub fn shared() -> Self {
        let bus = Bus {
            sent: broadcast::Sender::new(WATCH_CAPACITY),
            is_up: watch::Sender::new(true),
            lost_share: Arc::default(),
            entropy: Entropy::seeded(1),
        };
        Self { bus: Some(bus), ..Self::default() }
    }

    /// Lets each server miss this share of the messages, from 0 to 1, for tests.
    pub fn lose_messages(&self, share: f64) {
        if let Some(bus) = &self.bus {
            bus.lost_share.store(share.to_bits(), Ordering::Release);
        }
    }

    /// Interrupts the messages, or lets them arrive again, for tests.
    pub fn set_messages_up(&self, is_up: bool) {
        if let Some(bus) = &self.bus {
            bus.is_up.send_replace(is_up);
        }
    }

    /// Makes the next `count` commits fail without a change, for tests. `u64::MAX` means every commit; 0 ends the
    /// failures.
    pub fn fail_next_commits(&self, count: u64) {
        self.commits_to_fail.store(count, Ordering::Release);
    }

    /// Lets commits change the store and yet give no answer, or gives answers again, for tests.
    pub fn lose_answers(&self, are_lost: bool) {
        self.loses_answers.store(are_lost, Ordering::Release);
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
        if self.loses_answers.load(Ordering::Acquire) {
            return Err(StoreError::Unsure("a test asked for this loss".into()).into());
        }
        Ok(version)
    }

    fn watch(&self) -> broadcast::Receiver<Arc<ChangeEvent>> {
        self.changes.subscribe()
    }

    fn sole_writer(&self) -> bool {
        self.bus.is_none()
    }

    fn messages(&self) -> Option<Messages> {
        let bus = self.bus.clone()?;
        let (messages, service) = messages::channel();
        tokio::spawn(bus.run(service));
        Some(messages)
    }
}

impl Bus {
    /// Carries the messages of one server until it takes no more.
    async fn run(self, mut service: MessageService) {
        let mut is_up = self.is_up.subscribe();
        loop {
            becomes(&mut is_up, true).await;
            let mut received = self.sent.subscribe();
            if service.incoming.send(MessageEvent::Connected).await.is_err() {
                return;
            }
            loop {
                tokio::select! {
                    biased;
                    () = becomes(&mut is_up, false) => break,
                    text = service.outgoing.recv() => match text {
                        Some(text) => drop(self.sent.send(text)),
                        None => return,
                    },
                    text = received.recv() => {
                        let Ok(text) = text else { break };
                        let lost_share = f64::from_bits(self.lost_share.load(Ordering::Acquire));
                        let is_lost = self.entropy.fraction() < lost_share;
                        if !is_lost && service.incoming.send(MessageEvent::Received(text)).await.is_err() {
                            return;
                        }
                    }
                }
            }
            if service.incoming.send(MessageEvent::Disconnected).await.is_err() {
                return;
            }
        }
    }
}

async fn becomes(is_up: &mut watch::Receiver<bool>, wanted: bool) {
    // The sender lives as long as the bus.
    let _ = is_up.wait_for(|is_up| *is_up == wanted).await;
}
