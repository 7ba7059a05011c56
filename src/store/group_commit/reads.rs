//! Keeps reads that wait for the disk from blocking the async runtime.
//!
//! Most reads find their value in memory and take a few microseconds. To hand such a read to another thread would cost
//! several times as much. But a read can wait for the disk, and nothing tells before. So a read runs on the worker that
//! asks, if fewer than half of the workers read at that moment. Otherwise it waits a little for one of them, and then
//! runs in the pool of blocking threads. If the disk hangs, half of the workers remain.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{Engine, Inner};
use crate::store::StoreError;

/// Most reads in the pool at the same time. Further ones wait. The pool has 512 threads, which others use too.
const POOL_READS_MAX: usize = 64;
/// How often a read lets other tasks run and tries again, before it uses the pool.
const TRIES: u32 = 8;

/// The reads in progress.
pub struct Reads {
    inline: AtomicUsize,
    pool: Arc<Semaphore>,
}

/// A read that runs on a worker.
pub struct InlineSlot<'a>(&'a Reads);

impl Reads {
    pub fn new() -> Self {
        Self { inline: AtomicUsize::new(0), pool: Arc::new(Semaphore::new(POOL_READS_MAX)) }
    }

    /// Lets the caller read on its own thread, or returns `None` if it has to use the pool.
    pub async fn inline(&self) -> Option<InlineSlot<'_>> {
        // Without a runtime there are no workers that the read could block.
        let slots = Handle::try_current().map_or(usize::MAX, |runtime| runtime.metrics().num_workers() / 2);
        if slots == 0 {
            return None;
        }
        for _ in 0..TRIES {
            let taken = |inline: usize| (inline < slots).then_some(inline + 1);
            if self.inline.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).is_ok() {
                return Some(InlineSlot(self));
            }
            tokio::task::yield_now().await;
        }
        None
    }
}

impl Drop for InlineSlot<'_> {
    fn drop(&mut self) {
        self.0.inline.fetch_sub(1, Ordering::AcqRel);
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
        reading.read(read)
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
