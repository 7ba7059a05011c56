//! Presence sync between nodes that share a store. Heartbeats and health reports arrive at any node, so a node must
//! know those of the other nodes before it acts on a timeout.
//!
//! Nodes share them in a presence record per session. The record is not part of the session, because a heartbeat must
//! not change the session's version. A node merges its own heartbeats and reports into the record, so none is lost,
//! whichever node writes last.

use std::sync::{MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::Presence;
use crate::app::Failure;
use crate::app::isolate::isolate;
use crate::app::sessions::ATTEMPTS_MAX;
use crate::domain::SessionId;
use crate::records::{LastSeen, keys};
use crate::store::{Batch, CommitError, Key, StoreError, next_key};

/// Presence records written at once.
const SYNCED_AT_ONCE: usize = 64;
/// Sessions read at once: few enough not to delay callers.
const READ_AT_ONCE: usize = 128;
/// Keys of watched sessions read at once, and in each round of the search for sessions that no node watches.
const SCANNED_AT_ONCE: usize = 2_048;

impl Presence {
    /// Stores the heartbeats and reports that other nodes do not have yet, then watches sessions that no node may watch
    /// any more. A record that cannot be written is tried again by the next call. Does nothing if this node is alone.
    ///
    /// # Errors
    /// The worst failure; see [`Failure::worse`].
    pub async fn sync(&self) -> Result<(), Failure> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        let mut result = Ok(());
        for unsynced in self.table.take_unsynced(self.clock.now_ms()).chunks(SYNCED_AT_ONCE) {
            if result.as_ref().is_err_and(Failure::is_store_away) {
                for (id, _) in unsynced {
                    self.table.sync_again(id);
                }
                continue;
            }
            let pushes =
                unsynced.iter().map(|(id, last_seen)| isolate(&self.metrics, id, self.push(id, last_seen)));
            for ((id, _), pushed) in unsynced.iter().zip(join_all(pushes).await) {
                match pushed {
                    Ok(true) => {}
                    Ok(false) => self.table.sync_again(id),
                    Err(failure) => {
                        self.table.sync_again(id);
                        result = Failure::worse(result, Err(failure));
                    }
                }
            }
        }
        Failure::worse(result, self.watch_orphans().await)
    }

    /// Reads the presence record of a session, and merges it into the table.
    pub(super) async fn pull(&self, id: &SessionId) -> Result<(), StoreError> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        if let Some(entry) = self.sessions.store().get(&keys::last_seen(id)).await? {
            self.table.merge(id, LastSeen::decode(&entry.value)?);
        }
        Ok(())
    }

    /// Stores what this node knows of a session at once. Otherwise a crash of this node could lose a report, and the
    /// other nodes would act on older ones.
    pub(super) async fn push_now(&self, id: &SessionId) -> Result<(), Failure> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS_MAX {
            let Some(last_seen) = self.table.last_seen_of(id) else { return Ok(()) };
            if self.push(id, &last_seen).await? {
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    /// Merges into the presence record of a session. Returns `false` if another node changed the record or the session
    /// first.
    async fn push(&self, id: &SessionId, last_seen: &LastSeen) -> Result<bool, Failure> {
        let Some(cached) = self.sessions.stored(id).await? else {
            self.table.forget(id);
            return Ok(true);
        };
        let key = keys::last_seen(id);
        // Expects the session, so that no record is left behind if the session has just ended.
        let batch = Batch::default().expect_version(keys::session(id), cached.version);
        let (batch, mut merged) = match self.sessions.store().get(&key).await? {
            Some(entry) => {
                (batch.expect_version(key.clone(), entry.version), LastSeen::decode(&entry.value)?)
            }
            None => (batch.expect_absent(key.clone()), LastSeen::default()),
        };
        merged.merge(last_seen.clone(), &self.health_rules);
        merged.heartbeat_ms.retain(|player, _| cached.is_active(*player));
        match self.sessions.store().commit(batch.put(key, merged.encode())).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Watches every stored session in which something can time out. Called at the start, when the table is empty.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn watch_stored(&self) -> Result<(), Failure> {
        let (mut from, to) = keys::all_watched();
        loop {
            let found = self.sessions.store().scan(&from, &to, SCANNED_AT_ONCE).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            from = next_key(last);
            self.watch(found.iter().filter_map(|(key, _)| keys::parse_watched(key)).collect()).await?;
        }
    }

    /// Reads the next sessions in which something can time out, and watches those that this node does not watch yet.
    /// After enough rounds this has covered all sessions, including those that only a lost node watched.
    async fn watch_orphans(&self) -> Result<(), Failure> {
        let (start, end) = keys::all_watched();
        let from = self.lock_cursor().take().unwrap_or(start);
        let found = self.sessions.store().scan(&from, &end, SCANNED_AT_ONCE).await?;
        let found_ids = found.iter().filter_map(|(key, _)| keys::parse_watched(key));
        self.watch(found_ids.filter(|id| !self.table.watches(id)).collect()).await?;
        if found.len() == SCANNED_AT_ONCE {
            *self.lock_cursor() = found.last().map(|(last, _)| next_key(last));
        }
        Ok(())
    }

    /// Watches these sessions from now on. Sessions that do not exist any more are skipped. A session that cannot be
    /// read keeps no other from being watched.
    ///
    /// # Errors
    /// The first failure that concerns more than one session. Other failures are logged.
    async fn watch(&self, ids: Vec<SessionId>) -> Result<(), Failure> {
        let (mut failed_count, mut last_failure) = (0_usize, None);
        for ids in ids.chunks(READ_AT_ONCE) {
            let watch = async |id| {
                if let Some(cached) = self.sessions.stored(id).await? {
                    self.table.observe(&cached.session, self.clock.now_ms());
                }
                Ok(())
            };
            let watched = ids.iter().map(|id| isolate(&self.metrics, id, watch(id)));
            for (id, watched) in ids.iter().zip(join_all(watched).await) {
                match watched {
                    Ok(()) => {}
                    Err(failure) if failure.is_of_one_session() => {
                        failed_count += 1;
                        last_failure = Some((id.clone(), failure));
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        // One line for all of them: each round finds them again.
        if let Some((id, error)) = last_failure {
            tracing::warn!(count = failed_count, session_id = %id, %error, "timeouts of sessions are not watched");
        }
        Ok(())
    }

    fn lock_cursor(&self) -> MutexGuard<'_, Option<Key>> {
        self.watch_cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
