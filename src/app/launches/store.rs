//! The commits of launches. Where the session changes too, both change in one commit, which expects that nobody else
//! has changed either of them.

use std::sync::Arc;

use uuid::Uuid;

use super::in_flight::Calling;
use super::look::Seen;
use super::{Launches, lock};
use crate::allocators::Placed;
use crate::app::{CachedSession, Failure, Update};
use crate::domain::instance::{DedicatedHost, Instance, JoinParams, JoinStatus};
use crate::domain::launch::{FAILURE_ENTRY, LaunchFailure, LaunchRecord, LaunchRules, Stage};
use crate::domain::{CustomData, Refused, Session};
use crate::records::keys;
use crate::records::launch::{self, StoredLaunch, live_launch};
use crate::store::{Batch, CommitError};

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// It is done.
    Done,
    /// The launch has changed meanwhile, or something else may be due now.
    LookAgain,
    /// Nothing is done, because only other nodes know the rules.
    Left {
        /// When this node looks again, in milliseconds since the epoch.
        until_ms: i64,
    },
}

/// The instance of a launch, for a rule. Refuses if the session has no use for the launch any more.
fn instance_of(session: &mut Session, launch: Uuid) -> Result<&mut Instance, Refused> {
    let is_live = live_launch(session).is_some_and(|(link, _)| link.id == launch);
    session.instance.as_mut().filter(|_| is_live).ok_or(Refused::InstanceNotFound)
}

impl Launches {
    /// Stores the next stage of a launch, which does not concern its session.
    pub(super) async fn store(
        &self,
        before: &StoredLaunch,
        after: LaunchRecord,
    ) -> Result<Committed, Failure> {
        if !self.commit(launch::replace(before, Some(&after))).await? {
            return Ok(Committed::LookAgain);
        }
        self.log_stage(&before.record, &after);
        self.wake_ups.wake([after.id]);
        Ok(Committed::Done)
    }

    /// Deletes a launch for which nothing is left to do.
    pub(super) async fn forget(&self, stored: &StoredLaunch) -> Result<Committed, Failure> {
        if !self.commit(launch::replace(stored, None)).await? {
            return Ok(Committed::LookAgain);
        }
        let record = &stored.record;
        if let Some(allocation_id) = record.allocation_id() {
            lock(&self.by_allocation).remove(allocation_id);
            lock(&self.exited).remove(allocation_id);
        }
        self.log("the launch is over", record, record.stage.name());
        Ok(Committed::Done)
    }

    /// Hands the server of a launch that no session wants over for release. `rules` is `None` if no node knows them.
    pub(super) async fn hand_over(
        &self,
        seen: &Seen,
        rules: Option<&LaunchRules>,
    ) -> Result<Committed, Failure> {
        match seen.record().released(self.clock.now_ms(), false, rules) {
            Some(released) => self.store(&seen.stored, released).await,
            None => self.forget(&seen.stored).await,
        }
    }

    /// Claims an attempt for this node, and marks the launch as in flight. `None` if the launch has changed meanwhile.
    pub(super) async fn claim(
        &self,
        seen: &Seen,
        rules: &LaunchRules,
    ) -> Result<Option<(Seen, Calling)>, Failure> {
        let record = seen.record();
        let new_id = self.entropy.uuid();
        let claimed = record.clone().claimed(self.node, new_id, self.clock.now_ms(), rules);
        let allocation_id = claimed.allocation_id().map(ToOwned::to_owned);
        let id = record.id;
        let calling = self.in_flight.enter(id);
        let rule = move |session: &mut Session| {
            instance_of(session, id)?.allocation_id = allocation_id;
            Ok(())
        };
        let committed = self.change(seen, rule, launch::replace(&seen.stored, Some(&claimed))).await?;
        if committed == Committed::LookAgain {
            return Ok(None);
        }
        self.log_stage(record, &claimed);
        // The version is that of the commit just made.
        let seen = self.seen(id).await?;
        let is_own = |seen: &Seen| seen.record().node() == Some(self.node) && seen.instance().is_some();
        Ok(seen.filter(is_own).map(|seen| (seen, calling)))
    }

    /// Stores the server that an allocation was given. Returns whether the launch still had the allocation.
    pub(super) async fn place(
        &self,
        seen: &Seen,
        placed: &Placed,
        rules: &LaunchRules,
    ) -> Result<Committed, Failure> {
        let record = seen.record();
        let now_ms = self.clock.now_ms();
        let Some(after) = record.clone().placed(self.node, placed.handle.clone(), now_ms, rules) else {
            return Ok(Committed::LookAgain);
        };
        if seen.instance().is_none() {
            // Overtaken: the server goes straight back.
            let released = after.released(now_ms, false, Some(rules)).unwrap_or(after);
            return self.store(&seen.stored, released).await;
        }
        let (id, host) = (record.id, dedicated_host(&placed.handle));
        let join_params =
            rules.prefill_join_params.then(|| join_params(placed, &rules.conn_format)).flatten();
        let rule = move |session: &mut Session| {
            let instance = instance_of(session, id)?;
            if instance.join_status == JoinStatus::Requested {
                instance.join_status = JoinStatus::Allocated;
            }
            instance.dedicated_host = Some(host);
            instance.join_params = instance.join_params.take().or(join_params);
            Ok(())
        };
        let committed = self.change(seen, rule, launch::replace(&seen.stored, Some(&after))).await?;
        if committed == Committed::Done {
            self.log_stage(record, &after);
        }
        Ok(committed)
    }

    /// Stores that an attempt begins again, after "later" or as the next attempt: the instance has no allocation, and
    /// nothing that a server of an earlier attempt has told.
    pub(super) async fn begin_again(
        &self,
        seen: &Seen,
        next: LaunchRecord,
        release: Option<LaunchRecord>,
    ) -> Result<Committed, Failure> {
        let mut writes = launch::replace(&seen.stored, Some(&next));
        if let Some(release) = &release {
            writes = writes.and(launch::create(release));
        }
        let id = next.id;
        let rule = move |session: &mut Session| {
            let instance = instance_of(session, id)?;
            if instance.has_host_spoken() {
                // Since it was looked at. The players' state is on its server.
                return Err(Refused::InstanceNotFound);
            }
            instance.allocation_id = None;
            instance.join_status = JoinStatus::Requested;
            (instance.join_params, instance.version, instance.health) = (None, None, None);
            (instance.match_id, instance.dedicated_host) = (None, None);
            Ok(())
        };
        let committed = self.change(seen, rule, writes).await?;
        if committed == Committed::Done {
            self.log_stage(seen.record(), &next);
        }
        Ok(committed)
    }

    /// Closes the instance of a launch that has failed.
    pub(super) async fn fail(&self, seen: &Seen, reason: LaunchFailure) -> Result<Committed, Failure> {
        let committed = self.close(seen, reason).await?;
        if committed == Committed::Done {
            self.log_failed(seen.record(), reason);
        }
        Ok(committed)
    }

    /// Closes the instance of a launch, and says why. The same commit hands its server over for release.
    pub(super) async fn close(&self, seen: &Seen, reason: LaunchFailure) -> Result<Committed, Failure> {
        let id = seen.record().id;
        let had_spoken = seen.instance().is_some_and(Instance::has_host_spoken);
        let rule = move |session: &mut Session| {
            let instance = instance_of(session, id)?;
            if instance.has_host_spoken() != had_spoken {
                // Since it was looked at. Other rules hold now.
                return Err(Refused::InstanceNotFound);
            }
            instance.custom_data.insert(FAILURE_ENTRY.into(), reason.name().into());
            session.close_instance();
            Ok(())
        };
        let unchanged = Batch::default().expect_version(keys::launch(id), seen.stored.version);
        self.change(seen, rule, unchanged).await
    }

    /// Changes the session and the record of a launch in one commit. A session that has no use for the launch any more
    /// is a reason to look again, as a change by somebody else is.
    async fn change<R>(&self, seen: &Seen, rule: R, writes: Batch) -> Result<Committed, Failure>
    where
        R: FnOnce(&mut Session) -> Result<(), Refused> + Send + 'static,
    {
        match self.update(seen, rule, writes).await {
            Ok(Some(_)) => Ok(Committed::Done),
            Ok(None) | Err(Failure::Refused(_)) => Ok(Committed::LookAgain),
            Err(failure) => Err(failure),
        }
    }

    /// Changes the session of a launch, together with further writes. `None` if the session or the launch has changed
    /// meanwhile.
    pub(super) async fn update<R>(
        &self,
        seen: &Seen,
        rule: R,
        writes: Batch,
    ) -> Result<Option<Arc<CachedSession>>, Failure>
    where
        R: FnOnce(&mut Session) -> Result<(), Refused> + Send + 'static,
    {
        let update = Update::by_server(false);
        let session_id = &seen.record().session_id;
        let updated = Box::pin(self.sessions.update_with(session_id, update, rule, writes)).await?;
        Ok(updated.map(|((), session)| session))
    }

    /// Commits writes that concern no session. Returns whether their expectations held.
    pub(super) async fn commit(&self, writes: Batch) -> Result<bool, Failure> {
        match self.sessions.commit_batch(writes).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// One line in the log for each new stage of a launch. A call of the allocator and its "later" are no progress: an
    /// allocator that is away has lines of its own.
    pub(super) fn log_stage(&self, before: &LaunchRecord, after: &LaunchRecord) {
        self.metrics.launches.moved(before, after, self.clock.now_ms());
        let is_call = matches!(
            (&before.stage, &after.stage),
            (Stage::Wanted { .. }, Stage::Claimed(_)) | (Stage::Claimed(_), Stage::Wanted { .. })
        );
        if before.stage.name() != after.stage.name() && !is_call {
            self.log("a launch goes on", after, before.stage.name());
        }
    }

    fn log(&self, message: &str, record: &LaunchRecord, from: &str) {
        tracing::info!(
            session_id = %record.session_id,
            instance_id = record.instance_id,
            allocator = record.allocator,
            allocation_id = record.allocation_id(),
            attempt = record.attempt,
            handle = record.handle(),
            from,
            stage = record.stage.name(),
            "{message}"
        );
    }

    pub(super) fn log_failed_attempt(&self, record: &LaunchRecord, reason: LaunchFailure) {
        self.metrics.launches.attempt_failed(record, reason);
        let status = record.allocation_id().and_then(|id| lock(&self.exited).get(id).cloned());
        tracing::warn!(
            session_id = %record.session_id,
            instance_id = record.instance_id,
            allocator = record.allocator,
            allocation_id = record.allocation_id(),
            attempt = record.attempt,
            handle = record.handle(),
            reason = reason.name(),
            status,
            "an attempt to launch a server has failed"
        );
    }

    fn log_failed(&self, record: &LaunchRecord, reason: LaunchFailure) {
        self.log_failed_attempt(record, reason);
        self.metrics.launches.failed(&record.allocator, reason);
        if matches!(record.stage, Stage::Wanted { .. }) {
            // Nothing is left of the launch.
            lock(&self.lines).forget_old(self.clock.up_ms());
        }
    }
}

/// The machine and the process in an allocator's name for a server: `machine/process`, or the name alone.
fn dedicated_host(handle: &str) -> DedicatedHost {
    match handle.split_once('/') {
        Some((server_id, process_id)) => {
            DedicatedHost { server_id: server_id.into(), process_id: Some(process_id.into()) }
        }
        None => DedicatedHost { server_id: handle.into(), process_id: None },
    }
}

/// How to connect to a server that does not say so itself, if the allocator knows its address. Published clients prefer
/// the public address, so an address of a private network is not given as one.
fn join_params(placed: &Placed, format: &str) -> Option<JoinParams> {
    let (host, port) = (placed.host.as_deref()?, placed.port?);
    let address = format.replace("{host}", host).replace("{port}", &port.to_string());
    let is_private = host.parse().is_ok_and(|address: std::net::Ipv4Addr| address.is_private());
    let (public_conn_str, private_conn_str) =
        if is_private { (String::new(), address) } else { (address, String::new()) };
    Some(JoinParams { public_conn_str, private_conn_str, custom_data: CustomData::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_private_network_is_not_given_as_the_public_one() {
        let known = |host: &str, port| Placed { handle: "h".into(), host: Some(host.into()), port };
        for (host, public, private) in [
            ("203.0.113.7", "udp://203.0.113.7:7777", ""),
            ("games.example.com", "udp://games.example.com:7777", ""),
            ("127.0.0.1", "udp://127.0.0.1:7777", ""),
            ("172.32.0.1", "udp://172.32.0.1:7777", ""),
            ("10.1.2.3", "", "udp://10.1.2.3:7777"),
            ("172.31.255.1", "", "udp://172.31.255.1:7777"),
            ("192.168.1.5", "", "udp://192.168.1.5:7777"),
        ] {
            let params = join_params(&known(host, Some(7777)), "udp://{host}:{port}").unwrap();
            let shown = (&params.public_conn_str[..], &params.private_conn_str[..]);
            assert_eq!(shown, (public, private), "{host}");
        }
        assert_eq!(join_params(&known("203.0.113.7", None), "{host}:{port}"), None);
        let unknown = Placed { host: None, ..known("", Some(7777)) };
        assert_eq!(join_params(&unknown, "{host}:{port}"), None);
    }
}
