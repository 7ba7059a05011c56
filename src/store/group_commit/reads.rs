//! Keeps reads that wait for the disk from blocking the async runtime.
//!
//! Most reads find their value in memory and take a microsecond. To hand such a read to another thread would cost
//! several times as much. But a read can wait for the disk, and nothing tells before. So some reads run on the worker
//! that asks, at most on half of the workers at the same time, and the others in the pool of blocking threads. After a
//! slow read, all of them run in the pool for a while. If the disk hangs, half of the workers remain.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{Engine, Inner};
use crate::env::Clock;
use crate::store::StoreError;

/// Most reads in the pool at the same time. Further ones wait. The pool has 512 threads, which others use too.
const POOL_READS_MAX: usize = 64;
/// A read that takes longer has waited for the disk.
const SLOW_READ: Duration = Duration::from_millis(1);
/// How long all reads run in the pool after a slow one, in milliseconds.
const POOL_ONLY_MS: i64 = 1_000;

const ALWAYS_INLINE: i64 = i64::MIN;

/// The reads in progress.
pub struct Reads {
    clock: Clock,
    inline: AtomicUsize,
    pool: Arc<Semaphore>,
    /// Until then all reads run in the pool, by the monotonic clock. [`ALWAYS_INLINE`] before the first slow read.
    pool_only_until_ms: AtomicI64,
}

/// A read that runs on a worker.
pub struct InlineSlot<'a> {
    reads: &'a Reads,
    began: Instant,
}

impl Reads {
    pub fn new(clock: Clock) -> Self {
        let pool = Arc::new(Semaphore::new(POOL_READS_MAX));
        Self { clock, inline: AtomicUsize::new(0), pool, pool_only_until_ms: AtomicI64::new(ALWAYS_INLINE) }
    }

    /// Lets the caller read on its own thread, or returns `None` if it has to use the pool.
    pub fn try_inline(&self) -> Option<InlineSlot<'_>> {
        let slots = match Handle::try_current() {
            Ok(_) if self.is_pool_only() => 0,
            Ok(runtime) => runtime.metrics().num_workers() / 2,
            // There are no workers that the read could block.
            Err(_) => usize::MAX,
        };
        let taken = |inline: usize| (inline < slots).then_some(inline + 1);
        self.inline.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).ok()?;
        Some(InlineSlot { reads: self, began: self.clock.instant() })
    }

    fn is_pool_only(&self) -> bool {
        let until_ms = self.pool_only_until_ms.load(Ordering::Relaxed);
        until_ms != ALWAYS_INLINE && self.clock.up_ms() < until_ms
    }

    /// Notes how long a read took.
    fn note(&self, began: Instant) {
        if began.elapsed() > SLOW_READ {
            self.pool_only_until_ms.store(self.clock.up_ms() + POOL_ONLY_MS, Ordering::Relaxed);
        }
    }
}

impl Drop for InlineSlot<'_> {
    fn drop(&mut self) {
        self.reads.note(self.began);
        self.reads.inline.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Reads in the pool of blocking threads.
///
/// # Errors
/// [`StoreError::Closed`] if the runtime stops, or the error of the read.
pub async fn in_pool<E: Engine, T: Send + 'static>(
    store: &Arc<Inner<E>>,
    read: impl FnOnce(&E) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let permit = Arc::clone(&store.reads.pool).acquire_owned().await.map_err(|_| StoreError::Closed)?;
    let reading = Arc::clone(store);
    let read = tokio::task::spawn_blocking(move || {
        // The thread keeps the permit, also if the caller does not wait any more.
        let _permit = permit;
        let began = reading.reads.clock.instant();
        let read = reading.read(read);
        reading.reads.note(began);
        read
    });
    match read.await {
        Ok(read) => read,
        // The panic of a read belongs to the caller, as if the caller had read itself.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        },
    }
}
