//! The allocators that a node serves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::lock;
use crate::allocators::{Allocator, Scope};
use crate::domain::launch::LaunchRules;
use crate::env::Clock;

/// The shortest time between two lines in the log about the same allocator, in milliseconds.
const LOG_EVERY_MS: i64 = 60_000;

/// An allocator that this node serves.
#[derive(Clone)]
pub struct Served {
    /// The allocator.
    pub allocator: Arc<dyn Allocator>,
    /// The rules of its launches.
    pub rules: LaunchRules,
    /// Whether the servers end when this node stops.
    pub ends_on_stop: bool,
}

/// The allocators that this node serves, by name.
pub type Allocators = BTreeMap<String, Served>;

/// What a node needs in order to launch servers.
#[derive(Clone, Default)]
pub struct LaunchSettings {
    /// The id of the node. It must be the same after a restart, and differ from that of every other node.
    pub node: Uuid,
    /// Tells the directory that holds this id from its copies.
    pub directory: String,
    /// The allocators that the node serves.
    pub allocators: Allocators,
}

/// A served allocator, and how its calls go.
pub(super) struct Allocating {
    pub allocator: Arc<dyn Allocator>,
    pub rules: LaunchRules,
    pub ends_on_stop: bool,
    /// For calls that start or find servers.
    pub starts: Permits,
    /// For calls that stop servers: slow stops keep no server from being started.
    pub stops: Permits,
    logged_up_ms: AtomicI64,
}

impl From<Served> for Allocating {
    fn from(Served { allocator, rules, ends_on_stop }: Served) -> Self {
        let [starts, stops] = [0; 2].map(|_| Permits::new(rules.calls_max));
        Self { allocator, rules, ends_on_stop, starts, stops, logged_up_ms: AtomicI64::new(i64::MIN) }
    }
}

/// Leave for calls of an allocator, as many at the same time as the rules allow.
pub(super) struct Permits {
    free: Arc<Semaphore>,
    /// The launches that wait for a permit, in order.
    waiting: Mutex<VecDeque<Uuid>>,
}

impl Permits {
    fn new(calls_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(calls_max)), waiting: Mutex::default() }
    }

    /// Leave for a call; `None` if no permit is free.
    pub fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Notes that a launch waits for a permit.
    pub fn wait(&self, launch: Uuid) {
        let mut waiting = lock(&self.waiting);
        if !waiting.contains(&launch) {
            waiting.push_back(launch);
        }
    }

    /// Takes the launch that has waited for longest. To be asked when a permit was given back.
    pub fn next(&self) -> Option<Uuid> {
        lock(&self.waiting).pop_front()
    }
}

impl Allocating {
    /// Whether servers run on the node that was given them.
    pub fn is_bound(&self) -> bool {
        self.allocator.scope() == Scope::Node
    }

    /// The longest time of a call.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.rules.place_timeout_s)
    }

    /// Whether the log may have a line about this allocator's failures: one a minute.
    pub fn may_log(&self, clock: &Clock) -> bool {
        let (up_ms, last) = (clock.up_ms(), self.logged_up_ms.load(Ordering::Relaxed));
        let may = last == i64::MIN || up_ms.saturating_sub(last) >= LOG_EVERY_MS;
        if may {
            self.logged_up_ms.store(up_ms, Ordering::Relaxed);
        }
        may
    }
}
