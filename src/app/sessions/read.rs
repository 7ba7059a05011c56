//! Reading sessions. Every public read starts here, and here alone an overdue session reads as gone.
//!
//! A session is *overdue* once its deadline has passed, although the background work has not ended it yet. `stored` is
//! the one read that finds such a session, for those who end it.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Sessions;
use super::cache::PlatformKey;
use super::cached::{CachedSession, Reading};
use crate::app::Failure;
use crate::domain::{Platform, Refused, SessionId};
use crate::records::values::{decode_deadline, decode_session_id};
use crate::records::{StoredSession, keys};
use crate::store::{ConditionalRead, Entry, StoreError, Version};

impl Sessions {
    /// A session, as current as reads have to be (`read_consistency`).
    pub async fn find(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let found = match self.cached_even_if_overdue(id.as_str()) {
            Some(cached) => Some(cached),
            None => self.stored(id).await?,
        };
        self.unless_overdue(found).await
    }

    /// A session, as no node has changed it since: for changes, and for what they go by.
    pub async fn find_latest(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let found = self.stored(id).await?;
        self.unless_overdue(found).await
    }

    /// Like [`find`](Self::find), for a session that must be there.
    ///
    /// # Errors
    /// [`Refused::SessionNotFound`].
    pub async fn get(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        self.find(id).await?.ok_or(Refused::SessionNotFound.into())
    }

    /// Like [`find_latest`](Self::find_latest), for a session that must be there.
    ///
    /// # Errors
    /// [`Refused::SessionNotFound`].
    pub async fn get_latest(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        self.find_latest(id).await?.ok_or(Refused::SessionNotFound.into())
    }

    /// The session that a platform session is linked to, as current as reads have to be.
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

    /// The session that a platform session is linked to, as no node has changed it since.
    pub async fn find_latest_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let found = self.stored_by_platform_session(key).await?;
        self.unless_overdue(found).await
    }

    /// A session that is in memory, as current as reads have to be, and not overdue at `now_ms`. Asks no store.
    pub fn cached(&self, id: &str, now_ms: i64) -> Option<Arc<CachedSession>> {
        self.cached_even_if_overdue(id).filter(|cached| cached.deadline_ms() > now_ms)
    }

    /// The same for the session that a platform session is linked to.
    pub fn cached_by_platform_session(
        &self,
        platform: Platform,
        platform_session: &str,
        now_ms: i64,
    ) -> Option<Arc<CachedSession>> {
        let cached = self.cache.get_by_platform_session(platform, platform_session)?;
        (self.is_current(&cached) && cached.deadline_ms() > now_ms).then_some(cached)
    }

    /// Whether there is a session. Cheaper than to read it.
    pub async fn exists(&self, id: &SessionId) -> Result<bool, StoreError> {
        let is_cached = self.store.sole_writer() && self.cache.get(id.as_str()).is_some();
        Ok(is_cached || self.stored_deadline(id).await?.is_some())
    }

    async fn unless_overdue(
        &self,
        found: Option<Arc<CachedSession>>,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let Some(cached) = found else { return Ok(None) };
        let overdue_since_ms = self.overdue_since_ms(&cached).await?;
        Ok(overdue_since_ms.is_none().then_some(cached))
    }

    /// The deadline of a session, if it has passed. Compares two numbers. Only if the deadline in memory has passed, the
    /// store is asked: another node may have moved it.
    pub(super) async fn overdue_since_ms(&self, cached: &CachedSession) -> Result<Option<i64>, StoreError> {
        let (id, now_ms) = (&cached.session.id, self.clock.now_ms());
        if cached.deadline_ms() > now_ms || self.deadlines.is_moving(id) {
            return Ok(None);
        }
        let Some((_, deadline_ms)) = self.stored_deadline(id).await? else { return Ok(None) };
        cached.move_deadline(deadline_ms);
        Ok((deadline_ms <= now_ms).then_some(deadline_ms))
    }

    /// A session's deadline as it is stored, with its version.
    pub(super) async fn stored_deadline(&self, id: &SessionId) -> Result<Option<(Version, i64)>, StoreError> {
        let Some(entry) = self.store.get(&keys::deadline_of(id)).await? else { return Ok(None) };
        Ok(Some((entry.version, decode_deadline(id, &entry.value)?)))
    }

    fn cached_even_if_overdue(&self, id: &str) -> Option<Arc<CachedSession>> {
        self.cache.get(id).filter(|cached| self.is_current(cached))
    }

    /// Whether a cached session is as current as reads have to be.
    fn is_current(&self, cached: &CachedSession) -> bool {
        let staleness_ms_max = self.limits.staleness_ms_max;
        let is_fresh = || (0..staleness_ms_max).contains(&cached.age_ms(self.reading()));
        self.store.sole_writer() || (staleness_ms_max > 0 && is_fresh())
    }

    /// A session as no node has changed it since, also if it is overdue.
    pub(in crate::app) async fn stored(
        &self,
        id: &SessionId,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let Some(cached) = self.cache.get(id.as_str()) else { return self.load(id).await };
        if self.store.sole_writer() {
            return Ok(Some(cached));
        }
        let (changes, asked) = (self.changes_seen(id), self.reading());
        match self.store.get_if_changed(&keys::session(id), cached.version).await? {
            ConditionalRead::Unchanged => {
                cached.note_current(asked);
                Ok(Some(cached))
            }
            ConditionalRead::Changed(entry) => {
                let deadline_ms = Arc::clone(&cached.deadline_ms);
                self.take_in(id, entry, deadline_ms, changes, asked).map(Some)
            }
            ConditionalRead::Absent => {
                self.cache.remove(id);
                Ok(None)
            }
        }
    }

    /// The same for the session that a platform session is linked to.
    pub(super) async fn stored_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        if let Some(id) = self.cache.id_by_platform_session(key)
            && let Some(cached) = self.if_linked(self.stored(&id).await?, key)
        {
            return Ok(Some(cached));
        }
        let Some(entry) = self.store.get(&keys::platform_session(key.0, &key.1)).await? else {
            return Ok(None);
        };
        let id = decode_session_id(&entry.value)?;
        Ok(self.if_linked(self.stored(&id).await?, key))
    }

    /// A session, if the platform session is linked to it.
    fn if_linked(&self, found: Option<Arc<CachedSession>>, key: &PlatformKey) -> Option<Arc<CachedSession>> {
        let cached = found.filter(|cached| cached.session.require_linked(key.0, &key.1).is_ok())?;
        self.cache.note_linked(key, &cached);
        Some(cached)
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let (changes, asked) = (self.changes_seen(id), self.reading());
        let Some(entry) = self.store.get(&keys::session(id)).await? else { return Ok(None) };
        let deadline_ms = self.stored_deadline(id).await?.map_or(0, |(_, deadline_ms)| deadline_ms);
        self.take_in(id, entry, Arc::new(AtomicI64::new(deadline_ms)), changes, asked).map(Some)
    }

    fn lock_changes(&self, id: &SessionId) -> MutexGuard<'_, u64> {
        self.session_locks.of(id).changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes_seen(&self, id: &SessionId) -> u64 {
        *self.lock_changes(id)
    }

    /// Caches what was read, unless the session has changed since there were so many `changes`.
    fn take_in(
        &self,
        id: &SessionId,
        entry: Entry,
        deadline_ms: Arc<AtomicI64>,
        changes: u64,
        asked: Reading,
    ) -> Result<Arc<CachedSession>, StoreError> {
        let stored_bytes = entry.value.len();
        let stored = StoredSession::decode(&entry.value)?;
        let cached = Arc::new(CachedSession::new(stored, entry.version, deadline_ms));
        cached.note_current(asked);
        let changes_now = self.lock_changes(id);
        if *changes_now == changes {
            self.cache.put(&cached, stored_bytes);
        } else {
            // It is not in the cache, so a change would not mark it.
            cached.mark_stale();
        }
        Ok(cached)
    }

    /// Shows a change on this node: a session with the bytes that it takes as stored. `None` removes the session from the
    /// cache.
    pub(super) fn publish(&self, id: &SessionId, changed: Option<(&Arc<CachedSession>, usize)>) {
        let mut changes = self.lock_changes(id);
        *changes += 1;
        match changed {
            Some((cached, stored_bytes)) => self.cache.put(cached, stored_bytes),
            None => self.cache.remove(id),
        }
    }
}
