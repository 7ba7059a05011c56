//! Tickets that have ended, and index entries of matchmaking that have outlived their session.

use std::sync::Arc;

use super::Sessions;
use crate::app::Failure;
use crate::domain::SessionId;
use crate::domain::matchmaking::ticket::{Ticket, TicketEnd};
use crate::records::values::decode_session_id;
use crate::records::{StoredSession, keys};
use crate::store::{Batch, CommitError};

impl Sessions {
    /// The session of a match; `None` if there is none. Ends it if it is overdue, so that another one can be made. Forgets
    /// an entry that has outlived its session: a node of a version without matches that ends a session leaves it behind.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn session_of_match(self: &Arc<Self>, match_id: &str) -> Result<Option<SessionId>, Failure> {
        let key = keys::match_of(match_id);
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        let id = decode_session_id(&entry.value)?;
        let found = self.stored(&id).await?.filter(|found| found.session.is_of_match(match_id));
        if let Some(found) = found {
            let Some(due_ms) = self.overdue_since_ms(&found).await? else { return Ok(Some(id)) };
            let has_ended = self.expire(&id, due_ms).await?;
            return Ok(Some(id).filter(|_| !has_ended));
        }
        match self.commit_batch(Batch::default().expect_version(key.clone(), entry.version).delete(key)).await
        {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(None),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Counts a ticket that a committed change has ended.
    pub(super) fn note_ended_ticket(&self, id: &SessionId, ticket: &Ticket, end: TicketEnd) {
        tracing::debug!(session_id = %id, ticket_id = %ticket.id, end = end.name(), "a ticket has ended");
        self.metrics.ticket_ended(end);
        if let Some(news) = &self.ticket_news {
            news.ended(ticket.id);
        }
    }

    /// Forgets in which sessions the active players of a session are queued, where such a session has ended or does not
    /// have the player in its ticket: a node of a version without matchmaking that ends a session leaves these entries
    /// behind. Returns whether there was one.
    ///
    /// # Errors
    /// [`Refused::SessionNotFound`](crate::domain::Refused::SessionNotFound); errors of the store.
    pub async fn forget_ended_queue_entries(&self, id: &SessionId) -> Result<bool, Failure> {
        let cached = self.get_latest(id).await?;
        let mut has_forgotten = false;
        for (player, _) in cached.session.active_players() {
            let key = keys::queued_player(player);
            let Some(entry) = self.store.get(&key).await? else { continue };
            // After the entry: one commit writes both, so this session is at least as new.
            let queued_in = self.store.get(&keys::session(&decode_session_id(&entry.value)?)).await?;
            let stored = queued_in.map(|session| StoredSession::decode(&session.value)).transpose()?;
            let ticket = stored.and_then(|stored| stored.session.matchmaking);
            if ticket.is_some_and(|ticket| ticket.players.contains(&player)) {
                continue;
            }
            let forgotten = Batch::default().expect_version(key.clone(), entry.version).delete(key);
            match self.commit_batch(forgotten).await {
                Ok(_) => has_forgotten = true,
                // Another request was first.
                Err(CommitError::Conflict { .. }) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(has_forgotten)
    }
}
