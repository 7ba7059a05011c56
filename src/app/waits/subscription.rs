//! A wait's subscription to its topics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Seen, Topics, WaitForm, Waiter, Waits, lock};
use crate::domain::PlayerUuid;
use crate::telemetry::{WaitEnd, WaitKind};

/// Wakes a wait when one of its topics changes. It keeps one wake-up that comes while the wait does not sleep. Dropping it
/// ends the subscription.
pub struct Subscription {
    waits: Arc<Waits>,
    waiter: Arc<Waiter>,
    caller: Option<(PlayerUuid, WaitForm)>,
    topics: Topics,
    /// The alarm that is set, in milliseconds of the monotonic clock.
    alarm_up_ms: Option<i64>,
    kind: WaitKind,
    /// Why the wait ends. A wait that is dropped before it knows has lost its client.
    end: WaitEnd,
}

impl Subscription {
    pub(super) fn new(
        waits: Arc<Waits>,
        waiter: Arc<Waiter>,
        caller: Option<(PlayerUuid, WaitForm)>,
        kind: WaitKind,
    ) -> Self {
        waits.metrics.waits.began(kind);
        let (topics, end) = (Topics::new(), WaitEnd::ClientGone);
        Self { waits, waiter, caller, topics, alarm_up_ms: None, kind, end }
    }

    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Replaces the topics. Read again after this: a read that another wait began before does not count, because it may
    /// have missed a change that did not wake this wait yet.
    pub fn listen_to(&mut self, topics: Topics) {
        let former = std::mem::replace(&mut self.topics, topics);
        for topic in self.topics.iter().filter(|topic| !former.contains(topic)) {
            self.waits.by_topic.add(topic, &self.waiter);
        }
        for topic in former.iter().filter(|topic| !self.topics.contains(topic)) {
            self.waits.by_topic.remove(topic, self.waiter.id);
        }
        self.look_from_now_on();
    }

    /// Notes what the store had of each topic, in their order, at a look that began after the subscription. Of the topics
    /// beyond, that is not known.
    pub fn note_seen(&self, seen: &[Option<Seen>]) {
        let seen = seen.iter().copied().chain(std::iter::repeat(None));
        for (topic, seen) in self.topics.iter().zip(seen) {
            self.waits.by_topic.note_seen(topic, self.waiter.id, seen);
        }
    }

    /// The moment of the last wake-up, or of the subscription to the topics. A look may use a shared read that began after it; see
    /// [`Waits::begin_shared_read`].
    pub fn woken_at(&self) -> u64 {
        lock(&self.waiter.last_wake).moment
    }

    /// Lets the next look use only reads that begin after this call.
    pub fn look_from_now_on(&self) {
        self.waiter.look_from(self.waits.moment());
    }

    /// When a change has woken the wait, if it has not looked since. Call it before a look, and
    /// [`has_looked`](Self::has_looked) after it.
    pub fn take_wake_up(&self) -> Option<Instant> {
        lock(&self.waiter.last_wake).by_change.take()
    }

    /// Counts a wake-up by a change, after the look.
    pub fn has_looked(&self, woken_at: Option<Instant>, has_changed: bool) {
        let Some(woken_at) = woken_at else { return };
        match has_changed {
            true => self.waits.metrics.waits.woken(woken_at.elapsed()),
            false => self.waits.metrics.waits.woken_for_nothing(),
        }
    }

    /// Notes why the wait ends.
    pub fn ends_by(&mut self, end: WaitEnd) {
        self.end = end;
    }

    /// Lets the wait end with its next look.
    pub fn end(&self) {
        self.waiter.must_end.store(true, Ordering::Release);
    }

    /// Whether the wait has to end with its next look, because the node stops or the client has gone.
    pub fn must_end(&self) -> bool {
        self.waiter.must_end.load(Ordering::Acquire)
    }

    /// Sleeps until a topic changes, but at most until a time, in milliseconds of the monotonic clock.
    pub async fn sleep_until(&mut self, at_up_ms: i64) {
        let alarms = &self.waits.alarms;
        if let Some(former_up_ms) = self.alarm_up_ms.replace(at_up_ms) {
            alarms.remove(former_up_ms, self.waiter.id);
        }
        alarms.set(at_up_ms, Arc::clone(&self.waiter));
        let _sleep = Sleep::begin(&self.waits.asleep);
        self.waiter.woken.notified().await;
    }
}

/// Counts a wait among those that sleep, until it is dropped.
struct Sleep<'a>(&'a AtomicUsize);

impl<'a> Sleep<'a> {
    fn begin(asleep: &'a AtomicUsize) -> Self {
        asleep.fetch_add(1, Ordering::Relaxed);
        Self(asleep)
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for topic in std::mem::take(&mut self.topics) {
            self.waits.by_topic.remove(&topic, self.waiter.id);
        }
        if let Some(at_up_ms) = self.alarm_up_ms {
            self.waits.alarms.remove(at_up_ms, self.waiter.id);
        }
        self.waits.metrics.waits.ended(self.kind, self.end);
        self.waits.by_caller.leave(self.caller);
        self.waits.count.fetch_sub(1, Ordering::SeqCst);
    }
}
