//! The waits by topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use smallvec::SmallVec;

use super::{Topic, Waiter, lock};
use crate::app::locks::LockStripes;
use crate::store::Version;

/// Number of parts. Each has a lock.
pub const PARTS: usize = 256;
/// Most waits of one topic that are woken in a millisecond: after a wake-up, the topic rests for so long.
const WOKEN_PER_MS: usize = 20;
/// Fewer waits need no rest.
const REST_FROM: usize = 200;
/// Rest of the listings of a type, in milliseconds, however few wait: a page is a scan.
const LISTINGS_REST_MS: i64 = 250;

/// The table of a topic's waits shrinks when fewer than one in so many places is used.
const SPARSE: usize = 8;

/// Waits to be woken.
pub type Waiters = SmallVec<[Arc<Waiter>; 8]>;

/// How long a topic rests after this number of its waits was woken, in milliseconds.
pub fn rest_ms(topic: &Topic, woken: usize) -> Option<i64> {
    let for_number = (woken >= REST_FROM).then(|| i64::try_from(woken / WOKEN_PER_MS).unwrap_or(i64::MAX));
    let for_listings = (woken > 0 && matches!(topic, Topic::Listings(_))).then_some(LISTINGS_REST_MS);
    for_number.max(for_listings)
}

/// What the store had of a topic at a look: the version, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(pub Option<Version>);

/// How a change of a topic wakes its waits.
pub enum WakeUp {
    /// These are woken now.
    Now(Waiters),
    /// The topic rests from now on, and the waits are woken at the end of the rest.
    Delayed,
    /// The waits are woken at the end of the rest that has begun, or there are none.
    Noted,
}

/// A wait on a topic.
struct OnTopic {
    waiter: Arc<Waiter>,
    /// What the store had of the topic when the wait last looked; `None` if that is not known.
    seen: Option<Seen>,
}

/// The waits on one topic.
#[derive(Default)]
struct OfTopic {
    /// By the id of the wait: many waits of a topic can end at the same moment, and each must be found at once.
    waits: HashMap<u64, OnTopic>,
    /// Whether the topic rests after a wake-up. It is kept meanwhile, even if nobody waits on it.
    is_resting: bool,
    /// Whether the topic has changed during its rest.
    has_changed: bool,
    /// What the store had when the sweep last woke every wait, or found that all had looked. All of them have seen this or
    /// something newer, and so has a wait that came later.
    swept: Option<Seen>,
}

/// What the waits on a topic have looked at, compared with what the store has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// All have looked at this.
    AtThis,
    /// One of them may have looked at something else.
    Unknown,
    /// One of them has looked at something else.
    AtAnother,
}

impl OfTopic {
    /// The waits to be woken. The topic rests from now on, if they are many.
    fn take_woken(&mut self, topic: &Topic) -> Waiters {
        self.is_resting = rest_ms(topic, self.waits.len()).is_some();
        self.has_changed = false;
        self.waits.values().map(|wait| Arc::clone(&wait.waiter)).collect()
    }

    fn remove(&mut self, waiter_id: u64) {
        self.waits.remove(&waiter_id);
        // A wake-up walks through all of the table, also where it is empty.
        if self.waits.len() < self.waits.capacity() / SPARSE {
            self.waits.shrink_to(self.waits.len() * 2);
        }
    }
}

/// The waits of a node by topic.
pub struct ByTopic(LockStripes<Mutex<HashMap<Topic, OfTopic>>>);

impl Default for ByTopic {
    fn default() -> Self {
        Self(LockStripes::new(PARTS))
    }
}

impl ByTopic {
    fn lock(&self, topic: &Topic) -> MutexGuard<'_, HashMap<Topic, OfTopic>> {
        lock(self.0.of(topic))
    }

    /// Adds a wait to a topic.
    pub fn add(&self, topic: &Topic, waiter: &Arc<Waiter>) {
        let wait = OnTopic { waiter: Arc::clone(waiter), seen: None };
        self.lock(topic).entry(topic.clone()).or_default().waits.insert(waiter.id, wait);
    }

    /// Removes a wait from a topic.
    pub fn remove(&self, topic: &Topic, waiter_id: u64) {
        let mut topics = self.lock(topic);
        let Some(of_topic) = topics.get_mut(topic) else { return };
        of_topic.remove(waiter_id);
        if of_topic.waits.is_empty() && !of_topic.is_resting {
            topics.remove(topic);
        }
    }

    /// Notes what the store had of a topic when a wait on it looked; `None` if that is not known.
    pub fn note_seen(&self, topic: &Topic, waiter_id: u64, seen: Option<Seen>) {
        let mut topics = self.lock(topic);
        if let Some(wait) = topics.get_mut(topic).and_then(|of_topic| of_topic.waits.get_mut(&waiter_id)) {
            wait.seen = seen;
        }
    }

    /// Notes a change of a topic. `is_delayed`: no wait is woken at once.
    pub fn changed(&self, topic: &Topic, is_delayed: bool) -> WakeUp {
        let mut topics = self.lock(topic);
        let Some(of_topic) = topics.get_mut(topic) else { return WakeUp::Noted };
        of_topic.swept = None;
        if of_topic.is_resting || is_delayed {
            let is_first = !std::mem::replace(&mut of_topic.is_resting, true);
            of_topic.has_changed = true;
            return if is_first { WakeUp::Delayed } else { WakeUp::Noted };
        }
        WakeUp::Now(of_topic.take_woken(topic))
    }

    /// Compares what the waits on a topic have looked at with what the store has now. Each wait counts by its own look:
    /// one can be slower than the others.
    pub fn looked(&self, topic: &Topic, now: Seen) -> Looked {
        let topics = self.lock(topic);
        let Some(of_topic) = topics.get(topic).filter(|of_topic| of_topic.swept != Some(now)) else {
            return Looked::AtThis;
        };
        let (mut all, mut another) = (true, of_topic.swept.is_some());
        for OnTopic { seen, .. } in of_topic.waits.values() {
            all &= *seen == Some(now);
            another |= seen.is_some_and(|seen| seen != now);
        }
        match (all, another) {
            (true, _) => Looked::AtThis,
            (false, true) => Looked::AtAnother,
            (false, false) => Looked::Unknown,
        }
    }

    /// Notes what the store had of a topic, after every wait on it was woken.
    pub fn note_swept(&self, topic: &Topic, seen: Option<Seen>) {
        if let Some(of_topic) = self.lock(topic).get_mut(topic) {
            of_topic.swept = seen;
        }
    }

    /// The topics of a part, of these kinds.
    pub fn topics(&self, part: usize, is_wanted: impl Fn(&Topic) -> bool) -> Vec<Topic> {
        let Some(topics) = self.0.iter().nth(part) else { return Vec::new() };
        lock(topics).keys().filter(|topic| is_wanted(topic)).cloned().collect()
    }

    /// Ends the rest of a topic. Returns the waits to be woken: all, if the topic has changed meanwhile.
    pub fn end_rest(&self, topic: &Topic) -> Waiters {
        let mut topics = self.lock(topic);
        let Some(of_topic) = topics.get_mut(topic) else { return Waiters::new() };
        of_topic.is_resting = false;
        let woken = if of_topic.has_changed { of_topic.take_woken(topic) } else { Waiters::new() };
        if of_topic.waits.is_empty() && !of_topic.is_resting {
            topics.remove(topic);
        }
        woken
    }

    /// Every wait, once.
    pub fn all(&self) -> Vec<Arc<Waiter>> {
        let mut all = HashMap::new();
        for stripe in self.0.iter() {
            let topics = lock(stripe);
            let waits = topics.values().flat_map(|of_topic| &of_topic.waits);
            all.extend(waits.map(|(id, wait)| (*id, Arc::clone(&wait.waiter))));
        }
        all.into_values().collect()
    }

    /// The places in the table of a topic's waits.
    #[cfg(test)]
    pub fn places(&self, topic: &Topic) -> usize {
        self.lock(topic).get(topic).map_or(0, |of_topic| of_topic.waits.capacity())
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|stripe| lock(stripe).is_empty())
    }
}
