//! A wait's subscription to its topics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Topics, Waiter, Waits};
use crate::domain::PlayerUuid;

/// Wakes a wait when one of its topics changes. It keeps one wake-up that comes while the wait does not sleep. Dropping it
/// ends the subscription.
pub struct Subscription {
    waits: Arc<Waits>,
    waiter: Arc<Waiter>,
    caller: Option<PlayerUuid>,
    topics: Topics,
    /// The alarm that is set, in milliseconds of the monotonic clock.
    alarm_up_ms: Option<i64>,
}

impl Subscription {
    pub(super) fn new(waits: Arc<Waits>, waiter: Arc<Waiter>, caller: Option<PlayerUuid>) -> Self {
        Self { waits, waiter, caller, topics: Topics::new(), alarm_up_ms: None }
    }

    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Replaces the topics. Read again after this.
    pub fn listen_to(&mut self, topics: Topics) {
        let former = std::mem::replace(&mut self.topics, topics);
        for topic in self.topics.iter().filter(|topic| !former.contains(topic)) {
            self.waits.by_topic.add(topic, &self.waiter);
        }
        for topic in former.iter().filter(|topic| !self.topics.contains(topic)) {
            self.waits.by_topic.remove(topic, self.waiter.id);
        }
    }

    /// The moment of the last wake-up, or of the subscription. A look may use a shared read that began after it; see
    /// [`Waits::begin_shared_read`].
    pub fn woken_at(&self) -> u64 {
        self.waiter.woken_at.load(Ordering::SeqCst)
    }

    /// Lets the next look use only reads that begin after this call.
    pub fn look_from_now_on(&self) {
        self.waiter.woken_at.store(self.waits.moment(), Ordering::SeqCst);
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
        self.waiter.woken.notified().await;
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
        self.waits.by_caller.leave(self.caller);
        self.waits.count.fetch_sub(1, Ordering::SeqCst);
    }
}
