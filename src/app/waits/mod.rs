//! Waits: requests that are held until what they read has changed.
//!
//! A wait is a delayed read. It subscribes to its topics first, then reads, compares, and sleeps until it is woken. A
//! wake-up only says "look again": what the answer is, the read decides. So a needless wake-up costs a read, and a
//! change between the read and the sleep is not missed, because the subscription keeps the wake-up.
//!
//! A topic with many waits rests after a wake-up, so that a busy one does not use up the node. Changes during the rest
//! share the wake-up at its end.

mod alarms;
mod by_topic;
mod limits;
mod lookback;
mod outbox;
mod subscription;
mod topic;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use self::alarms::{Alarm, Alarms};
use self::by_topic::{ByTopic, Looked, Waiters, WakeUp};
pub use self::by_topic::{PARTS, Seen};
use self::limits::WaitsByCaller;
pub use self::limits::{NotHeld, WaitForm, WaitLimits};
pub use self::lookback::{Listener, Lookback, RecentChange};
pub use self::outbox::{Changes, News, Outbox};
pub use self::subscription::Subscription;
pub use self::topic::{LongPoll, Topic, Topics, WaitOn};
use crate::domain::{PlayerUuid, SessionId};
use crate::env::{Clock, Entropy};
use crate::telemetry::{Metrics, WaitKind};

/// The waits of this node.
pub struct Waits {
    /// The number of subscriptions. If it is 0, a wake-up looks no further.
    count: AtomicUsize,
    /// The number of subscriptions that sleep.
    asleep: AtomicUsize,
    by_topic: ByTopic,
    by_caller: WaitsByCaller,
    alarms: Alarms,
    outbox: Outbox,
    is_draining: AtomicBool,
    next_id: AtomicU64,
    /// Orders wake-ups and reads that several waits share: it rises with each such read.
    moment: AtomicU64,
    limits: WaitLimits,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
}

/// One sleeping or looking wait.
struct Waiter {
    id: u64,
    /// Keeps one wake-up until the wait sleeps.
    woken: Notify,
    /// Whether the wait has to end with its next look.
    must_end: AtomicBool,
    last_wake: Mutex<LastWake>,
}

/// What is known of the wake-ups of a wait.
#[derive(Clone, Copy, Debug, Default)]
struct LastWake {
    /// The latest moment of a wake-up, of a subscription to topics, or of [`Subscription::look_from_now_on`]; see
    /// [`Waits::begin_shared_read`]. It only rises: two wake-ups may arrive in another order than they began.
    moment: u64,
    /// When a change has woken the wait, until the wait has looked.
    by_change: Option<Instant>,
}

impl Waiter {
    fn new(id: u64) -> Self {
        let (must_end, last_wake) = (AtomicBool::new(false), Mutex::default());
        Self { id, woken: Notify::new(), must_end, last_wake }
    }

    /// Wakes the wait because a topic has changed.
    fn wake_by_change(&self, moment: u64, at: Instant) {
        let mut last_wake = lock(&self.last_wake);
        last_wake.by_change.get_or_insert(at);
        self.wake(last_wake, moment);
    }

    /// Wakes the wait because its alarm is due.
    fn wake_by_alarm(&self, moment: u64) {
        self.wake(lock(&self.last_wake), moment);
    }

    fn wake(&self, mut last_wake: MutexGuard<'_, LastWake>, moment: u64) {
        last_wake.moment = last_wake.moment.max(moment);
        drop(last_wake);
        self.woken.notify_one();
    }

    /// Lets the next look use only shared reads that begin after this moment.
    fn look_from(&self, moment: u64) {
        let mut last_wake = lock(&self.last_wake);
        last_wake.moment = last_wake.moment.max(moment);
    }
}

impl Waits {
    /// No waits yet.
    pub fn new(limits: WaitLimits, (clock, entropy): (Clock, Entropy), metrics: Arc<Metrics>) -> Self {
        Self {
            count: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            by_topic: ByTopic::default(),
            by_caller: WaitsByCaller::default(),
            alarms: Alarms::default(),
            outbox: Outbox::default(),
            is_draining: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
            moment: AtomicU64::new(0),
            limits,
            clock,
            entropy,
            metrics,
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

    /// The number of waits that sleep. The others look, or are about to sleep or to end.
    pub fn asleep(&self) -> usize {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Subscribes to topics for a caller, who is a player or a service.
    ///
    /// The caller of this function reads what it waits for after this call: then it either sees a change or is woken by
    /// it.
    ///
    /// # Errors
    /// If this node holds no more waits, or none more of this caller.
    pub fn subscribe(
        self: &Arc<Self>,
        form: WaitForm,
        player: Option<PlayerUuid>,
        topics: Topics,
    ) -> Result<Subscription, NotHeld> {
        if self.is_draining.load(Ordering::Acquire) {
            return Err(NotHeld::Draining);
        }
        if self.count.fetch_add(1, Ordering::SeqCst) >= self.limits.waits_max {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return Err(NotHeld::TooMany);
        }
        let caller = player.map(|player| (player, form));
        if let Err(not_held) = self.by_caller.enter(caller, &self.limits) {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return Err(not_held);
        }
        let waiter = Arc::new(Waiter::new(self.next_id()));
        // The other topics of a wait are parts of what the first one stands for.
        let of_topic = topics.first().map_or(WaitKind::Catalog, Topic::kind);
        let kind = if form == WaitForm::LongPoll { WaitKind::LongPoll } else { of_topic };
        let mut subscription = Subscription::new(Arc::clone(self), waiter, caller, kind);
        subscription.listen_to(topics);
        // A drain that began meanwhile may have missed this one.
        if self.is_draining.load(Ordering::Acquire) {
            return Err(NotHeld::Draining);
        }
        Ok(subscription)
    }

    /// What this node has changed, for other nodes.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// This node has changed these topics: wakes the waits on them, and lets other nodes know. Called after the change
    /// was answered by the store, and can be read on this node.
    pub fn changed(&self, topics: &[Topic]) {
        self.changed_by(None, topics, &[]);
    }

    /// Like [`changed`](Self::changed), with the player who made the change, and which sessions are no longer on which
    /// players' lists.
    pub fn changed_by(
        &self,
        actor: Option<PlayerUuid>,
        topics: &[Topic],
        departures: &[(PlayerUuid, SessionId)],
    ) {
        self.outbox.add(topics, actor, departures);
        self.wake(topics.iter().cloned());
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
            let wake_delay_ms = self.limits.wake_delay_ms;
            match self.by_topic.changed(&topic, wake_delay_ms > 0) {
                // Not under the lock: to wake a task takes longer than to clone a pointer.
                WakeUp::Now(waiters) => self.wake_all(&waiters, &topic),
                WakeUp::Delayed => self.end_rest_after(wake_delay_ms, &topic),
                WakeUp::Noted => {}
            }
        }
    }

    fn end_rest_after(&self, rest_ms: i64, topic: &Topic) {
        let at_up_ms = self.clock.up_ms().saturating_add(rest_ms);
        self.alarms.add(at_up_ms, self.next_id(), Alarm::EndOfRest(topic.clone()));
    }

    /// An id of a wait or of an alarm.
    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The topics that are waited on, of these kinds, in one of [`PARTS`] parts.
    pub fn topics(&self, part: usize, is_wanted: impl Fn(&Topic) -> bool) -> Vec<Topic> {
        self.by_topic.topics(part, is_wanted)
    }

    /// Notes what the store has of a topic; `None` if that is not known. Wakes the waits on it if it may have changed.
    /// Returns whether it has changed since the waits looked.
    pub fn note_swept(&self, topic: &Topic, seen: Option<Seen>) -> bool {
        let looked = seen.map_or(Looked::Unknown, |seen| self.by_topic.looked(topic, seen));
        if looked == Looked::AtThis {
            return false;
        }
        self.wake([topic.clone()]);
        self.by_topic.note_swept(topic, seen);
        looked == Looked::AtAnother
    }

    /// Wakes these waits on a topic, which rests from now on if they are many.
    fn wake_all(&self, woken: &Waiters, topic: &Topic) {
        if woken.is_empty() {
            return;
        }
        let (moment, now) = (self.moment(), self.clock.instant());
        for waiter in woken {
            waiter.wake_by_change(moment, now);
        }
        if let Some(rest_ms) = by_topic::rest_ms(topic, woken.len()) {
            self.end_rest_after(rest_ms, topic);
        }
    }

    /// Wakes the waits whose alarm is due, and those on topics that changed during their rest.
    pub fn wake_due(&self) {
        for alarm in self.alarms.take_due(self.clock.up_ms()) {
            match alarm {
                Alarm::Look(waiter) => waiter.wake_by_alarm(self.moment()),
                Alarm::LastLook(waiter) => {
                    waiter.must_end.store(true, Ordering::Release);
                    waiter.wake_by_alarm(self.moment());
                }
                Alarm::EndOfRest(topic) => self.wake_all(&self.by_topic.end_rest(&topic), &topic),
            }
        }
    }

    fn moment(&self) -> u64 {
        self.moment.load(Ordering::SeqCst)
    }

    /// Begins a read that several waits share. A wait may use it if it began after the wait was woken: the returned
    /// number is greater than [`Subscription::woken_at`].
    pub fn begin_shared_read(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst) + 1
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
        for waiter in self.by_topic.all() {
            let after_ms = (self.limits.drain_spread_ms as f64 * self.entropy.fraction()) as i64;
            let at_up_ms = now_up_ms.saturating_add(after_ms);
            self.alarms.add(at_up_ms, self.next_id(), Alarm::LastLook(waiter));
        }
    }
}

/// Locks a mutex whose value is whole even after a panic of a holder.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;
