//! Alarms: when a wait has to look again although nothing has woken it, and when the rest of a topic ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Topic, Waiter, lock};
use crate::env::Clock;

/// How exact alarms are: a job looks for due ones this often. One timer for all waits costs less than one for each.
const PRECISION: Duration = Duration::from_millis(10);

/// What is done at the time of an alarm.
pub enum Alarm {
    /// A wait looks again.
    Look(Arc<Waiter>),
    /// A wait looks for the last time, because the node stops.
    LastLook(Arc<Waiter>),
    /// The rest of a topic ends.
    EndOfRest(Topic),
}

/// The alarms by time, in milliseconds of [`Clock::up_ms`], and id: that of the wait, or one of its own.
#[derive(Default)]
pub struct Alarms {
    queue: Mutex<BTreeMap<(i64, u64), Alarm>>,
    first: Notify,
}

impl Alarms {
    /// Sets the alarm of a wait.
    pub fn set(&self, at_up_ms: i64, waiter: Arc<Waiter>) {
        self.add(at_up_ms, waiter.id, Alarm::Look(waiter));
    }

    /// Sets an alarm with an id that no other alarm and no wait has.
    pub fn add(&self, at_up_ms: i64, id: u64, alarm: Alarm) {
        let mut queue = lock(&self.queue);
        let was_empty = queue.is_empty();
        queue.insert((at_up_ms, id), alarm);
        if was_empty {
            self.first.notify_one();
        }
    }

    /// Removes the alarm of a wait.
    pub fn remove(&self, at_up_ms: i64, id: u64) {
        lock(&self.queue).remove(&(at_up_ms, id));
    }

    /// Whether no alarm is set.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }

    /// Takes the alarms that are due.
    pub fn take_due(&self, now_up_ms: i64) -> Vec<Alarm> {
        let mut queue = lock(&self.queue);
        let later = queue.split_off(&(now_up_ms.saturating_add(1), 0));
        std::mem::replace(&mut *queue, later).into_values().collect()
    }

    /// Sleeps until an alarm may be due.
    pub async fn wait_until_due(&self, clock: &Clock) {
        loop {
            let first = lock(&self.queue).first_key_value().map(|((at_up_ms, _), _)| *at_up_ms);
            match first {
                None => self.first.notified().await,
                Some(at_up_ms) if at_up_ms <= clock.up_ms() => return,
                Some(_) => tokio::time::sleep(PRECISION).await,
            }
        }
    }
}
