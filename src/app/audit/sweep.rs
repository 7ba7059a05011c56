//! Deletes old events: those that were kept for long enough, the oldest ones of a session with too many, and the oldest
//! hours if all events together are too large. Each node reads on through all events, session by session, in small steps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{Audit, DAY_MS};
use crate::app::passes::{KeyRange, Passes, Step};
use crate::domain::SessionId;
use crate::records::audit as record;
use crate::records::audit::Posted;
use crate::records::keys;
use crate::store::{Batch, CommitError, Entry, Key, StoreError};

/// Changes whose events a step looks at. Events of one change take 64 KiB at most, and most of them 300 bytes.
const READ_AT_ONCE: usize = 512;
/// Changes whose events one commit deletes.
const DELETED_AT_ONCE: usize = 64;
/// The time from the start of a pass over all events until the next one starts, in milliseconds.
const PASS_EVERY_MS: i64 = HOUR_MS;
/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// The passes over all events.
pub(super) struct Sweep {
    passes: Passes,
    state: Mutex<State>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { passes: Passes::every_ms(PASS_EVERY_MS), state: Mutex::default() }
    }
}

/// The events of one change, as a pass sees them.
struct Found {
    key: Key,
    at_ms: i64,
    session: SessionId,
    /// Number of events.
    events: usize,
    /// Their size, in bytes.
    bytes: u64,
}

impl Found {
    fn new(key: &Key, entry: &Entry) -> Option<Self> {
        let id = keys::parse_events(key)?;
        Some(Self {
            key: key.clone(),
            at_ms: id.at_ms,
            session: id.session,
            events: record::count(&entry.value),
            bytes: (key.len() + entry.value.len()) as u64,
        })
    }
}

/// What the pass under way knows.
#[derive(Default)]
struct State {
    /// The session that it is at, and the changes that it keeps of it, oldest first, with the number of their events.
    session: Option<SessionId>,
    kept: VecDeque<(Key, usize)>,
    kept_events: usize,
    /// The sizes of the events that it keeps, by hour.
    bytes_of_hours: BTreeMap<i64, u64>,
    /// Hours before this one are deleted, because all events were too large in the pass before.
    first_hour: i64,
}

impl State {
    /// Looks at the events of a change. Returns the changes whose events are to be deleted.
    fn look_at(&mut self, found: Found, events_max: usize, kept_since_ms: i64) -> Vec<Key> {
        if self.session.as_ref() != Some(&found.session) {
            self.session = Some(found.session);
            self.kept.clear();
            self.kept_events = 0;
        }
        let hour = found.at_ms.div_euclid(HOUR_MS);
        if found.at_ms < kept_since_ms || hour < self.first_hour {
            return vec![found.key];
        }
        *self.bytes_of_hours.entry(hour).or_default() += found.bytes;
        self.kept_events += found.events;
        self.kept.push_back((found.key, found.events));
        let mut deleted = Vec::new();
        while self.kept_events > events_max
            && let Some((key, events)) = self.kept.pop_front()
        {
            self.kept_events -= events;
            deleted.push(key);
        }
        deleted
    }

    /// Ends a pass. The next one deletes the oldest hours if what this one keeps is larger than `bytes_max`, and never the
    /// present hour. Returns whether it is.
    fn end_pass(&mut self, bytes_max: u64, now_ms: i64) -> bool {
        let bytes_of_hours = std::mem::take(&mut self.bytes_of_hours);
        let mut bytes: u64 = bytes_of_hours.values().sum();
        let (is_too_large, present_hour) = (bytes > bytes_max, now_ms.div_euclid(HOUR_MS));
        self.first_hour = 0;
        for (hour, of_hour) in bytes_of_hours {
            if bytes <= bytes_max || hour >= present_hour {
                break;
            }
            bytes -= of_hour;
            self.first_hour = hour + 1;
        }
        (self.session, self.kept_events) = (None, 0);
        self.kept.clear();
        is_too_large
    }
}

impl Audit {
    /// Deletes old events. Each call looks at the next events of a pass over all of them, and does nothing until a pass is
    /// due. Returns whether to go on at once.
    ///
    /// # Errors
    /// Errors of the store. A later round tries again.
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let Some(next) = self.sweep.passes.next(self.clock.up_ms(), || self.ranges()) else {
            return Ok(false);
        };
        // A clock that is ahead would delete events that are young, so none are deleted for some time after a step.
        let Some(now_ms) = self.sessions.time_for_deadlines().await? else { return Ok(false) };
        let Step { found, has_more } =
            self.sweep.passes.read(self.sessions.store(), next, READ_AT_ONCE).await?;
        let kept_since_ms = now_ms.saturating_sub(self.settings.keep_ms);
        let mut batch = Batch::default();
        let mut events = Vec::new();
        for (key, entry) in &found {
            if let Some(found) = Found::new(key, entry) {
                events.push(found);
            } else if let Some((_, id)) = keys::parse_events_of_player(key) {
                // Usually they go with the events. Those of events that nobody can read go here.
                let is_old = id.at_ms < kept_since_ms;
                batch = if is_old { batch.delete(key.clone()) } else { batch };
            } else if Posted::decode(&entry.value)
                .map_or(true, |posted| posted.day < now_ms.div_euclid(DAY_MS))
            {
                batch = batch.expect_version(key.clone(), entry.version).delete(key.clone());
            }
        }
        let deleted = self.look_at(events, kept_since_ms);
        if !has_more {
            self.end_pass(now_ms);
        }
        let has_deleted = !batch.is_empty() || !deleted.is_empty();
        self.delete(batch).await?;
        for some in deleted.chunks(DELETED_AT_ONCE) {
            let mut batch = Batch::default();
            for key in some {
                let (id, entry) = (keys::parse_events(key), self.sessions.store().get(key).await?);
                if let (Some(id), Some(entry)) = (id, entry) {
                    batch = batch.and(record::delete(&id, &entry.value));
                }
            }
            self.delete(batch).await?;
        }
        // After a long read that deleted nothing, the next one waits for the next round.
        Ok(has_more && (has_deleted || found.len() < READ_AT_ONCE))
    }

    fn look_at(&self, events: Vec<Found>, kept_since_ms: i64) -> Vec<Key> {
        let events_max = self.settings.events_per_session_max;
        let mut state = self.sweep.state.lock().unwrap_or_else(PoisonError::into_inner);
        events.into_iter().flat_map(|found| state.look_at(found, events_max, kept_since_ms)).collect()
    }

    fn end_pass(&self, now_ms: i64) {
        let bytes_max = self.settings.bytes_max;
        let mut state = self.sweep.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.end_pass(bytes_max, now_ms) {
            tracing::warn!(
                bytes_max,
                "the audit is larger than [audit] bytes_max; its oldest hours are deleted"
            );
        }
    }

    /// What a pass reads. It begins in the middle, so that nodes seldom read the same events.
    fn ranges(&self) -> Vec<KeyRange> {
        let (start, end) = keys::all_events();
        let (middle, _) = keys::events_between(&self.entropy.uuid().into(), i64::MIN, i64::MAX);
        let others = [keys::all_events_of_players(), keys::all_posted_events()];
        [(middle.clone(), end), (start, middle)].into_iter().chain(others).collect()
    }

    /// Deletes what nothing expects. Another node may have deleted it before.
    async fn delete(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.sessions.store().commit(batch).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(CommitError::Store(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change with events of 100 bytes together.
    fn found(session: &str, at_ms: i64, events: usize) -> Found {
        let session = SessionId::parse(session).unwrap();
        let key = at_ms.to_be_bytes().to_vec();
        Found { key, at_ms, session, events, bytes: 100 }
    }

    fn look(state: &mut State, found: Found, events_max: usize, since_ms: i64) -> Vec<i64> {
        let deleted = state.look_at(found, events_max, since_ms);
        deleted.into_iter().map(|key| i64::from_be_bytes(key.try_into().unwrap())).collect()
    }

    #[test]
    fn old_events_go_and_of_a_session_with_too_many_the_oldest() {
        let mut state = State::default();
        assert_eq!(look(&mut state, found("a", 99, 1), 3, 100), [99]);
        assert!(look(&mut state, found("a", 100, 2), 3, 100).is_empty());
        assert!(look(&mut state, found("a", 101, 1), 3, 100).is_empty());
        assert_eq!(look(&mut state, found("a", 102, 1), 3, 100), [100]);
        assert!(
            look(&mut state, found("b", 100, 3), 3, 100).is_empty(),
            "another session has its own number"
        );
    }

    #[test]
    fn the_oldest_hours_go_if_all_events_are_too_large_but_never_the_present_one() {
        let mut state = State::default();
        let pass = |state: &mut State, hours: &[i64], bytes_max| {
            let look = |hour: &i64| look(state, found("a", hour * HOUR_MS + 5, 1), 99, 0);
            let deleted: Vec<i64> = hours.iter().flat_map(look).map(|at_ms| at_ms / HOUR_MS).collect();
            (deleted, state.end_pass(bytes_max, 4 * HOUR_MS))
        };
        let hours = [1, 2, 3, 4];
        assert_eq!(pass(&mut state, &hours, 200), (vec![], true));
        assert_eq!(pass(&mut state, &hours, 50), (vec![1, 2], true), "as few hours as it takes");
        assert_eq!(pass(&mut state, &hours[2..], 50), (vec![3], true));
        assert_eq!(pass(&mut state, &hours[3..], 50), (vec![], true), "the present hour stays");
        assert_eq!(pass(&mut state, &[1, 4], 1_000), (vec![], false), "what came since is not judged by it");
    }
}
