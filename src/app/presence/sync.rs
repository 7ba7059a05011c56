//! Presence sync. Players ask, and hosts report, at any node, so a node must know what others have seen before it acts on a
//! timeout. Only used if several nodes serve one store.
//!
//! The stored value stands beside the session, since a heartbeat does not change the session. A node adds to the value what
//! it has seen, so nothing is lost, whichever node writes last.

use std::sync::{MutexGuard, PoisonError};

use futures_util::future::{join_all, try_join_all};

use super::Presence;
use crate::app::Failure;
use crate::app::sessions::ATTEMPTS_MAX;
use crate::domain::SessionId;
use crate::records::{LastSeen, keys};
use crate::store::{Batch, CommitError, Key, StoreError, next_key};

/// Sessions whose news are written at once.
const SYNCED_AT_ONCE: usize = 64;
/// Sessions read at once: requests of clients must not wait long behind them.
const READ_AT_ONCE: usize = 128;
/// Sessions checked in each round for any that no node watches any more.
const SCANNED_AT_ONCE: usize = 2_048;

impl Presence {
    /// Shares with other nodes what this one has seen, and watches sessions that lost nodes have left. What fails is
    /// tried again next time.
    pub async fn sync(&self) -> Result<(), Failure> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        let mut result = Ok(());
        for news in self.table.take_unsynced(self.clock.now_ms()).chunks(SYNCED_AT_ONCE) {
            if result.as_ref().is_err_and(Failure::is_store_away) {
                news.iter().for_each(|(id, _)| self.table.sync_again(id));
                continue;
            }
            let pushes = news.iter().map(|(id, last_seen)| self.push(id, last_seen));
            for ((id, _), pushed) in news.iter().zip(join_all(pushes).await) {
                if pushed.as_ref().is_ok_and(|pushed| *pushed) {
                    continue;
                }
                self.table.sync_again(id);
                result = result.and(pushed.map(drop));
            }
        }
        result.and(self.watch_orphans().await)
    }

    /// Adds what other nodes have seen in a session.
    pub(super) async fn pull(&self, id: &SessionId) -> Result<(), StoreError> {
        if self.sessions.store().sole_writer() {
            return Ok(());
        }
        if let Some(entry) = self.sessions.store().get(&keys::last_seen(id)).await? {
            self.table.merge(id, LastSeen::decode(&entry.value)?);
        }
        Ok(())
    }

    /// Shares the news of a session at once: if this node were lost, others would go by what was known before.
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

    /// Adds to what is stored for a session; `false` if another node was faster.
    async fn push(&self, id: &SessionId, last_seen: &LastSeen) -> Result<bool, Failure> {
        let Some(cached) = self.sessions.stored(id).await? else {
            self.table.forget(id);
            return Ok(true);
        };
        let key = keys::last_seen(id);
        // If the session has ended, nothing may be left behind.
        let batch = Batch::default().expect_version(keys::session(id), cached.version);
        let (batch, mut known) = match self.sessions.store().get(&key).await? {
            Some(entry) => {
                (batch.expect_version(key.clone(), entry.version), LastSeen::decode(&entry.value)?)
            }
            None => (batch.expect_absent(key.clone()), LastSeen::default()),
        };
        known.merge(last_seen.clone(), &self.health_rules);
        known.heartbeat_ms.retain(|player, _| cached.is_active(*player));
        match self.sessions.store().commit(batch.put(key, known.encode())).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Watches every stored session in which something can time out: after a start the table is empty.
    pub async fn watch_stored(&self) -> Result<(), Failure> {
        let (mut from, to) = keys::all_watched();
        loop {
            let found = self.sessions.store().scan(&from, &to, SCANNED_AT_ONCE).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            from = next_key(last);
            self.watch(found.iter().filter_map(|(key, _)| keys::parse_watched(key)).collect()).await?;
        }
    }

    /// Goes on through the stored sessions in which something can time out, and watches those that this node does not
    /// watch yet. In time it reaches all of them, also those that a lost node watched.
    async fn watch_orphans(&self) -> Result<(), Failure> {
        let (start, end) = keys::all_watched();
        let from = self.lock_cursor().take().unwrap_or(start);
        let found = self.sessions.store().scan(&from, &end, SCANNED_AT_ONCE).await?;
        let found_ids = found.iter().filter_map(|(key, _)| keys::parse_watched(key));
        self.watch(found_ids.filter(|id| !self.table.watches(id)).collect()).await?;
        let is_last = found.len() < SCANNED_AT_ONCE;
        *self.lock_cursor() = found.last().filter(|_| !is_last).map(|(last, _)| next_key(last));
        Ok(())
    }

    /// Watches these sessions from now on, as far as they are there.
    async fn watch(&self, ids: Vec<SessionId>) -> Result<(), StoreError> {
        for ids in ids.chunks(READ_AT_ONCE) {
            let watching = ids.iter().map(async |id| {
                if let Some(cached) = self.sessions.stored(id).await? {
                    self.table.observe(&cached.session, self.clock.now_ms());
                }
                Ok::<_, StoreError>(())
            });
            try_join_all(watching).await?;
        }
        Ok(())
    }

    fn lock_cursor(&self) -> MutexGuard<'_, Option<Key>> {
        self.watch_cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
