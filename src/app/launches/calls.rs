//! Calls of allocators, each in a task of its own, and what their answers mean.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::in_flight::Calling;
use super::look::Seen;
use super::served::Allocating;
use super::store::Committed;
use super::{Launches, lock};
use crate::allocators::{Found, Launch, Placed, Placement, Reason, ReleaseMode, Released};
use crate::app::Failure;
use crate::domain::Session;
use crate::domain::instance::Instance;
use crate::domain::launch::{LaunchFailure, LaunchRecord, LaunchRules, Stage, spread_ms};
use crate::records::launch::{StoredLaunch, create};
use futures_util::future::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;

/// The pause before a call is repeated that has told nothing, in milliseconds, before it is spread by a fifth. An
/// allocator of Agones knows of a server that it has given only after a moment: three seconds at the least.
const UNKNOWN_PAUSE_MS: i64 = 4_000;
/// The pause before a server that has not stopped yet is looked at again, in milliseconds.
const RELEASE_PAUSE_MS: i64 = 2_000;
/// How many times the outcome of a call is tried to be stored against other changes.
const STORES_MAX: usize = 8;

/// A call of an allocator for a claimed attempt.
pub(super) struct Call {
    /// The launch, with its claim.
    pub seen: Seen,
    /// Whether an earlier call may have given the attempt a server.
    pub is_repeated: bool,
}

impl Launches {
    /// Calls the allocator for a claimed attempt. A repeated call first asks whether the attempt has a server.
    pub(super) fn start_call(
        self: &Arc<Self>,
        served: Arc<Allocating>,
        Call { seen, is_repeated }: Call,
        (permit, calling): (OwnedSemaphorePermit, Calling),
    ) {
        let Some(launch) = launch_of(&seen) else {
            // The line may have waited for this call.
            lock(&self.lines).answered(&seen.line(), seen.record().id, None);
            return;
        };
        let launches = Arc::clone(self);
        self.calls.spawn(async move {
            let id = seen.record().id;
            let placement = launches.call(&served, &launch, is_repeated).await;
            // Given back before the outcome is stored: the next call need not wait for that.
            drop(permit);
            launches.wake_ups.wake(served.starts.next());
            if let Err(failure) = launches.finish_call(&served, &seen, placement).await {
                tracing::error!(
                    session_id = %seen.record().session_id, allocation_id = launch.allocation_id, %failure,
                    "the outcome of a launch could not be stored; the allocator is asked again"
                );
            }
            drop(calling);
            launches.wake_ups.wake([id]);
        });
    }

    async fn call(&self, served: &Allocating, launch: &Launch, is_repeated: bool) -> Placement {
        let work = async {
            if is_repeated {
                match served.allocator.find(&launch.allocation_id).await {
                    Found::Placed(placed) => return Placement::Placed(placed),
                    Found::Absent => {}
                    found @ (Found::Starting | Found::CannotTell) => {
                        let is_starting = found == Found::Starting;
                        let detail = "the allocator cannot tell whether there is a server".into();
                        return Placement::Unknown { retry_after: None, is_starting, detail };
                    }
                }
            }
            served.allocator.place(launch).await
        };
        let no_answer = || "the call took too long, or panicked".into();
        let answer = self.bounded(served, work).await;
        let lost = || Placement::Unknown { retry_after: None, is_starting: false, detail: no_answer() };
        answer.unwrap_or_else(lost)
    }

    /// The result of a call; `None` if it takes too long or panics.
    async fn bounded<T>(&self, served: &Allocating, call: impl Future<Output = T>) -> Option<T> {
        let call = AssertUnwindSafe(call).catch_unwind();
        match tokio::time::timeout(served.timeout(), call).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) => {
                self.metrics.panicked();
                tracing::error!("a call of an allocator panicked");
                None
            }
            Err(_) => None,
        }
    }

    /// Stores the outcome of a call.
    async fn finish_call(
        &self,
        served: &Allocating,
        called: &Seen,
        placement: Placement,
    ) -> Result<(), Failure> {
        let (record, line) = (called.record(), called.line());
        self.note_readiness(served, record, &placement);
        let later = match &placement {
            Placement::Later { retry_after, .. } => {
                let pause_ms = retry_after.map_or_else(|| lock(&self.lines).next_pause_ms(&line), whole_ms);
                Some((self.clock.up_ms(), spread_ms(pause_ms, self.entropy.fraction())))
            }
            _ => None,
        };
        lock(&self.lines).answered(&line, record.id, later);
        for _ in 0..STORES_MAX {
            let seen = self.seen(record.id).await?;
            let has_it = |seen: &Seen| seen.record().allocation_id() == record.allocation_id();
            let Some(seen) = seen.filter(has_it) else {
                self.give_back(record, &placement);
                return Ok(());
            };
            let is_placed = matches!(placement, Placement::Placed(_));
            if !is_placed && seen.instance().is_none_or(Instance::has_host_spoken) {
                // There is a server, whatever the answer says; or nobody needs one. The next look sees to that.
                return Ok(());
            }
            let committed = match (&seen.record().stage, &placement) {
                (Stage::Releasing(_), Placement::Placed(placed)) => {
                    self.store_handle(&seen.stored, &placed.handle).await?
                }
                // This node was suspended, and another one calls now. Only its answer counts; a server is a server.
                (Stage::Claimed(claim), _) if is_placed || claim.node == self.node => {
                    self.store_outcome(&seen, &placement, later, &served.rules).await?
                }
                // The server has spoken before this answer came.
                (Stage::Up { server, .. }, Placement::Placed(_)) if server.handle.is_none() => {
                    self.store_outcome(&seen, &placement, later, &served.rules).await?
                }
                // Handed over for release, or placed by another node that has repeated the call.
                _ => return Ok(()),
            };
            if committed == Committed::Done {
                if later.is_some() {
                    lock(&self.lines).enter(&line, record.requested_ms, record.id);
                }
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    async fn store_outcome(
        &self,
        seen: &Seen,
        placement: &Placement,
        later: Option<(i64, i64)>,
        rules: &LaunchRules,
    ) -> Result<Committed, Failure> {
        let (record, now_ms) = (seen.record(), self.clock.now_ms());
        match placement {
            Placement::Placed(placed) => self.place(seen, placed, rules).await,
            Placement::Never { reason, .. } => {
                // Nothing was taken: without an allocation, nothing is left to be released.
                let reason = failure_of(*reason);
                let Some(next) = record.clone().postponed(reason, (0, now_ms), rules) else {
                    return Ok(Committed::Done);
                };
                if self.begin_again(seen, next, None).await? == Committed::LookAgain {
                    return Ok(Committed::LookAgain);
                }
                match self.seen(record.id).await? {
                    Some(seen) => self.fail(&seen, reason).await,
                    None => Ok(Committed::Done),
                }
            }
            Placement::Later { reason, .. } => {
                let pause_ms = later.map_or(UNKNOWN_PAUSE_MS, |(_, pause_ms)| pause_ms);
                let Some(next) = record.clone().postponed(failure_of(*reason), (pause_ms, now_ms), rules)
                else {
                    return Ok(Committed::Done);
                };
                self.begin_again(seen, next, None).await
            }
            Placement::Unknown { retry_after, .. } => {
                let pause_ms = retry_after.map_or(UNKNOWN_PAUSE_MS, whole_ms);
                let pause_ms = spread_ms(pause_ms, 0.5 + self.entropy.fraction() / 2.0);
                let Some(next) = record.clone().repeated_after(pause_ms, now_ms, rules) else {
                    return Ok(Committed::Done);
                };
                self.store(&seen.stored, next).await
            }
        }
    }

    /// The launch has gone on without this call. A server that the call has taken, or may have taken, is handed over
    /// for release.
    fn give_back(&self, called: &LaunchRecord, placement: &Placement) {
        let handle = match placement {
            Placement::Placed(placed) => Some(placed.handle.clone()),
            Placement::Unknown { .. } => None,
            Placement::Later { .. } | Placement::Never { .. } => return,
        };
        let Some(release) = called.released_apart(self.clock.now_ms()) else { return };
        let release = match handle {
            Some(handle) => release.clone().with_handle(handle).unwrap_or(release),
            None => release,
        };
        lock(&self.given_back).push(release);
    }

    /// Stores the releases of servers that came too late. One that cannot be stored is tried again by the next round.
    pub(super) async fn store_given_back(&self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        let given_back = std::mem::take(&mut *lock(&self.given_back));
        for release in given_back {
            let stored = self.store_release(&release).await;
            if !matches!(stored, Ok(Committed::Done)) {
                lock(&self.given_back).push(release);
            }
            outcome = Failure::worse(outcome, stored.map(drop));
        }
        outcome
    }

    /// Stores the release of an allocation, unless it is stored already.
    async fn store_release(&self, release: &LaunchRecord) -> Result<Committed, Failure> {
        match (self.sessions.stored_launch(release.id).await?, release.handle()) {
            (Some(stored), Some(handle)) => self.store_handle(&stored, handle).await,
            (Some(_), None) => Ok(Committed::Done),
            (None, _) if self.commit(create(release)).await? => {
                self.wake_ups.wake([release.id]);
                Ok(Committed::Done)
            }
            (None, _) => Ok(Committed::LookAgain),
        }
    }

    /// Stores the allocator's name for a server that is released, if it was not known.
    async fn store_handle(&self, before: &StoredLaunch, handle: &str) -> Result<Committed, Failure> {
        match before.record.clone().with_handle(handle.to_owned()) {
            Some(named) => self.store(before, named).await,
            None => Ok(Committed::Done),
        }
    }

    /// Notes whether the allocator works, for the metrics, and for the log once a minute.
    fn note_readiness(&self, served: &Allocating, record: &LaunchRecord, placement: &Placement) {
        let (is_ready, detail) = match placement {
            Placement::Placed(_) => (true, None),
            Placement::Unknown { is_starting: true, .. } => (true, None),
            Placement::Unknown { detail, .. } => (false, Some(detail)),
            Placement::Later { reason, detail, .. } | Placement::Never { reason, detail } => {
                (!matches!(reason, Reason::Unavailable | Reason::Misconfigured), Some(detail))
            }
        };
        self.metrics.launches.set_ready(&record.allocator, is_ready);
        if let Some(detail) = detail.filter(|_| served.may_log(&self.clock)) {
            tracing::warn!(
                allocator = record.allocator, session_id = %record.session_id, is_ready, detail,
                "the allocator has given no server; further such lines come once a minute"
            );
        }
    }

    /// Calls the allocator to stop a server.
    pub(super) fn start_release(
        self: &Arc<Self>,
        seen: Seen,
        served: Arc<Allocating>,
        is_hard: bool,
    ) -> Result<Committed, Failure> {
        let Some(permit) = served.stops.take() else {
            return Ok(self.wait_for_permit(&served.stops, seen.record()));
        };
        let id = seen.record().id;
        let calling = self.in_flight.enter(id);
        let launches = Arc::clone(self);
        self.calls.spawn(async move {
            let released = launches.release(&served, seen.record(), is_hard).await;
            drop(permit);
            launches.wake_ups.wake(served.stops.next());
            if let Err(failure) = launches.finish_release(&seen, released).await {
                tracing::error!(%failure, "the end of a server could not be stored; the allocator is asked again");
            }
            drop(calling);
            launches.wake_ups.wake([id]);
        });
        Ok(Committed::Done)
    }

    /// Calls the allocator to stop the server of a launch.
    pub(super) async fn release(
        &self,
        served: &Allocating,
        record: &LaunchRecord,
        is_hard: bool,
    ) -> Released {
        let mode = if is_hard { ReleaseMode::Hard } else { ReleaseMode::Soft };
        let allocation_id = record.allocation_id().unwrap_or_default();
        let call = served.allocator.release(allocation_id, record.handle(), mode);
        self.bounded(served, call).await.unwrap_or(Released::Later)
    }

    async fn finish_release(&self, called: &Seen, released: Released) -> Result<(), Failure> {
        for _ in 0..STORES_MAX {
            let Some(seen) = self.seen(called.record().id).await? else { return Ok(()) };
            let committed = match released {
                Released::Gone => {
                    lock(&self.lines).end_pauses(&seen.record().allocator, self.clock.up_ms());
                    self.forget(&seen.stored).await?
                }
                Released::Later => {
                    let again = seen.record().clone().still_there(RELEASE_PAUSE_MS, self.clock.now_ms());
                    let Some(again) = again else { return Ok(()) };
                    self.store(&seen.stored, again).await?
                }
            };
            if committed == Committed::Done {
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }
}

/// What the allocator gets to know of a launch. `None` if the session has no use for it any more.
fn launch_of(seen: &Seen) -> Option<Launch> {
    let (record, instance) = (seen.record(), seen.instance()?);
    let session = &seen.session.as_ref()?.session;
    Some(Launch {
        allocation_id: record.allocation_id()?.to_owned(),
        session_id: record.session_id.clone(),
        instance_id: record.instance_id.clone(),
        session_type: session.session_type.clone(),
        region_id: session.region_id.clone(),
        region: record.region.clone(),
        startup_params: instance.startup_params.clone(),
        custom_data: instance.custom_data.clone(),
        version: leaders_version(session),
        requested_at: instance.created,
        attempt: record.attempt,
    })
}

fn leaders_version(session: &Session) -> Option<String> {
    let leader = session.players.get(&session.leader()?)?;
    leader.client.as_ref().map(|client| client.version.clone())
}

fn failure_of(reason: Reason) -> LaunchFailure {
    match reason {
        Reason::NoCapacity | Reason::NoPort => LaunchFailure::NoCapacity,
        Reason::Unavailable => LaunchFailure::Unavailable,
        Reason::Refused => LaunchFailure::Refused,
        Reason::Misconfigured => LaunchFailure::Misconfigured,
    }
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The server of an allocation, if it has one. `None` if that cannot be told now.
pub(super) async fn find(served: &Allocating, allocation_id: &str) -> Option<Option<Placed>> {
    let call = AssertUnwindSafe(served.allocator.find(allocation_id)).catch_unwind();
    match tokio::time::timeout(served.timeout(), call).await {
        Ok(Ok(Found::Placed(placed))) => Some(Some(placed)),
        Ok(Ok(Found::Absent)) => Some(None),
        _ => None,
    }
}
