//! The audit events of a change are written in its own commit: what was answered has its events, and what was refused has
//! none, also after a crash. They expect nothing, so they make no change conflict.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Sessions;
use crate::domain::Session;
use crate::domain::audit::{self, Change, Why};
use crate::env::Entropy;
use crate::records::audit::put;
use crate::records::keys::EventsId;
use crate::store::Batch;

/// Gives the changes of this node their numbers, among those of the same session and millisecond. They start at random, so
/// that no two nodes use the same ones.
pub struct EventNumbers(AtomicU64);

impl EventNumbers {
    /// Numbers of one node.
    pub(super) fn new(entropy: &Entropy) -> Self {
        Self(AtomicU64::new(u64::from_le_bytes(entropy.beside().bytes()) >> 1))
    }
}

impl Sessions {
    /// The same, and every change writes its audit events if they are on.
    #[must_use]
    pub fn auditing(self, are_on: bool) -> Self {
        Self { writes_events: are_on, ..self }
    }

    /// The number of the next change that has events.
    pub fn next_event_number(&self) -> u64 {
        self.event_numbers.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The events of a change, to be written in its commit. They sort after those of all earlier changes of the session,
    /// also if another node with a clock that is ahead has made these: `after` keeps their time.
    pub(super) fn plan_events(&self, before: Option<&Session>, after: &mut Session, why: &Why) -> Batch {
        if !self.writes_events {
            return Batch::default();
        }
        let at = self.clock.now();
        let events = audit::events(&Change { before, after, why, at });
        if events.is_empty() {
            return Batch::default();
        }
        let earliest_ms = after.last_event_ms.map_or(i64::MIN, |last_ms| last_ms.saturating_add(1));
        let (at_ms, number) = (at.as_millisecond().max(earliest_ms), self.next_event_number());
        after.last_event_ms = Some(at_ms);
        let id = EventsId { session: after.id.clone(), at_ms, number };
        put(&id, after, why.cause.player(), &events)
    }
}
