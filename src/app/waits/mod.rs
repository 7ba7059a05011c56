//! Waits: requests that are held until what they read has changed.
//!
//! A wait is a delayed read. It subscribes to its topics first, then reads, compares, and sleeps until it is woken. A
//! wake-up only says "look again": what the answer is, the read decides. So a needless wake-up costs a read, and a
//! change between the read and the sleep is not missed, because the subscription keeps the wake-up.

mod alarms;
mod limits;
mod subscription;
mod topic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use tokio::sync::Notify;

use self::alarms::Alarms;
pub use self::limits::WaitLimits;
use self::limits::WaitsByCaller;
pub use self::subscription::Subscription;
pub use self::topic::{Topic, Topics, WaitOn};
use super::locks::LockStripes;
use crate::domain::PlayerUuid;
use crate::env::{Clock, Entropy};

/// Number of locks for topics.
const LOCKS: usize = 256;

/// The waits of this node.
pub struct Waits {
    /// The number of subscriptions. If it is 0, a wake-up looks no further.
    count: AtomicUsize,
    waiters: LockStripes<Mutex<HashMap<Topic, Vec<Arc<Waiter>>>>>,
    by_caller: WaitsByCaller,
    alarms: Alarms,
    is_draining: AtomicBool,
    next_id: AtomicU64,
    limits: WaitLimits,
    clock: Clock,
    entropy: Entropy,
}

/// One sleeping or looking wait.
struct Waiter {
    id: u64,
    /// Keeps one wake-up until the wait sleeps.
    woken: Notify,
    /// Whether the wait has to end with its next look.
    must_end: AtomicBool,
}

impl Waits {
    /// No waits yet.
    pub fn new(limits: WaitLimits, (clock, entropy): (Clock, Entropy)) -> Self {
        Self {
            count: AtomicUsize::new(0),
            waiters: LockStripes::new(LOCKS),
            by_caller: WaitsByCaller::default(),
            alarms: Alarms::default(),
            is_draining: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
            limits,
            clock,
            entropy,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &WaitLimits {
        &self.limits
    }

    /// The number of waits.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Subscribes to topics for a caller, who is a player or a service. `None` if this node holds no more waits, or none
    /// more of this caller.
    ///
    /// The caller of this function reads what it waits for after this call: then it either sees a change or is woken by
    /// it.
    pub fn subscribe(self: &Arc<Self>, caller: Option<PlayerUuid>, topics: Topics) -> Option<Subscription> {
        if self.is_draining.load(Ordering::Acquire) {
            return None;
        }
        if self.count.fetch_add(1, Ordering::SeqCst) >= self.limits.waits_max {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        if !self.by_caller.enter(caller, &self.limits) {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let waiter = Arc::new(Waiter { id, woken: Notify::new(), must_end: AtomicBool::new(false) });
        let mut subscription = Subscription::new(Arc::clone(self), waiter, caller);
        subscription.listen_to(topics);
        // A drain that began meanwhile may have missed this one.
        if self.is_draining.load(Ordering::Acquire) {
            return None;
        }
        Some(subscription)
    }

    /// Wakes the waits on these topics. Called after a change can be read on this node.
    pub fn wake(&self, topics: impl IntoIterator<Item = Topic>) {
        // Orders the change, which was published before, and the look at the number: a wait that is not counted yet reads
        // after the change.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for topic in topics {
            let found: SmallVec<[Arc<Waiter>; 8]> = self
                .lock(&topic)
                .get(&topic)
                .map(|waiters| waiters.iter().cloned().collect())
                .unwrap_or_default();
            // Not under the lock: to wake a task takes longer than to clone a pointer.
            for waiter in found {
                waiter.woken.notify_one();
            }
        }
    }

    /// Wakes the waits whose alarm is due.
    pub fn wake_due(&self) {
        for waiter in self.alarms.take_due(self.clock.up_ms()) {
            waiter.woken.notify_one();
        }
    }

    /// Sleeps until an alarm may be due.
    pub async fn wait_until_due(&self) {
        self.alarms.wait_until_due(&self.clock).await;
    }

    /// Ends all waits, evenly over [`WaitLimits::drain_spread_ms`], and takes no new ones: if all clients came back at
    /// the same moment, another node would get them at once.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        let now_up_ms = self.clock.up_ms();
        for waiter in self.all() {
            let after_ms = (self.limits.drain_spread_ms as f64 * self.entropy.fraction()) as i64;
            self.alarms.end_at(now_up_ms.saturating_add(after_ms), waiter);
        }
    }

    /// Every wait, once.
    fn all(&self) -> Vec<Arc<Waiter>> {
        let mut all = HashMap::new();
        for stripe in self.waiters.iter() {
            let waiters = lock(stripe);
            all.extend(waiters.values().flatten().map(|waiter| (waiter.id, Arc::clone(waiter))));
        }
        all.into_values().collect()
    }

    fn lock(&self, topic: &Topic) -> MutexGuard<'_, HashMap<Topic, Vec<Arc<Waiter>>>> {
        lock(self.waiters.of(topic))
    }
}

/// Locks a mutex whose value is whole even after a panic of a holder.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;
