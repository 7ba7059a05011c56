//! Alarms: when a wait has to look again although nothing has woken it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Waiter, lock};
use crate::env::Clock;

/// How exact alarms are: a job looks for due ones this often. One timer for all waits costs less than one for each.
const PRECISION: Duration = Duration::from_millis(50);

/// The alarms by time, in milliseconds of [`Clock::up_ms`], and id of the wait.
#[derive(Default)]
pub struct Alarms {
    queue: Mutex<BTreeMap<(i64, u64), Arc<Waiter>>>,
    first: Notify,
}

impl Alarms {
    /// Sets an alarm.
    pub fn set(&self, at_up_ms: i64, waiter: Arc<Waiter>) {
        let mut queue = lock(&self.queue);
        let was_empty = queue.is_empty();
        queue.insert((at_up_ms, waiter.id), waiter);
        if was_empty {
            self.first.notify_one();
        }
    }

    /// Removes an alarm.
    pub fn remove(&self, at_up_ms: i64, id: u64) {
        lock(&self.queue).remove(&(at_up_ms, id));
    }

    /// Ends a wait at a time.
    pub fn end_at(&self, at_up_ms: i64, waiter: Arc<Waiter>) {
        waiter.must_end.store(true, Ordering::Release);
        self.set(at_up_ms, waiter);
    }

    /// Whether no alarm is set.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }

    /// Takes the waits whose alarm is due.
    pub fn take_due(&self, now_up_ms: i64) -> Vec<Arc<Waiter>> {
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
