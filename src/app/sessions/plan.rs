//! The plan of a change: everything that its commit writes, computed before anything is written.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use uuid::Uuid;

use super::Sessions;
use super::cached::CachedSession;
use super::launch_writes::LaunchWrites;
use crate::app::Failure;
use crate::domain::audit::{Cause, Why};
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::records::index::{Before, SessionWrites};
use crate::records::values::encode_deadline;
use crate::records::{StoredSession, index, keys};
use crate::store::{Batch, StoreError, Version};

/// Stands for the version of a session that is not committed yet.
const UNKNOWN_VERSION: Version = Version(0);

/// A change that is ready to be committed. Plans of several sessions can be joined with [`and`](Self::and); then one
/// commit changes all of these sessions or none.
pub(super) struct Plan {
    /// The writes of the commit, and the versions that it expects.
    pub batch: Batch,
    /// The sessions that the commit changes.
    pub after: Vec<After>,
    /// The launches that need attention after the commit.
    pub launch_news: Vec<Uuid>,
    /// The player who makes the change; `None`: a service or the server.
    pub actor: Option<PlayerUuid>,
}

/// A session after a commit.
pub(super) struct After {
    /// The session, without its version, which the commit gives it. An ended session is not stored any more.
    pub cached: CachedSession,
    /// Size of the stored session in bytes; 0 for an ended session.
    pub stored_bytes: usize,
}

impl Plan {
    fn of(writes: SessionWrites, session: Session, deadline_ms: Arc<AtomicI64>) -> Self {
        let SessionWrites { batch, stored_bytes, unknown, .. } = writes;
        let cached = CachedSession::new(StoredSession { session, unknown }, UNKNOWN_VERSION, deadline_ms);
        let after = vec![After { cached, stored_bytes }];
        Self { batch, after, launch_news: Vec::new(), actor: None }
    }

    /// The same plan, of a change that this player makes.
    pub(super) fn by(self, actor: Option<PlayerUuid>) -> Self {
        Self { actor, ..self }
    }

    /// The session after the change, for a plan of one session.
    pub(super) fn changed(&self) -> &CachedSession {
        &self.after[0].cached
    }

    /// Joins two plans into one commit. The caller holds the locks of all sessions in them.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            batch: self.batch.and(other.batch),
            after: self.after.into_iter().chain(other.after).collect(),
            launch_news: self.launch_news.into_iter().chain(other.launch_news).collect(),
            actor: self.actor.or(other.actor),
        }
    }
}

/// Further writes of a plan, which change no session.
impl From<Batch> for Plan {
    fn from(batch: Batch) -> Self {
        Self { batch, after: Vec::new(), launch_news: Vec::new(), actor: None }
    }
}

impl From<LaunchWrites> for Plan {
    fn from(LaunchWrites { batch, news }: LaunchWrites) -> Self {
        Self { batch, after: Vec::new(), launch_news: news, actor: None }
    }
}

impl Sessions {
    /// Plans a new session. Its deadline lies a full idle time ahead.
    ///
    /// # Errors
    /// [`Refused::SessionTooLarge`](crate::domain::Refused::SessionTooLarge).
    pub(super) fn plan_creation(&self, mut session: Session, cause: Cause) -> Result<Plan, Failure> {
        let events = self.plan_events(None, &mut session, &cause.into());
        let deadline_ms = self.deadlines.new_deadline_ms(self.clock.now_ms());
        let writes = self.plan_writes(None, &session, self.limits.session_bytes_max)?;
        let deadline = put_deadline(&session.id, deadline_ms);
        let launch = Self::begin_launch(None, &session);
        Ok(Plan::of(writes, session, Arc::new(AtomicI64::new(deadline_ms)))
            .and(deadline.into())
            .and(launch.into())
            .and(events.into()))
    }

    /// Plans a change from `before` to `after`. It may also end the session, or move the stored deadline to
    /// `new_deadline_ms`.
    ///
    /// # Errors
    /// [`Refused::SessionTooLarge`](crate::domain::Refused::SessionTooLarge) if the stored session would exceed
    /// `bytes_max`.
    pub(super) async fn plan_change(
        &self,
        before: &CachedSession,
        mut after: Session,
        why: Why,
        bytes_max: usize,
        new_deadline_ms: Option<i64>,
    ) -> Result<Plan, Failure> {
        let id = &before.session.id;
        let events = self.plan_events(Some(&before.session), &mut after, &why);
        let writes = self.plan_writes(Some(before_of(before)), &after, bytes_max)?;
        let launches = self.plan_launches(&before.session, &after).await?;
        let deadline = if after.ended {
            match self.stored_deadline(id).await? {
                Some(stored) => self.remove_deadline(id, stored).await?,
                None => Batch::default(),
            }
        } else {
            self.plan_deadline(id, new_deadline_ms).await?
        };
        let plan = Plan::of(writes, after, Arc::clone(&before.deadline_ms));
        Ok(plan.and(deadline.into()).and(launches.into()).and(events.into()))
    }

    /// Plans the end of a session. The commit fails if the stored `deadline` (version and milliseconds since the epoch)
    /// has moved.
    pub(super) async fn plan_end(
        &self,
        before: &CachedSession,
        deadline: (Version, i64),
    ) -> Result<Plan, Failure> {
        let mut after = before.session.clone();
        after.end();
        let events = self.plan_events(Some(&before.session), &mut after, &Cause::Idle.into());
        let writes = self.plan_writes(Some(before_of(before)), &after, usize::MAX)?;
        let deadline = self.remove_deadline(&before.session.id, deadline).await?;
        let launches = self.plan_launches(&before.session, &after).await?;
        let plan = Plan::of(writes, after, Arc::clone(&before.deadline_ms));
        Ok(plan.and(deadline.into()).and(launches.into()).and(events.into()))
    }

    /// The writes of a change of one session, with the times at which the lists of its players change.
    fn plan_writes(
        &self,
        before: Option<Before<'_>>,
        after: &Session,
        bytes_max: usize,
    ) -> Result<SessionWrites, Refused> {
        let mut writes = index::plan(before, after, bytes_max)?;
        writes.batch = writes.batch.and(self.put_list_times(&writes.lists_changed));
        Ok(writes)
    }

    /// Plans to move the stored deadline of a session. The batch is empty if there is no new deadline, if the stored
    /// deadline is not earlier than the new one, or if the session has ended.
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

    /// Plans to remove the deadline of a session that ends, and its presence record if there is one. The commit fails
    /// if the deadline has moved.
    async fn remove_deadline(
        &self,
        id: &SessionId,
        (version, deadline_ms): (Version, i64),
    ) -> Result<Batch, StoreError> {
        let (deadline, due) = (keys::deadline_of(id), keys::due(deadline_ms, id));
        let batch = Batch::default().expect_version(deadline.clone(), version).delete(deadline).delete(due);
        // Only nodes that share a store write presence records. Most sessions have none, and a needless delete costs
        // more than this read.
        let last_seen = keys::last_seen(id);
        let has_record = !self.store.sole_writer() && self.store.get(&last_seen).await?.is_some();
        Ok(if has_record { batch.delete(last_seen) } else { batch })
    }
}

fn before_of(cached: &CachedSession) -> Before<'_> {
    Before { session: &cached.session, unknown: &cached.unknown, version: cached.version }
}

/// Stores a deadline and its entry in the queue of deadlines.
fn put_deadline(id: &SessionId, deadline_ms: i64) -> Batch {
    Batch::default()
        .put(keys::deadline_of(id), encode_deadline(deadline_ms))
        .put(keys::due(deadline_ms, id), Bytes::new())
}
