//! Steps of the wall clock, and clocks that are wrong.
//!
//! Deadlines, invites and heartbeats are stored as times of the wall clock, because the monotonic clock starts again
//! with each process. Someone can set the wall clock, and a machine that was asleep finds it hours later. Then stored
//! times say nothing about how long clients had no chance to use a session. So a step is excused like an outage: every
//! timeout starts again at the step. Tokens are not excused: they always follow the wall clock.
//!
//! Nodes that share a database compare their clocks with the database's. A node whose clock differs too much changes
//! nothing, and judges no deadline.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Sessions;
use crate::env::{Clock, ClockReading};
use crate::records::keys;
use crate::records::values::{decode_clock_step, encode_clock_step};
use crate::store::{Batch, CommitError, StoreError};

/// From this difference on, in milliseconds, the wall clock was set. Smaller differences are corrections by NTP, and
/// too short to end a session early.
const STEP_MIN_MS: i64 = 5_000;
/// Stands for an offset from a step until the next check.
const UNCHECKED: i64 = i64::MIN;
/// How often a check is tried again because the clock was set meanwhile.
const CHECKS_MAX: usize = 3;
/// Stored in place of the time of a step if the clock was behind at the start.
const BEHIND: i64 = i64::MAX;

/// The steps of the wall clock that this process has seen.
pub struct ClockSteps {
    clock: Clock,
    seen: Mutex<Seen>,
    /// A copy of `offset_ms` for polls, which take no lock; [`UNCHECKED`] from a step until the next check.
    checked_offset_ms: AtomicI64,
}

struct Seen {
    /// The wall clock at the last look.
    now_ms: i64,
    /// The wall clock minus the monotonic clock at the last look.
    offset_ms: i64,
    /// The number of steps.
    count: u64,
    /// The wall clock right after the last step.
    last_step_ms: Option<i64>,
    /// Whether this node's clock may be compared with deadlines: `false` from a step to the next check against the
    /// store's clock.
    is_checked: bool,
    /// Whether the last check found the clock wrong.
    was_wrong: bool,
    /// What the store has for `last_step_ms`.
    stored_ms: Option<i64>,
}

impl ClockSteps {
    /// No step yet.
    pub fn new(clock: &Clock) -> Self {
        let ClockReading { now_ms, up_ms } = clock.read();
        let seen = Seen {
            now_ms,
            offset_ms: now_ms - up_ms,
            count: 0,
            last_step_ms: None,
            is_checked: true,
            was_wrong: false,
            stored_ms: None,
        };
        let checked_offset_ms = AtomicI64::new(seen.offset_ms);
        Self { clock: clock.clone(), seen: Mutex::new(seen), checked_offset_ms }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at both clocks, and logs a step since the last look. Called before any stored time is compared with now.
    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.lock();
        let ClockReading { now_ms, up_ms } = self.clock.read();
        let step_ms = now_ms - up_ms - seen.offset_ms;
        seen.now_ms = now_ms;
        seen.offset_ms += step_ms;
        if step_ms.abs() >= STEP_MIN_MS {
            tracing::warn!(
                step_ms,
                "the clock of this machine was set, or the machine was asleep: the timeouts of sessions, players, \
                 invites and hosts start again now"
            );
            seen.count += 1;
            seen.last_step_ms = Some(now_ms);
            seen.is_checked = false;
        }
        self.publish(&seen);
        seen
    }

    fn publish(&self, seen: &Seen) {
        let offset_ms = if seen.is_checked { seen.offset_ms } else { UNCHECKED };
        self.checked_offset_ms.store(offset_ms, Ordering::Release);
    }

    /// Whether the clock was not set between its last check and this reading. Cheap: it compares three numbers.
    fn is_checked(&self, at: ClockReading) -> bool {
        let offset_ms = self.checked_offset_ms.load(Ordering::Acquire);
        offset_ms != UNCHECKED && (at.now_ms - at.up_ms - offset_ms).abs() < STEP_MIN_MS
    }

    /// The number of steps so far. Read it before a check.
    fn count(&self) -> u64 {
        self.look().count
    }

    /// Notes the outcome of a check that began after `count` steps. Returns the time of a right clock, in milliseconds
    /// since the epoch. Returns `None`, and notes nothing, if the clock was set during the check: then nobody knows
    /// which of the two times was compared.
    fn note_check(&self, count: u64, checked: Result<(), StoreError>) -> Option<Result<i64, StoreError>> {
        let mut seen = self.look();
        if seen.count != count {
            return None;
        }
        match &checked {
            Ok(()) => {
                seen.is_checked = true;
                if std::mem::take(&mut seen.was_wrong) {
                    tracing::info!("the clock is right again");
                    seen.last_step_ms = Some(seen.now_ms);
                }
            }
            Err(StoreError::ClockSkew { .. }) => (seen.is_checked, seen.was_wrong) = (true, true),
            Err(_) => {}
        }
        self.publish(&seen);
        Some(checked.map(|()| seen.now_ms))
    }
}

impl Sessions {
    /// The time now, and the wall clock right after its last step; `None` if there was none. Both in milliseconds since
    /// the epoch. Timeouts that began before that step begin then.
    pub fn now_and_last_clock_step_ms(&self) -> (i64, Option<i64>) {
        let seen = self.clock_steps.look();
        (seen.now_ms, seen.last_step_ms)
    }

    /// The time `ms` milliseconds before `now_ms`, to find what is older. `None` if the clock was set since: then a stored
    /// time that seems older may be that of a moment ago.
    pub fn time_ago(&self, now_ms: i64, ms: i64) -> Option<i64> {
        let ago_ms = now_ms.saturating_sub(ms);
        let (_, last_step_ms) = self.now_and_last_clock_step_ms();
        last_step_ms.is_none_or(|step_ms| step_ms <= ago_ms).then_some(ago_ms)
    }

    /// Checks this node's clock against the clock of the store. After a wrong clock was corrected, all timeouts start
    /// again, as after a step: the node has counted no use of a session meanwhile. Returns the time, in milliseconds
    /// since the epoch. Act on this time: the clock may be set before it is read again.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if they differ too much; [`StoreError::Unavailable`] if the clock is set during each
    /// of several checks; other errors of the store.
    pub async fn check_clock(&self) -> Result<i64, StoreError> {
        for _ in 0..CHECKS_MAX {
            let count = self.clock_steps.count();
            let checked = self.store.check_clock(|| self.clock.now_ms()).await;
            if let Some(checked) = self.clock_steps.note_check(count, checked) {
                return checked;
            }
        }
        Err(StoreError::Unavailable("the clock of this machine is being set".into()))
    }

    /// Whether this reading of the clock may be stored, as far as this node knows without asking the store. For polls.
    pub fn is_clock_right(&self, at: ClockReading) -> bool {
        self.clock_steps.is_checked(at) && self.store.require_right_clock().is_ok()
    }

    /// Refuses work that depends on the time, if this node knows that its clock is wrong: changes, and reads that keep
    /// a session or a player alive. After a step the clock is checked first. Returns the time, as
    /// [`check_clock`](Self::check_clock) does.
    ///
    /// # Errors
    /// [`StoreError::ClockSkew`] if the clock is wrong; other errors of the store if that cannot be found out.
    pub async fn require_right_clock(&self) -> Result<i64, StoreError> {
        let now_ms = {
            let seen = self.clock_steps.look();
            seen.is_checked.then_some(seen.now_ms)
        };
        if let Some(now_ms) = now_ms {
            return self.store.require_right_clock().map(|()| now_ms);
        }
        // In a box, so that the futures of all changes stay small.
        Box::pin(self.check_clock()).await
    }

    /// The time now, in whole milliseconds, for what is signed or compared with stored times.
    ///
    /// # Errors
    /// As [`require_right_clock`](Self::require_right_clock).
    pub async fn right_time(&self) -> Result<Timestamp, StoreError> {
        let now_ms = self.require_right_clock().await?;
        Ok(Timestamp::from_millisecond(now_ms).expect("no clock shows a time that cannot be written"))
    }

    /// The time now, to compare deadlines with, in milliseconds since the epoch. `None` if deadlines have no meaning:
    /// with a wrong clock, and before sessions had the idle time since the last step of the clock.
    pub(in crate::app) async fn time_for_deadlines(&self) -> Result<Option<i64>, StoreError> {
        let now_ms = match self.require_right_clock().await {
            Ok(now_ms) => now_ms,
            Err(StoreError::ClockSkew { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let step_ms = self.clock_steps.lock().last_step_ms;
        let have_meaning = step_ms.is_none_or(|step_ms| self.deadlines.new_deadline_ms(step_ms) <= now_ms);
        Ok(have_meaning.then_some(now_ms))
    }

    /// Stores the last step, so that a restart does not forget it.
    ///
    /// # Errors
    /// Errors of the store.
    pub(super) async fn store_clock_step(&self) -> Result<(), StoreError> {
        let (last_ms, stored_ms) = {
            let seen = self.clock_steps.look();
            (seen.last_step_ms, seen.stored_ms)
        };
        match last_ms {
            Some(step_ms) if last_ms != stored_ms => self.put_clock_step(step_ms).await,
            _ => Ok(()),
        }
    }

    async fn put_clock_step(&self, step_ms: i64) -> Result<(), StoreError> {
        let batch = Batch::default().put(keys::clock_step(), encode_clock_step(step_ms));
        match self.store.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Store(error)) => return Err(error),
            Err(CommitError::Conflict { .. }) => unreachable!("the batch expects nothing"),
        }
        self.clock_steps.lock().stored_ms = Some(step_ms);
        Ok(())
    }

    /// Takes up the steps of the clock that earlier processes have seen. Called at the start.
    ///
    /// A deadline that is further ahead than any new one was written by a clock that was ahead of this one. It stays:
    /// nobody knows which of the two was right, and a deadline that is too early ends a session. Most likely this
    /// machine has started before its clock was set. Sessions that are made until then get deadlines that have passed
    /// once the clock is right. If the clock is set while the server runs, the server sees the step. Otherwise the next
    /// start sees that the clock was behind at the last one.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn resume_clock_steps(&self) -> Result<(), StoreError> {
        let stored = self.store.get(&keys::clock_step()).await?;
        let stored_ms = stored.map(|entry| decode_clock_step(&entry.value)).transpose()?;
        let now_ms = self.clock.now_ms();
        let newest_ms = self.deadlines.new_deadline_ms(now_ms).saturating_add(STEP_MIN_MS);
        let (from, to) = keys::due_after(newest_ms);
        let is_behind = !self.store.scan(&from, &to, 1).await?.is_empty();
        if is_behind {
            tracing::warn!(
                "stored deadlines are further ahead than they can be: the clock of this machine is behind, or \
                 [sessions] idle_s is shorter than before"
            );
        }
        // In the future: the clock was behind at the last start, or it was ahead and has been set back since.
        let was_wrong = stored_ms.is_some_and(|step_ms| step_ms > now_ms);
        {
            let mut seen = self.clock_steps.lock();
            (seen.stored_ms, seen.last_step_ms) = (stored_ms, stored_ms.filter(|_| !was_wrong));
            if was_wrong && !is_behind {
                tracing::warn!(
                    "the clock of this machine was set while no server ran: all timeouts start again now"
                );
                seen.last_step_ms = Some(now_ms);
            }
        }
        if is_behind { self.put_clock_step(BEHIND).await } else { self.store_clock_step().await }
    }
}

#[cfg(test)]
#[path = "clock_steps_tests.rs"]
mod tests;
