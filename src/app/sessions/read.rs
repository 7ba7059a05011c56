//! Reading sessions.
//!
//! A session is *overdue* if its deadline has passed and no job has ended it yet. Clients must not see an overdue
//! session: every public read of a session treats it as not found. Only `stored` and `stored_by_platform_session`
//! return overdue sessions, to background work and to the code that ends them. `exists` and the lists in
//! [`super::lookup`] read index entries and not the sessions, so they may name an overdue session until the job has
//! ended it.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, MutexGuard, PoisonError};

use futures_util::future::try_join_all;

use super::Sessions;
use super::cache::PlatformKey;
use super::cached::CachedSession;
use crate::app::Failure;
use crate::domain::{Platform, PlayerUuid, Refused, SessionId};
use crate::env::ClockReading;
use crate::records::values::{decode_deadline, decode_session_id};
use crate::records::{StoredSession, keys};
use crate::store::{ConditionalRead, Entry, StoreError, Version};

/// What a reader notes before it reads a session from the store.
struct ReadStart {
    /// The number of changes of the session so far on this node.
    changes: u64,
    /// The time of the read, by both clocks.
    at: ClockReading,
}

impl Sessions {
    /// Finds a session. With several nodes the result may be `staleness_ms_max` old, but no older.
    pub async fn find(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let found = match self.cached_even_if_overdue(id.as_str()) {
            Some(cached) => Some(cached),
            None => self.stored(id).await?,
        };
        self.unless_overdue(found).await
    }

    /// Finds a session in its latest version, whichever node committed it. Changes start from this version.
    pub async fn find_latest(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let found = self.stored(id).await?;
        self.unless_overdue(found).await
    }

    /// Like [`find_latest`](Self::find_latest), for several sessions, in their order. A database reads them together.
    pub async fn find_all_latest(
        &self,
        ids: &[SessionId],
    ) -> Result<Vec<Option<Arc<CachedSession>>>, StoreError> {
        try_join_all(ids.iter().map(|id| self.find_latest(id))).await
    }

    /// Like [`find`](Self::find), for a session that must exist.
    ///
    /// # Errors
    /// [`Refused::SessionNotFound`].
    pub async fn get(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        self.find(id).await?.ok_or(Refused::SessionNotFound.into())
    }

    /// Like [`find_latest`](Self::find_latest), for a session that must exist.
    ///
    /// # Errors
    /// [`Refused::SessionNotFound`].
    pub async fn get_latest(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        self.find_latest(id).await?.ok_or(Refused::SessionNotFound.into())
    }

    /// Like [`find`](Self::find), for the session that a platform session is linked to.
    pub async fn find_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let cached = self.cache.get_by_platform_session(key.0, key.1.as_str());
        let found = match cached.filter(|cached| self.is_current(cached)) {
            Some(cached) => Some(cached),
            None => self.stored_by_platform_session(key).await?,
        };
        self.unless_overdue(found).await
    }

    /// Like [`find_latest`](Self::find_latest), for the session that a platform session is linked to.
    pub async fn find_latest_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let found = self.stored_by_platform_session(key).await?;
        self.unless_overdue(found).await
    }

    /// Like [`find`](Self::find), but only in memory: `None` if the answer needs the store. `now_ms` is in milliseconds
    /// since the epoch.
    pub fn cached(&self, id: &str, now_ms: i64) -> Option<Arc<CachedSession>> {
        self.cached_even_if_overdue(id).filter(|cached| cached.deadline_ms() > now_ms)
    }

    /// Like [`cached`](Self::cached), for the session that a platform session is linked to.
    pub fn cached_by_platform_session(
        &self,
        platform: Platform,
        platform_session: &str,
        now_ms: i64,
    ) -> Option<Arc<CachedSession>> {
        let cached = self.cache.get_by_platform_session(platform, platform_session)?;
        (self.is_current(&cached) && cached.deadline_ms() > now_ms).then_some(cached)
    }

    /// Like [`exists`](Self::exists), for several sessions, in their order. A database reads them together.
    pub async fn which_exist<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a SessionId>,
    ) -> Result<Vec<bool>, StoreError> {
        try_join_all(ids.into_iter().map(|id| self.exists(id))).await
    }

    /// Whether a session is stored, even if it is overdue. Cheaper than reading the session.
    pub async fn exists(&self, id: &SessionId) -> Result<bool, StoreError> {
        let is_cached = self.store.sole_writer() && self.cache.get(id.as_str()).is_some();
        Ok(is_cached || self.stored_deadline(id).await?.is_some())
    }

    /// Lets the next read of a session ask the store: another node may have changed it.
    pub fn doubt(&self, id: &SessionId) {
        // Otherwise each read asks anyway, or no other node can change the session.
        if self.limits.staleness_ms_max > 0
            && let Some(cached) = self.cache.get(id.as_str())
        {
            cached.doubt(self.clock.up_ms());
        }
    }

    /// A version of a session in which a player is active, from memory if there is one. It may be out of date.
    pub async fn with_active_player(
        &self,
        id: &SessionId,
        player: PlayerUuid,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        match self.cache.get(id.as_str()).filter(|cached| cached.session.is_active(player)) {
            Some(cached) => Ok(Some(cached)),
            None => self.stored(id).await,
        }
    }

    async fn unless_overdue(
        &self,
        found: Option<Arc<CachedSession>>,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let Some(cached) = found else { return Ok(None) };
        let overdue_since_ms = self.overdue_since_ms(&cached).await?;
        Ok(overdue_since_ms.is_none().then_some(cached))
    }

    /// The deadline of an overdue session, in milliseconds since the epoch; `None` if the session is not overdue.
    /// Usually compares two numbers. Asks the store only if the deadline in memory has passed: another node may have
    /// moved it. No session is overdue while deadlines have no meaning: with a wrong clock, and after a step of it.
    pub(super) async fn overdue_since_ms(&self, cached: &CachedSession) -> Result<Option<i64>, StoreError> {
        let id = &cached.session.id;
        if cached.deadline_ms() > self.clock.now_ms() || self.deadlines.is_write_pending(id) {
            return Ok(None);
        }
        let Some(now_ms) = self.time_for_deadlines().await? else { return Ok(None) };
        let Some((_, deadline_ms)) = self.stored_deadline(id).await? else { return Ok(None) };
        cached.move_deadline(deadline_ms);
        Ok((deadline_ms <= now_ms).then_some(deadline_ms))
    }

    /// The stored deadline of a session, in milliseconds since the epoch, with its version.
    pub(super) async fn stored_deadline(&self, id: &SessionId) -> Result<Option<(Version, i64)>, StoreError> {
        let Some(entry) = self.store.get(&keys::deadline_of(id)).await? else { return Ok(None) };
        Ok(Some((entry.version, decode_deadline(id, &entry.value)?)))
    }

    fn cached_even_if_overdue(&self, id: &str) -> Option<Arc<CachedSession>> {
        self.cache.get(id).filter(|cached| self.is_current(cached))
    }

    /// Whether a read may return this cached session without asking the store. A sole writer sees every commit. With
    /// several nodes, the session must have been the latest version within the last `staleness_ms_max`.
    fn is_current(&self, cached: &CachedSession) -> bool {
        if self.store.sole_writer() {
            return true;
        }
        let staleness_ms_max = self.limits.staleness_ms_max;
        // 0 is the default. Checked first, so that it costs no look at the clocks.
        if staleness_ms_max == 0 {
            return false;
        }
        // The age is negative after the clock was set back: then it says nothing.
        (0..staleness_ms_max).contains(&cached.age_ms(self.clock.read()))
    }

    /// The latest version of a session, even if the session is overdue.
    pub(in crate::app) async fn stored(
        &self,
        id: &SessionId,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let Some(cached) = self.cache.get(id.as_str()) else { return self.load(id).await };
        if self.store.sole_writer() {
            return Ok(Some(cached));
        }
        let start = self.start_read(id);
        match self.store.get_if_changed(&keys::session(id), cached.version).await? {
            ConditionalRead::Unchanged => {
                cached.confirm_current(start.at);
                Ok(Some(cached))
            }
            ConditionalRead::Changed(entry) => {
                let deadline_ms = Arc::clone(&cached.deadline_ms);
                self.cache_unless_changed(id, entry, deadline_ms, &start).map(Some)
            }
            ConditionalRead::Absent => {
                self.forget_ended(id);
                Ok(None)
            }
        }
    }

    /// Like [`stored`](Self::stored), for the session that a platform session is linked to.
    pub(super) async fn stored_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        if let Some(id) = self.cache.id_by_platform_session(key) {
            let found = self.stored(&id).await?;
            if let Some(cached) = self.if_linked(found, key) {
                return Ok(Some(cached));
            }
            // The cached id is out of date: the platform session was unlinked since, or linked to another session.
        }
        let Some(entry) = self.store.get(&keys::platform_session(key.0, &key.1)).await? else {
            return Ok(None);
        };
        let id = decode_session_id(&entry.value)?;
        let found = self.stored(&id).await?;
        Ok(self.if_linked(found, key))
    }

    /// The session, if the platform session is linked to it.
    fn if_linked(&self, found: Option<Arc<CachedSession>>, key: &PlatformKey) -> Option<Arc<CachedSession>> {
        let cached = found.filter(|cached| cached.session.require_linked(key.0, &key.1).is_ok())?;
        self.cache.note_linked(key, &cached);
        Some(cached)
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let start = self.start_read(id);
        let Some(entry) = self.store.get(&keys::session(id)).await? else {
            self.forget_ended(id);
            return Ok(None);
        };
        // A session that ends between the two reads has no deadline. 0 lies in the past, so the next use asks the
        // store.
        let deadline_ms = self.stored_deadline(id).await?.map_or(0, |(_, deadline_ms)| deadline_ms);
        self.cache_unless_changed(id, entry, Arc::new(AtomicI64::new(deadline_ms)), &start).map(Some)
    }

    fn lock_changes(&self, id: &SessionId) -> MutexGuard<'_, u64> {
        self.session_locks.of(id).changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_read(&self, id: &SessionId) -> ReadStart {
        ReadStart { changes: *self.lock_changes(id), at: self.clock.read() }
    }

    /// Decodes a stored session, and caches it unless the cached version has changed since the read started.
    ///
    /// With several nodes, the result of a slow read may be older than what another read has found meanwhile, and
    /// versions have no order. A read that started after another one has ended is not older. So a read replaces the
    /// cached version only if no other read has done so since it started. If two reads at the same time find different
    /// versions, neither stays in the cache, and the next read asks the store.
    fn cache_unless_changed(
        &self,
        id: &SessionId,
        entry: Entry,
        deadline_ms: Arc<AtomicI64>,
        start: &ReadStart,
    ) -> Result<Arc<CachedSession>, StoreError> {
        let stored_bytes = entry.value.len();
        let stored = StoredSession::decode(&entry.value)?;
        let cached = Arc::new(CachedSession::new(stored, entry.version, deadline_ms));
        cached.confirm_current(start.at);
        let is_shared = !self.store.sole_writer();
        let mut changes = self.lock_changes(id);
        if *changes == start.changes {
            *changes += u64::from(is_shared);
            self.cache.put(&cached, stored_bytes);
            return Ok(cached);
        }
        // A change marks only the cached version stale, and this version is not cached.
        cached.mark_stale();
        let is_other = |known: Arc<CachedSession>| known.version != cached.version;
        if is_shared && self.cache.get(id.as_str()).is_some_and(is_other) {
            *changes += 1;
            self.cache.remove(id);
        }
        Ok(cached)
    }

    /// Removes a session that the store does not have any more from the cache. A slower, older read of it is not
    /// cached.
    fn forget_ended(&self, id: &SessionId) {
        let mut changes = self.lock_changes(id);
        *changes += u64::from(!self.store.sole_writer());
        self.cache.remove(id);
    }

    /// Makes a commit visible to reads on this node: puts the new version, with its stored size in bytes, into the
    /// cache. `None` removes the session from the cache.
    pub(super) fn publish(&self, id: &SessionId, changed: Option<(&Arc<CachedSession>, usize)>) {
        let mut changes = self.lock_changes(id);
        *changes += 1;
        match changed {
            Some((cached, stored_bytes)) => self.cache.put(cached, stored_bytes),
            None => self.cache.remove(id),
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
