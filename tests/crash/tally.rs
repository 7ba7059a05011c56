//! Counts acknowledged writes, for those who wait for some.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::support::process::soon;

/// Counts acknowledged writes, of each node and of all.
pub struct Tally {
    is_enough: AtomicBool,
    of_all: Semaphore,
    of_nodes: Vec<Semaphore>,
    silence: Mutex<Silence>,
}

/// How long nobody was acknowledged a write.
struct Silence {
    since: Instant,
    longest: Duration,
}

impl Tally {
    pub fn new(nodes: usize) -> Self {
        Self {
            is_enough: AtomicBool::new(false),
            of_all: Semaphore::new(0),
            of_nodes: (0..nodes).map(|_| Semaphore::new(0)).collect(),
            silence: Mutex::new(Silence { since: Instant::now(), longest: Duration::ZERO }),
        }
    }

    /// Counts a write that a node has acknowledged.
    pub fn add(&self, node: usize) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.longest = silence.longest.max(silence.since.elapsed());
        silence.since = Instant::now();
        self.of_nodes[node].add_permits(1);
        self.of_all.add_permits(1);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.of_all.available_permits()
    }

    /// The longest time between two of them.
    pub fn silence(&self) -> Duration {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner).longest
    }

    /// Waits until there are so many.
    pub async fn reaches(&self, count: u32) {
        reaches(&self.of_all, count).await;
    }

    /// Waits until there are so many more.
    pub async fn gains(&self, count: u32) {
        gains(&self.of_all, count).await;
    }

    /// Waits until there are so many more of each node.
    pub async fn gains_everywhere(&self, count: u32) {
        join_all(self.of_nodes.iter().map(|node| gains(node, count))).await;
    }

    /// Says that it is enough.
    pub fn end(&self) {
        self.is_enough.store(true, Ordering::Relaxed);
    }

    pub fn is_enough(&self) -> bool {
        self.is_enough.load(Ordering::Relaxed)
    }
}

async fn reaches(counted: &Semaphore, count: u32) {
    // Given back at once: they are only counted.
    drop(soon("enough writes are acknowledged", counted.acquire_many(count)).await);
}

async fn gains(counted: &Semaphore, count: u32) {
    reaches(counted, u32::try_from(counted.available_permits()).unwrap() + count).await;
}
