//! Looks at a launch, and does what the rules say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::calls::Call;
use super::in_flight::Calling;
use super::lines::LineKey;
use super::served::{Allocating, Permits};
use super::store::Committed;
use super::{Launches, lock};
use crate::app::isolate::isolate;
use crate::app::{CachedSession, Failure};
use crate::domain::instance::Instance;
use crate::domain::launch::{LaunchFailure, LaunchRecord, LaunchRules, Node, Stage, Step};
use crate::records::keys;
use crate::records::launch::{StoredLaunch, live_launch};
use crate::store::Batch;

/// How many times a launch is looked at again because it has changed meanwhile.
const LOOKS_MAX: usize = 8;
/// How long a launch whose allocator this node does not serve is left alone, in milliseconds.
const LEFT_TO_OTHERS_MS: i64 = 10_000;
/// After this time a launch that waits for a permit is looked at all the same, in milliseconds.
const PERMIT_MS: i64 = 10_000;

/// A launch, and the session that wants it.
pub(super) struct Seen {
    pub stored: StoredLaunch,
    /// The session, if it still has the instance of the launch.
    pub session: Option<Arc<CachedSession>>,
}

impl Seen {
    pub fn record(&self) -> &LaunchRecord {
        &self.stored.record
    }

    /// The instance of the launch.
    pub fn instance(&self) -> Option<&Instance> {
        Some(live_launch(&self.session.as_ref()?.session)?.1)
    }

    /// The line in which the launch waits.
    pub fn line(&self) -> LineKey {
        (self.record().allocator.clone(), self.record().region.clone())
    }
}

impl Launches {
    /// Looks at a launch, and does what is to be done. Does nothing while its allocator is being called: the end of the
    /// call wakes the launch. `due_ms` is the time in the queue of launches that has led here.
    pub(super) async fn look(self: &Arc<Self>, id: Uuid, due_ms: Option<i64>) -> Result<(), Failure> {
        for _ in 0..LOOKS_MAX {
            if self.in_flight.contains(id) {
                return Ok(());
            }
            let Some(seen) = self.seen(id).await? else { return self.forget_due(id, due_ms).await };
            let (session_id, own_due_ms) = (seen.record().session_id.clone(), seen.record().due_ms);
            let step = Box::pin(self.take_step(seen));
            match isolate(&self.metrics, &session_id, step).await? {
                Committed::Done => return self.forget_due(id, due_ms.filter(|ms| *ms != own_due_ms)).await,
                Committed::LookAgain => {}
                // What has asked for this look asks the other nodes too.
                Committed::Left { until_ms } => {
                    if let Some(due_ms) = due_ms {
                        lock(&self.waits).note(id, due_ms, until_ms);
                    }
                    return Ok(());
                }
            }
        }
        Err(Failure::Contended)
    }

    /// Removes an entry of the queue that is not the place of its launch: the launch is gone, or a change has asked for
    /// this look. Reads first, because the end of a launch removes its entry too.
    async fn forget_due(&self, id: Uuid, due_ms: Option<i64>) -> Result<(), Failure> {
        let Some(due_ms) = due_ms else { return Ok(()) };
        let (due, key) = (keys::launch_due(due_ms, id), keys::launch(id));
        if self.sessions.store().get(&due).await?.is_none() {
            return Ok(());
        }
        let expected = match self.sessions.stored_launch(id).await? {
            None => Batch::default().expect_absent(key),
            Some(stored) if stored.record.due_ms == due_ms => return Ok(()),
            Some(stored) => Batch::default().expect_version(key, stored.version),
        };
        self.commit(expected.delete(due)).await.map(drop)
    }

    /// Reads a launch and its session. `None` if there is no such launch any more.
    pub(super) async fn seen(&self, id: Uuid) -> Result<Option<Seen>, Failure> {
        let Some((stored, session)) = self.sessions.launch_and_session(id).await? else { return Ok(None) };
        let has_launch = |session: &Arc<CachedSession>| {
            live_launch(&session.session).is_some_and(|(link, _)| link.id == id)
        };
        if let Some(allocation_id) =
            stored.record.allocation_id().filter(|_| self.serves(&stored.record.allocator))
        {
            lock(&self.by_allocation).insert(allocation_id.to_owned(), id);
        }
        Ok(Some(Seen { stored, session: session.filter(has_launch) }))
    }

    /// Only a node that serves the allocator knows its rules, and decides by them.
    async fn take_step(self: &Arc<Self>, seen: Seen) -> Result<Committed, Failure> {
        let record = seen.record();
        let Some(served) = self.served.get(&record.allocator).cloned() else {
            return self.take_unserved_step(seen).await;
        };
        let mut node = Node { id: self.node, is_bound: served.is_bound(), other_is_gone: false };
        if let Some(other) = record.node().filter(|other| node.is_bound && *other != self.node) {
            node.other_is_gone = self.is_gone(other).await?;
        }
        let has_exited = record.allocation_id().is_some_and(|id| lock(&self.exited).contains_key(id));
        let rules = &served.rules;
        let step = if has_exited {
            record.after_exit(seen.instance())
        } else {
            record.next(seen.instance(), node, self.clock.now_ms(), rules)
        };
        match step {
            Step::Wait { until_ms } => Ok(self.wait(record, until_ms)),
            Step::Claim { until_ms } => {
                lock(&self.lines).enter(&seen.line(), record.requested_ms, record.id);
                Ok(self.wait(record, until_ms))
            }
            Step::Repeat => self.repeat_call(seen, served).await,
            Step::Store(after) => self.store(&seen.stored, *after).await,
            Step::Retry(reason) => self.retry(&seen, reason, rules).await,
            Step::Fail(reason) => self.fail(&seen, reason).await,
            Step::HandOver => self.hand_over(&seen, Some(rules)).await,
            Step::Release { is_hard } => self.start_release(seen, served, is_hard),
            Step::Forget => self.forget(&seen.stored).await,
        }
    }

    /// Leaves a launch to the nodes that serve its allocator. If no node does, because the allocator has left the
    /// configuration, the launch comes to its end all the same.
    async fn take_unserved_step(&self, seen: Seen) -> Result<Committed, Failure> {
        let (record, now_ms) = (seen.record(), self.clock.now_ms());
        let step = record.next_unserved(seen.instance(), now_ms);
        let look_again_ms = now_ms + LEFT_TO_OTHERS_MS;
        if let Step::Wait { until_ms } = step {
            return Ok(Committed::Left { until_ms: until_ms.min(look_again_ms) });
        }
        if self.is_served(&record.allocator).await? {
            return Ok(Committed::Left { until_ms: look_again_ms });
        }
        match step {
            Step::Store(after) => self.store(&seen.stored, *after).await,
            Step::Fail(reason) => self.fail(&seen, reason).await,
            Step::HandOver => self.hand_over(&seen, None).await,
            _ => {
                tracing::error!(
                    session_id = %record.session_id, allocator = record.allocator,
                    allocation_id = record.allocation_id(), handle = record.handle(),
                    "no node serves the allocator of this server any more, and it is forgotten; if it still runs, stop it"
                );
                self.forget(&seen.stored).await
            }
        }
    }

    /// Nothing is to be done for a launch until then. Until it has moved in the queue, rounds do not read it.
    fn wait(&self, record: &LaunchRecord, until_ms: i64) -> Committed {
        if record.due_ms <= self.clock.now_ms() {
            lock(&self.waits).note(record.id, record.due_ms, until_ms);
        }
        Committed::Done
    }

    /// The allocator has as many calls as the rules allow. The end of one of them wakes the launch.
    pub(super) fn wait_for_permit(&self, permits: &Permits, record: &LaunchRecord) -> Committed {
        permits.wait(record.id);
        self.wait(record, self.clock.now_ms() + PERMIT_MS)
    }

    /// Makes the next attempt of a launch, or fails it if there is none left.
    async fn retry(
        &self,
        seen: &Seen,
        reason: LaunchFailure,
        rules: &LaunchRules,
    ) -> Result<Committed, Failure> {
        let record = seen.record();
        let at = (self.clock.now_ms(), self.entropy.fraction());
        let Some((next, release)) = record.next_attempt(reason, at, rules) else {
            return self.fail(seen, reason).await;
        };
        self.log_failed_attempt(record, reason);
        if let (Some(release), Some(allocation_id)) = (&release, record.allocation_id()) {
            lock(&self.by_allocation).insert(allocation_id.to_owned(), release.id);
            self.wake_ups.wake([release.id]);
        }
        self.begin_again(seen, next, release).await
    }

    /// Claims attempts for the launches whose turn it is, and calls their allocators. Launches that have failed or
    /// ended while they waited leave their line, and the next ones follow at once: otherwise they would use up the
    /// turns. A launch that cannot be claimed leaves its line too, and comes back with a later look.
    pub(super) async fn start_waiting(self: &Arc<Self>) -> Result<(), Failure> {
        let mut outcome = Ok(());
        while !self.is_stopping.load(Ordering::Relaxed) {
            let ready = lock(&self.lines).ready(self.clock.up_ms());
            let mut has_left = false;
            for (key, requested_ms, id) in ready {
                let Some(served) = self.served.get(&key.0).cloned() else { continue };
                // Without a permit the launch stays in its line. The end of a call begins another round.
                let Some(permit) = served.starts.take() else { continue };
                let claimed = self.claim_waiting(id, &served.rules).await;
                let is_calling = matches!(claimed, Ok(Some(_)));
                lock(&self.lines).leave(&key, requested_ms, id, is_calling);
                lock(&self.waits).forget(id);
                has_left |= !is_calling;
                match claimed {
                    Ok(Some((seen, calling))) => {
                        self.start_call(served, Call { seen, is_repeated: false }, (permit, calling));
                    }
                    Ok(None) => {}
                    Err(failure) if failure.is_of_one_session() => {
                        outcome = Failure::worse(outcome, Err(failure));
                    }
                    Err(failure) => {
                        self.wake_ups.put_back([id]);
                        return Err(failure);
                    }
                }
            }
            if !has_left {
                break;
            }
        }
        outcome
    }

    /// Claims the attempt of a launch whose turn it is. `None` if it wants no server now.
    async fn claim_waiting(
        self: &Arc<Self>,
        id: Uuid,
        rules: &LaunchRules,
    ) -> Result<Option<(Seen, Calling)>, Failure> {
        let seen = self.seen(id).await?;
        let wants = seen.filter(|seen| matches!(seen.record().stage, Stage::Wanted { .. }));
        let Some(seen) = wants.filter(|seen| seen.instance().is_some()) else { return Ok(None) };
        let session_id = &seen.record().session_id;
        let claimed = isolate(&self.metrics, session_id, Box::pin(self.claim(&seen, rules))).await?;
        if claimed.is_none() {
            self.wake_ups.wake([id]);
        }
        Ok(claimed)
    }

    /// Renews the claim of an attempt whose last call has told nothing, and calls again.
    async fn repeat_call(
        self: &Arc<Self>,
        seen: Seen,
        served: Arc<Allocating>,
    ) -> Result<Committed, Failure> {
        let Some(permit) = served.starts.take() else {
            return Ok(self.wait_for_permit(&served.starts, seen.record()));
        };
        match self.claim(&seen, &served.rules).await? {
            Some((seen, calling)) => {
                self.start_call(served, Call { seen, is_repeated: true }, (permit, calling));
                Ok(Committed::Done)
            }
            None => Ok(Committed::LookAgain),
        }
    }
}
