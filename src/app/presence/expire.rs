//! Acting on timeouts: removes inactive players and expired invites, lowers the health of instances that stop
//! reporting, and ends tickets in queues, and backfills.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Presence;
use super::table::Overdue;
use crate::app::Failure;
use crate::app::isolate::isolate;
use crate::app::sessions::Update;
use crate::domain::matchmaking::ticket::TicketEnd;
use crate::domain::{Refused, Session, SessionId};
use crate::telemetry::Departure;

/// Sessions checked at once: enough to share an fsync, few enough not to delay callers.
const CHECKED_AT_ONCE: usize = 64;

impl Presence {
    /// Checks the sessions that are due, and acts on timeouts in them. A session whose check fails is checked again by
    /// the next call. It does not delay the other sessions.
    ///
    /// # Errors
    /// The worst failure; see [`Failure::worse`].
    pub async fn expire_inactive(&self) -> Result<(), Failure> {
        let now_ms = self.note_clock_steps();
        let mut result = Ok(());
        for due in self.table.due(now_ms).chunks(CHECKED_AT_ONCE) {
            if result.as_ref().is_err_and(Failure::is_store_away) {
                break;
            }
            let checks = due.iter().map(|id| isolate(&self.metrics, id, self.expire_inactive_in(id, now_ms)));
            for checked in join_all(checks).await {
                result = Failure::worse(result, checked);
            }
        }
        result
    }

    /// Acts on timeouts in one session.
    async fn expire_inactive_in(&self, id: &SessionId, now_ms: i64) -> Result<(), Failure> {
        let mut seen = None;
        if !self.sessions.store().sole_writer() {
            // First the session, then what other nodes have seen: a node stores a health report before it changes the
            // session, so `pull` reads every report that this version of the session shows. An overdue session is read
            // as well: another node may still move its deadline before the update below.
            let Some(stored) = self.sessions.stored(id).await? else {
                self.table.forget(id);
                return Ok(());
            };
            seen = Some(stored);
            self.pull(id).await?;
        }
        let (table, profiles) = (Arc::clone(&self.table), Arc::clone(&self.profiles));
        let (is_shared, now) = (!self.sessions.store().sole_writer(), self.clock.now());
        // Timeouts are computed under the session lock, from the session as it is then. The update also queues the
        // session for its next check, even if nothing has timed out.
        let rule = move |session: &mut Session| {
            if seen.as_ref().is_some_and(|seen| seen.session != *session) {
                // The session has changed since the pull. The next round pulls and checks again.
                return Ok((Overdue::default(), Vec::new()));
            }
            let overdue = table.overdue(session, now_ms);
            let (inactive, invites) = (&overdue.inactive, &overdue.expired_invites);
            let removed = session.expire_inactive(inactive, invites, overdue.health.as_ref(), now);
            let lacks_profiles =
                session.matchmaking.as_ref().is_some_and(|ticket| profiles.have_left(ticket, is_shared));
            if overdue.ticket || lacks_profiles {
                session.end_ticket(TicketEnd::Timeout);
            }
            if overdue.backfill {
                session.expire_backfill();
            }
            Ok((overdue, removed))
        };
        let updated = self.sessions.update(id, Update::by_server(false), rule).await;
        if matches!(updated, Err(Failure::Refused(Refused::SessionNotFound))) {
            self.table.forget(id);
            return Ok(());
        }
        let ((overdue, removed), _) = updated?;
        if !overdue.is_empty() {
            tracing::info!(session_id = %id, ?overdue, "players, invites, the host, the ticket or the backfill of the session have timed out");
        }
        for was_active in removed {
            self.metrics.departed(if was_active { Departure::Absent } else { Departure::Expired });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "expire_tests.rs"]
mod tests;
