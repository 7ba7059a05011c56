//! Acting on timeouts: removes inactive players and expired invites, and worsens the health of instances that do not
//! report.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Presence;
use super::table::Overdue;
use crate::app::Failure;
use crate::app::isolate::isolate;
use crate::app::sessions::Update;
use crate::domain::{Refused, Session, SessionId};
use crate::telemetry::Departure;

/// Sessions in which timeouts are acted on together.
const CHECKED_AT_ONCE: usize = 64;

impl Presence {
    /// Acts on what has timed out. What fails for one session is tried again next time, and holds up no other.
    pub async fn expire_inactive(&self) -> Result<(), Failure> {
        let now_ms = self.clock.now_ms();
        let mut result = Ok(());
        // Together, so that they share an fsync; not all at once, so that callers get their turn in between.
        for due in self.table.take_due(now_ms).chunks(CHECKED_AT_ONCE) {
            if result.as_ref().is_err_and(Failure::is_store_away) {
                due.iter().for_each(|id| self.table.put_back(id));
                continue;
            }
            let checks = due.iter().map(|id| isolate(&self.metrics, id, self.expire_inactive_in(id, now_ms)));
            for (id, checked) in due.iter().zip(join_all(checks).await) {
                if let Err(failure) = checked {
                    self.table.put_back(id);
                    result = result.and(Err(failure));
                }
            }
        }
        result
    }

    async fn expire_inactive_in(&self, id: &SessionId, now_ms: i64) -> Result<(), Failure> {
        // First the session, then what other nodes have seen: a report is shared before the session shows it, so
        // everything that the session shows was shared.
        let seen = match self.sessions.store().sole_writer() {
            true => None,
            false => self.sessions.find_latest(id).await?,
        };
        self.pull(id).await?;
        let table = Arc::clone(&self.table);
        // Under the session's lock, so that no player is removed who has just asked. The change queues the session again,
        // also if nothing has timed out yet.
        let rule = move |session: &mut Session| {
            if seen.as_ref().is_some_and(|seen| seen.session != *session) {
                // It has changed meanwhile. It is checked again with the next round, after another pull.
                return Ok((Overdue::default(), Vec::new()));
            }
            let overdue = table.overdue(session, now_ms);
            let removed =
                session.expire_inactive(&overdue.inactive, &overdue.expired_invites, overdue.health.as_ref());
            Ok((overdue, removed))
        };
        let updated = self.sessions.update(id, Update::by_server(false), rule).await;
        if matches!(updated, Err(Failure::Refused(Refused::SessionNotFound))) {
            self.table.forget(id);
            return Ok(());
        }
        let ((overdue, removed), _) = updated?;
        if !overdue.is_empty() {
            tracing::info!(session_id = %id, ?overdue, "players, invites or the host of the session have timed out");
        }
        for was_active in removed {
            self.metrics.departed(if was_active { Departure::Absent } else { Departure::Expired });
        }
        Ok(())
    }
}
