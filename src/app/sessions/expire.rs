//! How sessions end by themselves, in the store: the deadline of each, and its place in the queue of deadlines.

use std::sync::Arc;

use super::Sessions;
use super::cached::CachedSession;
use crate::app::Failure;
use crate::app::shield::Shielded;
use crate::domain::{Refused, SessionId};
use crate::records::index;
use crate::records::keys;
use crate::store::{Batch, CommitError, Key, StoreError, Version};

impl Sessions {
    /// A session's deadline as it is stored, with its version.
    pub async fn stored_deadline(&self, id: &SessionId) -> Result<Option<(Version, i64)>, StoreError> {
        let Some(entry) = self.store().get(&keys::deadline_of(id)).await? else { return Ok(None) };
        let ms = entry.value.as_ref().try_into().map(i64::from_be_bytes);
        let ms = ms.map_err(|_| StoreError::Corrupt(format!("the deadline of session {id}")))?;
        Ok(Some((entry.version, ms)))
    }

    /// Refuses a session that is overdue: it reads as gone, whether or not the background work has come to end it.
    pub async fn require_time_left(&self, cached: &CachedSession) -> Result<(), Failure> {
        match self.overdue_since_ms(cached).await? {
            Some(_) => Err(Refused::SessionNotFound.into()),
            None => Ok(()),
        }
    }

    /// Since when a session's time is over, if it is. Costs a look at the clock; only where that says so, the store is
    /// asked whether the deadline was moved where this node has not seen it.
    pub async fn overdue_since_ms(&self, cached: &CachedSession) -> Result<Option<i64>, StoreError> {
        let (id, now_ms) = (&cached.session.id, self.clock.now_ms());
        if cached.deadline_ms() > now_ms || self.deadlines.is_moving(id) {
            return Ok(None);
        }
        let Some((_, deadline_ms)) = self.stored_deadline(id).await? else { return Ok(None) };
        cached.move_deadline(deadline_ms);
        Ok((deadline_ms <= now_ms).then_some(deadline_ms))
    }

    /// Ends a session if nobody has asked for it in time; takes a stale place in the queue away. Where another node is
    /// just changing it, it is left to that.
    pub async fn expire(self: &Arc<Self>, id: &SessionId, due_ms: i64, now_ms: i64) -> Result<bool, Failure> {
        let (sessions, id, turn) = (Arc::clone(self), id.clone(), self.lock(id).await);
        Shielded::new(async move {
            let _turn = turn;
            let (stored, before) =
                tokio::try_join!(sessions.stored_deadline(&id), sessions.find_latest(&id))?;
            let deadline = stored.filter(|(_, stored_ms)| *stored_ms == due_ms);
            let Some((deadline, before)) = deadline.zip(before) else {
                sessions.forget_due(&keys::due(due_ms, &id)).await?;
                return Ok(false);
            };
            if before.deadline_ms() > now_ms {
                return Ok(false);
            }
            let mut after = before.session.clone();
            after.end();
            let batch = index::plan(Some((&before.session, before.version)), &after, usize::MAX)?;
            let batch = sessions.without_deadline(batch, &id, deadline).await?;
            match sessions.commit(after, batch, Arc::clone(&before.deadline_ms)).await {
                Ok(_) => Ok(true),
                Err(CommitError::Conflict { .. }) => Ok(false),
                Err(CommitError::Store(error)) => Err(error.into()),
            }
        })
        .await
    }

    /// Takes a place in the queue of deadlines away that is no session's any more. It often is gone: another node has
    /// come to it first.
    async fn forget_due(&self, due: &Key) -> Result<(), Failure> {
        if self.store().get(due).await?.is_some() {
            self.store().commit(Batch::default().delete(due.clone())).await?;
        }
        Ok(())
    }

    /// Moves a session's stored deadline, unless it is as late already; a session that ended meanwhile stays ended.
    /// Answers whether it is there in time now, and not where another node was faster.
    pub async fn move_deadline(self: &Arc<Self>, id: &SessionId, deadline_ms: i64) -> Result<bool, Failure> {
        let (sessions, id, turn) = (Arc::clone(self), id.clone(), self.lock(id).await);
        Shielded::new(async move {
            let _turn = turn;
            sessions.move_deadline_locked(&id, deadline_ms).await
        })
        .await
    }

    pub(super) async fn move_deadline_locked(
        &self,
        id: &SessionId,
        deadline_ms: i64,
    ) -> Result<bool, Failure> {
        let batch = self.with_deadline(Batch::default(), id, deadline_ms).await?;
        if batch.is_empty() {
            return Ok(true);
        }
        match self.store().commit(batch).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// The commit that also moves a session's deadline, unless that is as late already.
    pub(super) async fn with_deadline(
        &self,
        batch: Batch,
        id: &SessionId,
        deadline_ms: i64,
    ) -> Result<Batch, StoreError> {
        let stored = self.stored_deadline(id).await?;
        Ok(match stored.filter(|(_, stored_ms)| *stored_ms < deadline_ms) {
            Some((version, stored_ms)) => {
                let batch = batch.expect_version(keys::deadline_of(id), version);
                put_deadline(batch.delete(keys::due(stored_ms, id)), id, deadline_ms)
            }
            None => batch,
        })
    }

    /// The commit that also takes an ended session's deadline away, which is this one, and what nodes heard of it.
    pub(super) async fn without_deadline(
        &self,
        batch: Batch,
        id: &SessionId,
        (version, deadline_ms): (Version, i64),
    ) -> Result<Batch, StoreError> {
        let (deadline, due) = (keys::deadline_of(id), keys::due(deadline_ms, id));
        let batch = batch.expect_version(deadline.clone(), version).delete(deadline).delete(due);
        let heard = keys::last_seen(id);
        let is_heard = !self.store().sole_writer() && self.store().get(&heard).await?.is_some();
        Ok(if is_heard { batch.delete(heard) } else { batch })
    }
}

/// A commit that also puts a session into the queue of deadlines.
pub(super) fn put_deadline(batch: Batch, id: &SessionId, deadline_ms: i64) -> Batch {
    let deadline = deadline_ms.to_be_bytes().to_vec();
    batch.put(keys::deadline_of(id), deadline).put(keys::due(deadline_ms, id), bytes::Bytes::new())
}
