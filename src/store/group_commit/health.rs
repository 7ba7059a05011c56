//! What is wrong with the store, for `/ready` and the log.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Engine;
use crate::env::Clock;
use crate::store::StoreError;

/// A group of commits that takes longer than this is too slow, in milliseconds. A busy disk takes some hundred.
const GROUP_MAX_MS: i64 = 5_000;
/// How often the store is watched.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Stands for no group in [`Health::group_since_ms`].
const IDLE: i64 = -1;

/// The faults of a store so far.
pub struct Health {
    clock: Clock,
    /// The error of all commits from now on.
    refusal: OnceLock<StoreError>,
    /// The first damaged value that was read.
    damage: OnceLock<StoreError>,
    /// When the commit thread began its current group, by the monotonic clock.
    group_since_ms: AtomicI64,
    /// Whether the log says that the current group is slow.
    is_slow_logged: AtomicBool,
}

impl Health {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            refusal: OnceLock::new(),
            damage: OnceLock::new(),
            group_since_ms: AtomicI64::new(IDLE),
            is_slow_logged: AtomicBool::new(false),
        }
    }

    /// The commit thread begins a group.
    pub fn begin_group(&self) {
        self.group_since_ms.store(self.clock.up_ms(), Ordering::Release);
    }

    /// The commit thread has finished its group.
    pub fn end_group(&self) {
        let since_ms = self.group_since_ms.swap(IDLE, Ordering::AcqRel);
        if self.is_slow_logged.swap(false, Ordering::AcqRel) {
            let took_ms = self.clock.up_ms() - since_ms;
            tracing::warn!(took_ms, "the durable write that took long has ended");
        }
    }

    /// Makes all commits from now on fail with `error`. Only the first error counts.
    pub fn refuse_commits(&self, error: StoreError) {
        let _ = self.refusal.set(error);
    }

    /// # Errors
    /// The error of all commits, if they are refused.
    pub fn check_commits(&self) -> Result<(), StoreError> {
        self.refusal.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Notes and logs the first damaged value. Returns the result of the read.
    pub fn note_damage<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Corrupt(_)) = &read
            && self.damage.set(error.clone()).is_ok()
        {
            tracing::error!(%error, "a stored value is damaged; run `rallypoint store verify` after a stop");
        }
        read
    }

    /// # Errors
    /// The first fault: see [`GroupCommit::check_writable`](super::GroupCommit::check_writable).
    pub fn check(&self) -> Result<(), StoreError> {
        self.check_commits()?;
        if let Some(damage) = self.damage.get() {
            return Err(damage.clone());
        }
        match self.slow_group_ms() {
            Some(ms) => Err(StoreError::Failed(format!(
                "a durable write has taken {} s so far, and all changes wait for it: check the disk",
                ms / 1_000
            ))),
            None => Ok(()),
        }
    }

    /// Logs a durable write that takes too long, once.
    pub fn watch(&self) {
        if let Some(taken_ms) = self.slow_group_ms()
            && !self.is_slow_logged.swap(true, Ordering::AcqRel)
        {
            tracing::error!(
                taken_ms,
                "a durable write does not end, and all changes wait for it; check the disk"
            );
        }
    }

    /// How long the current group has taken, if that is too long.
    fn slow_group_ms(&self) -> Option<i64> {
        let since_ms = self.group_since_ms.load(Ordering::Acquire);
        let taken_ms = self.clock.up_ms() - since_ms;
        (since_ms != IDLE && taken_ms >= GROUP_MAX_MS).then_some(taken_ms)
    }

    fn is_idle(&self) -> bool {
        self.group_since_ms.load(Ordering::Acquire) == IDLE
    }
}

/// A thread that watches a store. Dropping it ends the thread.
pub struct Watch {
    thread: Option<JoinHandle<()>>,
    is_ending: Arc<AtomicBool>,
}

impl Watch {
    /// # Errors
    /// [`StoreError::Failed`] if the thread could not be started.
    pub fn start(health: Arc<Health>, engine: Arc<impl Engine>) -> Result<Self, StoreError> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_ending);
        let watch = move || {
            while !ends.load(Ordering::Acquire) {
                thread::park_timeout(WATCH_EVERY);
                health.watch();
                // While a write is in progress the engine could make the check wait for it.
                if health.is_idle() && health.check_commits().is_ok() {
                    check_engine(&health, &*engine);
                }
            }
        };
        let thread = thread::Builder::new().name("store-watch".into()).spawn(watch);
        let thread = thread.map_err(|error| StoreError::Failed(format!("cannot start a thread: {error}")))?;
        Ok(Self { thread: Some(thread), is_ending })
    }
}

/// Finds out that background work of the engine has failed, before a commit does.
pub fn check_engine(health: &Health, engine: &impl Engine) {
    if let Err(error) = engine.check() {
        tracing::error!(%error, "the storage engine has failed; commits are refused until a restart");
        health.refuse_commits(error);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
