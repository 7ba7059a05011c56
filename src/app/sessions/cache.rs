//! The cache of sessions in memory. It never reads the store. Callers of [`Cache::put`] make sure that the version they
//! put is not older than the cached one.

use std::sync::{Arc, Weak};

use quick_cache::sync::Cache as Bounded;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::cached::CachedSession;
use crate::domain::{Platform, PlatformSessionId, SessionId};

/// Memory of a cached session that does not depend on its stored size, in bytes, roughly: keys, maps, parsed fields.
const CACHED_SESSION_BYTES: u64 = 1024;
/// Memory of a cached session per stored byte, as measured with 4 and with 100 players: the parsed form, whose maps
/// reserve more than they use, and the rendered documents.
const CACHED_FORMS: u64 = 7;
/// Stored bytes beyond this number are mostly long texts, which take less memory per stored byte.
const ORDINARY_BYTES: u64 = 65_536;
/// Memory of a long text per stored byte: one copy is parsed, the others are in rendered documents.
const CACHED_TEXTS: u64 = 3;
/// Memory of a cached platform session beside its id, in bytes, roughly.
const CACHED_PLATFORM_KEY_BYTES: u64 = 256;

/// A platform session: its platform and its id there.
pub type PlatformKey = (Platform, PlatformSessionId);

/// A borrowed [`PlatformKey`], for lookups without an allocation.
#[derive(Hash)]
struct PlatformKeyRef<'a>(Platform, &'a str);

impl Equivalent<PlatformKey> for PlatformKeyRef<'_> {
    fn equivalent(&self, key: &PlatformKey) -> bool {
        self.0 == key.0 && self.1 == key.1.as_str()
    }
}

/// A cached session and its weight in bytes.
#[derive(Clone)]
struct Weighed {
    session: Arc<CachedSession>,
    bytes: u64,
}

/// The session that a platform session was linked to at the last read. It may be out of date.
#[derive(Clone)]
struct Hint {
    id: SessionId,
    /// The version of the session at that read.
    cached: Weak<CachedSession>,
}

/// Weighs entries by their memory in bytes.
#[derive(Clone)]
struct ByBytes;

impl Weighter<SessionId, Weighed> for ByBytes {
    fn weight(&self, _: &SessionId, weighed: &Weighed) -> u64 {
        weighed.bytes
    }
}

impl Weighter<PlatformKey, Hint> for ByBytes {
    fn weight(&self, key: &PlatformKey, _: &Hint) -> u64 {
        key.1.as_str().len() as u64 + CACHED_PLATFORM_KEY_BYTES
    }
}

/// Marks evicted sessions stale. A change marks only the cached version, so a reader that still holds an evicted
/// version would not notice the change.
#[derive(Clone)]
struct MarkStale;

impl Lifecycle<SessionId, Weighed> for MarkStale {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: SessionId, weighed: Weighed) {
        weighed.session.mark_stale();
    }
}

/// Weighed sessions by id and by platform session.
pub struct Cache {
    sessions: Bounded<SessionId, Weighed, ByBytes, DefaultHashBuilder, MarkStale>,
    by_platform: Bounded<PlatformKey, Hint, ByBytes>,
}

impl Cache {
    /// A cache of about this many bytes.
    pub fn new(bytes: u64) -> Self {
        let sessions_estimated =
            usize::try_from(bytes / (4 * CACHED_SESSION_BYTES)).unwrap_or(1 << 20).max(64);
        // A hint is small: a quarter of the memory holds more hints than the rest holds sessions.
        let hint_bytes = bytes / 4;
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), MarkStale);
        // One shard: an entry larger than its shard is never kept, and one session may need a large part of the memory.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(sessions_estimated)
            .weight_capacity(bytes - hint_bytes)
            .shards(1)
            .build()
            .expect("both capacities are given");
        Self {
            sessions: Bounded::with_options(options, ByBytes, hasher, lifecycle),
            by_platform: Bounded::with_weighter(sessions_estimated, hint_bytes, ByBytes),
        }
    }

    /// The cached version of a session.
    pub fn get(&self, id: &str) -> Option<Arc<CachedSession>> {
        self.sessions.get(id).map(|weighed| weighed.session)
    }

    /// Replaces the cached version of a session. `stored_bytes` is the size of the stored session.
    pub fn put(&self, cached: &Arc<CachedSession>, stored_bytes: usize) {
        let id = &cached.session.id;
        self.mark_stale(id);
        let stored_bytes = stored_bytes as u64;
        let text_bytes = stored_bytes.saturating_sub(ORDINARY_BYTES);
        let ordinary_bytes = stored_bytes - text_bytes;
        let bytes = CACHED_SESSION_BYTES + CACHED_FORMS * ordinary_bytes + CACHED_TEXTS * text_bytes;
        self.sessions.insert(id.clone(), Weighed { session: Arc::clone(cached), bytes });
    }

    /// Removes a session.
    pub fn remove(&self, id: &SessionId) {
        self.mark_stale(id);
        self.sessions.remove(id);
    }

    fn mark_stale(&self, id: &SessionId) {
        if let Some(before) = self.sessions.peek(id) {
            before.session.mark_stale();
        }
    }

    /// The session that a platform session was linked to at the last read. The caller must check whether it still is.
    pub fn id_by_platform_session(&self, key: &PlatformKey) -> Option<SessionId> {
        self.by_platform.get(key).map(|hint| hint.id)
    }

    /// The session that a platform session is linked to, if its version at the last read is still the cached one.
    pub fn get_by_platform_session(&self, platform: Platform, id: &str) -> Option<Arc<CachedSession>> {
        let hint = self.by_platform.get(&PlatformKeyRef(platform, id))?;
        // The platform session was linked in this version, and this node has no newer version.
        hint.cached.upgrade().filter(|cached| !cached.is_stale())
    }

    /// Notes that a platform session is linked to this version of a session.
    pub fn note_linked(&self, key: &PlatformKey, cached: &Arc<CachedSession>) {
        let hint = Hint { id: cached.session.id.clone(), cached: Arc::downgrade(cached) };
        self.by_platform.insert(key.clone(), hint);
    }
}
