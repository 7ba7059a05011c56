//! The waits by topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use smallvec::SmallVec;

use super::{Topic, Waiter, lock};
use crate::app::locks::LockStripes;

/// Number of locks.
const LOCKS: usize = 256;
/// Most waits of one topic that are woken in a millisecond: after a wake-up, the topic rests for so long.
const WOKEN_PER_MS: usize = 20;
/// Fewer waits need no rest.
const REST_FROM: usize = 200;
/// Rest of the listings of a type, in milliseconds, however few wait: a page is a scan.
const LISTINGS_REST_MS: i64 = 250;

/// Waits to be woken.
pub type Waiters = SmallVec<[Arc<Waiter>; 8]>;

/// How long a topic rests after this number of its waits was woken, in milliseconds.
pub fn rest_ms(topic: &Topic, woken: usize) -> Option<i64> {
    let for_number = (woken >= REST_FROM).then(|| i64::try_from(woken / WOKEN_PER_MS).unwrap_or(i64::MAX));
    let for_listings = (woken > 0 && matches!(topic, Topic::Listings(_))).then_some(LISTINGS_REST_MS);
    for_number.max(for_listings)
}

/// The waits on one topic.
#[derive(Default)]
struct OfTopic {
    waiters: Vec<Arc<Waiter>>,
    /// Whether the topic rests after a wake-up. It is kept meanwhile, even if nobody waits on it.
    is_resting: bool,
    /// Whether the topic has changed during its rest.
    has_changed: bool,
}

impl OfTopic {
    /// The waits to be woken. The topic rests from now on, if they are many.
    fn take_woken(&mut self, topic: &Topic) -> Waiters {
        self.is_resting = rest_ms(topic, self.waiters.len()).is_some();
        self.has_changed = false;
        self.waiters.iter().cloned().collect()
    }
}

/// The waits of a node by topic.
pub struct ByTopic(LockStripes<Mutex<HashMap<Topic, OfTopic>>>);

impl Default for ByTopic {
    fn default() -> Self {
        Self(LockStripes::new(LOCKS))
    }
}

impl ByTopic {
    fn lock(&self, topic: &Topic) -> MutexGuard<'_, HashMap<Topic, OfTopic>> {
        lock(self.0.of(topic))
    }

    /// Adds a wait to a topic.
    pub fn add(&self, topic: &Topic, waiter: &Arc<Waiter>) {
        self.lock(topic).entry(topic.clone()).or_default().waiters.push(Arc::clone(waiter));
    }

    /// Removes a wait from a topic.
    pub fn remove(&self, topic: &Topic, waiter_id: u64) {
        let mut topics = self.lock(topic);
        let Some(of_topic) = topics.get_mut(topic) else { return };
        if let Some(index) = of_topic.waiters.iter().position(|waiter| waiter.id == waiter_id) {
            of_topic.waiters.swap_remove(index);
        }
        if of_topic.waiters.is_empty() && !of_topic.is_resting {
            topics.remove(topic);
        }
    }

    /// The waits to be woken by a change of a topic. None while the topic rests: they are woken at the end of the rest.
    pub fn changed(&self, topic: &Topic) -> Waiters {
        let mut topics = self.lock(topic);
        let Some(of_topic) = topics.get_mut(topic) else { return Waiters::new() };
        if of_topic.is_resting {
            of_topic.has_changed = true;
            return Waiters::new();
        }
        of_topic.take_woken(topic)
    }

    /// Ends the rest of a topic. Returns the waits to be woken: all, if the topic has changed meanwhile.
    pub fn end_rest(&self, topic: &Topic) -> Waiters {
        let mut topics = self.lock(topic);
        let Some(of_topic) = topics.get_mut(topic) else { return Waiters::new() };
        of_topic.is_resting = false;
        let woken = if of_topic.has_changed { of_topic.take_woken(topic) } else { Waiters::new() };
        if of_topic.waiters.is_empty() && !of_topic.is_resting {
            topics.remove(topic);
        }
        woken
    }

    /// Every wait, once.
    pub fn all(&self) -> Vec<Arc<Waiter>> {
        let mut all = HashMap::new();
        for stripe in self.0.iter() {
            let topics = lock(stripe);
            let waiters = topics.values().flat_map(|of_topic| &of_topic.waiters);
            all.extend(waiters.map(|waiter| (waiter.id, Arc::clone(waiter))));
        }
        all.into_values().collect()
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|stripe| lock(stripe).is_empty())
    }
}
