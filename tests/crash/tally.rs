//! Counts acknowledged writes, so that a trial can wait for a number of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::support::process::soon;

/// The number of acknowledged writes, of each node and of all nodes.
pub struct Tally {
    is_enough: AtomicBool,
    of_all: Semaphore,
    of_nodes: Vec<Semaphore>,
    pause: Mutex<Pause>,
}

/// The longest pause between two acknowledged writes.
struct Pause {
    since: Instant,
    longest: Duration,
}

impl Tally {
    pub fn new(nodes: usize) -> Self {
        Self {
            is_enough: AtomicBool::new(false),
            of_all: Semaphore::new(0),
            of_nodes: (0..nodes).map(|_| Semaphore::new(0)).collect(),
            pause: Mutex::new(Pause { since: Instant::now(), longest: Duration::ZERO }),
        }
    }

    /// Counts a write that a node has acknowledged.
    pub fn add(&self, node: usize) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.longest = pause.longest.max(pause.since.elapsed());
        pause.since = Instant::now();
        self.of_nodes[node].add_permits(1);
        self.of_all.add_permits(1);
    }

    /// The number of acknowledged writes.
    pub fn count(&self) -> usize {
        self.of_all.available_permits()
    }

    /// The longest pause between two acknowledged writes.
    pub fn longest_pause(&self) -> Duration {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner).longest
    }

    /// Waits for this many writes in total.
    pub async fn reaches(&self, count: u32) {
        reaches(&self.of_all, count).await;
    }

    /// Waits for this many more writes.
    pub async fn gains(&self, count: u32) {
        gains(&self.of_all, count).await;
    }

    /// Waits for this many more writes at each node.
    pub async fn gains_everywhere(&self, count: u32) {
        join_all(self.of_nodes.iter().map(|node| gains(node, count))).await;
    }

    /// Tells the clients to stop.
    pub fn end(&self) {
        self.is_enough.store(true, Ordering::Relaxed);
    }

    pub fn is_enough(&self) -> bool {
        self.is_enough.load(Ordering::Relaxed)
    }
}

async fn reaches(counted: &Semaphore, count: u32) {
    // The permits are returned at once. The semaphore only counts.
    drop(soon("enough writes are acknowledged", counted.acquire_many(count)).await);
}

async fn gains(counted: &Semaphore, count: u32) {
    reaches(counted, u32::try_from(counted.available_permits()).unwrap() + count).await;
}
