//! What a change of a session writes: a value, made before anything is committed.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;

use super::Sessions;
use super::cached::CachedSession;
use crate::app::Failure;
use crate::domain::{Session, SessionId};
use crate::records::index::{Before, Planned};
use crate::records::{StoredSession, index, keys};
use crate::store::{Batch, StoreError, Version};

/// A change, ready to be committed: one batch, and each session as it is after it. Batches of several plans can be
/// joined ([`Batch::and`]), so that one commit changes several sessions, or none of them.
pub(super) struct Plan {
    /// Everything that the commit writes, and what must hold for it.
    pub batch: Batch,
    /// The sessions that the commit changes.
    pub after: Vec<After>,
}

/// A session as a commit leaves it.
pub(super) struct After {
    pub stored: StoredSession,
    /// Bytes that it takes as stored.
    pub stored_bytes: usize,
    /// Its deadline in memory, which all versions of a session share.
    pub deadline_ms: Arc<AtomicI64>,
}

impl Plan {
    fn of(planned: Planned, session: Session, deadline_ms: Arc<AtomicI64>) -> Self {
        let Planned { batch, stored_bytes, unknown } = planned;
        let stored = StoredSession { session, unknown };
        Self { batch, after: vec![After { stored, stored_bytes, deadline_ms }] }
    }

    /// The same change, with one more batch in its commit.
    fn with(mut self, batch: Batch) -> Self {
        self.batch = self.batch.and(batch);
        self
    }
}

impl Sessions {
    /// A new session, with its whole idle time ahead of it.
    pub(super) fn plan_creation(&self, session: Session) -> Result<Plan, Failure> {
        let deadline_ms = self.deadlines.from_now(self.clock.now_ms());
        let planned = index::plan(None, &session, self.limits.session_bytes_max)?;
        let deadline = put_deadline(&session.id, deadline_ms);
        Ok(Plan::of(planned, session, Arc::new(AtomicI64::new(deadline_ms))).with(deadline))
    }

    /// A change of a session, which may also move its deadline or end it.
    pub(super) async fn plan_change(
        &self,
        before: &CachedSession,
        after: Session,
        bytes_max: usize,
        new_deadline_ms: Option<i64>,
    ) -> Result<Plan, Failure> {
        let id = &before.session.id;
        let planned = index::plan(Some(before_of(before)), &after, bytes_max)?;
        let deadline = if after.ended {
            match self.stored_deadline(id).await? {
                Some(stored) => self.remove_deadline(id, stored).await?,
                None => Batch::default(),
            }
        } else {
            self.plan_deadline(id, new_deadline_ms).await?
        };
        Ok(Plan::of(planned, after, Arc::clone(&before.deadline_ms)).with(deadline))
    }

    /// The end of a session whose stored deadline is this one.
    pub(super) async fn plan_end(
        &self,
        before: &CachedSession,
        deadline: (Version, i64),
    ) -> Result<Plan, Failure> {
        let mut after = before.session.clone();
        after.end();
        let planned = index::plan(Some(before_of(before)), &after, usize::MAX)?;
        let deadline = self.remove_deadline(&before.session.id, deadline).await?;
        Ok(Plan::of(planned, after, Arc::clone(&before.deadline_ms)).with(deadline))
    }

    /// Moves the stored deadline of a session. The batch is empty if the deadline is as late already, or the session has ended.
    pub(super) async fn plan_deadline(
        &self,
        id: &SessionId,
        new_deadline_ms: Option<i64>,
    ) -> Result<Batch, StoreError> {
        let Some(new_deadline_ms) = new_deadline_ms else { return Ok(Batch::default()) };
        let Some((version, stored_ms)) = self.stored_deadline(id).await? else { return Ok(Batch::default()) };
        if stored_ms >= new_deadline_ms {
            return Ok(Batch::default());
        }
        let moved = Batch::default().expect_version(keys::deadline_of(id), version);
        Ok(moved.delete(keys::due(stored_ms, id)).and(put_deadline(id, new_deadline_ms)))
    }

    /// Removes the deadline of a session that ends, which is this one, and what nodes have seen of its players.
    async fn remove_deadline(
        &self,
        id: &SessionId,
        (version, deadline_ms): (Version, i64),
    ) -> Result<Batch, StoreError> {
        let (deadline, due) = (keys::deadline_of(id), keys::due(deadline_ms, id));
        let batch = Batch::default().expect_version(deadline.clone(), version).delete(deadline).delete(due);
        let last_seen = keys::last_seen(id);
        let is_stored = !self.store.sole_writer() && self.store.get(&last_seen).await?.is_some();
        Ok(if is_stored { batch.delete(last_seen) } else { batch })
    }
}

fn before_of(cached: &CachedSession) -> Before<'_> {
    Before { session: &cached.session, unknown: &cached.unknown, version: cached.version }
}

/// Stores a deadline, and the session's place in the queue of deadlines.
fn put_deadline(id: &SessionId, deadline_ms: i64) -> Batch {
    let deadline = deadline_ms.to_be_bytes().to_vec();
    Batch::default().put(keys::deadline_of(id), deadline).put(keys::due(deadline_ms, id), Bytes::new())
}
