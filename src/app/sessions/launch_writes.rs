//! The launch of a session's instance changes in the same commit as the session: a request stores it, and whatever ends
//! the instance hands its server over for release. So the store never has an instance without its launch, and never
//! loses a server whose instance has ended.
//!
//! A change that neither requests nor ends a launched instance reads and writes nothing for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Sessions;
use super::cached::CachedSession;
use crate::app::Failure;
use crate::app::launches::WakeUps;
use crate::crash_point;
use crate::domain::instance::{Health, Instance};
use crate::domain::launch::{LaunchLink, LaunchRecord, LaunchRules};
use crate::domain::{PlayerUuid, Refused, Session};
use crate::records::keys;
use crate::records::launch::{self, StoredLaunch, live_launch};
use crate::store::{Batch, CommitError, StoreError, Version, prefix_end};

/// What the session service needs to know of launches.
#[derive(Default)]
pub struct LaunchHooks {
    /// The rules of each allocator that this node serves.
    pub rules: BTreeMap<String, LaunchRules>,
    /// Where launches are announced that need attention.
    pub wake_ups: Arc<WakeUps>,
}

/// What a change of a session means for launches.
#[derive(Default)]
pub(super) struct LaunchWrites {
    /// The writes.
    pub batch: Batch,
    /// The launches that need attention after the commit.
    pub news: Vec<Uuid>,
}

/// A launch that a change begins, with its instance.
fn begun<'a>(before: Option<&Session>, after: &'a Session) -> Option<(&'a LaunchLink, &'a Instance)> {
    let (link, instance) = live_launch(after)?;
    let known = before.and_then(live_launch).is_some_and(|(known, _)| known.id == link.id);
    (!known).then_some((link, instance))
}

/// The player who asks for a server with a change, and the allocator that is asked.
pub(super) fn player_who_asks<'a>(
    before: Option<&Session>,
    after: &'a Session,
) -> Option<(PlayerUuid, &'a str)> {
    let (link, instance) = begun(before, after)?;
    Some((instance.registrar?, &link.allocator))
}

impl Sessions {
    /// The writes for the launch that a change begins.
    pub(super) fn begin_launch(before: Option<&Session>, after: &Session) -> LaunchWrites {
        let Some((link, instance)) = begun(before, after) else { return LaunchWrites::default() };
        let record = LaunchRecord::wanted(link, &after.id, instance);
        LaunchWrites { batch: launch::create(&record), news: vec![record.id] }
    }

    /// The writes for the launch that a change begins, and for the one that it ends.
    pub(super) async fn plan_launches(
        &self,
        before: &Session,
        after: &Session,
    ) -> Result<LaunchWrites, StoreError> {
        let mut writes = Self::begin_launch(Some(before), after);
        let Some((link, instance)) = live_launch(before) else { return Ok(writes) };
        let stays = live_launch(after).filter(|(known, _)| known.id == link.id);
        if let Some((_, after)) = stays {
            if instance.join_status != after.join_status || instance.health != after.health {
                writes.news.push(link.id);
            }
            if instance.health != after.health && after.health == Some(Health::Unknown) {
                // From now on the server has a time-out, which would not begin if this node were killed before it
                // looks.
                writes.batch = writes.batch.and(launch::ask_for_look(link.id, self.clock.now_ms()));
            }
            return Ok(writes);
        }
        // An older build, or a damaged store, may have lost the record. Then nothing can be released.
        let Some(entry) = self.store.get(&keys::launch(link.id)).await? else { return Ok(writes) };
        let batch = match launch::decode(link.id, &entry.value) {
            Ok(record) => {
                let rules = self.launches.rules.get(&record.allocator);
                let released = record.released(self.clock.now_ms(), false, rules);
                launch::replace(&StoredLaunch { record, version: entry.version }, released.as_ref())
            }
            Err(damage) => {
                tracing::error!(
                    session_id = %before.id, allocator = link.allocator, allocation_id = instance.allocation_id, %damage,
                    "the launch of an instance that ends cannot be read, and is deleted; if its server still runs, stop it"
                );
                launch::discard(link, entry.version, instance.registrar)
            }
        };
        writes.batch = writes.batch.and(batch);
        writes.news.push(link.id);
        Ok(writes)
    }

    /// Commits a batch. A test can kill the server before and after each commit that writes a launch.
    pub async fn commit_batch(&self, batch: Batch) -> Result<Version, CommitError> {
        let is_of_launch = crash_point::EXIST && launch::is_written_by(&batch);
        if is_of_launch {
            crash_point::reached(crash_point::LAUNCH_STORE);
        }
        let committed = self.store.commit(batch).await;
        if is_of_launch && committed.is_ok() {
            crash_point::reached(crash_point::LAUNCH_STORED);
        }
        committed
    }

    /// Reads a launch alone.
    pub async fn stored_launch(&self, id: Uuid) -> Result<Option<StoredLaunch>, StoreError> {
        let Some(entry) = self.store.get(&keys::launch(id)).await? else { return Ok(None) };
        Ok(Some(StoredLaunch { record: launch::decode(id, &entry.value)?, version: entry.version }))
    }

    /// Reads a launch, and the session that wants it; the session is `None` if it has ended or is overdue. One commit
    /// stores both, but the cache gets the session a moment later. So this waits for the changes of the session that
    /// are under way on this node: otherwise a new launch would look as if nobody wanted it.
    pub async fn launch_and_session(
        &self,
        id: Uuid,
    ) -> Result<Option<(StoredLaunch, Option<Arc<CachedSession>>)>, StoreError> {
        let Some(stored) = self.stored_launch(id).await? else { return Ok(None) };
        let _lock = self.lock(&stored.record.session_id).await;
        let session = self.find_latest(&stored.record.session_id).await?;
        Ok(Some((stored, session)))
    }

    /// Refuses a further server for a player who has asked for as many as the rules allow. The limit of an allocator
    /// that this node does not serve is the default one.
    pub(super) async fn check_servers(&self, player: PlayerUuid, allocator: &str) -> Result<(), Failure> {
        let rules = self.launches.rules.get(allocator).cloned().unwrap_or_default();
        let servers_max = rules.servers_per_player_max;
        if servers_max == 0 {
            return Ok(());
        }
        let start = keys::launches_of_player(player, allocator);
        let end = prefix_end(&start);
        if self.store.scan(&start, &end, servers_max).await?.len() >= servers_max {
            return Err(Refused::TooManyServers.into());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "launch_writes_tests.rs"]
mod tests;
