//! Sessions as they are read: from the store, with the cache that makes reads cheap. They are changed in `changes`, and
//! end by themselves in `expiry`.

pub mod cache;
pub mod cached;
mod change;
pub mod deadlines;
mod expire;
mod lookup;
mod memberships;
mod quota;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;

use self::cache::{Cache, PlatformKey};
use self::cached::{CachedSession, Reading};
use self::deadlines::Deadlines;
use self::lookup::named_session;
use self::memberships::Memberships;
use super::Failure;
use super::locks::LockStripes;
use crate::domain::{Platform, Refused, Session, SessionId};
use crate::env::Clock;
use crate::records::index;
use crate::records::keys;
use crate::store::{Entry, Read, Store, StoreError};

/// Turns of sessions.
const SESSION_LOCKS: usize = 1024;
/// Turns of players: so many that few of those who come together share one.
const PLAYER_LOCKS: usize = 4096;
/// How often a change begins again on fresh data before it gives up.
pub(super) const ATTEMPTS_MAX: usize = 8;
/// The part of the memory for cached sessions that players' lists take.
const MEMBERSHIPS_SHARE: u64 = 8;
/// Most sessions a player's list shows: more than the largest limits on sessions and invites come to together, or what
/// stands behind would not be counted.
pub const MEMBERSHIPS_MAX: usize = 2048;

/// What sessions may take, and how old reads of them may be, as the operator decided.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory for cached sessions and players' lists.
    pub cache_bytes: u64,
    /// Bytes of a session, as stored.
    pub session_bytes_max: usize,
    /// Sessions that a player takes part in.
    pub sessions_per_player_max: usize,
    /// Unanswered invites and reservations of a player.
    pub invites_per_player_max: usize,
    /// How long a read may miss what another node has committed, in milliseconds; 0: it misses nothing.
    pub staleness_ms_max: i64,
}

/// A turn and what guards the cache against a slow reader: an entry read before a change must not be cached
/// after it.
#[derive(Default)]
pub(super) struct SessionLock {
    writing: Arc<tokio::sync::Mutex<()>>,
    changes: Mutex<u64>,
}

/// Told of a session as each change leaves it, in the order of changes: an ended one as it was at its end, also one
/// that a rule left as it was.
type Watcher = Box<dyn Fn(&Session) + Send + Sync>;

/// All sessions.
pub struct Sessions {
    store: Store,
    pub(super) limits: Limits,
    pub(super) deadlines: Arc<Deadlines>,
    pub(super) clock: Clock,
    started: Instant,
    pub(super) watcher: Watcher,
    cache: Cache,
    pub(super) memberships: Memberships,
    session_locks: LockStripes<SessionLock>,
    pub(super) player_locks: LockStripes<tokio::sync::Mutex<()>>,
}

impl Sessions {
    /// The sessions of a store, what they may take, and who is told of changes.
    pub fn new(
        store: Store,
        limits: Limits,
        deadlines: Arc<Deadlines>,
        clock: Clock,
        watcher: impl Fn(&Session) + Send + Sync + 'static,
    ) -> Self {
        let cache_bytes = limits.cache_bytes;
        Self {
            store,
            limits,
            deadlines,
            started: clock.instant(),
            clock,
            watcher: Box::new(watcher),
            cache: Cache::new(cache_bytes - cache_bytes / MEMBERSHIPS_SHARE),
            memberships: Memberships::new(cache_bytes / MEMBERSHIPS_SHARE),
            session_locks: LockStripes::new(SESSION_LOCKS),
            player_locks: LockStripes::new(PLAYER_LOCKS),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn session_lock(&self, id: &SessionId) -> &SessionLock {
        self.session_locks.of(id)
    }

    /// Waits for a session's turn. Who waits has begun nothing: where the caller goes away, so does the wish.
    pub(super) async fn lock(&self, id: &SessionId) -> OwnedMutexGuard<()> {
        Arc::clone(&self.session_lock(id).writing).lock_owned().await
    }

    /// A session, as current as reads have to be.
    pub async fn find(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        match self.cached(id.as_str()) {
            Some(cached) => Ok(Some(cached)),
            None => self.find_latest(id).await,
        }
    }

    /// A session, as no node has changed it since.
    pub async fn find_latest(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let Some(cached) = self.cache.get(id.as_str()) else { return self.load(id).await };
        if self.store.sole_writer() {
            return Ok(Some(cached));
        }
        let (seen, asked) = (self.changes_seen(id), self.reading());
        match self.store.get_if_changed(&keys::session(id), cached.version).await? {
            Read::Unchanged => {
                cached.note_current(asked);
                Ok(Some(cached))
            }
            Read::Changed(entry) => {
                let deadline_ms = Arc::clone(&cached.deadline_ms);
                self.take_in(id, entry, deadline_ms, (seen, asked)).map(Some)
            }
            Read::Absent => {
                self.cache.remove(id);
                Ok(None)
            }
        }
    }

    /// Whether what is in memory is as current as reads have to be.
    fn is_current(&self, cached: &CachedSession) -> bool {
        let staleness_ms_max = self.limits.staleness_ms_max;
        let is_fresh = || (0..staleness_ms_max).contains(&cached.age_ms(self.reading()));
        self.store.sole_writer() || (staleness_ms_max > 0 && is_fresh())
    }

    /// What the clocks say now.
    pub(super) fn reading(&self) -> Reading {
        let up_ms = self.clock.instant().saturating_duration_since(self.started).as_millis();
        Reading { now_ms: self.clock.now_ms(), up_ms: i64::try_from(up_ms).unwrap_or(i64::MAX) }
    }

    /// A session that must be there.
    pub async fn get(&self, id: &SessionId) -> Result<Arc<CachedSession>, Failure> {
        self.find(id).await?.ok_or(Refused::SessionNotFound.into())
    }

    /// The session that a platform session belongs to.
    pub async fn find_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        match self.cached_by_platform_session(key.0, key.1.as_str()) {
            Some(cached) => Ok(Some(cached)),
            None => self.find_latest_by_platform_session(key).await,
        }
    }

    /// The session that a platform session belongs to, as no node has changed it since.
    pub async fn find_latest_by_platform_session(
        &self,
        key: &PlatformKey,
    ) -> Result<Option<Arc<CachedSession>>, StoreError> {
        if let Some(seen) = self.cache.id_by_platform_session(key)
            && let Some(cached) = self.linked(self.find_latest(&seen).await?, key)
        {
            return Ok(Some(cached));
        }
        let Some(entry) = self.store.get(&keys::platform_session(key.0, &key.1)).await? else {
            return Ok(None);
        };
        let id = named_session(&entry.value)?;
        Ok(self.linked(self.find_latest(&id).await?, key))
    }

    /// A session, where it is in memory and as current as reads have to be.
    pub fn cached(&self, id: &str) -> Option<Arc<CachedSession>> {
        self.cache.get(id).filter(|cached| self.is_current(cached))
    }

    /// The session that a platform session belongs to, where it is in memory and as current as reads have to be.
    pub fn cached_by_platform_session(
        &self,
        platform: Platform,
        platform_session: &str,
    ) -> Option<Arc<CachedSession>> {
        let cached = self.cache.get_by_platform_session(platform, platform_session);
        cached.filter(|cached| self.is_current(cached))
    }

    /// A session that a platform session is thought to belong to, if it does.
    fn linked(&self, cached: Option<Arc<CachedSession>>, key: &PlatformKey) -> Option<Arc<CachedSession>> {
        let cached = cached.filter(|cached| cached.session.require_linked(key.0, &key.1).is_ok())?;
        self.cache.note_linked(key, &cached);
        Some(cached)
    }

    /// Whether there is a session; cheaper than to read it.
    pub async fn exists(&self, id: &SessionId) -> Result<bool, StoreError> {
        let is_at_hand = self.store.sole_writer() && self.cache.get(id.as_str()).is_some();
        Ok(is_at_hand || self.stored_deadline(id).await?.is_some())
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let seen = (self.changes_seen(id), self.reading());
        let Some(entry) = self.store.get(&keys::session(id)).await? else { return Ok(None) };
        let deadline_ms = self.stored_deadline(id).await?.map_or(0, |(_, ms)| ms);
        self.take_in(id, entry, Arc::new(AtomicI64::new(deadline_ms)), seen).map(Some)
    }

    fn changes_seen(&self, id: &SessionId) -> u64 {
        *self.session_lock(id).changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Caches what was read at some time after so many changes, unless something changed meanwhile.
    fn take_in(
        &self,
        id: &SessionId,
        entry: Entry,
        deadline_ms: Arc<AtomicI64>,
        (seen, asked): (u64, Reading),
    ) -> Result<Arc<CachedSession>, StoreError> {
        let stored_bytes = entry.value.len();
        let cached = Arc::new(CachedSession::new(index::decode(&entry.value)?, entry.version, deadline_ms));
        cached.note_current(asked);
        let changes = self.session_lock(id).changes.lock().unwrap_or_else(PoisonError::into_inner);
        if *changes == seen {
            self.cache.put(&cached, stored_bytes);
        } else {
            // Nobody would tell it when the session changes.
            cached.mark_stale();
        }
        Ok(cached)
    }

    /// Makes a change visible on this node; `None` forgets the session.
    pub(super) fn publish(&self, id: &SessionId, changed: Option<(&Arc<CachedSession>, usize)>) {
        let mut changes = self.session_lock(id).changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes += 1;
        match changed {
            Some((cached, stored_bytes)) => self.cache.put(cached, stored_bytes),
            None => self.cache.remove(id),
        }
    }
}
